/** The box that says why the server refused, and what to do about it. */

import type { Shown } from './status.js';
import { tokenOfAddress } from './address.js';
import { el } from './el.js';

const FORBIDDEN = 705;

/** A refusal, large enough to be seen beside a form: `role="alert"`, so it is read aloud, too. */
export function refusal({ reason, code }: Shown): HTMLElement {
  let next = '';
  if (code === FORBIDDEN && tokenOfAddress() !== null) {
    next = 'Choose a room that your token names, or open this page with a token for this one.';
  }
  return el(
    'section',
    { class: 'box danger', attrs: { role: 'alert' } },
    el('h2', {}, 'You are not in the room'),
    el('p', {}, reason, code ? ` (${code})` : ''),
    next && el('p', {}, next),
  );
}
