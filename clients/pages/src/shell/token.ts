/** Where the access token comes from: the address, or a development server; and help where neither has one. */

import { TokenRefused, type TokenReason } from 'rallypoint-client';
import { route } from './address.js';
import { el } from './el.js';
import { guestUser } from './who.js';

/** What a token is asked for; as `POST /dev/token` takes it. */
export interface Wish {
  /** Default: the guest of this tab. */
  user?: string;
  name?: string;
  rooms?: readonly { r: string; role?: 'player' | 'spectator' | 'host'; do?: readonly string[] }[];
  notify?: { send: readonly string[] };
  admin?: boolean;
}

/** The refusal of a server that hands out no tokens; the page then shows `tokenHelp`. */
export class NoTokens extends TokenRefused {}

/**
 * The token behind the number sign of the address, if there is one. It stands there because browsers do not send that
 * part to any server, so it gets into no log.
 */
export const tokenOfAddress = (): string | null => new URLSearchParams(location.hash.slice(1)).get('token');

/** The claims of a token, unchecked: enough to show whose it is. */
export function claimsOf(token: string): Record<string, unknown> {
  try {
    const bytes = Uint8Array.from(atob((token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/')), (each) => each.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === 'object' && claims !== null ? { ...claims } : {};
  } catch {
    return {};
  }
}

/** What a page is told about its token beside the token. */
export interface TokenHints {
  /** The server hands out no tokens: show `tokenHelp`. */
  noTokens?: () => void;
}

/** A token source for `connect` and `watch`. */
export function tokenSource(wish: Wish, hints: TokenHints = {}): (reason: TokenReason) => Promise<string> {
  const given = tokenOfAddress();
  if (given) {
    return async ({ why }) => {
      if (why === 'expired') throw new TokenRefused('Your token has expired. Open this page with a fresh one.');
      return given;
    };
  }
  return async () => {
    try {
      return await askForToken(wish);
    } catch (error) {
      if (error instanceof NoTokens) hints.noTokens?.();
      throw error;
    }
  };
}

/** Asks a development server for a token. @throws {NoTokens | TokenRefused} when asking again would not help */
export async function askForToken(wish: Wish): Promise<string> {
  const response = await fetch(route('dev/token'), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: guestUser(), ...wish }),
    signal: AbortSignal.timeout(15_000),
  }).catch(() => {
    throw new Error('The server does not answer.');
  });
  const body: { token?: string; detail?: string; code?: number } = await response.json().catch(() => ({}));
  if (response.ok && body.token) return body.token;
  if (response.status === 404 || response.status === 405) throw new NoTokens('This server hands out no tokens.');
  const text = `${body.detail ?? response.statusText} (${body.code ?? response.status})`;
  throw response.status === 429 || response.status >= 500 ? new Error(text) : new TokenRefused(`No token: ${text}`);
}

/** How to get a token where the server hands out none. `room`, `role` and `more` (flags) are what the page needs. */
export function tokenHelp({ room = 'lobby', role = 'player', more = '' }: { room?: string; role?: string; more?: string } = {}): HTMLElement {
  const here = `${location.origin}${location.pathname}${location.search}`;
  return el(
    'section',
    { class: 'box warn', attrs: { role: 'alert' } },
    el('h2', {}, 'You need a token'),
    el(
      'p', {},
      'Only a server that runs with ', el('code', {}, '--dev'),
      ' hands out tokens by itself; this one does not. Make one with the server’s key (',
      el('code', {}, 'rallypoint token --help'), ' tells all) and open this page with it, behind the number sign:',
    ),
    el('pre', { tabIndex: 0 }, `rallypoint token --user ada --room ${room} --role ${role}${more} --key …`),
    el('pre', { tabIndex: 0 }, `${here}#token=…`),
    el('p', { class: 'hint' }, 'What stands behind the number sign stays in your browser: no server’s log ever shows it.'),
  );
}
