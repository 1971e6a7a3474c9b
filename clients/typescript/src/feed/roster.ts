/** Who is in the rooms of a feed, as far as its events tell. */

import type { FeedEvent } from '../feed.js';
import type { PeerEntry } from '../wire.js';

/** How many names of a room are kept. */
const MOST = 1024;

export class Roster {
  readonly #rooms = new Map<string, Map<string, PeerEntry>>();

  of(room: string): ReadonlyMap<string, PeerEntry> {
    return this.#rooms.get(room) ?? new Map();
  }

  forget(room: string): void {
    this.#rooms.delete(room);
  }

  /** Learns from an event. Its shape is the server's for these kinds, and the application's for all others. */
  hear({ room, kind, from, data }: FeedEvent): void {
    if (kind === 'peer-joined') {
      this.#add(room, (data as { peer: PeerEntry }).peer);
    } else if (kind === 'peer-left') {
      this.#rooms.get(room)?.delete((data as { peer: PeerEntry }).peer.peer);
    } else if (kind === 'presence' || kind === 'node-down') {
      const { joined = [], left } = data as { joined?: PeerEntry[]; left: PeerEntry[] };
      joined.forEach((peer) => this.#add(room, peer));
      left.forEach(({ peer }) => this.#rooms.get(room)?.delete(peer));
    } else if (from?.peer !== undefined && !this.#rooms.get(room)?.has(from.peer)) {
      this.#add(room, { ...from, peer: from.peer });
    }
  }

  #add(room: string, peer: PeerEntry): void {
    const peers = this.#rooms.get(room) ?? new Map<string, PeerEntry>();
    this.#rooms.set(room, peers);
    peers.delete(peer.peer);
    peers.set(peer.peer, peer);
    const [oldest] = peers.keys();
    if (peers.size > MOST && oldest !== undefined) peers.delete(oldest);
  }
}
