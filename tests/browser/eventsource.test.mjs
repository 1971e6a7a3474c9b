/** The browser's own EventSource reads a room, and loses nothing when its connection is cut. */

import assert from 'node:assert/strict';
import { token, until } from './lib.mjs';
import { flaky } from './proxy.mjs';

export const tests = {
  async 'EventSource comes back by itself: nothing lost, nothing twice'({ browser, base, after }) {
    const room = 'feed/one';
    const proxy = await flaky(new URL(base).port);
    after(() => proxy.close());
    const page = await (await browser.newContext()).newPage();
    await page.goto(proxy.base);

    const reader = await token(base, { user: 'reader', rooms: [{ r: room, role: 'spectator' }] });
    const writer = await token(base, { user: 'writer', rooms: [{ r: room, role: 'host' }] });
    const publish = async (number) => {
      const response = await fetch(`${base}/v1/rooms/${encodeURIComponent(room)}/events`, {
        method: 'POST',
        headers: { authorization: `Bearer ${writer}`, 'content-type': 'application/json' },
        body: JSON.stringify({ kind: 'score', data: { number } }),
      });
      assert.equal(response.status, 201, await response.clone().text());
    };

    await page.evaluate(([url]) => {
      window.seen = { connected: 0, heartbeat: 0, reset: 0, lost: 0, score: [] };
      const source = new EventSource(url);
      window.source = source;
      source.onerror = () => (seen.lost += 1);
      for (const kind of ['connected', 'heartbeat', 'reset']) source.addEventListener(kind, () => (seen[kind] += 1));
      source.addEventListener('score', ({ data, lastEventId }) => {
        const event = JSON.parse(data);
        const seq = Number(event.position.split('.')[1]);
        seen.score.push({ number: event.data.number, room: event.room, seq, id: lastEventId });
      });
    }, [`/v1/events?${new URLSearchParams({ room, token: reader })}`]);
    const seen = () => page.evaluate(() => seen);
    const numbers = async () => (await seen()).score.map(({ number }) => number);

    await until('connected', async () => (await seen()).connected === 1);
    await until('a heartbeat', async () => (await seen()).heartbeat > 0);
    for (const number of [1, 2, 3]) await publish(number);
    await until('three events', async () => (await numbers()).length === 3);

    // Three rounds, as a hole may hide in any of them: cut, publish into the void, come back, publish live.
    let next = 4;
    for (let round = 1; round <= 3; round += 1) {
      proxy.cut();
      for (let count = 0; count < 5; count += 1) await publish(next++);
      await until('the loss is noticed', async () => (await seen()).lost >= round);
      proxy.mend();
      await until('connected again', async () => (await seen()).connected === round + 1);
      await publish(next++);
      await until('all so far', async () => (await numbers()).length >= next - 1);
    }
    const { score, reset } = await seen();
    assert.deepEqual(score.map(({ number }) => number), Array.from({ length: next - 1 }, (_, index) => index + 1));
    const seqs = score.map(({ seq }) => seq);
    assert.deepEqual(seqs, score.map((_, index) => score[0].seq + index), 'positions have no holes');
    assert.equal(new Set(score.map(({ id }) => id)).size, score.length, 'every event has a cursor of its own');
    assert.ok(score.every((event) => event.room === room));
    assert.equal(reset, 0);
    assert.ok(proxy.requests.some((text) => /^last-event-id: \S+/im.test(text)), 'the browser sent Last-Event-ID');
    assert.equal(await page.evaluate(() => source.readyState), 1);
  },
};
