/** The access token of a feed: asked for when it is needed, and kept while it is good. */

import type { TokenReason, TokenSource } from '../client.js';
import type { Env } from '../env.js';
import { RallypointError, TokenRefused } from '../errors.js';
import { expiry } from '../token.js';

/** How long before its end a token is replaced, ms, at most: a short one sooner, at nine tenths. */
const EARLY = 30_000;
/** How long a source may take, ms, before it is asked again. */
const PATIENCE = 15_000;

/** Says of what a source failed with that it is about the token: it may be anything. */
function yet(error: unknown): never {
  if (error instanceof TokenRefused) throw error;
  throw new RallypointError(0, `No access token yet: ${error instanceof Error ? error.message : String(error)}`);
}

/** A token source, asked once at a time. */
export class Tokens {
  readonly #env: Env;
  readonly #source: TokenSource;
  #kept: string | undefined;
  /** When the kept one is to be replaced. */
  #renewAt = Infinity;
  #asked: Promise<string> | undefined;

  constructor(env: Env, source: TokenSource) {
    this.#env = env;
    this.#source = source;
  }

  /** The token that is in use. */
  get kept(): string | undefined {
    return this.#kept;
  }

  /** A token for a new connection. @throws {TokenRefused} where asking again does not help. */
  ask(why: TokenReason['why']): Promise<string> {
    this.#asked ??= this.#fetch(why).finally(() => (this.#asked = undefined));
    return this.#asked;
  }

  async #fetch(why: TokenReason['why']): Promise<string> {
    const source = this.#source;
    if (typeof source === 'string') {
      if (why === 'expired') throw new TokenRefused('the token is no longer good, and there is no other');
      return (this.#kept = source);
    }
    const token = await this.#inTime(Promise.resolve({ why }).then(source).catch(yet));
    const left = (expiry(token) ?? Infinity) - this.#env.now();
    // One that has ended by our clock, which may be wrong, is good until the server says otherwise.
    this.#renewAt = left > 0 ? this.#env.now() + left - Math.min(EARLY, left / 10) : Infinity;
    return (this.#kept = token);
  }

  /** A source that never answers must hold nobody for ever. */
  async #inTime(answer: Promise<string>): Promise<string> {
    let end = () => {};
    const late = new Promise<never>((_, reject) => {
      end = this.#env.after(PATIENCE, () => reject(new RallypointError(0, 'No access token came in time.')));
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      end();
    }
  }

  /** The token that there is, or a new one if it is about to end. A fixed one is used until the server says no. */
  get(): Promise<string> {
    if (this.#kept === undefined) return this.ask('first');
    return this.#env.now() >= this.#renewAt ? this.ask('expired') : Promise.resolve(this.#kept);
  }
}
