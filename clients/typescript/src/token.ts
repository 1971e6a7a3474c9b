/** What an access token says, as far as a client may read it. */

/** What a token says, without a check: the server's word counts. `undefined` where it is not a JWT. */
export function claims(token: string): Record<string, unknown> | undefined {
  try {
    const text = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'));
    return { ...JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (char) => char.charCodeAt(0)))) };
  } catch {
    return undefined;
  }
}

/** When a token ends, Unix ms; `undefined` if it does not say. */
export function expiry(token: string): number | undefined {
  const exp = claims(token)?.['exp'];
  return typeof exp === 'number' ? exp * 1000 : undefined;
}
