/** The WebSocket carrier: it owns the socket and the timer, and does what the connection's machine says. */

import type { Carrier, CarrierListener, OutgoingMove, Status } from '../carrier.js';
import type { TokenReason, TokenSource } from '../client.js';
import type { Env, Socket } from '../env.js';
import { ClosedError, TokenRefused } from '../errors.js';
import type { Joined, Position, ServerMessage } from '../wire.js';
import { Access } from './access.js';
import type { Codec, Frame } from './codec.js';
import { due, idle, step, type Effect, type Input, type Machine } from './machine.js';
import { Session } from './session.js';

const OPEN = 1;
/** With more than this not yet on the network the client waits: what is newest then goes instead of what was. */
const BUFFERED_MOST = 256 * 1024;
const BUFFERED_LOOK_MS = 50;
/** The longest time that a timer takes. */
const TIMER_MOST_MS = 2 ** 31 - 1;

/** What a WebSocket carrier needs. */
export interface SocketOptions {
  env: Env;
  /** The server's address. */
  url: URL;
  /** A source rejects, and never throws at once. */
  token: TokenSource;
  codec: Codec;
  /** Requests and reliable moves that may wait. */
  queue: number;
  /** Rooms to enter, and where they and the user's own log stood on another way to the server. */
  rooms: Iterable<readonly [string, Position]>;
  notifications: Position | undefined;
  listener: CarrierListener;
  /** Told after each attempt in vain, as long as none has opened a socket; `Infinity`: there are no WebSockets here. */
  failed?: (times: number) => void;
}

/** Opens a socket to the server. @throws where the page may not */
export const socketTo = (env: Env, url: URL, { subprotocol }: Codec): Socket => {
  const to = new URL('v1/ws', url);
  // What a balancer chooses by.
  to.search = url.search;
  return env.socket(to.href.replace('http', 'ws'), [subprotocol]);
};

export class WebSocketCarrier implements Carrier {
  #machine: Machine;
  #socket: Socket | undefined;
  readonly #session: Session;
  readonly #access: Access;
  readonly #options: SocketOptions;
  readonly #endWake: () => void;
  #timer: (() => void) | undefined;
  #timerAt = Infinity;
  /** Which question for a token is the last one: answers to others come too late. */
  #asked = 0;
  #opened = false;
  #failures = 0;

  constructor(options: SocketOptions) {
    const { env, token } = options;
    this.#options = options;
    this.#access = new Access(typeof token === 'string');
    this.#machine = idle(this.#access.fixed);
    this.#session = new Session({ ...options, access: this.#access, random: env.random });
    this.#endWake = env.onWake(() => this.#input({ is: 'wake' }));
  }

  /** Begins to connect. */
  start(): void {
    this.#input({ is: 'start' });
  }

