/** Why a pair does not connect, or a device is missing, in words for a person at the screen. */

/** What a connection showed of itself while it gathered candidates. */
export interface Signs {
  /** Whom it leads to. */
  label: string;
  /** Only TURN may be used. */
  relayOnly: boolean;
  /** A TURN server is configured. */
  turn: boolean;
  /** A TURN server gave us a candidate. */
  relay: boolean;
  /** The last fault of a TURN server: an error code of STUN (RFC 8489 section 14.8, RFC 8656 section 19), or 701: no answer. */
  error?: { code: number; host: string } | undefined;
}

/** 401 and 441: wrong; 403: not allowed; 438: the nonce is stale, which a server says again only of expired ones. */
const REFUSED = [401, 403, 438, 441];
const FULL = [486, 508];

function turnFault({ turn, error }: Signs): string {
  if (!turn) return 'no TURN server is configured';
  const code = error?.code ?? 0;
  if (REFUSED.includes(code)) return `the TURN server refused our credentials, which are wrong or have expired (${code})`;
  if (FULL.includes(code)) return `the TURN server has no room for us (${code})`;
  return `no TURN server answered${error ? ` (${error.host}, error ${code})` : ''}`;
}

/** One sentence for a pair that failed. */
export function whyFailed(signs: Signs): string {
  const { label, relayOnly, relay } = signs;
  if (relay) return `No way through to ${label}, not even over the TURN server.`;
  const fault = turnFault(signs);
  if (relayOnly) return `${fault[0]?.toUpperCase()}${fault.slice(1)}, and this call may take no other way.`;
  return `No way through to ${label}: the networks let nothing pass directly, and ${fault}.`;
}

/** By the name of what `getUserMedia` rejects with (W3C Media Capture and Streams, section 10.2), and what helps. */
const MISSING: Record<string, string> = {
  NotAllowedError: 'not allowed: change that beside the address of the page, or in the settings of the system',
  SecurityError: 'kept from this page: change that in the settings of the browser',
  NotFoundError: 'not found: connect one, and try again',
  OverconstrainedError: 'not found as asked for: choose another one',
  NotReadableError: 'in use by another program: close that, and try again',
};

/** One sentence for devices that were asked for: `camera`, `microphone and camera`, `screen`. */
export function whyMissing(what: string, error: unknown): string {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  // Mostly the person has closed the list of windows.
  if (what === 'screen' && name === 'NotAllowedError') {
    return 'The screen was not shared: choose a window, or allow it in the settings of the system.';
  }
  const why = MISSING[name];
  return why ? `The ${what} ${what.includes(' and ') ? 'were' : 'was'} ${why}.` : `The ${what} failed: ${message}.`;
}
