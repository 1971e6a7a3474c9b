/** A stream of events, and how late they are. */

import { EventStream } from 'rallypoint-client';
import { route } from '../../shell/address.js';
import { pause } from '../../shell/pause.js';
import type { Ground } from '../ground.js';
import type { StreamMeasured } from '../measured.js';
import { headers, now, numberOf, PATIENCE_MS, problemOf, publish, silence, within } from './ask.js';

const EVENTS = 8;
const EVERY_MS = 150;

export async function probeStream(ground: Ground, token: string): Promise<StreamMeasured> {
  const measured: StreamMeasured = { delays: [], missing: 0 };
  const abort = new AbortController();
  /** When each of our events arrived, by its number. */
  const arrivals = new Map<number, number>();
  let arrived = () => {};
  const begun = now();
  let first = () => {};
  const greeted = new Promise<true>((done) => (first = () => done(true)));

  const read = async (): Promise<undefined> => {
    const address = route('v1/events');
    address.searchParams.set('room', ground.room);
    const accepting = headers(token, { accept: 'text/event-stream' });
    const response = await fetch(address, { headers: accepting, cache: 'no-store', signal: abort.signal });
    measured.headMs = now() - begun;
    const encoding = response.headers.get('content-encoding');
    if (encoding) measured.encoding = encoding;
    if (!response.ok || !response.body) {
      measured.problem = await problemOf(response);
      return;
    }
    const stream = new EventStream();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      for (const { event, data } of stream.push(value)) {
        measured.firstMs ??= now() - begun;
        first();
        if (event === 'heartbeat') continue;
        const n = numberOf(JSON.parse(data), ground);
        if (n === undefined) continue;
        if (!arrivals.has(n)) arrivals.set(n, now());
        arrived();
      }
    }
  };
  const reading = read().catch((fault: unknown): undefined => {
    if (!abort.signal.aborted) measured.problem = silence(fault);
  });

  const isThere = await within(PATIENCE_MS, Promise.race([greeted, reading]));
  if (isThere && ground.kind) {
    const taken = new Map<number, number>();
    for (let n = 1; n <= EVENTS; n += 1) {
      const published = await publish(ground, token, n);
      if (published.problem) {
        measured.unpublished = published.problem;
        break;
      }
      taken.set(n, published.taken);
      await pause(EVERY_MS, abort.signal);
    }
    const all = new Promise<true>((done) => {
      arrived = () => [...taken.keys()].every((n) => arrivals.has(n)) && done(true);
      arrived();
    });
    await within(PATIENCE_MS, Promise.race([all, reading]));
    for (const [n, at] of taken) {
      const arrival = arrivals.get(n);
      // Often an event is here before the answer to whoever published it.
      if (arrival === undefined) measured.missing += 1;
      else measured.delays.push(Math.max(0, arrival - at));
    }
  }
  const result = { ...measured };
  abort.abort();
  await reading;
  return result;
}
