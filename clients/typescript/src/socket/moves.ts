/**
 * Moves on their way out: those that wait for a socket, for their room or for the pace, and those of which it is not
 * proved yet that they arrived. Of latest moves that is only the newest: an older one is of no use to anybody.
 *
 * Frames on one socket arrive in order, so any answer to a request proves the moves that were sent before it.
 */

import type { LostMove, OutgoingMove } from '../carrier.js';
import type { Codec, Frame } from './codec.js';
import type { Pace } from './pace.js';

/** Latest moves that wait, and as many that lack a proof; beyond it the oldest is dropped. */
const LATEST_MOST = 256;
/** Reliable moves without a proof after which the server is asked for one. */
const PROVE_EVERY = 32;
/** The longest time that a move stays without a proof before the server is asked. */
const PROVE_WITHIN_MS = 2_000;

/** What the row has to know of the rooms, and whom it tells. */
export interface Rooms {
  /** The room's handle while it is shown. */
  handle(room: string): number | undefined;
  /** Reliable moves that may not have arrived, or cannot any more. */
  lost(room: string, moves: LostMove[], reason: string): void;
}

interface Numbered extends Omit<OutgoingMove, 'data'> {
  readonly seq: number;
  readonly payload: Frame;
  /** Of latest moves with the same slot only the newest counts. */
  readonly slot: string;
  /** Its place in the row of moves written to the present socket, or to the last one that it was written to; or 0. */
  at: number;
}

/** Makes room for one more: the latest move that it replaces goes, or else the oldest one of too many. */
function push(row: Numbered[], coming: Numbered): void {
  if (coming.slot) {
    let at = row.findIndex(({ slot }) => slot === coming.slot);
    if (at < 0 && row.filter(({ slot }) => slot).length >= LATEST_MOST) at = row.findIndex(({ slot }) => slot);
    if (at >= 0) row.splice(at, 1);
  }
  // At the end, also if it replaced an older one: numbers must rise over both lanes.
  row.push(coming);
}

export class Moves {
  /** How many have been written to the present socket. */
  written = 0;
  /** When the server is to be asked for a proof. */
  proveBy = Infinity;
  #unsent: Numbered[] = [];
  #unproved: Numbered[] = [];
  #unasked = 0;
  readonly #codec: Codec;
  readonly #pace: Pace;
  readonly #rooms: Rooms;

  constructor(codec: Codec, pace: Pace, rooms: Rooms) {
    this.#codec = codec;
    this.#pace = pace;
    this.#rooms = rooms;
  }

  /** How many reliable ones are kept for a room. */
  reliable(name: string): number {
    return [...this.#unsent, ...this.#unproved].filter(({ slot, room }) => !slot && room === name).length;
  }

  /** Takes a move for sending. */
  push({ room, key, reliable, to }: OutgoingMove, payload: Frame, seq: number): void {
    const slot = reliable ? '' : `${key}/${to?.peers ?? ''}/${room}`;
    push(this.#unsent, { room, key, reliable, to, payload, seq, slot, at: 0 });
  }

  /** The first in the row whose room is there. */
  get #first(): Numbered | undefined {
    return this.#unsent.find(({ room }) => this.#rooms.handle(room) !== undefined);
  }

  /** When the next one may go out, of those whose room is there; `Infinity` if there is none. */
  due(now: number): number {
    return this.#first ? this.#pace.at(now) : Infinity;
  }

  /** Whether reliable moves wait for the pace: what was asked for behind them must not overtake them. */
  holds(now: number): boolean {
    return this.#pace.at(now) > now && this.#unsent.some(({ slot }) => !slot);
  }

  /** The next frame for the present socket. */
  next(now: number): Frame | undefined {
    const move = this.#pace.at(now) > now ? undefined : this.#first;
    const room = move && this.#rooms.handle(move.room);
    if (!move || room === undefined) return undefined;
    const to = move.to?.handles();
    if (to?.length === 0) {
      this.#lose(move.room, 'no receiver is left', (each) => each === move);
      return this.next(now);
    }
    this.#unsent.splice(this.#unsent.indexOf(move), 1);
    this.#pace.take(now);
    move.at = ++this.written;
    push(this.#unproved, move);
    this.#unasked += move.slot ? 0 : 1;
    this.proveBy = Math.min(this.proveBy, this.#unasked >= PROVE_EVERY ? now : now + PROVE_WITHIN_MS);
    return this.#codec.move(move.room, { ...move, room, to }, move.payload);
  }

  /** The server has been asked for a proof; again if none comes, since a ping above the rate is refused. */
  asked(now: number): void {
    this.#unasked = 0;
    this.proveBy = this.#unproved.length ? now + PROVE_WITHIN_MS : Infinity;
  }

  /** The answer to what was sent behind the first `mark` moves has come, on the same socket. */
  proved(mark: number): void {
    this.#unproved = this.#unproved.filter(({ at }) => at > mark);
    if (!this.#unproved.length) this.asked(0);
  }

  /**
   * The socket is lost, and with it perhaps what has no proof: that goes first, unless something newer took its place.
   */
  lost(): void {
    const newer = new Set(this.#unsent.map(({ slot }) => slot || undefined));
    this.#unsent.unshift(...this.#unproved.filter(({ slot }) => !slot || !newer.has(slot)));
    this.#unproved = [];
    this.written = 0;
    this.asked(0);
  }

  /**
   * The session is another, or lost something, or only its place in the room: what was written is not sent any more, or
   * it could arrive twice. A latest move for the whole room still says what is so, though. What was never written goes
   * out as it would have.
   */
  forget(room: string): void {
    this.#lose(room, 'the session was lost', ({ at, slot, to }) => at > 0 && !(slot && !to));
  }

  /** We are out of the room. */
  drop(room: string, reason: string): void {
    this.#lose(room, reason, () => true);
  }

  #lose(name: string, reason: string, goes: (move: Numbered) => boolean): void {
    const moves: LostMove[] = [];
    const stays = (move: Numbered) => {
      if (move.room !== name || !goes(move)) return true;
      const { slot, key, to, payload } = move;
      if (!slot) moves.push({ data: this.#codec.payload(payload), key, to: to?.peers });
      return false;
    };
    this.#unproved = this.#unproved.filter(stays);
    this.#unsent = this.#unsent.filter(stays);
    if (moves.length) this.#rooms.lost(name, moves, reason);
  }
}
