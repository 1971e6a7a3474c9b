/**
 * Writes the seeds of the fuzzing corpora: the golden frames of protocol/vectors and a few requests,
 * tokens and settings, in the form that each target in targets/ reads.
 *
 * `node corpus.mjs FOLDER` makes FOLDER/<target>/<name>. What a fuzzer found there stays.
 */
import { createHmac } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const load = (name) =>
  JSON.parse(readFileSync(new URL(`../../protocol/vectors/${name}.json`, import.meta.url), 'utf8')).vectors;
const hex = (text) => Buffer.from(text, 'hex');
const text = (vector) => Buffer.from(vector.text ?? JSON.stringify(vector.json));
const choose = (choice, bytes) => Buffer.concat([Buffer.from([choice]), Buffer.from(bytes)]);

const seeds = { frames: {}, msgpack: {}, requests: {}, answers: {}, positions: {}, tokens: {}, routes: {}, config: {} };

// Messages, in both encodings. A target's first byte says which: 0 JSON, 1 MessagePack.

function message(target, vector) {
  const { name, encoding, hex: bytes, msgpack } = vector;
  const packed = msgpack ?? bytes;
  const spelled = vector.json !== undefined || vector.text !== undefined;
  if (spelled) seeds[target][`${name}.json`] = choose(0, text(vector));
  if (packed !== undefined) seeds[target][`${name}.packed`] = choose(encoding === 'json' ? 0 : 1, hex(packed));
}
for (const vector of [...load('client'), ...load('invalid')]) message('requests', vector);
for (const vector of load('server')) message('answers', vector);

// MessagePack values and moves.

for (const { name, msgpack } of load('convert')) if (msgpack) seeds.msgpack[name] = hex(msgpack);
for (const { name, hex: bytes, payload_hex: payload } of load('moves')) {
  seeds.msgpack[name] = hex(bytes);
  seeds.msgpack[`${name}.payload`] = hex(payload);
}

// WebSocket frames (RFC 6455 section 5.2): a first byte that seeds the pieces, then masked frames.

const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

function frame(first, payload) {
  const bytes = Buffer.from(payload);
  const short = bytes.length < 126;
  const head = Buffer.from(short ? [first, 0x80 | bytes.length] : [first, 0xfe, bytes.length >> 8, bytes.length & 0xff]);
  return Buffer.concat([head, MASK, bytes.map((byte, at) => byte ^ MASK[at % 4])]);
}

for (const [at, vector] of load('client').entries()) {
  seeds.frames[`${vector.name}.text`] = choose(at & 0x7f, frame(0x81, text(vector)));
  if (vector.msgpack) seeds.frames[`${vector.name}.binary`] = choose(0x80 | at, frame(0x82, hex(vector.msgpack)));
}
const half = [frame(0x01, 'Hel'), frame(0x80, 'lo')];
const streams = {
  fragmented: half,
  'ping-between': [half[0], frame(0x89, 'are you there'), half[1]],
  'ping-and-pong': [frame(0x89, ''), frame(0x8a, 'unasked'), frame(0x81, 'on')],
  'close-with-reason': [frame(0x88, Buffer.concat([hex('03e8'), Buffer.from('bye')]))],
  'close-without-code': [frame(0x81, 'x'), frame(0x88, ''), frame(0x81, 'too late')],
  'close-with-bad-code': [frame(0x88, hex('03ed'))],
  'broken-text': [frame(0x81, hex('c328'))],
  'split-letter': [frame(0x01, hex('c3')), frame(0x80, hex('bc'))],
  'reserved-bits': [frame(0xc1, 'x')],
  'reserved-opcode': [frame(0x83, 'x')],
  'long-control': [frame(0x89, 'x'.repeat(126))],
  'stray-continuation': [frame(0x80, 'x')],
  'unmasked': [hex('810178')],
  'too-long': [hex('82ff7fffffffffffffff37fa213d')],
  'medium': [frame(0x82, 'm'.repeat(1000)), frame(0x82, 'm'.repeat(25))],
};
for (const [at, [name, frames]] of Object.entries(streams).entries()) {
  seeds.frames[name] = choose(at, Buffer.concat(frames));
  seeds.frames[`${name}.bytewise`] = choose(0, Buffer.concat(frames));
}

// Positions, cursors and names stand by themselves.

