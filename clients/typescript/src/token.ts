/** Where access tokens come from. */

/** Why a token is asked for. */
export interface TokenReason {
  /** `first` connection, coming back (`again`), because the last one is about to end or has (`expired`). */
  why: 'first' | 'again' | 'expired';
}

/** An access token, or where to get one. A function is asked before every connection and before a token ends. */
export type TokenSource = string | ((reason: TokenReason) => string | Promise<string>);

/**
 * Thrown by a token source when asking again would not help: the client then stops with its message. Any other error is
 * taken for a passing one.
 */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused';
}
