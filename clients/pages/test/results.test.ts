/** What follows from figures: that it is what they say, also where they are bad. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, conclusion, delaysOf, ms, type Result, type Way } from '../src/compare/results.js';

const fine = { sent: 100, hiddenMs: 0, lateMs: 3 };
const of = (way: Way, average: number, requests: number, inward: number): Result => ({
  way, received: 100, repeated: 0, requests, inward, outward: 0,
  delays: { min: 1, average, p95: average * 2, max: average * 3 },
});
const usual = [
  of('short', 510, 11, 30_000), of('long', 9, 98, 90_000), of('events', 3, 1, 20_000), of('websocket', 2, 1, 12_000),
];

test('figures of delays go by the nearest rank', () => {
  assert.equal(delaysOf([]), undefined);
  assert.deepEqual(delaysOf([5]), { min: 5, average: 5, p95: 5, max: 5 });
  const hundred = Array.from({ length: 100 }, (_, n) => 100 - n);
  assert.deepEqual(delaysOf(hundred), { min: 1, average: 50.5, p95: 95, max: 100 });
  assert.equal(delaysOf([...hundred, 1_000])?.max, 1_000);
});

test('the usual figures in plain words', () => {
  assert.deepEqual(conclusion(usual, fine), [
    'All four received all 100 events, each once.',
    'WebSocket and Server-Sent Events were equally quick, at 2.0 ms to 3.0 ms on average. ' +
      'News by Short poll was 510 ms old, 255 times as much.',
    'Long poll made 98 requests for it, WebSocket and Server-Sent Events hardly more than one each.',
    'An event cost 120 B over WebSocket and 900 B by Long poll, 7.5 times as much.',
  ]);
});

test('other figures, other words', () => {
  const [short, long, events, websocket] = usual;
  assert.ok(short && long && events && websocket);
  const later = { ...events, delays: { min: 1, average: 80, p95: 90, max: 99 } };
  const slow = conclusion([short, long, later, websocket], fine);
  assert.match(slow[1] ?? '', /^WebSocket was the quickest|^WebSocket and Long poll were equally quick/);
  const delays = { min: 1, average: 4, p95: 5, max: 6 };
  const same = usual.map((each) => ({ ...each, delays, requests: 5, inward: 1_000 }));
  const words = conclusion(same, fine);
  assert.match(
    words[1] ?? '',
    /^Short poll, Long poll, Server-Sent Events and WebSocket were equally quick.*average\.$/,
  );
  assert.equal(words.length, 2, 'what does not differ is not worth a word');
});

test('what did not arrive, or came twice, is said first', () => {
  const [short, ...rest] = usual;
  assert.ok(short);
  const lacking = conclusion([{ ...short, received: 93 }, ...rest], fine);
  assert.equal(lacking[0], 'Not everything arrived: Short poll has 93 of 100.');
  const twice = conclusion([{ ...short, repeated: 2 }, ...rest], fine);
  assert.deepEqual(twice.slice(0, 2), [
    'All four received all 100 events.',
    'Some came more than once: 2 over Short poll.',
  ]);
});

test('who took no part is named and not compared', () => {
  const none = { received: 0, delays: undefined, fault: 'it did not get through.' };
  const words = conclusion(usual.map((each) => (each.way === 'websocket' ? { ...each, ...none } : each)), fine);
  assert.deepEqual(words.slice(0, 2), [
    'WebSocket took no part: it did not get through.',
    'All 3 received all 100 events, each once.',
  ]);
  assert.ok(words.slice(2).every((line) => !line.includes('WebSocket')));
});

test('what spoils figures is said', () => {
  const words = conclusion(usual, { sent: 100, hiddenMs: 2_100, lateMs: 900 });
  assert.match(words.at(-2) ?? '', /background for 3 s/);
  assert.match(words.at(-1) ?? '', /published 900 ms later/);
  assert.deepEqual(conclusion(usual, { ...fine, sent: 0 }), ['Nothing was published, so there is nothing to compare.']);
});

test('figures as they are read best', () => {
  assert.deepEqual([0, 0.25, 9.94, 12.6, 1234].map(ms), ['0 ms', '0.3 ms', '9.9 ms', '13 ms', '1,234 ms']);
  assert.deepEqual([0, 9_999, 20_480].map(bytes), ['0 B', '9,999 B', '20 KiB']);
});
