/** A client as such: it connects, tells how it stands, and ends. */

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { ClosedError } from '../src/errors.js';
import { at, Bench, chat, connected, ME, reset, RESUMED } from './bench.js';
import { settled } from './fake.js';

test('it connects under the given address, proves who it is, and is ready', async () => {
  const bench = new Bench();
  const hello = await bench.open();
  assert.deepEqual(hello, { type: 'auth', token: 'token' });
  assert.equal(bench.socket.url, 'ws://rally.example/base/v1/ws');
  assert.deepEqual(bench.socket.subprotocols, ['rallypoint.v1.json']);
  await bench.client.ready;
  assert.deepEqual([bench.client.status.state, bench.client.status.transport, bench.client.session?.peer], ['connected', 'websocket', ME]);
  assert.deepEqual([bench.asked, bench.client.missing], [['first'], []]);
});

test('whoever closes at a loss is not brought back', async () => {
  const bench = new Bench();
  await bench.open();
  bench.client.on('status', ({ state }) => state === 'reconnecting' && bench.client.close());
  bench.socket.lose(1006);
  await bench.env.turn(1e6);
  assert.deepEqual([bench.env.sockets.length, bench.states.at(-1), bench.asked], [1, 'closed', ['first']]);
});

test('a client that was replaced stops, and its rooms with it', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const said = room.say('x');
  bench.socket.lose(4410, 'replaced');
  await assert.rejects(said, (error) => error instanceof ClosedError && error.code === 4410);
  assert.deepEqual([room.isLeft, bench.client.status.action], [true, 'stop']);
  await bench.env.turn(1e6);
  assert.equal(bench.env.sockets.length, 1);
});

test('close says goodbye, and nothing is told after it', async () => {
  for (const way of ['close', 'abort'] as const) {
    const abort = new AbortController();
    const bench = new Bench({ signal: abort.signal });
    const room = await bench.inRoom();
    const { socket } = bench;
    if (way === 'close') bench.client.close();
    else abort.abort();
    assert.deepEqual([socket.closed, bench.states.at(-1), room.isLeft], [1000, 'closed', true]);
    assert.equal(getEventListeners(abort.signal, 'abort').length, 0, 'a signal that lives on keeps no client');
    const told = bench.states.length;
    socket.hear(chat(11));
    socket.lose(1006);
    bench.client.close();
    await bench.env.turn(1e6);
    assert.equal(bench.states.length, told);
    await assert.rejects(bench.client.join('b'), ClosedError);
  }
});

test('the server tells when to come back, and a loss does not end the session by a goodbye', async () => {
  const bench = new Bench();
  await bench.open();
  bench.socket.hear({ type: 'reconnect', after_ms: 9000 });
  bench.socket.lose(4000);
  await bench.env.turn(9249);
  assert.equal(bench.env.sockets.length, 1);
  await bench.env.turn(1);
  assert.equal(bench.env.sockets.length, 2);
  await bench.open(RESUMED);
  await bench.env.turn(47_000);
  assert.deepEqual([bench.env.sockets[1]?.closed, bench.env.sockets.length > 2], [1005, true], 'no pong came');
});

test('notifications are read one by one, bounded, and end with the client', async () => {
  const bench = new Bench();
  await bench.open();
  const notify = (n: number) => bench.socket.hear({ type: 'notification', message: String(n), time: 1, position: at(100 + n) });
  const read = bench.client.notifications();
  notify(1);
  const ahead = (async () => {
    const all: string[] = [];
    for await (const { message } of read) all.push(message);
    return all;
  })();
  await settled();
  notify(2);
  await settled();
  const slow = bench.client.notifications();
  for (let n = 3; n < 303; n += 1) notify(n);
  assert.equal((await slow.next()).value.message, '47');
  const resets: string[] = [];
  bench.client.on('notifications-reset', ({ room }) => resets.push(room));
  bench.socket.hear(reset(at(500), { room: 'user/ada', members: [], count: 0 }));
  assert.deepEqual(resets, ['user/ada']);
  notify(403);
  assert.equal((await bench.again(RESUMED))?.['notifications_since'], at(503));
  bench.socket.hear(reset(at(500), { room: 'user/ada', members: [], count: 0 }));
  assert.equal((await bench.again(RESUMED))?.['notifications_since'], at(500));
  bench.client.close();
  const all = await ahead;
  assert.deepEqual([all.slice(0, 2), all.at(-1)], [['1', '2'], '403']);
});

test('ICE servers are asked for anew when their credentials are about to end', async () => {
  const known = [{ urls: ['turn:a'] }];
  const bench = new Bench();
  await bench.open(connected({ ice_servers: known, ice_expires: 5_000_000 + 100_000 }));
  const asked: [string, unknown][] = [];
  let answer: Response | undefined;
  bench.env.fetch = (url, init) => {
    asked.push([String(url), (init?.headers as Record<string, string>)['Authorization']]);
    return answer ? Promise.resolve(answer) : Promise.reject(new TypeError('no network'));
  };
  assert.deepEqual(await bench.client.iceServers(), known);
  bench.env.sleep(40_001);
  assert.deepEqual(await bench.client.iceServers(), known, 'on a failure what there is');
  answer = new Response('{}', { status: 503 });
  assert.deepEqual(await bench.client.iceServers(), known);
  answer = Response.json({ ice_servers: [{ urls: ['turn:b'] }], expires: 9_000_000 });
  assert.deepEqual(await bench.client.iceServers(), [{ urls: ['turn:b'] }]);
  assert.deepEqual(await bench.client.iceServers(), [{ urls: ['turn:b'] }]);
  assert.equal(asked.length, 3);
  assert.deepEqual(asked[0], ['http://rally.example/base/v1/ice-servers', 'Bearer token']);
});

test('an answer over HTTP that never comes is not waited for', async () => {
  const bench = new Bench();
  await bench.open(connected({ ice_servers: [], ice_expires: 5_000_000 }));
  bench.env.fetch = (_url, init) => new Promise((_resolve, reject) => {
    init?.signal?.addEventListener('abort', () => reject(new Error('aborted')));
  });
  const coming = bench.client.iceServers();
  await bench.pass(16_000);
  assert.deepEqual(await coming, []);
});

test('refusals without an answer are told, and what cannot be understood is the end', async () => {
  const bench = new Bench();
  await bench.open();
  const refused: unknown[] = [];
  bench.client.on('refused', (what) => refused.push(what));
  bench.socket.hear({ type: 'error', re: null, code: 900, name: '', message: 'slow down', room: 'a', count: 3 });
  assert.deepEqual(refused, [{ code: 900, message: 'slow down', room: 'a', count: 3 }]);
  bench.socket.hear({ type: 'weather', sunny: true });
  assert.equal(bench.client.status.state, 'connected');
  bench.socket.onmessage?.({ data: '[' });
  assert.equal(bench.client.status.state, 'closed');
});
