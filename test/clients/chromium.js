// Debian's Chromium without a window, for the clients that live in a browser.
import { chromium } from 'playwright-core';

// Neither it nor a page loads anything from elsewhere.
const ARGUMENTS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost'];

/**
 * Starts it, hands it to a function, and ends it however that ends. All waits on its pages end after `deadline`.
 * @param {number} deadline in milliseconds
 * @param {(open: (url: string) => Promise<import('playwright-core').Page>) => Promise<void>} use gets what opens
 *     a page as a user who has nothing to do with those of the other pages
 */
export async function withChromium(deadline, use) {
    const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        args: ARGUMENTS,
        // Chromium has no sandbox where root starts it.
        chromiumSandbox: process.getuid() !== 0,
    });
    try {
        await use(async (url) => {
            const page = await browser.newPage();
            page.setDefaultTimeout(deadline);
            page.on('pageerror', (error) => process.stderr.write(`${error.stack ?? error}\n`));
            page.on('console', (message) => {
                const text = message.text();
                if (message.type() !== 'error' || text.endsWith('ERR_NAME_NOT_RESOLVED')) return;
                process.stderr.write(`the page says: ${text}\n`);
            });
            await page.goto(url);
            return page;
        });
    } finally {
        await browser.close();
    }
}
