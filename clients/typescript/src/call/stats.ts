/**
 * What one pair measures, out of what `getStats` reports (W3C "Identifiers for WebRTC's Statistics API"). Browsers leave
 * out what they do not have, so that nothing here is taken for given.
 */

/** What one pair measures. Rates are per second, over the time since the last measurement. */
export interface PairStats {
  /** Round trip between the two peers, ms. */
  rtt?: number;
  /** Bits per second. */
  sent: number;
  received: number;
  /** Of what was sent to us since the last measurement, the share that was lost: 0 to 1. */
  lost: number;
  width?: number;
  height?: number;
  framesPerSecond?: number;
  /** How many frames were decoded since the call began. */
  framesDecoded: number;
  /** Whether the pair goes over a TURN server, and by what protocol we send (to it): `udp`, `tcp` or `tls`. */
  relayed: boolean;
  protocol?: string;
  /** Loudness of the peer's microphone, 0 to 1. */
  audioLevel: number;
}

/** One object of a report. */
export type Stat = Record<string, unknown> & { type: string; id: string };

/** The running totals of a measurement, for the next one. */
export interface Totals {
  /** ms */
  time: number;
  sent: number;
  received: number;
  lost: number;
  packets: number;
  energy: number;
  duration: number;
}

const number = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;
const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

/** Measures: `before` are the totals of the last time. */
export function measure(report: Iterable<Stat>, before?: Totals): { stats: PairStats; totals: Totals } {
  const all = [...report];
  const byId = (id: unknown): Stat | undefined => all.find((each) => each.id === id);
  const inbound = all.filter(({ type }) => type === 'inbound-rtp');
  const kind = (of: string): Stat[] => inbound.filter((each) => (each.kind ?? each.mediaType) === of);
  const sum = (of: Stat[], field: string): number => of.reduce((total, each) => total + (number(each[field]) ?? 0), 0);

  const transport = all.find((each) => each.type === 'transport');
  // Firefox has no `transport`; it marks the pair itself.
  const pair = byId(transport?.selectedCandidatePairId) ?? all.find((each) => each.type === 'candidate-pair'
    && (each.selected === true || (each.selected === undefined && each.nominated === true && each.state === 'succeeded')));
  const local = byId(pair?.localCandidateId);
  const remote = byId(pair?.remoteCandidateId);
  const bytes = (field: string, streams: string): number =>
    number(transport?.[field]) ?? number(pair?.[field]) ?? sum(all.filter(({ type }) => type === streams), field);

  const totals: Totals = {
    time: Math.max(0, ...all.map(({ timestamp }) => number(timestamp) ?? 0)),
    sent: bytes('bytesSent', 'outbound-rtp'),
    received: bytes('bytesReceived', 'inbound-rtp'),
    lost: sum(inbound, 'packetsLost'),
    packets: sum(inbound, 'packetsReceived'),
    energy: sum(kind('audio'), 'totalAudioEnergy'),
    duration: sum(kind('audio'), 'totalSamplesDuration'),
  };
  // Totals begin anew with another candidate pair, and a packet that came late after all takes back a loss.
  const since = (field: keyof Totals): number => Math.max(0, totals[field] - (before?.[field] ?? totals[field]));
  const rate = (field: 'sent' | 'received'): number => (since('time') ? Math.round((since(field) * 8000) / since('time')) : 0);

  const video = kind('video').sort((a, b) => (number(b.framesDecoded) ?? 0) - (number(a.framesDecoded) ?? 0))[0];
  const heard = kind('audio').map((each) => number(each.audioLevel)).filter((level) => level !== undefined);
  const loudness = since('duration') ? Math.sqrt(since('energy') / since('duration')) : 0;
  const lost = since('lost');
  const roundTrip = number(pair?.currentRoundTripTime)
    ?? number(all.find((each) => each.type === 'remote-inbound-rtp')?.roundTripTime);
  const stats: PairStats = {
    sent: rate('sent'),
    received: rate('received'),
    lost: lost ? lost / (lost + since('packets')) : 0,
    framesDecoded: number(video?.framesDecoded) ?? 0,
    relayed: local?.candidateType === 'relay' || remote?.candidateType === 'relay',
    audioLevel: Math.min(1, heard.length ? Math.max(...heard) : loudness),
  };
  const known = {
    rtt: roundTrip === undefined ? undefined : roundTrip * 1000,
    width: number(video?.frameWidth),
    height: number(video?.frameHeight),
    framesPerSecond: number(video?.framesPerSecond),
    protocol: text(local?.relayProtocol) ?? text(local?.protocol),
  };
  for (const [field, value] of Object.entries(known)) if (value !== undefined) Object.assign(stats, { [field]: value });
  return { stats, totals };
}
