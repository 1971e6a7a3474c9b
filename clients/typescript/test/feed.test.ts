/** When a feed connects, waits, changes its transport and stops, on a clock that the test turns. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClosedError, TokenRefused } from '../src/errors.js';
import { watch, type Feed, type FeedEvent, type FeedReset, type FeedStatus, type WatchOptions } from '../src/feed.js';
import { settle, World, type Asked } from './world.js';

const EPOCH = '9f3c5a1e7b2d4860';
const at = (seq: number, epoch = EPOCH) => `${epoch}.${seq}.00000000`;
const event = (seq: number, more: Partial<FeedEvent> = {}): FeedEvent => (
  { room: 'r', position: at(seq), kind: 'score', time: seq, data: seq, ...more }
);
const jwt = (exp: number) => `e30.${btoa(JSON.stringify({ sub: 'ann', exp }))}.x`;

/** A feed in a world of its own, and what it told. */
function begin(options: Partial<WatchOptions> = {}) {
  const world = new World();
  const feed = watch({ url: 'http://host/base/', token: 'fixed', rooms: ['r'], ...options }, { env: world.env });
  const told = { status: [] as FeedStatus[], events: [] as number[], resets: [] as FeedReset[] };
  feed.on('status', (status) => told.status.push(status));
  feed.on('event', ({ data }) => told.events.push(Number(data)));
  feed.on('reset', (reset) => told.resets.push(reset));
  return { world, feed, told };
}

/** Answers a request for a stream, up to its greeting. */
function greet(asked: Asked, heartbeat = 15_000, cursor = 'c0') {
  assert.equal(asked.path, '/base/v1/events');
  asked.open();
  asked.write('retry: 2000\n');
  const rooms = [{ room: 'r', position: at(0), count: 0, spectators: 1 }];
  asked.block('connected', { user: 'ann', rooms, heartbeat }, cursor);
  return settle();
}

/** Answers the first poll, and what it asks for beside. */
async function greetPoll(world: World, seen: number, events: FeedEvent[] = [], cursor = 'p0') {
  const poll = await world.next(seen);
  assert.equal(poll.path, '/base/v1/poll');
  poll.json({ cursor, events });
  const room = await world.next(seen + 1);
  assert.equal(room.path, '/base/v1/rooms/r');
  room.json({ room: 'r', position: at(0), members: 0, spectators: 0 });
  return world.next(seen + 2);
}

const state = (feed: Feed) => `${feed.status.state} ${feed.status.transport} ${feed.status.code}`;

test('a stream is asked for with token and cursor, and its events are told with theirs', async () => {
  const { world, feed, told } = begin({ after: 'start', state: 5 });
  const asked = await world.next(0);
  assert.equal(asked.url.search, '?room=r&state=5');
  assert.equal(asked.headers.get('authorization'), 'Bearer fixed');
  assert.equal(asked.headers.get('last-event-id'), 'start');
  assert.equal(state(feed), 'connecting events 0');
  await greet(asked);
  assert.equal(state(feed), 'connected events 0');
  assert.equal(feed.status.reason, 'Connected.', 'as over a WebSocket');
  assert.equal(feed.cursor, 'c0');
  asked.block('score', event(1), 'c1');
  asked.block('heartbeat', { time: 5 });
  await settle();
  assert.deepEqual(told.events, [1]);
  assert.equal(feed.cursor, 'c1');
  feed.close();
  await settle();
  assert.ok(asked.isDropped);
  assert.equal(world.left, 0, 'nothing is left behind');
  assert.equal(state(feed), 'closed events 0');
});

test('without a greeting within 3 s it polls at once', async () => {
  const { world, feed } = begin();
  const stream = await world.next(0);
  stream.open();
  await world.pass(2_999);
  assert.equal(world.asked.length, 1);
  assert.ok(!stream.isDropped);
  await world.pass(1);
  assert.ok(stream.isDropped);
  const next = await greetPoll(world, 1);
  assert.equal(state(feed), 'connected poll 0');
  assert.equal(next.url.search, '?room=r&wait=25&after=p0');
  feed.close();
});

test('an answer that is no stream is polled around', async () => {
  const { world, feed } = begin();
  (await world.next(0)).open('text/html');
  await greetPoll(world, 1);
  assert.equal(state(feed), 'connected poll 0');
  feed.close();
});

