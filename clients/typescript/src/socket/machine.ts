/**
 * The connection as a value: where it stands, and what each thing that happens makes of it. No socket, no timer and no
 * clock in here: `step` is given what happened and the time, and says what is to be done.
 */

import { jitter } from '../backoff.js';
import type { Status } from '../carrier.js';
import { closeAction, type CloseAction } from '../errors.js';

/** The longest time that a server may ask for; beyond it the number is taken for a mistake. */
const TOLD_MOST_MS = 3_600_000;
/** Where the row of waits begins after a server said "wait" without a time. */
const ASKED_TO_WAIT = 2;
/** Where it goes on at most after an attempt that worked: a network that flickers keeps nobody away for long. */
const ARRIVED = 3;
/** A connection that held this long was a good one: the next loss starts with short waits again. */
const HELD_MS = 5_000;
/** For a token, and for a socket until `connected`. */
const DEADLINE_MS = 15_000;
const PING_MS = 5_000;
/** A page that has just been connected is busy, which would count as round trip. */
const FIRST_PING_MS = 1_000;
/** A page that nobody looks at is asked less often, and its timers are late anyway. */
const PING_HIDDEN_MS = 20_000;
/** How long a probe may take that goes out because the device woke up. */
const PROBE_MS = 5_000;
const HEARTBEATS = 3;

/** Where the connection stands. */
export type State =
  | { readonly at: 'idle' }
  /** An access token is asked for. */
  | { readonly at: 'token'; readonly until: number }
  /** The socket is being opened. */
  | { readonly at: 'opening'; readonly until: number }
  /** `auth` or `resume` is sent, and nothing more until `connected`. */
  | { readonly at: 'authenticating'; readonly until: number }
  /** A browser does not show native pings, so our own unanswered ping tells a dead connection, by `lostAt`. */
  | {
    readonly at: 'live';
    readonly since: number;
    readonly heartbeat: number;
    readonly pingAt: number;
    readonly lostAt: number;
    /** A probe is under way: there is no second one before it is answered. */
    readonly probing: boolean;
  }
  /** Until the next attempt; not before `floor`, however good the news, since the server said so. */
  | { readonly at: 'waiting'; readonly until: number; readonly floor: number }
  | { readonly at: 'closed' };

/** The connection. */
export interface Machine {
  readonly state: State;
  /** Attempts in vain since a connection held. */
  readonly attempts: number;
  /** Whether there ever was a connection. */
  readonly met: boolean;
  /** Whether the server wants another token before anything else. */
  readonly expired: boolean;
  /** There is no other token than the first. */
  readonly fixed: boolean;
}

/** What happens. */
export type Input =
  | { is: 'start' }
  | { is: 'token' }
  | { is: 'opened' }
  | { is: 'connected'; heartbeat: number }
  /** Any frame. */
  | { is: 'heard' }
  /** The socket is gone; `told` is the time that the server asked for. */
  | { is: 'lost'; code: number; reason: string; told?: number | undefined }
  /** No token came: a passing failure. */
  | { is: 'failed'; reason: string }
  /** There is no use in going on. */
  | { is: 'stop'; reason: string; code?: number }
  | { is: 'wake' }
  | { is: 'time'; hidden?: boolean };

/** What is to be done, in this order; `tell` is always the last, since whoever is told may make the machine go on. */
export type Effect =
  | { do: 'ask'; why: 'first' | 'again' | 'expired' }
  | { do: 'open' }
  | { do: 'authenticate' }
  | { do: 'ping' }
  /** Close the socket and forget it; with a goodbye the server ends the session at once. */
  | { do: 'drop'; bye?: true }
  /** The session is gone: there is nothing to resume. */
  | { do: 'forget' }
  | { do: 'tell'; status: Status };

type Step = [Machine, Effect[]];

/** A connection that has not begun. */
export const idle = (fixed: boolean): Machine =>
  ({ state: { at: 'idle' }, attempts: 0, met: false, expired: false, fixed });

/** When `step` wants to hear of the time. */
export function due({ state }: Machine): number {
  if (state.at === 'live') return Math.min(state.pingAt, state.lostAt);
  return 'until' in state ? state.until : Infinity;
}

const WORDS: Record<number, string> = {
  1000: 'The server has ended the session.',
  4000: 'The server is going away.',
  4100: 'The access token has expired.',
  4400: 'The server does not understand this client.',
  4401: 'The server does not accept the access token.',
  4403: 'You are not allowed in, or were removed.',
  4409: 'You are connected elsewhere already.',
  4410: 'You connected from another place, which took over.',
  4413: 'A message was too big for the server.',
};

/** A browser shows no more of a socket that never opened. */
const NOTHING = 'The server cannot be reached, or refuses this page (`origins`).';

function tell(machine: Machine, reason: string, rest: Partial<Status> = {}): Effect {
  const state = machine.met ? 'reconnecting' : 'connecting';
  return { do: 'tell', status: { state, reason, code: 0, ...rest } };
}

function stop(machine: Machine, reason: string, code: number): Step {
  const status: Status = { state: 'closed', reason, code, action: 'stop' };
  return [{ ...machine, state: { at: 'closed' } }, [{ do: 'drop', bye: true }, { do: 'tell', status }]];
}

