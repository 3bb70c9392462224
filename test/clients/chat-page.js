// The chat page of `make run`, opened in Chromium by two users who write each other.
//
//   node chat-page.js URL websocket|bosh USER USER PASSWORD [PNG]
//
// The exit status is 0 if each sees the other come, the other's messages, and the other leave; PNG gets a picture
// of the first one's window.
import process from 'node:process';
import { withChromium } from './chromium.js';

const DEADLINE_MS = 30_000;

const [url, transport, first, second, password, picture] = process.argv.slice(2);
if (!password) {
    process.stderr.write('usage: node chat-page.js URL websocket|bosh USER USER PASSWORD [PNG]\n');
    process.exit(2);
}

await withChromium(DEADLINE_MS, async (open) => {
    const [one, other] = await Promise.all([first, second].map((user) => login(open, user)));
    await Promise.all([choose(one, second), choose(other, first)]);
    await Promise.all([one, other].map((page) => page.locator('#presence:text-is("online")').waitFor()));

    const texts = ['Grüße, <b>bold</b> & "quoted"', '日本語 🎉', 'the third'];
    for (const text of texts) {
        await write(one, `${text} from ${first}`);
        await write(other, `${text} from ${second}`);
    }
    for (const text of texts) {
        await shown(one, `${text} from ${first}`, 'mine');
        await shown(one, `${text} from ${second}`);
        await shown(other, `${text} from ${second}`, 'mine');
        await shown(other, `${text} from ${first}`);
    }
    if (picture) await one.screenshot({ path: picture });

    await other.click('#logout');
    await other.locator('#login').waitFor();
    await one.locator('#presence:text-is("offline")').waitFor();
    await one.click('#logout');
    await one.locator('#login').waitFor();
});

async function login(open, user) {
    const page = await open(`${url}#${user}`);
    await page.check(`input[name=transport][value=${transport}]`);
    await page.fill('input[name=password]', password);
    await page.click('#login button');
    await page.locator('#chat').waitFor();
    return page;
}

async function choose(page, user) {
    await page.locator('#people button', { hasText: user }).click();
}

async function write(page, text) {
    await page.fill('#send input', text);
    await page.press('#send input', 'Enter');
}

async function shown(page, text, kind) {
    await page.locator(`#messages li${kind ? `.${kind}` : ':not(.mine)'}`, { hasText: text }).waitFor();
}
