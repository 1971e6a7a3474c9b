/**
 * Checks the golden frames in protocol/vectors against this second reading of protocol/README.md.
 *
 * `node check.mjs` checks the files; `node check.mjs --self-test` plants faults in copies of vectors
 * and expects each to be found.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { decode, encode } from '@msgpack/msgpack';
import { ANSWERS, readAnswer, unknownFields } from './answer.mjs';
import { toJson, toMsgpack } from './convert.mjs';
import { jsonText, parseJson, plain } from './json.mjs';
import { readSingle } from './msgpack.mjs';
import { TAG_0, feedObject, logKey, nextTag, parseCursor, parsePosition, readStream, sseLines, writeCursor } from './position.mjs';
import { Refused } from './refused.mjs';
import { REQUESTS, readFrame, readMove, readServerMove, writeMove } from './request.mjs';

const PROTOCOL = new URL('../../protocol/', import.meta.url);
const SPEC = readFileSync(new URL('README.md', PROTOCOL), 'utf8');
const ANY_DEPTH = 64;

const bytesOf = (hex) => {
  assert.match(hex, /^(?:[0-9a-f]{2})*$/, 'not hex');
  return Buffer.from(hex, 'hex');
};
const parsed = (value) => parseJson(JSON.stringify(value), ANY_DEPTH);

function refusal(code, read) {
  assert.throws(read, (error) => {
    if (!(error instanceof Refused)) throw error;
    assert.equal(error.code, code, error.message);
    return true;
  });
}

// Messages

function checkMessage(vector, table) {
  assert.equal(vector.type, vector.json.type, 'type differs from json.type');
  assert.ok(Object.hasOwn(table, vector.type), 'no such message');
  assert.equal(vector.msgpack === undefined, vector.type === 'move', 'only moves have no MessagePack map');
  if (vector.msgpack === undefined) return;
  const bytes = bytesOf(vector.msgpack);
  assert.deepEqual(plain(toJson(readSingle(bytes, ANY_DEPTH))), vector.json, 'msgpack is another message');
  if (vector.canonical === false) return;
  assert.deepEqual(decode(bytes), vector.json, 'the library reads another message');
  assert.equal(Buffer.from(encode(vector.json)).toString('hex'), vector.msgpack, 'the library writes other bytes');
  assert.equal(toMsgpack(parsed(vector.json)).toString('hex'), vector.msgpack, 'not the canonical bytes');
}

function checkClient(vector) {
  checkMessage(vector, REQUESTS);
  const text = vector.text ?? JSON.stringify(vector.json);
  assert.deepEqual(JSON.parse(text), vector.json, 'text is another message');
  assert.deepEqual(plain(readFrame('json', Buffer.from(text))), vector.json);
  if (vector.msgpack !== undefined) assert.deepEqual(plain(readFrame('msgpack', bytesOf(vector.msgpack))), vector.json);
}

function checkServer(vector) {
  checkMessage(vector, ANSWERS);
  const message = readAnswer(parsed(vector.json));
  assert.deepEqual(unknownFields(message, ANSWERS), [], 'fields that the text does not name');
}

// Moves

function checkMove(vector) {
  const bytes = bytesOf(vector.hex);
  const read = vector.direction === 'client' ? readMove : readServerMove;
  const { fields, payload, value } = read(bytes);
  assert.deepEqual(fields, vector.fields);
  assert.equal(payload.toString('hex'), vector.payload_hex);
  assert.deepEqual(plain(value), vector.payload_json, 'the payload converts to something else');
  const shortest = writeMove(fields, payload).toString('hex') === vector.hex;
  assert.equal(shortest, vector.canonical, 'canonical says otherwise');
  const { lane, room, from, key, seq, time, to } = fields;
  const header = from === undefined ? [room, key, seq] : [room, from, key, seq, time];
  const shape = (lane === 'latest' ? 1 : 2) + (to ? 2 : 0);
  const items = decode(bytes);
  assert.deepEqual(items.slice(0, -1), [shape, ...header, ...(to ? [to] : [])], 'the library reads another header');
  if (vector.direction === 'client') return;
  const reliable = lane === 'reliable' ? { reliable: true } : {};
  const json = { type: 'move', room: vector.room_name, from, key, seq, time, data: plain(value), ...reliable };
  assert.deepEqual(vector.json, json);
  readAnswer(parsed(vector.json));
}

// Conversion

function checkConversion(vector) {
  if (vector.direction === 'to-json') {
    const convert = () => toJson(readSingle(bytesOf(vector.msgpack), ANY_DEPTH));
    if (vector.refused) refusal(vector.refused, convert);
    else assert.deepEqual(JSON.parse(jsonText(convert())), vector.json);
    return;
  }
  assert.equal(vector.direction, 'to-msgpack');
  const convert = () => toMsgpack(parseJson(vector.json_text ?? JSON.stringify(vector.json), ANY_DEPTH));
  if (vector.refused) {
    refusal(vector.refused, convert);
    return;
  }
  if (vector.json_text !== undefined) assert.equal(JSON.parse(vector.json_text) + 0, vector.json, 'json_text is another value');
  const bytes = convert();
  assert.equal(bytes.toString('hex'), vector.msgpack);
  decode(bytes);
}

// Positions, tags, cursors

const POSITION_KINDS = {
  position({ text, valid, epoch, seq, tag, code }) {
    if (valid) assert.deepEqual(parsePosition(text), { epoch, seq, tag });
    else refusal(code, () => parsePosition(text));
  },
  chain({ epoch, events }) {
    let tag = TAG_0;
    events.forEach((event, n) => {
      tag = nextTag(tag, event.event);
      assert.equal(event.tag, tag);
      assert.equal(event.position, `${epoch}.${n + 1}.${tag}`);
    });
  },
  cursor({ text, valid, hex, logs, code }) {
    if (!valid) {
      refusal(code, () => parseCursor(text));
      return;
    }
    assert.equal(Buffer.from(text, 'base64url').toString('hex'), hex);
    const expected = Object.entries(logs).map(([log, position]) => [logKey(log), position]);
    assert.deepEqual(parseCursor(text), expected.sort());
    assert.equal(writeCursor(logs), text);
  },
};

function checkPosition(vector) {
  assert.ok(Object.hasOwn(POSITION_KINDS, vector.kind), 'no such kind');
  POSITION_KINDS[vector.kind](vector);
}

// Feeds

function checkFeed({ room, epoch, seq, event, position, feed, cursor, sse }) {
  assert.equal(seq, 1);
  assert.equal(position, `${epoch}.1.${nextTag(TAG_0, event)}`);
  assert.equal(cursor, writeCursor({ [room]: position }));
  const keys = Object.keys(JSON.parse(event));
  assert.deepEqual(keys, ['kind', 'time', 'from', 'data'].filter((key) => keys.includes(key)), 'keys of the event');
  const { data, ...head } = JSON.parse(event);
  assert.ok(event.startsWith(`${JSON.stringify(head).slice(0, -1)},"data":`), 'white space outside data');
  assert.notEqual(data, undefined);
  assert.doesNotMatch(event, /[\r\n]/, 'a line break inside the bytes');
  assert.deepEqual(JSON.parse(feedObject(room, position, event)), feed);
  assert.deepEqual(sse, sseLines(room, position, event, cursor));
  for (const line of sse) assert.doesNotMatch(line, /[\r\n]/, 'a line break inside a line');
  const seen = readStream(sse.map((line) => `${line}\n`).join(''));
  assert.deepEqual(seen, [{ type: feed.kind, data: feedObject(room, position, event), id: cursor }]);
}

// Invalid frames

const NAMES = new Map([...SPEC.matchAll(/^\| (\d{3}) \| ([a-z-]+) \| \d{3} \| (?:yes|no) \|/gm)].map(([, code, name]) => [Number(code), name]));

function checkInvalid({ encoding, text, hex, code, error_name: name }) {
  assert.ok(encoding === 'json' || encoding === 'msgpack', 'no such encoding');
  assert.equal(NAMES.get(code), name, 'not the name of the code');
  const bytes = encoding === 'json' ? Buffer.from(text) : bytesOf(hex);
  refusal(code, () => readFrame(encoding, bytes));
}

// Files

const count = (vectors, wanted) => vectors.filter(wanted).length;

function covers(vectors, types) {
  const seen = new Set(vectors.map(({ type }) => type));
  assert.deepEqual(types.filter((type) => !seen.has(type)), [], 'messages without a vector');
}

/** Per file: how to check one vector, and what the vectors together must have. */
const FILES = {
  'client.json': [checkClient, (vectors) => covers(vectors, Object.keys(REQUESTS))],
  'server.json': [checkServer, (vectors) => covers(vectors, Object.keys(ANSWERS))],
  'moves.json': [
    checkMove,
    (vectors) => {
      const shapes = new Set(vectors.map(({ direction, fields }) => `${direction} ${fields.lane} ${fields.to ? 'some' : 'all'}`));
      assert.equal(shapes.size, 6, 'four shapes from clients and two from the server');
    },
  ],
  'convert.json': [
    checkConversion,
    (vectors) => {
      assert.ok(count(vectors, ({ direction }) => direction === 'to-json') >= 30);
      assert.ok(count(vectors, ({ direction }) => direction === 'to-msgpack') >= 30);
    },
  ],
  'positions.json': [checkPosition, (vectors) => assert.ok(Object.keys(POSITION_KINDS).every((kind) => count(vectors, (v) => v.kind === kind) > 0))],
  'feeds.json': [
    checkFeed,
    (vectors) => {
      const kinds = new Set(vectors.map(({ feed }) => feed.kind));
      for (const kind of ['peer-joined', 'peer-left', 'message', 'presence', 'node-down', 'notification']) assert.ok(kinds.has(kind), kind);
    },
  ],
  'invalid.json': [
    checkInvalid,
    (vectors) => {
      for (const encoding of ['json', 'msgpack']) assert.ok(count(vectors, (v) => v.encoding === encoding) >= 36, encoding);
    },
  ],
};

