/** Plain requests: whether the server answers, by which HTTP, through what, and what it thinks of this page. */

import { route } from '../../shell/address.js';
import type { Ground } from '../ground.js';
import type { HttpMeasured, OriginMeasured } from '../measured.js';
import { PATIENCE_MS, problemOf, publish, silence } from './ask.js';

const TRIPS = 5;
/** The server sends none of these: whoever does stands before it. */
const SIGNS = ['via', 'server', 'x-cache', 'x-served-by', 'cf-ray', 'x-amz-cf-id', 'x-varnish', 'age'];

export async function probeHttp(): Promise<HttpMeasured> {
  const address = route('healthz');
  const measured: HttpMeasured = { trips: [], protocol: '', signs: [] };
  try {
    // The first opens the connection, and says little about the way.
    for (let n = 0; n <= TRIPS; n += 1) {
      const begun = performance.now();
      const response = await fetch(address, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!response.ok) return { ...measured, problem: await problemOf(response) };
      await response.text();
      if (n) measured.trips.push(performance.now() - begun);
      measured.signs = SIGNS.flatMap((name) => {
        const value = response.headers.get(name);
        return value === null ? [] : `${name}: ${value}`;
      });
    }
  } catch (fault) {
    return { ...measured, problem: silence(fault) };
  }
  const entries = performance.getEntriesByName(address.href);
  const last = entries.at(-1);
  if (last instanceof PerformanceResourceTiming) measured.protocol = last.nextHopProtocol;
  return measured;
}

/** A POST carries this page's Origin, and the server looks at it before anything else. */
export async function probeOrigin(ground: Ground, token: string | undefined): Promise<OriginMeasured> {
  const { problem } = await publish(ground, token, 0);
  return { origin: location.origin, ...(problem ? { problem } : {}) };
}