test('a stream that ends before its greeting is polled around', async () => {
  const { world, feed } = begin();
  const stream = await world.next(0);
  stream.open();
  await settle();
  stream.end();
  await greetPoll(world, 1);
  assert.equal(state(feed), 'connected poll 0');
  feed.close();
});

test('where only a stream is allowed there is no poll', async () => {
  const { world, feed } = begin({ transports: ['events'] });
  (await world.next(0)).open();
  await world.pass(3_000);
  assert.equal(state(feed), 'reconnecting events 0');
  await world.pass(500);
  assert.deepEqual(world.asked.map(({ path }) => path), ['/base/v1/events', '/base/v1/events']);
  feed.close();
});

test('35 s without a byte end a stream, a heartbeat does not; a slower heartbeat is waited for', async () => {
  for (const [heartbeat, patience] of [[15_000, 35_000], [30_000, 65_000]] as const) {
    const { world, feed } = begin();
    const stream = await world.next(0);
    await greet(stream, heartbeat);
    for (let beat = 0; beat < 3; beat++) {
      await world.pass(patience - 1);
      stream.block('heartbeat', { time: beat });
      await settle();
    }
    await world.pass(patience - 1);
    assert.ok(!stream.isDropped);
    await world.pass(1);
    assert.ok(stream.isDropped);
    await greetPoll(world, 1);
    assert.equal(state(feed), 'connected poll 0');
    feed.close();
  }
});

test('it comes back after the time that the stream gave, with growing jitter, and with its cursor', async () => {
  const { world, feed, told } = begin();
  world.chance = 0.999;
  const stream = await world.next(0);
  await greet(stream);
  stream.block('score', event(1), 'c1');
  await settle();
  stream.end();
  await settle();
  assert.equal(state(feed), 'reconnecting events 0');
  assert.ok(Math.abs((told.status.at(-1)?.retryAt ?? 0) - world.now - 2_499.5) < 1);
  await world.pass(2_499);
  assert.equal(world.asked.length, 1);
  await world.pass(1);
  const second = await world.next(1);
  assert.equal(second.headers.get('last-event-id'), 'c1');
  // Nothing answers now: up to 1 s, 2 s, and so on, at most 30 s; every third time the other transport is tried.
  second.fail();
  const waits: number[] = [];
  for (let n = 2; n < 12; n++) {
    await settle();
    waits.push(Math.round((feed.status.retryAt ?? 0) - world.now));
    await world.pass((feed.status.retryAt ?? 0) - world.now);
    (await world.next(n)).fail();
  }
  assert.deepEqual(waits, [999, 1998, 3996, 7992, 15984, 29970, 29970, 29970, 29970, 29970]);
  const kinds = world.asked.slice(1).map(({ path }) => path.slice(9));
  const three = (kind: string) => [kind, kind, kind];
  assert.deepEqual(kinds.slice(0, 9), [...three('events'), ...three('poll'), ...three('events')]);
  feed.close();
  await settle();
  assert.equal(world.left, 0);
});

test('the smallest jitter is no wait, and after a connection that held a failure is a first one', async () => {
  const { world, feed } = begin();
  for (let n = 0; n < 4; n++) {
    world.chance = 1;
    const stream = await world.next(n);
    await greet(stream);
    await world.pass(6_000);
    stream.fail();
    await settle();
    assert.equal((feed.status.retryAt ?? 0) - world.now, 2_500);
    await world.pass(2_500);
  }
  world.chance = 0;
  (await world.next(4)).fail();
  await world.pass(0);
  assert.equal(world.asked.length, 6);
  feed.close();
});

test('a wake cuts the wait, but not what the server asked for', async () => {
  const { world, feed } = begin({ transports: ['poll'] });
  world.chance = 1;
  (await world.next(0)).problem(904, 503, { retry_after: 4_000 });
  await settle();
  assert.equal(state(feed), 'reconnecting poll 904');
  assert.equal((feed.status.retryAt ?? 0) - world.now, 4_500);
  await world.pass(1_000);
  await world.wake();
  await world.pass(2_999);
  assert.equal(world.asked.length, 1);
  await world.pass(1);
  (await world.next(1)).fail();
  await settle();
  assert.equal((feed.status.retryAt ?? 0) - world.now, 1_000);
  await world.wake();
  await world.pass(0);
  assert.equal(world.asked.length, 3);
  feed.close();
});

