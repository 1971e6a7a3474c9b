/** STUN and TURN: each address of each server that the server names, asked by itself. */

import type { IceServer } from 'rallypoint-client';
import { route } from '../../shell/address.js';
import type { IceMeasured, RelayMeasured } from '../measured.js';
import { isTurn } from '../relays.js';
import { headers, PATIENCE_MS, problemOf, silence } from './ask.js';

/** How long an address is tried, ms. Of a server that does not answer over UDP, Chromium never tells. */
const GATHER_MS = 12_000;

export async function probeIce(token: string): Promise<IceMeasured> {
  if (typeof RTCPeerConnection === 'undefined') return { relays: [], isMissing: true };
  let servers: IceServer[];
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const response = await fetch(route('v1/ice-servers'), { headers: headers(token), cache: 'no-store', signal });
    if (!response.ok) return { relays: [], problem: await problemOf(response) };
    ({ ice_servers: servers } = (await response.json()) as { ice_servers: IceServer[] });
  } catch (fault) {
    return { relays: [], problem: silence(fault) };
  }
  const all = servers.flatMap((server) => server.urls.map((url) => probeRelay({ ...server, urls: [url] }, url)));
  return { relays: await Promise.all(all) };
}

async function probeRelay(server: IceServer, url: string): Promise<RelayMeasured> {
  const measured: RelayMeasured = { url, errors: [], isDone: false };
  const wanted = isTurn(url) ? 'relay' : 'srflx';
  let connection: RTCPeerConnection;
  try {
    connection = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: isTurn(url) ? 'relay' : 'all' });
  } catch (fault) {
    return { ...measured, errors: [{ code: 0, text: fault instanceof Error ? fault.message : String(fault) }] };
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await new Promise<void>((done) => {
      timer = setTimeout(done, GATHER_MS);
      const begun = performance.now();
      connection.onicecandidate = ({ candidate }) => {
        if (!candidate) {
          measured.isDone = true;
          return done();
        }
        if (candidate.type !== wanted) return;
        measured.found = { type: wanted, ms: performance.now() - begun };
        done();
      };
      connection.onicecandidateerror = ({ errorCode, errorText }) => {
        measured.errors.push({ code: errorCode, text: errorText });
      };
      connection.createDataChannel('selftest');
      connection.setLocalDescription().catch((fault: unknown) => {
        measured.errors.push({ code: 0, text: fault instanceof Error ? fault.message : String(fault) });
        done();
      });
    });
  } finally {
    clearTimeout(timer);
    connection.close();
  }
  return measured;
}
