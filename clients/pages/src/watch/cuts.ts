/** What became of each cut of the line, told so that anybody can check it: cursors, what was missed, what came again. */

import type { FeedConnected } from 'rallypoint-client';
import { el, setText } from '../shell/el.js';
import type { Tally } from './tally.js';

const MOST = 8;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** The end of a cursor: its beginning is the name of the room, which is always the same. */
const short = (cursor: string | undefined): string => (cursor === undefined ? 'none' : `…${cursor.slice(-12)}`);

/** A cut whose end is not known yet. */
interface Open {
  item: HTMLElement;
  at: number;
  cursor: string | undefined;
  seen: number;
  missing: number;
  repeats: number;
  resets: number;
  /** Where each room stood when the feed was back, and when that was. */
  heads: Map<string, number> | undefined;
  back: number;
}

export class Cuts {
  #open: Open | undefined;
  /** How many cuts were made good, without a loss; for the summary. */
  whole = 0;

  constructor(readonly list: HTMLElement, readonly tally: Tally) {
    list.replaceChildren();
  }

  /** The line was cut. A cut before the last one is over goes on as one. */
  cut(cursor: string | undefined): void {
    if (this.#open) return;
    const at = Date.now();
    const item = el('li', { data: { state: 'open' } }, `${clock.format(at)} cut at ${short(cursor)}, after ${this.tally.seen} events.`);
    this.list.prepend(item);
    while (this.list.childElementCount > MOST) this.list.lastElementChild?.remove();
    const { seen, missing, repeats, resets } = this.tally;
    this.#open = { item, at, cursor, seen, missing, repeats, resets, heads: undefined, back: 0 };
  }

  /** The feed is connected again; `rooms` tell where their logs stand. */
  connected({ rooms }: FeedConnected, seq: (position: string) => number | undefined): void {
    const open = this.#open;
    if (!open) return;
    open.heads = new Map(rooms.map(({ room, position }) => [room, seq(position) ?? 0]));
    open.back = Date.now();
  }

  /** Something came, or nothing was missed: is all of it here? */
  check(cursor: string | undefined): void {
    const open = this.#open;
    if (!open?.heads) return;
    for (const [room, head] of open.heads) if ((this.tally.seq(room) ?? head) < head) return;
    this.#open = undefined;
    const { seen, missing, repeats, resets } = this.tally;
    const caught = seen - open.seen;
    const lost = missing - open.missing;
    const twice = repeats - open.repeats;
    const isWhole = !lost && !twice && resets === open.resets;
    if (isWhole) this.whole += 1;
    const verdict = isWhole ? 'Nothing lost, nothing twice.' : resets > open.resets ? 'The server told of a hole.' : `${lost} lost, ${twice} twice.`;
    open.item.dataset['state'] = isWhole ? 'whole' : 'broken';
    const seconds = ((open.back - open.at) / 1000).toFixed(1);
    const came = caught === 1 ? '1 event was' : `${caught} events were`;
    setText(open.item, `${clock.format(open.at)} cut for ${seconds} s at ${short(open.cursor)}, went on to ${short(cursor)}: ${came} caught up. ${verdict}`);
  }
}
