/** Where the access token comes from: the address, or a development server; and help where neither has one. */

import { TokenRefused, type TokenSource } from 'rallypoint-client';
import { route, tokenOfAddress } from './address.js';
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

/** The claims of a token, unchecked: enough to show whose it is. */
export function claimsOf(token: string): Record<string, unknown> {
  try {
    const text = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'));
    const bytes = Uint8Array.from(text, (each) => each.charCodeAt(0));
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

/**
 * A token source for `connect` and `watch`: a token of the address is the only one, and used until the server says no.
 */
export function tokenSource(wish: Wish, hints: TokenHints = {}): TokenSource {
  return (
    tokenOfAddress() ??
    (async () => {
      try {
        return await askForToken(wish);
      } catch (error) {
        if (error instanceof NoTokens) hints.noTokens?.();
        throw error;
      }
    })
  );
}

/** A source as it is, and the token that it gave last: for requests beside the client. */
export function keeping(source: TokenSource): { source: TokenSource; token: () => string } {
  if (typeof source === 'string') return { source, token: () => source };
  let last = '';
  return { source: async (reason) => (last = await source(reason)), token: () => last };
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
export function tokenHelp({ room, role, more = '' }: { room: string; role: string; more?: string }): HTMLElement {
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
    el('p', { class: 'hint' }, 'What is behind the number sign stays in your browser: no server’s log ever shows it.'),
  );
}
