/** A client: one session with a server, over whatever the network lets through. */

import type { Status, TransportName } from './carrier.js';
import { Emitter } from './emitter.js';
import type { Room } from './room.js';
import type { Connected, IceServer, Position, Reset } from './wire.js';

/** Why a token is asked for. */
export interface TokenReason {
  /** `first` connection, coming back (`again`), because the last one is about to end or has (`expired`). */
  why: 'first' | 'again' | 'expired';
}

/** An access token, or where to get one. A function is asked before every connection and before a token ends. */
export type TokenSource = string | ((reason: TokenReason) => string | Promise<string>);

/**
 * Thrown by a token source when asking again would not help: the client then stops with its message. Any other error is
 * taken for a passing one.
 */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused';
}

/** How to connect. */
export interface ConnectOptions {
  /** The server's address, such as `https://rally.example/`; a path before `v1/` is kept. */
  url: string | URL;
  token: TokenSource;
  /** Ends the client when it aborts, as `close()` does. */
  signal?: AbortSignal;
  /** `msgpack` (default: moves are a few bytes) or `json` (readable in the browser's tools). */
  encoding?: 'msgpack' | 'json';
  /** What may be tried, in this order. Default: `websocket`, `events`, `poll`. */
  transports?: readonly TransportName[];
  /** Requests and reliable moves that are kept while away; what is above it is refused. Default 256. */
  queue?: number;
  /** A WebSocket for Node 20, such as the one of the package `ws`. */
  WebSocket?: unknown;
  fetch?: typeof fetch;
}

/** Something the server tells the user, wherever the user is. */
export interface Notification {
  message: string;
  data?: unknown;
  /** Unix ms. */
  time: number;
  position: Position;
}

/** What a client tells. */
export interface ClientEvents {
  /** Connected, lost, back, closed. */
  status: Status;
  /** A new connection: the same session (`resumed`: nothing was lost), or another one. */
  connected: Connected;
  notification: Notification;
  /** Kept notifications that are gone: what comes next is the oldest one there is. */
  'notifications-reset': Reset;
  /** A new measurement of the way to the server. */
  latency: { rtt: number; offset: number };
  /** Something was refused that had no answer of its own, such as moves above the rate; `count` of them. */
  refused: { code: number; message: string; room?: string; count: number };
}

/** What `connect` may be told by tests; see `env.ts`. */
export type Internals = { env?: import('./env.js').Env };

/**
 * One session with a server. It comes back by itself after a loss, as the same peer where the server still knows it, and
 * repeats what had no answer: nothing is carried out twice, and what cannot be known to have arrived rejects.
 */
export class Client extends Emitter<ClientEvents> {
  /** Where the client stands. */
  get status(): Status {
    throw new Error('under construction');
  }

  /** What the server said at the last connection: the peer id, limits, ICE servers. */
  get session(): Connected | undefined {
    throw new Error('under construction');
  }

  /** Resolves at the first connection; rejects with a `ClosedError` if the client stops before. */
  get ready(): Promise<void> {
    throw new Error('under construction');
  }

  /** What the present way to the server cannot carry, in words: `[]` over a WebSocket. */
  get missing(): readonly string[] {
    throw new Error('under construction');
  }

  /** The rooms that were joined and not left, by name. */
  get rooms(): ReadonlyMap<string, Room> {
    throw new Error('under construction');
  }

  /** Round trip to the server, ms; undefined until it is measured. */
  get latency(): number | undefined {
    throw new Error('under construction');
  }

  /** The server's clock now, Unix ms: ours plus the offset of the measurement with the shortest round trip. */
  serverTime(): number {
    throw new Error('under construction');
  }

  /** Notifications as they come, for `for await`; ends with the client or when `signal` aborts. */
  notifications(_options: { signal?: AbortSignal } = {}): AsyncIterableIterator<Notification> {
    throw new Error('under construction');
  }

  /** Joins a room. @throws {RequestError} `code` 705: not allowed, 901: full, … */
  join(_room: string, _options: { since?: Position } = {}): Promise<Room> {
    throw new Error('under construction');
  }

  /** STUN and TURN servers whose credentials hold for a while yet; asks the server for new ones when they do not. */
  iceServers(): Promise<IceServer[]> {
    throw new Error('under construction');
  }

  /** Says goodbye: the others see us leave at once. */
  close(): void {
    throw new Error('under construction');
  }
}

/** Connects to a server; `await client.ready` tells when it has worked. */
export function connect(_options: ConnectOptions, _internals: Internals = {}): Client {
  throw new Error('under construction');
}
