/**
 * The event `prices` of the room: what the market writes into it, and what a board makes of what strangers may have
 * written.
 */

import { COMPANIES, COMPANY } from './companies.js';
import type { Quote } from './market.js';

/** What one event says. */
export interface Prices {
  /** The market's count of its events. */
  tick: number;
  /** Whether every company is in it: enough for a board that knows nothing yet. */
  whole: boolean;
  quotes: Quote[];
}

export const KIND = 'prices';

/** Every so many events are whole, and the first one of whoever takes the market over. */
export const WHOLE_EVERY = 8;

/** Above it no price is believed. */
const HIGHEST = 1_000_000;

/** As it goes over the wire: `[symbol, price, open, traded]` for each company. */
export function written({ tick, whole, quotes }: Prices): Record<string, unknown> {
  const rows = quotes.map(({ symbol, price, open, traded }) => [symbol, price, open, traded]);
  return { tick, ...(whole ? { whole } : {}), quotes: rows };
}

const isPrice = (value: unknown): value is number => typeof value === 'number' && value > 0 && value <= HIGHEST;

/** Reads an event. Undefined if it is not one of a market; companies that nobody knows are left out. */
export function read(data: unknown): Prices | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const { tick, whole, quotes }: { tick?: unknown; whole?: unknown; quotes?: unknown } = data;
  if (typeof tick !== 'number' || !Array.isArray(quotes) || quotes.length > COMPANIES.length) return undefined;
  const good = quotes.flatMap((quote: unknown): Quote[] => {
    if (!Array.isArray(quote)) return [];
    const [symbol, price, open, traded]: unknown[] = quote;
    if (typeof symbol !== 'string' || !COMPANY.has(symbol) || !isPrice(price) || !isPrice(open)) return [];
    return [{ symbol, price, open, traded: typeof traded === 'number' && traded >= 0 ? traded : 0 }];
  });
  return good.length || !quotes.length ? { tick, whole: whole === true, quotes: good } : undefined;
}
