/** The browser's own EventSource with a ticket in its address: it comes back, outlives its token, and serves no other page. */

import assert from 'node:assert/strict';
import { startServer, token, until } from './lib.mjs';
import { flaky } from './proxy.mjs';

const ROOM = 'match/7';

/** In a page: opens a stream with this ticket, and keeps what it hears in `seen`. */
function follow([url]) {
  window.seen = { opened: 0, lost: 0, codes: [], numbers: [] };
  const source = new EventSource(url);
  window.source = source;
  source.onerror = ({ data }) => {
    if (data === undefined) seen.lost += 1;
    else seen.codes.push(JSON.parse(data).code);
  };
  source.addEventListener('connected', () => (seen.opened += 1));
  source.addEventListener('score', ({ data }) => seen.numbers.push(JSON.parse(data).data.number));
}

/** In a page: exchanges a token for a ticket. */
async function exchange([jwt, body]) {
  const headers = { authorization: `Bearer ${jwt}`, 'content-type': 'application/json' };
  const response = await fetch('/v1/tickets', { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, ...(await response.json()) };
}

export const tests = {
  async 'EventSource with a ticket: three cuts, a new token, and a thief on another page'({ browser, after }) {
    const server = await startServer({
      env: { RALLYPOINT_LIMITS__EXPIRY_GRACE_MS: '0', RALLYPOINT_AUTH__LEEWAY_MS: '0' },
    });
    after(() => server.stop());
    const proxy = await flaky(server.port);
    after(() => proxy.close());
    const reading = (ttl) => token(server.base, { user: 'reader', ttl, rooms: [{ r: ROOM, role: 'spectator' }] });
    const writer = await token(server.base, { user: 'writer', rooms: [{ r: ROOM, role: 'host' }] });
    let number = 0;
    const publish = async () => {
      const response = await fetch(`${server.base}/v1/rooms/${encodeURIComponent(ROOM)}/events`, {
        method: 'POST',
        headers: { authorization: `Bearer ${writer}`, 'content-type': 'application/json' },
        body: JSON.stringify({ kind: 'score', data: { number: (number += 1) } }),
      });
      assert.equal(response.status, 201, await response.clone().text());
    };

    const page = await (await browser.newContext()).newPage();
    await page.goto(proxy.base);
    const first = await page.evaluate(exchange, [await reading(15), { for: 'events', rooms: [ROOM] }]);
    assert.equal(first.status, 201, JSON.stringify(first));
    const path = `/v1/events?${new URLSearchParams({ room: ROOM, ticket: first.ticket })}`;
    await page.evaluate(follow, [path]);
    const seen = () => page.evaluate(() => seen);
    const all = async () => (await seen()).numbers.length === number;
    await until('the stream is open', async () => (await seen()).opened === 1);

    for (let round = 1; round <= 3; round += 1) {
      await publish();
      await until('what is live', all);
      proxy.cut();
      await publish();
      await until('the loss is noticed', async () => (await seen()).lost >= round);
      proxy.mend();
      await until('the stream is back', async () => (await seen()).opened === round + 1);
      await until('what was missed', all);
    }

    // A page of another origin that the server takes as well has found the ticket.
    const thief = await (await browser.newContext()).newPage();
    await thief.goto(server.base.replace('127.0.0.1', 'localhost'));
    await thief.evaluate(follow, [`${server.base}${path}`]);
    await until('the thief is refused for good', () => thief.evaluate(() => source.readyState === 2));
    assert.equal(await thief.evaluate(() => seen.opened), 0);
    assert.equal((await seen()).opened, 4, 'and the reader does not notice');

    // The page shows a new token, the old one runs out, and the stream comes back by itself under the same address.
    const renewed = await page.evaluate(exchange, [await reading(600), { for: 'events', ticket: first.ticket }]);
    assert.deepEqual([renewed.status, renewed.ticket], [200, first.ticket]);
    assert.ok(renewed.expires > first.expires + 500_000);
    await until('the old token runs out', async () => (await seen()).codes.includes(702), 30_000);
    await publish();
    await until('the stream is back under the new one', async () => (await seen()).opened === 5);
    await until('what was missed', all);
    const { numbers, codes } = await seen();
    assert.deepEqual(numbers, Array.from({ length: number }, (_, index) => index + 1), 'nothing lost, nothing twice');
    assert.deepEqual(codes, [702]);
  },

  async 'a ticket opens one WebSocket'({ browser, base }) {
    const page = await (await browser.newContext()).newPage();
    await page.goto(base);
    const jwt = await token(base, { user: 'player', rooms: [{ r: ROOM, role: 'player' }] });
    const { ticket } = await page.evaluate(exchange, [jwt, { for: 'ws' }]);
    const open = () =>
      page.evaluate(
        (ticket) =>
          new Promise((done) => {
            const socket = new WebSocket(`/v1/ws?ticket=${ticket}`, 'rallypoint.v1.json');
            socket.onmessage = ({ data }) => done(JSON.parse(data).type);
            socket.onclose = ({ code }) => done(code);
          }),
        ticket,
      );
    assert.equal(await open(), 'connected');
    // What the second says first is why; then it is closed.
    assert.equal(await open(), 'error');
  },
};
