/**
 * The socket to the server: one room, requests with answers, and coming back after a loss.
 *
 * It speaks the JSON subprotocol of `protocol/README.md` and knows nothing of calls or of the page. Every message of
 * the server is dispatched as an event of the same name whose `detail` is the message; besides those there are
 * `state` ({state, detail}), `missed` (an event that happened while we were away) and `clock` ({rtt, offset}).
 */

import { JOIN_AGAIN, Refusal, RequestError, closeAction, closeText } from './codes.js';

const SUBPROTOCOL = 'rallypoint.v1.json';
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MOST_MS = 30_000;
/** A connection that held this long was a good one: the next loss starts with short delays again. */
const STABLE_MS = 5_000;
const PING_MS = 5_000;
const OPEN_DEADLINE_MS = 15_000;
const ACK_EVERY = 32;

/** Milliseconds since 1970 by a clock that is never set back while the page lives, as round trips need it. */
const now = () => performance.timeOrigin + performance.now();

export class Client extends EventTarget {
  /** @type {'idle' | 'connecting' | 'connected' | 'reconnecting' | 'refused' | 'left'} */
  state = 'idle';
  /** What `connected` said: our peer id, limits, ice_servers. */
  session = null;
  /** Where we stand in the room's log; handed back as `since` when we join again. */
  position = undefined;
  #notifications = undefined;
  #socket = null;
  #id = 0;
  #waiting = new Map();
  #attempt = 0;
  #openedAt = 0;
  #notBefore = 0;
  #expired = false;
  #retry = undefined;
  #ticker = 0;
  #unanswered = 0;
  #counted = 0;
  #acked = 0;
  #samples = [];
  /** The network is back: do not sit out the rest of a long delay. */
  #online = () => this.#retry && this.#open();

  /**
   * @param {object} options
   * @param {URL} options.url of `/v1/ws`
   * @param {string} options.room
   * @param {(why: {expired: boolean}) => Promise<string>} options.token called before every connection, because a token
   *   may have expired, and because a restarted development server no longer knows the old one
   */
  constructor({ url, room, token }) {
    super();
    Object.assign(this, { url, room, token });
  }

