/** What the page's address says: where the server is, perhaps with a path in front, and which token to show it. */

/** The server's address, to be handed to `connect` and `watch`. */
export const server = new URL('./', document.baseURI);
server.search = '';
server.hash = '';

/** An address on the server, such as `route('v1/rooms')`. */
export const route = (path: string): URL => new URL(path, server);

/**
 * The token behind the number sign of the address, if there is one. It stands there because browsers do not send that
 * part to any server, so it gets into no log.
 */
export const tokenOfAddress = (): string | null => new URLSearchParams(location.hash.slice(1)).get('token');

/** Begins the page anew when its address is given another token, which to the browser is a place in the same page. */
export function reloadForToken(): void {
  const given = tokenOfAddress();
  addEventListener('hashchange', () => tokenOfAddress() !== given && location.reload());
}
