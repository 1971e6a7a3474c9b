/** Waits: for a time, cut short by the network's return; and for a sign of life. */

import type { Env } from '../env.js';
import { RallypointError } from '../errors.js';

/** Waits `ms`, or until the page is woken, but then not below `floor`. Ends at once, and well, when `signal` aborts. */
export function pause(env: Env, ms: number, signal: AbortSignal, floor = 0): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const least = env.now() + floor;
    const end = () => {
      stop();
      deaf();
      signal.removeEventListener('abort', end);
      resolve();
    };
    let stop = env.after(ms, end);
    const deaf = env.onWake(() => {
      stop();
      stop = env.after(Math.max(0, least - env.now()), end);
    });
    signal.addEventListener('abort', end, { once: true });
  });
}

/** The way to the server does not carry this transport, as far as one can tell. */
export class Blocked extends RallypointError {
  override readonly name = 'Blocked';
}

/** Aborts a request in which nothing is heard for a time. */
export class Silence {
  readonly #env: Env;
  readonly #abort: AbortController;
  #stop = () => {};

  constructor(env: Env, abort: AbortController) {
    this.#env = env;
    this.#abort = abort;
  }

  /** From now on so long. */
  within(ms: number, what: string): void {
    this.#stop();
    this.#stop = this.#env.after(ms, () => this.#abort.abort(new Blocked(0, what)));
  }

  end(): void {
    this.#stop();
  }
}
