/**
 * Requests and their answers, over the loss of a socket. The server remembers the answers to the last 64 requests of a
 * session, so whatever has no answer yet can be sent again with its id and is not carried out twice. That holds as long
 * as there are never more than 64 of them: the rest waits here.
 */

import { RequestError } from './codes.js';

const UNANSWERED_MOST = 64;
const lost = () => new RequestError({ code: 0, message: 'connection lost' });

export class Requests {
  /** Sent and without an answer, oldest first: id to request. */
  #sent = new Map();
  /** Not sent yet. */
  #queue = [];
  #id = 0;
  #flowing = false;
  /** Which session this is, so that a retry does not go to the next one. */
  #life = 0;

  /** @param {(type: string, fields: object) => void} write puts a message on the socket */
  constructor(write) {
    this.write = write;
  }

  /** Takes a request and resolves with its answer, which may come over a later socket. @throws {RequestError} */
  ask(type, fields) {
    return new Promise((resolve, reject) => {
      this.#queue.push({ type, fields, resolve, reject });
      this.#flow();
    });
  }

  /** Sends a request ahead of all that wait: the `join`, without which they would be refused. */
  askFirst(type, fields) {
    return new Promise((resolve, reject) => this.#send({ type, fields, resolve, reject }));
  }

  /** Takes an answer of the server. */
  answer(message) {
    const request = this.#sent.get(message.re);
    if (!this.#sent.delete(message.re)) return;
    if (message.type !== 'error') request.resolve(message);
    else if (message.code === 900 && message.retry_after && request.type !== 'join') {
      // Above the rate, say in a burst of candidates: a refused request has used its id, so it goes out as a new one.
      const life = this.#life;
      setTimeout(() => {
        if (life !== this.#life) return request.reject(lost());
        this.#queue.push(request);
        this.#flow();
      }, message.retry_after);
    } else request.reject(new RequestError(message));
    this.#flow();
  }

  /** Whether a request of this type waits for its answer. */
  waitsFor(type) {
    return [...this.#sent.values()].some((request) => request.type === type);
  }

  /** On a new socket of the same session: what had no answer goes out again, as it was. */
  repeat() {
    for (const [id, { type, fields }] of this.#sent) this.write(type, { id, ...fields });
  }

  /** We are in the room: what waits may go. */
  open() {
    this.#flowing = true;
    this.#flow();
  }

  /** The socket is gone: nothing more goes out until the next `open`. */
  hold() {
    this.#flowing = false;
  }

  /** The session is gone: nobody will answer, and the next session counts its ids anew. */
  fail() {
    const failed = [...this.#sent.values(), ...this.#queue];
    this.hold();
    this.#sent.clear();
    this.#queue = [];
    this.#id = 0;
    this.#life += 1;
    for (const { reject } of failed) reject(lost());
  }

  #flow() {
    while (this.#flowing && this.#queue.length && this.#sent.size < UNANSWERED_MOST) this.#send(this.#queue.shift());
  }

  #send(request) {
    const id = ++this.#id;
    this.#sent.set(id, request);
    this.write(request.type, { id, ...request.fields });
  }
}
