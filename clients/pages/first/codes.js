/**
 * What the numbers of the protocol ask of a client (sections 15 and 16 of `protocol/README.md`), and the errors that
 * carry them.
 */

/** An answer `error`, or a session that was lost before the answer (`code` 0). */
export class RequestError extends Error {
  constructor({ code, message, retry_after }) {
    super(message);
    this.code = code;
    this.retryAfter = retry_after;
  }
}

/** Trying again would not help: the client stops and shows the message. */
export class Refusal extends Error {}

/**
 * What to do after a close code: take the session up again (`resume`; `refresh` with a new token, `wait` not at once),
 * give it up and come as somebody new (`rejoin`), or not come back (`stop`). Only the range counts, so that codes of
 * later versions are obeyed too.
 * @param {number} code
 * @returns {'resume' | 'refresh' | 'rejoin' | 'wait' | 'stop'}
 */
export function closeAction(code) {
  if (code === 1000 || code === 1002 || code === 1007) return 'stop';
  if (code < 4100) return 'resume';
  if (code < 4200) return 'refresh';
  if (code < 4300) return 'rejoin';
  return code < 4400 ? 'wait' : 'stop';
}

/** Errors of `join` that may pass: rates, a full room, a busy or ending server, and a room that nobody opened yet. */
export const JOIN_AGAIN = new Set([802, 900, 901, 903, 904, 905, 999]);

const STOPPED = {
  4400: 'The server did not understand this page.',
  4401: 'The server did not accept the token.',
  4403: 'You are not allowed in, or were removed.',
  4409: 'You are already connected elsewhere.',
  4410: 'You connected from another place, which took over.',
  4413: 'A message was too big for the server.',
};

/** A close in words for the person at the screen, with what an operator needs to find out more. */
export function closeText(code, reason) {
  const words = STOPPED[code] ?? (closeAction(code) === 'stop' ? 'The server ended the connection.' : 'Connection lost.');
  return `${words} (${reason ? `${code} ${reason}` : code})`;
}
