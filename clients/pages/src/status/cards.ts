/** The seven cards: of each the figure of now, what belongs to it, what it means, and its last minutes. */

import { Chart } from '../shell/chart.js';
import { el, setText } from '../shell/el.js';
import { type Figures, type Name, open } from './figures.js';
import { bytes, cores, count, ms, percent, perSecond, rate } from './units.js';

const SPAN_MS = 180_000;
/** A figure a second, and some for gaps. */
const MOST = 240;

const [KIB, MIB] = [1024, 1024 ** 2];
/** Scales of things of which there are no halves say nothing between them. */
const whole = (value: number): string => (Number.isInteger(value) ? count(value) : '');
const decimals = (value: number): number => Math.round(value * 100) / 100;
const kibPerSecond = (value: number): string => `${decimals(value)} KiB/s`;

/** What a card is made of. */
interface Made<N extends Name> {
  title: string;
  /** What the large figure counts, and what it means. */
  label: string;
  means: string;
  figure(of: Figures[N]): string;
  details(of: Figures[N]): Record<string, string>;
  /** How much of what there is has been used up, 0 to 1. */
  used?(of: Figures[N]): { share: number; text: string };
  lines: string[];
  values(of: Figures[N]): (number | undefined)[];
  format(value: number): string;
  max?: number;
}

const MADE: { [N in Name]: Made<N> } = {
  cpu: {
    title: 'Processor', label: 'machine', means: 'How busy all processors of the machine were in the last second.',
    figure: ({ usage }) => percent(usage),
    details: ({ process, cores: all, load }) => ({
      'This server': cores(process, all), Load: load.map((each) => each.toFixed(2)).join(' · '),
    }),
    lines: ['machine', 'this server'], values: ({ usage, process, cores: all }) => [usage * 100, (process / all) * 100],
    format: (value) => `${Math.round(value)} %`, max: 100,
  },
  memory: {
    title: 'Memory', label: 'this server',
    means: 'What the server itself keeps in memory. An idle guest costs a few KiB.',
    figure: ({ process }) => bytes(process),
    details: () => ({}),
    used: ({ total, used }) => ({ share: used / total, text: `Machine: ${bytes(used)} of ${bytes(total)}` }),
    lines: ['this server'], values: ({ process }) => [process / MIB], format: (value) => `${decimals(value)} MiB`,
  },
  disk: {
    title: 'Disk', label: 'full',
    means: 'The server lives in memory: what it reads and writes itself should be little.',
    figure: ({ used, total }) => percent(used / total),
    details: ({ read, written }) => ({ Read: perSecond(read), Written: perSecond(written) }),
    used: ({ total, used }) => ({ share: used / total, text: `${bytes(used)} of ${bytes(total)}` }),
    lines: ['read', 'written'], values: ({ read, written }) => [read / KIB, written / KIB], format: kibPerSecond,
  },
  latency: {
    title: 'Latency', label: 'half of all round trips within',
    means: 'Pings to the clients and back. The lag is how late the server’s own clock wakes it.',
    figure: ({ rtt }) => ms(rtt.p50),
    details: ({ rtt, lag }) => ({
      '95 % within': ms(rtt.p95), Longest: ms(rtt.max), Measured: count(rtt.count), Lag: ms(lag),
    }),
    lines: ['half', '95 %', 'lag'], values: ({ rtt, lag }) => [rtt.p50, rtt.p95, lag], format: ms,
  },
  connections: {
    title: 'Connections', label: 'open',
    means: 'Sockets, streams and polls, this page included. A lost session may still come back as who it was.',
    figure: (of) => count(open(of)),
    details: ({ websocket, events, poll, sessions, lost }) => ({
      WebSocket: count(websocket), 'Event streams': count(events), 'Long polls': count(poll),
      Sessions: count(sessions), 'Lost sessions': count(lost),
    }),
    used: (of) => ({
      share: of.most ? open(of) / of.most : 0, text: `${count(open(of))} of at most ${count(of.most)}`,
    }),
    lines: ['WebSocket', 'event streams', 'long polls'],
    values: ({ websocket, events, poll }) => [websocket, events, poll], format: whole,
  },
  rooms: {
    title: 'Rooms', label: 'open',
    means: 'Rooms with somebody in them, or with events that are still kept for those who come late.',
    figure: ({ rooms }) => count(rooms),
    details: ({ members, spectators, log_bytes: kept }) => ({
      Members: count(members), Spectators: count(spectators), 'Kept events': bytes(kept),
    }),
    lines: ['members', 'spectators'], values: ({ members, spectators }) => [members, spectators], format: whole,
  },
  traffic: {
    title: 'Traffic', label: 'sent',
    means: 'Frames are WebSocket messages. One move of a player is sent to everybody else in the room.',
    figure: ({ sent }) => perSecond(sent.bytes),
    details: ({ received, sent, moves, events, signals }) => ({
      Received: perSecond(received.bytes), 'Frames in': rate(received.frames), 'Frames out': rate(sent.frames),
      Moves: rate(moves), Events: rate(events), Signals: rate(signals),
    }),
    lines: ['received', 'sent'], values: ({ received, sent }) => [received.bytes / KIB, sent.bytes / KIB],
    format: kibPerSecond,
  },
};

