/** What a fallback makes of a feed, and how it speaks, on a clock that the test turns. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Status } from '../src/carrier.js';
import { ClosedError, LostError, QueueFullError, RequestError, UnsupportedError } from '../src/errors.js';
import { Fallback } from '../src/fallback.js';
import type { ServerMessage } from '../src/wire.js';
import { settle, World, type Asked } from './world.js';

const at = (seq: number) => `9f3c5a1e7b2d4860.${seq}.00000000`;
const entry = (peer: string) => ({ peer, user: peer });

/** A fallback whose server shows a room with one member at the fifth event, and leaves POSTs to the test. */
function begin(queue = 256, notifications?: string) {
  const world = new World();
  const messages: ServerMessage[] = [];
  const missed: boolean[] = [];
  const status: Status[] = [];
  const streams: Asked[] = [];
  const posts: Asked[] = [];
  const members = [entry('p1')];
  world.answer = (asked) => {
    const path = asked.path.slice(4);
    if (asked.method === 'POST') return void posts.push(asked);
    if (path === 'events') {
      streams.push(asked);
      asked.open();
      const names = asked.url.searchParams.getAll('room');
      const rooms = names.map((room) => ({ room, position: at(5), count: 1, spectators: 1 }));
      return asked.block('connected', { user: 'ann', rooms, heartbeat: 15_000 }, 'c5');
    }
    if (path.endsWith('/members')) return asked.json({ members, count: members.length });
    return asked.json({ room: 'r', position: at(5), members: 1, spectators: 2, state_version: 0 });
  };
  const fallback = new Fallback({
    env: world.env,
    url: 'http://host/',
    token: `e30.${btoa(JSON.stringify({ sub: 'ann', name: 'Ann' }))}.x`,
    transports: ['events', 'poll'],
    queue,
    notifications,
    listener: {
      status: (told) => status.push(told),
      message: (message, isMissed) => {
        messages.push(message);
        missed.push(isMissed);
      },
      move: () => assert.fail('a feed tells no moves'),
      lost: () => assert.fail('nor loses any'),
      out: () => assert.fail('nobody is put out'),
    },
  });
  const tell = (seq: number, kind: string, data: unknown) => (
    streams.at(-1)?.block(kind, { room: 'r', position: at(seq), kind, time: seq, data }, `c${seq}`)
  );
  return { world, fallback, messages, missed, status, streams, posts, members, tell };
}

/** Lets the room be shown. */
async function join(begun: ReturnType<typeof begin>) {
  const joined = begun.fallback.join('r');
  await settle();
  await settle();
  return joined;
}

const say = (fallback: Fallback, text: string) => fallback.request('message', { room: 'r', text });

test('a room is shown as a session would see it, and its events are the same messages', async () => {
  const begun = begin();
  const { fallback, messages, tell } = begun;
  const joined = await join(begun);
  assert.deepEqual(joined, {
    type: 'joined', re: null, room: 'r', handle: 0, count: 1, spectators: 2, position: at(5), state: [], missed: [],
    you: { peer: '', handle: 0, user: 'ann', name: 'Ann', polite: false, offers: false }, members: [entry('p1')],
  });
  assert.deepEqual(messages.map(({ type }) => type), ['connected', 'joined']);
  messages.length = 0;
  tell(5, 'message', { text: 'shown already' });
  tell(6, 'peer-joined', { peer: entry('p1') });
  tell(7, 'peer-joined', { peer: entry('p2') });
  tell(8, 'peer-left', { peer: entry('p2'), reason: 'lost' });
  tell(9, 'peer-left', { peer: entry('p9'), reason: 'left' });
  tell(10, 'score', 3);
  const presence = { count: 2, spectators: 0, joined: [entry('p3')], left: [entry('p1')], more: false };
  tell(11, 'presence', presence);
  const down = { node: '00000000000000aa', count: 0, spectators: 0, left: [entry('p3')], more: false };
  tell(12, 'node-down', down);
  tell(13, 'peer-joined', { peer: entry('p3') });
  await settle();
  const logged = (seq: number) => ({ room: 'r', position: at(seq), time: seq });
  assert.deepEqual(messages, [
    { type: 'peer-joined', ...logged(7), peer: { ...entry('p2'), order: 7 } },
    { type: 'peer-left', ...logged(8), peer: entry('p2'), reason: 'lost' },
    { type: 'event', ...logged(10), kind: 'score', data: 3 },
    { type: 'presence', ...logged(11), ...presence },
    { type: 'node-down', ...logged(12), ...down },
    { type: 'peer-joined', ...logged(13), peer: { ...entry('p3'), order: 13 } },
  ]);
  fallback.close();
});

