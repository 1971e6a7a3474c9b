/** A room as it is shown, and what its members say, move and signal. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestError } from '../src/errors.js';
import { inside } from '../src/room.js';
import { at, Bench, chat, entry, hear, joined, ME, OTHER, RESUMED, THIRD } from './bench.js';

test('a room is shown with what came with it, once somebody can listen', async () => {
  const bench = new Bench();
  await bench.open();
  const coming = bench.client.join('a', { since: at(8) });
  assert.equal(bench.client.join('a'), coming, 'one join at a time');
  assert.deepEqual(bench.socket.take(), [{ type: 'join', id: 1, room: 'a', since: at(8) }]);
  // All in one breath, as a network may bring it.
  bench.socket.hear(joined(1, 10, { missed: [chat(9), chat(10)] }));
  bench.socket.hear(chat(11));
  bench.socket.hear({ type: 'peer-joined', room: 'a', time: 1, position: at(12), peer: entry(THIRD, 3) });
  const room = await coming;
  assert.deepEqual([...room.members.keys()], [ME, OTHER, THIRD]);
  const heard = hear(room);
  await bench.env.turn(0);
  assert.deepEqual(heard, ['message 9 missed', 'message 10 missed', 'shown missed', 'message 11', 'peer-joined 12']);
  assert.deepEqual([room.count, room.position, room.you.peer, room.you.you], [3, at(12), ME, true]);
  assert.equal(await bench.client.join('a'), room);
});

test('a refused join rejects with the number, and the room is not there', async () => {
  const bench = new Bench();
  await bench.open();
  const coming = bench.client.join('a');
  bench.socket.hear({ type: 'error', re: 1, code: 901, name: 'room-full', message: 'full', retry_after: 5 });
  await assert.rejects(coming, (error) => error instanceof RequestError && error.code === 901 && error.retryAfter === 5);
  assert.equal(bench.client.rooms.size, 0);
  void bench.client.join('a');
  assert.deepEqual(bench.said(), ['join 1', 'join 2']);
});

test('a room shows who is here, who types, and how they are', async () => {
  const bench = new Bench();
  const room = await bench.inRoom({ members: [{ ...entry(OTHER, 2), name: 'Bob' }] });
  const before = room.members;
  const heard = hear(room);
  bench.socket.hear({ type: 'typing', room: 'a', from: OTHER, on: true });
  assert.deepEqual([room.members.get(OTHER)?.typing, room.members.get(OTHER)?.label, before.get(OTHER)?.typing], [true, 'Bob', false]);
  bench.socket.hear({ type: 'latency', room: 'a', peers: [[2, 40, 3], [1, 20, 1], [99, 1, 1]] });
  assert.deepEqual([room.members.get(OTHER)?.rtt, room.members.get(OTHER)?.jitter, room.you.rtt], [40, 3, 20]);
  bench.socket.hear({ type: 'peer-updated', room: 'a', peer: OTHER, state: { muted: true } });
  assert.deepEqual(room.members.get(OTHER)?.state, { muted: true });
  bench.socket.hear({ type: 'peer-left', room: 'a', time: 1, position: at(11), peer: { peer: OTHER, user: 'user-2' }, reason: 'left' });
  assert.deepEqual([room.members.size, room.count, heard], [1, 1, ['typing', 'peer-left 11']]);
});

/** A connection that never comes about. */
class Idle extends EventTarget {
  readonly connectionState = 'new';
  readonly signalingState = 'stable';
  getTransceivers = () => [];
  setConfiguration(): void {}
  close(): void {}
}
const idle = { data: true, RTCPeerConnection: Idle as unknown as typeof RTCPeerConnection };

const down = (seq: number, count: number, ...left: string[]) => ({
  type: 'node-down', room: 'a', time: 1, position: at(seq), node: '00000000000000aa', count, spectators: 4, more: false,
  left: left.map((peer) => ({ peer, user: 'u' })),
});

