/**
 * The server's state: all of its figures, a sentence on them, refusals in words, and a server that goes and comes back.
 */

import assert from 'node:assert/strict';
import { looks } from './barriers.mjs';
import { startServer, until } from './lib.mjs';
import { open } from './pages.mjs';
import { startStrict } from './strict.mjs';

const CARDS = ['cpu', 'memory', 'disk', 'latency', 'connections', 'rooms', 'traffic'];

const figure = (page, card) => page.textContent(`#card-${card} .figure dd`);
const detail = (page, card, label) =>
  page.locator(`#card-${card} .details div`, { hasText: label }).locator('dd').textContent();
const stands = (page, state) => page.waitForSelector(`#status[data-state="${state}"]`, { timeout: 30_000 });

/** Lets the page believe that it is looked at, or not. */
const looked = (page, state) =>
  page.evaluate((now) => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => now });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);

export const tests = {
  async 'all seven cards have figures, and they follow what happens'({ browser, after }) {
    // Of its own: in another, guests of the test before may still be going.
    const { base, stop } = await startServer();
    after(stop);
    const { page, faults } = await open(browser, base, 'status');
    for (const card of CARDS) {
      await page.waitForSelector(`#card-${card}[data-known]`);
      assert.match(await page.locator(`#card-${card} canvas`).getAttribute('aria-label'), /, the last minutes/);
    }
    const shapes = {
      cpu: /^[\d.]+ %$/, memory: /^[\d.]+ MiB$/, disk: /^[\d.]+ %$/, connections: /^\d+$/, traffic: /B\/s$/,
    };
    for (const [card, shape] of Object.entries(shapes)) {
      assert.match(await figure(page, card), shape, card);
    }
    await until('a verdict', async () => /All is well|look at/i.test(await page.textContent('#verdict')));

    assert.equal(await detail(page, 'rooms', 'Members'), '0');
    const guest = await open(browser, base, 'ticker');
    await until('a member', async () => (await detail(page, 'rooms', 'Members')) === '1');
    await until('its events', async () => parseFloat(await detail(page, 'traffic', 'Events')) > 0);
    assert.notEqual(await detail(page, 'connections', 'WebSocket'), '0');
    await until('a round trip', async () => /^[\d.]+ ms$/.test(await figure(page, 'latency')), 40_000);
    await guest.close();
    assert.deepEqual(faults, []);
  },

  async 'nothing is asked for while nobody looks'({ base, browser }) {
    const { page } = await open(browser, base, 'status');
    await stands(page, 'connected');
    const asked = [];
    page.on('request', (request) => request.url().endsWith('/v1/status') && asked.push(request));
    const ended = page.waitForEvent('requestfailed', (request) => request.url().endsWith('/v1/status'));
    await looked(page, 'hidden');
    await ended;
    await stands(page, 'left');
    assert.equal(await page.textContent('#verdict'), 'Paused');
    await looked(page, 'visible');
    await stands(page, 'connected');
    await until('a verdict', async () => (await page.textContent('#verdict')) !== 'Paused');
    assert.equal(asked.length, 1);
  },

  async 'whoever may not see it is told what is needed'({ browser, after }) {
    const { base, sign } = await startStrict(after);
    for (const [hash, code] of [['', 700], [`#token=${sign({ sub: 'ada' })}`, 705], ['#token=not.a.token', 701]]) {
      const { page, close } = await open(browser, base, `status${hash}`);
      await stands(page, 'refused');
      const words = await page.textContent('#refused');
      assert.match(words, new RegExp(`\\(${code}\\)`));
      assert.match(words, /rallypoint token --user ops --admin/);
      assert.equal(await page.locator('#cards').isVisible(), false);
      await close();
    }
    const ops = await open(browser, base, `status#token=${sign({ sub: 'ops', admin: ['status'] })}`);
    await stands(ops.page, 'connected');
    await ops.page.waitForSelector('#card-cpu[data-known]');
    assert.deepEqual(ops.faults, []);
  },

  async 'a server that goes is missed, and found again'({ browser, after }) {
    const first = await startServer();
    after(first.stop);
    const { page } = await open(browser, first.base, 'status');
    await page.waitForSelector('#card-rooms[data-known]');
    await first.stop();
    await stands(page, 'reconnecting');
    await until('it is said', async () => /has not been heard/.test(await page.textContent('#findings')), 30_000);
    assert.equal(await page.getAttribute('#health', 'data-level'), 'danger');
    const again = await startServer({ port: first.port });
    after(again.stop);
    await stands(page, 'connected');
    await until('all is well', async () => !/has not been heard/.test(await page.textContent('#findings')));
  },

  async 'it has no barriers, in both themes, on a telephone and on a desk'({ base, browser }) {
    await looks(browser, base, 'status', (page) => page.waitForSelector('#card-latency[data-known]'));
  },
};