test('a reset shows the room anew, before what comes after it', async () => {
  const begun = begin();
  const { fallback, messages, members, streams, tell } = begun;
  await join(begun);
  messages.length = 0;
  members.push(entry('p2'));
  streams.at(-1)?.block('reset', { room: 'r', reason: 'trimmed', position: at(5), count: 2, spectators: 0 }, 'c5');
  tell(6, 'score', 1);
  await settle();
  assert.deepEqual(messages.map((message) => [message.type, message.type === 'reset' && message.members.length]), [
    ['reset', 2], ['event', false],
  ]);
  fallback.close();
});

test('what came while it was away is told as missed', async () => {
  const begun = begin();
  const { world, fallback, messages, missed, streams, tell } = begun;
  await join(begun);
  world.answer = ((usual) => (asked: Asked) => {
    if (!asked.path.endsWith('/events')) return usual(asked);
    streams.push(asked);
    asked.open();
    const rooms = [{ room: 'r', position: at(7), count: 1, spectators: 1 }];
    asked.block('connected', { user: 'ann', rooms, heartbeat: 15_000 }, 'c5');
  })(world.answer);
  streams.at(-1)?.fail();
  await world.pass(30_000);
  tell(6, 'score', 1);
  tell(7, 'score', 2);
  tell(8, 'score', 3);
  await settle();
  const scores = messages.flatMap((message, n) => (message.type === 'event' ? [`${message.data} ${missed[n]}`] : []));
  assert.deepEqual(scores, ['1 true', '2 true', '3 false']);
  const resumed = messages.flatMap((message) => (message.type === 'connected' ? [message.resumed] : []));
  assert.deepEqual(resumed, [false, true]);
  fallback.close();
});

test('notifications go on from where they stood on another way, and a hole is told', async () => {
  const heard = async (stood: string, first = 2) => {
    const { fallback, messages, streams } = begin(256, stood);
    await settle();
    assert.equal(streams[0]?.headers.get('last-event-id'), '0');
    messages.length = 0;
    for (let seq = first; seq <= 5; seq++) {
      const data = { message: `number ${seq}` };
      streams[0]?.block('notification', { room: 'user/ann', position: at(seq), kind: 'notification', time: seq, data }, `c${seq}`);
    }
    await settle();
    fallback.close();
    return messages.map((message) => ('reason' in message ? message.reason : 'message' in message && message.message));
  };
  assert.deepEqual(await heard(at(3)), ['number 4', 'number 5']);
  assert.deepEqual(await heard(at(5)), []);
  assert.deepEqual(await heard(at(0)), ['trimmed', 'number 2', 'number 3', 'number 4', 'number 5']);
  assert.deepEqual(await heard('0000000000000001.9.00000000'), ['epoch', 'number 2', 'number 3', 'number 4', 'number 5']);
  // Where there never was an event, nothing is missing before the first.
  const started = ['number 1', 'number 2', 'number 3', 'number 4', 'number 5'];
  assert.deepEqual(await heard('0000000000000001.0.00000000', 1), started);
  assert.deepEqual(await heard('0000000000000001.1.00000000', 1), ['epoch', ...started]);
  const { fallback, streams } = begin();
  await settle();
  assert.equal(streams[0]?.headers.get('last-event-id'), null, 'nothing is known: from now on');
  fallback.close();
});

