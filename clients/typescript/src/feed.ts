/** A feed: rooms as a spectator reads them, over Server-Sent Events or long poll, and one's own notifications. */

import { jitter } from './backoff.js';
import type { Internals, TokenReason, TokenSource } from './client.js';
import { Emitter } from './emitter.js';
import { surroundings, type Env } from './env.js';
import { ClosedError, RallypointError, TokenRefused } from './errors.js';
import { Backlog } from './feed/backlog.js';
import { readEvents } from './feed/events.js';
import { remedy } from './feed/http.js';
import { Blocked, pause } from './feed/pause.js';
import { readPolls } from './feed/polls.js';
import type { Hearer, Reading } from './feed/reader.js';
import { Roster } from './feed/roster.js';
import { Seen } from './feed/seen.js';
import { Tokens } from './feed/tokens.js';
import { addressIn, tokenIn } from './given.js';
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
  /** `message`, `peer-joined`, `peer-left`, `presence`, `node-down`, `notification`, or the application's own. */
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

/** How a feed travels. */
type FeedTransport = 'events' | 'poll';

/** What tests and the rest of the package give beside the options. */
interface FeedInternals extends Internals {
  /** Tokens that are asked for elsewhere, too. */
  tokens?: Tokens;
}

/** How soon, on average, a feed that polls tries the stream again, ms; and at the soonest, when the page is woken. */
const RETURN = 300_000;
const RETURN_SOONEST = 30_000;
/** A connection that held so long, ms, was a good one: what failed before it no longer counts. */
const HELD = 5_000;
/** How many attempts without any answer before the other transport has a try. */
const PATIENT = 3;

/** The longest wait that a server may ask for, ms. */
const LONGEST_REST = 600_000;
/** Error 700, for a feed that never had a token. */
const TOKEN_MISSING = 700;

/** Why a reading is ended from here: the next one begins at once. */
const MOVED = new Error('the feed goes on in another way');

/**
 * Rooms as a spectator reads them. It comes back by itself and goes on where it was, over either transport: one cursor
 * counts for both.
 *
 * `for await (const event of feed)` reads the events from there on. Up to 1024 events wait for a reader; above that the
 * oldest give way, and the reader is told by an event of kind `reset` for each room, whose `data` is
 * `{room, reason: 'too-many', position, dropped}`. Holes that the server cannot fill are events of kind `reset`, too,
 * with a {@link FeedReset} as `data`. The reading ends with the feed; if the server refused to go on, it throws a
 * {@link ClosedError}.
 */
export class Feed extends Emitter<FeedEvents> implements AsyncIterable<FeedEvent> {
  readonly #env: Env;
  readonly #url: URL;
  readonly #state: number | undefined;
  readonly #transports: readonly FeedTransport[];
  readonly #tokens: Tokens;
  readonly #backlogs = new Set<Backlog>();
  readonly #roster = new Roster();
  readonly #seen = new Seen();
  /** What ends whatever is read or waited for. */
  readonly #aborts = new Set<AbortController>();
  #rooms: readonly string[];
  #cursor: Cursor | undefined;
  /** Attempts in vain since a connection held. */
  #tries = 0;
  #transport: FeedTransport;
  #status: FeedStatus;
  /** When the present connection was made. */
  #since: number | undefined;
  /** A stream that took over from the polls. */
  #handed: Promise<never> | undefined;
  #followers: { resolve(): void; reject(fault: unknown): void }[] = [];
  /** How the feed ended. */
  #ended: ClosedError | undefined;
  /** The same, if nobody asked it to. */
  #fault: ClosedError | undefined;

  /** `watch` makes one. */
  constructor(options: WatchOptions, { env, tokens }: FeedInternals = {}) {
    super();
    const { url, token, rooms = [], state, after, transports = ['events', 'poll'], signal } = options;
    this.#env = env ?? surroundings(options);
    this.#url = new URL(url);
    this.#tokens = tokens ?? new Tokens(this.#env, token);
    this.#rooms = [...rooms];
    this.#state = state;
    this.#cursor = after;
    this.#transports = transports;
    this.#transport = transports.includes('events') ? 'events' : 'poll';
    this.#status = { state: 'connecting', transport: this.#transport, reason: 'Connecting.', code: 0 };
    const abort = () => this.close();
    signal?.addEventListener('abort', abort, { once: true });
    void this.#run(signal?.aborted ?? false).finally(() => signal?.removeEventListener('abort', abort));
  }

