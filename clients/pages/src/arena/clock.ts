/**
 * A clock for drawing: it follows another one that is corrected now and then, by going a little faster or slower and
 * never by a jump; only after a long time away it is set.
 */

/** How much faster or slower it may go. */
const SLEW = 0.06;
/** From here on it is set, ms. */
const FAR = 400;

export class Clock {
  #time = Number.NaN;

  /** The time to draw, `passed` ms after the last call, where the true one is `now`. */
  follow(now: number, passed: number): number {
    const off = now - (this.#time + passed);
    if (!(Math.abs(off) < FAR)) this.#time = now;
    else this.#time += passed + Math.sign(off) * Math.min(Math.abs(off), passed * SLEW);
    return this.#time;
  }
}
