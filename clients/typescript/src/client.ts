/** A client: one session with a server, over whatever the network lets through. */

import type { Carrier, CarrierListener, Status, TransportName } from './carrier.js';
import { Clock } from './clock.js';
import { Emitter } from './emitter.js';
import { surroundings, type Env } from './env.js';
import { ClosedError } from './errors.js';
import type { FallbackOptions } from './fallback.js';
import { addressIn, tokenIn } from './given.js';
import { Later, loadFallback } from './later.js';
import { inside, Room } from './room.js';
import type { RoomHost } from './room/inside.js';
import { json, msgpack, type Codec } from './socket/codec.js';
import { socketTo, WebSocketCarrier } from './socket/socket.js';
import type { Connected, IceServer, Position, Reset, ServerMessage } from './wire.js';

export { TokenRefused } from './errors.js';

/** Why a token is asked for. */
export interface TokenReason {
  /** `first` connection, coming back (`again`), because the last one is about to end or has (`expired`). */
  why: 'first' | 'again' | 'expired';
}

/** An access token, or where to get one. A function is asked before every connection and before a token ends. */
export type TokenSource = string | ((reason: TokenReason) => string | Promise<string>);

/** How to connect. */
export interface ConnectOptions {
  /** The server's address (http or https), such as `https://rally.example/`; a path before `v1/` is kept. */
  url: string | URL;
  token: TokenSource;
  /** Ends the client when it aborts, as `close()` does. */
  signal?: AbortSignal;
  /** `msgpack` (default: moves are a few bytes) or `json` (readable in the browser's tools). */
  encoding?: 'msgpack' | 'json';
  /** What may be tried, in this order. Default: `websocket`, `events`, `poll`. */
  transports?: readonly TransportName[];
  /**
   * Requests that wait to be sent, and of each room reliable moves that wait or may not have arrived yet, while away and
   * in a burst; what is above it is refused. Default 256.
   */
  queue?: number;
  /** A WebSocket class where there is none: that of the package `ws` for Node 20. */
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
export interface Internals {
  env?: Env;
  fallback?: (options: FallbackOptions) => Carrier;
}

const NOTIFICATIONS_MOST = 256;
/** Credentials that end sooner are not worth beginning a call with. */
const ICE_MARGIN_MS = 60_000;
/** Attempts to open a first WebSocket before something else is tried. */
const ATTEMPTS_MOST = 2;
/** How often a WebSocket is tried again meanwhile, half of it more or less. */
const RETRY_MS = 60_000;
/** The longest time that an answer is waited for. */
const DEADLINE_MS = 15_000;

/** What cannot be done without a WebSocket. */
const MISSING = ['calls', 'moves', 'typing', 'being listed as a member'] as const;

/**
 * One session with a server. It comes back by itself after a loss, as the same peer where the server still knows it,
 * and repeats what had no answer: nothing is carried out twice, and what cannot be known to have arrived rejects.
 */
export class Client extends Emitter<ClientEvents> {
  /** Resolves at the first connection; rejects with a `ClosedError` if the client stops before. */
  readonly ready: Promise<void>;
  #status: Status = { state: 'connecting', reason: 'Connecting.', code: 0 };
  #session: Connected | undefined;
  /** Where the user's own log stands, for the next carrier. */
  #notified: Position | undefined;
  #token = '';
  #carrier: Carrier;
  /** Which carrier may speak: one that was given up says nothing more, and none does after the end. */
  #turn = {};
  #fallen = false;
  #looking = false;
  readonly #clock = new Clock();
  readonly #rooms = new Map<string, Room>();
  /** Rooms that are being joined. */
  readonly #joining = new Map<string, { room: Room; joined: Promise<Room> }>();
  readonly #env: Env;
  readonly #url: URL;
  readonly #options: ConnectOptions;
  /** What is left where no WebSocket gets through. */
  readonly #others: FallbackOptions['transports'];
  readonly #fallback: (options: FallbackOptions) => Carrier;
  /** Whether its code could be had. */
  readonly #load: () => Promise<unknown>;
  readonly #host: RoomHost;

