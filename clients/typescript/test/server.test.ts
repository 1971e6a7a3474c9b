/** The client against a real server, in both encodings: `RALLYPOINT_BIN` names the binary. */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { connect, type Client, type ConnectOptions, type TokenReason } from '../src/client.js';
import { ClosedError, LostError, RequestError } from '../src/errors.js';
import { inside, type Room } from '../src/room.js';
import type { Inside } from '../src/room/inside.js';
import type { Move } from '../src/room/roster.js';

const BINARY = process.env['RALLYPOINT_BIN'];
const skip = BINARY ? false : 'RALLYPOINT_BIN does not name a server';
const ENCODINGS = ['msgpack', 'json'] as const;
/** Resume tokens of a server that was restarted are good if it signs with the same secret. */
const SECRET = 'a secret of the tests, long enough';

/** Polls until the condition gives something true. */
async function until<T>(what: string, condition: () => T | Promise<T>): Promise<NonNullable<T>> {
  const end = performance.now() + 20_000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (performance.now() > end) throw new Error(`not within 20 s: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

class Server {
  port = 0;
  #child: ChildProcess | undefined;

  get base(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    if (!this.port) {
      const listener = createServer().listen(0, '127.0.0.1');
      await once(listener, 'listening');
      this.port = (listener.address() as AddressInfo).port;
      listener.close();
      await once(listener, 'close');
    }
    const outside = Object.entries(process.env).filter(([name]) => !name.startsWith('RALLYPOINT_'));
    this.#child = spawn(BINARY ?? '', ['serve', '--dev', '--listen', `127.0.0.1:${this.port}`], {
      env: {
        ...Object.fromEntries(outside), RALLYPOINT_AUTH__RESUME_SECRET: SECRET, RALLYPOINT_LIMITS__DRAIN_MS: '200',
        RALLYPOINT_LIMITS__EXPIRY_GRACE_MS: '500', RALLYPOINT_AUTH__LEEWAY_MS: '0', RALLYPOINT_ROOM__LATENCY_MS: '1000',
        RALLYPOINT_LIMITS__PING_INTERVAL_MS: '1000',
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const child = this.#child;
    await until('the server is there', () => {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`);
      return fetch(`${this.base}/healthz`).then(({ ok }) => ok, () => false);
    });
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }

  async token(fields: Record<string, unknown>): Promise<string> {
    const response = await fetch(`${this.base}/dev/token`, {
      method: 'POST', headers: { Origin: this.base, 'Content-Type': 'application/json' }, body: JSON.stringify(fields),
    });
    return ((await response.json()) as { token: string }).token;
  }
}

const server = new Server();
const clients: Client[] = [];
if (BINARY) {
  before(() => server.start());
  after(async () => {
    for (const client of clients) client.close();
    await server.stop();
  });
}

interface Guest {
  client: Client;
  /** Why tokens were asked for. */
  asked: TokenReason['why'][];
  /** Cuts the connection off, as a network does. */
  cut(): void;
  /** What is sent from here on is lost on the way, until the connection is cut off. */
  swallow(): void;
}

let users = 0;

function guest(options: Partial<ConnectOptions> = {}, claims: Record<string, unknown> = {}): Guest {
  const sockets: { terminate(): void; isLossy: boolean }[] = [];
  const asked: TokenReason['why'][] = [];
  class Recorded extends WebSocket {
    isLossy = false;

    override send(data: string | Uint8Array): void {
      if (!this.isLossy) super.send(data);
    }

    constructor(url: string, subprotocols: string[]) {
      super(url, subprotocols);
      sockets.push(this);
    }
  }
  const user = `user-${++users}`;
  const client = connect({
    url: server.base, WebSocket: Recorded, transports: ['websocket'], ...options,
    token: options.token ?? (({ why }) => {
      asked.push(why);
      return server.token({ user, name: user.toUpperCase(), rooms: [{ r: '*', role: 'host' }], ...claims });
    }),
  });
  clients.push(client);
  const swallow = () => {
    const socket = sockets.at(-1);
    if (socket) socket.isLossy = true;
  };
  return { client, asked, swallow, cut: () => sockets.at(-1)?.terminate() };
}

const backAgain = async ({ client, cut }: Guest): Promise<void> => {
  const back = client.once('connected');
  cut();
  await back;
};

