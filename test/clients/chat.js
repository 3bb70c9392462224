// Two users log in with a client library, send each other numbered messages at the same time, check
// that every body arrives once and in order, and log out.
//
//   node chat.js strophe|xmpp SERVICE_URL JID JID PASSWORD COUNT
//
// The exit status is 0 if all went as expected; if not, it is 1 and standard error says what was
// expected and what came.
import process from 'node:process';

const DEADLINE_MS = 20_000;

const [library, service, first, second, password, count] = process.argv.slice(2);
if (!count) {
    fail('usage: node chat.js strophe|xmpp SERVICE_URL JID JID PASSWORD COUNT');
}

const { login } = await import(`./${library}.js`);
const deadline = setTimeout(() => fail(`expected the chat to end within ${DEADLINE_MS} ms; so far `
    + `${first} got ${JSON.stringify(inboxes[0])} and ${second} got ${JSON.stringify(inboxes[1])}`),
    DEADLINE_MS);

const expected = Array.from({ length: Number(count) }, (_, index) => `message <${index}> & "more"`);
const inboxes = [[], []];

try {
    const clients = await Promise.all([first, second].map((jid, index) =>
        login(service, jid, password, (from, body) => received(index, from, body))));
    for (const body of expected) {
        clients[0].send(clients[1].jid, body);
        clients[1].send(clients[0].jid, body);
    }
    await Promise.all(inboxes.map(complete));
    await Promise.all(clients.map((client) => client.logout()));
} catch (error) {
    fail(error.stack ?? String(error));
}
clearTimeout(deadline);
// A library may have a timer left, for minutes.
process.exit(0);

// Whoever waits for the last message is called when it comes.
function complete(inbox) {
    return new Promise((resolve) => {
        inbox.resolve = resolve;
        if (inbox.length === expected.length) resolve();
    });
}

function received(index, from, body) {
    const inbox = inboxes[index];
    const wanted = expected[inbox.length];
    const sender = index === 0 ? second : first;
    if (body !== wanted) fail(`expected "${wanted}" as message ${inbox.length}, got "${body}"`);
    if (!from.startsWith(`${sender}/`)) fail(`expected a message from ${sender}, got one from ${from}`);
    inbox.push(body);
    if (inbox.length === expected.length) inbox.resolve?.();
}

function fail(text) {
    process.stderr.write(`${text}\n`);
    process.exit(1);
}