test('Retry-After counts where there is no problem to read', async () => {
  const { world, feed } = begin({ transports: ['poll'] });
  world.chance = 0;
  (await world.next(0)).json('busy', 502, { 'retry-after': '7' });
  await settle();
  assert.equal((feed.status.retryAt ?? 0) - world.now, 7_000);
  feed.close();
});

test('900, 903, 904, 905 and 999 are waited out; nothing else of the server is', async () => {
  for (const code of [900, 903, 904, 905, 999, 802]) {
    const { world, feed } = begin();
    (await world.next(0)).problem(code, 503);
    await settle();
    assert.equal(state(feed), `reconnecting events ${code}`);
    feed.close();
  }
  for (const code of [600, 606, 704, 705, 706, 902]) {
    const { world, feed } = begin();
    const reading = feed[Symbol.asyncIterator]().next();
    (await world.next(0)).problem(code, 403);
    await assert.rejects(reading, (fault) => fault instanceof ClosedError && fault.code === code);
    assert.equal(state(feed), `closed events ${code}`);
    assert.equal(feed.status.reason, `refused with ${code}`);
    assert.equal(world.left, 0);
  }
});

test('an error on the stream is obeyed, and its retry is a floor', async () => {
  const { world, feed } = begin();
  world.chance = 0;
  const stream = await world.next(0);
  await greet(stream);
  stream.write('retry: 12000\n');
  stream.block('error', { code: 905, name: 'shutting-down', message: 'goes away' });
  await settle();
  assert.equal(state(feed), 'reconnecting events 905');
  assert.equal((feed.status.retryAt ?? 0) - world.now, 12_000);
  await world.pass(12_000);
  const second = await world.next(1);
  await greet(second);
  second.block('error', { code: 705, name: 'forbidden', message: 'sent away' });
  await settle();
  assert.equal(state(feed), 'closed events 705');
});

test('an expired token is asked for anew, at once, and the feed goes on', async () => {
  const reasons: string[] = [];
  const { world, feed } = begin({ token: ({ why }) => `t${reasons.push(why)}` });
  const stream = await world.next(0);
  await greet(stream);
  stream.block('error', { code: 702, name: 'token-expired', message: 'expired' });
  const second = await world.next(1);
  assert.equal(second.at, world.now);
  assert.equal(second.headers.get('authorization'), 'Bearer t2');
  second.problem(702, 401);
  await settle();
  assert.equal(state(feed), 'closed events 702', 'a fresh token that is refused, too, is the end');
  assert.deepEqual(reasons, ['first', 'expired']);
});

test('a fixed token that has expired is the end', async () => {
  const { world, feed } = begin();
  (await world.next(0)).problem(702, 401);
  await settle();
  assert.equal(state(feed), 'closed events 702');
  assert.match(feed.status.reason, /no longer good/);
});

test('a token source may fail for now, or for good', async () => {
  let fault: Error = new Error('the login is slow');
  const { world, feed } = begin({
    token: () => {
      throw fault;
    },
  });
  await settle();
  assert.equal(state(feed), 'reconnecting events 0');
  assert.equal(feed.status.reason, 'No access token yet: the login is slow');
  fault = new TokenRefused('logged out');
  await world.pass(30_000);
  assert.equal(state(feed), 'closed events 700');
  assert.equal(feed.status.reason, 'logged out');
  assert.equal(world.asked.length, 0);
});

test('a token source that never answers is asked again, and its late answer counts no more', async () => {
  const answers: ((token: string) => void)[] = [];
  const { world, feed, told } = begin({ token: () => new Promise((resolve) => answers.push(resolve)) });
  await world.pass(14_999);
  assert.equal(state(feed), 'connecting events 0');
  await world.pass(1);
  assert.deepEqual([state(feed), feed.status.reason], ['reconnecting events 0', 'No access token came in time.']);
  await world.pass(250);
  assert.equal(answers.length, 2);
  answers[0]?.('late');
  await settle();
  assert.equal(world.asked.length, 0);
  answers[1]?.('second');
  const stream = await world.next(0);
  assert.equal(stream.headers.get('authorization'), 'Bearer second');
  await greet(stream);
  assert.deepEqual(told.status.map((status) => status.state), ['reconnecting', 'connected']);
  feed.close();
  await settle();
  assert.equal(world.left, 0);
});

