/** A room as one of its members sees it. */

import type { Call, CallFlags, CallOptions } from './call.js';
import type { IncomingMove, LostMove } from './carrier.js';
import { Emitter, type Unsubscribe } from './emitter.js';
import { RequestError, UnsupportedError } from './errors.js';
import type { Inside, RoomHost, RoomInside } from './room/inside.js';
import { Roster, type Member, type Move } from './room/roster.js';
import type {
  AppEvent, Author, Joined, LeaveReason, Members, MessageEvent, NodeDown, Ok, PeerEntry, PeerJoined, PeerLeft, Position,
  Presence, Reset, ResetReason, ServerMessage, Signal,
} from './wire.js';

/** Where a move goes, and what it is about. */
export interface MoveOptions {
  /** What the move is about (a ball, a turret), 0 to 65535; of each key the newest counts. Default 0. */
  key?: number;
  /** Only to these members (peer ids). */
  to?: readonly string[] | undefined;
}

/** An event that came late: it happened while we were away. */
export type Late<Event> = Event & { missed: boolean };

/** Why a room does not let us in for now. */
export interface Waiting {
  /** The protocol's number. */
  code: number;
  message: string;
  /** When it is asked for again, Unix ms. */
  retryAt: number;
}

/** What a room tells. */
export interface RoomEvents {
  /**
   * The room is shown: on joining, after every loss, after a reset. Draw what you keep of it anew. `missed`: some of
   * what happened came late, just before.
   */
  shown: { missed: boolean };
  message: Late<MessageEvent>;
  /** An event of the application's own kind. */
  event: Late<AppEvent>;
  'peer-joined': Late<PeerJoined>;
  'peer-left': Late<PeerLeft>;
  presence: Late<Presence>;
  /** A node of a cluster is dead. `peer-left` follows for each of `left`, with the reason `lost`. */
  'node-down': Late<NodeDown>;
  /** Somebody's public state, round trip or typing changed, or who is here. */
  members: ReadonlyMap<string, Member>;
  typing: { peer: string; from: Author; on: boolean };
  move: Move;
  /**
   * Reliable moves of ours may not have arrived, or cannot any more: they had been sent when the session was lost, none
   * of the receivers has come back, or we are out of the room. What was not sent yet at a loss is sent later and not lost.
   */
  lost: { moves: LostMove[]; reason: string };
  /** Some of what happened is no longer known; `shown` follows. */
  reset: { reason: ResetReason };
  /**
   * After a loss the room does not let us in for now: it is full, nobody has opened it yet, the server is busy, …. We are
   * out of it until `shown`, and it is asked for again at `retryAt`; `leave()` ends that.
   */
  waiting: Waiting;
  /** We are out for good: `leave()`, a kick, or a room that does not let us in again. */
  left: { reason: LeaveReason | 'refused'; code: number; message: string };
}

const TYPING_MS = 2_000;
const RECEIVERS_MOST = 64;
/** Signals that wait for a call. */
const SIGNALS_MOST = 256;

const epochOf = (position: Position): string => position.slice(0, position.indexOf('.'));

let insideOf: (room: Room) => RoomInside;

/** The inside of a room, for the rest of the package. */
export const inside = (room: Room): RoomInside => insideOf(room);

