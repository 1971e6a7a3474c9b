/**
 * What carries a client's messages to the server and back: a WebSocket (`socket/`), or where the network lets none
 * through a feed with POST requests beside it (`fallback.ts`). A carrier tells what happens in the words of the
 * protocol, so that `Client` and `Room` are the same over each of them.
 */

import type { CloseAction } from './errors.js';
import type { Joined, Position, ServerMessage } from './wire.js';

/** How messages travel. */
export type TransportName = 'websocket' | 'events' | 'poll';

/** A move as it is given to a carrier. */
export interface OutgoingMove {
  room: string;
  key: number;
  reliable: boolean;
  /** Some members, and their handles when it goes out: those who have come back since may have others. */
  to?: { peers: readonly string[]; handles(): number[] } | undefined;
  data: unknown;
}

/** A reliable move that may not have arrived, as it was given to `sendReliable`. */
export interface LostMove {
  data: unknown;
  key: number;
  to?: readonly string[] | undefined;
}

/** A move as a carrier hands it over; `from` is a handle. */
export interface IncomingMove {
  room: string;
  from: number;
  key: number;
  seq: number;
  time: number;
  reliable: boolean;
  data: unknown;
}

/** Where a client stands with the server. */
export type ClientState =
  /** The first connection is being made. */
  | 'connecting'
  /** Connected; whatever is sent goes out. */
  | 'connected'
  /** The connection is lost, and another is being made or waited for. What is sent waits. */
  | 'reconnecting'
  /** The client does not come back by itself. */
  | 'closed';

/** A state and how it came about. */
export interface Status {
  state: ClientState;
  /** How messages travel; undefined while nothing is connected. */
  transport?: TransportName | undefined;
  /** One sentence for a person at the screen. */
  reason: string;
  /** The close code, or the error's number, behind the state; 0 if there is none. */
  code: number;
  /** What the client does about it. */
  action?: CloseAction | undefined;
  /** When the next attempt begins, Unix ms, while one is waited for. */
  retryAt?: number | undefined;
}

/** What a carrier tells. */
export interface CarrierListener {
  status(status: Status): void;
  /**
   * A message of the server, in order and each once, answers to requests left out. Missed events come as if they came
   * live, before the `joined` that brought them. A `joined` is told in any case, also the answer to `Carrier.join`,
   * before that resolves: what follows it in the same breath must find the room. A `connected` is told before
   * everything on it. A `joined` has an empty `missed`, or none if a `reset` of the room follows it.
   */
  message(message: ServerMessage, missed: boolean): void;
  move(move: IncomingMove): void;
  /** Reliable moves of ours that may not have arrived, or cannot any more. */
  lost(room: string, moves: LostMove[], reason: string): void;
  /** A room that the session is no longer in: for good, or until it is asked for again, at `retryAt`. */
  out(room: string, why: { code: number; message: string; retryAt?: number }): void;
}

/** A way to the server. */
export interface Carrier {
  /** Enters a room, and again after every loss until `leave`. Resolves with the room as it is shown first. */
  join(room: string, since?: Position): Promise<Joined>;
  leave(room: string): Promise<void>;
  /** Sends a request of the protocol, such as `message`, and resolves with its answer. Waits while away. */
  request(type: string, fields: Record<string, unknown>): Promise<ServerMessage>;
  /** Sends something that has no answer and is of no use later, such as `typing`. */
  hint(type: string, fields: Record<string, unknown>): void;
  /** Sends a move. A latest one replaces an older one of the same room, key and receivers that waits. */
  move(move: OutgoingMove): void;
  /** Says goodbye; nothing is told after the status `closed`. */
  close(): void;
}
