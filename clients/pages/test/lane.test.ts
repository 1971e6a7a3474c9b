/** The slow line: the same moves at the same rate, once on the latest lane and once on the reliable one. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lane, MOST_WAITING } from '../src/arena/lane.js';

test('what is reliable comes in order and all of it', () => {
  const lane = new Lane<number>();
  const got: number[] = [];
  for (let each = 0; each < 40; each += 1) lane.push(each);
  for (let second = 0; second < 4; second += 1) lane.drain(1, 10, (each) => got.push(each));
  assert.deepEqual(got, Array.from({ length: 40 }, (_, each) => each));
});

test('what is latest takes the place of the older one, where that waits', () => {
  const lane = new Lane<string>();
  lane.push('a1', 'a');
  lane.push('shot');
  lane.push('b1', 'b');
  lane.push('a2', 'a');
  const got: string[] = [];
  lane.drain(1, 10, (each) => got.push(each));
  assert.deepEqual(got, ['a2', 'shot', 'b1']);
  assert.equal(lane.replaced, 1);
  lane.push('a3', 'a');
  lane.drain(1, 10, (each) => got.push(each));
  assert.equal(got.at(-1), 'a3', 'what has gone is not replaced');
});

test('25 moves a second over a line for 15: the latest stays young, the reliable grows old', () => {
  const latest = new Lane<number>();
  const reliable = new Lane<number>();
  const age = { latest: 0, reliable: 0 };
  for (let now = 0; now < 10_000; now += 20) {
    if (now % 40 === 0) {
      latest.push(now, 'ship');
      reliable.push(now);
    }
    latest.drain(0.02, 15, (sent) => (age.latest = now - sent));
    reliable.drain(0.02, 15, (sent) => (age.reliable = now - sent));
  }
  assert.ok(age.latest <= 80, `latest ${age.latest}`);
  assert.ok(age.reliable > 3_500 && age.reliable < 4_500, `reliable ${age.reliable}`);
  assert.equal(latest.waiting <= 1, true);
  assert.ok(reliable.waiting > 90);
});

test('an idle line saves nothing up for a burst', () => {
  const lane = new Lane<number>();
  for (let second = 0; second < 60; second += 1) lane.drain(1, 10, () => {});
  for (let each = 0; each < 100; each += 1) lane.push(each);
  let got = 0;
  lane.drain(0.1, 10, () => (got += 1));
  assert.ok(got <= 2, `${got}`);
});

test('too much that waits is dropped as a whole, and told', () => {
  const lane = new Lane<number>();
  for (let each = 0; each <= MOST_WAITING; each += 1) lane.push(each);
  assert.equal(lane.overflows, 1);
  assert.equal(lane.waiting, 1);
});

test('a line that is fast again gives all at once', () => {
  const lane = new Lane<number>();
  for (let each = 0; each < 100; each += 1) lane.push(each);
  let got = 0;
  lane.drain(1, Infinity, () => (got += 1));
  assert.equal(got, 100);
});
