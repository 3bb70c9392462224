// strophe.js as a client of chat.js. The service's URL decides: http for BOSH, ws for WebSocket.
import { $msg, $pres, Strophe } from 'strophe.js';
import { XMLHttpRequest } from './xhr.js';

globalThis.XMLHttpRequest = XMLHttpRequest;
Strophe.setLogLevel(Strophe.LogLevel.ERROR);

/**
 * Logs in and sends presence.
 * @param {string} service the URL of BOSH or WebSocket
 * @param {string} jid a bare JID
 * @param {string} password
 * @param {(from: string, body: string) => void} onMessage called once for each message
 * @returns {Promise<{jid: string, send: (to: string, body: string) => void,
 *                    logout: () => Promise<void>}>}
 */
export function login(service, jid, password, onMessage) {
    const connection = new Strophe.Connection(service);
    let loggedOut;
    return new Promise((resolve, reject) => {
        const client = {
            get jid() {
                return connection.jid;
            },
            send(to, body) {
                connection.send($msg({ to, type: 'chat' }).c('body').t(body));
            },
            logout() {
                return new Promise((done) => {
                    loggedOut = done;
                    connection.disconnect('done');
                });
            },
        };
        connection.connect(jid, password, (status, condition) => {
            switch (status) {
                case Strophe.Status.CONNECTED:
                    connection.addHandler((stanza) => {
                        const body = stanza.getElementsByTagName('body')[0];
                        onMessage(stanza.getAttribute('from'), body.textContent);
                        return true;
                    }, null, 'message', 'chat');
                    // The presence that comes back says that the server has it.
                    connection.addHandler(() => resolve(client), null, 'presence', null, null,
                        connection.jid);
                    connection.send($pres());
                    break;
                case Strophe.Status.DISCONNECTED:
                    if (loggedOut) loggedOut();
                    else reject(new Error(`${jid} was disconnected: ${condition}`));
                    break;
                case Strophe.Status.CONNFAIL:
                case Strophe.Status.AUTHFAIL:
                case Strophe.Status.ERROR:
                    reject(new Error(`${jid} couldn't log in: ${condition}`));
                    break;
            }
        });
    });
}
