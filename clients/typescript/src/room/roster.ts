/** Who is in a room, and the latest moves of each, as a value: the room says what came, and tells of it. */

import type { IncomingMove } from '../carrier.js';
import type { PeerEntry, StateMove } from '../wire.js';

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

/** Latest moves that are kept of each member; a server keeps 16. */
const STATE_KEYS_MOST = 64;

const sorted = (a: PeerEntry, b: PeerEntry): boolean =>
  (a.order ?? 0) === (b.order ?? 0) ? a.peer > b.peer : (a.order ?? 0) > (b.order ?? 0);

const member = (entry: PeerEntry, you: boolean): Member => ({
  ...entry,
  handle: entry.handle ?? -1,
  label: entry.name ?? entry.user,
  typing: false,
  you,
});

export class Roster {
  /** Ourselves. */
  you = member({ peer: '', user: '' }, true);
  /** By peer id, ourselves included; a new map at each change. */
  all: ReadonlyMap<string, Member> = new Map();
  /** The newest latest move of each of the others, by key. */
  state = new Map<string, Map<number, Move>>();
  /** Peer ids by handle. */
  #peers = new Map<number, string>();

  /** The room as it is: what was known of it counts no more. Without `you` we are who we were. */
  show(you: PeerEntry | undefined, entries: PeerEntry[], state: StateMove[]): void {
    if (you) this.you = member(you, true);
    this.all = new Map();
    this.#peers = new Map();
    this.add([this.you, ...entries.map((entry) => this.#entry(entry))]);
    this.state = new Map();
    for (const move of state) this.keep(this.move({ ...move, reliable: false }));
  }

  /** The others of these, as members. */
  others(entries: PeerEntry[]): Member[] {
    return entries.filter(({ peer }) => peer !== this.you.peer).map((entry) => this.#entry(entry));
  }

  /** An entry of a `presence` is the same for everybody, so who offers has to be told from the order (section 6). */
  #entry(entry: PeerEntry): Member {
    const { polite = sorted(this.you, entry), offers = polite } = entry;
    return member({ ...entry, polite, offers }, false);
  }

  add(members: Member[]): void {
    for (const { handle, peer } of members) this.#peers.set(handle, peer);
    this.all = new Map([...this.all, ...members.map((each) => [each.peer, each] as const)]);
  }

  remove(peers: string[]): void {
    const all = new Map(this.all);
    for (const peer of peers) {
      this.#peers.delete(all.get(peer)?.handle ?? -1);
      all.delete(peer);
      this.state.delete(peer);
    }
    this.all = all;
  }

  /** Takes over what is new about some. Returns the others among them. */
  change(news: (readonly [peer: string | undefined, what: Partial<Member>])[]): Member[] {
    const all = new Map(this.all);
    const others: Member[] = [];
    for (const [peer = '', what] of news) {
      const known = all.get(peer);
      if (!known) continue;
      const changed = { ...known, ...what };
      all.set(peer, changed);
      if (changed.you) this.you = changed;
      else others.push(changed);
    }
    this.all = all;
    return others;
  }

  /** The peer with this handle. */
  peer(handle: number): string | undefined {
    return this.#peers.get(handle);
  }

  move({ from, key, seq, time, reliable, data }: Omit<IncomingMove, 'room'>): Move {
    return { from: this.all.get(this.peer(from) ?? ''), handle: from, key, seq, time, reliable, data };
  }

  /** Keeps a latest move. */
  keep(move: Move): void {
    if (!move.from || move.from.you) return;
    const keys = this.state.get(move.from.peer) ?? new Map<number, Move>();
    this.state.set(move.from.peer, keys);
    // Set anew, so that the first key is the one that moved longest ago.
    keys.delete(move.key);
    keys.set(move.key, move);
    const [oldest] = keys.keys();
    if (keys.size > STATE_KEYS_MOST && oldest !== undefined) keys.delete(oldest);
  }
}
