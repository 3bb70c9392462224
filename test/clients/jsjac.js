// JSJaC, by which JWChat speaks XMPP, in Chromium: a user who answers a friend.
//
//   node jsjac.js PAGE URL JID PASSWORD FRIEND
//
// PAGE is where jsjac.html is served, URL the BOSH server. The friend is told when they are seen to be online, each of
// their messages is answered; "reload" makes it suspend the session, reload the page and resume it there before it
// answers, "log out" log out and end.
import process from 'node:process';
import { withChromium } from './chromium.js';

const DEADLINE_MS = 60_000;

const [address, service, jid, password, friend] = process.argv.slice(2);
if (!friend) {
    process.stderr.write('usage: node jsjac.js PAGE URL JID PASSWORD FRIEND\n');
    process.exit(2);
}

await withChromium(DEADLINE_MS, async (open) => {
    const page = await open(`${address}?${new URLSearchParams({ service, jid, password, friend })}`);
    const end = await page.locator('body[data-end]').getAttribute('data-end');
    if (end !== 'logged out') throw new Error(end);
});
