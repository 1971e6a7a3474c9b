/**
 * A small chart of the last minutes: lines over time on a canvas, in the page's colours, sharp on every screen. Its
 * newest values stand in its text alternative.
 */

import { el } from './el.js';
import { Samples } from './samples.js';

/** One line of a chart. */
export interface Series {
  label: string;
  /** A custom property of the page, such as `--series-2`. Default: the next of `--series-1` to `--series-8`. */
  colour?: string;
  /** Fills what is below the line. */
  area?: boolean;
}

/** How a chart looks. */
export interface ChartOptions {
  /** What it is of; begins the text alternative. */
  title: string;
  series: readonly Series[];
  /** How much time it shows, ms. Default: one minute. */
  span?: number;
  /** How many measurements of each series are kept. Default 600. */
  most?: number;
  /** The ends of the scale; without them it fits what there is, from 0. */
  min?: number;
  max?: number;
  /** The scale goes from the lowest value to the highest one, and not from 0: for what only wavers. */
  fit?: boolean;
  /** A value in words, such as `12 ms`. */
  format?: (value: number) => string;
  /** Only the line: no scale, no grid. */
  spark?: boolean;
  /** Ends it; without a signal it lives as long as the page. */
  signal?: AbortSignal;
}

/** The options that may be missing. */
type Bare = 'min' | 'max' | 'signal';

const SCALE_FONT = '11px ui-monospace, monospace';

const nameOf = ({ colour }: Series, index: number): string => colour ?? `--series-${(index % 8) + 1}`;

/** A coloured element that shows nothing by itself. */
function swatch(name: string, hidden: boolean): HTMLElement {
  const element = el('i', { hidden });
  element.style.color = `var(${name})`;
  return element;
}

/** The chart; put its `element` into the page, which says how large it is, and its `legend` where lines are several. */
export class Chart {
  readonly element: HTMLElement;
  readonly legend: HTMLElement;
  readonly #canvas = el('canvas', { attrs: { role: 'img' } });
  readonly #options: Required<Omit<ChartOptions, Bare>> & Pick<ChartOptions, Bare>;
  readonly #samples: Samples[];
  /** Elements that carry the colours: reading them off resolves whatever the style sheet says, in both themes. */
  readonly #inks: HTMLElement[];
  #colours: string[] = [];
  #width = 0;
  #height = 0;
  #asked = false;
  /** Up to when it shows; undefined: up to now. */
  #end: number | undefined;

