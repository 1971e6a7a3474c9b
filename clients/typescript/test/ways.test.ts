/** Where no WebSocket gets through: over to a feed, and back. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Carrier } from '../src/carrier.js';
import { connect, type ConnectOptions } from '../src/client.js';
import { UnsupportedError } from '../src/errors.js';
import type { FallbackOptions } from '../src/fallback.js';
import type { Joined } from '../src/wire.js';
import { at, Bench, chat, connected, entry, hear, joined, ME } from './bench.js';
import { settled } from './fake.js';
/** A carrier without a WebSocket. */
class FakeFallback implements Carrier {
  readonly joins: [string, string | undefined][] = [];
  isClosed = false;
  answer = (room: string): Joined => joined(null, 30, { room, you: entry('', 0), handle: 0, missed: [] }) as Joined;

  constructor(readonly options: FallbackOptions) {}

  ready(): void {
    this.options.listener.message(connected({ peer: '', session: '' }) as never, false);
    this.options.listener.status({ state: 'connected', transport: 'events', reason: '', code: 0 });
  }

  join(room: string, since?: string): Promise<Joined> {
    this.joins.push([room, since]);
    const answer = this.answer(room);
    this.options.listener.message(answer, false);
    return Promise.resolve(answer);
  }

  leave = () => Promise.resolve();
  request = (type: string) => Promise.reject(new UnsupportedError(type));
  hint(): void {}
  move(): void {
    throw new UnsupportedError('a move');
  }
  close(): void {
    this.isClosed = true;
    this.options.listener.status({ state: 'closed', reason: '', code: 0 });
  }
}

/** A client whose network lets no WebSocket through. */
function walled(options: Partial<ConnectOptions> = {}) {
  const made: FakeFallback[] = [];
  const bench = new Bench({ transports: ['websocket', 'events', 'poll'], ...options }, undefined, (given) => {
    const carrier = new FakeFallback(given);
    made.push(carrier);
    return carrier;
  });
  return { bench, made };
}

test('where no WebSocket gets through although the server is there, it goes over to a feed, and back', async () => {
  const { bench, made } = walled();
  bench.env.fetch = (url) => Promise.resolve(new Response(String(url), { status: 200 }));
  const coming = bench.client.join('a');
  await settled();
  bench.socket.lose(1006);
  await bench.env.turn(250);
  assert.equal(made.length, 0, 'one failure is none');
  bench.socket.lose(1006);
  await settled();
  const [fallback] = made;
  assert.ok(fallback);
  assert.deepEqual([fallback.options.transports, fallback.options.url.toString()], [['events', 'poll'], 'http://rally.example/base/']);
  fallback.ready();
  const room = await coming;
  assert.deepEqual(fallback.joins, [['a', undefined]], 'what was asked for is asked for again');
  assert.deepEqual([bench.client.status.transport, bench.client.missing.length > 2], ['events', true]);
  assert.throws(() => room.send(1), UnsupportedError);
  fallback.options.listener.message(chat(31) as never, false);
  const heard = hear(room);
  // Tried again within a minute and a half, in vain; then one opens.
  const before = bench.env.sockets.length;
  await bench.env.turn(60_000);
  assert.equal(bench.env.sockets.length, before + 1);
  bench.socket.lose(1006);
  await bench.env.turn(60_000);
  assert.equal(bench.env.sockets.length, before + 2);
  bench.socket.open();
  assert.ok(fallback.isClosed);
  await bench.open();
  await bench.client.ready;
  assert.deepEqual([bench.client.status.state, bench.client.missing], ['connected', []]);
  assert.deepEqual(bench.socket.take(), [{ type: 'join', id: 1, room: 'a', since: at(31) }]);
  bench.socket.hear(joined(1, 32, { missed: [chat(32)] }));
  assert.deepEqual(heard, ['shown', 'message 31', 'message 32 missed', 'shown missed']);
  assert.deepEqual([room.you.peer, room.isLeft, bench.states.includes('closed')], [ME, false, false]);
});

