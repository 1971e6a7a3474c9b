/** The figures beside the field: who plays, how old the ships are on each lane, the connection, the news. */

import type { Client } from 'rallypoint-client';
import { Chart } from '../shell/chart.js';
import { at, el, setText, within } from '../shell/el.js';
import type { LaneName, Player } from './player.js';
import type { Session } from './session.js';
import { MOST_PLAYERS } from './ship.js';
import { SLOW_RATE } from './slow.js';
import { colourOf } from './stage.js';
import { type Asking, standing } from './standing.js';

/** The figures are written so often, ms: faster nobody reads. */
const EVERY = 250;
/** Rates are over so long, ms. */
const RATE_OVER = 1_000;
const MOST_NEWS = 40;
const STAND_EVERY = 5_000;

export const milliseconds = (ms: number): string =>
  ms < 1_000 ? `${ms < 100 ? Math.round(ms) : Math.round(ms / 10) * 10} ms` : `${(ms / 1000).toFixed(1)} s`;

const OVERFLOW =
  'So much waited that the server would have closed the connection (4002, slow consumer), to be resumed with the ' +
  'state of now.';
const SENT_RELIABLE =
  'Ships come on the reliable lane: every old place has to be seen first. Outlines show the latest lane.';
const SENT_LATEST =
  'Ships come on the latest lane, which jumps to now. Outlines show the reliable lane, where every old place has to ' +
  'be seen first.';

interface Row {
  row: HTMLTableRowElement;
  dot: HTMLElement;
  name: HTMLElement;
  score: HTMLTableCellElement;
  downs: HTMLTableCellElement;
  rtt: HTMLTableCellElement;
}

export class Hud {
  readonly #rows = new Map<string, Row>();
  readonly #body = at('players');
  readonly #news = at('news');
  readonly #latest = at('age-latest');
  readonly #reliable = at('age-reliable');
  readonly #chart: Chart;
  #due = 0;
  #rateDue = 0;
  #before = { out: 0, in: 0 };
  #ageBefore = 0;
  #grows = false;

  readonly client: Client;
  readonly player: Player;
  readonly #asking: Asking;
  #spectators: number;
  #standDue = 0;

