/** What one reader of a `for await` has not read yet. It is bounded: the oldest give way, and the reader is told. */

import type { FeedEvent } from '../feed.js';

/** How many events wait for a reader. */
export const MOST = 1024;

/** A call of `next` that waits. */
interface Waiting {
  resolve(result: IteratorResult<FeedEvent>): void;
  reject(fault: unknown): void;
}

export class Backlog implements AsyncIterator<FeedEvent> {
  readonly #gone: (backlog: Backlog) => void;
  #events: FeedEvent[] = [];
  /** What gave way, by room: the last of them, and how many. */
  readonly #dropped = new Map<string, { last: FeedEvent; count: number }>();
  readonly #waiting: Waiting[] = [];
  #ended: { fault?: unknown } | undefined;

  constructor(gone: (backlog: Backlog) => void) {
    this.#gone = gone;
  }

  push(event: FeedEvent): void {
    if (this.#ended) return;
    const waiting = this.#waiting.shift();
    if (waiting) return waiting.resolve({ done: false, value: event });
    this.#events.push(event);
    if (this.#events.length > MOST) this.#drop();
  }

  /** Nothing more comes: what waits is still read, then the reading ends, with the fault if there is one. */
  end(fault?: unknown): void {
    this.#ended ??= fault === undefined ? {} : { fault };
    this.#waiting.splice(0).forEach((waiting) => this.#last(waiting));
  }

  next(): Promise<IteratorResult<FeedEvent>> {
    return new Promise((resolve, reject) => {
      const value = this.#note() ?? this.#events.shift();
      if (value) return resolve({ done: false, value });
      if (this.#ended) return this.#last({ resolve, reject });
      this.#waiting.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<FeedEvent>> {
    this.#events = [];
    this.#dropped.clear();
    this.#ended = {};
    this.end();
    this.#gone(this);
    return Promise.resolve({ done: true, value: undefined });
  }

  #last({ resolve, reject }: Waiting): void {
    const fault = this.#ended?.fault;
    // The fault is thrown once; whoever goes on reading is told that nothing comes.
    this.#ended = {};
    if (fault === undefined) resolve({ done: true, value: undefined });
    else reject(fault);
  }

  /** Half of it at once, so that a reader that is always behind does not move the rest at every event. */
  #drop(): void {
    for (const last of this.#events.splice(0, MOST / 2)) {
      const count = (this.#dropped.get(last.room)?.count ?? 0) + 1;
      this.#dropped.set(last.room, { last, count });
    }
  }

  /** An event that stands for those of a room that gave way. */
  #note(): FeedEvent | undefined {
    for (const [room, { last, count }] of this.#dropped) {
      this.#dropped.delete(room);
      const { position, time } = last;
      return { room, position, kind: 'reset', time, data: { room, reason: 'too-many', position, dropped: count } };
    }
    return undefined;
  }
}
