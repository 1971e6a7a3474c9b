/**
 * Whether a feed kept its word: the sequence number in each event's position must be one more than the one before it in
 * the same room. Counts what was seen, what is missing, and what came twice.
 */

import type { Position } from 'rallypoint-client';
import { parts, type Place } from '../shell/position.js';

export class Tally {
  seen = 0;
  /** Sequence numbers that were passed over. */
  missing = 0;
  repeats = 0;
  /** Resets: the server said itself that something is gone. */
  resets = 0;
  /** Where each room stands. */
  readonly #at = new Map<string, Place>();

  /** Where a room stands, as the first thing that is known of it; later calls change nothing. */
  start(room: string, position: Position): void {
    const at = parts(position);
    if (at && !this.#at.has(room)) this.#at.set(room, at);
  }

  /** A reset: from here on. */
  reset(room: string, position: Position): void {
    this.resets += 1;
    const at = parts(position);
    if (at) this.#at.set(room, at);
  }

  /** Counts an event; tells whether it follows on the one before. */
  event(room: string, position: Position): 'next' | 'gap' | 'repeat' {
    this.seen += 1;
    const now = parts(position);
    const last = this.#at.get(room);
    if (!now) {
      this.missing += 1;
      return 'gap';
    }
    if (last?.epoch === now.epoch && now.seq <= last.seq) {
      this.repeats += 1;
      return 'repeat';
    }
    this.#at.set(room, now);
    if (!last || (last.epoch === now.epoch && now.seq === last.seq + 1)) return 'next';
    this.missing += last.epoch === now.epoch ? now.seq - last.seq - 1 : 1;
    return 'gap';
  }

  /** The sequence number that a room stands at. */
  seq(room: string): number | undefined {
    return this.#at.get(room)?.seq;
  }
}
