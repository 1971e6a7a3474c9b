/** Whether all is well, by a few simple rules. It touches no page and reads no clock. */

import { type Figures, type Name, open } from './figures.js';
import { bytes, count, ms, percent } from './units.js';

/** Something to look at. */
export interface Finding {
  level: 'warn' | 'danger';
  /** The card that shows it; none if nothing does. */
  card?: Name;
  /** One sentence. */
  text: string;
}

/** How many seconds have a say where one of them alone is no news. */
export const RECENT = 5;
/** How long the server may be silent, ms. */
const SILENT_MS = 5_000;

const LAG_MS = { warn: 50, danger: 250 };
const CONNECTIONS = { warn: 0.75, danger: 0.92 };
const MEMORY = { warn: 0.9, danger: 0.97 };
const DISK = { warn: 0.9, danger: 0.97 };
const BUSY = { warn: 0.9, danger: 2 };

const levelOf = (value: number, { warn, danger }: { warn: number; danger: number }): Finding['level'] | undefined =>
  value >= danger ? 'danger' : value >= warn ? 'warn' : undefined;

/** The middle one. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/**
 * What there is to look at, the worst first. `recent` are the last figures, oldest first; `silentMs` how long none
 * came.
 */
export function judge(recent: readonly Partial<Figures>[], silentMs: number): Finding[] {
  const found: Finding[] = [];
  const { memory, disk, connections } = recent.at(-1) ?? {};
  const find = (card: Name, value: number, bounds: { warn: number; danger: number }, text: string) => {
    const level = levelOf(value, bounds);
    if (level) found.push({ level, card, text });
  };
  if (silentMs >= SILENT_MS) {
    found.push({ level: 'danger', text: `The server has not been heard for ${Math.round(silentMs / 1000)} s.` });
  }
  if (connections?.most) {
    const here = open(connections);
    const text = `${count(here)} connections are open, and ${count(connections.most)} may be.`;
    find('connections', here / connections.most, CONNECTIONS, text);
  }
  const lag = median(recent.flatMap(({ latency }) => latency?.lag ?? []));
  find('latency', lag, LAG_MS, `The server wakes ${ms(lag)} later than it wants to: it has more to do than time.`);
  if (memory?.total) {
    const free = bytes(memory.total - memory.used);
    const share = memory.used / memory.total;
    find('memory', share, MEMORY, `${percent(share)} of the machine’s memory is in use: ${free} are left.`);
  }
  if (disk?.total) find('disk', disk.used / disk.total, DISK, `The disk is ${percent(disk.used / disk.total)} full.`);
  const busy = median(recent.flatMap(({ cpu }) => cpu?.usage ?? []));
  find('cpu', busy, BUSY, `The machine’s processors are ${percent(busy)} busy.`);
  return found.sort((a, b) => Number(b.level === 'danger') - Number(a.level === 'danger'));
}

/** A sentence for when there is nothing to look at. */
export function calm({ connections, rooms, latency }: Partial<Figures>): string {
  if (!connections || !rooms || !latency) return 'The first figures are on their way.';
  const [here, rtt] = [open(connections), latency.rtt.p50];
  const some = (number: number, one: string) => `${count(number)} ${one}${number === 1 ? '' : 's'}`;
  const people = `${some(here, 'connection')}, ${some(rooms.rooms, 'room')}`;
  return rtt === undefined ? `${people}.` : `${people}, half of the clients within ${ms(rtt)}.`;
}
