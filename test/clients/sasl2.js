// @xmpp/client logs in twice, by SASL2 if it is offered: the second time once its connection broke. Someone writes
// to it before and after.
//
//   node sasl2.js SERVICE_URL JID JID PASSWORD
//
// Prints one line of JSON: for each login the mechanism, and what the success brought along by its elements' names.
// The exit status is 0 if both messages came; if not, it is 1 and standard error says what was expected.
import { webcrypto } from 'node:crypto';
import process from 'node:process';
import { client, xml } from '@xmpp/client';
import { WebSocket } from 'ws';

globalThis.WebSocket = WebSocket;
globalThis.crypto ??= webcrypto;

const DEADLINE_MS = 20_000;
const [service, jid, friendJid, password] = process.argv.slice(2);
const logins = [];

const deadline = setTimeout(() => fail('too late'), DEADLINE_MS);
const user = open(jid);
user.on('send', (element) => {
    if (element.is('authenticate', 'urn:xmpp:sasl:2')) logins.push({ mechanism: element.attrs.mechanism });
});
user.on('nonza', (element) => {
    if (element.is('success', 'urn:xmpp:sasl:2')) {
        logins.at(-1).success = element.getChildElements().map((child) => child.name).sort();
    }
});

try {
    const friend = open(friendJid);
    await online(friend);
    await online(user);
    await heard(friend, 'before');
    const back = new Promise((resolve) => user.once('online', resolve));
    if (service.startsWith('ws')) user.socket.socket.terminate();
    else user.socket.socket.destroy();
    await back;
    await user.send(xml('presence'));
    await heard(friend, 'after');
    await Promise.all([user.stop(), friend.stop()]);
} catch (error) {
    fail(error.stack ?? String(error));
}
clearTimeout(deadline);
process.stdout.write(`${JSON.stringify(logins)}\n`);
process.exit(0);

function open(bare) {
    const [username, domain] = bare.split('@');
    const xmpp = client({ service, domain, username, password, resource: 'test' });
    // The connection is broken on purpose.
    xmpp.on('error', (error) => process.stderr.write(`${bare}: ${error}\n`));
    return xmpp;
}

// start() waits for the server's stream only once its own header is written: that may be too late.
async function online(xmpp) {
    const isOnline = new Promise((resolve) => xmpp.once('online', resolve));
    xmpp.start().catch(() => {});
    await isOnline;
    await xmpp.send(xml('presence'));
}

// A message from the friend comes, and nothing else before it.
async function heard(friend, body) {
    const message = new Promise((resolve) => {
        user.on('stanza', (stanza) => {
            if (stanza.is('message') && stanza.attrs.type === 'chat') resolve(stanza.getChildText('body'));
        });
    });
    await friend.send(xml('message', { to: user.jid.toString(), type: 'chat' }, xml('body', {}, body)));
    const got = await message;
    if (got !== body) fail(`expected the message "${body}", got "${got}"`);
}

function fail(text) {
    process.stderr.write(`${text}; logins ${JSON.stringify(logins)}\n`);
    process.exit(1);
}
