/** The count of counted messages, and when the server is to hear of it (section 8). */

const EVERY = 128;
const BYTES = 64 * 1024;
const WITHIN_MS = 5_000;

export class Counted {
  /** Signals and reliable moves received in this session. */
  received = 0;
  /** When the next `ack` is due at the latest. */
  ackBy = Infinity;
  #bytes = 0;
  #ackAt: number;

  /**
   * The first `ack` is due after some few at random, or all members of a large room would acknowledge the same move,
   * and the server would have all of it to read at once.
   */
  constructor(random: number) {
    this.#ackAt = 1 + Math.floor(random * EVERY);
  }

  /** One more, as a frame of this size. */
  add(size: number, now: number): void {
    this.received += 1;
    this.#bytes += size;
    this.ackBy = Math.min(this.ackBy, this.received >= this.#ackAt || this.#bytes >= BYTES ? now : now + WITHIN_MS);
  }

  /** The number for an `ack`, if one is due. */
  ack(now: number): number | undefined {
    if (now < this.ackBy) return undefined;
    this.told();
    return this.received;
  }

  /** The server knows the count: from an `ack`, or from a resume that went well. */
  told(): void {
    this.#bytes = 0;
    this.ackBy = Infinity;
    this.#ackAt = this.received + EVERY;
  }
}
