/** Reads a feed by long polls, for networks that keep streams back. */

import type { FeedConnected, FeedEvent, FeedReset, FeedState } from '../feed.js';
import { claims } from '../token.js';
import type { Cursor, Position } from '../wire.js';
import { address, refusal, textOf } from './http.js';
import { pause, Silence } from './pause.js';
import { query, type Hearer, type Reading } from './reader.js';

/** How long the server may wait with an empty answer, seconds. */
export const WAIT = 25;
/** How long an answer may take, ms. */
export const PATIENCE = WAIT * 1000 + 10_000;
/** Empty answers that come sooner than this, ms, are not the server's waiting, and must not become a storm. */
const QUICK = 1_000;
/** The largest answer, bytes: 256 events of the largest size, and room for the state. */
const LONGEST = 32 * 1024 * 1024;

/** What a poll answers. */
export interface PollAnswer {
  cursor: Cursor;
  events: FeedEvent[];
  reset?: FeedReset[];
  state?: FeedState[];
}

/** How a room stands: `GET v1/rooms/{room}`. */
export interface Stand {
  position: Position;
  members: number;
  spectators: number;
}

/** Reads until it fails. */
export async function readPolls(reading: Reading, hearer: Hearer): Promise<never> {
  const { env, url, rooms, abort } = reading;
  const { signal } = abort;
  const silence = new Silence(env, abort);
  const versions = new Map<string, number>();

  const get = async (segments: string[], parameters: [string, string][]): Promise<unknown> => {
    const headers = { authorization: `Bearer ${await reading.token()}` };
    silence.within(PATIENCE, 'no answer came in time');
    const response = await env.fetch(address(url, segments, parameters), { headers, signal, cache: 'no-store' });
    if (!response.ok) throw await refusal(response);
    return JSON.parse(await textOf(response, LONGEST));
  };

  // A stream says how the rooms stand; polls do not, so they are asked for, and left out where they are not told.
  const greet = async (cursor: Cursor) => {
    const found = await Promise.allSettled(rooms.map((room) => get(['rooms', room], [])));
    signal.throwIfAborted();
    const user = claims(await reading.token())?.['sub'];
    const stand = found.flatMap((answer, n): FeedConnected['rooms'] => {
      const room = rooms[n];
      if (answer.status === 'rejected' || room === undefined) return [];
      const { position, members: count, spectators } = answer.value as Stand;
      return [{ room, position, count, spectators }];
    });
    hearer.connected(typeof user === 'string' ? { user, rooms: stand } : { rooms: stand }, cursor);
  };

  try {
    let greeted = false;
    for (let { cursor } = reading; ; ) {
      const parameters: [string, string][] = [...query(reading), ['wait', String(greeted ? WAIT : 0)]];
      if (cursor !== undefined) parameters.push(['after', cursor]);
      for (const [room, version] of versions) parameters.push(['state_after', `${room}:${version}`]);
      const asked = env.now();
      const answer = (await get(['poll'], parameters)) as PollAnswer;
      signal.throwIfAborted();
      if (!greeted) {
        // The cursor is the one before the events of the answer, which are told only now.
        await greet(cursor ?? answer.cursor);
      }
      // Told whole, even if a listener ends the reading meanwhile: no cursor stands between its events.
      const { events, reset = [], state = [] } = answer;
      for (const told of reset) hearer.reset(told);
      for (const told of events) hearer.event(told);
      for (const told of state) {
        versions.set(told.room, told.version);
        hearer.state(told);
      }
      cursor = answer.cursor;
      hearer.at(cursor);
      signal.throwIfAborted();
      const isQuick = greeted && !events.length && !reset.length && !state.length && env.now() - asked < QUICK;
      silence.end();
      if (isQuick) await pause(env, QUICK, signal, QUICK);
      greeted = true;
    }
  } catch (fault) {
    throw signal.aborted ? signal.reason : fault;
  } finally {
    silence.end();
    abort.abort();
  }
}
