/** What a room lets the rest of the package do, and what it needs of its client; nobody outside sees any of it. */

import type { CallFlags } from '../call.js';
import type { IncomingMove, OutgoingMove } from '../carrier.js';
import type { Client } from '../client.js';
import type { Unsubscribe } from '../emitter.js';
import type { Room, RoomEvents, Waiting } from '../room.js';
import type { PeerEntry, ServerMessage, Signal } from '../wire.js';

/** What a call hears of its room, in the order in which it happened. */
export type Inside =
  /**
   * The room as it is: at first, after every loss, after a reset. Who is in `members` (without us) is here, who is not
   * has left, unless `anew` (the server was restarted, and others may still be on their way back into the room).
   */
  | {
    type: 'shown';
    /** Ourselves. With another `peer` than before we are somebody new to all others. */
    you: PeerEntry;
    members: PeerEntry[];
    /** The room is in another life than before: its log has another epoch. */
    anew: boolean;
    /** Signals to us, or ours to others, may be lost. */
    lossy: boolean;
  }
  /** Somebody came; `missed`: while we were away. `shown` follows what was missed. */
  | { type: 'joined'; peer: PeerEntry; missed: boolean }
  /** Somebody left, and has dropped the call, even if it is here again. */
  | { type: 'left'; peer: string; missed: boolean }
  /** A member's public state or round trip changed. */
  | { type: 'changed'; peer: PeerEntry }
  | { type: 'signal'; signal: Signal }
  /** We are out of the room, for good. */
  | { type: 'out'; reason: string };

/** What a room lets a call do, and its client. */
export interface RoomInside {
  /**
   * Sends a signal; resolves once the server keeps it for the addressee. Waits while we are away.
   * @throws {RequestError} 805: the peer has left, 803: we have; {LostError}: nobody knows, and `shown` with `lossy`
   * follows
   */
  signal(type: Signal['type'], to: string, data: unknown): Promise<void>;
  /**
   * Calls `listener` with everything that happens from here on, at first with `shown` and then with the signals that
   * came while nobody listened (of each peer those since its last offer).
   */
  listen(listener: (what: Inside) => void): Unsubscribe;
  /** Puts what a call tells of itself into our public state, beside what the application has there; `undefined` takes it out. */
  flag(flags: CallFlags | undefined): void;
  /** Takes a message of the server for this room. */
  take(message: ServerMessage, missed: boolean): void;
  move(move: IncomingMove): void;
  /** Reliable moves of ours are lost. */
  lost(what: RoomEvents['lost']): void;
  /** From here on the events are told; those before wait, for whoever joined to listen to them. */
  open(): void;
  /** We are out for now. */
  wait(why: Waiting): void;
  /** We are out. */
  out(why: RoomEvents['left']): void;
}

/** What a room needs of its client. */
export interface RoomHost {
  readonly client: Client;
  now(): number;
  request(type: string, fields: Record<string, unknown>): Promise<ServerMessage>;
  hint(type: string, fields: Record<string, unknown>): void;
  move(move: OutgoingMove): void;
  leave(room: Room): Promise<void>;
}