  get status(): FeedStatus {
    return this.#status;
  }

  /** Where the feed stands; hand it back as `after`. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  /** The rooms that are followed. */
  get rooms(): readonly string[] {
    return this.#rooms;
  }

  /**
   * Names of those who are members of a room, as far as the feed told: by peer id. Of a large room those who were heard
   * of last.
   */
  peers(room: string): ReadonlyMap<string, PeerEntry> {
    return this.#roster.of(room);
  }

  /**
   * Follows these rooms from now on, in place of those before. A room that is new begins at its present end; the others
   * go on where they are. Resolves when the server was told, rejects with a {@link ClosedError} if it ends before.
   */
  follow(rooms: readonly string[]): Promise<void> {
    for (const room of this.#rooms) {
      if (rooms.includes(room)) continue;
      this.#roster.forget(room);
      this.#seen.forget(room);
    }
    this.#rooms = [...rooms];
    const followed = new Promise<void>((resolve, reject) => {
      if (this.#ended) reject(this.#ended);
      else this.#followers.push({ resolve, reject });
    });
    // Who does not wait for it hears of the end by the status.
    followed.catch(() => {});
    this.#move();
    return followed;
  }

  [Symbol.asyncIterator](): AsyncIterator<FeedEvent> {
    const backlog = new Backlog((gone) => this.#backlogs.delete(gone));
    if (this.#ended) backlog.end(this.#fault);
    else this.#backlogs.add(backlog);
    return backlog;
  }

  close(): void {
    this.#end('Closed.', 0, false);
  }

  /** Reads until the end, over one transport after the other. */
  async #run(isOver: boolean): Promise<void> {
    if (isOver) return this.close();
    let why: TokenReason['why'] = 'first';
    // The refusal for which another token was asked for, until a connection has held.
    let refused = 0;
    // Attempts to which nothing answered.
    let unanswered = 0;
    while (!this.#ended) {
      const handed = this.#handed;
      this.#handed = undefined;
      if (!handed) this.#since = undefined;
      let fault: unknown;
      try {
        await (handed ?? this.#read(this.#transport, this.#tokens.ask(why)));
      } catch (caught) {
        fault = caught;
      }
      if (this.#ended) return;
      why = 'again';
      if (fault === MOVED) continue;
      const isNews = this.#since === undefined;
      if (this.#since !== undefined && this.#env.now() - this.#since > HELD) {
        this.#tries = 0;
        refused = 0;
      }
      const { code, message, retryAfter } = known(fault);
      if (fault instanceof TokenRefused) return this.#end(message, refused || TOKEN_MISSING, true);
      const what = remedy(fault);
      const other = this.#transport === 'events' ? 'poll' : 'events';
      const mayChange = this.#transports.includes(other);
      if (mayChange && other === 'poll' && (fault instanceof Blocked || (what === 'stop' && !code))) {
        this.#transport = other;
        this.#tell({ state: 'reconnecting', reason: `${message}: polling instead`, code });
        continue;
      }
      if (what === 'stop') return this.#end(message, code, true);
      if (what === 'token') {
        if (refused && isNews) return this.#end(message, code, true);
        why = 'expired';
        const isFirst = !refused;
        refused = code;
        if (isFirst) {
          this.#tell({ state: 'reconnecting', reason: message, code });
          continue;
        }
      }
      // It may be that only this transport gets no answer.
      unanswered = isNews && !code ? unanswered + 1 : 0;
      if (mayChange && unanswered && unanswered % PATIENT === 0) this.#transport = other;
      await this.#rest(message, code, Math.min(retryAfter ?? 0, LONGEST_REST));
    }
  }

  async #rest(reason: string, code: number, floor: number): Promise<void> {
    const abort = new AbortController();
    const ms = floor + jitter(this.#tries++, this.#env.random());
    this.#aborts.add(abort);
    this.#tell({ state: 'reconnecting', reason, code, retryAt: this.#env.now() + ms });
    await pause(this.#env, ms, abort.signal, floor);
    this.#aborts.delete(abort);
  }

  /** One connection, or a row of polls, until it fails. */
  async #read(
    transport: FeedTransport,
    token: Promise<string>,
    abort = new AbortController(),
    greeted = () => {},
  ): Promise<never> {
    const isMain = transport === this.#transport;
    const cursor = this.#cursor;
    const rooms = this.#rooms;
    this.#aborts.add(abort);
    try {
      await token;
      if (abort.signal.aborted) throw abort.signal.reason;
      const reading: Reading = {
        env: this.#env, url: this.#url, rooms, state: this.#state, cursor, abort, token: () => this.#tokens.get(),
      };
      const hearer: Hearer = {
        connected: (said, at) => {
          greeted();
          // While a stream takes over from the polls, these may have read on.
          if (at !== undefined && this.#cursor === cursor) this.#cursor = at;
          this.#connected({ ...said, transport });
        },
        event: (event) => this.#hear(event),
        reset: (reset) => this.#reset(reset),
        state: (state) => this.#ended || this.emit('state', state),
        at: (at) => (this.#cursor = at),
      };
      if (isMain && transport === 'poll' && this.#transports.includes('events')) void this.#return(abort.signal);
      return await (transport === 'events' ? readEvents : readPolls)(reading, hearer);
    } finally {
      this.#aborts.delete(abort);
    }
  }

  /** Tries the stream again, while the polls go on, until it takes over from them. */
  async #return(polls: AbortSignal): Promise<void> {
    for (;;) {
      await pause(this.#env, RETURN * (0.75 + this.#env.random() / 2), polls, RETURN_SOONEST);
      if (polls.aborted) return;
      const abort = new AbortController();
      const drop = () => abort.abort(MOVED);
      polls.addEventListener('abort', drop);
      const reading = this.#read('events', this.#tokens.get(), abort, () => {
        polls.removeEventListener('abort', drop);
        this.#transport = 'events';
        this.#handed = reading;
        this.#move(abort);
      });
      await reading.catch(() => {});
      polls.removeEventListener('abort', drop);
    }
  }

  /** Ends what is read or waited for, but not `kept`, so that it is begun anew. */
  #move(kept?: AbortController): void {
    for (const abort of [...this.#aborts]) if (abort !== kept) abort.abort(MOVED);
  }

  #connected(said: FeedConnected): void {
    if (this.#ended) return;
    this.#since = this.#env.now();
    this.#tell({ state: 'connected', reason: 'Connected.', code: 0 });
    this.emit('connected', said);
    this.#followers.splice(0).forEach(({ resolve }) => resolve());
  }

  #hear(event: FeedEvent): boolean {
    if (this.#ended || !this.#seen.isNew(event.room, event.position)) return false;
    this.#roster.hear(event);
    this.emit('event', event);
    this.#backlogs.forEach((backlog) => backlog.push(event));
    return true;
  }

  #reset(reset: FeedReset): boolean {
    const { room, reason, position } = reset;
    if (this.#ended || !this.#seen.reset(room, position, reason)) return false;
    this.#roster.forget(room);
    this.emit('reset', reset);
    const event: FeedEvent = { room, position, kind: 'reset', time: this.#env.now(), data: reset };
    this.#backlogs.forEach((backlog) => backlog.push(event));
    return true;
  }

  #tell(status: Omit<FeedStatus, 'transport'>): void {
    const { state, transport } = this.#status;
    // Two connections without a loss between them are nothing new.
    const isSame = state === 'connected' && status.state === 'connected' && transport === this.#transport;
    this.#status = { ...status, transport: this.#transport };
    if (!isSame) this.emit('status', this.#status);
  }

  #end(reason: string, code: number, isFault: boolean): void {
    if (this.#ended) return;
    this.#ended = new ClosedError(code, reason);
    if (isFault) this.#fault = this.#ended;
    this.#move();
    this.#followers.splice(0).forEach(({ reject }) => reject(this.#ended));
    this.#backlogs.forEach((backlog) => backlog.end(this.#fault));
    this.#backlogs.clear();
    this.#tell({ state: 'closed', reason, code });
  }
}

function known(fault: unknown): RallypointError {
  if (fault instanceof RallypointError) return fault;
  return new RallypointError(0, fault instanceof Error ? fault.message : String(fault));
}

/** Follows rooms as a spectator. @throws {TypeError} if `url` is no address or there is no `token` */
export function watch(options: WatchOptions, internals: Internals = {}): Feed {
  const { url, token } = options;
  const source: TokenSource = typeof token === 'function' ? async (why) => tokenIn(await token(why), 'the token source gave no token') : tokenIn(token);
  return new Feed({ ...options, url: addressIn(url), token: source }, internals);
}
