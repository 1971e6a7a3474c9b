/** The desk: where alerts are asked for, those that wait, and those that have come true. */

import type { FeedEvent } from 'rallypoint-client';
import { at, el, setText } from '../shell/el.js';
import { toast } from '../shell/toast.js';
import { type Alert, fault, inWords, MOST } from './alert.js';
import { COMPANIES } from './companies.js';
import { Kept } from './kept.js';

const MOST_PAST = 50;
/** Older news than this, ms, is history and no surprise. */
const FRESH_MS = 10_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => (byte % 36).toString(36)).join('');
}

export class Desk {
  readonly #kept = new Kept(() => this.#draw());
  readonly #form = at('alert-form', HTMLFormElement);
  readonly #symbol = at('symbol', HTMLSelectElement);
  readonly #side = at('side', HTMLSelectElement);
  readonly #price = at('price', HTMLInputElement);
  readonly #fault = at('alert-fault');
  readonly #past = at('past');
  readonly #outside = at('outside', HTMLButtonElement);
  readonly #changed: (alerts: readonly Alert[]) => void;
  readonly #priceOf: (symbol: string) => number | undefined;

  /** `changed` is told which alerts wait, at first and whenever they are others. */
  constructor(priceOf: (symbol: string) => number | undefined, changed: (alerts: readonly Alert[]) => void) {
    this.#priceOf = priceOf;
    this.#changed = changed;
    this.#symbol.append(...COMPANIES.map(({ symbol, name }) => el('option', { value: symbol }, `${symbol} · ${name}`)));
    this.#form.noValidate = true;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#ask();
    });
    this.#form.addEventListener('input', () => this.#complain(undefined));
    this.#outside.addEventListener('click', () => void this.#permit());
    this.#draw();
    this.#drawOutside();
  }

  /** Fills the form for a company: a price nearby, on the side that has not come true. */
  choose(symbol: string): void {
    this.#symbol.value = symbol;
    const price = this.#priceOf(symbol);
    if (price !== undefined) this.#price.value = (price * (this.#side.value === 'above' ? 1.005 : 0.995)).toFixed(2);
    this.#complain(undefined);
    this.#price.focus();
    this.#price.select();
  }

  /** Why nobody would see an alert that is set here, if that is so. */
  close(why: string | undefined): void {
    const note = at('alert-closed');
    note.hidden = why === undefined;
    setText(note, why ?? '');
    at('set-alert', HTMLButtonElement).disabled = why !== undefined;
  }

  /** A notification of the server. `now` is the server's clock. */
  hear({ time, data, position }: FeedEvent, now: number): void {
    const { message, data: more }: { message?: unknown; data?: unknown } =
      typeof data === 'object' && data !== null ? data : {};
    if (typeof message !== 'string') return;
    const { alert: id }: { alert?: unknown } = typeof more === 'object' && more !== null ? more : {};
    if (typeof id === 'string') this.#kept.remove(id);
    const when = el('time', { dateTime: new Date(time).toISOString() }, clock.format(time));
    this.#past.prepend(el('li', { data: { position } }, when, el('span', {}, message)));
    while (this.#past.childElementCount > MOST_PAST) this.#past.lastElementChild?.remove();
    at('no-past').hidden = true;
    if (now - time > FRESH_MS) return;
    toast(message, { kind: 'good' });
    this.#tellOutside(message, typeof id === 'string' ? id : position);
  }

  #ask(): void {
    const { value, valueAsNumber } = this.#price;
    const alert: Alert = {
      id: newId(), symbol: this.#symbol.value, side: this.#side.value === 'above' ? 'above' : 'below',
      price: value ? valueAsNumber : NaN,
    };
    const wrong = fault(alert, this.#kept.alerts, this.#priceOf(alert.symbol));
    this.#complain(wrong);
    if (wrong) return this.#price.focus();
    this.#price.value = '';
    this.#kept.add(alert);
  }

  #complain(wrong: string | undefined): void {
    setText(this.#fault, wrong ?? '');
    this.#fault.hidden = wrong === undefined;
    this.#price.ariaInvalid = `${wrong !== undefined}`;
  }

  #draw(): void {
    const { alerts } = this.#kept;
    at('waiting').replaceChildren(
      ...alerts.map((alert) => {
        const words = inWords(alert);
        const on = { click: () => this.#remove(alert.id) };
        const remove = el('button', { type: 'button', class: 'quiet icon', ariaLabel: `Remove ${words}`, on }, '×');
        return el('li', { data: { alert: alert.id } }, el('span', { class: 'number' }, words), remove);
      }),
    );
    at('no-waiting').hidden = alerts.length > 0;
    setText(at('waiting-count'), `${alerts.length} of ${MOST}`);
    this.#changed(alerts);
  }

  #remove(id: string): void {
    this.#kept.remove(id);
    // The button that had the focus is gone.
    this.#price.focus();
  }

  /** Notifications of the browser: asked for by a click only, and not needed. */
  async #permit(): Promise<void> {
    // Where they are refused this says so, too.
    await Notification.requestPermission().catch(() => 'denied');
    this.#drawOutside();
  }

  #drawOutside(): void {
    const state = 'Notification' in globalThis ? Notification.permission : 'unknown';
    this.#outside.hidden = state !== 'default';
    setText(at('outside-note'), {
      default: 'Alerts show up on this page. Your browser can show them outside of it, too.',
      granted: 'Alerts show up on this page, and outside of it through your browser.',
      denied:
        'Alerts show up on this page. Your browser was told not to show notifications of this address outside of it.',
      unknown: 'Alerts show up on this page. This browser shows none outside of it.',
    }[state]);
  }

  #tellOutside(message: string, tag: string): void {
    if (!('Notification' in globalThis) || Notification.permission !== 'granted') return;
    if (document.visibilityState === 'visible') return;
    try {
      // Every tab is told; the tag makes one notification of it.
      new Notification('rallypoint ticker', { body: message, tag });
    } catch {
      // Telephones show those of service workers only; the page has it.
    }
  }
}
