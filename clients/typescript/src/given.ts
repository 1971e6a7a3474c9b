/** What `connect` and `watch` are given: checked, so that a slip is told where it was made. */

/** The server's address, over HTTP. @throws {TypeError} if it is none */
export function addressIn(url: unknown): URL {
  const text = String(url).replace(/^ws/, 'http');
  // A `localhost:3000` would be an address with the protocol `localhost:`.
  if (/^https?:\/\/[^/]/i.test(text)) return new URL(text);
  throw new TypeError(`\`url\` is not like https://rally.example: ${text}`);
}

/** A token. @throws {TypeError} if it is no text, with `fault` */
export function tokenIn(given: unknown, fault = 'no `token`'): string {
  if (given && typeof given === 'string') return given;
  throw new TypeError(fault);
}
