// @xmpp/client as a client of chat.js, over WebSocket.
import { webcrypto } from 'node:crypto';
import { client, xml } from '@xmpp/client';
import { WebSocket } from 'ws';

// Node has a WebSocket of its own only since version 22, and this crypto only since 20.
globalThis.WebSocket = WebSocket;
globalThis.crypto ??= webcrypto;

/**
 * Logs in and sends presence.
 * @param {string} service the WebSocket's URL
 * @param {string} jid a bare JID
 * @param {string} password
 * @param {(from: string, body: string) => void} onMessage called once for each message
 * @returns {Promise<{jid: string, send: (to: string, body: string) => void,
 *                    logout: () => Promise<void>}>}
 */
export async function login(service, jid, password, onMessage) {
    const [username, domain] = jid.split('@');
    const xmpp = client({ service, domain, username, password });
    const failed = new Promise((_, reject) => xmpp.on('error', reject));
    const present = new Promise((resolve) => {
        xmpp.on('stanza', (stanza) => {
            // A message whose last acknowledgement (XEP-0198) was still on its way when its receiver
            // logged out comes back as an error, with the body.
            if (stanza.is('message') && stanza.attrs.type === 'chat') {
                onMessage(stanza.attrs.from, stanza.getChildText('body'));
            } else if (stanza.is('presence') && stanza.attrs.from === xmpp.jid.toString()) {
                // The presence that comes back says that the server has it.
                resolve();
            }
        });
    });
    const online = await Promise.race([xmpp.start(), failed]);
    await xmpp.send(xml('presence'));
    await Promise.race([present, failed]);
    return {
        jid: online.toString(),
        send: (to, body) => xmpp.send(xml('message', { to, type: 'chat' }, xml('body', {}, body))),
        logout: () => xmpp.stop(),
    };
}
