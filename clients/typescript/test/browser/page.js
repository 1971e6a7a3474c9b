/**
 * What the page of the browser check does: one or more guests, each with a client, a room and a call of its own, in
 * `guests` by name. The counts say what happened to the browser's objects behind them.
 */

import { connect } from '../../src/index.js';

const guests = {};
const counts = { descriptions: 0, rollbacks: 0, given: 0, connections: [], tracks: [], listeners: new Set(), timers: new Set() };

// What a call does to a connection is counted where the browser offers it.
const { setLocalDescription, setRemoteDescription } = RTCPeerConnection.prototype;
RTCPeerConnection.prototype.setLocalDescription = function (...args) {
  counts.descriptions += 1;
  return setLocalDescription.apply(this, args);
};
RTCPeerConnection.prototype.setRemoteDescription = function (description) {
  if (description.type === 'offer' && this.signalingState === 'have-local-offer') counts.rollbacks += 1;
  if (description.type === 'answer' && globalThis.refusedAnswers-- > 0) {
    return Promise.reject(new DOMException('refused by the check', 'InvalidAccessError'));
  }
  return setRemoteDescription.call(this, description);
};
const { replaceTrack } = RTCRtpSender.prototype;
RTCRtpSender.prototype.replaceTrack = function (track) {
  if (track && track === this.track) counts.given += 1;
  return replaceTrack.call(this, track);
};
const Connection = RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Connection {
  constructor(wish) {
    super({ ...wish, ...globalThis.rules });
    counts.connections.push(this);
  }

  setConfiguration(wish) {
    super.setConfiguration({ ...wish, ...globalThis.rules });
  }
};
for (const name of ['getUserMedia', 'getDisplayMedia']) {
  const get = navigator.mediaDevices[name];
  navigator.mediaDevices[name] = async function (wish) {
    if (globalThis.refusal) throw new DOMException('refused by the check', globalThis.refusal);
    const stream = await get.call(this, wish);
    counts.tracks.push(...stream.getTracks());
    return stream;
  };
}
const { addEventListener, removeEventListener, setTimeout, clearTimeout } = globalThis;
globalThis.addEventListener = (type, act, ...rest) => {
  counts.listeners.add(act);
  return addEventListener.call(globalThis, type, act, ...rest);
};
globalThis.removeEventListener = (type, act, ...rest) => {
  counts.listeners.delete(act);
  return removeEventListener.call(globalThis, type, act, ...rest);
};
globalThis.setTimeout = (act, ms) => {
  const timer = setTimeout(() => {
    counts.timers.delete(timer);
    act();
  }, ms);
  counts.timers.add(timer);
  return timer;
};
globalThis.clearTimeout = (timer) => {
  counts.timers.delete(timer);
  clearTimeout(timer);
};

/** Joins, and calls unless `options` is null. */
async function join(name, room, { url, token, encoding = 'json', options = {} }) {
  const client = connect({ url, token, encoding, transports: ['websocket'] });
  const guest = { name, client, events: [], statuses: [] };
  guests[name] = guest;
  client.on('status', ({ state }) => guest.statuses.at(-1) !== state && guest.statuses.push(state));
  guest.room = await client.join(room);
  if (options) await call(name, options);
}

async function call(name, options) {
  const guest = guests[name];
  const { events } = guest;
  guest.call = await guest.room.call(options);
  guest.call.on('peer', ({ member }) => events.push(`peer ${member?.user}`));
  guest.call.on('gone', () => events.push('gone'));
  guest.call.on('data', ({ from, data }) =>
    events.push(`data ${from.member?.user} ${typeof data === 'string' ? data : new Uint8Array(data)}`));
  guest.call.on('ended', ({ reason }) => events.push(`ended ${reason}`));
}

/** The pairs of a guest by the other's user id. */
const pairs = (name) => new Map([...(guests[name].call?.peers.values() ?? [])].map((pair) => [pair.member?.user, pair]));
const pair = (name, other) => pairs(name).get(other);

/** What a guest sees of all others: states and frames. */
async function seen(name) {
  const all = [];
  for (const [other, each] of pairs(name)) all.push([other, { ...(await each.stats()), state: each.state, reason: each.reason }]);
  return Object.fromEntries(all);
}

/** What of a call is left over in the browser. */
const left = () => ({
  connections: counts.connections.filter((each) => each.signalingState !== 'closed').length,
  devices: counts.tracks.filter((each) => each.readyState === 'live').length,
  timers: counts.timers.size,
  listeners: counts.listeners.size,
});

Object.assign(globalThis, { guests, counts, join, call, pairs, pair, seen, left });
