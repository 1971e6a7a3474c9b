/** What the server sends: section 5 of the text. */
import * as f from './field.mjs';

const nested = (fields) => (value) => {
  f.map(value);
  f.judge(value, fields);
};
const tuple = (...checks) => (value) => {
  f.list(f.any, checks.length, checks.length)(value);
  checks.forEach((check, n) => check(value[n]));
};
const nullable = (check) => (value) => value === null || check(value);

const gone = { peer: f.peer, user: f.name, name: f.optional(f.string) };
const shared = {
  peer: f.peer,
  handle: f.handle,
  user: f.name,
  name: f.optional(f.string),
  info: f.optional(f.any),
  state: f.optional(f.map),
  order: f.uint,
  rtt: f.optional(f.number),
};
const entry = nested({ ...shared, polite: f.boolean, offers: f.boolean });
const from = nested({ peer: f.optional(f.peer), user: f.name, name: f.optional(f.string) });
const latest = (who) => f.list(nested({ from: who, key: f.whole(0, f.UINT16_MAX), seq: f.handle, time: f.uint, data: f.any }));
const eventMessage = (value) => {
  f.map(value);
  readAnswer(value);
};
const missed = f.optional(f.list(eventMessage, 0, 256));
const counts = { count: f.uint, spectators: f.uint };
const event = { room: f.room, time: f.number, position: f.position };
const signal = { room: f.room, from: f.peer, data: f.any };

/** Every message of the server and its fields. */
export const ANSWERS = {
  connected: {
    peer: f.peer,
    session: f.peer,
    resume: f.optional(f.string),
    resumed: f.boolean,
    time: f.number,
    heartbeat: f.uint,
    limits: nested({
      frame: f.uint, move: f.uint, text: f.uint, signal: f.uint, state: f.uint, rooms: f.uint,
      requests_per_second: f.uint, requests_burst: f.uint, moves_per_second: f.uint, moves_burst: f.uint, bytes_per_second: f.uint,
    }),
    ice_servers: f.optional(f.list(nested({ urls: f.list(f.string, 1), username: f.optional(f.string), credential: f.optional(f.string) }))),
    ice_expires: f.optional(f.number),
    notifications: f.position,
  },
  ok: { re: f.id, position: f.optional(f.position) },
  error: {
    re: nullable(f.id),
    code: f.whole(600, 999),
    name: f.string,
    message: f.string,
    retry_after: f.optional(f.uint),
    room: f.optional(f.room),
    count: f.optional(f.uint),
  },
  joined: {
    re: nullable(f.id),
    room: f.room,
    handle: f.handle,
    you: entry,
    members: f.list(entry),
    ...counts,
    position: f.position,
    state: latest(f.handle),
    missed,
  },
  watching: { re: nullable(f.id), room: f.room, position: f.position, ...counts, state: f.optional(latest(f.peer)), missed },
  members: { re: f.id, room: f.room, members: f.list(entry, 0, 500), count: f.uint, next: f.optional(f.peer) },
  pong: { re: f.optional(f.id), t: f.optional(f.number), received: f.number, sent: f.number },
  'peer-joined': { ...event, peer: entry },
  'peer-left': {
    ...event,
    peer: nested({ ...gone, handle: f.handle }),
    reason: f.oneOf('left', 'closed', 'lost', 'kicked', 'expired', 'slow', 'shutdown'),
  },
  message: { ...event, from, text: f.text },
  event: { ...event, kind: f.kind, data: f.any, from },
  presence: { ...event, ...counts, joined: f.list(nested(shared), 0, 20), left: f.list(nested(gone), 0, 20), more: f.boolean },
  'node-down': { ...event, node: f.node, ...counts, left: f.list(nested(gone), 0, 100), more: f.boolean },
  notification: { message: f.text, data: f.optional(f.any), time: f.number, position: f.position },
  offer: signal,
  answer: signal,
  'ice-candidate': signal,
  move: {
    room: f.room,
    from: f.handle,
    key: f.whole(0, f.UINT16_MAX),
    seq: f.handle,
    time: f.uint,
    data: f.any,
    reliable: f.optional(f.boolean),
  },
  typing: { room: f.room, from: f.peer, on: f.boolean },
  'peer-updated': { room: f.room, peer: f.peer, state: f.map },
  latency: { room: f.room, peers: f.list(tuple(f.handle, f.number, f.number)) },
  state: { room: f.room, version: f.uint, moves: latest(f.peer) },
  reset: {
    room: f.name,
    reason: f.oneOf('trimmed', 'epoch', 'forked', 'ahead', 'too-many', 'no-history', 'lost'),
    position: f.position,
    members: f.list(entry),
    count: f.uint,
    state: latest(f.handle),
  },
  reconnect: { after_ms: f.uint },
};

/** Judges a message of the server; throws `Refused`. */
export function readAnswer(message) {
  f.judge(message, { type: f.oneOf(...Object.keys(ANSWERS)) });
  f.judge(message, ANSWERS[message.get('type')]);
  return message;
}

/** The fields of a message that its table does not name. */
export function unknownFields(message, table) {
  const known = Object.keys(table[message.get('type')]);
  return [...message.keys()].filter((field) => field !== 'type' && !known.includes(field));
}
