/**
 * The way of the prices to the board: a feed of its own that can be cut and goes on where it was, and the proof of it.
 */

import { Emitter, watch } from 'rallypoint-client';
import type { Cursor, Feed, FeedEvent, FeedStatus, TokenSource } from 'rallypoint-client';
import { server } from '../shell/address.js';
import { at, setText } from '../shell/el.js';
import { parts, type Place } from '../shell/position.js';
import { WAYS } from '../shell/status.js';

/** What a line tells. */
export interface LineEvents {
  status: { status: FeedStatus; isCut: boolean };
  /** Connected for the first time. */
  connected: undefined;
  event: FeedEvent;
  /** Something is missing before what comes next. */
  gap: undefined;
}

export class Line extends Emitter<LineEvents> {
  readonly #room: string;
  readonly #token: TokenSource;
  #feed: Feed | undefined;
  #cursor: Cursor | undefined = '0';
  #isCut = false;
  #hasConnected = false;
  #last: Place | undefined;
  #events = 0;
  #holes = 0;
  /** Where the line was cut last, and what was caught up since. */
  #cutAt: number | undefined;
  #caughtUp: { until: number; from: number; events: number } | undefined;

  constructor(room: string, token: TokenSource) {
    super();
    this.#room = room;
    this.#token = token;
    at('cut').addEventListener('click', () => (this.#isCut ? this.#restore() : this.#cut()));
    this.#open();
    // Several events a second are told by one change of the text.
    setInterval(() => this.#draw(), 250);
  }

  /** Begins, or goes on where it was. */
  #open(): void {
    const after = this.#cursor ? { after: this.#cursor } : {};
    const feed = watch({ url: server, token: this.#token, rooms: [this.#room], ...after });
    this.#feed = feed;
    feed.on('status', (status) => {
      this.emit('status', { status, isCut: this.#isCut });
      this.#draw();
    });
    feed.on('connected', () => {
      if (!this.#hasConnected) this.emit('connected', undefined);
      this.#hasConnected = true;
    });
    feed.on('event', (event) => this.#hear(event));
    feed.on('reset', ({ room, position }) => {
      if (room !== this.#room) return;
      this.#last = parts(position);
      this.#holes += this.#events ? 1 : 0;
      this.emit('gap', undefined);
    });
  }

  close(): void {
    this.#feed?.close();
  }

  #cut(): void {
    const feed = this.#feed;
    if (!feed) return;
    this.#isCut = true;
    this.#cursor = feed.cursor;
    this.#cutAt = this.#last?.seq;
    feed.close();
    this.#draw();
  }

  #restore(): void {
    this.#isCut = false;
    if (this.#cutAt !== undefined) this.#caughtUp = { until: Date.now(), from: this.#cutAt, events: 0 };
    this.#open();
    this.#draw();
  }

  #hear(event: FeedEvent): void {
    if (event.room === this.#room) {
      const here = parts(event.position);
      if (this.#last && (here?.epoch !== this.#last.epoch || here.seq !== this.#last.seq + 1)) this.#holes += 1;
      this.#last = here;
      this.#events += 1;
      if (this.#caughtUp && event.time < this.#caughtUp.until) this.#caughtUp.events += 1;
    }
    this.emit('event', event);
  }

  #draw(): void {
    const { status, cursor = this.#cursor ?? '' } = this.#feed ?? {};
    const isUp = status?.state === 'connected';
    setText(at('way'), this.#isCut ? 'cut' : isUp ? WAYS[status.transport] : 'away');
    setText(at('events'), `${this.#events}`);
    setText(at('seq'), this.#last ? `${this.#last.seq}` : '–');
    setText(at('holes'), `${this.#holes}`);
    setText(at('cursor'), cursor && cursor !== '0' ? cursor : 'none yet');
    const button = at('cut', HTMLButtonElement);
    setText(button, this.#isCut ? 'Go on from the cursor' : 'Cut the line');
    button.disabled = !this.#isCut && !isUp;
    setText(at('resumed'), this.#told());
  }

  #told(): string {
    if (this.#isCut) return `Cut at event ${this.#cutAt ?? 0}. The market goes on; this board keeps its cursor.`;
    if (!this.#caughtUp) return '';
    const { from, events } = this.#caughtUp;
    const were = events === 1 ? '1 event was' : `${events} events were`;
    return `Taken up after event ${from}: ${were} caught up, ${this.#holes ? 'with a hole' : 'none is missing'}.`;
  }
}
