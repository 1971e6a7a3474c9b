/** What is to be said in rooms by POST: in order, one at a time per room, so that nothing is swapped. */

import { QueueFullError } from '../errors.js';
import type { Position } from '../wire.js';
import type { Requests } from './requests.js';

export class Posts {
  readonly #requests: Requests;
  readonly #most: number;
  /** The last one of each room. */
  readonly #last = new Map<string, Promise<unknown>>();
  #waiting = 0;

  constructor(requests: Requests, most: number) {
    this.#requests = requests;
    this.#most = most;
  }

  /** Says it after everything that was said in the room before; `ready` holds it until there is a way to the server. */
  async say(
    room: string,
    body: { kind: string; data: unknown },
    ready: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<Position> {
    if (this.#waiting >= this.#most) throw new QueueFullError(this.#most);
    this.#waiting++;
    const before = this.#last.get(room);
    const said = (async () => {
      // Whether what was said before was taken or refused makes no difference to this.
      await before?.catch(() => {});
      await ready();
      return this.#requests.ask({ path: ['rooms', room, 'events'], body }, signal);
    })();
    this.#last.set(room, said);
    try {
      return ((await said) as { position: Position }).position;
    } finally {
      this.#waiting--;
      if (this.#last.get(room) === said) this.#last.delete(room);
    }
  }
}
