/**
 * Moves on their way out: those that wait for a socket, for their room or for the pace, and those of which it is not
 * proved yet that they arrived. Of latest moves that is only the newest: an older one is of no use to anybody.
 *
 * Frames on one socket arrive in order, so any answer to a request proves the moves that were sent before it.
 */

import type { OutgoingMove } from '../carrier.js';
import type { Codec, Frame } from './codec.js';
import type { Pace } from './pace.js';

/** Latest moves that wait, and as many that lack a proof; beyond it the oldest is dropped. */
const LATEST_MOST = 256;
/** Reliable moves without a proof after which the server is asked for one. */
const PROVE_EVERY = 32;
/** The longest time that a move stays without a proof before the server is asked. */
const PROVE_WITHIN_MS = 2_000;

interface Numbered extends Omit<OutgoingMove, 'data'> {
  readonly seq: number;
  readonly payload: Frame;
  /** Of latest moves with the same slot only the newest counts. */
  readonly slot: string;
  /** Its place in the row of moves written to the present socket. */
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
  /** Whether the session can be resumed, so that lost moves can be sent again. */
  keeps = true;
  #unsent: Numbered[] = [];
  #unproved: Numbered[] = [];
  #unasked = 0;
  readonly #codec: Codec;
  readonly #pace: Pace;

  constructor(codec: Codec, pace: Pace) {
    this.#codec = codec;
    this.#pace = pace;
  }

  /** How many reliable ones are kept. */
  get reliable(): number {
    return [...this.#unsent, ...this.#unproved].filter(({ slot }) => !slot).length;
  }

  /** Takes a move for sending. */
  push({ room, key, reliable, to }: OutgoingMove, payload: Frame, seq: number): void {
    const slot = reliable ? '' : `${key}/${to ?? ''}/${room}`;
    push(this.#unsent, { room, key, reliable, to, payload, seq, slot, at: 0 });
  }

  /** When the next one may go out, of those whose room is there; `Infinity` if there is none. */
  due(now: number, handle: (room: string) => number | undefined): number {
    return this.#unsent.some(({ room }) => handle(room) !== undefined) ? this.#pace.at(now) : Infinity;
  }

  /** Whether reliable moves wait for the pace: what was asked for behind them must not overtake them. */
  holds(now: number): boolean {
    return this.#pace.at(now) > now && this.#unsent.some(({ slot }) => !slot);
  }

  /** The next frame for the present socket. */
  next(now: number, handle: (room: string) => number | undefined): Frame | undefined {
    const at = this.#pace.at(now) > now ? -1 : this.#unsent.findIndex(({ room }) => handle(room) !== undefined);
    const move = this.#unsent[at];
    const room = move && handle(move.room);
    if (!move || room === undefined) return undefined;
    this.#unsent.splice(at, 1);
    this.#pace.take(now);
    if (this.keeps) {
      move.at = ++this.written;
      push(this.#unproved, move);
      this.#unasked += move.slot ? 0 : 1;
      this.proveBy = Math.min(this.proveBy, this.#unasked >= PROVE_EVERY ? now : now + PROVE_WITHIN_MS);
    }
    return this.#codec.move(move.room, { ...move, room }, move.payload);
  }

  /** The server has been asked for a proof; again if none comes, since a ping above the rate is refused. */
  asked(now: number): void {
    this.#unasked = 0;
    this.proveBy = this.#unproved.length ? now + PROVE_WITHIN_MS : Infinity;
  }

  /** The answer to what was sent behind the first `mark` moves has come, on the same socket. */
  proved(mark: number): void {
    this.#unproved = this.#unproved.filter(({ at }) => at > mark);
    if (!this.#unproved.length) {
      this.#unasked = 0;
      this.proveBy = Infinity;
    }
  }

  /**
   * The socket is lost, and with it perhaps what has no proof: that goes first, unless something newer took its place.
   */
  lost(): void {
    const newer = new Set(this.#unsent.map(({ slot }) => slot || undefined));
    this.#unsent.unshift(...this.#unproved.filter(({ slot }) => !slot || !newer.has(slot)));
    this.#unproved = [];
    this.written = this.#unasked = 0;
    this.proveBy = Infinity;
  }

  /**
   * The session lost something: what was meant for the game as it was is not sent any more. A latest move for the whole
   * room still says what is so; one to members by handle does not, as handles may differ.
   */
  forget(): void {
    this.#unproved = [];
    this.#unsent = this.#unsent.filter(({ slot, to }) => slot && !to);
  }

  /** The room was left. */
  drop(room: string): void {
    const stays = (move: Numbered) => move.room !== room;
    this.#unsent = this.#unsent.filter(stays);
    this.#unproved = this.#unproved.filter(stays);
  }
}
