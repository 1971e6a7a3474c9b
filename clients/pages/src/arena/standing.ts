/** How a room stands, over HTTP: what neither a room nor a feed tells while it goes on. */

import { route } from '../shell/address.js';
import { parts } from '../shell/position.js';

/** A room as it stood a moment ago. */
export interface Stand {
  /** The sequence number of the log's head. */
  seq: number;
  members: number;
  spectators: number;
}

/** How to ask: with which token, and over which line. */
export interface Asking {
  token: () => string;
  ask: typeof fetch;
}

/** Reads one of a room's pages; `undefined` if there is no answer, or none that the token may have. */
export async function readRoom(
  room: string,
  rest: string,
  { token, ask }: Asking,
): Promise<Record<string, unknown> | undefined> {
  try {
    const response = await ask(route(`v1/rooms/${encodeURIComponent(room)}${rest}`), {
      headers: { authorization: `Bearer ${token()}` },
    });
    return response.ok ? await response.json() : undefined;
  } catch {
    // The line is down. Whoever asked goes on without.
    return undefined;
  }
}

/** Asks where the room stands; `undefined` if nobody says. */
export async function standing(room: string, asking: Asking): Promise<Stand | undefined> {
  const { position, members, spectators } = (await readRoom(room, '', asking)) ?? {};
  if (typeof position !== 'string' || typeof members !== 'number' || typeof spectators !== 'number') return undefined;
  return standOf(position, members, spectators);
}

/** How a room stands whose log has come to `position`; `undefined` if that is none. */
export function standOf(position: string, members: number, spectators: number): Stand | undefined {
  const seq = parts(position)?.seq;
  return seq === undefined ? undefined : { seq, members, spectators };
}
