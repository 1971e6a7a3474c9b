/** How long to wait before the next attempt: with full jitter, so that those who were lost together come back apart. */

import type { Env } from './env.js';

const FIRST_MS = 500;
const MOST_MS = 30_000;

/** A wait of up to half a second after the first attempt in vain, up to twice as much after each further one, to 30 s. */
export const jitter = (tries: number, random: number): number => random * Math.min(MOST_MS, FIRST_MS * 2 ** tries);

export class Backoff {
  readonly #env: Env;
  #tries = 0;

  constructor(env: Env) {
    this.#env = env;
  }

  /** The next wait, ms. `floor` is what the server asked for; the jitter comes on top of it. */
  next(floor = 0): number {
    return floor + jitter(this.#tries++, this.#env.random());
  }

  /** An attempt went well: the next failure is a first one. */
  reset(): void {
    this.#tries = 0;
  }
}
