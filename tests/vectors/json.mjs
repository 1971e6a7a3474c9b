/**
 * A JSON reader (RFC 8259) that sees what `JSON.parse` hides: depth, trailing bytes, repeated keys,
 * the spelling of a value, and integers beyond 2^53 - 1.
 *
 * Maps become `Map`s. Integers that a double cannot hold become BigInts if they fit 64 bits.
 */
import { Refused, demand } from './refused.mjs';

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
const LITERALS = [['null', null], ['true', true], ['false', false]];
const ESCAPES = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };
const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

/** Reads a whole JSON text. A `Map` in the answer has `repeated` keys and the `texts` of its values. */
export function parseJson(text, depthMax) {
  const reader = new Reader(text, depthMax);
  const value = reader.value(0);
  reader.space();
  demand(reader.at === text.length, 605, 'something follows the JSON text');
  return value;
}

class Reader {
  constructor(text, depthMax) {
    this.text = text;
    this.depthMax = depthMax;
    this.at = 0;
  }

  space() {
    SPACE.lastIndex = this.at;
    this.at += SPACE.exec(this.text)[0].length;
  }

  next(character) {
    this.space();
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  expect(character) {
    demand(this.next(character), 600, `${character} expected at ${this.at}`);
  }

  value(depth) {
    this.space();
    const character = this.text[this.at];
    if (character === '{') return this.map(depth + 1);
    if (character === '[') return this.list(depth + 1);
    if (character === '"') return this.string();
    for (const [word, value] of LITERALS) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.number();
  }

  map(depth) {
    demand(depth <= this.depthMax, 604, 'too deep');
    const map = new Map();
    map.repeated = new Set();
    map.texts = new Map();
    this.at += 1;
    if (this.next('}')) return map;
    do {
      this.space();
      demand(this.text[this.at] === '"', 600, 'a key expected');
      const key = this.string();
      this.expect(':');
      this.space();
      const begin = this.at;
      const value = this.value(depth);
      if (map.has(key)) map.repeated.add(key);
      map.set(key, value);
      map.texts.set(key, this.text.slice(begin, this.at));
    } while (this.next(','));
    this.expect('}');
    return map;
  }

  list(depth) {
    demand(depth <= this.depthMax, 604, 'too deep');
    const list = [];
    this.at += 1;
    if (this.next(']')) return list;
    do list.push(this.value(depth));
    while (this.next(','));
    this.expect(']');
    return list;
  }

  string() {
    let out = '';
    for (this.at += 1; this.text[this.at] !== '"'; ) {
      const character = this.text[this.at];
      demand(character !== undefined && character >= ' ', 600, 'a string is not closed, or holds a control character');
      out += character === '\\' ? this.escape() : character;
      if (character !== '\\') this.at += 1;
    }
    this.at += 1;
    demand(out.isWellFormed(), 600, 'a lone surrogate');
    return out;
  }

  escape() {
    const letter = this.text[this.at + 1];
    if (letter === 'u') {
      const digits = this.text.slice(this.at + 2, this.at + 6);
      demand(/^[0-9a-fA-F]{4}$/.test(digits), 600, 'a bad escape');
      this.at += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    demand(Object.hasOwn(ESCAPES, letter ?? ''), 600, 'a bad escape');
    this.at += 2;
    return ESCAPES[letter];
  }

  number() {
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (!match) throw new Refused(600, `no value at ${this.at}`);
    const [spelled, fraction, exponent] = match;
    this.at += spelled.length;
    const value = Number(spelled);
    demand(Number.isFinite(value), 608, 'a number beyond float 64');
    if (fraction !== undefined || exponent !== undefined || Number.isSafeInteger(value)) return value;
    const whole = BigInt(spelled);
    return whole >= INT64_MIN && whole <= UINT64_MAX ? whole : value;
  }
}

/** JSON text without white space, of a value as `parseJson` or the conversion gives it. */
export function jsonText(value) {
  if (value instanceof Map) {
    return `{${[...value].map(([key, item]) => `${JSON.stringify(key)}:${jsonText(item)}`).join(',')}}`;
  }
  if (Array.isArray(value)) return `[${value.map(jsonText).join(',')}]`;
  return typeof value === 'bigint' ? String(value) : JSON.stringify(value);
}

/** The same value with plain objects in place of `Map`s, and doubles for every number. */
export function plain(value) {
  if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => [key, plain(item)]);
    return Object.fromEntries(entries);
  }
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === 'bigint' ? Number(value) : value;
}
