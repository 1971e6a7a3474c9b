/** What an event says, in words. Everything in it was written by strangers: the text is shown as text, and cut. */

import type { FeedEvent, PeerEntry } from 'rallypoint-client';

const LONGEST = 400;

/** The time of day. */
export const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

const cut = (text: string) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

/** A value as one line of JSON. */
export function json(value: unknown): string {
  return cut(JSON.stringify(value) ?? 'undefined');
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A name out of a map `{name?, user}`. */
function called(value: unknown): string {
  if (!isMap(value)) return 'somebody';
  const { name, user } = value;
  return cut(typeof name === 'string' && name ? name : typeof user === 'string' ? user : 'somebody');
}

/** The words of an event: what kind, who, and what. */
export function words(event: FeedEvent): { kind: string; who: string; what: string } {
  const { kind, data } = event;
  const map = isMap(data) ? data : {};
  const who = event.from ? called(event.from) : '';
  if (kind === 'message' && typeof map['text'] === 'string') return { kind: 'chat', who, what: cut(map['text']) };
  if (kind === 'peer-joined') return { kind: 'came', who: called(map['peer']), what: 'has come in' };
  if (kind === 'peer-left')
    return { kind: 'left', who: called(map['peer']), what: `has left (${cut(String(map['reason']))})` };
  if (kind === 'presence')
    return { kind: 'presence', who: '', what: `${json(map['count'])} members, ${json(map['spectators'])} spectators` };
  if (kind === 'node-down') {
    const left = Array.isArray(map['left']) ? map['left'] : [];
    const gone = left.map(called).join(', ') || 'nobody';
    return { kind: 'left', who: cut(gone + (map['more'] === true ? ', …' : '')), what: 'lost with a node of the cluster' };
  }
  if (kind === 'notification' && typeof map['message'] === 'string') {
    return {
      kind: 'notification',
      who: '',
      what: cut(map['message']) + (map['data'] === undefined ? '' : ` ${json(map['data'])}`),
    };
  }
  return { kind, who, what: json(data) };
}

/** The name of a member, or the beginning of its id. */
export const labelOf = (peer: string, peers: ReadonlyMap<string, PeerEntry>): string => {
  const entry = peers.get(peer);
  return entry ? called(entry) : peer.slice(0, 8);
};
