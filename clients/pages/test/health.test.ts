/** The rules by which all is well, or is not. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Figures } from '../src/status/figures.js';
import { calm, judge, median } from '../src/status/health.js';

const GIB = 1024 ** 3;
const well: Figures = {
  cpu: { usage: 0.2, cores: 2, process: 0.1, load: [0.2, 0.2, 0.2] },
  memory: { total: 8 * GIB, used: 3 * GIB, process: 40 * 1024 ** 2 },
  disk: { total: 100 * GIB, used: 40 * GIB, read: 0, written: 0 },
  connections: { websocket: 10, events: 5, poll: 2, status: 1, sessions: 12, lost: 1, most: 100 },
  rooms: { rooms: 1, members: 10, spectators: 4, log_bytes: 2048 },
  traffic: { received: { frames: 1, bytes: 1 }, sent: { frames: 1, bytes: 1 }, moves: 0, events: 1, signals: 0 },
  latency: { rtt: { count: 3, p50: 1.5, p95: 4, max: 9 }, lag: 2 },
};
const cards = (figures: Partial<Figures>, silent = 100) =>
  judge([{ ...well, ...figures }], silent).map(({ level, card }) => `${level} ${card}`);

test('a server in good health is left alone', () => {
  assert.deepEqual(cards({}), []);
  assert.deepEqual(judge([], 0), [], 'before the first figures');
  assert.equal(calm(well), '18 connections, 1 room, half of the clients within 1.50 ms.');
  assert.equal(calm({ ...well, latency: { rtt: { count: 0 }, lag: 0 } }), '18 connections, 1 room.');
});

test('each rule has its bounds', () => {
  const { connections, memory, disk } = well;
  assert.deepEqual(cards({ connections: { ...connections, websocket: 66 } }), []);
  assert.deepEqual(cards({ connections: { ...connections, websocket: 67 } }), ['warn connections']);
  assert.deepEqual(cards({ connections: { ...connections, websocket: 92 } }), ['danger connections']);
  assert.deepEqual(cards({ memory: { ...memory, used: 7.1 * GIB } }), []);
  assert.deepEqual(cards({ memory: { ...memory, used: 7.3 * GIB } }), ['warn memory']);
  assert.deepEqual(cards({ memory: { ...memory, used: 7.9 * GIB } }), ['danger memory']);
  assert.deepEqual(cards({ disk: { ...disk, used: 91 * GIB } }), ['warn disk']);
  assert.deepEqual(cards({}, 4_999), []);
  assert.deepEqual(cards({}, 5_000), ['danger undefined']);
  assert.match(judge([well], 7_400)[0]?.text ?? '', /for 7 s/);
});

test('one late second is no news, several are', () => {
  const late = (lag: number) => ({ ...well, latency: { rtt: { count: 0 }, lag } });
  assert.deepEqual(judge([well, well, late(300), well, well], 0), []);
  assert.deepEqual(judge([well, well, late(300)], 0), []);
  const found = judge([well, late(60), late(70), well, late(80)], 0);
  assert.deepEqual(found.map(({ level, card }) => [level, card]), [['warn', 'latency']]);
  assert.equal(judge([late(300), late(300), late(300)], 0)[0]?.level, 'danger');
  const busy = { ...well, cpu: { ...well.cpu, usage: 1 } };
  assert.deepEqual(judge([busy, well, well], 0), []);
  assert.deepEqual(judge([busy, busy, well], 0).map(({ level, card }) => [level, card]), [['warn', 'cpu']]);
});

test('the worst comes first', () => {
  const used = (disk: number, memory: number) =>
    cards({ disk: { ...well.disk, used: disk * GIB }, memory: { ...well.memory, used: memory * GIB } });
  assert.deepEqual(used(92, 7.9), ['danger memory', 'warn disk']);
  assert.deepEqual(used(99, 7.3), ['danger disk', 'warn memory']);
});

test('a server without a ceiling or a known disk is not near it', () => {
  const disk = { total: 0, used: 0, read: 0, written: 0 };
  assert.deepEqual(cards({ connections: { ...well.connections, most: 0 }, disk }), []);
});

test('the middle one of some figures', () => {
  assert.deepEqual([median([]), median([3]), median([9, 1, 5])], [0, 3, 5]);
});
