/** What of a call needs no network: when it is tried again, what is said about it, what is measured, what is refused. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Call, type CallPeer } from '../src/call.js';
import { whyFailed, whyMissing, type Signs } from '../src/call/reasons.js';
import { pauseAfter, Restarts } from '../src/call/restarts.js';
import { measure, type Stat } from '../src/call/stats.js';
import { RequestError } from '../src/errors.js';
import type { Inside } from '../src/room/inside.js';
import { settle } from './world.js';

/** A clock that is turned by hand. */
class Clock {
  now = 0;
  readonly waiting = new Set<{ at: number; act: () => void }>();

  readonly after = (ms: number, act: () => void): (() => void) => {
    const entry = { at: this.now + ms, act };
    this.waiting.add(entry);
    return () => this.waiting.delete(entry);
  };

  turn(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const next = [...this.waiting].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.now = next.at;
      this.waiting.delete(next);
      next.act();
    }
    this.now = end;
  }
}

function restarts(): { clock: Clock; at: number[]; restarts: Restarts } {
  const clock = new Clock();
  const at: number[] = [];
  return { clock, at, restarts: new Restarts(() => at.push(clock.now), clock.after) };
}

test('the pauses between attempts grow and are bounded', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 1000].map(pauseAfter), [2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});

test('a pair that fails is made anew at once, then after growing pauses, for as long as it takes', () => {
  const { clock, at, restarts: pair } = restarts();
  clock.turn(100);
  pair.see('failed');
  clock.turn(100_000);
  assert.deepEqual(at, [100, 2100, 6100, 14_100, 30_100, 60_100, 90_100]);
  pair.see('failed');
  assert.equal(at.length, 7, 'the next attempt is on its way already');
});

test('a pair that stands again is left alone, and its next failure counts from the beginning', () => {
  const { clock, at, restarts: pair } = restarts();
  pair.see('failed');
  clock.turn(2000);
  pair.see('connecting');
  pair.see('connected');
  assert.deepEqual([pair.attempts, clock.waiting.size], [0, 0]);
  clock.turn(100_000);
  pair.see('failed');
  clock.turn(2000);
  assert.deepEqual(at, [0, 2000, 102_000, 104_000]);
});

test('a pair that is disconnected is given 5 s to come back by itself', () => {
  const { clock, at, restarts: pair } = restarts();
  pair.see('disconnected');
  clock.turn(4999);
  pair.see('connected');
  clock.turn(10_000);
  assert.deepEqual(at, []);
  pair.see('disconnected');
  clock.turn(5000);
  assert.deepEqual(at, [19_999]);
});

test('a pair that neither comes about nor fails is made anew after 15 s', () => {
  const { clock, at, restarts: pair } = restarts();
  pair.see('new');
  clock.turn(3000);
  pair.see('connecting');
  clock.turn(12_000);
  assert.deepEqual(at, [15_000]);
});

test('a failure of one that is disconnected does not wait', () => {
  const { clock, at, restarts: pair } = restarts();
  pair.see('disconnected');
  clock.turn(1000);
  pair.see('failed');
  assert.deepEqual(at, [1000]);
  assert.equal(clock.waiting.size, 1);
});

test('an ended pair leaves no timer behind', () => {
  const { clock, restarts: pair } = restarts();
  pair.see('failed');
  pair.end();
  assert.equal(clock.waiting.size, 0);
});

test('a failure is put in words', () => {
  const signs: Signs = { label: 'Ada', relayOnly: false, turn: false, relay: false };
  const host = 'turn.example:3478';
  const say = (more: Partial<Signs>): string => whyFailed({ ...signs, ...more });
  assert.equal(say({}), 'No way through to Ada: the networks let nothing pass directly, and no TURN server is configured.');
  assert.equal(say({ turn: true, relay: true }), 'No way through to Ada, not even over the TURN server.');
  assert.equal(say({ relayOnly: true }), 'No TURN server is configured, and this call may take no other way.');
  assert.equal(
    say({ relayOnly: true, turn: true, error: { code: 701, host } }),
    `No TURN server answered (${host}, error 701), and this call may take no other way.`,
  );
  assert.equal(say({ relayOnly: true, turn: true }), 'No TURN server answered, and this call may take no other way.');
  for (const code of [401, 403, 438, 441]) {
    assert.match(say({ turn: true, error: { code, host } }), /^No way through to Ada: .* our credentials, which are wrong or have expired/);
  }
  assert.match(say({ turn: true, error: { code: 486, host } }), /has no room for us \(486\)/);
});

