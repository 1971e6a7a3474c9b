/** What a room's pages over HTTP tell beside its feed: the names of those who were there before, and where its log stands. */

import type { Feed } from 'rallypoint-client';
import { route } from '../shell/address.js';
import { labelOf } from './show.js';
import { parts } from './tally.js';

/** The list is asked for at most so often, ms: a name that stays unknown must not become a storm. */
const EVERY = 5_000;
const MOST = 500;

/** A room as it stood a moment ago. */
export interface Stand {
  /** The sequence number of the log's head. */
  seq: number;
  members: number;
  spectators: number;
}

export class Listing {
  readonly #listed = new Map<string, { peer: string; user: string; name?: string }>();
  #asked = -Infinity;

  constructor(readonly feed: Feed, readonly room: string, readonly ask: typeof globalThis.fetch, readonly token: () => string) {}

  /** The name of a peer, or the beginning of its id until it is known. */
  nameOf(peer: string): string {
    const told = this.feed.peers(this.room);
    if (told.has(peer)) return labelOf(peer, told);
    if (!this.#listed.has(peer)) void this.#list();
    return labelOf(peer, this.#listed);
  }

  /** Asks where the room stands; `undefined` if nobody says. */
  async stand(): Promise<Stand | undefined> {
    const { position, members, spectators } = (await this.#get('')) ?? {};
    const seq = typeof position === 'string' ? parts(position)?.seq : undefined;
    if (seq === undefined || typeof members !== 'number' || typeof spectators !== 'number') return undefined;
    return { seq, members, spectators };
  }

  async #list(): Promise<void> {
    const now = performance.now();
    if (now - this.#asked < EVERY) return;
    this.#asked = now;
    const { members } = (await this.#get('/members?limit=100')) ?? {};
    if (!Array.isArray(members)) return;
    if (this.#listed.size > MOST) this.#listed.clear();
    for (const member of members) this.#listed.set(member.peer, member);
  }

  async #get(rest: string): Promise<Record<string, unknown> | undefined> {
    try {
      const url = route(`v1/rooms/${encodeURIComponent(this.room)}${rest}`);
      const response = await this.ask(url, { headers: { authorization: `Bearer ${this.token()}` } });
      return response.ok ? await response.json() : undefined;
    } catch {
      // The line is cut, or the token does not let us see: the feed goes on without.
      return undefined;
    }
  }
}
