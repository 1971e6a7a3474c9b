/** Where the access token comes from: the address, or a development server. */

import { Refusal } from './codes.js';

/** The refusal of a server that hands out no tokens; the page then shows how to make one. */
export class NoTokens extends Refusal {}

/**
 * The token behind the number sign of the address, if there is one. It stands there because browsers do not send that
 * part to any server, so it gets into no log.
 */
export const tokenOfAddress = () => new URLSearchParams(location.hash.slice(1)).get('token');

/** A user id of this tab: it stays over a reload, so that the others see the same guest again. */
function guest() {
  const user = sessionStorage.getItem('rallypoint-user') ?? `guest-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;
  sessionStorage.setItem('rallypoint-user', user);
  return user;
}

/**
 * Makes the token source of a client.
 * @param {{name: string, room: string}} who
 * @returns {(why: {expired: boolean}) => Promise<string>} throws a Refusal when asking again would not help
 */
export function tokenSource({ name, room }) {
  const given = tokenOfAddress();
  if (given) {
    return async ({ expired }) => {
      if (expired) throw new Refusal('Your token has expired. Open this page with a fresh one.');
      return given;
    };
  }
  return async () => {
    const response = await fetch('dev/token', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user: guest(), name, rooms: [{ r: room, role: 'host' }] }),
      signal: AbortSignal.timeout(15_000),
    });
    if (response.ok) return (await response.json()).token;
    if (response.status === 404 || response.status === 405) throw new NoTokens('This server hands out no tokens.');
    const problem = await response.json().catch(() => ({}));
    const text = `${problem.detail ?? response.statusText} (${problem.code ?? response.status})`;
    throw response.status === 429 || response.status >= 500 ? new Error(text) : new Refusal(`No token: ${text}`);
  };
}
