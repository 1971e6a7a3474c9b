/**
 * A carrier for guests whose network lets no WebSocket through: it reads its rooms through a feed and speaks by POST.
 *
 * Such a guest is no member: it is not listed, has no peer id (that of `you` is `''`) and no handles (0). It chats,
 * publishes, and reads; what it says comes back through the feed, without a peer id. Signals, moves and public state
 * need a WebSocket.
 */

import type { Carrier, CarrierListener, OutgoingMove } from './carrier.js';
import type { TokenSource } from './client.js';
import type { Env } from './env.js';
import { ClosedError, RequestError, UnsupportedError } from './errors.js';
import { Feed, type FeedConnected, type FeedEvent, type FeedReset, type FeedStatus } from './feed.js';
import type { PollAnswer, Stand } from './feed/polls.js';
import { Posts } from './feed/posts.js';
import { Requests } from './feed/requests.js';
import { covers, hole, Seen } from './feed/seen.js';
import { Tokens } from './feed/tokens.js';
import { messageOf } from './feed/translate.js';
import { claims } from './token.js';
import type { Connected, Cursor, Joined, NotificationMessage, PeerEntry, Position, ResetReason, ServerMessage } from './wire.js';

/** What a fallback is made of. */
export interface FallbackOptions {
  env: Env;
  url: string | URL;
  token: TokenSource;
  /** What may be tried, SSE first. */
  transports: readonly ('events' | 'poll')[];
  listener: CarrierListener;
  signal?: AbortSignal | undefined;
  /** How many messages may wait to be sent. */
  queue?: number | undefined;
  /** Where the user's own log stood on another way to the server. */
  notifications?: Position | undefined;
}

/** A feed reads so many rooms. */
const ROOMS = 16;
/** Events of a room that may wait until the room is shown. */
const HELD = 1024;
/** How many missed events are read when a room is joined with a position. */
const MISSED = 4096;
const FORBIDDEN = 705;
const ROOM_UNKNOWN = 802;
/** How many members are listed when a room is shown. */
const LISTED = 500;

/** A room that was joined. */
interface Place {
  /** Ends what is asked for the room. */
  abort: AbortController;
  /** What came before the room is shown. */
  held: FeedEvent[] | undefined;
  /** The place is to be shown as it is after this: what came up to here is no longer told one by one. */
  spilled: Position;
  /** Ids of the members, as far as they were told. */
  peers: Set<string>;
  /** Whether all of them were. */
  isWhole: boolean;
  /** How far what comes was missed. */
  head: Position;
}

/** A page of members. */
interface Page {
  members: PeerEntry[];
  count: number;
  next?: string;
}

export class Fallback implements Carrier {
  readonly #options: FallbackOptions;
  readonly #listener: CarrierListener;
  readonly #tokens: Tokens;
  readonly #requests: Requests;
  readonly #posts: Posts;
  readonly #abort = new AbortController();
  readonly #rooms = new Map<string, Place>();
  /** What was told of each room. */
  readonly #told = new Seen();
  /** What waits for a way to the server. */
  readonly #waiting: { resolve(): void; reject(fault: unknown): void }[] = [];
  #feed: Feed;
  /** Where the user's own log stood elsewhere, until the first notification after it. */
  #notified: Position | undefined;
  #wasConnected = false;
  #isOver = false;