  /** @internal */
  constructor(options: ConnectOptions, internals: Internals) {
    super();
    const { url, token, signal, transports = ['websocket', 'events', 'poll'] } = options;
    const source: TokenSource = typeof token === 'function'
      ? async (why) => (this.#token = tokenIn(await token(why), 'the token source gave no token'))
      : (this.#token = tokenIn(token));
    this.#options = { ...options, token: source };
    this.#env = internals.env ?? surroundings(options, transports.includes('websocket'));
    this.#url = addressIn(url);
    this.#others = transports.filter((name) => name !== 'websocket');
    this.#fallback = internals.fallback ?? ((given) => new Later(given));
    this.#load = internals.fallback ? () => Promise.resolve() : loadFallback;
    this.#host = {
      client: this,
      now: () => this.#env.now(),
      request: (type, fields) => this.#through((carrier) => carrier.request(type, fields)),
      hint: (type, fields) => this.#carrier.hint(type, fields),
      move: (move) => this.#carrier.move(move),
      leave: (room) => {
        this.#rooms.delete(room.name);
        return this.#carrier.leave(room.name);
      },
    };
    const abort = (): void => this.close();
    this.ready = new Promise((resolve, reject) => {
      this.on('status', ({ state, code, reason }) => {
        if (state === 'connected') resolve();
        if (state !== 'closed') return;
        signal?.removeEventListener('abort', abort);
        reject(new ClosedError(code, reason));
      });
    });
    // Whoever does not wait for it learns of the end by `status`.
    this.ready.catch(() => {});
    this.#carrier = this.#make(transports.includes('websocket') ? 'websocket' : 'fallback');
    // Nothing is told before whoever connects could begin to listen.
    const carrier = this.#carrier;
    queueMicrotask(() => carrier instanceof WebSocketCarrier && carrier.start());
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
  }

  /** Where the client stands. */
  get status(): Status {
    return this.#status;
  }

  /** What the server said at the last connection: the peer id, limits, ICE servers. */
  get session(): Connected | undefined {
    return this.#session;
  }

  /** What the present way to the server cannot carry, in words: `[]` over a WebSocket. */
  get missing(): readonly string[] {
    return this.#fallen ? MISSING : [];
  }

  /** The rooms that were joined and not left, by name. */
  get rooms(): ReadonlyMap<string, Room> {
    return this.#rooms;
  }

  /** Round trip to the server, ms; undefined until it is measured. */
  get latency(): number | undefined {
    return this.#clock.rtt;
  }

  /** The server's clock now, Unix ms: ours plus the offset of the measurement with the shortest round trip. */
  serverTime(): number {
    return this.#env.now() + this.#clock.offset;
  }

  /**
   * Notifications as they come, for `for await`; ends with the client or when `signal` aborts. Whoever reads too slowly
   * misses the oldest of more than 256.
   */
  notifications({ signal }: { signal?: AbortSignal } = {}): AsyncIterableIterator<Notification> {
    const kept: Notification[] = [];
    let wake = () => {};
    const over = () => signal?.aborted || this.#status.state === 'closed';
    const end = new AbortController();
    this.on('notification', (notification) => {
      kept.push(notification);
      if (kept.length > NOTIFICATIONS_MOST) kept.shift();
      wake();
    }, end);
    this.on('status', () => wake(), end);
    signal?.addEventListener('abort', () => wake(), end);
    return (async function* read() {
      try {
        for (;;) {
          const next = kept.shift();
          if (next) yield next;
          else if (over()) return;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        end.abort();
      }
    })();
  }

  /** Joins a room. @throws {RequestError} `code` 705: not allowed, 901: full, … */
  join(name: string, { since }: { since?: Position } = {}): Promise<Room> {
    const room = this.#rooms.get(name);
    if (room) return Promise.resolve(room);
    const joining = this.#joining.get(name);
    if (joining) return joining.joined;
    const coming = new Room(this.#host, name);
    const joined = this.#join(coming, since);
    this.#joining.set(name, { room: coming, joined });
    return joined;
  }

  async #join(room: Room, since: Position | undefined): Promise<Room> {
    try {
      await this.#through((carrier) => carrier.join(room.name, since));
    } finally {
      this.#joining.delete(room.name);
    }
    // Whoever joined goes on before this, and can listen to all that has come with the room.
    this.#env.after(0, () => inside(room).open());
    return room;
  }

  /** STUN and TURN servers whose credentials hold for a while yet; asks the server for new ones when they do not. */
  async iceServers(): Promise<IceServer[]> {
    const session = this.#session;
    const known = session?.ice_servers ?? [];
    if (!session || (session.ice_expires ?? Infinity) - this.serverTime() > ICE_MARGIN_MS) return known;
    try {
      const headers = { Authorization: `Bearer ${this.#token}` };
      const response = await this.#get('v1/ice-servers', { headers });
      if (!response.ok) return known;
      const { ice_servers = [], expires = Infinity } = (await response.json()) as { ice_servers?: IceServer[]; expires?: number };
      session.ice_expires = expires;
      return (session.ice_servers = ice_servers);
    } catch {
      // With what there is a call may still work, and a later one asks again.
      return known;
    }
  }

  /** Asks the server over HTTP, for as long as an answer is of use. */
  async #get(path: string, init: RequestInit = {}): Promise<Response> {
    const abort = new AbortController();
    const end = this.#env.after(DEADLINE_MS, () => abort.abort());
    try {
      return await this.#env.fetch(new URL(path, this.#url), { ...init, signal: abort.signal });
    } finally {
      end();
    }
  }

  /** Says goodbye: the others see us leave at once. */
  close(): void {
    this.#carrier.close();
  }

  /** Does something over the present way, and once more over the next one if this one was given up for it. */
  async #through<T>(act: (carrier: Carrier) => Promise<T>): Promise<T> {
    for (;;) {
      const carrier = this.#carrier;
      try {
        return await act(carrier);
      } catch (error) {
        if (carrier === this.#carrier || !(error instanceof ClosedError)) throw error;
      }
    }
  }

  get #codec(): Codec {
    return this.#options.encoding === 'json' ? json : msgpack;
  }

