/**
 * The market: prices that wander, are drawn back to where they opened, and now and then jump; and trades at them. It
 * knows neither a clock nor a network: the same seed and the same steps give the same market.
 */

import { Chance } from './chance.js';
import { COMPANIES } from './companies.js';

/** A company as it stands on the board. */
export interface Quote {
  symbol: string;
  /** Of the last trade. */
  price: number;
  /** Of the first one: what the change is counted from. */
  open: number;
  /** How many shares were traded so far. */
  traded: number;
}

/** The longest time that one step makes up for, s: a tab that slept does not trade for all of the night. */
const LONGEST_S = 5;
/** How long it takes until a price has come back by two thirds, s. */
const RETURN_S = 600;
/** Trades of a company, 1/s. */
const TRADES = 1.6;
/** News of a company, 1/s, and how much it moves its price. */
const NEWS = 1 / 150;
const NEWS_MOVES = 0.009;
/** What buyers pay more than sellers, as a share of the price. */
const SPREAD = 0.0004;
const LOT = 10;
const LOWEST = 0.05;

const cents = (value: number): number => Math.max(LOWEST, Math.round(value * 100) / 100);

export class Market {
  readonly #chance: Chance;
  /** What a share is worth between two trades. */
  readonly #worth = new Map<string, number>();
  readonly #quotes = new Map<string, Quote>();

  constructor(seed: number) {
    this.#chance = new Chance(seed);
    for (const { symbol, price } of COMPANIES) {
      this.take({ symbol, price: cents(price * (1 + this.#chance.bell() * 0.004)), open: price, traded: 0 });
    }
  }

  /** Every company, in the order of the board. */
  get quotes(): ReadonlyMap<string, Quote> {
    return this.#quotes;
  }

  /** Goes on from a quote that somebody else gave out. */
  take(quote: Quote): void {
    this.#worth.set(quote.symbol, quote.price);
    this.#quotes.set(quote.symbol, quote);
  }

  /** Lets so much time pass, and returns the companies whose shares were traded in it. */
  step(ms: number): Quote[] {
    const chance = this.#chance;
    const seconds = Math.min(Math.max(ms / 1000, 0), LONGEST_S);
    const happens = (rate: number) => chance.next() < 1 - Math.exp(-rate * seconds);
    return COMPANIES.flatMap(({ symbol, unrest }) => {
      const quote = this.#quotes.get(symbol);
      if (!quote) return [];
      const drift = Math.log((this.#worth.get(symbol) ?? quote.price) / quote.open);
      const news = happens(NEWS) ? chance.bell() * NEWS_MOVES : 0;
      const back = drift * (1 - seconds / RETURN_S);
      const worth = quote.open * Math.exp(back + chance.bell() * unrest * Math.sqrt(seconds) + news);
      this.#worth.set(symbol, worth);
      if (!happens(TRADES)) return [];
      const side = chance.next() < 0.5 ? -SPREAD / 2 : SPREAD / 2;
      const shares = LOT * Math.ceil(Math.exp(2 + chance.bell()));
      const price = cents(worth * (1 + side));
      const traded: Quote = { symbol, price, open: quote.open, traded: quote.traded + shares };
      this.#quotes.set(symbol, traded);
      return [traded];
    });
  }
}
