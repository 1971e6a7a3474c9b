/** A WebSocket below the client, which mends and goes around what is looked for here. */

import { route } from '../../shell/address.js';
import type { SocketMeasured } from '../measured.js';
import { now, PATIENCE_MS, within } from './ask.js';

const PINGS = 10;

interface Said {
  type?: string;
  code?: number;
  message?: string;
  t?: number;
  received?: number;
  sent?: number;
}

export async function probeSocket(token: string | undefined): Promise<SocketMeasured> {
  const measured: SocketMeasured = { samples: [] };
  const address = route('v1/ws');
  address.protocol = address.protocol.replace('http', 'ws');
  const begun = now();
  let socket: WebSocket;
  try {
    socket = new WebSocket(address, 'rallypoint.v1.json');
  } catch {
    return measured;
  }
  const ended = new Promise<undefined>((done) => {
    socket.onclose = ({ code, reason }) => {
      measured.closed = { code, reason };
      done(undefined);
    };
  });
  let hear: (said: Said) => void = () => {};
  socket.onmessage = ({ data }) => {
    const said: Said = JSON.parse(String(data));
    if (said.type === 'error') measured.problem = { code: said.code ?? 0, status: 0, text: said.message ?? '' };
    hear(said);
  };
  /** The next message of this type; undefined if the socket ends before, or nothing comes in time. */
  const heard = (type: string): Promise<Said | undefined> => {
    const said = new Promise<Said>((done) => (hear = (each) => each.type === type && done(each)));
    return within(PATIENCE_MS, Promise.race([ended, said]));
  };
  const late = (what: NonNullable<SocketMeasured['late']>): SocketMeasured => {
    socket.close();
    return measured.closed || measured.problem ? measured : { ...measured, late: what };
  };

  const opened = new Promise<true>((done) => (socket.onopen = () => done(true)));
  if (!(await within(PATIENCE_MS, Promise.race([ended, opened])))) return late('open');
  measured.openMs = now() - begun;
  measured.protocol = socket.protocol;
  if (token) {
    const asked = now();
    const connected = heard('connected');
    socket.send(JSON.stringify({ type: 'auth', token }));
    if (!(await connected)) return late('greeting');
    measured.greetedMs = now() - asked;
    for (let n = 0; n < PINGS; n += 1) {
      const t = now();
      const answered = heard('pong');
      socket.send(JSON.stringify({ type: 'ping', t }));
      const pong = await answered;
      if (pong?.received === undefined || pong.sent === undefined) return late('pong');
      const arrived = now();
      const [received, sent] = [pong.received, pong.sent];
      // As NTP does it (RFC 5905 section 8).
      measured.samples.push({ trip: arrived - t - (sent - received), offset: (received - t + (sent - arrived)) / 2 });
    }
  }
  // The goodbye is not something to report.
  const result = { ...measured };
  socket.close(1000);
  return result;
}