test('the members of a dead node leave the room, its state and the call, one by one', async () => {
  const bench = new Bench();
  const fourth = '00000000-0000-4000-8000-000000000004';
  const members = [entry(OTHER, 2), entry(THIRD, 3), entry(fourth, 4)];
  const room = await bench.inRoom({ members, count: 4, state: [{ from: 2, key: 0, seq: 1, time: 1, data: 1 }] });
  const call = await room.call(idle);
  const heard = hear(room);
  const seen: unknown[] = [];
  room.on('node-down', ({ node, left }) => seen.push([node, left.length, room.members.size]));
  room.on('peer-left', ({ peer, reason, time }) => seen.push([peer.peer, reason, time]));
  bench.socket.hear(down(11, 2, OTHER, THIRD));
  assert.deepEqual([[...room.members.keys()], room.count, room.spectators, room.state.size], [[ME, fourth], 2, 4, 0]);
  assert.deepEqual([...call.peers.keys()], [fourth]);
  assert.deepEqual(heard, ['node-down 11', 'peer-left 11', 'peer-left 11']);
  assert.deepEqual(seen, [['00000000000000aa', 2, 2], [OTHER, 'lost', 1], [THIRD, 'lost', 1]]);
  bench.socket.hear({ type: 'peer-joined', room: 'a', time: 1, position: at(12), peer: entry(OTHER, 9, 12) });
  assert.deepEqual([[...room.members.keys()], room.count, [...call.peers.keys()]], [[ME, fourth, OTHER], 3, [fourth, OTHER]]);
  call.end();
});

test('whoever is among those of a dead node stays in the room, and reads on behind it', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  bench.socket.hear(down(11, 2, ME));
  assert.deepEqual([[...room.members.keys()], room.count, room.isLeft, heard], [[ME, OTHER], 2, false, ['node-down 11']]);
  const hello = await bench.again(RESUMED);
  assert.deepEqual(hello?.['positions'], { a: at(11) });
});

test('a node that died while we were away is told as missed, and the room is as it is shown', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  const then: number[] = [];
  room.on('node-down', () => then.push(room.members.size, room.count, room.spectators));
  await bench.again(RESUMED);
  bench.socket.hear(joined(null, 12, { missed: [down(11, 1, ME, OTHER)] }));
  await bench.env.turn(0);
  assert.deepEqual(then, [2, 2, 0], 'what was missed changes nothing of what is known');
  assert.deepEqual(heard, ['node-down 11 missed', 'peer-left 11 missed', 'shown missed']);
  assert.deepEqual([room.members.size, room.count, room.spectators], [2, 2, 0]);
});

test('a call tells of a change once the member has it', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const call = await room.call(idle);
  const seen: unknown[] = [];
  call.on('change', ({ member }) => seen.push([member?.state, member?.rtt]));
  bench.socket.hear({ type: 'peer-updated', room: 'a', peer: OTHER, state: { muted: true } });
  bench.socket.hear({ type: 'latency', room: 'a', peers: [[2, 40, 3]] });
  assert.deepEqual(seen, [[{ muted: true }, undefined], [{ muted: true }, 40]]);
  call.end();
});

test('in a large room who offers is told from the order, then from the id', async () => {
  const bench = new Bench();
  const room = await bench.inRoom({ you: entry(ME, 1, 5) });
  const plain = (peer: string, handle: number, order: number) => ({ peer, handle, user: 'u', order });
  bench.socket.hear({
    type: 'presence', room: 'a', time: 1, position: at(11), count: 120, spectators: 4, more: true,
    joined: [plain(THIRD, 3, 9), plain('00000000-0000-4000-8000-000000000000', 4, 5), plain('00000000-0000-4000-8000-00000000000f', 5, 5), plain('00000000-0000-4000-8000-0000000000ff', 6, 2)],
    left: [{ peer: OTHER, user: 'user-2' }],
  });
  const offers = [...room.members.values()].filter(({ you }) => !you).map(({ offers: o, polite }) => [o, polite]);
  assert.deepEqual(offers, [[false, false], [true, true], [false, false], [true, true]]);
  assert.deepEqual([room.count, room.spectators, room.members.has(OTHER)], [120, 4, false]);
});