test('between polls a token is replaced before its end', async () => {
  const reasons: string[] = [];
  const world = new World();
  const token = ({ why }: { why: string }) => (reasons.push(why), jwt(world.now / 1000 + 100));
  const feed = watch({ url: 'http://host/base', token, rooms: ['r'], transports: ['poll'] }, { env: world.env });
  let poll = await greetPoll(world, 0);
  for (let n = 3; n < 8; n++) {
    await world.pass(25_000);
    poll.json({ cursor: `p${n}`, events: [] });
    poll = await world.next(n);
  }
  assert.deepEqual(reasons, ['first', 'expired']);
  feed.close();
});

test('nothing is told twice when a stream takes over from the polls', async () => {
  const { world, feed, told } = begin();
  world.chance = 0.5;
  (await world.next(0)).fail();
  await world.pass(250);
  (await world.next(1)).open();
  await world.pass(3_000);
  let poll = await greetPoll(world, 2);
  let seen = 4;
  const answer = async (cursor: string, events: FeedEvent[] = []) => {
    poll.json({ cursor, events });
    poll = await world.next(++seen);
  };
  for (let n = 0; n < 11; n++) {
    await world.pass(25_000);
    await answer(`p${n}`);
  }
  const before = world.asked.length;
  await world.pass(24_999);
  assert.equal(world.asked.length, before, 'the stream is tried after five minutes, not before');
  await world.pass(1);
  const stream = await world.next(before);
  assert.equal(stream.headers.get('last-event-id'), 'p10');
  assert.ok(!poll.isDropped);
  seen++;
  await answer('p12', [event(1), event(2)]);
  assert.deepEqual(told.events, [1, 2]);
  await greet(stream, 15_000, 'p10');
  assert.equal(state(feed), 'connected events 0');
  assert.ok(poll.isDropped);
  assert.equal(feed.cursor, 'p12', 'the polls have read on meanwhile');
  poll.json({ cursor: 'p13', events: [event(3)] });
  stream.block('score', event(1), 'c1');
  stream.block('score', event(2), 'c2');
  await settle();
  assert.equal(feed.cursor, 'p12');
  stream.block('score', event(3), 'c3');
  await settle();
  assert.deepEqual(told.events, [1, 2, 3]);
  assert.equal(feed.cursor, 'c3');
  // And back, when nothing more comes.
  await world.pass(35_000);
  await greetPoll(world, world.asked.length - 1, [event(3), event(4)]);
  assert.deepEqual(told.events, [1, 2, 3, 4]);
  feed.close();
  await settle();
  assert.equal(world.left, 0);
});

test('a stream that fails again leaves the polls alone', async () => {
  const { world, feed } = begin();
  (await world.next(0)).open();
  await world.pass(3_000);
  const poll = await greetPoll(world, 1);
  // A wake asks sooner, but not at once.
  await world.wake();
  poll.json({ cursor: 'p1', events: [event(1)] });
  await world.pass(29_999);
  const poll2 = await world.next(4);
  assert.equal(world.asked.length, 5);
  await world.pass(1);
  const again = await world.next(5);
  assert.equal(again.path, '/base/v1/events');
  again.open();
  await world.pass(3_000);
  assert.ok(again.isDropped && !poll2.isDropped);
  assert.equal(state(feed), 'connected poll 0');
  feed.close();
  await settle();
  assert.equal(world.left, 0);
});

test('resets are told once, and a log that was begun anew is told from its start', async () => {
  const { world, feed, told } = begin();
  const stream = await world.next(0);
  await greet(stream);
  const reset = (reason: string, position: string) => (
    stream.block('reset', { room: 'r', reason, position, count: 0, spectators: 0 }, 'c')
  );
  stream.block('score', event(5), 'c');
  reset('trimmed', at(4));
  reset('trimmed', at(7));
  stream.block('score', event(7), 'c');
  stream.block('score', event(8), 'c');
  reset('ahead', at(2));
  stream.block('score', event(3), 'c');
  reset('epoch', at(0, '0000000000000001'));
  stream.block('score', event(1, { position: at(1, '0000000000000001') }), 'c');
  await settle();
  const resets = told.resets.map(({ reason, position }) => `${reason} ${position.split('.')[1]}`);
  assert.deepEqual(resets, ['trimmed 7', 'ahead 2', 'epoch 0']);
  assert.deepEqual(told.events, [5, 8, 3, 1]);
  feed.close();
});

