/** What can go wrong, and what the numbers of the protocol ask a client to do (sections 15 and 16). */

/**
 * What a close code means for a client: take the session up again (`resume`; `refresh` with a new token, `wait` not at
 * once), come as somebody new (`rejoin`), or do not come back (`stop`).
 */
export type CloseAction = 'resume' | 'refresh' | 'rejoin' | 'wait' | 'stop';

/** What to do after a close code. Only its range counts, so that codes of later versions are obeyed too. */
export function closeAction(code: number): CloseAction {
  if (code === 1000 || code === 1002 || code === 1007) return 'stop';
  if (code < 4100) return 'resume';
  if (code < 4200) return 'refresh';
  if (code < 4300) return 'rejoin';
  return code < 4400 ? 'wait' : code < 4500 ? 'stop' : 'resume';
}

/** Every error of this package. `code` is the number of the protocol's table, or 0 where the fault is not the server's. */
export class RallypointError extends Error {
  override readonly name: string = 'RallypointError';

  constructor(
    /** The protocol's number (section 15), or 0. */
    readonly code: number,
    /** One sentence for a developer. */
    message: string,
    /** Milliseconds after which the same may work. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

/** The server refused a request. */
export class RequestError extends RallypointError {
  override readonly name: string = 'RequestError';

  /** Whether the same may work later, after `retryAfter` if that is known: "Retry" in the protocol's table. */
  get isPassing(): boolean {
    const { code } = this;
    return code === 707 || code === 802 || (code >= 900 && code !== 902);
  }
}

/** The session was lost before the answer came: nobody knows whether the request was carried out. */
export class LostError extends RallypointError {
  override readonly name = 'LostError';

  constructor(message = 'the session was lost before the answer') {
    super(0, message);
  }
}

/** More waits to be sent than the client keeps while it is away (`ConnectOptions.queue`). */
export class QueueFullError extends RallypointError {
  override readonly name = 'QueueFullError';

  constructor(most: number) {
    super(0, `more than ${most} messages wait to be sent`);
  }
}

/** The way to the server that the client has found cannot carry this: see `Client.missing`. */
export class UnsupportedError extends RallypointError {
  override readonly name = 'UnsupportedError';

  constructor(what: string) {
    super(0, `${what} needs a WebSocket, and there is none`);
  }
}

/** The client has stopped and does not come back by itself. `code` is the close code, or 0 when it was asked to. */
export class ClosedError extends RallypointError {
  override readonly name = 'ClosedError';
}

/**
 * Thrown by a token source when asking again would not help: the client then stops with its message. Any other error is
 * taken for a passing one.
 */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused';
}