test('a device that is missing is put in words that say what can be done', () => {
  const say = (name: string, what = 'camera'): string => whyMissing(what, Object.assign(new Error('the words of the browser'), { name }));
  const of = 'The microphone and camera were not allowed: change that beside the address of the page, or in the settings of the system.';
  assert.equal(say('NotAllowedError', 'microphone and camera'), of);
  assert.equal(say('NotAllowedError', 'screen'), 'The screen was not shared: choose a window, or allow it in the settings of the system.');
  assert.equal(say('SecurityError'), 'The camera was kept from this page: change that in the settings of the browser.');
  assert.equal(say('NotFoundError'), 'The camera was not found: connect one, and try again.');
  assert.equal(say('OverconstrainedError'), 'The camera was not found as asked for: choose another one.');
  assert.equal(say('NotReadableError', 'screen'), 'The screen was in use by another program: close that, and try again.');
  assert.equal(say('AbortError'), 'The camera failed: the words of the browser.');
  assert.equal(whyMissing('camera', 'pulled out'), 'The camera failed: pulled out.');
});

/** A report as Chromium makes it, `seconds` after the first. */
const chromium = (seconds: number): Stat[] => [
  { id: 'T', type: 'transport', timestamp: 1e6 + seconds * 1000, bytesSent: 1000 + seconds * 5000, bytesReceived: seconds * 10_000, selectedCandidatePairId: 'P2' },
  { id: 'P1', type: 'candidate-pair', timestamp: 1e6 + seconds * 1000, nominated: true, state: 'succeeded', currentRoundTripTime: 9 },
  { id: 'P2', type: 'candidate-pair', timestamp: 1e6 + seconds * 1000, nominated: true, state: 'in-progress', localCandidateId: 'L', remoteCandidateId: 'R', currentRoundTripTime: 0.025 },
  { id: 'L', type: 'local-candidate', candidateType: 'relay', protocol: 'udp', relayProtocol: 'tls' },
  { id: 'R', type: 'remote-candidate', candidateType: 'srflx', protocol: 'udp' },
  { id: 'V', type: 'inbound-rtp', kind: 'video', timestamp: 1e6 + seconds * 1000, packetsLost: seconds * 5, packetsReceived: seconds * 45, framesDecoded: seconds * 30, framesPerSecond: 30, frameWidth: 640, frameHeight: 480 },
  { id: 'V0', type: 'inbound-rtp', kind: 'video', timestamp: 1e6, packetsLost: 0, packetsReceived: 0 },
  { id: 'A', type: 'inbound-rtp', kind: 'audio', timestamp: 1e6 + seconds * 1000, packetsLost: 0, packetsReceived: seconds * 50, audioLevel: 0.5 },
];

test('a pair is measured: rates over the time since the last measurement, the pair that is in use', () => {
  const first = measure(chromium(0));
  assert.deepEqual([first.stats.sent, first.stats.received, first.stats.lost, first.stats.framesDecoded], [0, 0, 0, 0]);
  const { stats } = measure(chromium(2), first.totals);
  assert.deepEqual(stats, {
    sent: 40_000, received: 80_000, lost: 10 / 200, framesDecoded: 60, relayed: true, audioLevel: 0.5,
    rtt: 25, width: 640, height: 480, framesPerSecond: 30, protocol: 'tls',
  });
});

test('where there is no transport, as in Firefox, the pair marks itself, and rates are of the streams', () => {
  const report = (seconds: number): Stat[] => [
    { id: 'P1', type: 'candidate-pair', timestamp: seconds * 1000, nominated: true, state: 'succeeded', selected: false, currentRoundTripTime: 9 },
    { id: 'P2', type: 'candidate-pair', timestamp: seconds * 1000, nominated: true, state: 'succeeded', selected: true, localCandidateId: 'L', remoteCandidateId: 'R' },
    { id: 'L', type: 'local-candidate', candidateType: 'host', protocol: 'udp' },
    { id: 'R', type: 'remote-candidate', candidateType: 'relay' },
    { id: 'I', type: 'inbound-rtp', mediaType: 'audio', bytesReceived: seconds * 4000, packetsLost: -seconds, packetsReceived: seconds * 50, totalAudioEnergy: seconds * 0.25, totalSamplesDuration: seconds },
    { id: 'O', type: 'outbound-rtp', mediaType: 'audio', bytesSent: seconds * 2000 },
    { id: 'X', type: 'remote-inbound-rtp', roundTripTime: 0.04 },
  ];
  const { stats } = measure(report(3), measure(report(1)).totals);
  assert.deepEqual(stats, { sent: 16_000, received: 32_000, lost: 0, framesDecoded: 0, relayed: true, audioLevel: 0.5, rtt: 40, protocol: 'udp' });
});

