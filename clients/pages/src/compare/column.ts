/** One of the four columns: what a way does, while it does it. */

import { Chart } from '../shell/chart.js';
import { el, setText } from '../shell/el.js';
import { bytes, ms, NAMES, type Result, type Way } from './results.js';

const ABOUT: Readonly<Record<Way, string>> = {
  short: 'Asks every second whether there is anything new.',
  long: 'Asks, and the server answers when there is something.',
  events: 'Asks once; the answer never ends.',
  websocket: 'One connection, both ways.',
};

const FIGURES = ['received', 'average', 'p95', 'requests', 'inward'] as const;
const LABELS: Readonly<Record<(typeof FIGURES)[number], string>> = {
  received: 'Events', average: 'Average delay', p95: '95 % within', requests: 'Requests', inward: 'Bytes received',
};

export class Column {
  readonly element: HTMLElement;
  readonly #figures = new Map(FIGURES.map((name) => [name, el('dd', { data: { figure: name } }, '–')]));
  readonly #fault = el('p', { class: 'box warn', hidden: true });
  readonly #chart: Chart;

  constructor(readonly way: Way) {
    const name = NAMES[way];
    this.#chart = new Chart({
      title: `${name}, delay of each event`, series: [{ label: 'delay', colour: '--accent', area: true }],
      format: ms, min: 0,
    });
    this.element = el(
      'section', { class: 'card column', data: { way }, attrs: { 'aria-labelledby': `way-${way}` } },
      el('h2', { id: `way-${way}` }, name), el('p', { class: 'hint' }, ABOUT[way]), this.#fault, this.#chart.element,
      el('dl', {}, ...[...this.#figures].map(([figure, value]) => el('div', {}, el('dt', {}, LABELS[figure]), value))),
    );
  }

  clear(): void {
    this.#chart.clear();
    for (const value of this.#figures.values()) setText(value, '–');
    this.#fault.hidden = true;
  }

  /** One event has come. */
  hear(delay: number): void {
    this.#chart.push([delay]);
  }

  /** Which time the chart shows: that of the run. */
  between(start: number, end: number): void {
    this.#chart.between(start, end);
  }

  show({ received, delays, requests, inward, fault }: Result, sent: number): void {
    const texts = {
      received: `${received} of ${sent}`,
      average: delays ? ms(delays.average) : '–',
      p95: delays ? ms(delays.p95) : '–',
      requests: `${requests}`,
      inward: bytes(inward),
    };
    for (const [name, value] of this.#figures) setText(value, texts[name]);
    this.#fault.hidden = fault === undefined;
    setText(this.#fault, fault === undefined ? '' : `It takes no part: ${fault}`);
  }
}
