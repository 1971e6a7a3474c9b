/** A long poll: whether it is held until something happens, and answered then. */

import { route } from '../../shell/address.js';
import { pause } from '../../shell/pause.js';
import type { Ground } from '../ground.js';
import type { PollMeasured } from '../measured.js';
import { headers, now, numberOf, PATIENCE_MS, problemOf, publish, silence } from './ask.js';

/** How long it is held before something happens, ms. */
const HELD_MS = 1_000;
/** The number of our event: none of the stream's. */
const NUMBER = 100;

interface Answer {
  cursor: string;
  events: { kind: string; data: unknown; time: number }[];
}

export async function probePoll(ground: Ground, token: string): Promise<PollMeasured> {
  const measured: PollMeasured = {};
  const ask = async (query: Record<string, string>, patience: number): Promise<Answer | undefined> => {
    const address = route('v1/poll');
    address.searchParams.set('room', ground.room);
    for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
    const signal = AbortSignal.timeout(patience);
    const response = await fetch(address, { headers: headers(token), cache: 'no-store', signal });
    if (!response.ok) {
      measured.problem = await problemOf(response);
      return undefined;
    }
    return await response.json();
  };
  try {
    const begun = now();
    const first = await ask({}, PATIENCE_MS);
    if (!first) return measured;
    measured.firstMs = now() - begun;
    if (!ground.kind) return measured;

    let answeredAt: number | undefined;
    const asked = now();
    const held = ask({ after: first.cursor, wait: '20' }, HELD_MS + PATIENCE_MS).then((answer) => {
      answeredAt = now();
      return answer;
    });
    // Whatever becomes of it is looked at below.
    held.catch(() => {});
    await pause(HELD_MS, AbortSignal.timeout(2 * HELD_MS));
    measured.heldMs = Math.min(answeredAt ?? now(), now()) - asked;
    if (answeredAt !== undefined) {
      const early = await held;
      if (early) measured.isEarly = true;
      return measured;
    }
    const published = await publish(ground, token, NUMBER);
    if (published.problem) return { ...measured, unpublished: published.problem };
    const answer = await held.catch((fault: unknown) => {
      if (fault instanceof DOMException && fault.name === 'TimeoutError') return undefined;
      throw fault;
    });
    const event = answer?.events.find((each) => numberOf(each, ground) === NUMBER);
    if (!event || answeredAt === undefined) return measured;
    measured.answerMs = Math.max(0, answeredAt - published.taken);
    // The server put it into the log between our question and its answer.
    const trip = published.taken - published.asked;
    measured.sample = { trip, offset: event.time - (published.asked + published.taken) / 2 };
  } catch (fault) {
    measured.problem = silence(fault);
  }
  return measured;
}
