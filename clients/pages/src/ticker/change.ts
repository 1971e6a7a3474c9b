/** How far a price has come since its first trade, as the board shows it. */

import type { Quote } from './market.js';

/** The change as a share of the first price. */
export const change = ({ price, open }: Quote): number => price / open - 1;

/** A change with its sign, such as `+1.20 %`, and its side: what is shown as no change is on none. */
export function signed(share: number): { text: string; side: 'up' | 'down' | 'none' } {
  const text = (Math.abs(share) * 100).toFixed(2);
  if (text === '0.00') return { text: `±${text} %`, side: 'none' };
  return share < 0 ? { text: `−${text} %`, side: 'down' } : { text: `+${text} %`, side: 'up' };
}
