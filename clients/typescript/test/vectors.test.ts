/** The golden frames of the protocol, as far as a client writes or reads them. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Encoder, ExtData } from '@msgpack/msgpack';
import { json, msgpack } from '../src/socket/codec.js';
import { isMove, readMove, writeMove } from '../src/socket/frame.js';

interface Vector {
  name: string;
  type?: string;
  kind?: string;
  direction?: string;
  canonical?: boolean;
  json?: unknown;
  json_text?: string;
  text?: string;
  msgpack?: string;
  hex?: string;
  refused?: number;
  payload_hex?: string;
  payload_json?: unknown;
  fields?: { lane: string; room: number; from?: number; key: number; seq: number; time?: number; to?: number[] };
}

const vectors = (file: string): Vector[] => {
  const url = new URL(`../../../../protocol/vectors/${file}.json`, import.meta.url);
  return (JSON.parse(readFileSync(url, 'utf8')) as { vectors: Vector[] }).vectors;
};
const bytes = (hex = ''): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (frame: unknown): string => Buffer.from(frame as Uint8Array).toString('hex');
const frame = (text = ''): ArrayBuffer => bytes(text).slice().buffer as ArrayBuffer;

/** What the protocol makes of values that only MessagePack has (section 10). */
function asJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return { $bin: Buffer.from(value).toString('base64') };
  if (value instanceof ExtData) return { $ext: [value.type, Buffer.from(value.data as Uint8Array).toString('base64')] };
  if (value instanceof Date) return value.toISOString().replace('.000Z', 'Z');
  if (typeof value === 'number') return Number.isFinite(value) ? value + 0 : null;
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, asJson(each)]));
}

test('every message of the server reads the same in both encodings', () => {
  const all = vectors('server');
  assert.ok(all.length > 20);
  for (const { name, json: expected, msgpack: packed, text } of all) {
    const plain = json.read(text ?? JSON.stringify(expected));
    assert.deepEqual(plain, text === undefined ? expected : JSON.parse(text), name);
    if (packed !== undefined) assert.deepEqual(asJson(msgpack.read(frame(packed))), asJson(plain), name);
  }
});

test('every request is written as the golden frames have it', () => {
  let written = 0;
  for (const { name, json: value, msgpack: packed, canonical } of vectors('client')) {
    if (canonical === false || typeof value !== 'object' || value === null) continue;
    const { type, id, ...fields } = value as { type: string; id?: number } & Record<string, unknown>;
    written += 1;
    if (type === 'move') {
      const { room, data, key = 0, seq = 1, reliable = false, to } = fields as
        { room: string; data: unknown; key?: number; seq?: number; reliable?: boolean; to?: number[] };
      const header = { room: 7, key, seq, reliable, to };
      const said = JSON.parse(json.move(room, header, json.encode(data)) as string) as Record<string, unknown>;
      assert.deepEqual(said, { type, room, key, seq, data, ...(reliable && { reliable }), ...(to && { to }) }, name);
      continue;
    }
    assert.deepEqual(JSON.parse(json.request(type, id, json.encode(fields)) as string), value, name);
    // Some show that the order of the fields has no meaning.
    if (packed === undefined || Object.keys(value)[0] !== 'type') continue;
    assert.equal(hex(msgpack.request(type, id, msgpack.encode(fields))), packed, name);
  }
  assert.ok(written > 30);
});

test('moves have the golden headers, both ways', () => {
  let [read, written] = [0, 0];
  for (const { name, direction, canonical, hex: text, fields, payload_hex, json: plain } of vectors('moves')) {
    if (!fields || text === undefined) continue;
    const reliable = fields.lane === 'reliable';
    const { room, key, seq, to } = fields;
    if (direction === 'client') {
      if (!canonical) continue;
      written += 1;
      assert.equal(hex(writeMove({ room, key, seq, reliable, to }, bytes(payload_hex))), text, name);
    } else {
      read += 1;
      assert.ok(isMove(bytes(text)), name);
      const { payload, ...header } = readMove(bytes(text));
      assert.deepEqual(header, { room, from: fields.from, key, seq, time: fields.time, reliable }, name);
      assert.equal(hex(payload), payload_hex, name);
      // A number beyond 2^53 is the nearest number here, and text in JSON.
      if (plain && !/unsafe/.test(name)) assert.deepEqual(asJson(msgpack.payload(payload)), (plain as { data: unknown }).data, name);
    }
  }
  assert.ok(read >= 2 && written >= 5);
});

test('a move to many has a list of receivers that is read again', () => {
  for (const many of [1, 15, 16, 64]) {
    const to = Array.from({ length: many }, (_, i) => i * 40_000_000);
    const frame = writeMove({ room: 70_000, key: 65_535, seq: 4_294_967_295, reliable: true, to }, bytes('c3'));
    assert.deepEqual(msgpack.payload(frame), [4, 70_000, 65_535, 4_294_967_295, to, true]);
  }
});

test('values mean in MessagePack what section 10 says', () => {
  let compared = 0;
  for (const { name, direction, msgpack: packed, json: expected, refused } of vectors('convert')) {
    if (direction !== 'to-json' || refused !== undefined) continue;
    // Numbers beyond 2^53, times beyond a Date and keys that are no strings are shown differently: section 10 is for
    // JSON.
    if (/integer-.*(largest|smallest|2-53$)|uint64|int64|timestamp|key|float/.test(name)) {
      msgpack.payload(bytes(packed));
      continue;
    }
    compared += 1;
    assert.deepEqual(asJson(msgpack.payload(bytes(packed))), expected, name);
  }
  assert.ok(compared > 8);
});

test('a key that would reach a prototype reaches none, and takes nothing else with it', () => {
  const hostile = '82a474797065a474797065a95f5f70726f746f5f5f81a161' + '01';
  const value = msgpack.read(frame(hostile)) as unknown as Record<string, unknown>;
  assert.equal(value['type'], 'type');
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
  assert.equal(value['a'], undefined);
  const plain = json.read('{"type":"x","__proto__":{"a":1}}') as unknown as Record<string, unknown>;
  assert.equal(Object.getPrototypeOf(plain), Object.prototype);
  assert.equal(plain['a'], undefined);
  // Keys of other kinds, timestamps of a length that there is none of.
  assert.deepEqual(msgpack.payload(bytes('8192010203')), { '[1,2]': 3 });
  assert.ok(msgpack.payload(bytes('c703ff010203')) instanceof ExtData);
});

test('what cannot be read is refused, and what cannot be encoded too', () => {
  const loop: Record<string, unknown> = {};
  loop['self'] = loop;
  for (const codec of [json, msgpack]) assert.throws(() => codec.encode(loop));
  for (const text of ['', '[]', '{"type":1}', 'null']) assert.throws(() => json.read(text), text);
  for (const text of ['', '81', 'c0', '9301', '970307030000c0c0', '9701a1610300000000']) {
    assert.throws(() => msgpack.read(frame(text)), text);
  }
  assert.equal(hex(new Encoder({ ignoreUndefined: true }).encode({ a: undefined })), '80');
});
