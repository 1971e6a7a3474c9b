/** Figures in words: sizes, shares, durations, counts. */

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Three digits are enough for the eye. */
function digits(value: number): string {
  if (value >= 100 || Number.isInteger(value)) return `${Math.round(value)}`;
  return value.toFixed(value >= 10 ? 1 : 2);
}

/** A size, such as `48.2 MiB`. */
export function bytes(value: number): string {
  let [size, power] = [value, 0];
  while (size >= 1000 && power < SIZES.length - 1) [size, power] = [size / 1024, power + 1];
  return `${power ? digits(size) : Math.round(size)} ${SIZES[power] ?? ''}`;
}

export const perSecond = (value: number): string => `${bytes(value)}/s`;

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** A count, such as `19,936`. */
export const count = (value: number): string => whole.format(value);

/** A rate of things, such as `12.5/s`. */
export const rate = (value: number): string => `${value >= 100 ? whole.format(value) : digits(value)}/s`;

/** A duration, such as `2.41 ms`. */
export function ms(value: number | undefined): string {
  if (value === undefined) return '–';
  return value >= 10_000 ? `${digits(value / 1000)} s` : `${digits(value)} ms`;
}

/** A share, such as `27 %`. */
export function percent(share: number): string {
  return `${share < 0.1 && share > 0 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;
}

/** How many processors of all are used, such as `0.25 of 2 cores`; where it is some, it is never 0. */
export function cores(used: number, all: number): string {
  const least = used > 0 && used < 0.01 ? 'under 0.01' : digits(used);
  return `${least} of ${all} ${all === 1 ? 'core' : 'cores'}`;
}