test('notifications go on where they stood, over one way and the next', async () => {
  const { bench, made } = walled();
  bench.env.fetch = () => Promise.resolve(new Response());
  for (let i = 0; i < 2; i += 1) {
    await settled();
    bench.socket.lose(1006);
    await bench.env.turn(250);
  }
  const notice = { type: 'notification', message: 'dinner', time: 1, position: at(7) };
  made[0]?.options.listener.message(connected({ notifications: '' }) as never, false);
  made[0]?.options.listener.message(notice as never, false);
  assert.equal(made[0]?.options.notifications, undefined);
  await bench.env.turn(60_000);
  bench.socket.open();
  assert.ok(made[0]?.isClosed);
  // A socket opens and no other one does: over to a feed again.
  await settled();
  bench.socket.lose(1006);
  await bench.env.turn(250);
  bench.socket.lose(1006);
  await settled();
  assert.equal(made[1]?.options.notifications, at(7));
  await bench.env.turn(60_000);
  bench.socket.open();
  assert.equal((await bench.open())?.['notifications_since'], at(7));
});

test('a room that does not let us in again after the change of way is asked for again', async () => {
  const { bench, made } = walled();
  bench.env.fetch = () => Promise.resolve(new Response());
  const coming = bench.client.join('a');
  for (let i = 0; i < 2; i += 1) {
    await settled();
    bench.socket.lose(1006);
    await bench.env.turn(250);
  }
  made[0]?.ready();
  const room = await coming;
  await bench.env.turn(60_000);
  bench.socket.open();
  await bench.open();
  bench.socket.hear({ type: 'error', re: 1, code: 901, name: '', message: 'full' });
  assert.deepEqual([room.isLeft, room.waiting?.code], [false, 901]);
  await bench.env.turn(1000);
  assert.deepEqual(bench.said().slice(0, 2), ['join 1', 'join 2']);
  bench.socket.hear(joined(2, 31));
  assert.deepEqual([room.waiting, room.you.peer], [undefined, ME]);
});

test('it stays with the WebSocket if the server is away, if one was ever open, or if nothing else is allowed', async () => {
  const away = walled();
  for (let i = 0; i < 4; i += 1) {
    await settled();
    away.bench.socket.lose(1006);
    await away.bench.next();
  }
  assert.equal(away.made.length, 0);

  const opened = walled();
  opened.bench.env.fetch = () => Promise.resolve(new Response());
  await opened.bench.open();
  for (let i = 0; i < 4; i += 1) {
    opened.bench.socket.lose(1006);
    await opened.bench.next();
  }
  assert.equal(opened.made.length, 0);

  const only = walled({ transports: ['websocket'] });
  only.bench.env.fetch = opened.bench.env.fetch;
  for (let i = 0; i < 4; i += 1) {
    await settled();
    only.bench.socket.lose(1006);
    await only.bench.next();
  }
  assert.equal(only.made.length, 0);
});

test('without any WebSocket it goes over at once, or stops and says so', async () => {
  const { bench, made } = walled();
  bench.env.fetch = () => Promise.resolve(new Response());
  bench.env.socket = () => {
    throw new TypeError('there is no WebSocket here');
  };
  await bench.env.turn(0);
  assert.equal(made.length, 1);
  const only = new Bench();
  only.env.socket = bench.env.socket;
  await only.env.turn(0);
  assert.deepEqual([only.client.status.state, /no WebSocket/.test(only.client.status.reason)], ['closed', true]);
  const feed = walled({ transports: ['poll'] });
  assert.deepEqual(feed.made[0]?.options.transports, ['poll']);
});

test('without a WebSocket class a client that wants one does not begin, and says what to do', () => {
  const options = { url: 'http://rally.example/', token: 'token' };
  const own = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
  Reflect.deleteProperty(globalThis, 'WebSocket');
  try {
    for (const transports of [undefined, ['websocket'], ['poll', 'websocket']] as const) {
      assert.throws(() => connect({ ...options, ...(transports && { transports }) }).close(), {
        name: 'TypeError', message: /npm package `ws`, use Node 22, or name `transports`/,
      });
    }
    connect({ ...options, WebSocket: class {} }).close();
    connect({ ...options, transports: ['poll'] }).close();
  } finally {
    if (own) Object.defineProperty(globalThis, 'WebSocket', own);
  }
});
