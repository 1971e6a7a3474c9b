/**
 * A MessagePack reader that keeps what decoders usually hide: the form of a number, bins, exts, and
 * keys of every kind. Values are nodes `{kind, …}`.
 */
import { Refused, demand } from './refused.mjs';

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const isContainer = ({ kind }) => kind === 'array' || kind === 'map';

/** Whether a map anywhere in the value has a list or map as a key. */
function hasContainerKey({ kind, items, pairs }) {
  if (kind === 'array') return items.some(hasContainerKey);
  if (kind !== 'map') return false;
  return pairs.some(([key, value]) => isContainer(key) || hasContainerKey(value));
}

export class Reader {
  constructor(bytes, depthMax) {
    this.view = Buffer.from(bytes);
    this.depthMax = depthMax;
    this.at = 0;
  }

  get left() {
    return this.view.length - this.at;
  }

  take(length) {
    demand(length <= this.left, 600, 'cut short');
    this.at += length;
    return this.view.subarray(this.at - length, this.at);
  }

  /** An unsigned big-endian number of that many bytes. */
  unsigned(length) {
    return this.take(length).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  }

  length(bytes) {
    return Number(this.unsigned(bytes));
  }

  int(bytes, signed) {
    const value = this.unsigned(bytes);
    return { kind: 'int', value: signed ? BigInt.asIntN(bytes * 8, value) : value };
  }

  str(length) {
    try {
      return { kind: 'str', value: UTF8.decode(this.take(length)) };
    } catch (error) {
      if (error instanceof Refused) throw error;
      throw new Refused(600, 'a string that is not UTF-8');
    }
  }

  bin(length) {
    return { kind: 'bin', bytes: this.take(length) };
  }

  ext(length) {
    const type = this.take(1).readInt8();
    return { kind: 'ext', type, bytes: this.take(length) };
  }

  items(count, depth) {
    demand(depth <= this.depthMax, 604, 'too deep');
    demand(count <= this.left, 600, 'cut short');
    return Array.from({ length: count }, () => this.value(depth));
  }

  array(count, depth) {
    return { kind: 'array', items: this.items(count, depth + 1) };
  }

  map(count, depth) {
    const items = this.items(2 * count, depth + 1);
    const pairs = Array.from({ length: count }, (_, n) => [items[2 * n], items[2 * n + 1]]);
    const nested = pairs.some(([key]) => isContainer(key) && hasContainerKey(key));
    demand(!nested, 604, 'a list or map as a key inside such a key');
    return { kind: 'map', pairs };
  }

  /** The length of an array whose marker is next. */
  arrayLength() {
    const marker = this.take(1)[0];
    if (marker >= 0x90 && marker <= 0x9f) return marker & 0x0f;
    if (marker === 0xdc) return this.length(2);
    if (marker === 0xdd) return this.length(4);
    throw new Refused(600, 'not an array');
  }

  /** The next value, inside containers of that depth. */
  value(depth = 0) {
    const marker = this.take(1)[0];
    if (marker <= 0x7f) return { kind: 'int', value: BigInt(marker) };
    if (marker <= 0x8f) return this.map(marker & 0x0f, depth);
    if (marker <= 0x9f) return this.array(marker & 0x0f, depth);
    if (marker <= 0xbf) return this.str(marker & 0x1f);
    if (marker >= 0xe0) return { kind: 'int', value: BigInt(marker) - 256n };
    switch (marker) {
      case 0xc0: return { kind: 'nil' };
      case 0xc2: return { kind: 'bool', value: false };
      case 0xc3: return { kind: 'bool', value: true };
      case 0xc4: return this.bin(this.length(1));
      case 0xc5: return this.bin(this.length(2));
      case 0xc6: return this.bin(this.length(4));
      case 0xc7: return this.ext(this.length(1));
      case 0xc8: return this.ext(this.length(2));
      case 0xc9: return this.ext(this.length(4));
      case 0xca: return { kind: 'float', value: this.take(4).readFloatBE() };
      case 0xcb: return { kind: 'float', value: this.take(8).readDoubleBE() };
      case 0xcc: return this.int(1, false);
      case 0xcd: return this.int(2, false);
      case 0xce: return this.int(4, false);
      case 0xcf: return this.int(8, false);
      case 0xd0: return this.int(1, true);
      case 0xd1: return this.int(2, true);
      case 0xd2: return this.int(4, true);
      case 0xd3: return this.int(8, true);
      case 0xd4: return this.ext(1);
      case 0xd5: return this.ext(2);
      case 0xd6: return this.ext(4);
      case 0xd7: return this.ext(8);
      case 0xd8: return this.ext(16);
      case 0xd9: return this.str(this.length(1));
      case 0xda: return this.str(this.length(2));
      case 0xdb: return this.str(this.length(4));
      case 0xdc: return this.array(this.length(2), depth);
      case 0xdd: return this.array(this.length(4), depth);
      case 0xde: return this.map(this.length(2), depth);
      case 0xdf: return this.map(this.length(4), depth);
      default: throw new Refused(600, 'the byte c1');
    }
  }

