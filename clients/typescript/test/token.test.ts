/** Where the access token of a client comes from, and when it is asked for. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TokenRefused } from '../src/errors.js';
import { Bench, claims, RESUMED } from './bench.js';

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
