/** Where the access token of a client comes from, and when it is asked for. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, type TokenSource } from '../src/client.js';
import { TokenRefused } from '../src/errors.js';
import { watch } from '../src/feed.js';
import { Bench, claims, RESUMED } from './bench.js';
import { FakeEnv } from './fake.js';
import { World } from './world.js';

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

test('what is no address, or no token, is told at once and by its name', () => {
  const env = new FakeEnv();
  for (const url of ['localhost:3000', '/x', 'ftp://host/', 'http:///', '', undefined] as string[]) {
    const says = { name: 'TypeError', message: `\`url\` is not like https://rally.example: ${url}` };
    assert.throws(() => connect({ url, token: 'token' }, { env }), says);
    assert.throws(() => watch({ url, token: 'token' }, { env }), says);
  }
  for (const token of [undefined, '', null, {}, Promise.resolve('token')] as unknown as TokenSource[]) {
    const says = { name: 'TypeError', message: 'no `token`' };
    assert.throws(() => connect({ url: 'http://host', token }, { env }), says);
    assert.throws(() => watch({ url: 'http://host', token }, { env }), says);
  }
});

test('an address may speak of HTTP or of WebSockets', async () => {
  for (const [url, opened] of [
    ['https://host/?affinity=match%2F7', 'wss://host/v1/ws?affinity=match%2F7'],
    ['wss://host/base/', 'wss://host/base/v1/ws'],
    ['HTTP://host:3000', 'ws://host:3000/v1/ws'],
  ] as const) {
    const bench = new Bench({ url });
    await bench.env.turn(0);
    assert.equal(bench.socket.url, opened);
    bench.client.close();
  }
  const world = new World();
  const feed = watch({ url: new URL('ws://host/base/?affinity=7'), token: 'token' }, { env: world.env });
  const { url } = await world.next(0);
  assert.deepEqual([url.origin, url.searchParams.get('affinity')], ['http://host', '7']);
  feed.close();
});

test('a token source that gives no text is asked again, and the status says that there is no token yet', async () => {
  let given: unknown;
  const bench = new Bench({}, () => given as string);
  const status = () => [bench.client.status.state, bench.client.status.reason];
  for (given of [undefined, '', { token: 'token' }]) {
    await bench.env.turn(30_000);
    assert.deepEqual(status(), ['connecting', 'No access token yet: the token source gave no token']);
  }
  assert.equal(bench.env.sockets.length, 0);
  given = 'token';
  await bench.next();
  await bench.open();
  assert.equal(bench.client.status.state, 'connected');

  const world = new World();
  const feed = watch({ url: 'http://host', token: () => undefined as unknown as string }, { env: world.env });
  await world.pass(1000);
  assert.deepEqual([feed.status.state, feed.status.reason], ['reconnecting', 'No access token yet: the token source gave no token']);
  assert.equal(world.asked.length, 0);
  feed.close();
});

test('a page that cannot fetch a token says both: no token, and why', async () => {
  const bench = new Bench({}, () => {
    throw new TypeError('Failed to fetch');
  });
  await bench.env.turn(0);
  assert.equal(bench.client.status.reason, 'No access token yet: Failed to fetch');
});