  /** Starts connecting; from here on the client comes back by itself until `leave` or a refusal. */
  connect() {
    addEventListener('online', this.#online);
    this.#enter('connecting', 'Connecting…');
    this.#open();
  }

  /** Ends the session at once: with close code 1000 the others see us leave without waiting for a timeout. */
  leave() {
    this.#stop('left', 'You left the room.');
  }

  /** Sends a message that has no answer. Returns false when there is no connection to send it on. */
  send(type, fields) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ type, ...fields }));
    return true;
  }

  /** Sends a request and resolves with its answer. @throws {RequestError} */
  request(type, fields) {
    return new Promise((resolve, reject) => {
      const id = ++this.#id;
      this.#waiting.set(id, { resolve, reject, type, fields });
      if (!this.send(type, { id, ...fields })) {
        this.#waiting.delete(id);
        reject(new RequestError({ code: 0, message: 'not connected' }));
      }
    });
  }

  async #open() {
    this.#retry = clearTimeout(this.#retry);
    if (this.state === 'reconnecting') this.#enter('reconnecting', 'Reconnecting…');
    let token;
    try {
      token = await this.token({ expired: this.#expired });
    } catch (error) {
      if (this.state === 'left') return;
      if (error instanceof Refusal) this.#stop('refused', error.message);
      else this.#comeBack('The server does not answer.');
      return;
    }
    if (this.state === 'left') return;
    this.#expired = false;
    const socket = new WebSocket(this.url, SUBPROTOCOL);
    this.#socket = socket;
    this.#id = this.#counted = this.#acked = 0;
    this.#samples = [];
    this.#unanswered = now();
    socket.onopen = () => this.send('auth', { token, notifications_since: this.#notifications });
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#lost(code, reason);
    clearInterval(this.#ticker);
    this.#ticker = setInterval(() => this.#tick(), PING_MS);
  }

  #receive(message) {
    this.#unanswered = 0;
    const { type } = message;
    if (type === 'connected') {
      this.session = message;
      this.#notifications ??= message.notifications;
    } else if (type === 'joined') {
      this.position = message.position;
      this.#openedAt = now();
      this.#enter('connected', 'Connected.');
    } else if (type === 'notification' || (type === 'reset' && message.room !== this.room)) {
      this.#notifications = message.position;
    } else if (message.position && message.room === this.room) {
      this.position = message.position;
    }
    if (type === 'reconnect') this.#notBefore = now() + message.after_ms;
    if (type === 'error' && message.re == null && message.retry_after) this.#notBefore = now() + message.retry_after;
    if (type === 'pong') this.#clock(message);
    if (type === 'offer' || type === 'answer' || type === 'ice-candidate' || (type === 'move' && message.reliable)) {
      this.#counted += 1;
      if (this.#counted - this.#acked >= ACK_EVERY) this.#ack();
    }

    this.dispatchEvent(new CustomEvent(type, { detail: message }));
    if (message.re != null) this.#settle(message);
    if (type === 'connected') this.#join();
    if (type === 'joined') {
      for (const event of message.missed ?? []) this.dispatchEvent(new CustomEvent('missed', { detail: event }));
      // The first ping waits until the page is done with building calls, which would count as round trip.
      const socket = this.#socket;
      setTimeout(() => socket === this.#socket && this.#tick(), 1_000);
    }
    if (type === 'peer-left' && message.peer.peer === this.session?.peer && message.room === this.room) {
      this.#stop('refused', `You were removed from the room (${message.reason}).`);
    }
  }

  #settle(answer) {
    const request = this.#waiting.get(answer.re);
    if (!this.#waiting.delete(answer.re)) return;
    if (answer.type !== 'error') return request.resolve(answer);
    if (answer.code === 900 && answer.retry_after && request.type !== 'join') {
      // Above the rate, say in a burst of candidates: a refused request has used its id, so it goes out as a new one.
      setTimeout(() => this.request(request.type, request.fields).then(request.resolve, request.reject), answer.retry_after);
    } else {
      request.reject(new RequestError(answer));
    }
  }

  async #join() {
    const socket = this.#socket;
    try {
      await this.request('join', { room: this.room, since: this.position });
    } catch (error) {
      if (socket !== this.#socket || error.code === 0) return;
      if (!JOIN_AGAIN.has(error.code)) return this.#stop('refused', `The server refused the room: ${error.message} (${error.code})`);
      this.#enter(this.state, `Waiting for the room: ${error.message} (${error.code})`);
      setTimeout(() => socket === this.#socket && this.#join(), error.retryAfter ?? BACKOFF_FIRST_MS * 10);
    }
  }

  /**
   * Every few seconds: acknowledge, measure, and notice a dead connection. A browser does not show native pings, so our
   * own unanswered ping tells. The time of the last frame alone would not do: timers of a background tab may stop for
   * a minute.
   */
  #tick() {
    const patience = this.state === 'connected' ? 3 * (this.session?.heartbeat ?? OPEN_DEADLINE_MS) : OPEN_DEADLINE_MS;
    if (this.#unanswered && now() - this.#unanswered > patience) {
      this.#socket?.close();
      return this.#lost(1006, 'no answer');
    }
    if (this.#counted > this.#acked) this.#ack();
    if (this.session && this.send('ping', { t: now() })) this.#unanswered ||= now();
  }

  #ack() {
    this.#acked = this.#counted;
    this.send('ack', { n: this.#counted });
  }

  /** Round trip and clock offset as in NTP; of the last samples the one with the shortest trip is the truest. */
  #clock({ t, received, sent }) {
    const back = now();
    this.#samples.push({ rtt: back - t - (sent - received), offset: (received - t + (sent - back)) / 2 });
    if (this.#samples.length > 8) this.#samples.shift();
    const best = this.#samples.reduce((a, b) => (b.rtt < a.rtt ? b : a));
    this.dispatchEvent(new CustomEvent('clock', { detail: { rtt: this.#samples.at(-1).rtt, offset: best.offset } }));
  }

  #lost(code, reason) {
    this.#drop();
    const action = closeAction(code);
    if (action === 'stop') return this.#stop('refused', closeText(code, reason));
    this.#expired = action === 'refresh';
    if (this.#openedAt && now() - this.#openedAt > STABLE_MS) this.#attempt = 0;
    this.#openedAt = 0;
    if (action === 'wait') this.#attempt = Math.max(this.#attempt, 2);
    this.#comeBack(closeText(code, reason));
  }

  /** Full jitter: with many clients on a server that restarts, they come back spread out and not as one crowd. */
  #comeBack(why) {
    const jitter = Math.random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** this.#attempt);
    const delay = Math.max(0, this.#notBefore - now()) + jitter;
    this.#attempt += 1;
    this.#retry = setTimeout(() => this.#open(), delay);
    this.#enter('reconnecting', `${why} Trying again in ${Math.ceil(delay / 1000)} s…`);
  }

  #stop(state, detail) {
    removeEventListener('online', this.#online);
    const socket = this.#socket;
    this.#drop();
    this.#retry = clearTimeout(this.#retry);
    socket?.close(1000);
    this.#enter(state, detail);
  }

  /** Forgets the socket and fails what waited for an answer on it. */
  #drop() {
    this.#socket = null;
    this.session = null;
    clearInterval(this.#ticker);
    for (const { reject } of this.#waiting.values()) reject(new RequestError({ code: 0, message: 'connection lost' }));
    this.#waiting.clear();
  }

  #enter(state, detail) {
    this.state = state;
    this.dispatchEvent(new CustomEvent('state', { detail: { state, detail } }));
  }
}