const texts = (room: Room): string[] => {
  const heard: string[] = [];
  room.on('message', ({ text, missed }) => heard.push(missed ? `${text} (late)` : text));
  return heard;
};

for (const encoding of ENCODINGS) {
  test(`${encoding}: members, chat, typing, state, events and lists`, { skip }, async () => {
    const [ada, bob] = [guest({ encoding }), guest({ encoding })];
    const here = await ada.client.join(`talk/${encoding}`);
    const there = await bob.client.join(`talk/${encoding}`);
    await until('both are seen', () => here.members.size === 2 && there.members.size === 2);
    assert.deepEqual([here.members.get(there.you.peer)?.offers, there.members.get(here.you.peer)?.offers], [false, true]);
    const heard = texts(here);
    there.typing();
    await until('typing is seen', () => here.members.get(there.you.peer)?.typing);
    const position = await there.say('hello');
    await until('the words are there', () => heard.length);
    await until('and typing is over', () => !here.members.get(there.you.peer)?.typing);
    assert.equal(here.position, position);
    await there.update({ ready: true });
    await until('the state is seen', () => here.members.get(there.you.peer)?.state?.['ready']);
    const event = here.once('event');
    await there.publish('goal', { by: 'bob', list: [1, null, 'x'] });
    assert.deepEqual((await event).data, { by: 'bob', list: [1, null, 'x'] });
    const list = await here.list({ limit: 1 });
    assert.deepEqual([list.members.length, list.count, typeof list.next], [1, 2, 'string']);
    await until('the way is measured', () => ada.client.latency !== undefined && here.you.rtt !== undefined);
    assert.ok(Math.abs(ada.client.serverTime() - Date.now()) < 200);
    const gone = here.once('peer-left');
    await there.leave();
    assert.equal((await gone).reason, 'left');
    assert.deepEqual([here.members.size, here.count, there.isLeft], [1, 1, true]);
  });

  test(`${encoding}: moves on both lanes, to all and to some, and over a loss`, { skip }, async () => {
    const [ada, bob] = [guest({ encoding }), guest({ encoding: 'msgpack' })];
    const here = await ada.client.join(`play/${encoding}`);
    const there = await bob.client.join(`play/${encoding}`);
    const moves: Move[] = [];
    here.onMove((move) => moves.push(move));
    there.send({ x: 1.5, y: -3 }, { key: 7 });
    there.sendReliable([1, 'two', null, true], { to: [here.you.peer] });
    await until('both moves', () => moves.length === 2);
    const [spot, shot] = moves;
    assert.deepEqual([spot?.data, spot?.key, spot?.reliable, spot?.from?.peer], [{ x: 1.5, y: -3 }, 7, false, there.you.peer]);
    assert.deepEqual([shot?.data, shot?.reliable], [[1, 'two', null, true], true]);
    assert.deepEqual(here.state.get(there.you.peer)?.get(7)?.data, { x: 1.5, y: -3 });
    moves.length = 0;
    // Each side loses its socket while moves are under way: every reliable one arrives, once and in order.
    for (let n = 0; n < 60; n += 1) {
      there.sendReliable(n);
      there.send(n);
      if (n === 14) bob.swallow();
      if (n === 20) bob.cut();
      if (n === 40) ada.cut();
      if (n % 10 === 0) await new Promise((done) => setImmediate(done));
    }
    const reliable = () => moves.filter((move) => move.reliable).map(({ data }) => data);
    await until('all reliable moves', () => reliable().length >= 60);
    await until('the newest', () => here.state.get(there.you.peer)?.get(0)?.data === 59);
    assert.deepEqual(reliable(), Array.from({ length: 60 }, (_, n) => n));
  });

  test(`${encoding}: a lost socket misses nothing, and nobody sees a leave`, { skip }, async () => {
    const [ada, bob] = [guest({ encoding }), guest({ encoding })];
    const here = await ada.client.join(`lost/${encoding}`);
    const there = await bob.client.join(`lost/${encoding}`);
    const [heard, calls] = [texts(here), [] as Inside[]];
    inside(here).listen((what) => calls.push(what));
    const seen: string[] = [];
    there.on('peer-left', () => seen.push('left'));
    const { peer } = here.you;
    const back = ada.client.once('connected');
    ada.cut();
    await there.say('while away');
    await inside(there).signal('offer', peer, { type: 'offer', sdp: 'v=0' });
    const said = here.say('said while away');
    assert.equal((await back).resumed, true);
    await said;
    await until('all is there', () => heard.length === 2 && calls.some(({ type }) => type === 'signal'));
    assert.deepEqual([heard, here.you.peer, seen], [['while away (late)', 'said while away'], peer, []]);
  });

  test(`${encoding}: a hostile key breaks nobody's room`, { skip }, async () => {
    const [ada, bob] = [guest({ encoding }), guest({ encoding: 'json' })];
    const there = await bob.client.join(`evil/${encoding}`);
    const evil: unknown = JSON.parse('{"__proto__":{"admin":true},"x":1}');
    await there.publish('evil', evil);
    there.send(evil);
    const here = await ada.client.join(`evil/${encoding}`, { since: '0000000000000000.0.00000000' });
    const moves: Move[] = [];
    here.onMove((move) => moves.push(move));
    there.sendReliable(evil);
    there.sendReliable('after');
    const event = here.once('event');
    await there.publish('evil', evil);
    await until('the moves', () => moves.some(({ data }) => data === 'after'));
    for (const data of [moves[0]?.data, (await event).data, here.state.get(there.you.peer)?.get(0)?.data]) {
      assert.equal(Object.getPrototypeOf(data), Object.prototype);
      assert.deepEqual([(data as { x: number }).x, (data as { admin?: boolean }).admin], [1, undefined]);
    }
    await backAgain(ada);
    await here.say('still here');
    assert.equal(ada.client.status.state, 'connected');
  });
}

