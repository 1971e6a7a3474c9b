/** The carrier without a WebSocket, loaded when it is needed: most clients never need it. */

import type { Carrier, OutgoingMove } from './carrier.js';
import type { Fallback, FallbackOptions } from './fallback.js';
import { UnsupportedError } from './errors.js';
import type { Joined, Position, ServerMessage } from './wire.js';

/** Loads the code. Asked for again it is there already. */
export const loadFallback = () => import('./fallback.js');

/** Passes everything on to a `Fallback` as soon as that is there. */
export class Later implements Carrier {
  readonly #there: Promise<Fallback>;
  #isClosed = false;

  constructor(options: FallbackOptions) {
    this.#there = loadFallback().then(({ Fallback }) => {
      if (this.#isClosed) throw new UnsupportedError('this');
      return new Fallback(options);
    });
    this.#there.catch(() => {
      if (this.#isClosed) return;
      const reason = 'A part of this page could not be loaded.';
      options.listener.status({ state: 'closed', reason, code: 0, action: 'stop' });
    });
  }

  async join(room: string, since?: Position): Promise<Joined> {
    return (await this.#there).join(room, since);
  }

  async leave(room: string): Promise<void> {
    return (await this.#there).leave(room);
  }

  async request(type: string, fields: Record<string, unknown>): Promise<ServerMessage> {
    return (await this.#there).request(type, fields);
  }

  /** There are no hints without a WebSocket. */
  hint(): void {}

  move(_move: OutgoingMove): never {
    throw new UnsupportedError('a move');
  }

  close(): void {
    this.#isClosed = true;
    this.#there.then((fallback) => fallback.close(), () => {});
  }
}
