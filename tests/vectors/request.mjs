/** What a client sends: sections 3, 4 and 9 of the text, as far as the frame alone tells. */
import { toJson } from './convert.mjs';
import * as f from './field.mjs';
import { jsonText, parseJson } from './json.mjs';
import { Reader, readSingle, writeArray, writeInt } from './msgpack.mjs';
import { Refused, demand } from './refused.mjs';

const DEPTH_MAX = 16;
const FRAME_MAX = 65536;
const PAYLOAD_MAX = 4096;
const RECEIVERS_MAX = 64;

const signal = { id: f.id, room: f.room, to: f.peer, data: f.any };
const place = { id: f.id, room: f.room };

/** Every request and its fields. */
export const REQUESTS = {
  auth: { token: f.string, notifications_since: f.optional(f.position) },
  resume: {
    token: f.string,
    received: f.uint,
    positions: f.mapOf(f.room, f.position, 64),
    watched: f.optional(f.list(f.room, 0, 64)),
    jwt: f.optional(f.string),
    notifications_since: f.optional(f.position),
  },
  refresh: { id: f.id, token: f.string },
  join: { ...place, since: f.optional(f.position) },
  leave: place,
  offer: signal,
  answer: signal,
  'ice-candidate': signal,
  message: { ...place, text: f.text },
  publish: { ...place, kind: f.kind, data: f.any },
  update: { ...place, state: f.sized(f.map, 512) },
  members: {
    ...place,
    after: f.optional(f.peer),
    limit: f.optional(f.whole(1, 500)),
    handles: f.optional(f.list(f.handle, 0, 100)),
  },
  watch: { ...place, since: f.optional(f.position), state: f.optional(f.rate) },
  unwatch: place,
  typing: { room: f.room },
  move: {
    room: f.room,
    data: f.sized(f.any, PAYLOAD_MAX),
    key: f.optional(f.whole(0, f.UINT16_MAX)),
    seq: f.optional(f.whole(0, f.UINT32_MAX)),
    reliable: f.optional(f.boolean),
    to: f.optional(f.list(f.handle, 1, RECEIVERS_MAX)),
  },
  ping: { id: f.optional(f.id), t: f.optional(f.number) },
  ack: { n: f.uint },
};

/** Reads a client's frame; throws `Refused`. Answers the message as a `Map`, or the move. */
export function readFrame(encoding, bytes) {
  demand(bytes.length <= FRAME_MAX, 603, 'a frame that is too long');
  if (encoding === 'json') return readJson(bytes.toString());
  return isArray(bytes[0]) ? readMove(bytes) : readMap(bytes);
}

const isArray = (marker) => (marker >= 0x90 && marker <= 0x9f) || marker === 0xdc || marker === 0xdd;

function readJson(text) {
  const message = parseJson(text, DEPTH_MAX);
  demand(message instanceof Map, 600, 'not a map');
  return judgeRequest(message, (field) => message.texts.get(field));
}

function readMap(bytes) {
  const node = readSingle(bytes, DEPTH_MAX);
  demand(node.kind === 'map', 600, 'neither a map nor an array');
  demand(node.pairs.every(([key]) => key.kind === 'str'), 600, 'a key that is not a string');
  const keys = node.pairs.map(([key]) => key.value);
  const message = toJson(node);
  message.repeated = new Set(keys.filter((key, n) => keys.indexOf(key) !== n));
  demand(message.get('type') !== 'move', 601, 'a move as a map');
  return judgeRequest(message, (field) => jsonText(message.get(field)));
}

function judgeRequest(message, textOf) {
  f.judge(message, { type: f.string }, textOf);
  const type = message.get('type');
  demand(Object.hasOwn(REQUESTS, type), 601, `no request ${type}`);
  f.judge(message, REQUESTS[type], textOf);
  return message;
}

/** Reads a number of a move's header. */
function headerNumber(reader, max) {
  const node = reader.value();
  demand(node.kind === 'int' || node.kind === 'float', 600, 'not a number');
  demand(node.kind === 'int' && node.value >= 0n && node.value <= BigInt(max), 608, 'out of range');
  return Number(node.value);
}

function readPayload(reader, max) {
  const bytes = reader.take(reader.left);
  demand(bytes.length <= max, 603, 'a payload that is too long');
  return { payload: bytes, value: toJson(readSingle(bytes, DEPTH_MAX)) };
}

/** Reads a client's binary move. */
export function readMove(bytes) {
  const reader = new Reader(bytes, DEPTH_MAX);
  const length = reader.arrayLength();
  demand(length > 0, 600, 'an empty array');
  const shape = reader.value();
  demand(shape.kind === 'int' || shape.kind === 'float', 600, 'a shape that is not a number');
  demand(shape.kind === 'int' && shape.value >= 1n && shape.value <= 4n, 601, 'no such shape');
  const named = shape.value > 2n;
  demand(length === (named ? 6 : 5), 600, 'a wrong number of items');
  const fields = {
    lane: shape.value % 2n === 1n ? 'latest' : 'reliable',
    room: headerNumber(reader, f.UINT32_MAX),
    key: headerNumber(reader, f.UINT16_MAX),
    seq: headerNumber(reader, f.UINT32_MAX),
  };
  if (named) fields.to = readReceivers(reader);
  return { fields, ...readPayload(reader, PAYLOAD_MAX) };
}

function readReceivers(reader) {
  const count = reader.arrayLength();
  demand(count >= 1 && count <= RECEIVERS_MAX, 608, 'not 1 to 64 receivers');
  return Array.from({ length: count }, () => headerNumber(reader, f.UINT32_MAX));
}

/** Reads the server's binary move. */
export function readServerMove(bytes) {
  const reader = new Reader(bytes, DEPTH_MAX);
  demand(reader.arrayLength() === 7, 600, 'a wrong number of items');
  const shape = headerNumber(reader, 2);
  if (shape === 0) throw new Refused(601, 'no such shape');
  const fields = {
    lane: shape === 1 ? 'latest' : 'reliable',
    room: headerNumber(reader, f.UINT32_MAX),
    from: headerNumber(reader, f.UINT32_MAX),
    key: headerNumber(reader, f.UINT16_MAX),
    seq: headerNumber(reader, f.UINT32_MAX),
    time: headerNumber(reader, Number.MAX_SAFE_INTEGER),
  };
  return { fields, ...readPayload(reader, 2 ** 20) };
}

/** Writes a move of either direction in its shortest form. */
export function writeMove({ lane, room, from, key, seq, time, to }, payload) {
  const shape = (lane === 'latest' ? 1 : 2) + (to ? 2 : 0);
  const numbers = from === undefined ? [shape, room, key, seq] : [shape, room, from, key, seq, time];
  const items = numbers.map(writeInt);
  if (to) items.push(writeArray(to.map(writeInt)));
  return writeArray([...items, payload]);
}
