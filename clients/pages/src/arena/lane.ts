/**
 * A slow line, simulated: what waits for one slow reader, in the way the server keeps it. Everything is in order; a
 * latest move takes the place of the older one of its slot, a reliable one waits behind all others.
 */

/** Above so many the server would close the session as a slow consumer. */
export const MOST_WAITING = 2_048;

interface Waiting<Item> {
  item: Item;
  slot: string | undefined;
}

export class Lane<Item> {
  #queue: (Waiting<Item>)[] = [];
  /** Where the slots' moves wait, counted from the first that ever waited. */
  readonly #places = new Map<string, number>();
  #gone = 0;
  /** How many may pass by now; parts of one add up. */
  #due = 0;
  /** How many older moves were replaced, and how often too much waited. */
  replaced = 0;
  overflows = 0;

  get waiting(): number {
    return this.#queue.length;
  }

  /** Adds a move; with a slot only the newest of it counts. */
  push(item: Item, slot?: string): void {
    const place = slot === undefined ? undefined : this.#places.get(slot);
    const older = place === undefined ? undefined : this.#queue[place - this.#gone];
    if (older) {
      older.item = item;
      this.replaced += 1;
      return;
    }
    if (this.#queue.length >= MOST_WAITING) {
      this.clear();
      this.overflows += 1;
    }
    if (slot !== undefined) this.#places.set(slot, this.#gone + this.#queue.length);
    this.#queue.push({ item, slot });
  }

  /** Lets through what the line carries in `seconds` at `rate` moves a second. */
  drain(seconds: number, rate: number, take: (item: Item) => void): void {
    this.#due += seconds * rate;
    const count = Math.min(Math.floor(this.#due), this.#queue.length);
    // An idle line saves nothing up: it carries no more later.
    this.#due = this.#queue.length > count ? this.#due - count : Math.min(1, this.#due - count);
    for (const { item, slot } of this.#queue.splice(0, count)) {
      this.#gone += 1;
      if (slot !== undefined) this.#places.delete(slot);
      take(item);
    }
  }

  clear(): void {
    this.#gone += this.#queue.length;
    this.#queue = [];
    this.#places.clear();
    this.#due = 0;
  }
}