test('a report that says nothing is no fault, and a total that began anew is no negative rate', () => {
  const nothing = { sent: 0, received: 0, lost: 0, framesDecoded: 0, relayed: false, audioLevel: 0 };
  assert.deepEqual(measure([]).stats, nothing);
  assert.deepEqual(measure([], measure(chromium(9)).totals).stats, nothing);
});

/** A connection as far as an offer needs one. */
class FakeConnection {
  connectionState = 'new';
  signalingState = 'stable';
  localDescription: { type: string; sdp: string } | null = null;
  onnegotiationneeded: (() => void) | null = null;
  readonly setConfiguration = (): void => {};
  readonly getTransceivers = (): never[] => [];

  createDataChannel(): object {
    queueMicrotask(() => this.onnegotiationneeded?.());
    return {};
  }

  async setLocalDescription(): Promise<void> {
    this.signalingState = 'have-local-offer';
    this.localDescription = { type: 'offer', sdp: '' };
  }

  close(): void {
    this.connectionState = this.signalingState = 'closed';
  }
}

interface Called {
  pair: CallPeer;
  told: string[];
  call: Call;
  /** The room is shown again, with another session. */
  anew(): Promise<void>;
}

/** A call with Bob, whose signals the server answers as `signal` does: the pair, and what was told of it. */
async function calling(offers: boolean, signal: () => Promise<void>): Promise<Called> {
  const bob = { peer: 'bob', user: 'bob', handle: 2, label: 'Bob', typing: false, you: false, offers };
  const shown: Inside = { type: 'shown', you: { peer: 'me', user: 'me' }, members: [bob], anew: false, lossy: false };
  let hear: (what: Inside) => void = () => {};
  const call = new Call(
    { iceServers: async () => [] },
    { members: new Map([['bob', bob]]), isLeft: false },
    { signal, flag: () => {}, listen: (listener) => ((hear = listener)(shown), () => {}) },
    { data: true, RTCPeerConnection: FakeConnection as unknown as typeof RTCPeerConnection },
  );
  const told: string[] = [];
  call.on('change', ({ state, reason }) => told.push(`${state}: ${reason}`));
  await call.begin();
  await settle();
  const pair = call.peers.get('bob');
  assert.ok(pair);
  const anew = (): Promise<void> => (hear({ ...shown, lossy: true }), settle());
  return { pair, told, call, anew };
}

test('a pair whose signals are refused for good has failed, whoever is to offer, and says why', async () => {
  for (const offers of [true, false]) {
    const { pair, told, call } = await calling(offers, async () => {
      throw new RequestError(705, 'no rule allows `signal`');
    });
    assert.deepEqual([pair.state, pair.reason], ['failed', 'The negotiation was refused: no rule allows `signal` (705).']);
    assert.equal(told.at(-1), `failed: ${pair.reason}`);
    call.end();
  }
});

test('a pair whose signals were refused begins anew with another session', async () => {
  let isAllowed = false;
  const { pair, told, call, anew } = await calling(true, async () => {
    if (!isAllowed) throw new RequestError(705, 'no');
  });
  assert.equal(pair.state, 'failed');
  await anew();
  assert.equal(pair.state, 'failed', 'refused once more');
  isAllowed = true;
  await anew();
  assert.deepEqual([pair.state, pair.reason], ['connecting', 'Bob has not answered yet.']);
  assert.equal(told.at(-1), `connecting: ${pair.reason}`);
  call.end();
});

test('a pair whose signals are refused for now, or reach nobody, has not failed', async () => {
  for (const [code, reason] of [[900, 'The negotiation was refused: later (900).'], [805, 'Bob has not answered yet.']] as const) {
    const { pair, call } = await calling(true, async () => {
      throw new RequestError(code, 'later');
    });
    assert.deepEqual([pair.state, pair.reason], ['connecting', reason]);
    call.end();
  }
});
