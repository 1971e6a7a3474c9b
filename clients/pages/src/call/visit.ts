/** One visit to a room: connecting, entering, coming back, and the end of it, in the words of the page. */

import { connect, Emitter, LostError, RequestError, type Client, type Room, type Status } from 'rallypoint-client';
import { server } from '../shell/address.js';
import { shownOf, type Shown } from '../shell/status.js';
import { tokenSource } from '../shell/token.js';

/** Refusals that may pass: rates, a full room, a busy or ending server, and a room that nobody opened yet. */
const PASSING = new Set([802, 900, 901, 903, 904, 905, 999]);
const AGAIN_MS = 5_000;

/** What a visit tells. */
export interface VisitEvents {
  /** How we stand with the server and the room. */
  stands: Shown;
  /** We are in the room for the first time; it is the same object from then on, unless the server let us out of it. */
  room: Room;
  /** It is over: we left, or were refused. */
  over: Shown;
}

/** A visit. It comes back by itself until `leave`, or until the server refuses. */
export class Visit extends Emitter<VisitEvents> {
  readonly client: Client;
  readonly #name: string;
  #room: Room | undefined;
  /** The room is shown on the present connection. */
  #inside = false;
  #over = false;
  #again: number | undefined;

  constructor({ name, room, noTokens }: { name: string; room: string; noTokens: () => void }) {
    super();
    this.#name = room;
    const token = tokenSource({ ...(name && { name }), rooms: [{ r: room, role: 'host' }] }, { noTokens });
    // JSON, so that whoever looks at a call in the browser's tools can read along; there are few messages.
    this.client = connect({ url: server, token, encoding: 'json' });
    this.client.on('status', (status) => this.#stand(status));
    void this.#enter();
  }

  leave(): void {
    this.#end({ state: 'left', reason: 'You left the room.' });
  }

  #stand(status: Status): void {
    if (this.#over) return;
    if (status.state === 'closed') return this.#end(shownOf(status));
    if (status.state !== 'connected') this.#inside = false;
    if (status.state !== 'connected' || this.#inside) return this.emit('stands', shownOf(status));
    this.emit('stands', { state: this.#room ? 'reconnecting' : 'connecting', reason: 'Entering the room…' });
  }

  async #enter(): Promise<void> {
    try {
      const since = this.#room?.position;
      const room = await this.client.join(this.#name, since === undefined ? {} : { since });
      if (this.#over) return;
      this.#room = room;
      room.on('shown', () => this.#shown());
      room.on('left', ({ reason, code, message }) => this.#out(reason, code, message));
      this.emit('room', room);
    } catch (error) {
      if (this.#over) return;
      // The session was lost over it; the next one tries again.
      if (error instanceof LostError) void this.#enter();
      else if (error instanceof RequestError) this.#refused(error.code, error.message, error.retryAfter);
      // A client that is closed has told so itself.
      else if (this.client.status.state !== 'closed') this.#end({ state: 'refused', reason: `${error}` });
    }
  }

  #shown(): void {
    if (this.#over) return;
    this.#inside = true;
    if (this.client.status.state === 'connected') this.emit('stands', shownOf(this.client.status));
  }

  #out(reason: string, code: number, message: string): void {
    if (this.#over || reason === 'closed') return;
    if (reason === 'refused') this.#refused(code, message);
    else this.#end({ state: 'refused', reason: `You were removed from the room (${reason}).` });
  }

  #refused(code: number, message: string, retryAfter = AGAIN_MS): void {
    if (!PASSING.has(code)) {
      return this.#end({ state: 'refused', reason: `The server refused the room: ${message}`, code });
    }
    this.#inside = false;
    const retryAt = Date.now() + retryAfter;
    this.emit('stands', {
      state: this.#room ? 'reconnecting' : 'connecting',
      reason: `Waiting for the room: ${message} (${code})`,
      retryAt,
    });
    this.#again = setTimeout(() => void this.#enter(), retryAfter);
  }

  #end(shown: Shown): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#again);
    this.client.close();
    this.emit('over', shown);
  }
}
