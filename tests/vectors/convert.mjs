/** MessagePack to JSON and back: section 10 of the text. */
import { jsonText } from './json.mjs';
import { writeArray, writeBin, writeExt, writeFloat64, writeInt, writeMap, writeStr } from './msgpack.mjs';

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const YEAR_0 = -62167219200n;
const YEAR_10000 = 253402300800n;

/** The JSON value of a MessagePack node; maps become `Map`s. */
export function toJson(node) {
  switch (node.kind) {
    case 'nil': return null;
    case 'bool': case 'str': return node.value;
    case 'int': return node.value >= -SAFE && node.value <= SAFE ? Number(node.value) : String(node.value);
    case 'float': return Number.isFinite(node.value) ? node.value : null;
    case 'bin': return new Map([['$bin', node.bytes.toString('base64')]]);
    case 'ext': return timestamp(node) ?? new Map([['$ext', [node.type, node.bytes.toString('base64')]]]);
    case 'array': return node.items.map(toJson);
    default: return new Map(node.pairs.map(([key, value]) => [keyText(key), toJson(value)]));
  }
}

function keyText(key) {
  return key.kind === 'str' ? key.value : jsonText(toJson(key));
}

/** RFC 3339 text of a timestamp ext, or undefined if it is not one. */
function timestamp({ type, bytes }) {
  if (type !== -1) return undefined;
  let seconds;
  let nanoseconds = 0;
  if (bytes.length === 4) {
    seconds = BigInt(bytes.readUInt32BE());
  } else if (bytes.length === 8) {
    const both = bytes.readBigUInt64BE();
    seconds = both & (2n ** 34n - 1n);
    nanoseconds = Number(both >> 34n);
  } else if (bytes.length === 12) {
    nanoseconds = bytes.readUInt32BE();
    seconds = bytes.readBigInt64BE(4);
  } else {
    return undefined;
  }
  if (nanoseconds > 999999999 || seconds < YEAR_0 || seconds >= YEAR_10000) return undefined;
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  const fraction = String(nanoseconds).padStart(9, '0').replace(/0+$/, '');
  return `${whole}${fraction && `.${fraction}`}Z`;
}

/** The MessagePack bytes of a JSON value as `parseJson` gives it. */
export function toMsgpack(value) {
  if (value === null) return Buffer.from([0xc0]);
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2]);
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return writeInt(value);
  if (typeof value === 'number') return writeFloat64(value);
  if (typeof value === 'string') return writeStr(value);
  if (Array.isArray(value)) return writeArray(value.map(toMsgpack));
  return special(value) ?? writeMap([...value].map(([key, item]) => [writeStr(key), toMsgpack(item)]));
}

function special(map) {
  if (map.size !== 1) return undefined;
  const [[key, value]] = map;
  if (key === '$bin') {
    const bytes = base64(value);
    return bytes && writeBin(bytes);
  }
  if (key !== '$ext' || !Array.isArray(value) || value.length !== 2) return undefined;
  const [type, text] = value;
  const bytes = base64(text);
  return bytes && Number.isInteger(type) && type >= -128 && type <= 127 ? writeExt(type, bytes) : undefined;
}

function base64(text) {
  if (typeof text !== 'string') return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}
