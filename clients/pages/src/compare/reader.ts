/** The four clients that are compared, each as one would really use it. */

import { connect, watch, type FeedEvent } from 'rallypoint-client';
import { route, server } from '../shell/address.js';
import { pause } from '../shell/pause.js';
import type { Meter } from './meter.js';
import type { Way } from './results.js';

/** Between two short polls, ms. */
const EVERY_MS = 1_000;
const PATIENCE_MS = 10_000;

/** What a client reads, and whom it tells. */
export interface Reading {
  room: string;
  token: string;
  meter: Meter;
  hear(kind: string, data: unknown): void;
  signal: AbortSignal;
}

/** Begins to read; resolves when whatever is published from now on will come. */
export const READERS: Readonly<Record<Way, (reading: Reading) => Promise<void>>> = {
  short: shortPolls,
  long: (reading) => feed(reading, 'poll'),
  events: (reading) => feed(reading, 'events'),
  websocket: socket,
};

function feed({ room, token, meter, hear, signal }: Reading, transport: 'events' | 'poll'): Promise<void> {
  const feed = watch({ url: server, token, rooms: [room], transports: [transport], fetch: meter.fetch, signal });
  feed.on('event', ({ kind, data }) => hear(kind, data));
  return new Promise((resolve, reject) => {
    feed.on('connected', () => resolve());
    feed.on('status', ({ state, reason }) => state === 'closed' && reject(new Error(reason)));
  });
}

async function socket({ room: name, token, meter, hear, signal }: Reading): Promise<void> {
  const client = connect({ url: server, token, transports: ['websocket'], WebSocket: meter.socket(), signal });
  await client.ready;
  const room = await client.join(name);
  room.on('event', ({ kind, data }) => hear(kind, data));
}

/** What one would write without a library: ask, wait a second, ask again. */
async function shortPolls(reading: Reading): Promise<void> {
  const cursor = await poll(reading);
  void (async () => {
    for (let after = cursor; ; ) {
      await pause(EVERY_MS, reading.signal);
      if (reading.signal.aborted) return;
      // An answer that did not come is asked for again in a second.
      after = await poll(reading, after).catch(() => after);
    }
  })();
}

async function poll({ room, token, meter, hear, signal }: Reading, after?: string): Promise<string> {
  const address = route('v1/poll');
  address.search = `${new URLSearchParams({ room, wait: '0', ...(after === undefined ? {} : { after }) })}`;
  const within = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
  const headers = { authorization: `Bearer ${token}` };
  const response = await meter.fetch(address, { headers, cache: 'no-store', signal: within });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  const { cursor, events } = (await response.json()) as { cursor: string; events: FeedEvent[] };
  for (const { kind, data } of events) hear(kind, data);
  return cursor;
}
