/** What was measured of each way, and what follows from it in plain words. Nothing here touches a page or a network. */

/** The four ways, in the order of the page. */
export const WAYS = ['short', 'long', 'events', 'websocket'] as const;
export type Way = (typeof WAYS)[number];

export const NAMES: Readonly<Record<Way, string>> = {
  short: 'Short poll', long: 'Long poll', events: 'Server-Sent Events', websocket: 'WebSocket',
};

/** How old events were when they came, ms. */
export interface Delays {
  min: number;
  average: number;
  p95: number;
  max: number;
}

/** What one way did. */
export interface Result {
  way: Way;
  /** Events that came, each counted once, and those that came again. */
  received: number;
  repeated: number;
  requests: number;
  /** Bytes from and to the server. */
  inward: number;
  outward: number;
  delays: Delays | undefined;
  /** Why it took no part. */
  fault?: string;
}

/** What may have spoilt the figures. */
export interface Conditions {
  /** How many events were published. */
  sent: number;
  /** How long nobody looked at the page, ms. */
  hiddenMs: number;
  /** How much later than planned the latest event was published, ms. */
  lateMs: number;
}

/** Figures of delays; undefined where there are none. */
export function delaysOf(values: readonly number[]): Delays | undefined {
  if (!values.length) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  // The nearest rank: the smallest value that 95 of 100 do not exceed.
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  const sum = sorted.reduce((all, each) => all + each, 0);
  return { min: at(0), average: sum / sorted.length, p95: at(0.95), max: at(1) };
}

/** Below this, ms, two averages are the same to whoever looks at them. */
const SAME_MS = 5;
const LATE_MS = 250;
/** So much more is worth a word. */
const FAR = 1.5;

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** A duration as it is read best. */
export const ms = (value: number): string => `${value < 10 && value ? value.toFixed(1) : number.format(value)} ms`;

/** Bytes as they are read best. */
export const bytes = (value: number): string =>
  value < 10_000 ? `${number.format(value)} B` : `${number.format(value / 1024)} KiB`;

const times = (factor: number): string => (factor < 10 ? factor.toFixed(1) : number.format(factor));
const listed = (words: readonly string[]): string =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1) ?? ''}`;
const average = ({ delays }: Result): number => delays?.average ?? Infinity;
/** What an event cost on the wire, both ways together. */
export const perEvent = ({ inward, outward, received }: Result): number => (inward + outward) / Math.max(received, 1);

/** What the figures say, one sentence each. */
export function conclusion(all: readonly Result[], { sent, hiddenMs, lateMs }: Conditions): string[] {
  const results = all.filter(({ fault }) => fault === undefined);
  const said = all.flatMap(({ way, fault }) => (fault === undefined ? [] : `${NAMES[way]} took no part: ${fault}`));
  if (!sent || !results.length) return [...said, 'Nothing was published, so there is nothing to compare.'];

  const lacking = results.filter(({ received }) => received < sent);
  const again = results.filter(({ repeated }) => repeated > 0);
  const all4 = results.length === WAYS.length ? 'All four' : `All ${results.length}`;
  if (lacking.length) {
    const each = lacking.map(({ way, received }) => `${NAMES[way]} has ${received} of ${sent}`);
    said.push(`Not everything arrived: ${listed(each)}.`);
  } else {
    const events = `${number.format(sent)} ${sent === 1 ? 'event' : 'events'}`;
    said.push(`${all4} received all ${events}${again.length ? '' : ', each once'}.`);
  }
  if (again.length) {
    const each = again.map(({ way, repeated }) => `${repeated} over ${NAMES[way]}`);
    said.push(`Some came more than once: ${listed(each)}.`);
  }

  const quick = results.filter(({ delays }) => delays).sort((a, b) => average(a) - average(b));
  const [first, last] = [quick[0], quick.at(-1)];
  if (first && last && first !== last) {
    const as = quick.filter((each) => average(each) <= Math.max(average(first) * FAR, average(first) + SAME_MS));
    const who = listed(as.map(({ way }) => NAMES[way]));
    const slowest = average(as.at(-1) ?? first);
    const took = as.length > 1
      ? `were equally quick, at ${ms(average(first))} to ${ms(slowest)} on average`
      : `was the quickest, with ${ms(average(first))} on average`;
    const more = times(average(last) / Math.max(average(first), 0.1));
    const rest = as.length === quick.length
      ? ''
      : ` News by ${NAMES[last.way]} was ${ms(average(last))} old, ${more} times as much.`;
    said.push(`${who} ${took}.${rest}`);
  }

  const asked = [...results].sort((a, b) => b.requests - a.requests);
  const [most, least] = [asked[0], asked.at(-1)];
  if (most && least && most.requests > least.requests * FAR) {
    const few = asked.filter(({ requests }) => requests <= least.requests + 1).reverse();
    const names = listed(few.map(({ way }) => NAMES[way]));
    const made = few.length > 1 ? 'hardly more than one each' : `only ${least.requests}`;
    said.push(`${NAMES[most.way]} made ${number.format(most.requests)} requests for it, ${names} ${made}.`);
  }

  const costs = [...results].sort((a, b) => perEvent(a) - perEvent(b));
  const [cheap, dear] = [costs[0], costs.at(-1)];
  if (cheap && dear && perEvent(dear) > perEvent(cheap) * FAR) {
    const [low, high] = [perEvent(cheap), perEvent(dear)];
    const cost = `${bytes(low)} over ${NAMES[cheap.way]} and ${bytes(high)} by ${NAMES[dear.way]}`;
    said.push(`An event cost ${cost}, ${times(high / low)} times as much.`);
  }

  if (hiddenMs > 0) {
    const away = number.format(Math.ceil(hiddenMs / 1000));
    said.push(
      `The page was in the background for ${away} s: browsers slow its timers down then, so compare with care.`,
    );
  }
  if (lateMs > LATE_MS) said.push(`This browser was busy: an event was published ${ms(lateMs)} later than planned.`);
  return said;
}
