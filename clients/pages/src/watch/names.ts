/** The names of a room's members: those that the feed tells, and for those who came before it, the server's list. */

import type { Feed } from 'rallypoint-client';
import { type Asking, readRoom } from '../arena/standing.js';
import { labelOf } from './show.js';

/** The list is asked for at most so often, ms: a name that stays unknown must not become a storm. */
const EVERY = 5_000;
const MOST = 500;

export class Names {
  readonly #listed = new Map<string, { peer: string; user: string; name?: string }>();
  #asked = -Infinity;

  constructor(
    readonly feed: Feed,
    readonly room: string,
    readonly asking: Asking,
  ) {}

  /** The name of a peer, or the beginning of its id until it is known. */
  of(peer: string): string {
    const told = this.feed.peers(this.room);
    if (told.has(peer)) return labelOf(peer, told);
    if (!this.#listed.has(peer)) void this.#list();
    return labelOf(peer, this.#listed);
  }

  async #list(): Promise<void> {
    const now = performance.now();
    if (now - this.#asked < EVERY) return;
    this.#asked = now;
    const { members } = (await readRoom(this.room, '/members?limit=100', this.asking)) ?? {};
    if (!Array.isArray(members)) return;
    if (this.#listed.size > MOST) this.#listed.clear();
    for (const member of members) this.#listed.set(member.peer, member);
  }
}
