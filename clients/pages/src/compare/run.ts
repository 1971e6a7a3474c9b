/** One comparison: a room of its own, somebody who publishes, and four who read. */

import { connect, type Room } from 'rallypoint-client';
import { server } from '../shell/address.js';
import { pause } from '../shell/pause.js';
import { Meter } from './meter.js';
import { READERS } from './reader.js';
import { type Conditions, delaysOf, type Result, type Way, WAYS } from './results.js';

export const KIND = 'measured';

/** How long a client has to get ready, and the last events to arrive, ms. */
const READY_MS = 10_000;
const DRAIN_MS = 6_000;

/** One who reads. */
class Reader {
  readonly meter = new Meter();
  readonly #delays: number[] = [];
  readonly #seen = new Set<number>();
  #repeated = 0;
  fault: string | undefined;

  constructor(readonly way: Way, readonly told: (way: Way, delay: number) => void) {}

  /** An event that was published at `sentAt`. */
  take(n: number, sentAt: number): void {
    if (this.#seen.has(n)) {
      this.#repeated += 1;
      return;
    }
    this.#seen.add(n);
    const delay = performance.now() - sentAt;
    this.#delays.push(delay);
    this.told(this.way, delay);
  }

  get received(): number {
    return this.#seen.size;
  }

  get result(): Result {
    const { meter: { requests, inward, outward }, way, received, fault } = this;
    const delays = delaysOf(this.#delays);
    return {
      way, received, repeated: this.#repeated, requests, inward, outward, delays,
      ...(fault === undefined ? {} : { fault }),
    };
  }
}

/** Where a run stands. */
export type Stage = 'getting ready' | 'publishing' | 'waiting for the last ones' | 'done';

export class Run {
  readonly #end = new AbortController();
  readonly #halt = new AbortController();
  readonly #readers: readonly Reader[];
  readonly #sentAt: number[] = [];
  readonly #room = `compare/${crypto.randomUUID()}`;
  #stage: Stage = 'getting ready';
  /** How many of them the server has not taken. */
  #lost = 0;
  #hiddenMs = 0;
  #hiddenSince: number | undefined;
  #lateMs = 0;
  #begun: number | undefined;

  /** `delay` is called for every event that somebody received. */
  constructor(readonly rate: number, readonly seconds: number, delay: (way: Way, delay: number) => void) {
    this.#readers = WAYS.map((way) => new Reader(way, delay));
    document.addEventListener('visibilitychange', () => this.#look(), { signal: this.#end.signal });
    this.#look();
  }

  /** The room that a token has to be for. */
  get room(): string {
    return this.#room;
  }

  get stage(): Stage {
    return this.#stage;
  }

  /** When the first event was due, by `performance.now()`; undefined before. */
  get begun(): number | undefined {
    return this.#begun;
  }

  get planned(): number {
    return this.rate * this.seconds;
  }

  get results(): Result[] {
    return this.#readers.map(({ result }) => result);
  }

  get conditions(): Conditions {
    const now = this.#hiddenSince === undefined ? 0 : performance.now() - this.#hiddenSince;
    return { sent: this.#sentAt.length - this.#lost, hiddenMs: this.#hiddenMs + now, lateMs: this.#lateMs };
  }

  /** Publishes no more; what is on its way may still come. */
  halt(): void {
    this.#halt.abort();
  }

  /** Ends everything at once, also what has not begun. */
  close(): void {
    this.#stage = 'done';
    this.#look();
    this.#halt.abort();
    this.#end.abort();
    for (const { meter } of this.#readers) meter.close();
  }

  /** From the first connection to the last event. @throws when nothing can be published */
  async go(token: string): Promise<void> {
    const { signal } = this.#end;
    // Its own way, so that what it sends stands in nobody's line.
    const publisher = connect({ url: server, token, signal });
    try {
      await within(publisher.ready, READY_MS, 'The server does not answer.');
      const room = await publisher.join(this.#room);
      await Promise.all(this.#readers.map((reader) => this.#ready(reader, token)));
      if (!signal.aborted) this.#stage = 'publishing';
      await this.#publish(room);
      this.#stage = 'waiting for the last ones';
      await this.#drain();
    } finally {
      this.close();
    }
  }

  async #ready(reader: Reader, token: string): Promise<void> {
    const hear = (kind: string, data: unknown) => {
      const { n }: { n?: unknown } = kind === KIND && typeof data === 'object' && data !== null ? data : {};
      const sentAt = typeof n === 'number' ? this.#sentAt[n] : undefined;
      if (typeof n === 'number' && sentAt !== undefined) reader.take(n, sentAt);
    };
    try {
      const { signal } = this.#end;
      const begun = READERS[reader.way]({ room: this.#room, token, meter: reader.meter, hear, signal });
      await within(begun, READY_MS, 'it did not get through to the server.');
    } catch (error) {
      reader.fault = error instanceof Error ? error.message : `${error}`;
    }
  }

  /** Each event when it is due; resolves when the server has taken them, or has not for long. */
  async #publish(room: Room): Promise<void> {
    const { signal } = this.#halt;
    const start = (this.#begun = performance.now());
    const due = (n: number) => start + (n * 1000) / this.rate;
    const taken: Promise<unknown>[] = [];
    for (let n = 0; n < this.planned && !signal.aborted; n += 1) {
      await until(due(n), signal);
      if (signal.aborted) break;
      this.#sentAt[n] = performance.now();
      this.#lateMs = Math.max(this.#lateMs, performance.now() - due(n));
      taken.push(room.publish(KIND, { n }).catch(() => (this.#lost += 1)));
    }
    await Promise.race([Promise.all(taken), pause(DRAIN_MS, this.#end.signal)]);
  }

  /** Until everybody has everything, or for a while. */
  async #drain(): Promise<void> {
    const end = performance.now() + DRAIN_MS;
    const { sent: all } = this.conditions;
    while (performance.now() < end && !this.#end.signal.aborted) {
      if (this.#readers.every(({ received, fault }) => fault !== undefined || received >= all)) return;
      await pause(50, this.#end.signal);
    }
  }

  /** How long nobody looks. */
  #look(): void {
    if (this.#hiddenSince !== undefined) this.#hiddenMs += performance.now() - this.#hiddenSince;
    this.#hiddenSince = document.visibilityState === 'hidden' && this.#stage !== 'done' ? performance.now() : undefined;
  }
}

/** Waits until a moment of `performance.now()`, or the end. */
const until = (moment: number, signal: AbortSignal): Promise<void> => pause(moment - performance.now(), signal);

async function within<T>(work: Promise<T>, wait: number, otherwise: string): Promise<T> {
  let timer: number | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise)), wait);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
