/** Whether a page can be used by everybody: what axe finds serious, and whether it fits a telephone. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { open } from './pages.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const PHONE = { width: 390, height: 844 };

/** What axe finds serious on a page, in words. */
export async function barriers(page) {
  // By the debugging protocol, so the page's Content-Security-Policy does not mind.
  const { violations } = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ['violations'] })`);
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`);
}

/** Whether the page can be moved sideways, which no page should. */
export const wide = (page) => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);

/**
 * Opens a page in both themes, on a telephone and on a desk, and has `ready` wait until it shows what it is for: there
 * must be no barriers, nothing refused by the Content-Security-Policy, nothing from elsewhere, and nothing that is too
 * wide.
 */
export async function looks(browser, base, path, ready) {
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [PHONE, { width: 1280, height: 800 }]) {
      const elsewhere = [];
      const note = (request) => new URL(request.url()).origin !== base && elsewhere.push(request.url());
      const { page, faults, close } = await open(browser, base, path, {
        colorScheme, viewport,
        before: (page) => page.on('request', note),
      });
      await ready(page);
      const where = `${path} ${colorScheme} ${viewport.width}`;
      assert.deepEqual(await barriers(page), [], where);
      assert.equal(await wide(page), false, where);
      assert.deepEqual([...faults, ...elsewhere], [], where);
      await close();
    }
  }
}
