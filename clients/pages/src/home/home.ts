/** The front page: what to copy, with this server's own address in it, and how this server is. */

import '../shell/start.js';

import { route, server } from '../shell/address.js';
import { copy } from '../shell/copy.js';
import { at, el } from '../shell/el.js';
import { StatusPill } from '../shell/status.js';

const ASK_MS = 10_000;

for (const block of document.querySelectorAll('pre')) {
  const text = (block.textContent ?? '').replaceAll('{server}', server.href).replaceAll('{origin}', server.origin);
  block.textContent = text;
  const label = block.dataset['label'] ?? '';
  block.ariaLabel = label;
  const button = el('button', { type: 'button', class: 'quiet', on: { click: () => void copy(text, button) } }, 'Copy');
  const frame = el('div', { class: 'snippet' }, el('div', { class: 'head' }, el('span', {}, label), button));
  block.replaceWith(frame);
  frame.append(block);
}

const pill = new StatusPill(at('live'));

/** Asks how the server is, again and again while somebody looks. */
async function ask(): Promise<void> {
  if (document.visibilityState === 'visible') {
    const start = performance.now();
    try {
      const { ok } = await fetch(route('readyz'), { cache: 'no-store', signal: AbortSignal.timeout(ASK_MS) });
      const took = Math.round(performance.now() - start);
      if (ok) pill.show({ state: 'connected', reason: 'This server is ready.', aside: `It answered in ${took} ms.` });
      else pill.show({ state: 'reconnecting', reason: 'This server is starting or about to end.' });
    } catch {
      pill.show({ state: 'reconnecting', reason: 'This server does not answer.' });
    }
  }
  setTimeout(() => void ask(), ASK_MS);
}
void ask();
