/** Requests to the server's HTTP routes: addresses, answers within bounds, and what a refusal asks for (section 13). */

import { RallypointError, RequestError, TokenRefused } from '../errors.js';

/** The largest problem that is read, bytes. */
const PROBLEM = 64 * 1024;

/** Parameters; a name may stand there more than once. */
export type Query = readonly (readonly [string, string])[];

/** An address under `v1/`; a path before it and a query are kept. Each `segment` is encoded as one. */
export function address(base: URL, segments: readonly string[], query: Query = []): string {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/*$/, '')}/v1/${segments.map(encodeURIComponent).join('/')}`;
  for (const [name, value] of query) url.searchParams.append(name, value);
  url.hash = '';
  return url.href;
}

/** The body as text. @throws {RangeError} above `most` bytes; what comes after is not read. */
export async function textOf(response: Response, most: number): Promise<string> {
  if (!response.body) return '';
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let text = '';
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    size += value.length;
    if (size > most) {
      void reader.cancel();
      throw new RangeError(`the answer has more than ${most} bytes`);
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** What an answer that is not good says. */
export async function refusal(response: Response): Promise<RallypointError> {
  const { status, headers } = response;
  const { code, detail, title, retry_after } = await textOf(response, PROBLEM).then(problem).catch(() => problem('{}'));
  const seconds = Number(headers.get('retry-after') ?? NaN);
  const after = typeof retry_after === 'number' ? retry_after : seconds >= 0 ? seconds * 1000 : undefined;
  if (typeof code === 'number') return new RequestError(code, String(detail ?? title ?? code), after);
  // Not the server's words, but of something on the way.
  const words = `something on the way to the server answered ${status}`;
  if (status === 401) return new RequestError(701, words);
  const isPassing = status >= 500 || status === 429 || status === 408;
  return isPassing ? new RallypointError(0, words, after) : new RequestError(0, words);
}

function problem(text: string): Record<string, unknown> {
  const said: unknown = JSON.parse(text);
  return typeof said === 'object' && said !== null ? { ...said } : {};
}

/** What to do about a failure: come with another `token`, `wait` and try again, or `stop`: section 15's "Retry". */
export function remedy(fault: unknown): 'token' | 'wait' | 'stop' {
  if (fault instanceof TokenRefused) return 'stop';
  if (!(fault instanceof RequestError)) return 'wait';
  const { code } = fault;
  if (code === 700 || code === 701 || code === 702 || code === 709) return 'token';
  return fault.isPassing ? 'wait' : 'stop';
}
