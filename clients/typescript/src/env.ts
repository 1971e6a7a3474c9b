/** What the package takes from its surroundings. Tests give their own, with a clock that they turn themselves. */

/** A socket as far as the package uses it. */
export interface Socket {
  binaryType: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  /** In Node an error that nobody listens to would end the process; a close follows in any case. */
  onerror: (() => void) | null;
  send(data: string | Uint8Array): void;
  close(code?: number, reason?: string): void;
}

/** The surroundings. */
export interface Env {
  /** Unix milliseconds by a clock that is never set back. */
  now(): number;
  /** Runs `act` after `ms`; returns what ends the wait. */
  after(ms: number, act: () => void): () => void;
  /** A number from 0 to 1. */
  random(): number;
  /** Opens a WebSocket; throws where the page may not. */
  socket(url: string, subprotocols: string[]): Socket;
  fetch: typeof fetch;
  /** Tells when the network comes back or the page is looked at again: a wait need not be sat out then. */
  onWake(act: () => void): () => void;
  /** Whether the browser says that there is no network. */
  offline(): boolean;
  /** Whether nobody looks at the page just now. */
  hidden?(): boolean;
}

/**
 * A browser, or Node (22 and later has a WebSocket of its own; for 20 see `ConnectOptions.WebSocket`).
 * @throws {TypeError} if a WebSocket is needed and there is none
 */
export function surroundings(options: { WebSocket?: unknown; fetch?: typeof fetch } = {}, isSocketNeeded = false): Env {
  const { WebSocket: Given = globalThis.WebSocket } = options;
  if (isSocketNeeded && !Given) {
    throw new TypeError('no WebSocket here: pass that of the npm package `ws`, use Node 22, or name `transports` without it');
  }
  return {
    now: () => performance.timeOrigin + performance.now(),
    after(ms, act) {
      const timer = setTimeout(act, ms);
      return () => clearTimeout(timer);
    },
    random: Math.random,
    socket(url, subprotocols) {
      return new (Given as new (url: string, subprotocols: string[]) => Socket)(url, subprotocols);
    },
    fetch: options.fetch ?? ((...call) => globalThis.fetch(...call)),
    onWake(act) {
      const { document: page } = globalThis;
      const seen = () => page.visibilityState === 'visible' && act();
      globalThis.addEventListener?.('online', act);
      page?.addEventListener('visibilitychange', seen);
      return () => {
        globalThis.removeEventListener?.('online', act);
        page?.removeEventListener('visibilitychange', seen);
      };
    },
    offline: () => globalThis.navigator?.onLine === false,
    hidden: () => globalThis.document?.visibilityState === 'hidden',
  };
}