for (const { name, text: spelled, kind } of load('positions')) if (kind !== 'chain') seeds.positions[name] = spelled;
for (const { json } of load('client')) {
  for (const field of ['room', 'to', 'kind']) if (typeof json?.[field] === 'string') seeds.positions[`${field}-${json[field].replaceAll('/', '-')}`] = json[field];
}
Object.assign(seeds.positions, { branch: 'match/*', everything: '*', reserved: 'user/ada' });

// Tokens: 0 is a token as it comes, 1 a header and claims to be signed, 2 the places of a request,
// 3 what a resume token says (signed there) and then the text of one.

const SECRET = 'a secret of more than thirty-two bytes';
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
function token(header, claims) {
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}
const nested = (depth) => (depth > 0 ? [nested(depth - 1)] : 1);
const least = { sub: 'ada', exp: 1800000000, aud: 'rallypoint' };
const most = {
  ...least, iss: 'shop', nbf: 1600000000, iat: 1600000000, jti: '1', name: 'Ada L.', info: { team: ['red', 7, null] },
  aud: ['rallypoint', 'rallypoint-admin'], rooms: [{ r: 'match/*', role: 'host', do: ['join', 'kick'] }, { r: '*', do: [] }],
  notify: { send: ['*'] }, admin: ['kick', 'rooms'], dup: 'reject', ice: 'relay', gen: 3, lim: { moves: 10, rooms: 2 },
};
const HEADER = { alg: 'HS256', typ: 'JWT' };
const claims = {
  least, most, expired: { ...least, exp: 1 }, early: { ...least, nbf: 1800000000 }, foreign: { ...least, aud: 'other' },
  milliseconds: { ...least, exp: 1800000000000 }, nameless: { exp: 1800000000 }, deep: { ...least, info: nested(10) },
  deeper: { ...least, info: nested(126) },
};
for (const [name, value] of Object.entries(claims)) {
  seeds.tokens[`${name}.token`] = choose(0, token(HEADER, value));
  seeds.tokens[`${name}.claims`] = choose(1, `${JSON.stringify(HEADER)}\n${JSON.stringify(value)}`);
  seeds.tokens[`${name}.named`] = choose(1, `${JSON.stringify({ ...HEADER, kid: 'b' })}\n${JSON.stringify({ ...value, iss: 'shop' })}`);
}
seeds.tokens.unsigned = choose(0, `${part({ alg: 'none' })}.${part(least)}.`);
seeds.tokens.critical = choose(1, `${JSON.stringify({ ...HEADER, crit: ['exp'] })}\n${JSON.stringify(least)}`);
const places = {
  bearer: ['Bearer t1'], offered: ['', 'rallypoint.v1.json, bearer.t1'], both: ['Bearer t1', 'bearer.t1'],
  cookie: ['', '', 'a=b; rallypoint_token=t1', '', 'https://app.example'], query: ['', '', '', 't1'],
  'cookie-of-a-get': ['', '', 'rallypoint_token="t1"', '', '', 'same-origin'],
  'cookie-of-another': ['', '', 'rallypoint_token=t1', '', 'https://evil.example'],
  everything: ['bearer t1', 'bearer.t1', 'rallypoint_token=t1', 't1', 'https://eu.app.example', 'same-origin'],
};
for (const [name, lines] of Object.entries(places)) seeds.tokens[`place-${name}`] = choose(2, lines.join('\n'));

// A version, a node, a session, a peer, a generation, a number, and the name of a user behind its length.
seeds.tokens['resume-said'] = choose(3, `\x01${'\0'.repeat(8 + 16 + 16 + 8 + 7)}\x02\x08team/ada`);
// Requests: 0 without a token, 1 with every right, 2 with few; 3 is a segment of a path, 4 an origin.

