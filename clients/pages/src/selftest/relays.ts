/** What became of STUN and TURN servers, in words. It touches no page, network or clock. */

import { ms } from '../status/units.js';
import type { IceMeasured, RelayMeasured } from './measured.js';
import { bad, good, refused, unended, warning, type Facts, type Verdict } from './verdicts.js';

/** Our credentials are not good there (RFC 8489 section 14.8, RFC 8656 section 19). */
const REFUSED = [401, 403, 438, 441];
/** Not of STUN: the browser could not reach the server (W3C WebRTC, RTCPeerConnectionIceErrorEvent). */
const NOT_REACHED = 701;

const SECRET_TODO =
  'The secret of the [[ice]] entry and that of the TURN server (static-auth-secret) differ, or their clocks do: ' +
  'credentials end by the clock.';
const REACH_TODO =
  'Does it run, are its name, port and certificate right, and does every firewall let that port through, from ' +
  'here and to there? On strict networks only turns: on port 443 over TCP gets out.';
const ADD_TODO = 'docs/operations.md, “STUN and TURN”, says how to add one.';

export const isTurn = (url: string): boolean => /^turns?:/.test(url);

/** What happened at one address. */
export interface Outcome {
  isGood: boolean;
  /** Short, for a list. */
  text: string;
  todo?: string;
}

export function judgeRelay({ url, found, errors, isDone }: RelayMeasured): Outcome {
  if (found) return { isGood: true, text: `${found.type} after ${ms(found.ms)}` };
  // The browser tries from each of its addresses: what the server itself says counts for more than that one fails.
  const error = errors.find(({ code }) => code !== NOT_REACHED) ?? errors[0];
  if (error) {
    const more = `(${[error.code, unended(error.text)].filter(Boolean).join(', ')})`;
    if (REFUSED.includes(error.code)) {
      return { isGood: false, text: `refuses our credentials ${more}`, todo: SECRET_TODO };
    }
    if (error.code === NOT_REACHED) return { isGood: false, text: `not reached ${more}`, todo: REACH_TODO };
    return { isGood: false, text: `an error ${more}`, todo: 'The log of that server says more.' };
  }
  if (!isDone) return { isGood: false, text: 'no answer', todo: REACH_TODO };
  // Of a connection over TCP or TLS that does not come about browsers say nothing.
  if (isTurn(url)) return { isGood: false, text: 'no relay, and the browser does not say why', todo: REACH_TODO };
  // The address that others see is one that this machine has: a browser does not tell it twice.
  return { isGood: true, text: 'answers, with no address that was not known' };
}

export function judgeIce({ relays, problem, isMissing }: IceMeasured): Verdict {
  if (isMissing) {
    const text = 'This browser has no WebRTC, or it is switched off: there are no calls.';
    return bad(text, 'Use another browser, or change its settings.');
  }
  if (problem) return refused(problem);
  const outcomes = relays.map((relay) => ({ url: relay.url, ...judgeRelay(relay) }));
  const facts = outcomes.map(({ url, text }): Facts[number] => [url, text]);
  if (!outcomes.length) {
    const text = 'The server names no STUN or TURN server: calls find a way within one network only.';
    return warning(text, ADD_TODO, facts);
  }
  const turn = outcomes.filter(({ url }) => isTurn(url));
  const useless = outcomes.filter(({ isGood }) => !isGood);
  const todo = [...new Set(useless.map((outcome) => outcome.todo))].filter(Boolean).join(' ');
  if (turn.length && !turn.some(({ isGood }) => isGood)) {
    const which = turn.length > 1 ? 'None of the TURN servers relays' : 'The TURN server does not relay';
    return bad(`${which} for us: ${turn[0]?.text}. Between strict networks calls do not come about.`, todo, facts);
  }
  if (useless.length) {
    const text = `${useless.length} of ${outcomes.length} addresses are of no use from here.`;
    return warning(text, todo, facts);
  }
  if (!turn.length) {
    const text = 'STUN works, and there is no TURN server: between strict networks calls do not come about.';
    return warning(text, ADD_TODO, facts);
  }
  const first = Math.min(...relays.flatMap(({ url, found }) => (found && isTurn(url) ? found.ms : [])));
  return good(`A relay is reached, after ${ms(first)}. Calls come about from here.`, facts);
}
