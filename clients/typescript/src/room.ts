/** A room as one of its members sees it. */

import type { Call, CallOptions } from './call.js';
import { Emitter, type Unsubscribe } from './emitter.js';
import type {
  AppEvent, Author, LeaveReason, MessageEvent, PeerEntry, PeerJoined, PeerLeft, Position, Presence, ResetReason,
  Signal,
} from './wire.js';

/** A member of the room; a picture of this moment, a new object whenever something about it changes. */
export interface Member extends PeerEntry {
  handle: number;
  /** The name of the token, else the user id. Written by a stranger: show it as text. */
  label: string;
  /** Round trip to the server, ms, if measured, and how much it varies. */
  rtt?: number;
  jitter?: number;
  /** Whether the member types just now. */
  typing: boolean;
  /** Whether this is us. */
  you: boolean;
}

/** A move of another member. */
export interface Move {
  /** Who moved; undefined if the member is not known (a large room lists only some). */
  from: Member | undefined;
  /** The handle of who moved. */
  handle: number;
  key: number;
  /** The sender's count, rising over both lanes. */
  seq: number;
  /** When the server took it, Unix ms; compare with `client.serverTime()`. */
  time: number;
  reliable: boolean;
  /** What was sent. Written by a stranger: check it. */
  data: unknown;
}

/** Where a move goes, and what it is about. */
export interface MoveOptions {
  /** What the move is about (a ball, a turret), 0 to 65535; of each key the newest counts. Default 0. */
  key?: number;
  /** Only to these members (peer ids). */
  to?: readonly string[];
}

/** An event that came late: it happened while we were away. */
export type Late<Event> = Event & { missed: boolean };

/** What a room tells. */
export interface RoomEvents {
  /** The room is shown: on joining, after every loss, after a reset. Draw what you keep of it anew. */
  shown: { missed: boolean };
  message: Late<MessageEvent>;
  /** An event of the application's own kind. */
  event: Late<AppEvent>;
  'peer-joined': Late<PeerJoined>;
  'peer-left': Late<PeerLeft>;
  presence: Late<Presence>;
  /** Somebody's public state, round trip or typing changed, or who is here. */
  members: ReadonlyMap<string, Member>;
  typing: { peer: string; from: Author; on: boolean };
  move: Move;
  /** Some of what happened is no longer known; `shown` follows. */
  reset: { reason: ResetReason };
  /** We are out: `leave()`, a kick, or a room that does not let us in again. */
  left: { reason: LeaveReason | 'refused'; code: number; message: string };
}

/** What a call hears of its room, in the order in which it happened. */
export type Inside =
  /**
   * The room as it is: at first, after every loss, after a reset. Who is in `members` (without us) is here, who is not has
   * left, unless `anew` (the server was restarted, and others may still be on their way back into the room).
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

/** What a room lets a call do, and nobody outside the package. */
export interface RoomInside {
  /**
   * Sends a signal; resolves once the server keeps it for the addressee. Waits while we are away.
   * @throws {RequestError} 805: the peer has left, 803: we have; {LostError}: nobody knows, and `shown` with `lossy` follows
   */
  signal(type: Signal['type'], to: string, data: unknown): Promise<void>;
  /**
   * Calls `listener` with everything that happens from here on, at first with `shown` and then with the signals that came
   * while nobody listened (of each peer those since its last offer).
   */
  listen(listener: (what: Inside) => void): Unsubscribe;
}

/** A room that was joined. It stays the same object over losses; after `left` it is of no more use. */
export class Room extends Emitter<RoomEvents> {
  /** Its name. */
  readonly name: string = '';

  /** Ourselves. */
  get you(): Member {
    throw new Error('under construction');
  }

  /** Who is here, ourselves included, by peer id; of a large room the first hundred and who came since. */
  get members(): ReadonlyMap<string, Member> {
    throw new Error('under construction');
  }

  /** How many members there are. */
  get count(): number {
    throw new Error('under construction');
  }

  /** How many only watch. */
  get spectators(): number {
    throw new Error('under construction');
  }

  /** Where we stand in the room's log. */
  get position(): Position {
    throw new Error('under construction');
  }

  /** The newest move of each member (peer id) and key, without ours. */
  get state(): ReadonlyMap<string, ReadonlyMap<number, Move>> {
    throw new Error('under construction');
  }

  /** Whether we have left or were put out. */
  get isLeft(): boolean {
    throw new Error('under construction');
  }

  /** Says something in the chat; resolves when it stands in the room's log. @throws {RequestError | LostError | QueueFullError} */
  say(_text: string): Promise<Position> {
    throw new Error('under construction');
  }

  /** Tells that a key was pressed; call it at every key, it sends what is needed. */
  typing(): void {
    throw new Error('under construction');
  }

  /** Publishes an event of the application's own kind. */
  publish(_kind: string, _data: unknown): Promise<Position> {
    throw new Error('under construction');
  }

  /** Replaces our public state in this room (at most 512 bytes of JSON). */
  update(_state: Record<string, unknown>): Promise<void> {
    throw new Error('under construction');
  }

  /** Sends a move of which only the newest counts: a position, an input. */
  send(_data: unknown, _options: MoveOptions = {}): void {
    throw new Error('under construction');
  }

  /** Sends a move of which every one counts, in order: a turn, a shot. @throws {QueueFullError} */
  sendReliable(_data: unknown, _options: MoveOptions = {}): void {
    throw new Error('under construction');
  }

  /** Calls `listener` at each move of another member. */
  onMove(listener: (move: Move) => void, options: { signal?: AbortSignal } = {}): Unsubscribe {
    return this.on('move', listener, options);
  }

  /** Members of a large room, page by page; `after` is the last peer id of the page before. */
  list(_options: { after?: string; limit?: number } = {}): Promise<{ members: PeerEntry[]; count: number; next?: string }> {
    throw new Error('under construction');
  }

  /** Calls everybody in the room, and whoever comes. One call a room: a second one replaces the first. */
  call(_options: CallOptions = {}): Promise<Call> {
    throw new Error('under construction');
  }

  /** Leaves the room; the session goes on. */
  leave(): Promise<void> {
    throw new Error('under construction');
  }
}

/** The inside of a room, for the rest of the package. */
export function inside(_room: Room): RoomInside {
  throw new Error('under construction');
}
