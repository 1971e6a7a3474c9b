/**
 * One session as its client sees it: everything that outlives a socket, and nothing of the socket itself. The carrier
 * asks it for the next frame and hands it the frames that came.
 */

import { jitter } from '../backoff.js';
import type { CarrierListener, OutgoingMove } from '../carrier.js';
import { QueueFullError, RallypointError, RequestError } from '../errors.js';
import type { Connected, ErrorMessage, Joined, Position, RoomEvent, ServerMessage } from '../wire.js';
import { Access } from './access.js';
import { bytesOf, sizeOf, type Codec, type Frame } from './codec.js';
import { Counted } from './counted.js';
import type { RawMove } from './frame.js';
import { Moves } from './moves.js';
import { Pace } from './pace.js';
import { Requests, UNANSWERED_MOST } from './requests.js';

/** A room that the session is in. */
interface Place {
  /** Undefined until the room is shown, and again from a loss of the session. */
  handle: number | undefined;
  position: Position;
  /** The number of our last move. */
  seq: number;
  /** Where the present socket showed the room. What came since then came live. */
  shown: Position | undefined;
  leaving: boolean;
  /** When to ask again to be let in, after a refusal that may pass; `asked`: the answer is on its way. */
  knock: number | 'asked' | undefined;
  /** Such refusals since the room was shown; with any of them we are out of it. */
  refusals: number;
}

/** A room that a resume has shown while the `join` that asked for it has no answer yet. */
interface Early {
  joined: Joined;
  /** What came for the room since; it is told after what the answer brings. */
  later: (() => void)[];
}

/** What a session needs. */
export interface SessionOptions {
  codec: Codec;
  access: Access;
  listener: CarrierListener;
  /** Requests and reliable moves that may wait. */
  queue: number;
  random: () => number;
  /** Rooms to enter with the first connection, and where they stood on another way to the server. */
  rooms: Iterable<readonly [string, Position]>;
  /** Where the user's own log stood there. */
  notifications: Position | undefined;
}

/** Pings without an answer that are remembered. */
const PINGS_MOST = 16;

/** A room that is yet to be entered. */
const OUTSIDE = { handle: undefined, seq: 0, shown: undefined, leaving: false, knock: undefined, refusals: 0 };

const number = (position: Position): number => Number(position.split('.')[1]);

