/** Surroundings for tests of feeds: a clock that is turned by hand, and a server that answers as the test says. */

import type { Env } from '../src/env.js';

/** A request that the package has made. */
export class Asked {
  readonly url: URL;
  readonly headers: Headers;
  readonly method: string;
  readonly body: unknown;
  /** When it was made. */
  readonly at: number;
  #answer: (response: Response) => void = () => {};
  #fail: (fault: unknown) => void = () => {};
  #stream: ReadableStreamDefaultController<Uint8Array> | undefined;
  readonly #signal: AbortSignal | null | undefined;
  readonly response: Promise<Response>;

  constructor(url: string, init: RequestInit, at: number) {
    this.url = new URL(url);
    this.headers = new Headers(init.headers);
    this.method = init.method ?? 'GET';
    this.body = typeof init.body === 'string' ? JSON.parse(init.body) : undefined;
    this.at = at;
    this.#signal = init.signal;
    this.response = new Promise((resolve, reject) => {
      this.#answer = resolve;
      this.#fail = reject;
    });
    const end = () => {
      this.#fail(this.#signal?.reason);
      this.fail(this.#signal?.reason);
    };
    if (this.#signal?.aborted) end();
    this.#signal?.addEventListener('abort', end);
  }

  get path(): string {
    return this.url.pathname;
  }

  /** Whether nobody waits for the answer any more. */
  get isDropped(): boolean {
    return this.#signal?.aborted ?? false;
  }

  json(body: unknown, status = 200, headers: Record<string, string> = {}): void {
    const given = { 'content-type': 'application/json', ...headers };
    this.#answer(new Response(JSON.stringify(body), { status, headers: given }));
  }

  problem(code: number, status: number, more: Record<string, unknown> = {}): void {
    this.json({ code, title: 'refused', detail: `refused with ${code}`, ...more }, status);
  }

  /** Answers with a stream that stays open. */
  open(type = 'text/event-stream'): void {
    const body = new ReadableStream<Uint8Array>({ start: (stream) => void (this.#stream = stream) });
    this.#answer(new Response(body, { headers: { 'content-type': type } }));
  }

  write(text: string): void {
    this.#stream?.enqueue(new TextEncoder().encode(text));
  }

  block(event: string, data: unknown, id?: string): void {
    this.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n${id === undefined ? '' : `id: ${id}\n`}\n`);
  }

  /** Ends the stream as the server does. */
  end(): void {
    this.#stream?.close();
    this.#stream = undefined;
  }

  /** Breaks it off, or the request. */
  fail(fault: unknown = new TypeError('the network is gone')): void {
    this.#fail(fault);
    this.#stream?.error(fault);
    this.#stream = undefined;
  }
}

/** The surroundings. */
export class World {
  #now = 1_000_000;
  #timers = new Set<{ at: number; act: () => void }>();
  readonly #wakes = new Set<() => void>();
  /** All requests so far. */
  readonly asked: Asked[] = [];
  /** What `random` gives. */
  chance = 0.5;
  /** Answers a request by itself; whoever returns true has. */
  answer: (asked: Asked) => boolean | void = () => {};

  readonly env: Env = {
    now: () => this.#now,
    after: (ms, act) => {
      const timer = { at: this.#now + ms, act };
      this.#timers.add(timer);
      return () => void this.#timers.delete(timer);
    },
    random: () => this.chance,
    socket: () => {
      throw new TypeError('there is no WebSocket here');
    },
    fetch: (url, init) => {
      const asked = new Asked(String(url), init ?? {}, this.#now);
      asked.response.catch(() => {});
      this.asked.push(asked);
      this.answer(asked);
      return asked.response;
    },
    onWake: (act) => {
      this.#wakes.add(act);
      return () => void this.#wakes.delete(act);
    },
    offline: () => false,
  };

  get now(): number {
    return this.#now;
  }

  /** How many timers and listeners are left. */
  get left(): number {
    return this.#timers.size + this.#wakes.size;
  }

  /** Turns the clock; what is due happens in order. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.act();
    }
    this.#now = end;
    await settle();
  }

  /** The page is looked at, or the network is back. */
  wake(): Promise<void> {
    for (const act of [...this.#wakes]) act();
    return settle();
  }

  /** The request after those that were seen, once it is made. */
  async next(seen: number): Promise<Asked> {
    await settle();
    const asked = this.asked[seen];
    if (!asked) throw new Error(`no request number ${seen + 1}`);
    return asked;
  }
}

/** Lets everything happen that needs no time. Streams take several turns of the event loop for one chunk. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 12; turn++) await new Promise((done) => setImmediate(done));
}
