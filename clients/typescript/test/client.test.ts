/** A client on a network that the test plays: what it says, and what it tells. */

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import type { Carrier } from '../src/carrier.js';
import { connect, type Client, type ConnectOptions, type TokenReason } from '../src/client.js';
import { ClosedError, LostError, QueueFullError, RequestError, TokenRefused, UnsupportedError } from '../src/errors.js';
import type { FallbackOptions } from '../src/fallback.js';
import { inside, type Inside, type Room, type RoomEvents } from '../src/room.js';
import type { Joined } from '../src/wire.js';
import { FakeEnv, settled, type FakeSocket } from './fake.js';

const ME = '00000000-0000-4000-8000-000000000001';
const OTHER = '00000000-0000-4000-8000-000000000002';
const THIRD = '00000000-0000-4000-8000-000000000003';
const at = (seq: number, epoch = '9f3c5a1e7b2d4860'): string => `${epoch}.${seq}.00000000`;
const LIMITS = { frame: 65_536, move: 4096, text: 4096, signal: 65_536, state: 512, rooms: 16 };
const connected = (fields: Record<string, unknown> = {}) => ({
  type: 'connected', peer: ME, session: 's', resume: 'token-1', resumed: false, time: 5_000_000, heartbeat: 15_000,
  limits: LIMITS, notifications: at(100), ...fields,
});
const entry = (peer: string, handle: number, order = handle) =>
  ({ peer, handle, user: `user-${handle}`, order, polite: false, offers: false });
const joined = (re: number | null, position: number, fields: Record<string, unknown> = {}) => ({
  type: 'joined', re, room: 'a', handle: 7, you: entry(ME, 1), members: [entry(OTHER, 2)], count: 2, spectators: 0,
  position: at(position), state: [], ...fields,
});
const chat = (seq: number, fields: Record<string, unknown> = {}) =>
  ({ type: 'message', room: 'a', time: 1, position: at(seq), from: { peer: OTHER, user: 'user-2' }, text: `text ${seq}`, ...fields });
const reset = (position: string, fields: Record<string, unknown> = {}) => ({
  type: 'reset', room: 'a', reason: 'lost', position, members: [entry(OTHER, 2)], count: 2, state: [], ...fields,
});
const claims = (exp: number): string => `h.${btoa(JSON.stringify({ sub: 'ada', exp }))}.s`;

/** What a room tells, as short text. */
function hear(room: Room): string[] {
  const heard: string[] = [];
  const names: (keyof RoomEvents)[] = ['shown', 'message', 'event', 'peer-joined', 'peer-left', 'presence', 'typing', 'move', 'reset', 'left'];
  for (const name of names) {
    room.on(name, (event) => {
      const { position = '', missed = false } = event as { position?: string; missed?: boolean };
      heard.push([name, position.split('.')[1], missed && 'missed'].filter((part) => part).join(' '));
    });
  }
  return heard;
}

class Bench {
  readonly env = new FakeEnv();
  readonly asked: TokenReason['why'][] = [];
  readonly client: Client;
  readonly states: string[] = [];

  constructor(options: Partial<ConnectOptions> = {}, readonly token: () => string = () => 'token', fallback?: (o: FallbackOptions) => Carrier) {
    this.client = connect({
      url: 'http://rally.example/base/', encoding: 'json', transports: ['websocket'],
      token: ({ why }) => {
        this.asked.push(why);
        return this.token();
      },
      ...options,
    }, { env: this.env, ...(fallback && { fallback }) });
    this.client.on('status', ({ state }) => this.states.push(state));
  }

  get socket(): FakeSocket {
    return this.env.last;
  }

  /** Opens the next socket, and answers the first message. Returns that. */
  async open(message: unknown = connected()): Promise<Record<string, unknown> | undefined> {
    await settled();
    this.socket.open();
    const [hello] = this.socket.take();
    this.socket.hear(message);
    await settled();
    return hello;
  }

  /** What went out, short: the type, and id or n or seq. */
  said(): string[] {
    return this.socket.take().map(({ type, id, n, seq, text }) => [type, id ?? n ?? seq, text].filter((part) => part !== undefined).join(' '));
  }