  get #now(): number {
    return this.#options.env.now();
  }

  get #live(): boolean {
    return this.#machine.state.at === 'live';
  }

  join(room: string, since?: Position): Promise<Joined> {
    return this.#after(this.#session.join(room, since));
  }

  leave(room: string): Promise<void> {
    return this.#after(this.#session.leave(room));
  }

  request(type: string, fields: Record<string, unknown>): Promise<ServerMessage> {
    return this.#after(this.#session.ask(type, fields));
  }

  hint(type: string, fields: Record<string, unknown>): void {
    if (this.#live) this.#write(this.#session.hint(type, fields, this.#now));
  }

  move(move: OutgoingMove): void {
    this.#session.move(move);
    this.#flush();
  }

  close(): void {
    this.#input({ is: 'stop', reason: 'Closed.' });
  }

  #after<T>(asked: Promise<T>): Promise<T> {
    this.#flush();
    return asked;
  }

  #input(input: Input): void {
    const [machine, effects] = step(this.#machine, input, this.#now, this.#options.env.random());
    this.#machine = machine;
    for (const effect of effects) this.#perform(effect);
    this.#flush();
  }

  #perform(effect: Effect): void {
    switch (effect.do) {
      case 'ask':
        this.#ask(effect.why, (token) => {
          this.#access.use(token, this.#now);
          this.#input({ is: 'token' });
        }, (reason) => this.#input({ is: 'failed', reason }));
        break;
      case 'open':
        this.#open();
        break;
      case 'authenticate':
        this.#write(this.#session.hello(this.#now));
        break;
      case 'ping':
        this.#write(this.#session.ping(this.#now));
        break;
      case 'drop':
        this.#drop(effect.bye);
        break;
      case 'forget':
        this.#session.forget();
        break;
      case 'tell':
        this.#tell(effect.status);
    }
  }

  #tell(status: Status): void {
    if (status.state === 'closed') {
      this.#endWake();
      this.#timer?.();
      this.#session.end(new ClosedError(status.code, status.reason));
    }
    this.#options.listener.status(status);
  }

  /** Asks the source for a token; `late` if none came that is of use. */
  #ask(why: TokenReason['why'], take: (token: string) => void, late: (reason: string) => void): void {
    const asked = ++this.#asked;
    const { token } = this.#options;
    Promise.resolve(typeof token === 'string' ? token : token({ why })).then(
      (given) => asked === this.#asked && take(given),
      (error: unknown) => {
        if (asked !== this.#asked) return;
        const reason = error instanceof Error ? error.message : String(error);
        if (error instanceof TokenRefused) this.#input({ is: 'stop', reason });
        else late(`No access token yet: ${reason}`);
      },
    );
  }

  #open(): void {
    const { env, url, codec } = this.#options;
    let socket: Socket;
    try {
      socket = socketTo(env, url, codec);
    } catch (error) {
      if (this.#options.failed) this.#options.failed(Infinity);
      else this.#input({ is: 'stop', reason: String(error) });
      return;
    }
    socket.binaryType = 'arraybuffer';
    socket.onerror = () => {};
    this.#socket = socket;
    const mine = (act: () => void) => () => void (this.#socket === socket && act());
    socket.onopen = mine(() => {
      this.#opened = true;
      this.#input({ is: 'opened' });
    });
    socket.onmessage = ({ data }) => mine(() => this.#take(data))();
    socket.onclose = ({ code, reason }) => mine(() => this.#lost(code, reason))();
  }

  #take(frame: unknown): void {
    let message: ServerMessage | undefined;
    try {
      message = this.#session.take(frame, this.#now);
    } catch (error) {
      // What follows it would follow a hole.
      return this.#input({ is: 'stop', reason: `The server said what this client cannot read: ${String(error)}` });
    }
    this.#input(message?.type === 'connected' ? { is: 'connected', heartbeat: message.heartbeat } : { is: 'heard' });
  }

  #lost(code: number, text: string): void {
    const reason = text || (this.#options.env.offline() ? 'there is no network' : '');
    this.#input({ is: 'lost', code, reason, told: this.#session.told });
  }

  #drop(bye = false): void {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = undefined;
    this.#session.lost();
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (bye) socket.close(1000);
    else socket.close();
    if (!this.#opened) this.#options.failed?.((this.#failures += 1));
  }

  #write(frame: Frame): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(frame);
  }

  /** Sends what is due, and sets the timer for what will be. */
  #flush(): void {
    const now = this.#now;
    let at = due(this.#machine);
    if (this.#live && this.#socket?.readyState === OPEN) {
      let frame: Frame | undefined;
      const crowded = () => (this.#socket?.bufferedAmount ?? 0) > BUFFERED_MOST;
      while (!crowded() && (frame = this.#session.next(now)) !== undefined) this.#write(frame);
      at = Math.min(at, crowded() ? now + BUFFERED_LOOK_MS : this.#session.due(now), this.#access.renewAt);
    }
    if (at >= this.#timerAt || this.#machine.state.at === 'closed') return;
    this.#timer?.();
    this.#timerAt = at;
    this.#timer = this.#options.env.after(Math.min(TIMER_MOST_MS, Math.max(0, at - now)), () => {
      this.#timerAt = Infinity;
      if (this.#live && this.#access.renewAt <= this.#now) this.#renew();
      this.#input({ is: 'time', hidden: this.#options.env.hidden?.() ?? false });
    });
  }

  #renew(): void {
    this.#access.pause(this.#now);
    this.#ask('expired', (token) => {
      this.#session.renew(token, this.#now);
      this.#flush();
    }, () => {});
  }
}
