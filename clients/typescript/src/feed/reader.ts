/** What both transports of a feed are asked, and whom they tell. */

import type { Env } from '../env.js';
import type { FeedConnected, FeedEvent, FeedReset, FeedState } from '../feed.js';
import type { Cursor } from '../wire.js';

/** What to read. */
export interface Reading {
  env: Env;
  url: URL;
  /** The token of this moment. */
  token(): Promise<string>;
  rooms: readonly string[];
  state: number | undefined;
  cursor: Cursor | undefined;
  /** Ends the reading. */
  abort: AbortController;
}

/** Who is told. */
export interface Hearer {
  connected(said: Omit<FeedConnected, 'transport'>, cursor: Cursor | undefined): void;
  /** Whether the event was new. */
  event(event: FeedEvent): boolean;
  /** Whether the reset was new. */
  reset(reset: FeedReset): boolean;
  state(state: FeedState): void;
  /** Everything up to here was told. */
  at(cursor: Cursor): void;
}

/** The parameters that both transports have. */
export function query({ rooms, state }: Reading): [string, string][] {
  const named = rooms.map((room): [string, string] => ['room', room]);
  return state === undefined ? named : [...named, ['state', String(state)]];
}