  end() {
    demand(this.left === 0, 605, 'bytes follow the value');
  }
}

/** Reads bytes that hold exactly one value. */
export function readSingle(bytes, depthMax) {
  const reader = new Reader(bytes, depthMax);
  const node = reader.value();
  reader.end();
  return node;
}

const big = (value, bytes) => Buffer.from(BigInt.asUintN(bytes * 8, BigInt(value)).toString(16).padStart(bytes * 2, '0'), 'hex');
const marked = (marker, ...parts) => Buffer.concat([Buffer.from([marker]), ...parts]);

/** The shortest integer form. */
export function writeInt(value) {
  const n = BigInt(value);
  if (n >= 0n) {
    if (n < 0x80n) return marked(Number(n));
    const size = [1, 2, 4, 8].find((bytes) => n < 1n << BigInt(8 * bytes));
    return marked(0xcc + Math.log2(size), big(n, size));
  }
  if (n >= -32n) return marked(Number(n + 256n));
  const size = [1, 2, 4, 8].find((bytes) => n >= -(1n << BigInt(8 * bytes - 1)));
  return marked(0xd0 + Math.log2(size), big(n, size));
}

/** A length in its shortest form: [limit, marker, bytes] rows, where a fixed form has no bytes. */
function head(length, rows) {
  const [, marker, bytes] = rows.find(([limit]) => length < limit);
  return bytes === 0 ? marked(marker + length) : marked(marker, big(length, bytes));
}

const LIMIT32 = 2 ** 32;

export function writeStr(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([head(bytes.length, [[32, 0xa0, 0], [256, 0xd9, 1], [65536, 0xda, 2], [LIMIT32, 0xdb, 4]]), bytes]);
}

export function writeBin(bytes) {
  return Buffer.concat([head(bytes.length, [[256, 0xc4, 1], [65536, 0xc5, 2], [LIMIT32, 0xc6, 4]]), bytes]);
}

export function writeExt(type, bytes) {
  const fixed = [1, 2, 4, 8, 16].indexOf(bytes.length);
  const before = fixed >= 0 ? marked(0xd4 + fixed) : head(bytes.length, [[256, 0xc7, 1], [65536, 0xc8, 2], [LIMIT32, 0xc9, 4]]);
  return Buffer.concat([before, big(type, 1), bytes]);
}

export function writeArray(items) {
  return Buffer.concat([head(items.length, [[16, 0x90, 0], [65536, 0xdc, 2], [LIMIT32, 0xdd, 4]]), ...items]);
}

export function writeMap(pairs) {
  return Buffer.concat([head(pairs.length, [[16, 0x80, 0], [65536, 0xde, 2], [LIMIT32, 0xdf, 4]]), ...pairs.flat()]);
}

export function writeFloat64(value) {
  const bytes = Buffer.alloc(9, 0xcb);
  bytes.writeDoubleBE(value, 1);
  return bytes;
}