/** A room that was joined. It stays the same object over losses; after `left` it is of no more use. */
export class Room extends Emitter<RoomEvents> {
  /** Its name. */
  readonly name: string;
  readonly #roster = new Roster();
  #count = 0;
  #spectators = 0;
  #position: Position = '';
  #left = false;
  #waiting: Waiting | undefined;
  /** What is to be told once somebody can listen. */
  #held: (() => void)[] | undefined = [];
  #missed = false;
  /** What we last gave to `update`. */
  #mine: Record<string, unknown> | undefined;
  #flags: CallFlags | undefined;
  #call: Call | undefined;
  #typedAt = -Infinity;
  #calls = new Set<(what: Inside) => void>();
  #signals: Signal[] = [];
  /** That signals were lost has been told with the room, and need not be told again with the reset that follows. */
  #toldLoss = false;
  readonly #host: RoomHost;
  readonly #inside: RoomInside = {
    signal: async (type, to, data) => void (await this.#request(type, { to, data: data ?? null })),
    listen: (listener) => {
      this.#calls.add(listener);
      listener(this.#picture(false, false));
      for (const signal of this.#signals.splice(0)) listener({ type: 'signal', signal });
      return () => this.#calls.delete(listener);
    },
    flag: (flags) => {
      this.#flags = flags;
      // Lost with the session, it is sent again with the next one.
      void this.#publishState().catch(() => {});
    },
    take: (message, missed) => this.#take(message, missed),
    move: (move) => this.#moved(move),
    lost: (what) => this.#tell('lost', what),
    open: () => {
      const held = this.#held ?? [];
      this.#held = undefined;
      held.forEach((act) => act());
    },
    wait: (why) => {
      this.#waiting = why;
      this.#tell('waiting', why);
    },
    out: (why) => {
      if (this.#left) return;
      this.#left = true;
      this.#waiting = undefined;
      this.#tell('left', why);
      this.#inform({ type: 'out', reason: why.message });
    },
  };

  static {
    insideOf = (room) => room.#inside;
  }

  /** @internal */
  constructor(host: RoomHost, name: string) {
    super();
    this.#host = host;
    this.name = name;
  }

  /** Ourselves. */
  get you(): Member {
    return this.#roster.you;
  }

  /**
   * Who is here, ourselves included, by peer id; of a large room the first hundred and who came since. A new map each
   * time.
   */
  get members(): ReadonlyMap<string, Member> {
    return this.#roster.all;
  }

  /** How many members there are. */
  get count(): number {
    return this.#count;
  }

  /** How many only watch. */
  get spectators(): number {
    return this.#spectators;
  }

  /** Where we stand in the room's log. */
  get position(): Position {
    return this.#position;
  }

  /** The newest latest move of each member (peer id) and key, without ours. */
  get state(): ReadonlyMap<string, ReadonlyMap<number, Move>> {
    return this.#roster.state;
  }

  /** Whether we have left or were put out. */
  get isLeft(): boolean {
    return this.#left;
  }

  /** Why we are out of the room for now; undefined while we are in it. */
  get waiting(): Waiting | undefined {
    return this.#waiting;
  }

  /**
   * Says something in the chat; resolves when it stands in the room's log. @throws {RequestError | LostError |
   * QueueFullError}
   */
  async say(text: string): Promise<Position> {
    // The server takes a message for the end of typing.
    this.#typedAt = -Infinity;
    return ((await this.#request('message', { text })) as Ok).position ?? this.#position;
  }

  /** Tells that a key was pressed; call it at every key, it sends what is needed. */
  typing(): void {
    const now = this.#host.now();
    if (this.#left || now - this.#typedAt < TYPING_MS) return;
    this.#typedAt = now;
    this.#host.hint('typing', { room: this.name });
  }

  /** Publishes an event of the application's own kind. */
  async publish(kind: string, data: unknown): Promise<Position> {
    return ((await this.#request('publish', { kind, data: data ?? null })) as Ok).position ?? this.#position;
  }

  /**
   * Replaces our public state in this room (at most 512 bytes of JSON); a server that was restarted gets it again. While
   * there is a call, its `muted`, `cameraOff` and `sharing` go along, whatever is given here.
   */
  update(state: Record<string, unknown>): Promise<void> {
    this.#mine = state;
    return this.#publishState();
  }

  /**
   * Sends a move of which only the newest counts: a position, an input. False if it goes nowhere: none of `to` is a
   * member (as far as we know), or we have left. @throws {TypeError} for what cannot be encoded
   */
  send(data: unknown, options: MoveOptions = {}): boolean {
    return this.#send(data, options, false);
  }

  /**
   * Sends a move of which every one counts, in order: a turn, a shot. False as with `send`; what is lost later is told by
   * `lost`. @throws {QueueFullError | TypeError}
   */
  sendReliable(data: unknown, options: MoveOptions = {}): boolean {
    return this.#send(data, options, true);
  }

  /** Calls `listener` at each move of another member. */
  onMove(listener: (move: Move) => void, options: { signal?: AbortSignal } = {}): Unsubscribe {
    return this.on('move', listener, options);
  }

  /** Members of a large room, page by page; `after` is the last peer id of the page before. */
  async list(
    options: { after?: string; limit?: number } = {},
  ): Promise<{ members: PeerEntry[]; count: number; next?: string }> {
    const { members, count, next } = (await this.#request('members', { ...options })) as Members;
    return next === undefined ? { members, count } : { members, count, next };
  }

  /**
   * Calls everybody in the room, and whoever comes; resolves once the devices are open or refused. One call a room: a second
   * one replaces the first.
   * @throws {UnsupportedError} without a WebSocket there is no call
   */
  async call(options: CallOptions = {}): Promise<Call> {
    const { client } = this.#host;
    if (client.missing.length) throw new UnsupportedError('a call');
    // Loaded when it is needed: a room without calls costs a page less.
    const { Call } = await import('./call.js');
    this.#assertIn();
    const call = new Call(client, this, this.#inside, options);
    this.#call?.replace();
    this.#call = call;
    return call.begin();
  }

  /** Leaves the room; the session goes on. */
  async leave(): Promise<void> {
    if (this.#left) return;
    // Whoever leaves while away need not wait for the server to see the camera go dark.
    this.#inform({ type: 'out', reason: 'left' });
    // However it goes, we are out.
    await this.#host.leave(this).catch(() => {});
    this.#inside.out({ reason: 'left', code: 0, message: 'left' });
  }

  async #publishState(): Promise<void> {
    const state = { ...this.#mine, ...this.#flags };
    await this.#request('update', { state });
    this.#change([this.you.peer, { state }]);
  }

  #assertIn(): void {
    if (this.#left) throw new RequestError(803, `not in the room ${this.name} any more`);
  }

  async #request(type: string, fields: Record<string, unknown>): Promise<ServerMessage> {
    this.#assertIn();
    return this.#host.request(type, { room: this.name, ...fields });
  }

  #send(data: unknown, { key = 0, to }: MoveOptions, reliable: boolean): boolean {
    if (!Number.isInteger(key) || key < 0 || key > 0xffff) throw new RangeError('the key of a move is 0 to 65535');
    const peers = [...(to ?? [])];
    if (peers.length > RECEIVERS_MOST) throw new RangeError(`at most ${RECEIVERS_MOST} receivers of a move`);
    const handles = () => peers.flatMap((peer) => this.members.get(peer)?.handle ?? []);
    // Nobody of those is here any more.
    if (this.#left || (to && !handles().length)) return false;
    this.#host.move({ room: this.name, key, reliable, to: to && { peers, handles }, data });
    return true;
  }

  #tell<Name extends keyof RoomEvents>(name: Name, event: RoomEvents[Name]): void {
    if (this.#held) this.#held.push(() => this.emit(name, event));
    else this.emit(name, event);
  }

  #inform(what: Inside): void {
    for (const call of [...this.#calls]) call(what);
  }

  #take(message: ServerMessage, missed: boolean): void {
    if (this.#left) return;
    if ('position' in message && message.position && !missed) this.#position = message.position;
    this.#missed ||= missed;
    switch (message.type) {
      case 'joined':
        return this.#shown(message);
      case 'reset':
        this.#tell('reset', { reason: message.reason });
        return this.#shown(message);
      case 'peer-joined':
        this.#came([message.peer], missed, this.#count + 1);
        return this.#tell(message.type, { ...message, missed });
      case 'peer-left':
        if (message.peer.peer === this.you.peer && !missed) {
          const { reason } = message;
          return this.#inside.out({ reason, code: 0, message: `put out of the room: ${reason}` });
        }
        this.#went([message.peer], missed, this.#count - 1);
        return this.#tell(message.type, { ...message, missed });
      case 'presence':
        if (!missed) this.#spectators = message.spectators;
        this.#came(message.joined, missed, message.count);
        this.#went(message.left, missed, message.count);
        return this.#tell(message.type, { ...message, missed });
      case 'node-down': {
        const { room, time, position } = message;
        // Who is told of it lives on another node, and is in the list only because it came over late.
        const left = message.left.filter(({ peer }) => peer !== this.you.peer);
        if (!missed) this.#spectators = message.spectators;
        this.#went(left, missed, message.count);
        this.#tell(message.type, { ...message, missed });
        for (const peer of left) {
          this.#tell('peer-left', { type: 'peer-left', room, time, position, peer, reason: 'lost', missed });
        }
        return;
      }
      case 'message':
        return this.#tell(message.type, { ...message, missed });
      case 'event':
        return this.#tell(message.type, { ...message, missed });
      case 'offer':
      case 'answer':
      case 'ice-candidate':
        return this.#signalled(message);
      case 'typing': {
        const { user = '', name } = this.members.get(message.from) ?? {};
        const from = { peer: message.from, user, ...(name === undefined ? {} : { name }) };
        this.#change([message.from, { typing: message.on }]);
        return this.#tell('typing', { peer: message.from, from, on: message.on });
      }
      case 'peer-updated':
        return this.#change([message.peer, { state: message.state }]);
      case 'latency':
        return this.#change(
          ...message.peers.map(([handle, rtt, jitter]) => [this.#roster.peer(handle), { rtt, jitter }] as const),
        );
    }
  }

  /** The room as it is: what was known of it counts no more. */
  #shown(room: Joined | Reset): void {
    const first = this.#shownAt === '';
    const before = epochOf(this.#shownAt);
    const other = 'you' in room && room.you.peer !== this.you.peer;
    // A room that let us in late knows no more of us than a session that is new.
    const resumed = !this.#waiting && (this.#host.client.session?.resumed ?? true);
    this.#waiting = undefined;
    let lossy: boolean;
    if ('you' in room) {
      this.#spectators = room.spectators;
      lossy = this.#toldLoss = !first && (!resumed || other);
    } else {
      lossy = room.reason === 'lost' && !this.#toldLoss;
      this.#toldLoss = false;
    }
    this.#shownAt = this.#position = room.position;
    this.#count = room.count;
    this.#roster.show('you' in room ? room.you : undefined, room.members, room.state);
    this.#inform(this.#picture(!first && before !== epochOf(room.position), lossy));
    // If a reset follows it would be drawn twice.
    if (!('you' in room) || room.missed) {
      this.#tell('shown', { missed: this.#missed });
      this.#missed = false;
    }
    this.#tell('members', this.members);
    // A session that was lost as a whole took it along.
    if ('you' in room && !first && !resumed && (this.#mine ?? this.#flags)) void this.#publishState().catch(() => {});
  }

  /** Where the room was shown last. */
  #shownAt: Position = '';

  #picture(anew: boolean, lossy: boolean): Inside {
    const members = [...this.members.values()].filter(({ you }) => !you);
    return { type: 'shown', you: this.you, members, anew, lossy };
  }

  #came(entries: PeerEntry[], missed: boolean, count: number): void {
    const others = this.#roster.others(entries);
    if (!missed) {
      this.#count = count;
      this.#roster.add(others);
    }
    for (const peer of others) this.#inform({ type: 'joined', peer, missed });
    if (!missed) this.#tell('members', this.members);
  }

  #went(entries: { peer: string }[], missed: boolean, count: number): void {
    const peers = entries.map(({ peer }) => peer);
    if (!missed) {
      this.#count = count;
      this.#roster.remove(peers);
    }
    for (const peer of peers) {
      this.#signals = this.#signals.filter(({ from }) => from !== peer);
      this.#inform({ type: 'left', peer, missed });
    }
    if (!missed) this.#tell('members', this.members);
  }

  #change(...news: Parameters<Roster['change']>[0]): void {
    // A call that is told of it looks into the room.
    for (const peer of this.#roster.change(news)) this.#inform({ type: 'changed', peer });
    this.#tell('members', this.members);
  }

  #signalled(signal: Signal): void {
    if (this.#calls.size) return this.#inform({ type: 'signal', signal });
    // An offer makes what the peer said before it worthless.
    if (signal.type === 'offer') this.#signals = this.#signals.filter(({ from }) => from !== signal.from);
    this.#signals = [...this.#signals.slice(1 - SIGNALS_MOST), signal];
  }

  #moved(incoming: IncomingMove): void {
    const move = this.#roster.move(incoming);
    if (!move.reliable) this.#roster.keep(move);
    this.#tell('move', move);
  }
}
