/** The card of one check. */

import { el } from '../shell/el.js';
import type { Level, Verdict } from './verdicts.js';

const TAGS: Record<Level, { label: string; kind: string }> = {
  good: { label: '✓ good', kind: 'good' },
  warning: { label: '! warning', kind: 'warn' },
  bad: { label: '✕ bad', kind: 'danger' },
};
/** Labels that are addresses, and values that are sentences, take a line of their own. */
const LONG = 17;

export class Card {
  readonly element: HTMLElement;
  readonly #tag = el('span', { class: 'tag' });
  readonly #body = el('div', { class: 'card-body' });

  constructor(title: string) {
    const id = `check-${title.toLowerCase().replace(/\W+/g, '-')}`;
    this.element = el(
      'section',
      { class: 'card check', id, attrs: { 'aria-labelledby': `${id}-title` } },
      el('div', { class: 'row apart' }, el('h2', { id: `${id}-title` }, title), this.#tag),
      this.#body,
    );
    this.wait();
  }

  /** Others come first. */
  wait(): void {
    this.#set('waiting', 'waiting', '');
    this.#body.replaceChildren(el('p', { class: 'hint' }, 'Its turn comes.'));
  }

  /** It is being tried. */
  run(): void {
    this.#set('running', 'running', '');
    this.#body.replaceChildren(el('p', { class: 'hint busy' }, 'Being tried…'));
  }

  show({ level, text, todo, snippet, facts }: Verdict): void {
    const { label, kind } = TAGS[level];
    this.#set(level, label, kind);
    const list = facts.map(([name, value]) => {
      const isLong = name.length > LONG || value.length > LONG;
      return el('div', { class: isLong ? 'long' : '' }, el('dt', {}, name), el('dd', {}, value));
    });
    this.#body.replaceChildren(
      el('p', {}, text),
      ...(todo ? [el('p', { class: 'todo' }, el('b', {}, 'To do: '), todo)] : []),
      ...(snippet ? [el('pre', { tabIndex: 0 }, snippet)] : []),
      ...(list.length ? [el('dl', { class: 'facts' }, ...list)] : []),
    );
  }

  #set(level: string, label: string, kind: string): void {
    this.element.dataset['level'] = level;
    this.#tag.textContent = label;
    this.#tag.className = `tag ${kind}`.trim();
  }
}