/** In the order of the page. */
export const NAMES = Object.keys(MADE) as Name[];

export const isName = (name: string): name is Name => Object.hasOwn(MADE, name);

export class Card<N extends Name> {
  readonly element: HTMLElement;
  readonly #made: Made<N>;
  readonly #figure = el('dd', {}, '–');
  readonly #details = el('dl', { class: 'details' });
  readonly #share = el('meter', { min: 0, max: 1, high: 0.9, low: 0.75, optimum: 0 });
  readonly #shareText = el('span', { class: 'hint' });
  readonly #chart: Chart;

  constructor(readonly name: N) {
    const made: Made<N> = MADE[name];
    this.#made = made;
    this.#chart = new Chart({
      title: `${made.title}, the last minutes`, series: made.lines.map((label, n) => ({ label, area: n === 0 })),
      span: SPAN_MS, most: MOST,
      format: made.format, min: 0, ...(made.max === undefined ? {} : { max: made.max }),
    });
    const title = `${name}-title`;
    this.element = el(
      'section', { class: 'card', id: `card-${name}`, tabIndex: -1, attrs: { 'aria-labelledby': title } },
      el('h2', { id: title }, made.title),
      el('dl', { class: 'figure' }, el('dt', {}, made.label), this.#figure),
      made.used && el('label', { class: 'share' }, this.#shareText, this.#share),
      this.#chart.element,
      made.lines.length > 1 && this.#chart.legend,
      this.#details,
      el('p', { class: 'hint' }, made.means),
    );
  }

  show(of: Figures[N]): void {
    const { figure, details, used, values } = this.#made;
    setText(this.#figure, figure(of));
    this.element.dataset['known'] = 'true';
    for (const [n, [label, text]] of Object.entries(details(of)).entries()) {
      const row = this.#details.children[n] ?? this.#details.appendChild(el('div', {}, el('dt', {}, label), el('dd')));
      if (row.lastElementChild) setText(row.lastElementChild, text);
    }
    const share = used?.(of);
    if (share) {
      this.#share.value = share.share;
      setText(this.#shareText, share.text);
    }
    this.#chart.push(values(of));
  }

  /** Nothing is known here. */
  gap(): void {
    this.#chart.push(this.#made.lines.map(() => undefined));
  }

  /** The time has gone on, even if nothing came. */
  draw(): void {
    this.#chart.draw();
  }

  mark(level: 'warn' | 'danger' | undefined): void {
    if (level) this.element.dataset['level'] = level;
    else delete this.element.dataset['level'];
  }
}