  #make(way: 'websocket' | 'fallback'): Carrier {
    const turn = (this.#turn = {});
    const mine = (act: () => void) => {
      if (this.#turn === turn) act();
    };
    const listener: CarrierListener = {
      status: (status) => mine(() => this.#stand(status)),
      message: (message, missed) => mine(() => this.#take(message, missed)),
      // Also of a way that is given up: what waited there goes nowhere.
      lost: (name, moves, reason) => this.#withRoom(name, (room) => inside(room).lost({ moves, reason })),
      move: (move) => mine(() => this.#withRoom(move.room, (room) => inside(room).move(move))),
      out: (name, why) => mine(() => this.#withRoom(name, (room) => this.#put(room, why))),
    };
    const { token, queue = 256 } = this.#options;
    const common = { env: this.#env, url: this.#url, token, queue, listener, notifications: this.#notified };
    this.#fallen = way === 'fallback';
    if (this.#fallen) return this.#fallback({ ...common, transports: this.#others });
    const failed = this.#others.length ? (times: number) => mine(() => void this.#look(times)) : undefined;
    const rooms = [...this.#rooms].map(([name, { position }]) => [name, position] as const);
    return new WebSocketCarrier({ ...common, codec: this.#codec, rooms, ...(failed ? { failed } : {}) });
  }

  /** Goes over to another way, rooms and all. */
  #change(way: 'websocket' | 'fallback'): void {
    const old = this.#carrier;
    const carrier = (this.#carrier = this.#make(way));
    old.close();
    // It enters the rooms by itself, as it does after every loss.
    if (carrier instanceof WebSocketCarrier) return carrier.start();
    for (const [name, room] of this.#rooms) {
      carrier.join(name, room.position).catch((error: unknown) => {
        if (carrier !== this.#carrier || !this.#rooms.has(name)) return;
        const { code = 0, message = '' } = error as { code?: number; message?: string };
        this.#put(room, { code, message });
      });
    }
    this.#lookAgain();
  }

  /** No WebSocket gets through. Unless the server itself is away, it is the network that lets none through. */
  async #look(times: number): Promise<void> {
    if (times < ATTEMPTS_MOST || this.#looking) return;
    const turn = this.#turn;
    this.#looking = true;
    const there = await Promise.all([this.#get('healthz'), this.#load()]).then(([{ ok }]) => ok, () => false);
    this.#looking = false;
    if (there && turn === this.#turn) this.#change('fallback');
  }

  /** From time to time a WebSocket is tried, and gone back to when one opens. */
  #lookAgain(): void {
    const turn = this.#turn;
    this.#env.after(RETRY_MS * (0.5 + this.#env.random()), () => {
      if (turn !== this.#turn) return;
      let over = (): void => this.#lookAgain();
      try {
        const socket = socketTo(this.#env, this.#url, this.#codec);
        const finish = (opened: boolean) => {
          const act = over;
          over = () => {};
          socket.close();
          if (!opened) act();
          else if (turn === this.#turn) this.#change('websocket');
        };
        socket.onerror = () => {};
        socket.onopen = () => finish(true);
        socket.onclose = () => finish(false);
        this.#env.after(DEADLINE_MS, () => finish(false));
      } catch {
        over();
      }
    });
  }

  #stand(status: Status): void {
    this.#status = status;
    this.emit('status', status);
    if (status.state !== 'closed') return;
    this.#turn = {};
    for (const room of [...this.#rooms.values()]) {
      this.#rooms.delete(room.name);
      inside(room).out({ reason: 'closed', code: status.code, message: status.reason });
    }
  }

  #put(room: Room, { code, message, retryAt }: { code: number; message: string; retryAt?: number }): void {
    if (retryAt !== undefined) return inside(room).wait({ code, message, retryAt });
    this.#rooms.delete(room.name);
    inside(room).out({ reason: 'refused', code, message });
  }

  #withRoom(name: string, act: (room: Room) => void): void {
    const room = this.#rooms.get(name) ?? this.#joining.get(name)?.room;
    if (room) act(room);
  }

  #take(message: ServerMessage, missed: boolean): void {
    const now = this.#env.now();
    switch (message.type) {
      case 'connected':
        this.#session = message;
        this.#notified ||= message.notifications;
        this.#clock.begin(message.time, now);
        return this.emit('connected', message);
      case 'pong':
        if (message.t === undefined) return;
        this.#clock.add(message.t, message.received, message.sent, now);
        return this.emit('latency', { rtt: this.#clock.rtt ?? 0, offset: this.#clock.offset });
      case 'notification': {
        const { type, ...notification } = message;
        this.#notified = message.position;
        return this.emit(type, notification);
      }
      case 'error': {
        const { code, room, count = 1 } = message;
        return this.emit('refused', { code, message: message.message, count, ...(room === undefined ? {} : { room }) });
      }
      case 'reset':
        if (message.room.startsWith('user/')) {
          this.#notified = message.position;
          return this.emit('notifications-reset', message);
        }
    }
    if (!('room' in message) || message.room === undefined) return;
    this.#withRoom(message.room, (room) => {
      if (message.type === 'joined') this.#rooms.set(room.name, room);
      inside(room).take(message, missed);
      if (room.isLeft) this.#rooms.delete(room.name);
    });
  }
}

/**
 * Connects to a server; `await client.ready` tells when it has worked.
 * @throws {TypeError} if `url` is no address or there is no `token`; without a WebSocket class, if `websocket` is among the
 * transports
 */
export function connect(options: ConnectOptions, internals: Internals = {}): Client {
  return new Client(options, internals);
}