test('the newest latest move of each member and key is kept, as long as the member is here', async () => {
  const bench = new Bench();
  const state = [{ from: 2, key: 3, seq: 1, time: 1, data: 'old' }, { from: 9, key: 0, seq: 1, time: 1, data: 'unknown' }];
  const room = await bench.inRoom({ state });
  const move = (key: number, data: unknown, fields = {}) =>
    bench.socket.hear({ type: 'move', room: 'a', from: 2, key, seq: 2, time: 2, data, ...fields });
  assert.equal(room.state.get(OTHER)?.get(3)?.data, 'old');
  const moves: unknown[] = [];
  room.onMove(({ from, data, reliable }) => moves.push([from?.peer, data, reliable]));
  move(3, 'new');
  move(4, 'turn', { reliable: true });
  assert.deepEqual(moves, [[OTHER, 'new', false], [OTHER, 'turn', true]]);
  assert.deepEqual([...(room.state.get(OTHER)?.values() ?? [])].map(({ data }) => data), ['new']);
  for (let key = 10; key < 200; key += 1) move(key, key);
  assert.deepEqual([room.state.get(OTHER)?.size, room.state.get(OTHER)?.has(3), room.state.size], [64, false, 1]);
  // What moved longest ago goes first.
  move(136, 'again');
  move(300, 'one more');
  assert.deepEqual([136, 137, 300].map((key) => room.state.get(OTHER)?.has(key)), [true, false, true]);
  bench.socket.hear({ type: 'peer-left', room: 'a', time: 1, position: at(11), peer: { peer: OTHER, user: 'user-2' }, reason: 'left' });
  assert.equal(room.state.size, 0);
});

test('moves to some go by handle, and to nobody not at all', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.said();
  room.send(1, { to: [OTHER, THIRD] });
  room.send(2, { to: [THIRD] });
  assert.deepEqual(bench.socket.take().map(({ to, data }) => [to, data]), [[[2], 1]]);
  assert.throws(() => room.send(1, { to: Array(65).fill(OTHER) as string[] }), RangeError);
});

test('typing is told every 2 s, and at once after a message', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.said();
  room.typing();
  room.typing();
  bench.env.sleep(1999);
  room.typing();
  assert.deepEqual(bench.said(), ['typing']);
  bench.env.sleep(1);
  room.typing();
  assert.deepEqual(bench.said(), ['typing']);
  void room.say('x').catch(() => {});
  room.typing();
  assert.deepEqual(bench.said(), ['message 2 x', 'typing']);
});

test('a call hears its room in order, and the signals that came before it', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const signal = (type: string, data: number, from = OTHER) => bench.socket.hear({ type, room: 'a', from, data });
  signal('offer', 1);
  signal('ice-candidate', 2);
  signal('offer', 3);
  signal('ice-candidate', 4);
  signal('offer', 5, THIRD);
  bench.socket.hear({ type: 'peer-left', room: 'a', time: 1, position: at(11), peer: { peer: THIRD, user: 'u' }, reason: 'left' });
  const heard: string[] = [];
  const end = inside(room).listen((what) => {
    heard.push(what.type === 'signal' ? `signal ${String(what.signal.data)}` : what.type);
  });
  assert.deepEqual(heard.splice(0), ['shown', 'signal 3', 'signal 4']);
  bench.socket.hear({ type: 'peer-joined', room: 'a', time: 1, position: at(12), peer: entry(THIRD, 3) });
  signal('answer', 6, THIRD);
  bench.socket.hear({ type: 'peer-updated', room: 'a', peer: THIRD, state: {} });
  assert.deepEqual(heard.splice(0), ['joined', 'signal 6', 'changed']);
  const sent = inside(room).signal('ice-candidate', THIRD, null);
  assert.deepEqual(bench.socket.take().at(-1), { type: 'ice-candidate', id: 2, room: 'a', to: THIRD, data: null });
  bench.socket.hear({ type: 'error', re: 2, code: 805, name: '', message: '' });
  await assert.rejects(sent, (error) => error instanceof RequestError && error.code === 805);
  bench.client.close();
  assert.deepEqual(heard, ['out']);
  end();
});