  constructor(options: FallbackOptions) {
    const { env, url, token, listener, signal, queue = 256, notifications } = options;
    this.#options = options;
    this.#listener = listener;
    this.#tokens = new Tokens(env, token);
    this.#requests = new Requests(env, new URL(url), this.#tokens);
    this.#posts = new Posts(this.#requests, queue);
    this.#notified = notifications;
    // A feed begins at the end of the user's own log, or at its oldest kept event.
    this.#feed = this.#begin(notifications && '0');
    signal?.addEventListener('abort', () => this.close(), { signal: this.#abort.signal });
    // Whoever makes a carrier is told nothing before it has it.
    if (signal?.aborted) queueMicrotask(() => this.close());
  }

  async join(room: string, since?: Position): Promise<Joined> {
    if (this.#rooms.has(room)) throw new RequestError(804, `the room ${room} was joined already`);
    if (this.#rooms.size >= ROOMS) throw new RequestError(902, `at most ${ROOMS} rooms without a WebSocket`);
    const place: Place = {
      abort: new AbortController(), held: [], spilled: '', peers: new Set(), isWhole: false, head: '',
    };
    this.#abort.signal.throwIfAborted();
    this.#rooms.set(room, place);
    try {
      // A feed is refused as a whole if one of its rooms is, so this room is asked for alone.
      await this.#requests.ask({ path: ['rooms', room], except: ROOM_UNKNOWN }, place.abort.signal);
      await this.#feed.follow([...this.#rooms.keys()]);
      place.abort.signal.throwIfAborted();
      return await this.#show(room, place, since);
    } catch (fault) {
      if (this.#rooms.get(room) === place) this.#drop(room, fault);
      throw fault;
    }
  }

  leave(room: string): Promise<void> {
    if (!this.#rooms.has(room)) return Promise.reject(notJoined(room));
    this.#drop(room, notJoined(room));
    return Promise.resolve();
  }

  async request(type: string, fields: Record<string, unknown>): Promise<ServerMessage> {
    const { room, text, kind, data, after, limit } = fields;
    if (type !== 'message' && type !== 'publish' && type !== 'members') throw new UnsupportedError(type);
    const place = this.#rooms.get(String(room));
    if (typeof room !== 'string' || !place) throw notJoined(String(room));
    if (type === 'members') {
      if (fields['handles']) throw new UnsupportedError('a member by handle');
      const given = Object.entries({ after, limit }).filter(([, value]) => value !== undefined);
      const query = given.map(([name, value]): [string, string] => [name, String(value)]);
      const page = await this.#requests.ask({ path: ['rooms', room, type], query }, place.abort.signal);
      return { type, re: 0, room, ...(page as Page) };
    }
    const body = type === 'message' ? { kind: 'message', data: { text } } : { kind: String(kind), data };
    const position = await this.#posts.say(room, body, () => this.#ready(), this.#abort.signal);
    return { type: 'ok', re: 0, position };
  }

  /** Nothing that has no answer goes by POST: it is of no use later. */
  hint(): void {}

  move(_move: OutgoingMove): void {
    throw new UnsupportedError('a move');
  }

  close(): void {
    this.#isOver = true;
    this.#feed.close();
  }

  #begin(after: Cursor | undefined): Feed {
    const { env, url, token, transports } = this.#options;
    const start = { url, token, transports, rooms: [...this.#rooms.keys()], ...(after !== undefined && { after }) };
    const feed = new Feed(start, { env, tokens: this.#tokens });
    feed.on('status', (status) => this.#status(feed, status));
    feed.on('connected', ({ rooms }) => this.#heads(rooms));
    feed.on('event', (event) => this.#hear(event));
    feed.on('reset', (reset) => this.#reset(reset));
    return feed;
  }

  #status(feed: Feed, status: FeedStatus): void {
    const { state, transport, reason, code, retryAt } = status;
    if (state === 'connected') {
      this.#listener.message(this.#connected(), false);
      this.#wasConnected = true;
      this.#listener.status({ state, transport, reason, code });
      this.#waiting.splice(0).forEach(({ resolve }) => resolve());
    } else if (state !== 'closed') {
      this.#listener.status({ state, reason, code, retryAt });
    } else if (code === FORBIDDEN && this.#rooms.size) {
      void this.#putOut().then((isOut) => {
        if (isOut && !this.#isOver) this.#feed = this.#begin(feed.cursor);
        else this.#end(code, reason);
      });
    } else {
      this.#end(code, reason);
    }
  }

  #end(code: number, reason: string): void {
    const fault = new ClosedError(code, reason);
    this.#abort.abort(fault);
    for (const { abort } of this.#rooms.values()) abort.abort(fault);
    this.#waiting.splice(0).forEach(({ reject }) => reject(fault));
    this.#listener.status({ state: 'closed', reason, code, action: 'stop' });
  }

  /** Once there is a way to the server: before that, words could be in vain for longer than they may be repeated. */
  #ready(): Promise<void> {
    this.#abort.signal.throwIfAborted();
    if (this.#feed.status.state === 'connected') return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** A token that lost a room is refused for all of them: the rooms that it may not read are left. */
  async #putOut(): Promise<boolean> {
    let isOut = false;
    const look = async ([room, place]: [string, Place]) => {
      try {
        await this.#requests.ask({ path: ['rooms', room], except: ROOM_UNKNOWN }, place.abort.signal);
      } catch (fault) {
        if (!(fault instanceof RequestError) || fault.code !== FORBIDDEN || this.#rooms.get(room) !== place) return;
        isOut = true;
        this.#out(room, fault);
      }
    };
    await Promise.all([...this.#rooms].map(look));
    return isOut;
  }

  #out(room: string, fault: RequestError): void {
    this.#drop(room, fault);
    this.#listener.out(room, { code: fault.code, message: fault.message });
  }

  #drop(room: string, why: unknown): void {
    this.#rooms.get(room)?.abort.abort(why);
    this.#rooms.delete(room);
    this.#told.forget(room);
    void this.#feed.follow([...this.#rooms.keys()]).catch(() => {});
  }

  #heads(rooms: FeedConnected['rooms']): void {
    for (const { room, position } of rooms) {
      const place = this.#rooms.get(room);
      if (place) place.head = position;
    }
  }

  #hear(event: FeedEvent): void {
    const message = messageOf(event);
    const { room, position } = event;
    if (message.type === 'notification') return this.#notice(room, message);
    const place = this.#rooms.get(room);
    if (!place) return;
    if (place.held) {
      place.held.push(event);
      if (place.held.length > HELD) place.spilled = place.held.shift()?.position ?? '';
      return;
    }
    if (!this.#told.isNew(room, position)) return;
    const { peers } = place;
    // The list of members is read a little later than the place in the log from which events are told.
    if (message.type === 'peer-joined') {
      if (peers.has(message.peer.peer)) return;
      peers.add(message.peer.peer);
    } else if (message.type === 'peer-left') {
      if (!peers.delete(message.peer.peer) && place.isWhole) return;
    } else if (message.type === 'presence') {
      message.joined.forEach(({ peer }) => peers.add(peer));
      message.left.forEach(({ peer }) => peers.delete(peer));
    } else if (message.type === 'node-down') {
      message.left.forEach(({ peer }) => peers.delete(peer));
    }
    this.#listener.message(message, covers(place.head, position));
  }

  #notice(room: string, message: NotificationMessage): void {
    const { position } = message;
    const stood = this.#notified;
    if (stood !== undefined) {
      if (covers(stood, position)) return;
      this.#notified = undefined;
      const reason = hole(stood, position);
      if (reason) this.#listener.message({ type: 'reset', room, reason, position, members: [], count: 0, state: [] }, false);
    }
    this.#listener.message(message, false);
  }

  #reset({ room, reason, position, count }: FeedReset): void {
    const place = this.#rooms.get(room);
    if (place?.held) {
      // It is about to be shown, and must be shown as it is after this.
      place.spilled = position;
    } else if (place) {
      place.held = [];
      place.spilled = position;
      void this.#anew(room, place, reason);
    } else if (room.startsWith('user/')) {
      this.#notified = undefined;
      this.#listener.message({ type: 'reset', room, reason, position, members: [], count, state: [] }, false);
    }
  }

  async #anew(room: string, place: Place, reason: ResetReason): Promise<void> {
    try {
      const { stand, members } = await this.#look(room, place);
      const { position, members: count } = stand;
      this.#listener.message({ type: 'reset', room, reason, position, members, count, state: [] }, false);
      this.#release(room, place, position);
    } catch (fault) {
      if (fault instanceof RequestError && this.#rooms.get(room) === place) this.#out(room, fault);
    }
  }

  /** Tells the room as it is, after what was missed of it, and then what came meanwhile. */
  async #show(room: string, place: Place, since: Position | undefined): Promise<Joined> {
    const { stand, members } = await this.#look(room, place);
    const { position, members: count, spectators } = stand;
    const missed = since === undefined ? [] : await this.#missed(room, place, since, position);
    if (typeof missed !== 'string') missed.forEach((event) => this.#listener.message(messageOf(event), true));
    const joined: Joined = {
      type: 'joined', re: null, room, handle: 0, you: this.#you(), members, count, spectators, position, state: [],
      ...(typeof missed === 'string' ? {} : { missed: [] }),
    };
    this.#listener.message(joined, false);
    if (typeof missed === 'string') {
      this.#listener.message({ type: 'reset', room, reason: missed, position, members, count, state: [] }, false);
    }
    this.#release(room, place, position);
    return joined;
  }

  #release(room: string, place: Place, position: Position): void {
    this.#told.reset(room, position, 'lost');
    const { held = [] } = place;
    place.held = undefined;
    for (const event of held) this.#hear(event);
  }

  /** The room as it is, not older than what can no longer be told of it, and its members if the token may list them. */
  async #look(room: string, place: Place): Promise<{ stand: Stand; members: PeerEntry[] }> {
    const { signal } = place.abort;
    for (;;) {
      const stand = (await this.#requests.ask({ path: ['rooms', room] }, signal)) as Stand;
      const path = ['rooms', room, 'members'];
      const query: [string, string][] = [['limit', String(LISTED)]];
      const page = (await this.#requests.ask({ path, query, except: FORBIDDEN }, signal)) as Page | undefined;
      signal.throwIfAborted();
      if (place.spilled !== stand.position && covers(place.spilled, stand.position)) continue;
      const members = page?.members ?? [];
      place.peers = new Set(members.map(({ peer }) => peer));
      place.isWhole = page !== undefined && page.next === undefined;
      return { stand, members };
    }
  }

  /** The events after `since` up to `until`, or why they cannot be told. */
  async #missed(room: string, place: Place, since: Position, until: Position): Promise<FeedEvent[] | ResetReason> {
    const missed: FeedEvent[] = [];
    for (let from: [string, string] = ['since', `${room}:${since}`]; missed.length < MISSED; ) {
      const query: [string, string][] = [['room', room], ['wait', '0'], from];
      const answer = (await this.#requests.ask({ path: ['poll'], query }, place.abort.signal)) as PollAnswer;
      place.abort.signal.throwIfAborted();
      const hole = answer.reset?.find((reset) => reset.room === room);
      if (hole) return hole.reason;
      const events = answer.events.filter((event) => event.room === room);
      missed.push(...events.filter(({ position }) => covers(until, position)));
      const last = events.at(-1);
      if (!last || covers(last.position, until)) return missed;
      from = ['after', answer.cursor];
    }
    return 'too-many';
  }

  #you(): PeerEntry {
    const { sub, name, info } = claims(this.#tokens.kept ?? '') ?? {};
    return {
      peer: '', handle: 0, user: String(sub ?? ''), polite: false, offers: false,
      ...(typeof name === 'string' && { name }),
      ...(info !== undefined && { info }),
    };
  }

  /** What a session would have been told. The bounds are the server's usual ones. */
  #connected(): Connected {
    const limits = { frame: 65_536, move: 0, text: 4096, signal: 0, state: 0, rooms: ROOMS };
    return {
      type: 'connected', peer: '', session: '', resumed: this.#wasConnected, time: this.#options.env.now(),
      heartbeat: 15_000, limits, notifications: '',
    };
  }
}

function notJoined(room: string): RequestError {
  return new RequestError(803, `the room ${room} is not joined`);
}
