/** The price board: a table that can be sorted, in which prices flash when they change. */

import { Chart } from '../shell/chart.js';
import { el, setText, within } from '../shell/el.js';
import { change, signed } from './change.js';
import { COMPANIES, type Company } from './companies.js';
import type { Quote } from './market.js';

const SPAN_MS = 60_000;
/** How long the flash stays, ms. */
const FLASH_MS = 900;

type Column = 'symbol' | 'price' | 'change' | 'traded';

const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

class Row {
  quote: Quote | undefined;
  readonly element: HTMLTableRowElement;
  readonly #price = el('span', { class: 'number' }, '–');
  readonly #arrow = el('span', { class: 'arrow', attrs: { 'aria-hidden': 'true' } });
  readonly #cell = el('td', { class: 'price' }, this.#arrow, this.#price);
  readonly #change = el('td', { class: 'change number' }, '–');
  readonly #traded = el('td', { class: 'traded number' }, '–');
  readonly #chart: Chart;
  #calm: number | undefined;

  constructor(readonly company: Company, choose: (symbol: string) => void) {
    const { symbol, name } = company;
    this.#chart = new Chart({
      title: `${symbol}, the last minute`, series: [{ label: 'price' }], span: SPAN_MS, spark: true, fit: true,
      format: (value) => value.toFixed(2),
    });
    const what = `Alert for ${symbol}`;
    const on = { click: () => choose(symbol) };
    const bell = el('button', { type: 'button', class: 'quiet icon', ariaLabel: what, title: what, on });
    bell.append(within(document, '#bell', HTMLTemplateElement).content.cloneNode(true));
    this.element = el(
      'tr', { data: { symbol } },
      el('th', { scope: 'row' }, el('b', {}, symbol), el('span', { class: 'name' }, name)),
      this.#cell, this.#change, this.#traded,
      el('td', { class: 'minute' }, this.#chart.element), el('td', { class: 'bell' }, bell),
    );
  }

  /** A price of `time` (`performance.now()`); `isLive`: it has come just now. */
  show(quote: Quote, time: number, isLive: boolean): void {
    const before = this.quote;
    this.quote = quote;
    this.#chart.push([quote.price], time);
    setText(this.#price, quote.price.toFixed(2));
    setText(this.#traded, short.format(quote.traded));
    const { text, side } = signed(change(quote));
    setText(this.#change, text);
    this.#change.dataset['side'] = side;
    if (!isLive || !before || before.price === quote.price) return;
    const isUp = quote.price > before.price;
    // The arrow stays until the next change; the ground behind it goes.
    setText(this.#arrow, isUp ? '▲' : '▼');
    this.#cell.dataset['side'] = isUp ? 'up' : 'down';
    this.#cell.classList.add('flash');
    clearTimeout(this.#calm);
    this.#calm = setTimeout(() => this.#cell.classList.remove('flash'), FLASH_MS);
  }

  /** The line is broken here. */
  gap(): void {
    this.#chart.push([undefined]);
  }

  /** By what it is sorted. */
  key(column: Column): string | number {
    if (column === 'symbol' || !this.quote) return column === 'symbol' ? this.company.symbol : -Infinity;
    return column === 'change' ? change(this.quote) : this.quote[column];
  }
}

export class Table {
  readonly #rows: ReadonlyMap<string, Row>;
  readonly #body: HTMLTableSectionElement;
  readonly #heads: HTMLElement[];
  #by: Column = 'symbol';
  #isFalling = false;

  /** `choose` is called when somebody wants an alert for a company. */
  constructor(table: HTMLTableElement, choose: (symbol: string) => void) {
    this.#rows = new Map(COMPANIES.map((company) => [company.symbol, new Row(company, choose)]));
    this.#body = within(table, 'tbody', HTMLTableSectionElement);
    this.#body.replaceChildren(...[...this.#rows.values()].map(({ element }) => element));
    this.#heads = [...table.querySelectorAll<HTMLElement>('th[data-column]')];
    for (const head of this.#heads) {
      const sort = () => this.#sortBy(head.dataset['column'] as Column);
      within(head, 'button', HTMLButtonElement).addEventListener('click', sort);
    }
  }

  /** Prices that came with one event. */
  show(quotes: readonly Quote[], time: number, isLive: boolean): void {
    for (const quote of quotes) this.#rows.get(quote.symbol)?.show(quote, time, isLive);
  }

  priceOf(symbol: string): number | undefined {
    return this.#rows.get(symbol)?.quote?.price;
  }

  gap(): void {
    for (const row of this.#rows.values()) row.gap();
  }

  #sortBy(column: Column): void {
    // Words rise at first and figures fall: what is looked for stands on top.
    this.#isFalling = column === this.#by ? !this.#isFalling : column !== 'symbol';
    this.#by = column;
    for (const head of this.#heads) {
      if (head.dataset['column'] === column) head.ariaSort = this.#isFalling ? 'descending' : 'ascending';
      else head.removeAttribute('aria-sort');
    }
    this.#order();
  }

  /** Puts the rows into order again, unless somebody is about to press one: a row that slips away cannot be pressed. */
  sort(): void {
    if (!this.#body.matches(':hover') && !this.#body.contains(document.activeElement)) this.#order();
  }

  #order(): void {
    const sign = this.#isFalling ? -1 : 1;
    const rows = [...this.#rows.values()].sort((a, b) => {
      const [left, right] = [a.key(this.#by), b.key(this.#by)];
      return left === right ? 0 : left < right ? -sign : sign;
    });
    rows.forEach(({ element }, place) => {
      const at = this.#body.children[place];
      if (at !== element) this.#body.insertBefore(element, at ?? null);
    });
  }
}