test('a burst of words keeps its order, and none is refused', { skip }, async () => {
  const ada = guest({ queue: 300 });
  const room = await ada.client.join('burst');
  const heard = texts(room);
  const refused: unknown[] = [];
  ada.client.on('refused', (what) => refused.push(what));
  const words = Array.from({ length: 300 }, (_, n) => String(n));
  await Promise.all(words.map((word) => room.say(word)));
  await until('all words', () => heard.length === words.length);
  assert.deepEqual([heard, refused], [words, []]);
});

test('a server that was restarted knows the same peer', { skip }, async () => {
  const [ada, bob] = [guest(), guest()];
  const here = await ada.client.join('again');
  const there = await bob.client.join('again');
  await here.update({ muted: true });
  const { peer } = here.you;
  const shown = here.once('reset');
  await server.stop();
  const said = here.say('into the void');
  const later = await Promise.allSettled([said, server.start()]);
  await shown;
  if (later[0].status === 'rejected') assert.ok(later[0].reason instanceof LostError);
  await until('both are back', () => here.members.size === 2 && there.members.size === 2);
  assert.deepEqual([here.you.peer, here.isLeft, ada.client.session?.resumed], [peer, false, false]);
  await until('our state is told again', () => there.members.get(peer)?.state?.['muted']);
  const heard = texts(there);
  await here.say('back');
  await until('the words', () => heard.at(-1) === 'back');
  here.sendReliable('moved');
  assert.equal((await there.once('move')).data, 'moved');
});

test('over a restart every reliable move comes once, or is told to be lost', { skip }, async () => {
  const bob = guest();
  const there = await bob.client.join('turns');
  const got: unknown[] = [];
  there.onMove(({ reliable, data }) => reliable && got.push(data));
  const resets: string[] = [];
  for (const name of ['reset', 'shown'] as const) there.on(name, () => resets.push(name));
  const bobIsBack = there.once('reset');
  // Whoever is back first plays to an empty room, so here that is the one who listens.
  const ada = guest({
    token: async ({ why }) => {
      if (why === 'again') await bobIsBack;
      return server.token({ user: 'ada', rooms: [{ r: '*', role: 'host' }] });
    },
  });
  const here = await ada.client.join('turns');
  await until('both are there', () => here.members.has(there.you.peer));
  const lost: unknown[] = [];
  here.on('lost', ({ moves }) => lost.push(...moves.map(({ data }) => data)));
  let sent = 0;
  const play = (times: number) => {
    const end = sent + times;
    return new Promise<void>((done) => {
      const ticks = setInterval(() => {
        here.sendReliable(++sent);
        if (sent % 10 === 0) here.sendReliable(`${sent} to bob`, { to: [there.you.peer] });
        if (sent < end) return;
        clearInterval(ticks);
        done();
      }, 100);
    });
  };
  await play(10);
  await here.say('the answer proves them');
  ada.swallow();
  await play(5);
  await server.stop();
  await until('the loss is noticed', () => ada.client.status.state === 'reconnecting');
  await play(15);
  await Promise.all([server.start(), play(10)]);
  await until('ada is back', () => ada.client.status.state === 'connected');
  await play(10);
  await until('the last move', () => got.at(-1) === '50 to bob');
  const all = Array.from({ length: 50 }, (_, i) => [i + 1, ...((i + 1) % 10 ? [] : [`${i + 1} to bob`])]);
  assert.deepEqual(got, all.flat().filter((data) => !lost.includes(data)));
  assert.deepEqual(lost, [11, 12, 13, 14, 15]);
  assert.deepEqual(resets.slice(-2), ['reset', 'shown']);
  assert.equal(resets.filter((name) => name === 'shown').length, 2, 'at first, and after the restart');
});

