/** Feeds and the fallback with a real server, through networks that are as bad as some are. */

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import type { Status } from '../src/carrier.js';
import { ClosedError, RequestError, UnsupportedError } from '../src/errors.js';
import { Fallback } from '../src/fallback.js';
import { watch, type FeedEvent, type WatchOptions } from '../src/feed.js';
import type { ServerMessage } from '../src/wire.js';
import { hasty, Proxy, Server, SKIP, until } from './server.js';

describe('with a server', { skip: SKIP }, () => {
  let server: Server;
  let proxy: Proxy;
  let token: string;
  /** Of somebody whose haste is not counted. */
  let writer: string;
  const open = new Set<{ close(): void }>();

  before(async () => {
    server = await Server.start({ RALLYPOINT_ROOM__HISTORY_EVENTS: '400' });
    proxy = await Proxy.before(server);
    writer = await server.token('writer', undefined, { admin: true });
    token = await server.token('ann', undefined, { name: 'Ann', notify: { send: ['*'] } });
  });
  after(async () => {
    open.forEach((feed) => feed.close());
    proxy.stop();
    await server.stop();
  });

  /** A feed through the proxy, and all that it tells. */
  async function follow(room: string, options: Partial<WatchOptions> = {}) {
    const feed = watch({ url: proxy.base, token, rooms: [room], ...options }, { env: hasty() });
    open.add(feed);
    const events: FeedEvent[] = [];
    feed.on('event', (event) => events.push(event));
    await until('the feed is connected', () => feed.status.state === 'connected');
    return { feed, events };
  }

  const numbers = (events: FeedEvent[]) => events.flatMap(({ kind, data }) => (kind === 'count' ? [Number(data)] : []));
  const upTo = (end: number) => Array.from({ length: end }, (_, n) => n);

  /** What a fallback tells. */
  function carry(options: { token: string; transports?: ('events' | 'poll')[]; notifications?: string }) {
    const messages: { message: ServerMessage; missed: boolean }[] = [];
    const status: Status[] = [];
    const out: string[] = [];
    const fallback = new Fallback({
      env: hasty(),
      url: proxy.base,
      transports: ['events', 'poll'],
      ...options,
      listener: {
        status: (told) => status.push(told),
        message: (message, missed) => messages.push({ message, missed }),
        move: () => assert.fail('a feed tells no moves'),
        lost: () => assert.fail('nor loses any'),
        out: (room, { code }) => out.push(`${room} ${code}`),
      },
    });
    open.add(fallback);
    const texts = (room: string) => messages.flatMap(({ message }) => (
      message.type === 'message' && message.room === room ? [message.text] : []
    ));
    return { fallback, messages, status, out, texts };
  }

  test('a stream and polls show the same', async () => {
    const stream = await follow('same', { transports: ['events'] });
    const polls = await follow('same', { transports: ['poll'] });
    await server.publish(writer, 'same', 'message', { text: 'grüß dich\u2028👋' });
    await server.publish(writer, 'same', 'count', { deep: [1, { two: null }] });
    await fetch(`${server.base}/v1/users/ann/notifications`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ message: 'dinner', data: 7 }),
    });
    await until('both have all', () => stream.events.length === 3 && polls.events.length === 3);
    assert.deepEqual(stream.events, polls.events);
    const kinds = stream.events.map(({ room, kind }) => `${room} ${kind}`);
    assert.deepEqual(kinds, ['same message', 'same count', 'user/ann notification']);
    await until('the cursors agree', () => stream.feed.cursor === polls.feed.cursor);
  });

  test('three cuts in a row lose nothing and repeat nothing', async () => {
    for (const transport of ['events', 'poll'] as const) {
      const room = `cut-${transport}`;
      const { feed, events } = await follow(room, { transports: [transport] });
      let reconnects = 0;
      feed.on('status', ({ state }) => (reconnects += Number(state === 'reconnecting')));
      let n = 0;
      for (let cut = 1; cut <= 3; cut++) {
        await server.publish(writer, room, 'count', n++);
        proxy.cut();
        await server.publish(writer, room, 'count', n++);
        await until('the loss is noticed', () => reconnects >= cut);
        await server.publish(writer, room, 'count', n++);
        await until('it is back', () => feed.status.state === 'connected');
      }
      await until('all has come', () => events.length >= 9);
      assert.deepEqual(numbers(events), upTo(9));
      feed.close();
    }
  });

  test('a proxy that keeps streams back is polled through', async () => {
    proxy.keepsStreams = true;
    const { feed, events } = await follow('kept');
    assert.equal(feed.status.transport, 'poll');
    await server.publish(writer, 'kept', 'count', 0);
    await until('it has come', () => events.length === 1);
    proxy.keepsStreams = false;
    feed.close();
  });

  test('changing the transport under load loses nothing and repeats nothing', async () => {
    const room = 'load';
    const env = hasty(10);
    // The stream is tried again after 30 ms or so in place of five minutes.
    const eager = { ...env, after: (ms: number, act: () => void) => env.after(ms > 100_000 ? ms / 1000 : ms, act) };
    const feed = watch({ url: proxy.base, token, rooms: [room] }, { env: eager });
    open.add(feed);
    const events: FeedEvent[] = [];
    const ways: string[] = [];
    feed.on('event', (event) => events.push(event));
    feed.on('status', ({ state, transport }) => state === 'connected' && ways.push(transport));
    await until('the feed is connected', () => feed.status.state === 'connected');
    for (let n = 0; n < 500; n++) {
      await server.publish(writer, room, 'count', n);
      if (n % 100 === 20) {
        proxy.keepsStreams = true;
        proxy.cut();
        await until('it polls', () => feed.status.state === 'connected' && feed.status.transport === 'poll');
      }
      if (n % 100 === 70) {
        proxy.keepsStreams = false;
        // While it changes over, events go on.
        const more = ways.length;
        while (ways.length === more && n < 499) await server.publish(writer, room, 'count', ++n);
      }
    }
    await until('all has come', () => events.length >= 500);
    assert.deepEqual(numbers(events), upTo(500));
    assert.ok(ways.filter((way) => way === 'events').length > 1 && ways.includes('poll'), ways.join(' '));
    feed.close();
  });

  test('a token that ends is replaced, and the feed goes on', async () => {
    const brief = await Server.start({ RALLYPOINT_LIMITS__EXPIRY_GRACE_MS: '0', RALLYPOINT_AUTH__LEEWAY_MS: '0' });
    try {
      const reasons: string[] = [];
      const events: unknown[] = [];
      const feed = watch({
        url: brief.base,
        rooms: ['brief'],
        token: ({ why }) => (reasons.push(why), brief.token('ann', undefined, { ttl: reasons.length === 1 ? 2 : 60 })),
      }, { env: hasty() });
      open.add(feed);
      feed.on('event', ({ data }) => events.push(data));
      await until('the second token is asked for', () => reasons.length === 2 && feed.status.state === 'connected');
      await brief.publish(await brief.token('bob'), 'brief', 'count', 1);
      await until('it goes on', () => events.length === 1);
      assert.deepEqual(reasons, ['first', 'expired']);
      feed.close();
    } finally {
      await brief.stop();
    }
  });

  test('a refusal ends a feed with its number and words', async () => {
    const outsider = await server.token('eve', [{ r: 'elsewhere', role: 'spectator' }]);
    const feed = watch({ url: proxy.base, token: outsider, rooms: ['same'] }, { env: hasty() });
    const reading = feed[Symbol.asyncIterator]().next();
    await assert.rejects(reading, (fault) => fault instanceof ClosedError && fault.code === 705);
    assert.equal(feed.status.state, 'closed');
  });

  test('the proxy lets no WebSocket through', async () => {
    const { port } = new URL(proxy.base);
    const status = await new Promise((resolve, reject) => {
      const headers = { connection: 'Upgrade', upgrade: 'websocket' };
      http.get({ port, path: '/v1/ws', headers }, ({ statusCode }) => resolve(statusCode)).on('error', reject);
    });
    assert.equal(status, 400);
  });

  test('two fallbacks chat both ways, one over a stream and one by polls', async () => {
    const ann = carry({ token });
    const bob = carry({ token: await server.token('bob', [{ r: 'chat/*', role: 'player' }]), transports: ['poll'] });
    const [joined] = await Promise.all([ann.fallback.join('chat/1'), bob.fallback.join('chat/1')]);
    assert.deepEqual(joined.you, { peer: '', handle: 0, user: 'ann', name: 'Ann', polite: false, offers: false });
    assert.deepEqual(joined.members, []);
    const said = await ann.fallback.request('message', { room: 'chat/1', text: 'hello' });
    assert.equal(said.type, 'ok');
    await bob.fallback.request('message', { room: 'chat/1', text: 'hi' });
    for (const { texts } of [ann, bob]) await until('both have both', () => texts('chat/1').length === 2);
    assert.deepEqual([ann.texts('chat/1'), bob.texts('chat/1')], [['hello', 'hi'], ['hello', 'hi']]);
    assert.deepEqual(ann.messages.map(({ message }) => message.type), ['connected', 'joined', 'message', 'message']);
    assert.equal(bob.status.at(-1)?.transport, 'poll');
    await assert.rejects(bob.fallback.request('publish', { room: 'chat/1', kind: 'count', data: 1 }), RequestError);
    await assert.rejects(bob.fallback.request('offer', { room: 'chat/1' }), UnsupportedError);
    await assert.rejects(bob.fallback.request('message', { room: 'other', text: 'x' }), RequestError);
    await assert.rejects(bob.fallback.join('private'), (fault) => fault instanceof RequestError && fault.code === 705);
    assert.equal(bob.status.at(-1)?.state, 'connected', 'a room that is refused takes nothing else along');
    ann.fallback.close();
    bob.fallback.close();
    assert.equal(ann.status.at(-1)?.state, 'closed');
  });

  test('notifications go on from where they stood on another way, over a stream and by polls', async () => {
    const notify = async (message: string) => {
      const response = await fetch(`${server.base}/v1/users/cleo/notifications`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ message }),
      });
      return ((await response.json()) as { position: string }).position;
    };
    const stood = await notify('told before');
    for (const message of ['between', 'the ways']) await notify(message);
    const cleo = await server.token('cleo', undefined, {});
    for (const transport of ['events', 'poll'] as const) {
      const { fallback, messages } = carry({ token: cleo, transports: [transport], notifications: stood });
      const told = () => messages.flatMap(({ message }) => (message.type === 'notification' ? [message.message] : []));
      await fallback.join('lobby');
      await until('both are told', () => told().length >= 2);
      assert.deepEqual(told(), ['between', 'the ways'], transport);
      assert.deepEqual(messages.filter(({ message }) => message.type === 'reset'), []);
      fallback.close();
    }
  });

  test('what is said while answers are lost is said once, in order', async () => {
    const { fallback, texts } = carry({ token });
    await fallback.join('lossy');
    proxy.losesAnswers = 5;
    const words = upTo(10).map((n) => `word ${n}`);
    const said = await Promise.all(words.map((text) => fallback.request('message', { room: 'lossy', text })));
    assert.ok(said.every(({ type }) => type === 'ok'));
    await until('all has come', () => texts('lossy').length >= 10);
    await fallback.request('message', { room: 'lossy', text: 'end' });
    await until('the end has come', () => texts('lossy').includes('end'));
    assert.deepEqual(texts('lossy'), [...words, 'end']);
    assert.equal(proxy.losesAnswers, 0);
    fallback.close();
  });

  test('a room that is joined with a position tells first what was missed', async () => {
    const since = await server.publish(writer, 'late', 'count', 0);
    for (let n = 1; n <= 300; n++) await server.publish(writer, 'late', 'count', n);
    const { fallback, messages } = carry({ token });
    const [joined] = await Promise.all([fallback.join('late', since), fallback.join('early')]);
    await server.publish(writer, 'late', 'count', 301);
    const counts = () => messages.filter(({ message }) => message.type === 'event');
    await until('all has come', () => counts().length >= 301);
    const late = messages.filter(({ message }) => 'room' in message && message.room === 'late');
    assert.deepEqual(late.map(({ message }) => (message.type === 'event' ? message.data : message.type)), [
      ...upTo(300).map((n) => n + 1), 'joined', 301,
    ]);
    assert.deepEqual(counts().map(({ missed }) => missed), [...upTo(300).map(() => true), false]);
    assert.equal(joined.room, 'late');
    // Of a hole it is told in the protocol's way.
    for (let n = 0; n < 401; n++) await server.publish(writer, 'long', 'count', n);
    const first = `${joined.position.slice(0, 16)}.1.00000000`;
    await fallback.join('long', first);
    const long = messages.flatMap(({ message }) => ('room' in message && message.room === 'long' ? [message] : []));
    assert.deepEqual(long.map(({ type }) => type), ['joined', 'reset']);
    await fallback.leave('late');
    await assert.rejects(fallback.leave('late'), RequestError);
    fallback.close();
  });

  test('a room that the token loses is left, and the others go on', async () => {
    let rooms = [{ r: 'one', role: 'host' }, { r: 'two', role: 'host' }];
    const told: string[] = [];
    const out: string[] = [];
    const fallback = new Fallback({
      env: hasty(),
      url: proxy.base,
      token: () => server.token('cid', rooms),
      transports: ['events'],
      listener: {
        status: ({ state }) => told.push(state),
        message: (message) => message.type === 'message' && told.push(message.text),
        move: () => assert.fail('a feed tells no moves'),
        lost: () => assert.fail('nor loses any'),
        out: (room, { code }) => out.push(`${room} ${code}`),
      },
    });
    open.add(fallback);
    await Promise.all([fallback.join('one'), fallback.join('two')]);
    rooms = [{ r: 'one', role: 'host' }];
    proxy.cut();
    await until('the room is out', () => out.length === 1);
    assert.deepEqual(out, ['two 705']);
    // The stream is not back yet, and the room may be empty: what is said now is for it all the same.
    await fallback.request('message', { room: 'one', text: 'still here' });
    await until('it goes on', () => told.includes('still here'));
    assert.ok(!told.includes('closed'));
    fallback.close();
  });
});
