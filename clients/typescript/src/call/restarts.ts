/**
 * When a pair is made anew: at once when it fails, after a while when it is only disconnected or does not come about, then
 * again and again after growing pauses, until it stands or is given up by whoever owns it.
 */

/** Longer than a change from one network to another takes that needs no help. */
const DISCONNECTED_MS = 5_000;
/** Longer than the checks of a connection take that comes about. */
const CONNECTING_MS = 15_000;
const LONGEST_MS = 30_000;

/** Runs `act` after `ms`; returns what ends the wait. */
export type After = (ms: number, act: () => void) => () => void;

const byTimer: After = (ms, act) => {
  const timer = setTimeout(act, ms);
  return () => clearTimeout(timer);
};

/** How long after this attempt the next one waits: 2 s, 4 s, 8 s, 16 s, 30 s, 30 s, … */
export const pauseAfter = (attempt: number): number => Math.min(LONGEST_MS, 1000 * 2 ** Math.min(attempt, 10));

/** The attempts of one pair. */
export class Restarts {
  /** How many there were since the pair stood last. */
  attempts = 0;
  #stop: (() => void) | undefined;
  readonly #restart: (attempt: number) => void;
  readonly #after: After;

  constructor(restart: (attempt: number) => void, after: After = byTimer) {
    this.#restart = restart;
    this.#after = after;
  }

  /** Takes the state of the connection, once it has been negotiated. */
  see(state: RTCPeerConnectionState): void {
    if (state === 'connected') {
      this.attempts = 0;
      this.end();
    } else if (!this.attempts && state === 'failed') this.now();
    else if (!this.#stop) this.#wait(state === 'disconnected' ? DISCONNECTED_MS : CONNECTING_MS);
    else if (!this.attempts && state === 'disconnected') {
      this.end();
      this.#wait(DISCONNECTED_MS);
    }
  }

  /** Tries now, and goes on from there. */
  now(): void {
    this.end();
    this.attempts += 1;
    this.#wait(pauseAfter(this.attempts));
    this.#restart(this.attempts);
  }

  end(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  #wait(ms: number): void {
    this.#stop = this.#after(ms, () => this.now());
  }
}