export class Session {
  /** The time that the server last asked for, should it go. */
  told: number | undefined;
  #connected: Connected | undefined;
  /** The newest resume token. */
  #resume: string | undefined;
  /** Where the user's own log stands. */
  #notifications: Position | undefined;
  #counted: Counted;
  readonly #rooms = new Map<string, Place>();
  readonly #early = new Map<string, Early>();
  readonly #requestPace = new Pace();
  readonly #movePace = new Pace();
  readonly #bytePace = new Pace();
  readonly #requests: Requests;
  readonly #moves: Moves;
  /** Pings under way: what each was sent with, and the moves that its answer proves. */
  readonly #pings = new Map<number, number>();
  readonly #options: SessionOptions;
  /** The time of the frame that came last. */
  #now = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#counted = new Counted(options.random());
    this.#requests = new Requests(options.codec, this.#requestPace);
    this.#moves = new Moves(options.codec, this.#movePace, {
      handle: (room) => this.#rooms.get(room)?.handle,
      // Of a room that is being left nothing is told: it may be about to be joined anew.
      lost: (room, moves, reason) => this.#rooms.get(room)?.leaving || this.#listener.lost(room, moves, reason),
    });
    this.#notifications = options.notifications;
    for (const [room, position] of options.rooms) this.#rooms.set(room, { ...OUTSIDE, position });
  }

  get #listener(): CarrierListener {
    return this.#options.listener;
  }

  /** The bounds that a frame must keep, or the server would end the session. */
  #encode(value: unknown, bound: 'frame' | 'move'): Frame {
    let frame: Frame;
    try {
      if (value === undefined) throw new TypeError('undefined');
      frame = this.#options.codec.encode(value);
    } catch (fault) {
      throw new TypeError(`a ${bound} must be something MessagePack/JSON can carry: ${(fault as Error).message}`);
    }
    const { [bound]: bounded = Infinity, bytes_per_second = Infinity } = this.#connected?.limits ?? {};
    const most = Math.min(bounded, bytes_per_second) - (bound === 'frame' ? 64 : 0);
    const size = bytesOf(frame);
    if (size > most) throw new RequestError(603, `${size} bytes are more than the server takes (${most})`);
    return frame;
  }

  #checkQueue(kept = this.#requests.waiting): void {
    const { queue } = this.#options;
    if (kept >= queue) throw new QueueFullError(queue);
  }

  /** Takes a request of the application. */
  async ask(type: string, fields: Record<string, unknown>): Promise<ServerMessage> {
    const frame = this.#encode(fields, 'frame');
    this.#checkQueue();
    return new Promise((resolve, reject) => {
      this.#requests.ask(type, frame, (answer) => {
        if (answer instanceof RallypointError) reject(answer);
        else resolve(answer);
      });
    });
  }

  /** Takes a move of the application. One for a room that we are not in is dropped. */
  move(move: OutgoingMove): void {
    const place = this.#rooms.get(move.room);
    if (!place || place.leaving) return;
    const payload = this.#encode(move.data, 'move');
    // Each room has its own queue, or one that waits to be let in would fill that of the others.
    if (move.reliable) this.#checkQueue(this.#moves.reliable(move.room));
    this.#moves.push(move, payload, ++place.seq);
  }

  /** A message that has no answer. */
  hint(type: string, fields: Record<string, unknown>, now: number): Frame {
    this.#requestPace.take(now);
    return this.#spend(this.#options.codec.request(type, undefined, this.#options.codec.encode(fields)), now);
  }

  /** Whatever goes out counts by its bytes, too. */
  #spend(frame: Frame, now: number): Frame {
    this.#bytePace.take(now, bytesOf(frame));
    return frame;
  }

  /** Enters a room, and again after every loss. */
  async join(room: string, since: Position | undefined): Promise<Joined> {
    const frame = this.#encode({ room, since }, 'frame');
    this.#checkQueue();
    return new Promise((resolve, reject) => {
      this.#requests.ask('join', frame, (answer) => {
        const early = this.#early.get(room);
        this.#early.delete(room);
        if (answer instanceof RallypointError) {
          if (early) this.#rooms.delete(room);
          return reject(answer);
        }
        const shown = this.#enter(answer as Joined);
        const joined = early ? { ...early.joined, missed: (answer as Joined).missed } : (answer as Joined);
        this.#show(joined as Joined, shown, since !== undefined);
        early?.later.forEach((act) => act());
        resolve(joined as Joined);
      });
    });
  }

  /** Goes out of a room, for good. */
  leave(room: string): Promise<void> {
    const place = this.#rooms.get(room);
    if (!place || place.leaving) return Promise.resolve();
    place.leaving = true;
    place.knock = undefined;
    return new Promise((resolve) => {
      // What became of it is all the same: no later session will enter the room again.
      this.#requests.ask('leave', this.#options.codec.encode({ room }), () => {
        this.#out(room);
        resolve();
      });
    });
  }

  #out(room: string): void {
    this.#moves.drop(room, 'out of the room');
    this.#rooms.delete(room);
  }

  /** Shows the server another token before the present one ends. */
  renew(token: string, now: number): void {
    const { access } = this.#options;
    // A source that has no newer one is asked again in a while.
    if (token === access.token) return access.pause(now);
    access.postpone(Infinity);
    this.#own('refresh', { token }, (answer) => {
      if (answer instanceof RequestError) access.pause(this.#now);
      else access.use(token, this.#now);
    });
  }

  /** Asks for the client itself. What is lost with the session is not answered: the next one asks for its own. */
  #own(
    type: string, fields: Record<string, unknown>, done: (answer: ServerMessage | RequestError) => void, look = false,
  ): void {
    const settle = (answer: ServerMessage | RallypointError) => {
      if (!(answer instanceof RallypointError) || answer instanceof RequestError) done(answer);
    };
    this.#requests.ask(type, this.#options.codec.encode(fields), settle, look ? 'look' : 'own');
  }

  /** The next frame that is due now. */
  next(now: number): Frame | undefined {
    const { codec } = this.#options;
    const n = this.#counted.ack(now);
    if (n !== undefined) return this.#spend(codec.request('ack', undefined, codec.encode({ n })), now);
    for (const [room, { knock }] of this.#rooms) if (typeof knock === 'number' && knock <= now) this.#knock(room);
    const frame = this.#bytePace.at(now) > now ? undefined : this.#waiting(now);
    if (frame !== undefined) return this.#spend(frame, now);
    return this.#moves.proveBy <= now ? this.ping(now) : undefined;
  }

  #waiting(now: number): Frame | undefined {
    const move = this.#moves.next(now);
    return move ?? (this.#moves.holds(now) ? undefined : this.#requests.next(now, this.#moves.written));
  }

  /** A ping, which measures the way and proves the moves that went before it. */
  ping(now: number): Frame {
    this.#moves.asked(now);
    this.#pings.set(now, this.#moves.written);
    for (const sent of this.#pings.keys()) {
      if (this.#pings.size <= PINGS_MOST) break;
      this.#pings.delete(sent);
    }
    return this.hint('ping', { t: now }, now);
  }

  /** When `next` has something although nothing else happens. */
  due(now: number): number {
    let at = this.#moves.due(now);
    if (!this.#moves.holds(now)) at = Math.min(at, this.#requests.due(now));
    at = Math.min(Math.max(at, this.#bytePace.at(now)), this.#counted.ackBy, this.#moves.proveBy);
    for (const { knock } of this.#rooms.values()) if (typeof knock === 'number') at = Math.min(at, knock);
    return at;
  }

  /** The socket is lost. */
  lost(): void {
    // Its `join` will be answered anew, and show the room with what was missed.
    for (const room of this.#early.keys()) this.#rooms.delete(room);
    this.#early.clear();
    this.#requests.lost();
    this.#moves.lost();
    this.#pings.clear();
    for (const place of this.#rooms.values()) place.shown = undefined;
  }

  /** The server does not know this session any more, so there is nothing to resume. */
  forget(): void {
    this.#resume = undefined;
  }

  /** There will be no other socket. */
  end(error: RallypointError): void {
    this.#requests.end(error);
    for (const room of this.#rooms.keys()) this.#moves.drop(room, error.message);
  }

  /** The first message on a new socket. */
  hello(now: number): Frame {
    const { codec, access } = this.#options;
    const notifications_since = this.#notifications;
    if (this.#resume === undefined) {
      return codec.request('auth', undefined, codec.encode({ token: access.token, notifications_since }));
    }
    const stays = [...this.#rooms].filter(([, { leaving }]) => !leaving);
    return codec.request('resume', undefined, codec.encode({
      token: this.#resume,
      received: this.#counted.received,
      positions: Object.fromEntries(stays.map(([room, { position }]) => [room, position])),
      jwt: access.good(now),
      notifications_since,
    }));
  }

  /** Takes in a frame. @throws {Error} if it cannot be understood */
  take(frame: unknown, now: number): ServerMessage | undefined {
    const { codec } = this.#options;
    const message = codec.read(frame);
    this.told = undefined;
    this.#now = now;
    if ('payload' in message) return void this.#moved(message, frame, now);
    switch (message.type) {
      case 'connected':
        this.#back(message, now);
        break;
      case 'joined':
        if (message.re === null) this.#shown(message);
        break;
      case 'peer-left':
        if (message.peer.peer === this.#connected?.peer) this.#out(message.room);
        this.#event(message);
        break;
      case 'peer-joined':
      case 'message':
      case 'event':
      case 'presence':
      case 'node-down':
        this.#event(message);
        break;
      case 'reset':
        if (message.room.startsWith('user/')) this.#notifications = message.position;
        this.#event(message);
        break;
      case 'notification':
        this.#notifications = message.position;
        this.#tell(message);
        break;
      case 'offer':
      case 'answer':
      case 'ice-candidate':
        this.#counted.add(sizeOf(frame), now);
        this.#tell(message);
        break;
      case 'move': {
        const { room, from, key, seq, time, data, reliable = false } = message;
        if (reliable) this.#counted.add(sizeOf(frame), now);
        const moved = { room, from, key, seq, time, reliable, data };
        this.#inTurn(room, () => this.#listener.move(moved));
        break;
      }
      case 'pong': {
        const mark = this.#pings.get(message.t ?? NaN);
        if (mark !== undefined) this.#moves.proved(mark);
        if (message.re === undefined) this.#tell(message);
        break;
      }
      case 'reconnect':
        this.told = message.after_ms;
        break;
      case 'error':
        if (message.re === null) this.#refused(message);
        break;
      case 'ok':
      case 'members':
        break;
      default:
        this.#tell(message);
    }
    if ('re' in message && typeof message.re === 'number') {
      const mark = this.#requests.answer(message.re, message, now);
      if (mark !== undefined) this.#moves.proved(mark);
    }
    return message;
  }

  /** Something was refused that has no answer of its own. */
  #refused(error: ErrorMessage): void {
    this.told = error.retry_after;
    const { room, code, message, retry_after } = error;
    const place = this.#outside(room);
    // Told on the way back, before the room was shown: it could not be entered. (That it is not joined is told of a
    // move that came after its sender had left.)
    if (room === undefined || !place || place.knock === 'asked' || code === 803) this.#tell(error);
    else this.#keptOut(room, new RequestError(code, message, retry_after));
  }

  /** A room that we mean to be in, and are not. */
  #outside(room: string | undefined): Place | undefined {
    const place = this.#rooms.get(room ?? '');
    return place?.shown || place?.leaving ? undefined : place;
  }

  /** A room does not let us in: it is tried again after a refusal that may pass, and else we are out. */
  #keptOut(room: string, refusal: RequestError): void {
    const place = this.#rooms.get(room);
    if (!place || !refusal.isPassing) return this.#lose(room, refusal);
    const { code, message, retryAfter = 0 } = refusal;
    const retryAt = this.#now + retryAfter + jitter(place.refusals++, this.#options.random());
    place.knock = retryAt;
    place.handle = undefined;
    this.#moves.forget(room);
    this.#listener.out(room, { code, message, retryAt });
  }

  #lose(room: string, { code, message }: RequestError): void {
    this.#out(room);
    this.#listener.out(room, { code, message });
  }

  /** There is a new socket, and this was its first message. */
  #back(connected: Connected, now: number): void {
    const asked = this.#resume !== undefined;
    const { access, random } = this.#options;
    if (connected.session !== this.#connected?.session) {
      this.#requests.fail();
      for (const place of this.#rooms.values()) if (place.knock === 'asked') place.knock = undefined;
      const {
        frame, requests_per_second: rate = 60, requests_burst: burst = 120, moves_per_second = 120, moves_burst = 240,
        bytes_per_second: bytes = 524_288,
      } = connected.limits;
      // So many may arrive at once after the network has held them up.
      this.#requests.most = Math.min(UNANSWERED_MOST, Math.max(1, Math.floor(burst / 2)));
      this.#requestPace.begin(rate, burst - this.#requests.most - 4, now);
      this.#movePace.begin(moves_per_second, moves_burst / 2, now);
      // The server takes so many bytes at once; a frame goes whole, as long as anything is left.
      this.#bytePace.begin(bytes, Math.min(bytes / 2, bytes - frame), now);
    }
    if (connected.resumed) this.#counted.told();
    else {
      this.#counted = new Counted(random());
      for (const [room, place] of this.#rooms) {
        place.handle = undefined;
        this.#moves.forget(room);
      }
    }
    this.#resume = connected.resume;
    this.#notifications ??= connected.notifications;
    this.#connected = connected;
    this.told = undefined;
    access.opened(connected.time, now);
    if (asked) this.#lookAround();
    else for (const [room, { leaving, knock }] of this.#rooms) if (!leaving && knock === undefined) this.#knock(room);
    this.#tell(connected);
  }

  /** Requests are answered behind the rooms that the server shows, so with this answer all of them have come. */
  #lookAround(): void {
    if (!this.#rooms.size) return;
    this.#own('ping', {}, () => {
      for (const [room, { knock }] of [...this.#rooms]) {
        if (this.#outside(room) && knock === undefined) this.#lose(room, new RequestError(803, 'no longer in this room'));
      }
    }, true);
  }

  /** Asks to be let into a room again, from where it stood. */
  #knock(room: string): void {
    const place = this.#rooms.get(room);
    if (!place) return;
    place.knock = 'asked';
    this.#own('join', { room, since: place.position }, (answer) => {
      // A restarted server may have let us in by itself, and we may have gone out since.
      if (answer instanceof RequestError) return this.#outside(room) ? this.#keptOut(room, answer) : undefined;
      const joined = answer as Joined;
      // Shown before: a resume in between has brought it.
      if (this.#enter(joined) === undefined && !this.#rooms.get(room)?.leaving) this.#show(joined, undefined, true);
    });
  }

  /** Notes a room as it is shown. Returns where the present socket had shown it before, if it had. */
  #enter({ room, handle, position, missed }: Joined): Position | undefined {
    const before = this.#rooms.get(room);
    this.#rooms.set(room, {
      handle,
      // If something is missing a `reset` follows. Until it is here we stand where we stood: were the socket lost in
      // between, the next resume would otherwise pass over the gap in silence.
      position: missed || !before ? position : before.position,
      // The server drops moves that do not rise, also after a resume, so the count goes on.
      seq: before?.seq ?? 0,
      shown: position,
      leaving: before?.leaving ?? false,
      knock: undefined,
      refusals: 0,
    });
    return before?.shown;
  }

  /** A room that comes by itself after a resume. */
  #shown(joined: Joined): void {
    const known = this.#rooms.has(joined.room);
    const before = this.#enter(joined);
    if (this.#rooms.get(joined.room)?.leaving) return;
    if (known) this.#show(joined, before, true);
    else this.#early.set(joined.room, { joined, later: [] });
  }

  /**
   * Tells what was missed, then the room. After `shown` the missed events came live, and so did the room. `stood`: the
   * server was told where we stood, so if it gives nothing that was missed, a `reset` follows.
   */
  #show({ missed, ...joined }: Joined, shown: Position | undefined, stood: boolean): void {
    const early = shown !== undefined && number(shown);
    for (const event of missed ?? []) {
      if (early === false || number(event.position) <= early) this.#listener.message(event, true);
    }
    this.#listener.message(stood && !missed ? joined : { ...joined, missed: [] }, false);
  }

  /** An event of a log, or a room anew. */
  #event(event: RoomEvent | Extract<ServerMessage, { type: 'reset' }>): void {
    const place = this.#rooms.get(event.room);
    if (place) place.position = event.position;
    this.#tell(event);
  }

  #tell(message: ServerMessage): void {
    this.#inTurn('room' in message ? message.room : undefined, () => this.#listener.message(message, false));
  }

  #inTurn(room: string | undefined, act: () => void): void {
    const early = room === undefined ? undefined : this.#early.get(room);
    // Of a room that is being left nothing is told: it may be about to be joined anew.
    if (room !== undefined && this.#rooms.get(room)?.leaving) return;
    if (early) early.later.push(act);
    else act();
  }

  #moved({ room: handle, payload, ...move }: RawMove, frame: unknown, now: number): void {
    if (move.reliable) this.#counted.add(sizeOf(frame), now);
    const [room] = [...this.#rooms].find(([, place]) => place.handle === handle) ?? [];
    // Of a room that was just left, perhaps: there is nobody to whom it means anything.
    if (room === undefined) return;
    let data: unknown;
    try {
      data = this.#options.codec.payload(payload);
    } catch {
      const message = 'a move of another member cannot be read';
      return this.#tell({ type: 'error', re: null, code: 600, name: 'malformed', message, room, count: 1 });
    }
    this.#inTurn(room, () => this.#listener.move({ ...move, room, data }));
  }
}
