/** What is sent: within the bounds, in its order, at the pace of the server. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CarrierListener } from '../src/carrier.js';
import { ClosedError, QueueFullError, RequestError } from '../src/errors.js';
import { Access } from '../src/socket/access.js';
import { json, msgpack } from '../src/socket/codec.js';
import { Session } from '../src/socket/session.js';
import { at, Bench, connected, joined, OTHER, RESUMED, LIMITS } from './bench.js';

test('what waits is bounded, requests and the reliable moves of each room', async () => {
  const bench = new Bench({ queue: 2 });
  const room = await bench.inRoom();
  bench.socket.lose(1006);
  const waiting = [room.say('1'), room.say('2')];
  for (const n of [0, 1]) assert.equal(room.sendReliable(n), true);
  await assert.rejects(room.say('3'), QueueFullError);
  assert.throws(() => room.sendReliable(2), QueueFullError);
  for (let i = 0; i < 1000; i += 1) room.send(i, { key: i });
  room.typing();
  bench.client.close();
  for (const each of waiting) await assert.rejects(each, ClosedError);
});

test('what the server would end the session for is refused here', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.said();
  await assert.rejects(room.publish('x', 'y'.repeat(65_536)), (error) => error instanceof RequestError && error.code === 603);
  assert.throws(() => room.send('y'.repeat(4096)), (error) => error instanceof RequestError && error.code === 603);
  assert.throws(() => room.send(1, { key: 65_536 }), RangeError);
  assert.throws(() => room.send(1, { key: 0.5 }), RangeError);
  const loop: unknown[] = [];
  loop.push(loop);
  await assert.rejects(room.publish('x', loop), TypeError);
  assert.deepEqual(bench.said(), []);
});

test('what neither encoding can carry is refused with words, in both', async () => {
  for (const encoding of ['json', 'msgpack'] as const) {
    const session = new Session({
      codec: { json, msgpack }[encoding], access: new Access(true), queue: 9, random: () => 0.5, rooms: [['a', at(1)]],
      notifications: undefined, listener: {} as CarrierListener,
    });
    const words = { name: 'TypeError', message: /^a move must be something MessagePack\/JSON can carry: ./ };
    const loop: unknown[] = [];
    loop.push(loop);
    for (const data of [undefined, { f() {} }, [Symbol('x')], { deep: [() => 1] }, 1n, loop]) {
      assert.throws(() => session.move({ room: 'a', key: 0, reliable: true, data }), words);
    }
    for (const data of [null, 0, '', NaN, [undefined], { none: undefined }, new Date(0)]) {
      session.move({ room: 'a', key: 0, reliable: false, data });
    }
    await assert.rejects(session.ask('publish', { data: { f() {} } }), { name: 'TypeError', message: /^a frame must be/ });
  }
});

test('a move to nobody says so', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.said();
  assert.deepEqual([room.send(1, { to: ['user-2'] }), room.sendReliable(1, { to: [] })], [false, false]);
  assert.deepEqual(bench.said(), []);
  assert.deepEqual([room.send(1, { to: [OTHER, 'user-2'] }), room.sendReliable(2)], [true, true]);
  assert.deepEqual(bench.socket.take().map(({ to }) => to), [[2], undefined]);
  assert.throws(() => room.send(1, { to: Array.from({ length: 65 }, () => OTHER) }), RangeError);
});

test('what was given to say is said as it was then', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.socket.lose(1006);
  const spot = { x: 1 };
  room.send(spot);
  const said = room.publish('spot', spot);
  spot.x = 2;
  await bench.next();
  await bench.open(RESUMED);
  assert.deepEqual(bench.socket.take().flatMap(({ data }) => data ?? []), [{ x: 1 }, { x: 1 }]);
  bench.client.close();
  await assert.rejects(said, ClosedError);
});

test('acks, pings and proofs go out by themselves', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.socket.hear({ type: 'move', room: 'a', from: 2, key: 0, seq: 1, time: 1, data: 1, reliable: true });
  bench.socket.hear({ type: 'answer', room: 'a', from: OTHER, data: 1 });
  room.sendReliable(1);
  bench.said();
  await bench.env.turn(1000);
  const [ping] = bench.socket.take();
  assert.equal(ping?.['type'], 'ping');
  bench.env.sleep(40);
  const latencies: { rtt: number; offset: number }[] = [];
  bench.client.on('latency', (latency) => latencies.push(latency));
  const t = Number(ping['t']);
  bench.socket.hear({ type: 'pong', t, received: t + 120, sent: t + 120 });
  assert.deepEqual(latencies, [{ rtt: 40, offset: 100 }]);
  assert.deepEqual([bench.client.latency, bench.client.serverTime()], [40, bench.env.time + 100]);
  await bench.env.turn(5000);
  assert.ok(bench.said().includes('ack 2'));
  await bench.again(RESUMED);
  assert.deepEqual(bench.said(), ['ping 2'], 'the pong has proved the move');
});

test('a crowded network: latest moves are replaced, nothing piles up', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.said();
  bench.socket.bufferedAmount = 300_000;
  for (let i = 0; i < 100; i += 1) room.send(i);
  await bench.env.turn(200);
  assert.deepEqual(bench.said(), []);
  bench.socket.bufferedAmount = 0;
  await bench.env.turn(50);
  assert.deepEqual(bench.socket.take().map(({ data }) => data), [99]);
});

test('a burst of large moves keeps the pace in bytes, whatever their number, and words stay behind them', async () => {
  const bench = new Bench();
  const [rate, frame] = [100_000, 16_384];
  const limits = { ...LIMITS, frame, moves_per_second: 10_000, moves_burst: 20_000, bytes_per_second: rate };
  await bench.open(connected({ limits }));
  const coming = bench.client.join('a');
  bench.socket.hear(joined(1, 10));
  const room = await coming;
  bench.said();
  // Of two bytes each: it is not the letters that count.
  for (let i = 0; i < 100; i += 1) room.sendReliable(`${i} ${'ü'.repeat(2000)}`);
  room.say('done').catch(() => {});
  const begin = bench.env.time;
  const moves: number[] = [];
  let level = rate;
  let told = 0;
  while (!told) {
    await bench.env.turn(10);
    level = Math.min(rate, level + rate / 100);
    for (const message of bench.socket.take()) {
      level -= Buffer.byteLength(JSON.stringify(message));
      if (message['type'] === 'move') moves.push(parseInt(String(message['data'])));
      if (message['type'] === 'message') told = bench.env.time;
    }
    assert.ok(level >= rate / 4, 'for what the network holds up');
    bench.socket.hear({ type: 'pong', received: 1, sent: 1 });
  }
  assert.deepEqual(moves, Array.from({ length: 100 }, (_, i) => i));
  assert.ok(told - begin > 3000 && told - begin < 5000, `${told - begin} ms`);
});

test('a frame of more bytes than the server ever takes at once is refused here', async () => {
  const bench = new Bench();
  await bench.open(connected({ limits: { ...LIMITS, bytes_per_second: 1024 } }));
  const coming = bench.client.join('a');
  await bench.env.turn(1000);
  bench.socket.hear(joined(1, 10));
  const room = await coming;
  await assert.rejects(room.publish('x', 'y'.repeat(1000)), (error) => error instanceof RequestError && error.code === 603);
  bench.said();
  room.publish('x', 'y'.repeat(500)).catch(() => {});
  await bench.env.turn(1000);
  assert.ok(bench.said().includes('publish 2'));
});

test('words keep the pace of the server, so that none is refused and put behind later ones', async () => {
  const bench = new Bench({ queue: 400 });
  await bench.open(connected({ limits: { ...LIMITS, requests_per_second: 10, requests_burst: 20 } }));
  const coming = bench.client.join('a');
  bench.socket.hear(joined(1, 10));
  const room = await coming;
  bench.said();
  for (let i = 0; i < 100; i += 1) room.say(String(i)).catch(() => {});
  const begin = bench.env.time;
  let [sent, budget] = [0, 20];
  for (let id = 2; sent < 100; id += 1) {
    await bench.env.turn(50);
    budget = Math.min(20, budget + 0.5);
    for (const { type, text, id: re } of bench.socket.take()) {
      budget -= type === 'move' || type === 'ack' ? 0 : 1;
      if (type !== 'message') continue;
      assert.equal(text, String(sent));
      sent += 1;
      bench.socket.hear({ type: 'ok', re, position: at(sent) });
    }
    assert.ok(budget >= 0);
    bench.socket.hear({ type: 'pong', received: 1, sent: 1 });
  }
  assert.ok(bench.env.time - begin < 12_000);
});
