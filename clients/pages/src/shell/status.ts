/** The pill that says how the page stands with the server: one state, one sentence, how messages travel. */

import type { FeedStatus, Status } from 'rallypoint-client';
import { tokenOfAddress } from './address.js';
import { el, setText } from './el.js';

/** The states of a page. `closed` of a client is `left` when it was asked for, and else `refused`. */
export type PageState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'refused' | 'left';

/** What the pill shows. */
export interface Shown {
  state: PageState;
  /** One sentence for a person at the screen. */
  reason: string;
  /** What changes too often to be read aloud: for the eye only. */
  aside?: string;
  transport?: 'websocket' | 'events' | 'poll' | undefined;
  /** The number behind a refusal, for whoever has to find out more. */
  code?: number | undefined;
  /** When the next attempt begins, Unix ms. */
  retryAt?: number | undefined;
}

/** How messages travel, in words. */
export const WAYS = { websocket: 'WebSocket', events: 'Server-Sent Events', poll: 'long poll' };

const EXPIRED = [702, 4100];
const NOT_GOOD = [700, 701, 709, 4401];

/** Why a client or a feed stands as it does: a sentence, and for a token of the address what to do about it. */
export function reasonOf({ state, reason, code }: Status | FeedStatus): string {
  const sentence = reason.charAt(0).toUpperCase() + reason.slice(1);
  if (state !== 'closed' || tokenOfAddress() === null) return sentence;
  if (EXPIRED.includes(code)) return 'Your token has expired. Open this page with a fresh one.';
  if (NOT_GOOD.includes(code)) return 'The server does not accept the access token. Open this page with another one.';
  return sentence;
}

/** The status of a client or a feed in the page's words. `asked`: the page itself has closed it. */
export function shownOf(status: Status | FeedStatus, asked = false): Shown {
  const { transport, code, retryAt } = status;
  const state = status.state === 'closed' ? (asked ? 'left' : 'refused') : status.state;
  return { state, reason: reasonOf(status), transport: state === 'connected' ? transport : undefined, code, retryAt };
}

/**
 * The pill. Its element has `data-state`, by which tests and styles go. It is read aloud when it changes, so its parts
 * stay where they are, and only what is another is written.
 */
export class StatusPill {
  readonly #element: HTMLElement;
  readonly #says = el('span', { class: 'says' });
  readonly #aside = el('span', { class: 'aside', attrs: { 'aria-hidden': 'true' } });
  readonly #way = el('span', { class: 'way', hidden: true });
  #shown: Shown = { state: 'idle', reason: 'Not connected.' };
  #ticking: number | undefined;

  constructor(element: HTMLElement) {
    this.#element = element;
    setText(this.#says, element.textContent ?? '');
    element.replaceChildren(this.#says, this.#aside, this.#way);
    for (const type of ['online', 'offline']) addEventListener(type, () => this.#draw());
  }

  show(shown: Shown): void {
    this.#shown = shown;
    this.#element.dataset['state'] = shown.state;
    document.body.dataset['state'] = shown.state;
    clearInterval(this.#ticking);
    this.#ticking = shown.retryAt === undefined ? undefined : setInterval(() => this.#draw(), 500);
    this.#draw();
  }

  #draw(): void {
    const { state, reason, transport, code, retryAt = 0, aside = '' } = this.#shown;
    const isAway = state === 'connecting' || state === 'reconnecting';
    const isOffline = isAway && !navigator.onLine;
    this.#element.toggleAttribute('data-offline', isOffline);
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    const way = transport ? WAYS[transport] : state === 'refused' && code ? `${code}` : '';
    setText(this.#says, isOffline ? `You are offline. ${reason}` : reason);
    setText(this.#aside, isAway && seconds > 0 ? `Trying again in ${seconds} s…` : aside);
    setText(this.#way, way);
    this.#way.hidden = !way;
  }
}
