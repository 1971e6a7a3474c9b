/** Requests beside a feed: each is asked again until it is answered. */

import { jitter } from '../backoff.js';
import type { Env } from '../env.js';
import { LostError, RallypointError } from '../errors.js';
import { address, refusal, remedy, textOf, type Query } from './http.js';
import { pause, Silence } from './pause.js';
import type { Tokens } from './tokens.js';

/** How long one answer may take, ms, and how large it may be, bytes. */
const PATIENCE = 20_000;
const LONGEST = 8 * 1024 * 1024;
/** The server knows an `Idempotency-Key` for five minutes (section 13): until then a repetition is safe. */
const REPEATABLE = 280_000;

/** What to ask for. */
export interface Request {
  /** The path under `v1/`. */
  path: readonly string[];
  query?: Query;
  /** Makes it a POST, which is carried out once. */
  body?: unknown;
  /** An error's number that is as good as an answer: `undefined`. */
  except?: number;
}

export class Requests {
  readonly #env: Env;
  readonly #url: URL;
  readonly #tokens: Tokens;

  constructor(env: Env, url: URL, tokens: Tokens) {
    this.#env = env;
    this.#url = url;
    this.#tokens = tokens;
  }

  /** @throws {RequestError} refused; {LostError} nobody knows whether a POST was carried out; the reason of `signal` */
  async ask(request: Request, signal: AbortSignal): Promise<unknown> {
    const { body, except } = request;
    const until = body === undefined ? Infinity : this.#env.now() + REPEATABLE;
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const key = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    for (let [tries, isFresh] = [0, false]; ; ) {
      try {
        return await this.#once(request, key, signal);
      } catch (fault) {
        signal.throwIfAborted();
        const { code = 0, retryAfter = 0 } = fault instanceof RallypointError ? fault : {};
        if (code && code === except) return undefined;
        const what = remedy(fault);
        if (what === 'stop' || (what === 'token' && isFresh)) throw fault;
        if (what === 'token') {
          isFresh = true;
          await this.#tokens.ask('expired');
          continue;
        }
        const ms = retryAfter + jitter(tries++, this.#env.random());
        if (this.#env.now() + ms > until) throw new LostError('no answer came for too long to ask again');
        await pause(this.#env, ms, signal, retryAfter);
        signal.throwIfAborted();
      }
    }
  }

  async #once({ path, query, body }: Request, key: string, signal: AbortSignal): Promise<unknown> {
    const abort = new AbortController();
    const drop = () => abort.abort(signal.reason);
    const silence = new Silence(this.#env, abort);
    signal.addEventListener('abort', drop);
    try {
      const headers = new Headers({ authorization: `Bearer ${await this.#tokens.get()}` });
      const init: RequestInit = { headers, cache: 'no-store', signal: abort.signal };
      if (body !== undefined) {
        headers.set('content-type', 'application/json');
        headers.set('idempotency-key', key);
        Object.assign(init, { method: 'POST', body: JSON.stringify(body) });
      }
      signal.throwIfAborted();
      silence.within(PATIENCE, 'no answer came in time');
      const response = await this.#env.fetch(address(this.#url, path, query), init);
      if (!response.ok) throw await refusal(response);
      return JSON.parse(await textOf(response, LONGEST));
    } finally {
      silence.end();
      signal.removeEventListener('abort', drop);
    }
  }
}
