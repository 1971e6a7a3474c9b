/** The market: repeatable, wandering, drawn back, and going on where another one left off. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COMPANIES } from '../src/ticker/companies.js';
import { Market, type Quote } from '../src/ticker/market.js';
import { read, written } from '../src/ticker/prices.js';

const STEP_MS = 250;
const HOUR_S = 3_600;

/** So much time, and every trade in it. */
function run(market: Market, seconds: number): Quote[] {
  return Array.from({ length: (seconds * 1000) / STEP_MS }, () => market.step(STEP_MS)).flat();
}

test('the same seed makes the same market, another seed another one', () => {
  const [first, same, other] = [new Market(7), new Market(7), new Market(8)].map((market) => run(market, 60));
  assert.deepEqual(first, same);
  assert.notDeepEqual(first, other);
});

test('a day of trading stays plausible: cents, no fall to nothing, no flight, and it moves', () => {
  const market = new Market(1);
  for (const { symbol, price: first } of COMPANIES) {
    const quote = market.quotes.get(symbol);
    assert.ok(quote && Math.abs(quote.price / first - 1) < 0.03, symbol);
  }
  const trades = run(market, 6 * HOUR_S);
  for (const { symbol, price: first } of COMPANIES) {
    const prices = trades.filter((each) => each.symbol === symbol).map(({ price }) => price);
    assert.ok(prices.length > 6 * HOUR_S, `${symbol} was traded ${prices.length} times`);
    assert.ok(prices.every((price) => price === Math.round(price * 100) / 100), symbol);
    assert.ok(Math.min(...prices) > first * 0.75 && Math.max(...prices) < first * 1.33, symbol);
    assert.ok(Math.max(...prices) / Math.min(...prices) > 1.02, `${symbol} hardly moved`);
  }
});

test('what is far from where it opened comes back', () => {
  const market = new Market(3);
  run(market, 5);
  const quote = { symbol: 'NOVA', price: 400, open: 200, traded: 5 };
  market.take(quote);
  const [first] = run(market, 20).filter(({ symbol }) => symbol === 'NOVA');
  assert.ok(first && first.price > 360, 'it goes on from where it was, not at once where it opened');
  run(market, HOUR_S);
  const price = market.quotes.get('NOVA')?.price ?? 0;
  assert.ok(Math.abs(price / 200 - 1) < 0.15, `${price}`);
});

test('shares only add up, and only what was traded is told', () => {
  const market = new Market(4);
  for (let step = 0; step < 500; step += 1) {
    const before = new Map(market.quotes);
    const told = new Set(market.step(STEP_MS).map(({ symbol }) => symbol));
    for (const [symbol, quote] of market.quotes) {
      const old = before.get(symbol);
      if (told.has(symbol)) assert.ok(old && quote.traded > old.traded, symbol);
      else assert.equal(quote, old, symbol);
    }
  }
});

test('a tab that slept for a night does not make up for it', () => {
  const [slept, awake] = [new Market(5), new Market(5)];
  assert.deepEqual(slept.step(8 * HOUR_S * 1000), awake.step(5_000));
  assert.deepEqual(new Market(6).step(-10).length, 0, 'and time does not run backwards');
});

test('an event is read as it was written', () => {
  const quotes = [...new Market(9).quotes.values()];
  for (const whole of [true, false]) {
    const wire: unknown = JSON.parse(JSON.stringify(written({ tick: 12, whole, quotes })));
    assert.deepEqual(read(wire), { tick: 12, whole, quotes });
  }
});

test('what strangers write is read as far as it makes sense', () => {
  for (const data of [null, 5, 'prices', [], {}, { tick: '1', quotes: [] }, { tick: 1, quotes: {} }]) {
    assert.equal(read(data), undefined);
  }
  const many = Array.from({ length: 13 }, () => ['NOVA', 1, 1, 1]);
  assert.equal(read({ tick: 1, quotes: many }), undefined, 'more than there are');
  const bad = [
    ['XXXX', 1, 1, 1], ['NOVA', 0, 1, 1], ['NOVA', -1, 1, 1], ['NOVA', NaN, 1, 1], ['NOVA', 1e9, 1, 1],
    ['NOVA', '5', 5, 1], 'NOVA',
  ];
  for (const quote of bad) assert.equal(read({ tick: 1, quotes: [quote] }), undefined, `${quote}`);
  const some = read({ tick: 1, quotes: [...bad, ['MOSS', 5, 4, 'many']] });
  assert.deepEqual(some?.quotes, [{ symbol: 'MOSS', price: 5, open: 4, traded: 0 }]);
});
