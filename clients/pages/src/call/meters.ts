/** What a call measures for the eye: who speaks, and each pair's round trip and bitrates. */

import type { Call, CallPeer, PairStats } from 'rallypoint-client';

const SPEAKING_MS = 200;
const STATS_MS = 2_000;
/** Of full scale; a quiet room stays below it. */
const LOUD = 0.02;

/** Whether the peer's microphone is loud just now: the level that the browser reads from the sound's own packets. */
function isLoud({ connection }: CallPeer): boolean {
  return connection.getReceivers().some((receiver) => {
    if (receiver.track.kind !== 'audio') return false;
    return receiver.getSynchronizationSources().some(({ audioLevel = 0 }) => audioLevel > LOUD);
  });
}

const rate = (bits: number): string =>
  bits < 1e6 ? `${Math.round(bits / 1e3)} kbit/s` : `${(bits / 1e6).toFixed(1)} Mbit/s`;

/** The figures of a pair in one line. */
export function words({ sent, received, lost, width, height, framesPerSecond, relayed, protocol }: PairStats): string {
  const parts = [
    `↓ ${rate(received)}`,
    `↑ ${rate(sent)}`,
    width && height && framesPerSecond && `${width}×${height} at ${Math.round(framesPerSecond)}/s`,
    lost > 0.005 && `${(lost * 100).toFixed(1)} % lost`,
    `${relayed ? 'relayed' : 'direct'}${protocol ? ` (${protocol})` : ''}`,
  ];
  return parts.filter(Boolean).join(' · ');
}

/** Measures a call until it is ended; tells who speaks several times a second, the figures every two seconds. */
export function measure(
  call: Call,
  tell: { speaking(peer: string, on: boolean): void; stats(peer: CallPeer, stats: PairStats): void },
): () => void {
  const ends = [
    setInterval(() => {
      for (const [id, peer] of call.peers) tell.speaking(id, isLoud(peer));
    }, SPEAKING_MS),
    setInterval(() => {
      if (document.visibilityState !== 'visible') return;
      for (const peer of call.peers.values()) {
        // A pair that ends meanwhile has nothing more to tell.
        if (peer.state === 'connected') peer.stats().then((stats) => tell.stats(peer, stats), () => {});
      }
    }, STATS_MS),
  ];
  return () => ends.forEach((each) => clearInterval(each));
}
