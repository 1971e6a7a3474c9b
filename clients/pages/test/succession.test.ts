/** Who runs the market: the first who can; the next where it is gone, or silent. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inOrder, SILENCE_MS, Succession } from '../src/ticker/succession.js';

const [ada, bob, cyd] = [{ peer: 'a', order: 5 }, { peer: 'b', order: 9 }, { peer: 'c', order: 12 }];

test('they go by their order, and by their id where that is the same', () => {
  assert.deepEqual(inOrder([cyd, { peer: 'z', order: 5 }, bob, ada]), ['a', 'z', 'b', 'c']);
});

test('the first one begins at once, the others do not', () => {
  for (const [{ peer }, isOurs] of [[ada, true], [bob, false], [cyd, false]] as const) {
    const succession = new Succession();
    succession.seat([cyd, bob, ada], peer, 100);
    assert.equal(succession.isOurs(100), isOurs, peer);
  }
});

test('when it leaves the next one goes on at once', () => {
  const succession = new Succession();
  succession.seat([ada, bob, cyd], 'b', 0);
  succession.hear('a', 4_000);
  assert.equal(succession.isOurs(4_100), false);
  succession.seat([bob, cyd], 'b', 4_200);
  assert.equal(succession.isOurs(4_200), true);
});

test('one that sleeps is stood in for, in order, and has its place again when it wakes', () => {
  const [second, third] = [new Succession(), new Succession()];
  second.seat([ada, bob, cyd], 'b', 0);
  third.seat([ada, bob, cyd], 'c', 0);
  for (const each of [second, third]) each.hear('a', 1_000);
  assert.equal(second.isOurs(1_000 + SILENCE_MS - 1), false);
  assert.equal(second.isOurs(1_000 + SILENCE_MS), true);
  assert.equal(third.isOurs(1_000 + SILENCE_MS), false, 'the second one is to be heard first');
  third.hear('b', 1_100 + SILENCE_MS);
  assert.equal(third.isOurs(1_000 + 2 * SILENCE_MS), false);
  second.hear('c', 20_000);
  assert.equal(second.isOurs(20_000), true, 'who comes behind us does not count');
  second.hear('a', 20_500);
  assert.equal(second.isOurs(20_600), false);
});

test('who cannot run it never does, and who comes in is given time', () => {
  const succession = new Succession();
  succession.seat([ada], 'b', 0);
  assert.equal(succession.isOurs(1e9), false);
  succession.seat([ada, bob], 'b', 1e9);
  assert.equal(succession.isOurs(1e9 + 1), false);
  assert.equal(succession.isOurs(1e9 + SILENCE_MS), true);
});
