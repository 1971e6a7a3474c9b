/** Tells users that an alert has come true: a notification each, which finds all of their tabs. */

import { route, tokenOfAddress } from '../shell/address.js';
import { askForToken } from '../shell/token.js';
import { type Alert, news } from './alert.js';

/** Whoever runs the market writes as this user, so that the server knows the keys of the one who ran it before. */
const WRITER = 'ticker-market';
const PATIENCE_MS = 10_000;
/** After a failure, ms. */
const AGAIN_MS = 3_000;
const AT_ONCE = 4;
const MOST_KEPT = 1_000;

export class Teller {
  /** Who was told what, and when it may be tried again: never, where it has worked. */
  readonly #told = new Map<string, number>();
  #token: Promise<string> | undefined;
  #busy = 0;
  #isRefused = false;

  /** Whether the server has said that this token may notify nobody. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  /** Tells it, unless that was done or is being done. */
  async tell(user: string, alert: Alert, at: number): Promise<void> {
    const key = `${user} ${alert.id}`;
    if (this.#isRefused || this.#busy >= AT_ONCE || performance.now() < (this.#told.get(key) ?? 0)) return;
    this.#told.set(key, Infinity);
    const [oldest] = this.#told.keys();
    if (this.#told.size > MOST_KEPT && oldest !== undefined) this.#told.delete(oldest);
    this.#busy += 1;
    const isTold = await this.#post(user, alert, at).catch(() => false);
    this.#busy -= 1;
    if (!isTold) this.#told.set(key, performance.now() + AGAIN_MS);
  }

  async #post(user: string, alert: Alert, at: number): Promise<boolean> {
    this.#token ??= this.#ask();
    const { id, symbol, side, price } = alert;
    const response = await fetch(route(`v1/users/${encodeURIComponent(user)}/notifications`), {
      method: 'POST',
      headers: {
        authorization: `Bearer ${await this.#token}`,
        'content-type': 'application/json',
        // The next one to run the market sees the same alert, and may not know that it was told.
        'idempotency-key': `alert-${id}`,
      },
      body: JSON.stringify({ message: news(alert, at), data: { alert: id, symbol, side, price, at } }),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (response.status === 401) this.#token = undefined;
    if (response.status === 403) this.#isRefused = true;
    return response.ok;
  }

  async #ask(): Promise<string> {
    try {
      return tokenOfAddress() ?? (await askForToken({ user: WRITER, rooms: [], notify: { send: ['*'] } }));
    } catch (error) {
      this.#token = undefined;
      throw error;
    }
  }
}
