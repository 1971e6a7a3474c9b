/**
 * Who runs the market: of the members that can, the one that came first. Where it is there and yet silent, as a tab
 * that its browser has put to sleep, the next one stands in for it until it is heard again.
 */

/** A member that can run the market. */
export interface Candidate {
  peer: string;
  order: number;
}

/** How long somebody may be silent until the next one stands in, ms. */
export const SILENCE_MS = 5_000;

/** Those who can, the first one first. Equal orders go by the peer id, as everywhere in the protocol. */
export const inOrder = (candidates: readonly Candidate[]): string[] =>
  [...candidates].sort((a, b) => a.order - b.order || (a.peer < b.peer ? -1 : 1)).map(({ peer }) => peer);

export class Succession {
  #before: readonly string[] = [];
  #can = false;
  /** When one of those before us was last heard, or came. */
  #heard = 0;

  /** Who can run the market now, in their order, and which of them is us. */
  seat(candidates: readonly Candidate[], me: string, now: number): void {
    const order = inOrder(candidates);
    const place = order.indexOf(me);
    const before = order.slice(0, Math.max(place, 0));
    const isNew = !this.#can || before.some((peer) => !this.#before.includes(peer));
    this.#can = place >= 0;
    this.#before = before;
    // Whoever has just come, or before whom we have, is given time to be heard.
    if (isNew) this.#heard = now;
  }

  /** Prices came from this member. */
  hear(peer: string | undefined, now: number): void {
    if (peer !== undefined && this.#before.includes(peer)) this.#heard = now;
  }

  /** Whether it is for us to run the market. */
  isOurs(now: number): boolean {
    return this.#can && now - this.#heard >= SILENCE_MS * this.#before.length;
  }
}
