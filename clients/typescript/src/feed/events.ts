/** Reads a feed as Server-Sent Events, by `fetch`: `EventSource` can neither send a token nor say why it failed. */

import { RallypointError, RequestError } from '../errors.js';
import type { FeedConnected, FeedEvent, FeedReset, FeedState } from '../feed.js';
import { address, refusal } from './http.js';
import { Blocked, Silence } from './pause.js';
import { query, type Hearer, type Reading } from './reader.js';
import { EventStream } from './sse.js';

/** How long the first block may take, ms: a proxy that keeps it back keeps everything back. */
export const GREETING = 3_000;
/** How long nothing may come, ms, where the server's heartbeat does not ask for more patience. */
export const PATIENCE = 35_000;

/** Reads until it fails; a stream that ends is a failure, too. */
export async function readEvents(reading: Reading, hearer: Hearer): Promise<never> {
  const { env, url, cursor, abort } = reading;
  const { signal } = abort;
  const silence = new Silence(env, abort);
  const stream = new EventStream();
  let patience = 0;
  try {
    const headers = new Headers({ accept: 'text/event-stream', authorization: `Bearer ${await reading.token()}` });
    if (cursor !== undefined) headers.set('last-event-id', cursor);
    silence.within(GREETING, 'no event came in time');
    const response = await env.fetch(address(url, ['events'], query(reading)), { headers, signal, cache: 'no-store' });
    if (!response.ok) throw await refusal(response);
    if (!response.body || !response.headers.get('content-type')?.startsWith('text/event-stream')) {
      throw new Blocked(0, 'the answer is not a stream of events');
    }
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) break;
      for (const { event, data, id } of stream.push(value)) {
        const said: unknown = JSON.parse(data);
        if (event === 'error') {
          const { code, message } = said as { code: number; message: string };
          throw new RequestError(code, message, stream.retry);
        }
        if (event === 'connected') {
          const { user, rooms, heartbeat } = said as FeedConnected & { heartbeat: number };
          patience = Math.max(PATIENCE, heartbeat * 2 + 5_000);
          hearer.connected(user === undefined ? { rooms } : { user, rooms }, id);
        } else if (event === 'state') {
          hearer.state(said as FeedState);
        } else if (event !== 'heartbeat') {
          const isNew = event === 'reset' ? hearer.reset(said as FeedReset) : hearer.event(said as FeedEvent);
          if (isNew && id) hearer.at(id);
        }
        // A listener may have ended the reading.
        signal.throwIfAborted();
      }
      if (patience) silence.within(patience, 'nothing came for too long');
    }
    throw patience ? new RallypointError(0, 'the stream of events has ended') : new Blocked(0, 'the stream was empty');
  } catch (fault) {
    if (signal.aborted) throw signal.reason;
    // However the stream was lost, the server has said how soon to come back.
    throw fault instanceof RequestError || !stream.retry || fault instanceof Blocked
      ? fault
      : new RallypointError(0, fault instanceof Error ? fault.message : String(fault), stream.retry);
  } finally {
    silence.end();
    abort.abort();
  }
}
