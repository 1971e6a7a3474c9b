/**
 * Requests and their answers, over the loss of a socket. The server remembers the answers to the last 64 requests of a
 * session, so whatever has no answer yet is sent again with its id and is not carried out twice. That holds as long as
 * there are never more than 64 of them: the rest waits here, in order.
 */

import { LostError, RequestError, type RallypointError } from '../errors.js';
import type { ServerMessage } from '../wire.js';
import type { Codec, Frame } from './codec.js';
import type { Pace } from './pace.js';

export const UNANSWERED_MOST = 64;

/** Takes the answer, or what came in its place. */
export type Settle = (answer: ServerMessage | RallypointError) => void;

/** Who asks: the application; the client itself, ahead of all others; the client, of no use on the next socket. */
export type Asker = 'caller' | 'own' | 'look';

interface Request {
  readonly type: string;
  readonly fields: Frame;
  readonly asker: Asker;
  readonly settle: Settle;
  /** Its place among those that wait, also when it comes back after a refusal for haste. */
  readonly order: number;
  id: number;
  /** How many moves were written before it: its answer proves them. */
  mark: number;
}

/** The client's own stand before all others. */
const AHEAD = -1e12;

export class Requests {
  /** At most so many without an answer. */
  most = UNANSWERED_MOST;
  #sent: Request[] = [];
  /** How many of `#sent`, from the front, have been written to the present socket. */
  #written = 0;
  #waiting: Request[] = [];
  #lastId = 0;
  #count = 0;
  #heldUntil = 0;
  #ended: RallypointError | undefined;
  readonly #codec: Codec;
  readonly #pace: Pace;

  constructor(codec: Codec, pace: Pace) {
    this.#codec = codec;
    this.#pace = pace;
  }

  /** How many wait to be sent for the first time. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Takes a request; it goes out with `next`, in its turn. */
  ask(type: string, fields: Frame, settle: Settle, asker: Asker = 'caller'): void {
    if (this.#ended) return settle(this.#ended);
    const order = (asker === 'caller' ? 0 : AHEAD) + ++this.#count;
    this.#queue({ type, fields, settle, asker, order, id: 0, mark: 0 });
  }

  #queue(request: Request): void {
    const at = this.#waiting.findIndex(({ order }) => order > request.order);
    this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, request);
  }

  /** When the next frame may go out; `Infinity` if there is none. */
  due(now: number): number {
    const any = this.#written < this.#sent.length || (this.#waiting.length > 0 && this.#sent.length < this.most);
    return any ? Math.max(this.#heldUntil, this.#pace.at(now)) : Infinity;
  }

  /** The next frame for the present socket: repetitions first, then what waits. */
  next(now: number, mark: number): Frame | undefined {
    if (this.due(now) > now) return undefined;
    let request = this.#sent[this.#written];
    if (!request) {
      request = this.#waiting.shift();
      if (!request) return undefined;
      request.id = ++this.#lastId;
      this.#sent.push(request);
    }
    this.#written += 1;
    request.mark = mark;
    this.#pace.take(now);
    return this.#codec.request(request.type, request.id, request.fields);
  }

  /** Takes an answer. Returns what it proves, or undefined if nobody asked. */
  answer(re: number, message: ServerMessage, now: number): number | undefined {
    const at = this.#sent.findIndex(({ id }) => id === re);
    const request = this.#sent[at];
    if (!request || at >= this.#written) return undefined;
    this.#sent.splice(at, 1);
    this.#written -= 1;
    if (message.type !== 'error') request.settle(message);
    else if (message.code === 900) {
      // Refused for haste: it has used its id, and goes out as a new one before all that waits behind it.
      this.#heldUntil = now + (message.retry_after ?? 1000);
      this.#queue(request);
    } else request.settle(new RequestError(message.code, message.message, message.retry_after));
    return request.mark;
  }

  /** The socket is lost; the next one gets everything that has no answer. */
  lost(): void {
    this.#written = 0;
    this.#heldUntil = 0;
    const stays = ({ asker }: Request) => asker !== 'look';
    this.#sent = this.#sent.filter(stays);
    this.#waiting = this.#waiting.filter(stays);
  }

  /**
   * The session is lost: nobody knows what became of the requests without an answer. Only a `join` may be asked for
   * again: that the last session was in the room is of no use to this one.
   */
  fail(): void {
    const failed = this.#sent;
    this.lost();
    this.#sent = [];
    this.#waiting = this.#waiting.filter(({ asker }) => asker === 'caller');
    for (const request of failed) {
      if (request.asker === 'caller' && request.type === 'join') this.#queue(request);
      else request.settle(new LostError());
    }
  }

  /** There will be no answers any more. */
  end(error: RallypointError): void {
    const all = [...this.#sent, ...this.#waiting];
    this.#sent = this.#waiting = [];
    this.#written = 0;
    this.#ended = error;
    for (const { settle } of all) settle(error);
  }
}