function attempt(machine: Machine, now: number): Step {
  const why = machine.expired ? 'expired' : machine.met ? 'again' : 'first';
  const next = { ...machine, state: { at: 'token', until: now + DEADLINE_MS } } as const;
  return [next, [{ do: 'ask', why }, tell(machine, machine.met ? 'Connecting again.' : 'Connecting.')]];
}

function wait(
  machine: Machine, now: number, random: number, reason: string, code: number, action: CloseAction, told = 0,
): Step {
  const floor = now + Math.min(told, TOLD_MOST_MS);
  const until = floor + jitter(machine.attempts, random);
  const next = { ...machine, attempts: machine.attempts + 1, state: { at: 'waiting', until, floor } } as const;
  return [next, [{ do: 'drop' }, tell(machine, reason, { code, action, retryAt: until })]];
}

function lost(machine: Machine, now: number, random: number, code: number, text: string, told?: number): Step {
  const { state, fixed, met } = machine;
  const action = closeAction(code);
  const words = WORDS[code] ?? (action === 'stop' ? 'The server has ended the connection.'
    : state.at === 'opening' && !met ? NOTHING : 'The connection is lost.');
  const reason = code === 4000 ? words : `${words} (${text || code})`;
  if (action === 'stop' || (action === 'refresh' && fixed)) return stop(machine, reason, code);
  let { attempts } = machine;
  if (state.at === 'live' && now - state.since >= HELD_MS) attempts = 0;
  // A refused resume is the server's answer: it is there, so there is nothing more to wait for.
  if (action === 'rejoin' && state.at === 'authenticating') attempts = 0;
  if (action === 'wait' && told === undefined) attempts = Math.max(attempts, ASKED_TO_WAIT);
  const next = { ...machine, attempts, expired: action === 'refresh' };
  const [after, effects] = wait(next, now, random, reason, code, action, told);
  return [after, action === 'rejoin' ? [{ do: 'forget' }, ...effects] : effects];
}

/** What becomes of the connection. */
export function step(machine: Machine, input: Input, now: number, random: number): Step {
  const { state } = machine;
  const stays: Step = [machine, []];
  if (state.at === 'closed') return stays;
  switch (input.is) {
    case 'start':
      return state.at === 'idle' ? attempt(machine, now) : stays;
    case 'stop':
      return stop(machine, input.reason, input.code ?? 0);
    case 'token':
      if (state.at !== 'token') return stays;
      return [{ ...machine, expired: false, state: { at: 'opening', until: now + DEADLINE_MS } }, [{ do: 'open' }]];
    case 'failed':
      return state.at === 'token' ? wait(machine, now, random, input.reason, 0, 'wait') : stays;
    case 'opened':
      if (state.at !== 'opening') return stays;
      return [{ ...machine, state: { at: 'authenticating', until: state.until } }, [{ do: 'authenticate' }]];
    case 'connected': {
      if (state.at !== 'authenticating') return stays;
      const { heartbeat } = input;
      const quiet = { pingAt: now + FIRST_PING_MS, lostAt: Infinity, probing: false };
      const live = { at: 'live', since: now, heartbeat, ...quiet } as const;
      const next = { ...machine, met: true, attempts: Math.min(machine.attempts, ARRIVED), state: live };
      return [next, [tell(next, 'Connected.', { state: 'connected', transport: 'websocket' })]];
    }
    case 'heard':
      return state.at === 'live' ? [{ ...machine, state: { ...state, lostAt: Infinity, probing: false } }, []] : stays;
    case 'lost':
      if (state.at !== 'opening' && state.at !== 'authenticating' && state.at !== 'live') return stays;
      return lost(machine, now, random, input.code, input.reason, input.told);
    case 'wake':
      if (state.at === 'waiting') {
        if (state.floor <= now) return attempt(machine, now);
        return [{ ...machine, state: { ...state, until: state.floor } }, []];
      }
      return state.at === 'live' ? probe(machine, state, now) : stays;
    case 'time':
      if (now < due(machine)) return stays;
      if (state.at === 'waiting') return attempt(machine, now);
      if (state.at === 'token') return wait(machine, now, random, 'No access token came in time.', 0, 'wait');
      if (state.at !== 'live') return lost(machine, now, random, 1006, 'no answer');
      // Much later than asked for: this end has slept, and what the server said meanwhile may stand at the door.
      if (now - due(machine) > PROBE_MS && !state.probing) return probe(machine, state, now);
      if (now >= state.lostAt) return lost(machine, now, random, 1006, 'no answer');
      return ping(machine, state, now, now + (input.hidden ? PING_HIDDEN_MS : PING_MS), HEARTBEATS * state.heartbeat);
  }
}

type Live = Extract<State, { at: 'live' }>;

function ping(machine: Machine, state: Live, now: number, pingAt: number, patience: number): Step {
  const lostAt = Math.min(state.lostAt, now + patience);
  return [{ ...machine, state: { ...state, pingAt, lostAt } }, [{ do: 'ping' }]];
}

/** Is it still there? */
function probe(machine: Machine, state: Live, now: number): Step {
  return ping(machine, { ...state, lostAt: Infinity, probing: true }, now, now + PING_MS, PROBE_MS);
}