  constructor({ client, player, token }: Session, signal: AbortSignal) {
    this.client = client;
    this.player = player;
    this.#asking = { token, ask: (...call) => fetch(...call) };
    this.#spectators = player.room.spectators;
    this.#chart = new Chart({
      title: 'Round trip to the server',
      series: [{ label: 'round trip', area: true }],
      format: milliseconds,
      signal,
    });
    at('chart').replaceChildren(this.#chart.element);
    client.on('latency', ({ rtt }) => this.#chart.push([rtt]), { signal });
    this.#body.replaceChildren();
    this.#news.replaceChildren();
  }

  /** Writes what has changed, if it is time; `now` by `performance.now()`. */
  update(now: number): void {
    if (now < this.#due) return;
    this.#due = now + EVERY;
    this.#players();
    if (now >= this.#rateDue) this.#rates(now);
    this.#ages();
    if (now >= this.#standDue) void this.#stand(now);
    const { room } = this.player;
    const watching = this.#spectators === 1 ? '1 watches' : `${this.#spectators} watch`;
    setText(at('crowd'), `${room.count} of ${MOST_PLAYERS} here, ${watching}`);
    at('alone').hidden = this.player.others.size > 0;
  }

  /** Something that happened, in words; read aloud. */
  say(text: string): void {
    this.#news.prepend(el('li', {}, text));
    while (this.#news.childElementCount > MOST_NEWS) this.#news.lastElementChild?.remove();
  }

  /** Asks who watches: that changes without an event. */
  async #stand(now: number): Promise<void> {
    this.#standDue = now + STAND_EVERY;
    const stand = await standing(this.player.room.name, this.#asking);
    if (stand) this.#spectators = stand.spectators;
  }

  #players(): void {
    const { room, others, ship } = this.player;
    const here = [{ peer: room.you.peer, label: 'You', ship, rtt: room.you.rtt ?? this.client.latency }];
    for (const [peer, { member, track }] of others)
      here.push({ peer, label: member.label, ship: track.ship, rtt: member.rtt });
    here.sort((a, b) => b.ship.score - a.ship.score || a.ship.downs - b.ship.downs);
    for (const [peer, { row }] of this.#rows) {
      if (here.some((each) => each.peer === peer)) continue;
      row.remove();
      this.#rows.delete(peer);
    }
    for (const [
      place,
      {
        peer,
        label,
        ship: { score, downs, colour, away },
        rtt,
      },
    ] of here.entries()) {
      const made = this.#rows.get(peer) ?? this.#row(peer);
      const paint = colourOf(colour);
      if (made.dot.style.background !== paint) made.dot.style.background = paint;
      setText(made.name, away ? `${label}, away` : label);
      setText(made.score, `${score}`);
      setText(made.downs, `${downs}`);
      setText(made.rtt, rtt === undefined ? '–' : milliseconds(rtt));
      if (this.#body.children[place] !== made.row)
        this.#body.insertBefore(made.row, this.#body.children[place] ?? null);
    }
  }

  #row(peer: string): Row {
    const dot = el('i', { class: 'dot', attrs: { 'aria-hidden': 'true' } });
    const name = el('span');
    const [score, downs, rtt] = [el('td'), el('td'), el('td')];
    const row = el('tr', { data: { peer } }, el('th', { scope: 'row' }, dot, name), score, downs, rtt);
    this.#body.append(row);
    const made = { row, dot, name, score, downs, rtt };
    this.#rows.set(peer, made);
    return made;
  }

  #rates(now: number): void {
    const { counts } = this.player;
    const sums = { out: counts.out.latest + counts.out.reliable, in: counts.in.latest + counts.in.reliable };
    const over = this.#rateDue ? (now - this.#rateDue + RATE_OVER) / 1000 : 0;
    if (over)
      for (const way of ['out', 'in'] as const)
        setText(at(way), `${Math.round((sums[way] - this.#before[way]) / over)} a second`);
    this.#before = sums;
    this.#rateDue = now + RATE_OVER;
    const { latency } = this.client;
    setText(at('rtt'), latency === undefined ? '–' : milliseconds(latency));
    const offset = this.client.serverTime() - (performance.timeOrigin + performance.now());
    const sign = offset >= 0 ? '+' : '−';
    setText(at('offset'), latency === undefined ? '–' : `${sign}${Math.abs(offset).toFixed(1)} ms`);
    const { reliable } = this.player.ages();
    this.#grows = reliable !== undefined && reliable > this.#ageBefore + 100;
    this.#ageBefore = reliable ?? 0;
  }

  #ages(): void {
    const { player } = this;
    const ages = player.ages();
    const { on } = player.slow;
    const sentReliable =
      [...player.others.values()].filter(({ lane }) => lane === 'reliable').length > player.others.size / 2;
    const waiting = player.slow.waiting(sentReliable);
    const write = (row: HTMLElement, lane: LaneName, rest: string) => {
      const age = ages[lane];
      row.classList.toggle('old', (age ?? 0) > 1_000);
      row.hidden = age === undefined && player.others.size > 0;
      setText(within(row, 'dd'), age === undefined ? '–' : `${milliseconds(age)} old`);
      setText(within(row, '.rest'), on ? rest : '');
    };
    write(this.#latest, 'latest', `${waiting.replaced} skipped`);
    write(this.#reliable, 'reliable', `${this.#grows ? 'and growing, ' : ''}${waiting.reliable} waiting`);
    // The solid ship is the one as it was sent.
    for (const [row, lane] of [
      [this.#latest, 'latest'],
      [this.#reliable, 'reliable'],
    ] as const) {
      row.classList.toggle('sent', (lane === 'reliable') === sentReliable);
    }
    setText(at('lanes-text'), this.#words(on, sentReliable));
  }

  #words(on: boolean, sentReliable: boolean): string {
    const { slow, others } = this.player;
    if (!others.size) return 'With somebody else here, you see how old their ships are.';
    if (!on) return 'On a quick line both lanes are as young. Slow it down to see what they promise.';
    if (slow.overflows) return OVERFLOW;
    return `Only ${SLOW_RATE} moves a second get through. ${sentReliable ? SENT_RELIABLE : SENT_LATEST}`;
  }
}
