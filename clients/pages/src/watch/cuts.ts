/** What became of each cut of the line, told so that anybody can check it: the cursors, and what was caught up. */

import { el } from '../shell/el.js';
import { clock } from './show.js';
import type { Tally } from './tally.js';

const MOST = 8;

/** The part of a cursor in which it differs from the other one is marked: from the first difference to the last. */
function marked(name: string, cursor: string | undefined, other: string | undefined): HTMLElement {
  const [text, than] = [cursor ?? 'none', other ?? ''];
  let first = 0;
  while (first < text.length && text[first] === than[first]) first += 1;
  let end = text.length;
  while (end > first && text[end - 1] === than[end - text.length + than.length - 1]) end -= 1;
  return el(
    'p',
    {},
    `${name} `,
    el('code', {}, text.slice(0, first), first < end && el('mark', {}, text.slice(first, end)), text.slice(end)),
  );
}

/** A cut whose end is not known yet. */
interface Open {
  item: HTMLElement;
  at: number;
  cursor: string | undefined;
  seen: number;
  missing: number;
  repeats: number;
  resets: number;
  /** When the feed was back, 0 before; and how far each room's log had come by then. */
  back: number;
  heads: ReadonlyMap<string, number> | undefined;
}

export class Cuts {
  #open: Open | undefined;

  constructor(
    readonly list: HTMLElement,
    readonly tally: Tally,
  ) {
    list.replaceChildren();
  }

  /** The line was cut. A cut before the last one is over goes on as one. */
  cut(cursor: string | undefined): void {
    if (this.#open) return;
    const at = Date.now();
    const item = el(
      'li',
      { data: { state: 'open' } },
      `${clock.format(at)}: cut after ${this.tally.seen} events. What happens now is to come later.`,
    );
    this.list.prepend(item);
    while (this.list.childElementCount > MOST) this.list.lastElementChild?.remove();
    const { seen, missing, repeats, resets } = this.tally;
    this.#open = { item, at, cursor, seen, missing, repeats, resets, heads: undefined, back: 0 };
  }

  /** The feed is connected again. */
  back(): void {
    if (this.#open) this.#open.back ||= Date.now();
  }

  /** How far the logs had come when the feed was back: up to there everything has to be caught up. */
  reach(heads: ReadonlyMap<string, number>): void {
    if (this.#open?.back) this.#open.heads ??= heads;
  }

  /** Something came, or it is known how much is to come: is all of it here? */
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
    const verdict = isWhole
      ? 'Nothing lost, nothing twice.'
      : resets > open.resets
        ? 'The server told of a hole.'
        : `${lost} lost, ${twice} twice.`;
    open.item.dataset['state'] = isWhole ? 'whole' : 'broken';
    const seconds = ((open.back - open.at) / 1000).toFixed(1);
    const came = caught === 1 ? '1 event' : `${caught} events`;
    open.item.replaceChildren(
      el('p', {}, `${clock.format(open.at)}: away for ${seconds} s, ${came} caught up. `, el('b', {}, verdict)),
      marked('cursor before', open.cursor, cursor),
      marked('cursor after', cursor, open.cursor),
    );
  }
}
