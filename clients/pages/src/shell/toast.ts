/** Short notices at the edge of the page, read aloud by screen readers, that go by themselves. */

import { el } from './el.js';

const STAY_MS = 6_000;
const MOST = 4;

const region = el('div', { class: 'toasts', attrs: { role: 'status', 'aria-live': 'polite' } });
document.body.append(region);

/** Shows a notice. One of the kind `danger` stays until it is dismissed. */
export function toast(text: string, { kind = 'info' }: { kind?: 'info' | 'good' | 'danger' } = {}): void {
  const on = { click: () => note.remove() };
  const close = el('button', { type: 'button', class: 'quiet icon', ariaLabel: 'Dismiss', on }, '×');
  const note = el('p', { class: `toast ${kind}` }, el('span', {}, text), close);
  region.append(note);
  while (region.childElementCount > MOST) region.firstElementChild?.remove();
  if (kind !== 'danger') setTimeout(() => note.remove(), STAY_MS);
}