test('a reader that lags is told what it lost, and nothing else is kept', async () => {
  const { world, feed } = begin();
  const reader = feed[Symbol.asyncIterator]();
  const stream = await world.next(0);
  await greet(stream);
  for (let seq = 1; seq <= 1025; seq++) stream.block('score', event(seq), `c${seq}`);
  await settle();
  const read = async () => (await reader.next()).value as FeedEvent;
  const { kind, room, data } = await read();
  assert.deepEqual({ kind, room, data }, {
    kind: 'reset', room: 'r', data: { room: 'r', reason: 'too-many', position: at(512), dropped: 512 },
  });
  for (let seq = 513; seq <= 1025; seq++) assert.equal((await read()).data, seq);
  const waits = reader.next();
  feed.close();
  assert.deepEqual(await waits, { done: true, value: undefined });
  assert.deepEqual(await reader.next(), { done: true, value: undefined });
});

test('the rooms are changed under the same cursor', async () => {
  const { world, feed, told } = begin();
  const stream = await world.next(0);
  await greet(stream);
  stream.block('score', event(1), 'c1');
  await settle();
  const followed = feed.follow(['r', 'a/b']);
  const second = await world.next(1);
  assert.ok(stream.isDropped);
  assert.equal(second.url.search, '?room=r&room=a%2Fb');
  assert.equal(second.headers.get('last-event-id'), 'c1');
  await greet(second, 15_000, 'c1b');
  await followed;
  assert.equal(feed.cursor, 'c1b');
  assert.deepEqual(told.status.map(({ state }) => state), ['connected'], 'nothing was lost');
  feed.close();
  await assert.rejects(feed.follow([]), ClosedError);
});

test('names are learnt from events', async () => {
  const { world, feed } = begin();
  const stream = await world.next(0);
  await greet(stream);
  const from = { peer: 'p3', user: 'cid' };
  const [ann, bob, eve] = [{ peer: 'p1', user: 'ann', name: 'Ann' }, { peer: 'p2', user: 'bob' }, { peer: 'p4', user: 'eve' }];
  stream.block('peer-joined', event(1, { kind: 'peer-joined', data: { peer: ann } }), 'c');
  stream.block('peer-joined', event(2, { kind: 'peer-joined', data: { peer: bob } }), 'c');
  stream.block('message', event(3, { kind: 'message', from, data: { text: 'hi' } }), 'c');
  stream.block('peer-left', event(4, { kind: 'peer-left', data: { peer: bob, reason: 'left' } }), 'c');
  stream.block('peer-joined', event(5, { kind: 'peer-joined', data: { peer: eve } }), 'c');
  stream.block('node-down', event(6, { kind: 'node-down', data: { left: [eve] } }), 'c');
  await settle();
  assert.deepEqual([...feed.peers('r')], [['p1', ann], ['p3', from]]);
  assert.equal(feed.peers('other').size, 0);
  feed.close();
});

test('answers that come too soon do not become a storm', async () => {
  const { world, feed } = begin({ transports: ['poll'] });
  let polls = 0;
  world.answer = (asked) => {
    if (asked.path.endsWith('/poll')) polls++;
    asked.json(asked.path.endsWith('/poll') ? { cursor: 'c', events: [] } : {});
  };
  await world.pass(10_000);
  assert.ok(polls >= 9 && polls <= 12, `${polls} polls in 10 s`);
  feed.close();
});

test('an aborted signal ends the feed, before and after it has begun', async () => {
  const abort = new AbortController();
  const { world, feed } = begin({ signal: abort.signal });
  await world.next(0);
  abort.abort();
  assert.equal(state(feed), 'closed events 0');
  const late = begin({ signal: abort.signal });
  await settle();
  assert.equal(state(late.feed), 'closed events 0');
  assert.equal(late.world.asked.length, 0);
  assert.deepEqual(await late.feed[Symbol.asyncIterator]().next(), { done: true, value: undefined });
});
