/**
 * The comparison: a run over all four ways, stopped early, without a WebSocket, in the background, and cleaned up
 * after.
 */

import assert from 'node:assert/strict';
import { looks } from './barriers.mjs';
import { token, until } from './lib.mjs';
import { open } from './pages.mjs';
import { startStrict } from './strict.mjs';

const WAYS = ['short', 'long', 'events', 'websocket'];

/** Sets the sliders and presses the button. */
async function start(page, rate, seconds) {
  for (const [id, value] of [['rate', rate], ['seconds', seconds]]) {
    await page.locator(`#${id}`).evaluate((slider, to) => {
      slider.value = to;
      slider.dispatchEvent(new Event('input', { bubbles: true }));
    }, `${value}`);
  }
  await page.getByRole('button', { name: 'Start' }).click();
}

const figure = (page, way, name) => page.textContent(`[data-way="${way}"] [data-figure="${name}"]`);
const said = (page) => page.locator('#conclusion li').allTextContents();
const finished = (page) => page.locator('#results').waitFor({ timeout: 60_000 });

/** A row of the table: events, requests, bytes in and out, per event, delays. */
const row = (page, way) => page.locator(`#rows [data-way="${way}"] td`).allTextContents();

export const tests = {
  async 'a short run: all four receive all events, and the figures are said'({ base, browser }) {
    const { page, faults } = await open(browser, base, 'compare');
    await start(page, 20, 5);
    await finished(page);
    for (const way of WAYS) {
      assert.equal(await figure(page, way, 'received'), '100 of 100', way);
      const [events, requests, inward, outward, each, ...delays] = await row(page, way);
      assert.equal(events, '100 of 100');
      assert.ok(Number(requests) >= 1 && [inward, outward, each].every((bytes) => /^[\d,]+ (B|KiB)$/.test(bytes)), way);
      const [least, average, most] = [0, 1, 3].map((n) => Number(delays[n].replace(/,| ms/g, '')));
      assert.ok(least <= average && average <= most && most > 0, `${delays}`);
    }
    const asked = Object.fromEntries(
      await Promise.all(WAYS.map(async (way) => [way, Number((await row(page, way))[1])])),
    );
    assert.deepEqual([asked.events, asked.websocket], [1, 1]);
    assert.ok(asked.short >= 5 && asked.long >= 5, JSON.stringify(asked));
    const [first, ...more] = await said(page);
    assert.equal(first, 'All four received all 100 events, each once.');
    assert.ok(more.length > 0);

    // Nothing of it stays behind: nobody is in the room any more.
    const bearer = await token(base, { user: 'ops', admin: true });
    await until('everybody has left', async () => {
      const response = await fetch(`${base}/v1/rooms?limit=500`, { headers: { authorization: `Bearer ${bearer}` } });
      const rooms = (await response.json()).rooms.filter(({ room }) => room.startsWith('compare/'));
      return rooms.every(({ members, spectators }) => members === 0 && spectators === 0);
    });
    assert.equal(await page.getByRole('button', { name: 'Start' }).isEnabled(), true);
    assert.deepEqual(faults, []);
  },

  async 'a run can be stopped, and what was published so far is compared'({ base, browser }) {
    const { page, faults } = await open(browser, base, 'compare');
    await start(page, 5, 60);
    const come = async () => Number.parseInt(await figure(page, 'websocket', 'received'), 10);
    await until('some events', async () => (await come()) >= 3, 30_000);
    await page.getByRole('button', { name: 'Stop' }).click();
    await finished(page);
    const [, sent] = /all (\d+) events/.exec((await said(page))[0]) ?? [];
    assert.ok(Number(sent) >= 3 && Number(sent) < 300, sent);
    assert.equal(await page.textContent('#stage'), `${sent} of 300 published.`);
    assert.deepEqual(faults, []);
  },

  async 'where no WebSocket gets through the other three are compared'({ base, browser }) {
    const { page } = await open(browser, base, 'compare', {
      before: (page) => page.routeWebSocket(/v1\/ws/, (socket) => socket.close({ code: 1006 })),
    });
    await start(page, 5, 5);
    await finished(page);
    const [out, all] = await said(page);
    assert.match(out, /^WebSocket took no part/);
    assert.equal(all, 'All 3 received all 25 events, each once.');
    assert.deepEqual(await row(page, 'websocket'), Array(9).fill('–'));
  },

  async 'a run in the background is said to be one'({ base, browser }) {
    const { page } = await open(browser, base, 'compare');
    await start(page, 5, 5);
    const come = async () => Number.parseInt(await figure(page, 'websocket', 'received'), 10);
    await until('some events', async () => (await come()) >= 2, 30_000);
    await page.evaluate(() => {
      Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => 'hidden' });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await finished(page);
    assert.ok((await said(page)).some((line) => /in the background for \d+ s/.test(line)));
  },

  async 'where no tokens are handed out one is told how to get one'({ browser, after }) {
    const { base, sign } = await startStrict(after);
    const nobody = await open(browser, base, 'compare');
    await nobody.page.getByRole('button', { name: 'Start' }).click();
    await nobody.page.getByRole('heading', { name: 'You need a token' }).waitFor();
    await until('it is over', async () => /^0 of \d+ published\.$/.test(await nobody.page.textContent('#stage')));
    assert.equal(await nobody.page.getByRole('button', { name: 'Start' }).isEnabled(), true);

    const rights = { r: 'compare/*', do: ['create', 'join', 'watch', 'publish', 'history'] };
    const { page, faults } = await open(browser, base, `compare#token=${sign({ sub: 'ada', rooms: [rights] })}`);
    await start(page, 5, 5);
    await finished(page);
    assert.equal((await said(page))[0], 'All four received all 25 events, each once.');
    assert.deepEqual(faults, []);
  },

  async 'it has no barriers, in both themes, on a telephone and on a desk'({ base, browser }) {
    await looks(browser, base, 'compare', async (page) => {
      await start(page, 10, 5);
      await finished(page);
    });
  },
};
