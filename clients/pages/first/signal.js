/**
 * The socket to the server: one room, and coming back after a loss, as the same peer where the server still knows us.
 *
 * It speaks the JSON subprotocol of `protocol/README.md` and knows nothing of calls or of the page. Every message of
 * the server is dispatched as an event of the same name whose `detail` is the message; besides those there are
 * `state` ({state, detail}), `missed` (an event that happened while we were away) and `clock` ({rtt, offset}).
 */

import { JOIN_AGAIN, Refusal, RequestError, closeAction, closeText } from './codes.js';
import { Requests } from './requests.js';

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
  /** What `connected` said: our peer id, limits, ice_servers. Null while there is no connection. */
  session = null;
  /** Where we stand in the room's log; handed back when we come again. */
  position = undefined;
  #notifications = undefined;
  #socket = null;
  /** The newest resume token: as long as there is one, the session may be taken up again. */
  #resume = undefined;
  #sessionId = undefined;
  #peer = undefined;
  /** Whether the session has been in the room, so that the server brings it back there by itself. */
  #member = false;
  /** Whether this socket has brought the room. */
  #joined = false;
  #joinAgain = undefined;
  #requests = new Requests((type, fields) => this.#write(type, fields));
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

  /** Sends a message that has no answer. Returns false when we are not in the room. */
  send(type, fields) {
    return this.state === 'connected' && this.#write(type, fields);
  }

  /** Sends a request and resolves with its answer; while we are away for a moment it waits. @throws {RequestError} */
  async request(type, fields) {
    if (!this.session && !this.#resume) throw new RequestError({ code: 0, message: 'not connected' });
    return this.#requests.ask(type, fields);
  }

  #write(type, fields) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ type, ...fields }));
    return true;
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
    this.#samples = [];
    this.#unanswered = now();
    // Nothing follows until `connected`: whatever we send confirms the newest resume token, which we do not have yet.
    socket.onopen = () => {
      const since = { notifications_since: this.#notifications };
      if (!this.#resume) return this.#write('auth', { token, ...since });
      // The access token goes along, because a restarted server needs one, and because it may be newer than the last.
      const positions = this.position ? { [this.room]: this.position } : {};
      this.#write('resume', { token: this.#resume, received: this.#counted, positions, jwt: token, ...since });
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#lost(code, reason);
    clearInterval(this.#ticker);
    this.#ticker = setInterval(() => this.#tick(), PING_MS);
  }

  #receive(message) {
    this.#unanswered = 0;
    const { type } = message;
    if (type === 'joined' && this.#joined) {
      // The answer to a `join` that was repeated after a resume, which had brought the room already.
      return this.#requests.answer(message);
    }
    if (type === 'connected') {
      this.#begin(message);
    } else if (type === 'joined') {
      this.position = message.position;
      this.#openedAt = now();
      this.#member = this.#joined = true;
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
    if (message.re != null) this.#requests.answer(message);
    if (type === 'connected') {
      this.#requests.repeat();
      // After a resume the room comes by itself, unless the session had never got into it.
      if (!this.#member && !this.#requests.waitsFor('join')) this.#join();
    }
    if (type === 'joined') {
      for (const event of message.missed ?? []) this.dispatchEvent(new CustomEvent('missed', { detail: event }));
      this.#requests.open();
      // The first ping waits until the page is done with building calls, which would count as round trip.
      const socket = this.#socket;
      setTimeout(() => socket === this.#socket && this.#tick(), 1_000);
    }
    if (type === 'error' && message.re == null && message.room === this.room && this.#member && !this.#joined) {
      // A restarted server knew the session by its token, and could not bring it back into the room.
      this.#member = false;
      this.#refusedRoom(new RequestError(message));
    }
    if (type === 'peer-left' && message.peer.peer === this.session?.peer && message.room === this.room) {
      this.#stop('refused', `You were removed from the room (${message.reason}).`);
    }
  }

  /** The session is there: the one we had, or another, to which nothing of the old one counts. */
  #begin(connected) {
    if (connected.session !== this.#sessionId) this.#requests.fail();
    // A restarted server makes the session anew under the same peer id, and brings it back into the room by itself.
    if (connected.peer !== this.#peer) this.#member = false;
    this.#peer = connected.peer;
    // The server reads the number in `resume` as an acknowledgement. If it could not go on from there, both count anew.
    if (!connected.resumed) this.#counted = 0;
    this.#acked = this.#counted;
    this.session = connected;
    this.#sessionId = connected.session;
    this.#resume = connected.resume;
    this.#notifications ??= connected.notifications;
  }

  async #join() {
    try {
      await this.#requests.askFirst('join', { room: this.room, since: this.position });
    } catch (error) {
      // 0: the session is gone, and the next one joins by itself.
      if (error.code !== 0) this.#refusedRoom(error);
    }
  }

  #refusedRoom(error) {
    if (!JOIN_AGAIN.has(error.code)) return this.#stop('refused', `The server refused the room: ${error.message} (${error.code})`);
    this.#enter(this.state, `Waiting for the room: ${error.message} (${error.code})`);
    this.#joinAgain = setTimeout(() => this.#join(), error.retryAfter ?? BACKOFF_FIRST_MS * 10);
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
    if (this.session && this.#write('ping', { t: now() })) this.#unanswered ||= now();
  }

  #ack() {
    this.#acked = this.#counted;
    this.#write('ack', { n: this.#counted });
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
    const action = closeAction(code);
    if (action === 'stop') return this.#stop('refused', closeText(code, reason));
    if (action === 'rejoin') {
      // A refused resume is the server's answer: it is there again, so there is nothing more to wait for.
      if (this.#resume && !this.session) this.#attempt = 0;
      this.#resume = undefined;
    }
    this.#drop();
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
    this.#resume = undefined;
    this.#drop();
    this.#retry = clearTimeout(this.#retry);
    socket?.close(1000);
    this.#enter(state, detail);
  }

  /** Forgets the socket, and what waited for an answer unless the session can be taken up again. */
  #drop() {
    this.#socket = null;
    this.session = null;
    this.#joined = false;
    clearInterval(this.#ticker);
    clearTimeout(this.#joinAgain);
    if (this.#resume) this.#requests.hold();
    else this.#requests.fail();
  }

  #enter(state, detail) {
    this.state = state;
    this.dispatchEvent(new CustomEvent('state', { detail: { state, detail } }));
  }
}