/** Runs checks by name; answers how many passed, and what failed. */
function run(checks) {
  const failures = [];
  for (const [name, check] of checks) {
    try {
      check();
    } catch (error) {
      failures.push(`${name}: ${error.message}`);
    }
  }
  return { passed: checks.length - failures.length, failures };
}

function checkFile(file, { format, about, vectors }) {
  const [one, all] = FILES[file];
  return run([
    [`${file} as a whole`, () => {
      assert.equal(format, 1);
      assert.equal(typeof about, 'string');
      const names = vectors.map(({ name }) => name);
      for (const name of names) assert.match(name, /^[a-z0-9]+(?:-[a-z0-9]+)*$/);
      assert.equal(new Set(names).size, names.length, 'a name stands twice');
      all(vectors);
    }],
    ...vectors.map((vector) => [`${file} ${vector.name}`, () => one(vector)]),
  ]);
}

/** The text itself: its tables have no doubles, and its worked examples are golden frames too. */
function checkSpec(files) {
  const rows = (pattern) => [...SPEC.matchAll(pattern)].map((match) => match[1]);
  const unique = (values, atLeast) => {
    assert.ok(values.length >= atLeast, `only ${values.length}`);
    assert.equal(new Set(values).size, values.length, 'something stands twice');
  };
  const section = (heading) => SPEC.slice(SPEC.indexOf(`\n### ${heading}\n`)).split(/\n##+ /, 2)[1];
  return run([
    ['error table', () => unique([...NAMES.keys(), ...NAMES.values()], 70)],
    ['close table', () => unique(rows(/^\| ([14]\d{3}) \| [a-z-]+ \| (?:stop|resume|refresh|rejoin|wait) \|/gm), 20)],
    ['defaults table', () => unique(rows(/^\| [^|]+ \| `([a-z_.]+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$/gm), 50)],
    ['rights table', () => {
      const table = section('The table');
      const names = [...table.matchAll(/^\| `([^`]+)` \| (none|create|join|watch|signal|move|chat|publish|presence|history|kick) \| [^|]*\|$/gm)].map((m) => m[1]);
      unique(names, 30);
      for (const type of Object.keys(REQUESTS)) assert.ok(names.includes(type), `${type} has no row`);
    }],
    ['every message is described', () => {
      for (const type of [...Object.keys(REQUESTS), ...Object.keys(ANSWERS)]) assert.ok(SPEC.includes(`\`${type}\``), type);
    }],
    ['worked examples', () => {
      const chain = files['positions.json'].vectors.find(({ name }) => name === 'tag-chain');
      for (const { event } of chain.events.slice(0, 2)) assert.ok(SPEC.includes(event), event);
      assert.ok(SPEC.includes(chain.events[1].position));
      assert.ok(SPEC.includes(files['positions.json'].vectors.find(({ name }) => name === 'cursor-one-room').text));
      const dump = SPEC.replaceAll(/ {2,}\S.*$/gm, '').replaceAll(/\s/g, '');
      for (const name of ['client-latest', 'server-latest']) {
        const { hex } = files['moves.json'].vectors.find((vector) => vector.name === name);
        assert.ok(dump.includes(hex), name);
      }
    }],
  ]);
}

/** Faults to plant: the file, the vector, and what to spoil. Each must make its file fail. */
const FAULTS = [
  ['client.json', 'join', (v) => { v.json.room = 'match/8'; }],
  ['client.json', 'join', (v) => { v.msgpack = v.msgpack.replace('02', 'cc02'); }],
  ['client.json', 'ping', (v) => { v.type = 'pong'; }],
  ['client.json', 'publish', (v) => { delete v.json.data; }],
  ['client.json', 'join-id-with-point', (v) => { v.text = v.text.replace('9.0', '9.5'); }],
  ['client.json', 'leave', (v) => { v.name = 'join'; }],
  ['server.json', 'joined', (v) => { v.json.members[0].polite = 1; }],
  ['server.json', 'typing-on', (v) => { v.msgpack = v.msgpack.slice(0, -2); }],
  ['server.json', 'latency', (v) => { v.json.extra = true; v.msgpack = Buffer.from(encode(v.json)).toString('hex'); }],
  ['server.json', 'node-down', (v) => { v.json.node = v.json.node.slice(1); v.msgpack = Buffer.from(encode(v.json)).toString('hex'); }],
  ['server.json', 'node-down', (v) => { v.json.left = Array(101).fill(v.json.left[1]); v.msgpack = Buffer.from(encode(v.json)).toString('hex'); }],
  ['moves.json', 'client-latest', (v) => { v.fields.seq += 1; }],
  ['moves.json', 'client-everything-as-uint8', (v) => { v.canonical = true; }],
  ['moves.json', 'client-payload-nan', (v) => { v.payload_json = 'NaN'; }],
  ['moves.json', 'server-reliable', (v) => { delete v.json.reliable; }],
  ['moves.json', 'server-latest', (v) => { v.hex = v.hex.replace('07', '08'); }],
  ['convert.json', 'integer-2-53', (v) => { v.json = 9007199254740992; }],
  ['convert.json', 'timestamp-64-tenth', (v) => { v.json = v.json.replace('.5', '.500'); }],
  ['convert.json', 'invalid-utf8', (v) => { v.msgpack = 'a2c3bc'; }],
  ['convert.json', 'bin-back', (v) => { v.msgpack = v.msgpack.replace('c404', 'c50004'); }],
  ['positions.json', 'position', (v) => { v.valid = false; v.code = 606; }],
  ['positions.json', 'position-upper-case-tag', (v) => { v.text = v.text.toLowerCase(); }],
  ['positions.json', 'tag-chain', (v) => { v.events[1].event = v.events[1].event.replace('ready', 'Ready'); }],
  ['positions.json', 'cursor-one-room', (v) => { v.text = v.text.replace('A', 'B'); }],
  ['positions.json', 'cursor-unsorted', (v) => { v.code = 600; }],
  ['feeds.json', 'message', (v) => { v.sse[2] = 'id: 0'; }],
  ['feeds.json', 'message-with-line-breaks', (v) => { v.sse[1] = v.sse[1].replace('\\n', '\n'); }],
  ['feeds.json', 'notification', (v) => { v.event = v.event.replace('"kind"', '"sort"'); }],
  ['invalid.json', 'json-depth-17', (v) => { v.text = v.text.replace('[[', '[').replace(']]', ']'); }],
  ['invalid.json', 'msgpack-trailing-byte', (v) => { v.hex = v.hex.slice(0, -2); }],
  ['invalid.json', 'json-id-negative', (v) => { v.error_name = 'bad-value'; }],
  ['invalid.json', 'msgpack-move-to-65', (v) => { v.code = 600; v.error_name = 'malformed'; }],
];

function selfTest(files) {
  let found = 0;
  for (const [file, name, spoil] of FAULTS) {
    const copy = structuredClone(files[file]);
    spoil(copy.vectors.find((vector) => vector.name === name));
    if (checkFile(file, copy).failures.length > 0) found += 1;
    else console.error(`not found: the fault in ${file} ${name}`);
  }
  console.log(`self-test: planted ${FAULTS.length} faults, found ${found}`);
  return found === FAULTS.length;
}

function checkAll(files) {
  const results = Object.keys(FILES).map((file) => [file, checkFile(file, files[file])]);
  results.push(['README.md', checkSpec(files)]);
  let passed = 0;
  let failed = 0;
  for (const [file, result] of results) {
    console.log(`${file}: ${result.passed} passed, ${result.failures.length} failed`);
    for (const failure of result.failures) console.error(`  ${failure}`);
    passed += result.passed;
    failed += result.failures.length;
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}

const load = (file) => JSON.parse(readFileSync(new URL(`vectors/${file}`, PROTOCOL), 'utf8'));
const files = Object.fromEntries(Object.keys(FILES).map((file) => [file, load(file)]));
const good = process.argv.includes('--self-test') ? selfTest(files) : checkAll(files);
process.exitCode = good ? 0 : 1;
