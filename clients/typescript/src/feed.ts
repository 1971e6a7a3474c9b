/** A feed: rooms as a spectator reads them, over Server-Sent Events or long poll, and one's own notifications. */

import type { TokenSource } from './client.js';
import { Emitter } from './emitter.js';
import type { Author, Cursor, PeerEntry, Position, ResetReason, StateMove } from './wire.js';

/** How to follow. */
export interface WatchOptions {
  /** The server's address, such as `https://rally.example/`; a path before `v1/` is kept. */
  url: string | URL;
  token: TokenSource;
  /** Up to 16 rooms; none for one's own notifications only. */
  rooms?: readonly string[];
  /** Also the latest moves, so many times a second (above 0, at most 10). */
  state?: number;
  /** Goes on from here; `'0'` starts at the oldest kept event. Without it: from now on. */
  after?: Cursor;
  /** `events` (SSE), then `poll`, unless only one of them is named. */
  transports?: readonly ('events' | 'poll')[];
  signal?: AbortSignal;
  fetch?: typeof fetch;
}

/** An event of one of the rooms, or a notification (room `user/<sub>`, kind `notification`). */
export interface FeedEvent {
  room: string;
  position: Position;
  /** `message`, `peer-joined`, `peer-left`, `presence`, `notification`, or the application's own. */
  kind: string;
  /** Unix ms. */
  time: number;
  from?: Author;
  /** Written by a stranger: check it. For a message `{text}`, for a notification `{message, data?}`. */
  data: unknown;
}

/** The latest moves of a room, in `from` a peer id. `moves` are those that changed since the state before. */
export interface FeedState {
  room: string;
  version: number;
  moves: StateMove<string>[];
}

/** A hole that the server cannot fill: what is kept of the room is to be drawn anew. */
export interface FeedReset {
  room: string;
  reason: ResetReason;
  position: Position;
  count: number;
  spectators: number;
}

/** How the rooms stood when the feed was (again) connected. */
export interface FeedConnected {
  /** The user that the token names. */
  user?: string;
  rooms: { room: string; position: Position; count: number; spectators: number }[];
  transport: 'events' | 'poll';
}

/** Where a feed stands. */
export interface FeedStatus {
  state: 'connecting' | 'connected' | 'reconnecting' | 'closed';
  transport: 'events' | 'poll';
  /** One sentence for a person at the screen. */
  reason: string;
  /** The error's number behind the state; 0 if there is none. */
  code: number;
  /** When the next attempt begins, Unix ms, while one is waited for. */
  retryAt?: number;
}

/** What a feed tells. */
export interface FeedEvents {
  status: FeedStatus;
  connected: FeedConnected;
  /** Every event, in order, each once. */
  event: FeedEvent;
  state: FeedState;
  reset: FeedReset;
}

/**
 * Rooms as a spectator reads them. It comes back by itself and goes on where it was, over either transport: one cursor
 * counts for both. `for await (const event of feed)` reads the events; whoever reads too slowly lags behind and is told
 * by a `reset` what was dropped.
 */
export class Feed extends Emitter<FeedEvents> implements AsyncIterable<FeedEvent> {
  get status(): FeedStatus {
    throw new Error('under construction');
  }

  /** Where the feed stands; hand it back as `after`. */
  get cursor(): Cursor | undefined {
    throw new Error('under construction');
  }

  /** Names of those who are members of a room, as far as the feed told: by peer id. */
  peers(_room: string): ReadonlyMap<string, PeerEntry> {
    throw new Error('under construction');
  }

  [Symbol.asyncIterator](): AsyncIterator<FeedEvent> {
    throw new Error('under construction');
  }

  close(): void {
    throw new Error('under construction');
  }
}

/** Follows rooms as a spectator. */
export function watch(_options: WatchOptions): Feed {
  throw new Error('under construction');
}
