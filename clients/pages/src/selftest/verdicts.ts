/** What measurements mean, in a sentence that says what to do. It touches no page, network or clock. */

import { ms } from '../status/units.js';
import type { HttpMeasured, OriginMeasured, Problem } from './measured.js';

export type Level = 'good' | 'warning' | 'bad';
/** Label and value. */
export type Facts = [string, string][];

/** What a check came to. */
export interface Verdict {
  level: Level;
  /** One or two sentences. */
  text: string;
  /** What to do about it. */
  todo?: string;
  /** Something to copy into a configuration. */
  snippet?: string;
  facts: Facts;
}

export function good(text: string, facts: Facts = []): Verdict {
  return { level: 'good', text, facts };
}

export function warning(text: string, todo: string, facts: Facts = []): Verdict {
  return { level: 'warning', text, todo, facts };
}

export function bad(text: string, todo: string, facts: Facts = []): Verdict {
  return { level: 'bad', text, todo, facts };
}

export const TOKEN_TODO = 'Open this page with a token that is good, behind the number sign: #token=…';
export const PROXY_TODO =
  'What it has to do is in docs/operations.md, “Behind a proxy”, and docs/deploy/nginx.conf does it.';

/** The middle one, and the greatest. */
export function spread(values: readonly number[]): { p50: number; most: number } | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const [p50, most] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted.at(-1)];
  return p50 === undefined || most === undefined ? undefined : { p50, most };
}

/** Other people's words, without the end of their sentence. */
export const unended = (text: string): string => text.replace(/[.\s]+$/, '');

const said = ({ code, status, text }: Problem) => `${unended(text)} (${code ?? (status || 'no answer')}).`;

/** A refusal, as any check that needs the server's consent meets it. */
export function refused(problem: Problem, facts: Facts = []): Verdict {
  const { code, status } = problem;
  if (code === undefined) {
    const who = status ? 'Not the server, but something before it answers' : 'Nobody answers';
    return bad(`${who}: ${said(problem)}`, `Look at the proxy, if there is one. ${PROXY_TODO}`, facts);
  }
  if (code === 704) {
    const text = `The server does not take this page for one of its own: ${said(problem)}`;
    return bad(text, 'See “Origin” for what to configure.', facts);
  }
  if (code === 900 || code === 903 || code === 904) {
    return warning(`It is too much at once: ${said(problem)}`, 'Wait a minute, and run it again.', facts);
  }
  if (code >= 700 && code < 800) return warning(`It could not be tried: ${said(problem)}`, TOKEN_TODO, facts);
  const todo = 'The table of errors in protocol/README.md says what the number means.';
  return bad(`The server refuses: ${said(problem)}`, todo, facts);
}

/** What works as far as it could be looked at, since nothing of ours could be published. */
export function halfTried(text: string, problem: Problem, facts: Facts): Verdict {
  const { todo = '' } = refused(problem);
  return warning(`${text} could not be tried, since we may not publish: ${said(problem)}`, todo, facts);
}

/** Without a token there is nothing to try. */
export const noToken = (what: string): Verdict => warning(`${what} could not be tried without a token.`, TOKEN_TODO);

export function judgeHttp({ trips, protocol, signs, problem }: HttpMeasured): Verdict {
  const trip = spread(trips);
  const facts: Facts = trip ? [['Answer', ms(trip.p50)]] : [];
  facts.push(['HTTP', protocol || 'not told'], ['On the way', signs.join(', ') || 'no sign of a proxy']);
  if (problem) return refused(problem, facts);
  const way = signs.length ? 'through a proxy' : 'and nothing on the way shows itself';
  const isOld = protocol === 'http/1.1';
  const tabs = isOld ? ' Over HTTP/1.1 a browser holds six streams to one server, all tabs together.' : '';
  return good(`The server answers, ${way}.${tabs}`, facts);
}

export function judgeOrigin({ origin, problem }: OriginMeasured): Verdict {
  const facts: Facts = [['This page', origin]];
  if (!problem) return good('The server knows this page and lets it in.', facts);
  if (problem.code === 704) {
    const text =
      'The server does not list where this page comes from, so it refuses its WebSockets, and whatever would ' +
      'change something.';
    const todo =
      'If the page is yours, list its origin in the server’s configuration and restart it. If the server’s log ' +
      'names another origin than this one, a proxy rewrites the header.';
    return { ...bad(text, todo, facts), snippet: `origins = ["${origin}"]` };
  }
  // Anything else is looked at after the origin: so that was good.
  if (problem.code !== undefined) {
    return good(`The server lets this page in. What it minds is something else: ${said(problem)}`, facts);
  }
  return refused(problem, facts);
}
