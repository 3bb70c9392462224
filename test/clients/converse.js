// Converse.js in Chromium: a user who answers a friend.
//
//   node converse.js PAGE bosh|websocket URL JID PASSWORD FRIEND
//
// PAGE is where converse.html is served, URL where Converse.js connects. All is done as with mouse and keyboard. The
// friend is told when they are shown to be online, each of their messages is answered; "reload" makes it reload the
// page before it answers, "log out" log out and end.
import process from 'node:process';
import { withChromium } from './chromium.js';

const DEADLINE_MS = 30_000;

const [address, transport, url, jid, password, friend] = process.argv.slice(2);
if (!friend) {
    process.stderr.write('usage: node converse.js PAGE bosh|websocket URL JID PASSWORD FRIEND\n');
    process.exit(2);
}

await withChromium(DEADLINE_MS, async (open) => {
    const page = await open(`${address}?${transport}=${encodeURIComponent(url)}`);
    await page.fill('input[name=jid]', jid);
    await page.fill('input[name=password]', password);
    await page.getByRole('button', { name: 'Log in' }).click();

    const contact = page.locator(`.open-chat[data-jid="${friend}"]`);
    await contact.locator('.chat-status[color="var(--chat-status-online)"]').waitFor();
    await contact.click();
    await write(page, 'you are online');
    const answered = [];
    for (let text; text !== 'log out';) {
        const message = await page.waitForFunction(next, { friend, answered });
        let id;
        ({ id, text } = await message.jsonValue());
        answered.push(id);
        if (text === 'reload') await page.reload();
        if (text !== 'log out') await write(page, `you said: ${text}`);
    }

    await page.locator('a.show-profile').first().click();
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByRole('button', { name: 'Confirm' }).click();
    await page.locator('input[name=password]').waitFor();
});

// The friend's first message that isn't answered yet; this runs in the page.
function next({ friend, answered }) {
    for (const message of document.querySelectorAll(`.chat-msg[data-from^="${friend}"]`)) {
        const id = message.dataset.msgid;
        const text = message.querySelector('converse-chat-message-body')?.getAttribute('text');
        if (text && !answered.includes(id)) return { id, text };
    }
    return null;
}

async function write(page, text) {
    const input = page.locator('textarea.chat-textarea');
    await input.fill(text);
    await input.press('Enter');
    // It is emptied when the message is on its way.
    await page.locator('textarea.chat-textarea:placeholder-shown').waitFor();
}
