/** Watching: a line that is cut again and again, and nothing lost; what strangers wrote is text; refusals are told. */

import assert from 'node:assert/strict';
import { agree, player, watched, watcher } from './arenas.mjs';
import { token, until } from './lib.mjs';
import { open } from './pages.mjs';

/** Publishes events 1, 2, 3… one after the other until `stop` is called; resolves with how many. */
async function publishing(base, room) {
  const bearer = await token(base, { user: 'referee', rooms: [{ r: room, role: 'host' }] });
  let isOn = true;
  const done = (async () => {
    for (let n = 1; ; n += 1) {
      const response = await fetch(`${base}/v1/rooms/${room}/events`, {
        method: 'POST',
        headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
        body: JSON.stringify({ kind: 'count', data: n }),
      });
      assert.equal(response.status, 201);
      if (!isOn) return n;
      // A rhythm, so that the log keeps them all; nothing waits for it.
      await new Promise((next) => setTimeout(next, 150));
    }
  })();
  // A test that fails before it asks for the end must not take the others with it.
  done.catch(() => {});
  return { stop: () => ((isOn = false), done) };
}

/** The events in the list, oldest first. */
const listed = ({ page }) =>
  page
    .locator('#events li')
    .evaluateAll((lines) =>
      lines
        .map((line) => ({
          kind: line.dataset.kind,
          seq: Number(line.dataset.seq),
          follows: line.dataset.follows,
          text: line.lastElementChild?.textContent,
        }))
        .reverse(),
    );

const number = async ({ page }, id) => Number(await page.textContent(`#${id}`));

/** Cuts the line three times while events are published, and checks that all of them are there, each once. */
const cutThrice =
  (transport) =>
  async ({ base, browser, after }) => {
    const room = `watch-cut-${transport}`;
    const ada = await player(browser, base, room, { name: 'Ada', bot: true });
    const eve = await watcher(browser, base, room, transport);
    const series = await publishing(base, room);
    after(series.stop);
    await until('some events', async () => (await number(eve, 'seen')) > 5);
    for (let cut = 1; cut <= 3; cut += 1) {
      await eve.page.getByRole('button', { name: /Cut the line/ }).click();
      await until(
        'the line to be cut',
        async () => (await eve.page.locator('#line-state').getAttribute('data-state')) === 'cut',
      );
      const seen = await number(eve, 'seen');
      await until(
        'the cut to be made good',
        async () => (await eve.page.locator('#cuts li[data-state="whole"]').count()) === cut,
        40_000,
      );
      await until('what happened meanwhile to be counted', async () => (await number(eve, 'seen')) > seen);
      assert.match(
        await eve.page.locator('#cuts li').first().textContent(),
        /[1-9]\d* events? caught up\. Nothing lost, nothing twice\./,
      );
    }
    const last = await series.stop();
    await until('the last of the series', async () => (await listed(eve)).at(-1)?.text === `referee ${last}`);
    const events = await listed(eve);
    assert.deepEqual(
      events.filter(({ kind }) => kind === 'count').map(({ text }) => text),
      Array.from({ length: last }, (_, n) => `referee ${n + 1}`),
    );
    assert.deepEqual(
      events.map(({ seq }) => seq),
      Array.from({ length: events.length }, (_, n) => events[0].seq + n),
    );
    assert.deepEqual([...new Set(events.map(({ follows }) => follows))], ['next']);
    await until('the counters to be written', async () => (await number(eve, 'seen')) === events.length);
    for (const id of ['gaps', 'repeats', 'resets']) assert.equal(await number(eve, id), 0, id);
    // The newest state is there, too: the ship comes to rest, and is where its owner has it.
    await ada.page.evaluate(() => Object.defineProperty(document, 'visibilityState', { value: 'hidden' }));
    await ada.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await agree([ada], [() => watched(eve)]);
    // Requests that were aborted are no faults of the page, but the browser's console names some.
    assert.deepEqual(
      eve.faults.filter((fault) => !/net::ERR_|Failed to load resource/.test(fault)),
      [],
    );
  };

export const tests = {
  'the line of a stream is cut three times, and no event is lost': cutThrice('events'),
  'the line of a long poll is cut three times, and no event is lost': cutThrice('poll'),

  'between two polls nobody asks for a room where nobody is, but the feed': async ({ base, browser }) => {
    const asked = [];
    const polls = [];
    await watcher(browser, base, 'watch-empty', 'poll', {
      before: (page) =>
        page.on('request', (request) => {
          const { pathname, searchParams } = new URL(request.url());
          if (pathname === '/v1/rooms/watch-empty') asked.push(pathname);
          if (pathname === '/v1/poll' && searchParams.get('wait') !== '0') polls.push(pathname);
        }),
    });
    await until('a poll that waits', () => polls.length > 0);
    assert.equal(asked.length, 1);
  },

  'what strangers write is shown as text': async ({ base, browser }) => {
    const room = 'watch-text';
    const eve = await watcher(browser, base, room);
    const bearer = await token(base, { user: 'mallory', name: '<b>Mallory</b>', rooms: [{ r: room, role: 'host' }] });
    const events = [
      { kind: 'message', data: { text: '<img src=x onerror=alert(1)>' } },
      { kind: 'score', data: { '<script>': ['</li>', null, 7] } },
      { kind: 'score', data: null },
    ];
    for (const body of events) {
      const headers = { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' };
      assert.equal(
        (await fetch(`${base}/v1/rooms/${room}/events`, { method: 'POST', headers, body: JSON.stringify(body) }))
          .status,
        201,
      );
    }
    await until('all of them', async () => (await listed(eve)).length === 3);
    const [chat, score, none] = await listed(eve);
    assert.equal(chat.text, '<b>Mallory</b> <img src=x onerror=alert(1)>');
    assert.equal(score.text, '<b>Mallory</b> {"<script>":["</li>",null,7]}');
    assert.equal(none.text, '<b>Mallory</b> null');
    assert.equal(await eve.page.locator('#events img, #events script').count(), 0);
    assert.deepEqual(eve.faults, []);
  },

  'a token without the right, and a server without tokens, are told in words': async ({ base, browser }) => {
    const bearer = await token(base, { user: 'mallory', rooms: [{ r: 'elsewhere', role: 'spectator' }] });
    const refused = await open(browser, base, `watch?room=watch-refused#token=${bearer}`);
    await until(
      'the refusal',
      async () =>
        (await refused.page.locator('#fault').isVisible()) && (await refused.page.textContent('#fault')) !== '',
    );
    await refused.page.waitForSelector('#status[data-state="refused"]');
    const without = await open(browser, base, 'watch?room=watch-without', {
      before: (page) => page.route('**/dev/token', (route) => route.fulfill({ status: 404, body: '{}' })),
    });
    await without.page.getByRole('heading', { name: 'You need a token' }).waitFor();
  },
};