test('one POST at a time per room, repeated under its key until it is answered', async () => {
  const begun = begin();
  const { world, fallback, posts } = begun;
  await join(begun);
  const said = [say(fallback, 'one'), say(fallback, 'two')];
  await settle();
  assert.equal(posts.length, 1);
  posts[0]?.fail();
  await world.pass(500);
  posts[1]?.problem(904, 503, { retry_after: 9_000 });
  await world.pass(8_999);
  assert.equal(posts.length, 2, 'the server asked for 9 s');
  await world.pass(1_001);
  posts[2]?.json({ position: at(6) }, 201);
  await settle();
  posts[3]?.json({ position: at(7) }, 201);
  const ok = (seq: number) => ({ type: 'ok', re: 0, position: at(seq) });
  assert.deepEqual(await Promise.all(said), [ok(6), ok(7)]);
  const keys = posts.map(({ headers }) => headers.get('idempotency-key') ?? '');
  assert.ok(keys.every((key) => /^[0-9a-f]{32}$/.test(key)));
  assert.ok(keys[0] === keys[1] && keys[1] === keys[2] && keys[2] !== keys[3]);
  assert.deepEqual(posts[3]?.body, { kind: 'message', data: { text: 'two' } });
  fallback.close();
});

test('a refusal is handed on, and the next one goes out all the same', async () => {
  const begun = begin();
  const { fallback, posts } = begun;
  await join(begun);
  const [first, second] = [say(fallback, 'one'), fallback.request('publish', { room: 'r', kind: 'score', data: null })];
  await settle();
  posts[0]?.problem(705, 403);
  await assert.rejects(first, (fault) => fault instanceof RequestError && fault.code === 705);
  await settle();
  posts[1]?.json({ position: at(6) }, 201);
  assert.equal((await second).type, 'ok');
  assert.deepEqual(posts[1]?.body, { kind: 'score', data: null });
  fallback.close();
});

test('what cannot be repeated safely any more is lost, not said twice', async () => {
  const begun = begin();
  const { world, fallback, posts } = begun;
  await join(begun);
  const said = say(fallback, 'one');
  said.catch(() => {});
  world.answer = ((usual) => (asked: Asked) => (asked.method === 'POST' ? asked.fail() : usual(asked)))(world.answer);
  await settle();
  posts[0]?.fail();
  await world.pass(300_000);
  await assert.rejects(said, LostError);
  fallback.close();
});

test('more than the queue holds is refused, and closing ends what waits', async () => {
  const begun = begin(2);
  const { fallback, status } = begun;
  await join(begun);
  const waiting = [say(fallback, 'one'), say(fallback, 'two')];
  await assert.rejects(say(fallback, 'three'), QueueFullError);
  fallback.close();
  for (const said of waiting) await assert.rejects(said, ClosedError);
  await assert.rejects(fallback.join('other'), ClosedError);
  assert.equal(status.at(-1)?.state, 'closed');
  await settle();
  assert.equal(begun.world.left, 0);
});

test('what is said while away waits for the way back, or ends with the fallback', async () => {
  const begun = begin();
  const { world, fallback, streams, posts } = begun;
  await join(begun);
  const lose = async () => {
    streams.at(-1)?.fail();
    await settle();
  };
  await lose();
  const said = say(fallback, 'one');
  await settle();
  assert.equal(posts.length, 0);
  await world.pass(500);
  posts[0]?.json({ position: at(6) }, 201);
  assert.equal((await said).type, 'ok');
  await lose();
  const unsaid = say(fallback, 'two');
  unsaid.catch(() => {});
  await settle();
  fallback.close();
  await assert.rejects(unsaid, ClosedError);
  assert.equal(posts.length, 1);
});

test('what needs a WebSocket says so', async () => {
  const begun = begin();
  const { fallback } = begun;
  await join(begun);
  for (const type of ['offer', 'answer', 'ice-candidate', 'update', 'ping']) {
    await assert.rejects(fallback.request(type, { room: 'r' }), UnsupportedError);
  }
  assert.throws(() => fallback.move({ room: 'r', key: 0, reliable: false, data: 1 }), UnsupportedError);
  fallback.hint();
  const listed = await fallback.request('members', { room: 'r', limit: 5 });
  assert.deepEqual(listed, { type: 'members', re: 0, room: 'r', members: [entry('p1')], count: 1 });
  fallback.close();
});
