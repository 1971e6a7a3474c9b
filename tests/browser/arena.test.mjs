/** The arena: ships, shots and scores over the relay, what the lanes do on a slow line, and the ways it may be shut. */

import assert from 'node:assert/strict';
import { agree, others, player, put, ship, watched, watcher } from './arenas.mjs';
import { noSocket, token, until } from './lib.mjs';
import { open } from './pages.mjs';

/** What a player's tab has of all others; `self` is itself, which it does not get back. */
const view = (tab) => async () => ({ ...(await others(tab)), self: (await ship(tab)).peer });

export const tests = {
  'four play, and all see the moves of all; two watch, over SSE and over long poll, and see the same': async ({
    base,
    browser,
  }) => {
    const room = 'arena-four';
    const tabs = [];
    for (const name of ['Ada', 'Bob', 'Cy', 'Dee']) tabs.push(await player(browser, base, room, { name }));
    const watchers = [await watcher(browser, base, room, 'events'), await watcher(browser, base, room, 'poll')];
    for (const tab of tabs) await until('three others', async () => Object.keys(await others(tab)).length === 3);
    await agree(tabs, [...tabs.map(view), ...watchers.map((tab) => () => watched(tab))]);
    // Each flies somewhere, by its keys; then all come to rest, and everybody has to know where.
    const before = await Promise.all(tabs.map(ship));
    const keys = ['ArrowUp', 'KeyS', 'ArrowLeft', 'KeyD'];
    await Promise.all(tabs.map(({ page }, each) => page.keyboard.down(keys[each])));
    await until('all to have moved', async () =>
      (await Promise.all(tabs.map(ship))).every(({ x, y }, each) => x !== before[each].x || y !== before[each].y),
    );
    await Promise.all(tabs.map(({ page }, each) => page.keyboard.up(keys[each])));
    await agree(tabs, [...tabs.map(view), ...watchers.map((tab) => () => watched(tab))]);
    for (const { page } of watchers) {
      assert.deepEqual((await page.locator('#events [data-kind="came"] i').allTextContents()).sort(), [
        'Ada',
        'Bob',
        'Cy',
        'Dee',
      ]);
      assert.equal(await page.locator('#arena').isVisible(), true);
    }
    assert.match(await watchers[0].page.textContent('#status'), /Server-Sent Events/);
    assert.match(await watchers[1].page.textContent('#status'), /long poll/);
    // A poll counts only while it waits.
    await until('the watchers to be counted', async () =>
      /4 of 8 here, (1 watches|2 watch)/.test(await tabs[0].page.textContent('#crowd')),
    );
    for (const { faults } of [...tabs, ...watchers]) assert.deepEqual(faults, []);
  },

  'a shot is decided by the one who is hit; all count it, and whoever comes later knows the score': async ({
    base,
    browser,
  }) => {
    const room = 'arena-shots';
    const ada = await player(browser, base, room, { name: 'Ada' });
    const bob = await player(browser, base, room, { name: 'Bob' });
    for (const tab of [ada, bob]) await until('the other', async () => Object.keys(await others(tab)).length === 1);
    // Side by side, far from all rocks; who was hit is pushed, so both are put there again and again.
    const line = setInterval(() => Promise.all([put(ada, 100, 90, 0), put(bob, 260, 90, 0)]).catch(() => {}), 200);
    await ada.page.keyboard.down('Space');
    try {
      await until('Bob to be shot down', async () => (await ship(bob)).downs === 1);
    } finally {
      clearInterval(line);
      await ada.page.keyboard.up('Space');
    }
    await until('Ada to have the point', async () => (await ship(ada)).score === 1);
    await until('Bob to have come back', async () => (await ship(bob)).health === 5);
    await until(
      'the news',
      async () =>
        /You shot Bob down/.test(await ada.page.textContent('#news')) &&
        /Ada shot you down/.test(await bob.page.textContent('#news')),
    );
    const cy = await player(browser, base, room, { name: 'Cy' });
    await until('the latecomer to know the score', async () =>
      Object.values(await others(cy)).some(({ score, downs }) => score === 1 && downs === 0),
    );
    const row = cy.page.locator('#players tr', { hasText: 'Ada' });
    await until('the score in the table', async () => (await row.locator('td').first().textContent()) === '1');
    const dee = await watcher(browser, base, room);
    await until('the watcher to read of it', async () =>
      /Ada.*Bob/.test(await dee.page.locator('#events [data-kind="arena.down"]').first().textContent()),
    );
    for (const { faults } of [ada, bob, cy, dee]) assert.deepEqual(faults, []);
  },

  'on a slow line the latest lane stays young and the reliable one grows old; the sender chooses': async ({
    base,
    browser,
  }) => {
    const room = 'arena-slow';
    const ada = await player(browser, base, room, { name: 'Ada' });
    const bob = await player(browser, base, room, { name: 'Bob' });
    await until('Bob', async () => Object.values(await others(ada))[0]?.lane === 'latest');
    await ada.page.getByLabel(/Slow my connection/).check();
    const ages = () => ada.page.evaluate(() => rallypoint.game.session.player.ages());
    await until('the reliable lane to be old', async () => (await ages()).reliable > 2_000);
    assert.ok((await ages()).latest < 1_000);
    await until(
      'the words',
      async () =>
        /old/.test(await ada.page.textContent('#age-latest dd')) &&
        /and growing, \d+ waiting/.test(await ada.page.textContent('#age-reliable')),
    );
    // Quick again: nothing waits any more.
    await ada.page.getByLabel(/Slow my connection/).uncheck();
    await until('to be up to date', async () => (await ages()).latest < 500 && (await ages()).reliable === undefined);
    // Bob sends on the other lane.
    await bob.page.getByLabel('reliable', { exact: true }).check();
    await until('Bob on the reliable lane', async () => Object.values(await others(ada))[0]?.lane === 'reliable');
    const moves = () => ada.page.evaluate(() => rallypoint.game.session.player.counts.in.reliable);
    const first = await moves();
    await until('more of it', async () => (await moves()) > first + 25);
    await agree([bob], [view(ada)]);
    // Who watches sees Bob still: feeds have latest moves only.
    const eve = await watcher(browser, base, room);
    await agree([ada, bob], [() => watched(eve)]);
    for (const { faults } of [ada, bob, eve]) assert.deepEqual(faults, []);
  },

  'eight play, the ninth finds the arena full and may watch; when one has left there is a place': async ({
    base,
    browser,
  }) => {
    const room = 'arena-full';
    const add = async (tab, count) => {
      for (let each = 1; each <= count; each += 1) {
        await tab.page.getByRole('button', { name: 'Add demo player' }).click();
        await until('the demo player', () =>
          tab.page.evaluate((wanted) => rallypoint.game.demos.size === wanted, each),
        );
      }
    };
    const ada = await player(browser, base, room, { name: 'Ada' });
    await add(ada, 4);
    const bob = await player(browser, base, room, { name: 'Bob' });
    await add(bob, 2);
    const ninth = await open(browser, base, `arena?room=${room}`);
    await ninth.page.getByRole('button', { name: 'Play', exact: true }).click();
    await ninth.page.getByRole('heading', { name: 'The arena is full' }).waitFor();
    assert.equal(
      new URL(await ninth.page.getByRole('link', { name: 'Watch it' }).getAttribute('href')).searchParams.get('room'),
      room,
    );
    await until('seven others', async () => Object.keys(await others(ada)).length === 7);
    await bob.page.getByRole('button', { name: 'Remove a demo player' }).click();
    await until('one to be gone', async () => Object.keys(await others(ada)).length === 6);
    await ninth.page.getByRole('button', { name: 'Try again' }).click();
    await ninth.page.waitForSelector('#game:not([hidden])');
    for (const { faults } of [ada, bob, ninth]) assert.deepEqual(faults, []);
  },

  'without a WebSocket there is no playing, but watching': async ({ base, browser }) => {
    const tab = await open(browser, base, 'arena?room=arena-without', {
      before: (page) => page.addInitScript(noSocket),
    });
    await tab.page.getByRole('button', { name: 'Play', exact: true }).click();
    await tab.page.getByRole('heading', { name: 'Playing needs a WebSocket' }).waitFor({ timeout: 60_000 });
    await tab.page.getByRole('link', { name: 'Watch it' }).click();
    await tab.page.waitForSelector('#status[data-state="connected"]', { timeout: 30_000 });
  },

  'a name is text, a tab that nobody looks at stands still and cannot be hit, and who leaves is gone': async ({
    base,
    browser,
  }) => {
    const room = 'arena-names';
    const name = '<img src=x onerror=alert(1)>';
    const ada = await player(browser, base, room, { name: 'Ada' });
    const bob = await player(browser, base, room, { name });
    await ada.page.locator('#players').getByText(name).waitFor();
    assert.equal(await ada.page.locator('#game img').count(), 0);
    // What is no move of this game is counted and changes nothing.
    await bob.page.evaluate(() => {
      const strange = ['x', null, [1, 2], { ship: 1 }, [1, 'x', 0, 0, 0, 0, 5, 0, 0, 0, 0, 0]];
      for (const data of strange) rallypoint.room.send(data);
      rallypoint.room.sendReliable([3, rallypoint.room.you.handle, 1, 1], { key: 3 });
      rallypoint.room.sendReliable([2, 1, 1e9, 0, 0], { key: 2 });
    });
    const strange = () => ada.page.evaluate(() => rallypoint.game.session.player.counts.strange);
    await until('the strange moves to be counted', async () => (await strange()) > 0);
    assert.deepEqual(Object.values(await others(ada)).map(({ health, downs }) => [health, downs]), [[5, 0]]);
    await bob.page.evaluate(() => {
      Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await ada.page.locator('#players').getByText(`${name}, away`).waitFor();
    await bob.page.evaluate(() => {
      delete document.visibilityState;
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await until('Bob to be back', async () => !/away/.test(await ada.page.textContent('#players')));
    await bob.page.getByRole('button', { name: 'Leave' }).click();
    await bob.page.getByRole('button', { name: 'Play', exact: true }).waitFor();
    await until('Bob to be gone', async () => Object.keys(await others(ada)).length === 0);
    for (const { faults } of [ada, bob]) assert.deepEqual(faults, []);
  },

  'nobody gets a colour that another has, and a demo player that the server puts out is no longer counted': async ({
    base,
    browser,
  }) => {
    const room = 'arena-colours';
    const colour = ({ page }) => page.evaluate(() => rallypoint.game.session.player.ship.colour);
    const tabs = [];
    for (const name of ['Ada', 'Bob']) {
      const tab = await open(browser, base, `arena?room=${room}`);
      await tab.page.getByLabel('Your name', { exact: true }).fill(name);
      await tab.page.getByRole('radio', { name: 'teal' }).check({ force: true });
      await tab.page.getByRole('button', { name: 'Play', exact: true }).click();
      await tab.page.waitForSelector('#game:not([hidden])');
      await until('a ship that is told', async () => (await ship(tab)).handle !== undefined);
      tabs.push(tab);
      if (name === 'Ada') await until('it is sent', () =>
        tab.page.evaluate(() => rallypoint.game.session.player.counts.out.latest > 3));
    }
    const [ada, bob] = tabs;
    await until('two colours', async () => (await colour(ada)) === 7 && (await colour(bob)) === 0);
    await ada.page.getByRole('button', { name: 'Add demo player' }).click();
    await ada.page.getByRole('button', { name: 'Remove a demo player' }).waitFor();
    const peer = await ada.page.evaluate(() => [...rallypoint.game.demos.keys()][0].room.you.peer);
    const host = await token(base, { user: 'host', rooms: [{ r: room, role: 'host' }] });
    const put = await fetch(`${base}/v1/rooms/${room}/members/${peer}?ban=60`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${host}` },
    });
    assert.equal(put.status, 204);
    await until('none', () => ada.page.evaluate(() => rallypoint.game.demos.size === 0));
    await ada.page.getByRole('button', { name: 'Remove a demo player' }).waitFor({ state: 'hidden' });
    for (const { faults } of tabs) assert.deepEqual(faults, []);
  },

  'on a telephone held across all that one plays with is on the screen': async ({ base, browser }) => {
    const viewport = { width: 844, height: 390 };
    const tab = await player(browser, base, 'arena-across', { name: 'Ada', viewport, hasTouch: true, isMobile: true });
    for (const id of ['canvas', 'stick', 'fire', 'leave']) {
      const { y, height } = await tab.page.locator(`#${id}`).boundingBox();
      assert.ok(y >= 0 && y + height <= viewport.height, `${id}: ${y} to ${y + height}`);
    }
    assert.deepEqual(tab.faults, []);
  },
};