  /** Connected, and in room a at 10. */
  async inRoom(fields: Record<string, unknown> = {}): Promise<Room> {
    await this.open();
    const coming = this.client.join('a');
    this.said();
    this.socket.hear(joined(1, 10, fields));
    const room = await coming;
    await this.env.turn(0);
    return room;
  }

  /** The socket breaks off, and there is another. Returns its first message. */
  async again(message: unknown, code = 1006): Promise<Record<string, unknown> | undefined> {
    this.socket.lose(code);
    await this.next();
    return this.open(message);
  }

  /** Turns the clock until another socket is opened. */
  async next(): Promise<void> {
    const before = this.env.sockets.length;
    for (let i = 0; i < 1000 && this.env.sockets.length === before; i += 1) await this.env.turn(100);
    assert.equal(this.env.sockets.length, before + 1);
  }

  /** Lets time pass on a connection that answers. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 1000) {
      await this.env.turn(Math.min(1000, left));
      this.socket.hear({ type: 'pong', received: 1, sent: 1 });
    }
  }
}

const RESUMED = connected({ resumed: true, resume: 'token-2' });

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

test('a resume says where it stands, sends nothing before the answer, and misses nothing', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  bench.socket.hear(chat(11));
  bench.socket.hear({ type: 'offer', room: 'a', from: OTHER, data: 0 });
  const first = room.say('one');
  room.sendReliable(1);
  room.send(2);
  bench.socket.lose(1006);
  const second = room.say('two');
  await bench.next();
  bench.socket.open();
  const [hello, ...rest] = bench.socket.take();
  assert.deepEqual(hello, {
    type: 'resume', token: 'token-1', received: 1, positions: { a: at(11) }, jwt: 'token', notifications_since: at(100),
  });
  assert.deepEqual(rest, []);
  room.typing();
  room.send(2);
  assert.deepEqual(bench.said(), [], 'what is said now would confirm a token that we do not have yet');
  bench.socket.hear(RESUMED);
  assert.deepEqual(bench.said(), ['move 1', 'move 3', 'message 2 one', 'ping 3', 'message 4 two']);
  bench.socket.hear(joined(null, 13, { missed: [chat(12), chat(13)] }));
  bench.socket.hear(chat(14));
  for (const [re, seq] of [[2, 14], [4, 15]]) bench.socket.hear({ type: 'ok', re, position: at(seq ?? 0) });
  assert.deepEqual([await first, await second], [at(14), at(15)]);
  assert.deepEqual(heard, ['message 11', 'message 12 missed', 'message 13 missed', 'shown missed', 'message 14']);
  assert.deepEqual(bench.states, ['connecting', 'connected', 'reconnecting', 'reconnecting', 'connected']);
  assert.deepEqual(bench.asked, ['first', 'again']);
});

test('a join that was on its way at the loss shows the room once, with each event once and in order', async () => {
  const bench = new Bench();
  await bench.open();
  const coming = bench.client.join('a', { since: at(10) });
  bench.said();
  await bench.again(RESUMED);
  assert.deepEqual(bench.said(), ['join 1'], 'the same id: it may have been carried out');
  bench.socket.hear(joined(null, 12));
  bench.socket.hear(chat(13));
  bench.socket.hear({ type: 'offer', room: 'a', from: OTHER, data: 0 });
  bench.socket.hear(joined(1, 13, { missed: [chat(11), chat(12), chat(13)] }));
  const room = await coming;
  const heard = hear(room);
  await bench.env.turn(0);
  assert.deepEqual(heard, ['message 11 missed', 'message 12 missed', 'shown missed', 'message 13']);
  bench.socket.hear(chat(14));
  assert.deepEqual([heard.at(-1), room.position], ['message 14', at(14)]);
  // Lost again before the answer: the room is told with the answer, whatever was shown.
  const other = new Bench();
  await other.open();
  const second = other.client.join('a');
  await other.again(RESUMED);
  other.socket.hear(joined(null, 12));
  const hello = await other.again(RESUMED);
  assert.deepEqual(hello?.['positions'], {});
  other.socket.hear(joined(null, 14));
  other.socket.hear(joined(1, 14));
  assert.equal((await second).position, at(14));
});

test('a session that lost something: the room anew, requests go on, the game as it was does not', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  const calls: Inside[] = [];
  inside(room).listen((what) => calls.push(what));
  const said = room.say('one');
  room.sendReliable(1);
  room.send(2);
  room.send(3, { to: [OTHER] });
  bench.said();
  await bench.again(connected({ resume: 'token-2' }));
  assert.deepEqual(bench.said(), ['message 2 one', 'ping 3'], 'moves wait for the handle');
  bench.socket.hear(joined(null, 20));
  bench.socket.hear(reset(at(20)));
  bench.socket.hear({ type: 'ok', re: 2, position: at(21) });
  assert.equal(await said, at(21));
  assert.deepEqual(heard, ['shown', 'reset', 'shown']);
  assert.deepEqual(calls.map((what) => what.type === 'shown' && [what.anew, what.lossy]), [[false, false], [false, true], [false, false]]);
  // Signals that are lost while connected are told with the reset.
  bench.socket.hear(reset(at(22)));
  bench.socket.hear(reset(at(23), { reason: 'epoch' }));
  assert.deepEqual(calls.slice(-2).map((what) => what.type === 'shown' && what.lossy), [true, false]);
});

test('until a reset is here the client stands where it stood', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  await bench.again(connected());
  bench.socket.hear(joined(null, 20));
  const hello = await bench.again(connected());
  assert.deepEqual(hello?.['positions'], { a: at(10) });
  bench.socket.hear(joined(null, 20));
  bench.socket.hear(reset(at(21)));
  assert.deepEqual((await bench.again(RESUMED))?.['positions'], { a: at(21) });
  assert.equal(room.isLeft, false);
});

test('a restarted server: the same peer in a room anew, the unanswered lost, our state told again', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const updated = room.update({ ready: true });
  bench.socket.hear({ type: 'ok', re: 2 });
  await updated;
  assert.deepEqual(room.you.state, { ready: true });
  const calls: Inside[] = [];
  inside(room).listen((what) => calls.push(what));
  const said = room.say('one');
  bench.said();
  await bench.again(connected({ session: 'another' }));
  await assert.rejects(said, LostError);
  bench.socket.hear(joined(null, 1, { position: at(1, '0000000000000001'), members: [], count: 1 }));
  bench.socket.hear(reset(at(1, '0000000000000001'), { reason: 'epoch', members: [], count: 1 }));
  assert.deepEqual(bench.said(), ['ping 4', 'update 5']);
  const shown = calls.filter((what) => what.type === 'shown').map(({ anew, lossy }) => [anew, lossy]);
  assert.deepEqual(shown, [[false, false], [true, true], [false, false]]);
});

test('a session that is gone: all rooms are joined again, from where they stood, as somebody new', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  const said = room.say('one');
  bench.said();
  bench.socket.lose(1006);
  const later = room.say('two');
  await bench.next();
  // The resume is refused: 4200 means to come as somebody new, at once.
  bench.socket.open();
  assert.equal(bench.socket.take()[0]?.['type'], 'resume');
  bench.socket.lose(4200);
  await bench.next();
  const hello = await bench.open(connected({ peer: THIRD, session: 'new', resume: 'token-9' }));
  assert.deepEqual(hello, { type: 'auth', token: 'token', notifications_since: at(100) });
  await assert.rejects(said, LostError);
  assert.deepEqual(bench.socket.take().map(({ type, since }) => [type, since]), [['join', at(10)], ['message', undefined]]);
  bench.socket.hear(joined(3, 13, {
    you: entry(THIRD, 5), members: [entry(OTHER, 2)],
    missed: [chat(11), { type: 'peer-left', room: 'a', time: 1, position: at(12), peer: { peer: ME, user: 'user-1' }, reason: 'lost' }],
  }));
  bench.socket.hear({ type: 'ok', re: 4, position: at(14) });
  assert.equal(await later, at(14));
  assert.deepEqual(heard, ['message 11 missed', 'peer-left 12 missed', 'shown missed']);
  assert.deepEqual([room.you.peer, room.isLeft, bench.client.rooms.get('a')], [THIRD, false, room]);
});

test('a room that a resume does not show is out, also if its join is refused', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const left: RoomEvents['left'][] = [];
  room.on('left', (why) => left.push(why));
  await bench.again(RESUMED);
  // A move that came after its sender had left puts nobody out.
  bench.socket.hear({ type: 'error', re: null, code: 803, name: '', message: '', room: 'a', count: 1 });
  assert.equal(left.length, 0);
  bench.socket.hear({ type: 'pong', re: 2, received: 1, sent: 1 });
  assert.deepEqual([left[0]?.reason, bench.client.rooms.size, room.isLeft], ['refused', 0, true]);
  await assert.rejects(room.say('x'), (error) => error instanceof RequestError && error.code === 803);

  const told = new Bench();
  const second = await told.inRoom();
  await told.again(connected({ session: 'another' }));
  told.socket.hear({ type: 'error', re: null, code: 705, name: '', message: 'no', room: 'a', count: 1 });
  assert.ok(second.isLeft);

  const rejoined = new Bench();
  const third = await rejoined.inRoom();
  third.on('left', (why) => left.push(why));
  await rejoined.again(connected({ session: 'new' }), 4201);
  rejoined.socket.hear({ type: 'error', re: 2, code: 901, name: '', message: 'full' });
  assert.deepEqual([left[1]?.code, left[1]?.message], [901, 'full']);
});

test('a kick is the end of the room, not of the session', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  bench.socket.hear({ type: 'peer-left', room: 'a', time: 1, position: at(11), peer: { peer: ME, user: 'user-1' }, reason: 'kicked' });
  assert.deepEqual([heard, bench.client.rooms.size, bench.client.status.state], [['left'], 0, 'connected']);
  const hello = await bench.again(RESUMED);
  assert.deepEqual(hello?.['positions'], {});
  assert.deepEqual(bench.said(), []);
});

test('a room that is left is not entered again, whatever became of the session meanwhile', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const leaving = room.leave();
  assert.equal(bench.client.rooms.size, 0);
  bench.said();
  const hello = await bench.again(RESUMED);
  assert.deepEqual(hello?.['positions'], {});
  bench.socket.hear(joined(null, 12));
  assert.deepEqual(bench.said(), ['leave 2', 'ping 3']);
  bench.socket.hear({ type: 'ok', re: 2 });
  await leaving;
  bench.socket.hear({ type: 'pong', re: 3, received: 1, sent: 1 });
  assert.ok(room.isLeft);
  const second = bench.client.join('a');
  bench.socket.hear(joined(4, 12));
  assert.notEqual(await second, room);
  // The session is lost under a leave: then there is nothing left to leave.
  const gone = (await second).leave();
  await bench.again(connected({ session: 'another', peer: THIRD }), 4200);
  await gone;
  assert.deepEqual(bench.said(), []);
});

test('a room that is left and joined at once is another, whatever is shown in between', async () => {
  const bench = new Bench();
  const first = await bench.inRoom();
  void first.leave();
  const coming = bench.client.join('a');
  bench.said();
  await bench.again(RESUMED);
  bench.socket.hear(joined(null, 12));
  bench.socket.hear(chat(13));
  assert.equal(bench.client.rooms.size, 0, 'that was the one that is being left');
  bench.socket.hear({ type: 'ok', re: 2 });
  bench.socket.hear(joined(3, 15));
  const second = await coming;
  assert.notEqual(second, first);
  const heard = hear(second);
  await bench.env.turn(0);
  assert.deepEqual([heard, first.isLeft, second.position], [['shown'], true, at(15)]);
});

test('a room that is left while away is not joined again', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.said();
  bench.socket.lose(4201);
  const leaving = room.leave();
  await bench.next();
  await bench.open(connected({ session: 'new', peer: THIRD }));
  assert.deepEqual(bench.said(), ['leave 2']);
  bench.socket.hear({ type: 'error', re: 2, code: 803, name: '', message: '' });
  await leaving;
});

test("the client's own join is repeated, and a room that a resume brought before its answer comes once", async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  await bench.again(connected({ session: 'new', peer: THIRD, resume: 'token-8' }), 4201);
  assert.deepEqual(bench.said(), ['join 2']);
  await bench.again(connected({ session: 'new', peer: THIRD, resumed: true }));
  assert.deepEqual(bench.said(), ['join 2', 'ping 3']);
  const you = entry(THIRD, 5);
  bench.socket.hear(joined(null, 12, { you, missed: [chat(11), chat(12)] }));
  bench.socket.hear(chat(13));
  bench.socket.hear(joined(2, 13, { you, missed: [chat(11), chat(12), chat(13)] }));
  bench.socket.hear({ type: 'pong', re: 3, received: 1, sent: 1 });
  assert.deepEqual(heard, ['message 11 missed', 'message 12 missed', 'shown missed', 'message 13']);
  assert.equal(room.isLeft, false);
});

test('whoever closes at a loss is not brought back', async () => {
  const bench = new Bench();
  await bench.open();
  bench.client.on('status', ({ state }) => state === 'reconnecting' && bench.client.close());
  bench.socket.lose(1006);
  await bench.env.turn(1e6);
  assert.deepEqual([bench.env.sockets.length, bench.states.at(-1), bench.asked], [1, 'closed', ['first']]);
});

test('what waits is bounded, requests and reliable moves together', async () => {
  const bench = new Bench({ queue: 3 });
  const room = await bench.inRoom();
  bench.socket.lose(1006);
  const waiting = [room.say('1'), room.say('2')];
  room.sendReliable(1);
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

test('an access token is replaced before its end, and at once when the server says so', async () => {
  let exp = 5000 + 600;
  const bench = new Bench({}, () => claims(exp));
  await bench.open();
  const first = claims(exp);
  exp += 600;
  await bench.pass(539_000);
  assert.deepEqual(bench.asked, ['first']);
  await bench.env.turn(1000);
  assert.deepEqual(bench.asked, ['first', 'expired']);
  const refresh = bench.socket.take().find(({ type }) => type === 'refresh');
  assert.deepEqual(refresh, { type: 'refresh', id: 1, token: claims(exp) });
  assert.notEqual(first, claims(exp));
  // Refused: again in a while. Taken: before its own end.
  bench.socket.hear({ type: 'error', re: 1, code: 705, name: '', message: '' });
  await bench.env.turn(5000);
  assert.equal(bench.asked.length, 3);
  bench.socket.hear({ type: 'ok', re: 2 });
  bench.socket.take();
  await bench.pass(500_000);
  assert.equal(bench.asked.length, 3);
  const hello = await bench.again(RESUMED, 4100);
  assert.deepEqual([bench.asked.at(-1), hello?.['jwt']], ['expired', claims(exp)]);
});

test('a fixed token is used until the server says no, and then the client stops and says why', async () => {
  const bench = new Bench({ token: claims(5001) });
  await bench.open();
  await bench.env.turn(2000);
  // An ended one would have the resume refused, while the session itself may be within its grace.
  assert.equal('jwt' in ((await bench.again(RESUMED)) ?? {}), false);
  bench.socket.lose(4100);
  assert.deepEqual([bench.client.status.state, bench.client.status.code], ['closed', 4100]);
  assert.match(bench.client.status.reason, /token has expired/);
});

test('a token source that refuses stops the client, one that fails is asked again', async () => {
  let fault: Error = new TypeError('no network');
  const bench = new Bench({}, () => {
    throw fault;
  });
  await bench.env.turn(0);
  assert.deepEqual([bench.client.status.state, bench.env.sockets.length], ['connecting', 0]);
  fault = new TokenRefused('you are banned');
  await bench.env.turn(1000);
  assert.deepEqual([bench.client.status.state, bench.client.status.reason], ['closed', 'you are banned']);
  await assert.rejects(bench.client.ready, /banned/);
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

/** A carrier without a WebSocket. */
class FakeFallback implements Carrier {
  readonly joins: [string, string | undefined][] = [];
  isClosed = false;
  answer = (room: string): Joined => joined(null, 30, { room, you: entry('', 0), handle: 0 }) as Joined;

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
