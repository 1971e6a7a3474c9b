/** Where the server is: the pages come from it, perhaps with a path in front. */

/** The server's address, to be handed to `connect` and `watch`. */
export const server = new URL('./', document.baseURI);
server.search = '';
server.hash = '';

/** An address on the server, such as `route('v1/rooms')`. */
export const route = (path: string): URL => new URL(path, server);
