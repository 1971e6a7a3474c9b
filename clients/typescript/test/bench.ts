/** A client on a network that the test plays, and the messages of its server. */

import assert from 'node:assert/strict';
import type { Carrier } from '../src/carrier.js';
import { connect, type Client, type ConnectOptions, type TokenReason } from '../src/client.js';
import type { FallbackOptions } from '../src/fallback.js';
import type { Room, RoomEvents } from '../src/room.js';
import { FakeEnv, settled, type FakeSocket } from './fake.js';

export const ME = '00000000-0000-4000-8000-000000000001';
export const OTHER = '00000000-0000-4000-8000-000000000002';
export const THIRD = '00000000-0000-4000-8000-000000000003';
export const at = (seq: number, epoch = '9f3c5a1e7b2d4860'): string => `${epoch}.${seq}.00000000`;
export const LIMITS = { frame: 65_536, move: 4096, text: 4096, signal: 65_536, state: 512, rooms: 16 };
export const connected = (fields: Record<string, unknown> = {}) => ({
  type: 'connected', peer: ME, session: 's', resume: 'token-1', resumed: false, time: 5_000_000, heartbeat: 15_000,
  limits: LIMITS, notifications: at(100), ...fields,
});
export const entry = (peer: string, handle: number, order = handle) =>
  ({ peer, handle, user: `user-${handle}`, order, polite: false, offers: false });
export const joined = (re: number | null, position: number, fields: Record<string, unknown> = {}) => ({
  type: 'joined', re, room: 'a', handle: 7, you: entry(ME, 1), members: [entry(OTHER, 2)], count: 2, spectators: 0,
  position: at(position), state: [], ...fields,
});
export const chat = (seq: number, fields: Record<string, unknown> = {}) =>
  ({ type: 'message', room: 'a', time: 1, position: at(seq), from: { peer: OTHER, user: 'user-2' }, text: `text ${seq}`, ...fields });
export const reset = (position: string, fields: Record<string, unknown> = {}) => ({
  type: 'reset', room: 'a', reason: 'lost', position, members: [entry(OTHER, 2)], count: 2, state: [], ...fields,
});
export const claims = (exp: number): string => `h.${btoa(JSON.stringify({ sub: 'ada', exp }))}.s`;

/** What a room tells, as short text. */
export function hear(room: Room): string[] {
  const heard: string[] = [];
  const names: (keyof RoomEvents)[] = ['shown', 'message', 'event', 'peer-joined', 'peer-left', 'presence', 'node-down', 'typing', 'move', 'reset', 'left'];
  for (const name of names) {
    room.on(name, (event) => {
      const { position = '', missed = false } = event as { position?: string; missed?: boolean };
      heard.push([name, position.split('.')[1], missed && 'missed'].filter((part) => part).join(' '));
    });
  }
  return heard;
}

export class Bench {
  readonly env = new FakeEnv();
  readonly asked: TokenReason['why'][] = [];
  readonly client: Client;
  readonly states: string[] = [];

  constructor(options: Partial<ConnectOptions> = {}, readonly token: () => string = () => 'token', fallback?: (o: FallbackOptions) => Carrier) {
    this.client = connect({
      url: 'http://rally.example/base/', encoding: 'json', transports: ['websocket'],
      token: ({ why }) => {
        this.asked.push(why);
        return this.token();
      },
      ...options,
    }, { env: this.env, ...(fallback && { fallback }) });
    this.client.on('status', ({ state }) => this.states.push(state));
  }

  get socket(): FakeSocket {
    return this.env.last;
  }

  /** Opens the next socket, and answers the first message. Returns that. */
  async open(message: unknown = connected()): Promise<Record<string, unknown> | undefined> {
    await settled();
    this.socket.open();
    const [hello] = this.socket.take();
    this.socket.hear(message);
    await settled();
    return hello;
  }

  /** What went out, short: the type, and id or n or seq. */
  said(): string[] {
    return this.socket.take().map(({ type, id, n, seq, text }) => [type, id ?? n ?? seq, text].filter((part) => part !== undefined).join(' '));
  }

  /** Connected, and in room a at 10. */
  async inRoom(fields: Record<string, unknown> = {}): Promise<Room> {
    await this.open();
    const coming = this.client.join('a');
    this.said();
    this.socket.hear(joined(1, 10, fields));
    const room = await coming;
    await this.env.turn(0);
    return room;
  }

  /** The socket breaks off, and there is another. Returns its first message. */
  async again(message: unknown, code = 1006): Promise<Record<string, unknown> | undefined> {
    this.socket.lose(code);
    await this.next();
    return this.open(message);
  }

  /** Turns the clock until another socket is opened. */
  async next(): Promise<void> {
    const before = this.env.sockets.length;
    for (let i = 0; i < 1000 && this.env.sockets.length === before; i += 1) await this.env.turn(100);
    assert.equal(this.env.sockets.length, before + 1);
  }

  /** Lets time pass on a connection that answers. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 1000) {
      await this.env.turn(Math.min(1000, left));
      this.socket.hear({ type: 'pong', received: 1, sent: 1 });
    }
  }
}

export const RESUMED = connected({ resumed: true, resume: 'token-2' });
