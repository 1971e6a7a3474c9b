/** Surroundings of which a test turns the clock and plays the network. */

import type { Env, Socket } from '../src/env.js';

/** A socket whose other end is the test. */
export class FakeSocket implements Socket {
  binaryType = 'blob';
  readyState = 0;
  bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  /** What the client sent and the test has not taken yet, in JSON. */
  sent: Record<string, unknown>[] = [];
  /** The code with which the client closed; 1005 without one. */
  closed: number | undefined;

  constructor(readonly url: string, readonly subprotocols: string[]) {}

  send(data: string | Uint8Array): void {
    if (typeof data === 'string') this.sent.push(JSON.parse(data) as Record<string, unknown>);
  }

  close(code = 1005): void {
    this.closed ??= code;
    this.readyState = 3;
  }

  /** Takes what was sent: the types, with `id` or what else tells them apart. */
  take(): Record<string, unknown>[] {
    return this.sent.splice(0);
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  hear(message: unknown): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  lose(code: number, reason = ''): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

export class FakeEnv implements Env {
  time = 1_000_000;
  chance = 0.5;
  isOffline = false;
  isHidden = false;
  readonly sockets: FakeSocket[] = [];
  #timers: { at: number; act: () => void }[] = [];
  #wakes = new Set<() => void>();
  fetch: typeof fetch = () => Promise.reject(new TypeError('no network'));

  now = (): number => this.time;
  random = (): number => this.chance;
  offline = (): boolean => this.isOffline;
  hidden = (): boolean => this.isHidden;

  after(ms: number, act: () => void): () => void {
    const timer = { at: this.time + ms, act };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  socket(url: string, subprotocols: string[]): Socket {
    const socket = new FakeSocket(url, subprotocols);
    this.sockets.push(socket);
    return socket;
  }

  onWake(act: () => void): () => void {
    this.#wakes.add(act);
    return () => this.#wakes.delete(act);
  }

  wake(): void {
    for (const act of [...this.#wakes]) act();
  }

  get last(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('no socket was opened');
    return socket;
  }

  /** Turns the clock; timers go off in their order, and what was promised meanwhile is done. */
  async turn(ms: number): Promise<void> {
    const until = this.time + ms;
    for (;;) {
      await settled();
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((each) => each !== next);
      this.time = Math.max(this.time, next.at);
      next.act();
    }
    this.time = until;
    await settled();
  }

  /** Lets time pass without any timer, as a device does that sleeps. */
  sleep(ms: number): void {
    this.time += ms;
  }
}

/** Lets everything run that is promised already. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
}
