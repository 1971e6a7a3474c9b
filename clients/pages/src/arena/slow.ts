/**
 * "Slow my connection": a stage between the socket and the game that lets only so many moves a second through. A
 * browser gives a page no way to stop reading a WebSocket, so this is a simulation; it keeps what waits as the server
 * does. Beside the line of the moves as they were sent runs a second one, where ships take the other lane: the ghosts.
 */

import type { Move } from 'rallypoint-client';
import { Lane } from './lane.js';
import { KEY } from './wire.js';

/** Moves a second that the slow line lets through. */
export const SLOW_RATE = 15;

const slot = (move: Move) => `${move.handle} ${move.key}`;

export class SlowLine {
  readonly sent = new Lane<Move>();
  readonly other = new Lane<Move>();
  #on = false;

  get on(): boolean {
    return this.#on;
  }

  /** How often so much came at once that the server would have closed the connection. */
  get overflows(): number {
    return this.sent.overflows + this.other.overflows;
  }

  /** Whether the line is slow now; with `false` everything that waits is handed to `take` at once. */
  set(on: boolean, take: (move: Move) => void): void {
    this.#on = on;
    if (on) return;
    this.sent.drain(1, Infinity, take);
    this.other.clear();
  }

  /** Takes what came. */
  push(move: Move): void {
    const ship = move.key === KEY.ship;
    this.sent.push(move, move.reliable ? undefined : slot(move));
    this.other.push(move, move.reliable === ship ? slot(move) : undefined);
  }

  /** Lets through what the line carries in `seconds`: `take` gets the moves, `ghost` those of the other lane. */
  drain(seconds: number, take: (move: Move) => void, ghost: (move: Move) => void): void {
    this.sent.drain(seconds, SLOW_RATE, take);
    this.other.drain(seconds, SLOW_RATE, ghost);
  }

  /** What waits for the two lanes; `reliable` tells on which of them ships were sent. */
  waiting(reliable: boolean): { latest: number; reliable: number; replaced: number } {
    const [latest, queued] = reliable ? [this.other, this.sent] : [this.sent, this.other];
    return { latest: latest.waiting, reliable: queued.waiting, replaced: latest.replaced };
  }
}
