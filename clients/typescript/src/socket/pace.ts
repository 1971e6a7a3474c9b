/** A pace that the server allows: a bucket of tokens, so that nothing is ever refused for haste. */

/**
 * The server counts what arrives, and the network may hold messages up and then bring them all at once. So only a part
 * of the server's burst is used here, and a little less than its rate.
 */
const RATE_SHARE = 0.95;

export class Pace {
  #rate = 1;
  #burst = 1;
  #tokens = 0;
  #at = 0;

  /** Begins with a full bucket. */
  begin(perSecond: number, burst: number, now: number): void {
    this.#rate = Math.max((perSecond * RATE_SHARE) / 1000, 1e-6);
    this.#burst = Math.max(1, burst);
    this.#tokens = this.#burst;
    this.#at = now;
  }

  #fill(now: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, now - this.#at) * this.#rate);
    this.#at = now;
  }

  /** When the next one may go: now, or later. */
  at(now: number): number {
    this.#fill(now);
    return this.#tokens >= 1 ? now : now + Math.ceil((1 - this.#tokens) / this.#rate);
  }

  /** One goes, or so many bytes. What must go in any case, such as a sign of life, may leave a debt, and so may a frame. */
  take(now: number, units = 1): void {
    this.#fill(now);
    this.#tokens -= units;
  }
}
