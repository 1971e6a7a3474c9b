/** The arena's moves on the wire, and that nothing of a stranger's gets in that is not one. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FULL_HEALTH, newShip } from '../src/arena/ship.js';
import { decode, encodeHit, encodeShip, encodeShot } from '../src/arena/wire.js';

const ship = {
  ...newShip(3, 812, 77),
  angle: -1.234,
  vx: -250,
  vy: 31,
  health: 2,
  score: 7,
  downs: 4,
  shots: 91,
  safe: false,
  away: true,
};

test('what is written is read', () => {
  assert.deepEqual(decode(encodeShip(ship)), { kind: 'ship', ship });
  assert.deepEqual(decode(encodeShot(9, 1280, 0, 3.1)), { kind: 'shot', number: 9, x: 1280, y: 0, angle: 3.1 });
  assert.deepEqual(decode(encodeHit(4_294_967_295, 12, true)), {
    kind: 'hit',
    by: 4_294_967_295,
    number: 12,
    down: true,
  });
});

test('angles of any number of turns come out as one', () => {
  const read = decode(encodeShip({ ...ship, angle: 1 + 10 * Math.PI }));
  assert.ok(read?.kind === 'ship' && Math.abs(read.ship.angle - 1) < 0.001);
});

test('nothing else is read', () => {
  const good = encodeShip(ship);
  const strange: unknown[] = [
    undefined,
    null,
    1,
    '1',
    {},
    [],
    [1],
    [9, 1, 2, 3, 4],
    { 0: 1, length: 12 },
    new Uint8Array(12),
    [...good, 0],
    good.slice(1),
    [2, 0, 1, 1, 1],
    [2, 1, -1, 1, 1],
    [2, 1, 1, 1, 9_999],
    [3, 1, 1, 2],
    [3, -1, 1, 0],
    [3, 1, 1.5, 0],
  ];
  for (const index of good.keys()) {
    for (const value of [Number.NaN, Infinity, 1e9, -1e9, 0.5, '5', null, undefined, [1], {}])
      strange.push(good.with(index, value as number));
  }
  strange.push(good.with(6, FULL_HEALTH + 1), good.with(9, 8), good.with(11, 4));
  for (const each of strange) assert.equal(decode(each), undefined, JSON.stringify(each));
});
