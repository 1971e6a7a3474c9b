/** Gaps and repeats in the positions of a feed's events. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parts } from '../src/shell/position.js';
import { Tally } from '../src/watch/tally.js';

const at = (seq: number, epoch = '9f3c5a1e7b2d4860') => `${epoch}.${seq}.8e2413aa`;

test('a position has parts, and what is none has not', () => {
  assert.deepEqual(parts(at(3)), { epoch: '9f3c5a1e7b2d4860', seq: 3 });
  for (const none of ['', '1.2.3', `${at(3)} `, at(3).toUpperCase(), '9f3c5a1e7b2d4860.03.8e2413aa'])
    assert.equal(parts(none), undefined);
});

test('one after the other there is neither gap nor repeat, room by room', () => {
  const tally = new Tally();
  tally.start('a', at(4));
  tally.start('b', at(0));
  for (const [room, seq] of [
    ['a', 5],
    ['b', 1],
    ['a', 6],
    ['b', 2],
  ] as const)
    assert.equal(tally.event(room, at(seq)), 'next');
  assert.deepEqual([tally.seen, tally.missing, tally.repeats], [4, 0, 0]);
  assert.equal(tally.seq('a'), 6);
});

test('what is passed over is counted, also before the first event', () => {
  const tally = new Tally();
  tally.start('a', at(4));
  assert.equal(tally.event('a', at(7)), 'gap');
  assert.equal(tally.event('a', at(9)), 'gap');
  assert.equal(tally.missing, 3);
});

test('a second connection does not move the start', () => {
  const tally = new Tally();
  tally.start('a', at(4));
  tally.event('a', at(5));
  // Away, six and seven happened; `connected` tells the head, and the feed then brings both.
  tally.start('a', at(7));
  assert.equal(tally.event('a', at(6)), 'next');
  assert.equal(tally.event('a', at(7)), 'next');
  assert.equal(tally.missing, 0);
});

test('what came before is a repeat', () => {
  const tally = new Tally();
  tally.event('a', at(5));
  assert.equal(tally.event('a', at(5)), 'repeat');
  assert.equal(tally.event('a', at(4)), 'repeat');
  assert.equal(tally.repeats, 2);
  assert.equal(tally.event('a', at(6)), 'next');
});

test('a reset is a reset and no gap; another epoch without one is a gap', () => {
  const tally = new Tally();
  tally.event('a', at(5));
  tally.reset('a', at(0, '0000000000000001'));
  assert.equal(tally.event('a', at(1, '0000000000000001')), 'next');
  assert.equal(tally.event('a', at(1, '0000000000000002')), 'gap');
  assert.deepEqual([tally.resets, tally.missing], [1, 1]);
});