  constructor(options: ChartOptions) {
    const format = (value: number) => `${Math.round(value * 10) / 10}`;
    this.#options = { span: 60_000, most: 600, spark: false, fit: false, format, ...options };
    this.#samples = options.series.map(() => new Samples(this.#options.most));
    this.#inks = ['--soft', '--line', '--card', ...options.series.map(nameOf)].map((name) => swatch(name, true));
    this.legend = el(
      'ul', { class: 'legend' },
      ...options.series.map((series, index) => el('li', {}, swatch(nameOf(series, index), false), series.label)),
    );
    this.element = el('div', { class: this.#options.spark ? 'chart spark' : 'chart' }, this.#canvas, ...this.#inks);
    this.#canvas.ariaLabel = options.title;
    const { signal } = options;
    const sizes = new ResizeObserver(([entry]) => {
      if (!entry) return;
      this.#width = entry.contentRect.width;
      this.#height = entry.contentRect.height;
      this.draw();
    });
    sizes.observe(this.element);
    signal?.addEventListener('abort', () => sizes.disconnect(), { once: true });
    const repaint = () => {
      this.#colours = [];
      this.draw();
    };
    document.addEventListener('theme', repaint, signal ? { signal } : {});
  }

  /** Adds a measurement of every series, in their order; `undefined` is a gap in that one. */
  push(values: readonly (number | undefined)[], time = performance.now()): void {
    for (const [index, value] of values.entries()) this.#samples[index]?.push(time, value ?? NaN);
    this.draw();
  }

  /** From here on it shows what is between two moments (of `performance.now()`), and not what was last. */
  between(start: number, end: number): void {
    this.#end = end;
    this.#options.span = Math.max(1, end - start);
    this.draw();
  }

  clear(): void {
    for (const samples of this.#samples) samples.clear();
    this.draw();
  }

  /** Draws at the next frame, however often it is called before it. */
  draw(): void {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      if (this.element.isConnected && this.#width > 0 && this.#height > 0) this.#paint();
    });
  }

  #paint(): void {
    const { title, series, span, format, spark, fit } = this.#options;
    const [width, height, ratio] = [this.#width, this.#height, devicePixelRatio];
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const pen = this.#canvas.getContext('2d');
    if (!pen) return;
    pen.scale(ratio, ratio);
    if (!this.#colours.length) this.#colours = this.#inks.map((ink) => getComputedStyle(ink).color);
    const [soft = '', line = '', ground = '', ...inks] = this.#colours;

    const now = this.#end ?? performance.now();
    const shown = this.#samples.map((samples) => [...samples.since(now - span)]);
    const values = shown.flat().map(([, value]) => value).filter(Number.isFinite);
    const lowest = fit && values.length ? Math.min(...values) : Math.min(0, ...values);
    const highest = Math.max(lowest, ...values);
    const low = this.#options.min ?? lowest;
    const high = this.#options.max ?? (fit && highest > lowest ? highest : niceTop(highest, low));
    const top = spark ? 2 : 16;
    const bottom = spark ? height - 2 : height - 4;
    const within = (value: number) => Math.min(Math.max(value, low), high);
    const y = (value: number) => bottom - ((within(value) - low) / (high - low)) * (bottom - top);
    const x = (time: number) => width - ((now - time) / span) * width;

    if (!spark) {
      pen.font = SCALE_FONT;
      pen.fillStyle = soft;
      pen.strokeStyle = line;
      pen.lineWidth = 1;
      for (const value of [low, (low + high) / 2, high]) {
        const at = Math.round(y(value)) + 0.5;
        pen.beginPath();
        pen.moveTo(0, at);
        pen.lineTo(width, at);
        pen.stroke();
      }
      if (!values.length) {
        pen.textAlign = 'center';
        pen.fillText('no measurements yet', width / 2, (top + bottom) / 2 + 14);
        pen.textAlign = 'start';
      }
    }
    for (const [index, points] of shown.entries()) {
      const ink = inks[index] ?? soft;
      pen.strokeStyle = pen.fillStyle = ink;
      pen.lineWidth = spark ? 1.5 : 2;
      pen.lineJoin = 'round';
      for (const stretch of stretches(points)) {
        const path = new Path2D();
        for (const [time, value] of stretch) path.lineTo(x(time), y(value));
        pen.stroke(path);
        if (!series[index]?.area) continue;
        path.lineTo(x(stretch.at(-1)?.[0] ?? now), bottom);
        path.lineTo(x(stretch[0]?.[0] ?? now), bottom);
        pen.globalAlpha = 0.16;
        pen.fill(path);
        pen.globalAlpha = 1;
      }
    }
    if (!spark) {
      // Over the lines, with a rim of the ground, so that no line runs through them.
      pen.font = SCALE_FONT;
      pen.fillStyle = soft;
      pen.strokeStyle = ground;
      pen.lineWidth = 3;
      for (const value of [low, (low + high) / 2, high]) {
        pen.strokeText(format(value), 2, Math.round(y(value)) - 2.5);
        pen.fillText(format(value), 2, Math.round(y(value)) - 2.5);
      }
    }
    const latest = series.map(({ label }, index) => {
      const value = this.#samples[index]?.last;
      return `${label} ${value === undefined || Number.isNaN(value) ? 'unknown' : format(value)}`;
    });
    this.#canvas.ariaLabel = `${title}: ${latest.join(', ')}`;
  }
}

/** The next 1, 2 or 5 times a power of ten above what is shown, so that the scale does not move with every value. */
function niceTop(highest: number, low: number): number {
  const reach = Math.max(highest - low, 1e-9) * 1.05;
  const power = 10 ** Math.floor(Math.log10(reach));
  const step = [1, 2, 5, 10].find((each) => each * power >= reach) ?? 10;
  return highest <= low ? low + 1 : low + step * power;
}

/** The unbroken parts of a line. */
function stretches(points: readonly [number, number][]): [number, number][][] {
  const parts: [number, number][][] = [[]];
  for (const point of points) {
    if (Number.isNaN(point[1])) parts.push([]);
    else parts.at(-1)?.push(point);
  }
  return parts.filter((part) => part.length > 0);
}
