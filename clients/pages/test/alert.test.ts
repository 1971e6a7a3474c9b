/** Alerts: when they come true, what may be asked for, and that they fit into a member's public state. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Alert, alertsOf, fault, isMet, MOST, news, packed, unpacked } from '../src/ticker/alert.js';
import { COMPANIES } from '../src/ticker/companies.js';

const nova: Alert = { id: 'abc123', symbol: 'NOVA', side: 'above', price: 220.5 };
/** As many as may wait, each as long as one gets. */
const full = COMPANIES.slice(0, MOST).map(
  ({ symbol }, n): Alert => ({ id: `zzzzzzzzzzz${n}`, symbol, side: n % 2 ? 'above' : 'below', price: 99_999.99 }),
);

test('above and below both count the limit itself', () => {
  assert.deepEqual([220.49, 220.5, 221].map((at) => isMet(nova, at)), [false, true, true]);
  assert.deepEqual([220.49, 220.5, 221].map((at) => isMet({ ...nova, side: 'below' }, at)), [true, true, false]);
  assert.equal(news(nova, 220.5), 'NOVA is above 220.50: now at 220.50');
});

test('what makes no sense is refused, in words', () => {
  assert.equal(fault(nova, [], 219), undefined);
  assert.equal(fault(nova, [], undefined), undefined, 'before the first price');
  assert.match(fault({ ...nova, symbol: 'XXXX' }, [], 219) ?? '', /company/);
  for (const price of [0, -3, NaN, Infinity]) assert.match(fault({ ...nova, price }, [], 219) ?? '', /above 0/);
  assert.match(fault({ ...nova, price: 100_001 }, [], 219) ?? '', /up to 100000/);
  assert.match(fault({ ...nova, price: 220.505 }, [], 219) ?? '', /whole cents/);
  assert.match(fault(nova, [], 220.5) ?? '', /already, at 220\.50/);
  assert.match(fault({ ...nova, id: 'other1' }, [nova], 219) ?? '', /already/);
  assert.equal(fault({ ...nova, side: 'below', price: 200 }, [nova], 219), undefined);
  assert.match(fault(nova, full, 219) ?? '', /At most 8/);
});

test('as many as may wait fit into the public state, and come out of it as they were', () => {
  const state = { market: true, alerts: packed(full) };
  assert.ok(JSON.stringify(state).length <= 512, `${JSON.stringify(state).length} bytes`);
  assert.deepEqual(unpacked(JSON.parse(JSON.stringify(state.alerts))), full);
});

test('what strangers write is no alert, and no flood of them', () => {
  const odd = [[['<b>', 'NOVA', 1, 5]], [['abc123', 'XXXX', 1, 5]], [['abc123', 'NOVA', 1, '5']]];
  for (const list of [undefined, null, 'x', {}, [1], [null], [[]], ...odd]) {
    assert.deepEqual(unpacked(list), []);
  }
  assert.deepEqual(unpacked([['abc123', 'NOVA', 1, 220.5], null]), [nova]);
  assert.equal(unpacked(Array.from({ length: 100 }, () => ['abc123', 'NOVA', 1, 5])).length, MOST);
  assert.deepEqual(alertsOf([nova, { ...nova, side: 'beside' }, { ...nova, price: -1 }, 7]), [nova]);
});
