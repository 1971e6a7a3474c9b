/** How long to wait before the next attempt: with full jitter, so that those who were lost together come back apart. */

import type { Env } from './env.js';

export class Backoff {
  readonly #env: Env;
  readonly #first: number;
  readonly #most: number;
  #tries = 0;

  /** Waits of up to `first` ms after the first failure, twice as much after each further one, never above `most`. */
  constructor(env: Env, first = 500, most = 30_000) {
    this.#env = env;
    this.#first = first;
    this.#most = most;
  }

  /** The next wait, ms. `floor` is what the server asked for; the jitter comes on top of it. */
  next(floor = 0): number {
    // The exponent is bounded, so that years of attempts do not make it infinite.
    return floor + this.#env.random() * Math.min(this.#most, this.#first * 2 ** Math.min(this.#tries++, 20));
  }

  /** An attempt went well: the next failure is a first one. */
  reset(): void {
    this.#tries = 0;
  }
}