test('a goodbye of the server is no end', { skip }, async () => {
  const ada = guest();
  const room = await ada.client.join('drain');
  await server.stop('SIGTERM');
  await server.start();
  await until('back', () => ada.client.status.state === 'connected');
  await room.say('here');
});

test('who is kicked is out of the room and not of the session', { skip }, async () => {
  const [ada, host] = [guest(), guest()];
  const [room, other] = [await ada.client.join('kick'), await ada.client.join('other')];
  const left = room.once('left');
  const token = await server.token({ user: 'admin', rooms: [{ r: '*', role: 'host' }] });
  const path = `${server.base}/v1/rooms/kick/members/${room.you.peer}`;
  const response = await fetch(path, { method: 'DELETE', headers: { Authorization: `Bearer ${token}` } });
  assert.equal(response.status, 204);
  assert.equal((await left).reason, 'kicked');
  await assert.rejects(room.say('x'), RequestError);
  await other.say('still here');
  assert.deepEqual([...ada.client.rooms.keys()], ['other']);
  host.client.close();
});

test('a wrong token stops the client with its reason, and a missing right rejects', { skip }, async () => {
  const { client } = guest({ token: 'a.b.c' });
  await assert.rejects(client.ready, (error) => error instanceof ClosedError && error.code === 4401);
  assert.equal(client.status.state, 'closed');
  const some = guest({}, { rooms: [{ r: 'mine', role: 'player' }] });
  await assert.rejects(some.client.join('yours'), (error) => error instanceof RequestError && error.code === 705);
  await some.client.join('mine');
});

test('a token is refreshed before its end, and one that has ended is replaced', { skip }, async () => {
  const ada = guest({}, { ttl: 6 });
  const room = await ada.client.join('fresh');
  const states: string[] = [];
  ada.client.on('status', ({ state }) => states.push(state));
  await until('a second token', () => ada.asked.length > 1);
  assert.deepEqual(ada.asked, ['first', 'expired']);
  const { peer } = room.you;
  // Beyond the end of the first one and its grace.
  await until('the first has ended', () => ada.asked.length > 2);
  await room.say('still here');
  assert.deepEqual([states, room.you.peer], [[], peer]);
  // A fixed one ends, and the client says so.
  const fixed = guest({ token: await server.token({ user: 'fixed', ttl: 1 }) });
  await until('the end', () => fixed.client.status.state === 'closed');
  assert.deepEqual([fixed.client.status.code, fixed.client.status.action], [4100, 'stop']);
});

test('notifications come wherever the user is', { skip }, async () => {
  const token = await server.token({ user: 'eve', rooms: [] });
  const eve = guest({ token });
  const read = eve.client.notifications();
  await eve.client.ready;
  const sender = await server.token({ user: 'shop', notify: { send: ['*'] }, admin: true });
  const notify = (message: string) => fetch(`${server.base}/v1/users/eve/notifications`, {
    method: 'POST', headers: { Authorization: `Bearer ${sender}`, 'Content-Type': 'application/json' }, body: JSON.stringify({ message }),
  });
  assert.equal((await notify('one')).status, 200);
  const first = await read.next();
  assert.equal(first.value?.message, 'one');
  eve.cut();
  await notify('two');
  const second = await read.next();
  assert.equal(second.value?.message, 'two');
});

test('a close says goodbye at once', { skip }, async () => {
  const [ada, bob] = [guest(), guest()];
  const here = await ada.client.join('bye');
  await bob.client.join('bye');
  const gone = here.once('peer-left');
  bob.client.close();
  assert.equal((await gone).reason, 'closed');
});
