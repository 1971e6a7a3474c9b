/** The change of a price, and on which side it is. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { change, signed } from '../src/ticker/change.js';

test('a change has its sign and its side', () => {
  const quote = (price: number) => ({ symbol: 'LOOM', price, open: 400, traded: 0 });
  assert.deepEqual(signed(change(quote(404.8))), { text: '+1.20 %', side: 'up' });
  assert.deepEqual(signed(change(quote(395.2))), { text: '−1.20 %', side: 'down' });
});

test('what is shown as no change is on no side', () => {
  for (const share of [0, 0.00004, -0.00004]) assert.deepEqual(signed(share), { text: '±0.00 %', side: 'none' });
  assert.equal(signed(0.00005).side, 'up');
  assert.equal(signed(-0.0001).side, 'down');
});
