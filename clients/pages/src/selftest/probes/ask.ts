/** Requests of the probes over HTTP, and what is wrong with their answers. */

import { route } from '../../shell/address.js';
import type { Ground } from '../ground.js';
import type { Problem } from '../measured.js';

/** How long an answer may take, ms. */
export const PATIENCE_MS = 5_000;

/** Our clock, Unix ms, which nobody sets back. */
export const now = (): number => performance.timeOrigin + performance.now();

/** Waits for a promise so long; undefined if it takes longer. */
export function within<T>(wait: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<undefined>((done) => (timer = setTimeout(() => done(undefined), wait)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What an answer says that is not good. */
export async function problemOf(response: Response): Promise<Problem> {
  const body: { code?: number; detail?: string } = await response.json().catch(() => ({}));
  const text = body.detail ?? response.statusText;
  return { ...(body.code === undefined ? {} : { code: body.code }), status: response.status, text };
}

/** That there was no answer. */
export function silence(fault: unknown): Problem {
  const isLate = fault instanceof DOMException && fault.name === 'TimeoutError';
  return { status: 0, text: isLate ? 'no answer in time' : fault instanceof Error ? fault.message : String(fault) };
}

export function headers(token: string | undefined, more: Record<string, string> = {}): Headers {
  const all = new Headers(more);
  if (token) all.set('authorization', `Bearer ${token}`);
  return all;
}

/** An event that we published: when we asked, and when the server had it. */
export interface Published {
  asked: number;
  taken: number;
  problem?: Problem;
}

/** Publishes event number `n`. */
export async function publish(ground: Ground, token: string | undefined, n: number): Promise<Published> {
  const { room, kind = 'selftest' } = ground;
  const data = kind === 'message' ? { text: `selftest ${n}` } : { n };
  const asked = now();
  try {
    const response = await fetch(route(`v1/rooms/${encodeURIComponent(room)}/events`), {
      method: 'POST',
      headers: headers(token, { 'content-type': 'application/json' }),
      body: JSON.stringify({ kind, data }),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const taken = now();
    return response.ok ? { asked, taken } : { asked, taken, problem: await problemOf(response) };
  } catch (fault) {
    return { asked, taken: now(), problem: silence(fault) };
  }
}

/** Which of our events this is; undefined: somebody else's. */
export function numberOf({ kind, data }: { kind?: string; data?: unknown }, ground: Ground): number | undefined {
  if (kind !== (ground.kind ?? 'selftest')) return undefined;
  const { n, text }: { n?: unknown; text?: unknown } = typeof data === 'object' && data !== null ? data : {};
  if (typeof n === 'number') return n;
  const found = typeof text === 'string' ? /^selftest (\d+)$/.exec(text)?.[1] : undefined;
  return found === undefined ? undefined : Number(found);
}
