/**
 * Price alerts: what can be asked for, when it has come true, and how it stands in the public state of a member, from
 * which the market reads it. Nothing here touches a page or a network.
 */

import { COMPANY } from './companies.js';

/** Tell me when a price is at or beyond a limit. */
export interface Alert {
  /** Names it for everybody, so that it is told once. */
  id: string;
  symbol: string;
  side: 'above' | 'below';
  price: number;
}

/** How many wait at once: the public state of a member has 512 bytes. */
export const MOST = 8;

const HIGHEST_PRICE = 100_000;
const ID = /^[a-z0-9]{6,12}$/;

/** Whether it has come true at this price. */
export const isMet = ({ side, price }: Alert, at: number): boolean => (side === 'above' ? at >= price : at <= price);

/** The alert in words. */
export const inWords = ({ symbol, side, price }: Alert): string => `${symbol} ${side} ${price.toFixed(2)}`;

/** What is told when it has come true. */
export const news = (alert: Alert, at: number): string =>
  `${alert.symbol} is ${alert.side} ${alert.price.toFixed(2)}: now at ${at.toFixed(2)}`;

/**
 * What is wrong with a wish, in words for who made it; undefined if nothing is. `at` is the present price, if it is
 * known.
 */
export function fault(wish: Alert, waiting: readonly Alert[], at: number | undefined): string | undefined {
  const { symbol, side, price } = wish;
  if (!COMPANY.has(symbol)) return 'Choose a company.';
  if (!Number.isFinite(price) || price <= 0) return 'Give a price above 0.';
  if (price > HIGHEST_PRICE) return `Give a price up to ${HIGHEST_PRICE}.`;
  if (Math.abs(price * 100 - Math.round(price * 100)) > 1e-6) return 'Give a price in whole cents.';
  if (waiting.some((each) => each.symbol === symbol && each.side === side && each.price === price)) {
    return 'You have that alert already.';
  }
  if (waiting.length >= MOST) return `At most ${MOST} alerts can wait at once: remove one first.`;
  if (at !== undefined && isMet(wish, at)) return `${symbol} is ${side} that already, at ${at.toFixed(2)}.`;
  return undefined;
}

const isAlert = (value: unknown): value is Alert => {
  if (typeof value !== 'object' || value === null) return false;
  const { id, symbol, side, price }: Partial<Record<keyof Alert, unknown>> = value;
  return (
    typeof id === 'string' && ID.test(id) && typeof symbol === 'string' && COMPANY.has(symbol) &&
    (side === 'above' || side === 'below') && typeof price === 'number' && price > 0 && price <= HIGHEST_PRICE
  );
};

/** Those of a list that are alerts, and not more than may be. */
export const alertsOf = (list: unknown): Alert[] => (Array.isArray(list) ? list.filter(isAlert).slice(0, MOST) : []);

/** The alerts in a member's public state, short. */
export const packed = (alerts: readonly Alert[]): unknown[] =>
  alerts.slice(0, MOST).map(({ id, symbol, side, price }) => [id, symbol, side === 'above' ? 1 : 0, price]);

/** And back; strangers may have written anything. */
export function unpacked(list: unknown): Alert[] {
  if (!Array.isArray(list)) return [];
  const alerts = list.map((each: unknown) => {
    const [id, symbol, above, price]: unknown[] = Array.isArray(each) ? each : [];
    return { id, symbol, side: above === 1 ? 'above' : 'below', price };
  });
  return alertsOf(alerts);
}
