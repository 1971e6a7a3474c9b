/** Reads `v1/status`: it comes back by itself, is quiet while nobody looks, and says how it stands. */

import { Emitter, EventStream } from 'rallypoint-client';
import { route } from '../shell/address.js';
import { pause } from '../shell/pause.js';
import type { Shown } from '../shell/status.js';

/** What a stream tells. */
export interface StreamEvents {
  /** `said`: the server's own words, where it refuses. */
  status: Shown & { said?: string };
  figure: { name: string; data: unknown };
  /** Figures are missing between the last one and the next. */
  gap: undefined;
}

/** How long nothing may come until the connection is given up, ms: figures come once a second. */
const PATIENCE_MS = 10_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/** The server does not let us, and asking again would not help. */
class Refused extends Error {
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

/** It may work later; the server has asked for so much time. */
class Passing extends Error {
  constructor(message: string, readonly afterMs = 0) {
    super(message);
  }
}

export class StatusStream extends Emitter<StreamEvents> {
  readonly #token: string | null;
  #abort: AbortController | undefined;
  #tries = 0;

  constructor(token: string | null) {
    super();
    this.#token = token;
  }

  get isOn(): boolean {
    return this.#abort !== undefined;
  }

  start(): void {
    if (this.#abort) return;
    this.#abort = new AbortController();
    void this.#run(this.#abort.signal);
  }

  /** Ends it until the next `start`. */
  stop(reason: string): void {
    this.#abort?.abort();
    this.#abort = undefined;
    this.emit('status', { state: 'left', reason });
  }

  async #run(signal: AbortSignal): Promise<void> {
    this.emit('status', { state: 'connecting', reason: 'Asking the server how it is…' });
    for (;;) {
      let fault: unknown;
      try {
        await this.#read(signal);
      } catch (caught) {
        fault = caught;
      }
      if (signal.aborted) return;
      this.emit('gap', undefined);
      if (fault instanceof Refused) {
        this.#abort = undefined;
        const reason = 'The server does not show its figures.';
        return this.emit('status', { state: 'refused', reason, code: fault.code, said: fault.message });
      }
      const floor = fault instanceof Passing ? fault.afterMs : 0;
      const wait = floor + Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(this.#tries++, 16));
      const reason = fault instanceof Passing ? fault.message : 'The server does not answer.';
      this.emit('status', { state: 'reconnecting', reason, retryAt: Date.now() + wait });
      await rest(wait, signal);
      if (signal.aborted) return;
    }
  }

  /** One connection, until it fails. */
  async #read(signal: AbortSignal): Promise<never> {
    const abort = new AbortController();
    const drop = () => abort.abort();
    let timer = setTimeout(drop, PATIENCE_MS);
    signal.addEventListener('abort', drop);
    const stream = new EventStream();
    try {
      const headers = new Headers({ accept: 'text/event-stream' });
      if (this.#token) headers.set('authorization', `Bearer ${this.#token}`);
      const response = await fetch(route('v1/status'), { headers, cache: 'no-store', signal: abort.signal });
      if (!response.ok || !response.body) throw await refusal(response);
      this.emit('status', { state: 'connected', reason: 'Connected.', transport: 'events' });
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) throw new Passing('The server has ended the stream.', stream.retry);
        clearTimeout(timer);
        timer = setTimeout(drop, PATIENCE_MS);
        for (const { event, data } of stream.push(value)) {
          const said: unknown = JSON.parse(data);
          if (event === 'error') throw farewell(said, stream.retry);
          this.#tries = 0;
          this.emit('figure', { name: event, data: said });
        }
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', drop);
      abort.abort();
    }
  }
}

/** What an answer that is not good says. */
async function refusal(response: Response): Promise<Error> {
  const body: { code?: number; detail?: string; retry_after?: number } = await response.json().catch(() => ({}));
  const { code, detail, retry_after: after } = body;
  const text = detail ?? `Something on the way answered ${response.status}.`;
  if (response.status === 429 || response.status >= 500) return new Passing(text, after);
  return new Refused(code ?? response.status, text);
}

/** Why the server ends a stream. */
function farewell(said: unknown, retry: number): Error {
  const { code = 0, message = '' }: { code?: number; message?: string } =
    typeof said === 'object' && said !== null ? said : {};
  return code >= 700 && code < 800 ? new Refused(code, message) : new Passing(message, retry);
}

/** Waits, but no longer than until the network comes back. */
async function rest(wait: number, signal: AbortSignal): Promise<void> {
  const woken = new AbortController();
  const wake = () => woken.abort();
  addEventListener('online', wake);
  signal.addEventListener('abort', wake);
  await pause(wait, woken.signal);
  removeEventListener('online', wake);
  signal.removeEventListener('abort', wake);
}
