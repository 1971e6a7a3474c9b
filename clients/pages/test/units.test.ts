/** Figures in words. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, cores, ms, percent, rate } from '../src/status/units.js';

test('figures in words', () => {
  const sizes = [0, 999, 1000, 1536, 48.25 * 1024 ** 2, 270553174016];
  assert.deepEqual(sizes.map(bytes), ['0 B', '999 B', '0.98 KiB', '1.50 KiB', '48.3 MiB', '252 GiB']);
  assert.deepEqual([0, 0.004, 0.27, 1].map(percent), ['0 %', '0.4 %', '27 %', '100 %']);
  const times = [undefined, 0, 1.234, 56.78, 250.4, 12_000];
  assert.deepEqual(times.map(ms), ['–', '0 ms', '1.23 ms', '56.8 ms', '250 ms', '12 s']);
  assert.deepEqual([0, 12.5, 12_345.6].map(rate), ['0/s', '12.5/s', '12,346/s']);
});

test('processors that are used are counted of all there are', () => {
  assert.deepEqual([cores(0.25, 2), cores(1, 1), cores(0, 2)], ['0.25 of 2 cores', '1 of 1 core', '0 of 2 cores']);
  assert.equal(cores(0.003, 2), 'under 0.01 of 2 cores');
});
