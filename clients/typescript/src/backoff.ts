/** How long to wait before the next attempt: with full jitter, so that those who were lost together come back apart. */

const FIRST_MS = 500;
const MOST_MS = 30_000;

/** Up to half a second after the first attempt in vain, up to twice as much after each further one, to 30 s. */
export const jitter = (tries: number, random: number): number => random * Math.min(MOST_MS, FIRST_MS * 2 ** tries);