const CURSOR = load('positions').find(({ kind, refused, code }) => kind === 'cursor' && !refused && !code).text;
const JSON_BODY = 'content-type: application/json\n\n';
const requests = [
  'GET /', 'GET /v1/rooms?limit=10&after=lobby', 'GET /v1/rooms/match%2F7', 'GET /v1/rooms/lobby/members?limit=5',
  'DELETE /v1/rooms/lobby/members/5b0d4a8e-6c1f-4d3a-9e27-0f1a2b3c4d5e', 'DELETE /v1/users/ada/sessions',
  'GET /v1/ice-servers', 'GET /healthz', 'HEAD /readyz', 'GET /metrics', 'GET /v1/nothing', 'PATCH /v1/rooms/lobby',
  `GET /v1/poll?room=lobby&room=match/7&after=${CURSOR}&wait=0`, 'GET /v1/poll?room=lobby&state=2&state_after=lobby:3',
  'GET /v1/events?room=lobby&since=lobby:9f3c5a1e7b2d4860.2.ac218ea6', `GET /v1/events?after=0\nlast-event-id: ${CURSOR}`,
  'GET /v1/poll?token=e30.e30.c2ln', 'GET /v1/poll\ncookie: rallypoint_token=e30.e30.c2ln\nsec-fetch-site: same-origin',
  'OPTIONS /v1/rooms/lobby/events\norigin: https://app.example\naccess-control-request-method: POST',
  'GET /healthz\norigin: https://evil.example', 'GET /healthz\norigin: https://app.example',
  'GET /v1/ws\nconnection: upgrade\nupgrade: websocket\nsec-websocket-version: 13\n' +
    'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-protocol: rallypoint.v1.json, bearer.e30.e30.c2ln',
  `POST /v1/rooms/match%2F7/events\nidempotency-key: k1\n${JSON_BODY}{"kind":"score","data":{"red":1}}`,
  `POST /v1/rooms/lobby/events\n${JSON_BODY}{"kind":"message","data":{"text":"hello"}}`,
  `POST /v1/rooms/lobby/events\n${JSON_BODY}{"kind":"peer-joined","data":1e999}`,
  `POST /v1/users/ada/notifications\n${JSON_BODY}{"message":"Your match begins","data":[1,2]}`,
  `POST /dev/token\n${JSON_BODY}{"user":"guest","rooms":["lobby"]}`,
];
requests.forEach((line, at) => [0, 1, 2].forEach((who) => (seeds.routes[`request-${at}-${who}`] = choose(who, line))));
['lobby', 'match%2F7', '%6cobby', 'a%', 'a%2', 'a%zz', '%ff', '%c3%bc', 'user%2Fada', '%252F', 'lob%2562y', '..', 'a+b', '%00'].forEach(
  (segment, at) => (seeds.routes[`segment-${at}`] = choose(3, segment)),
);
['https://app.example', 'https://APP.example:443', 'https://*.app.example', 'http://[::1]:8080', 'null', '*', 'http://a:80',
  'https://app.example.evil.example', 'chrome-extension://abc'].forEach(
  (origin, at) => (seeds.routes[`origin-${at}`] = choose(4, origin)),
);

// Settings, as variables of the environment without their prefix.

const settings = [
  'LISTEN=0.0.0.0:80', 'DEV=true', 'LIMITS__FRAME=1024\nLIMITS__MOVE_PAYLOAD=2048', 'ORIGINS=https://a.example,https://*.b.example',
  'ORIGINS=["null", "*"]', 'AUTH__AUDIENCE=game\nAUTH__KEYS__0__ALGORITHM=HS256', 'AUTH__KEYS__1__KID=b\nAUTH__KEYS__0__KID=a',
  'ROOMS__0__MATCH=match/*\nROOMS__0__MEMBERS=8', 'ROOMS=[{match = "lobby", members = 4}]', 'ROOM__GATHER_ABOVE=10\nROOM__GATHER_UNTIL=20',
  'ICE__0__URLS=stun:stun.example\nICE__1__URLS=turn:turn.example\nICE__1__USERNAME=a\nICE__1__CREDENTIAL=b', 'LOG__FORMAT=xml',
  'USER__HISTORY_EVENTS=-1', 'METRICS_LISTEN=[::1]:9000', 'AUTH__COOKIE=a b', 'NOTHING=1', 'LIMITS=1', 'AUTH__KEYS__x__KID=a',
];
settings.forEach((lines, at) => (seeds.config[`settings-${at}`] = lines));

const folder = process.argv[2];
let count = 0;
for (const [target, files] of Object.entries(seeds)) {
  mkdirSync(join(folder, target), { recursive: true });
  for (const [name, bytes] of Object.entries(files)) {
    writeFileSync(join(folder, target, name.replaceAll(/[^A-Za-z0-9._-]/g, '_')), bytes);
    count += 1;
  }
}
console.log(`${count} seeds for ${Object.keys(seeds).length} targets`);
