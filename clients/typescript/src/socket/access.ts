/** The access token in use: how long it is good for, and when the next one is to be asked for. */

import { expiry } from '../token.js';

/** Renewals are never closer together, whatever a token says and however often its source fails. */
const PAUSE_MS = 5_000;
const LEAD_MS = 60_000;

export class Access {
  /** When to ask for the next token while the session goes on. */
  renewAt = Infinity;
  #token = '';
  #expires = Infinity;
  /** The server's clock minus ours: times in a token are the server's. */
  #offset = 0;

  /** @param fixed there will be no other token */
  constructor(readonly fixed: boolean) {}

  /** The token to connect with. */
  get token(): string {
    return this.#token;
  }

  /** The server has taken this token, or will be shown it next. */
  use(token: string, now: number): void {
    this.#token = token;
    this.#expires = (expiry(token) ?? Infinity) - this.#offset;
    const left = this.#expires - now;
    this.renewAt = this.fixed ? Infinity : Math.max(now + PAUSE_MS, this.#expires - Math.min(LEAD_MS, left / 10));
  }

  /** The server's clock said this just now. */
  opened(time: number, now: number): void {
    this.#offset = time - now;
    this.use(this.#token, now);
  }

  /** Not before then: the next token is on its way. */
  postpone(until: number): void {
    this.renewAt = this.fixed ? Infinity : until;
  }

  /** It was not to be had: not again at once. */
  pause(now: number): void {
    this.postpone(now + PAUSE_MS);
  }

  /** The token for a resume. An expired one would have it refused while the session is still within its grace. */
  good(now: number): string | undefined {
    return this.#expires > now ? this.#token : undefined;
  }
}
