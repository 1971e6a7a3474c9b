/** The kinds of fields that messages have, and how each is judged: sections 1 and 3 of the text. */
import { Refused, demand } from './refused.mjs';
import { parsePosition } from './position.mjs';

const NAME = /^[A-Za-z0-9._~:@/-]{1,128}$/;
const KIND = /^[a-z][a-z0-9._-]{0,63}$/;
const NODE = /^[0-9a-f]{16}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const RESERVED_KIND = /^(?:connected|reset|state|error|open|heartbeat|presence|notification|message|peer-.*|node-.*)$/;
export const UINT16_MAX = 2 ** 16 - 1;
export const UINT32_MAX = 2 ** 32 - 1;

const isNumber = (value) => typeof value === 'number' || typeof value === 'bigint';

/** A field that may be left out, or null. */
export const optional = (check) => Object.assign((value, source) => value === null || check(value, source), { optional: true });

export function any() {}

export function string(value) {
  demand(typeof value === 'string', 600, 'not text');
}

export function boolean(value) {
  demand(typeof value === 'boolean', 600, 'not a boolean');
}

export function number(value) {
  demand(isNumber(value), 600, 'not a number');
}

export function map(value) {
  demand(value instanceof Map, 600, 'not a map');
}

/** A map whose keys and values are all of one kind. */
export const mapOf = (key, item, max) => (value) => {
  map(value);
  // Two rules of section 3 are judged before the values: kinds of all values, then names.
  for (const each of value.values()) string(each);
  for (const each of value.keys()) key(each);
  for (const each of value.values()) item(each);
  demand(value.size <= max, 608, `more than ${max} entries`);
};

export function id(value) {
  number(value);
  demand(Number.isSafeInteger(value) && value >= 0, 607, 'not an id');
}

export const whole = (min, max) => (value) => {
  number(value);
  demand(Number.isSafeInteger(value) && value >= min && value <= max, 608, `not a whole number from ${min} to ${max}`);
};

export const uint = whole(0, Number.MAX_SAFE_INTEGER);
export const handle = whole(0, UINT32_MAX);

export function rate(value) {
  number(value);
  demand(value > 0 && value <= 10, 608, 'not a rate above 0 and up to 10');
}

export const list = (check, min = 0, max = Infinity) => (value, source) => {
  demand(Array.isArray(value), 600, 'not a list');
  demand(value.length >= min && value.length <= max, 608, `not ${min} to ${max} items`);
  for (const item of value) check(item, source);
};

export const oneOf = (...words) => (value) => demand(words.includes(value), 608, `none of ${words.join(', ')}`);

/** A room or user name. */
export function name(value) {
  string(value);
  const segments = value.split('/');
  demand(NAME.test(value) && !segments.some((s) => s === '' || s === '.' || s === '..'), 602, 'not a name');
}

export function room(value) {
  name(value);
  demand(!value.startsWith('user/'), 706, 'a reserved name');
}

export function kind(value) {
  string(value);
  demand(KIND.test(value), 602, 'not a kind');
  demand(!RESERVED_KIND.test(value), 611, 'a reserved kind');
}

export function peer(value) {
  string(value);
  demand(UUID.test(value), 602, 'not a peer id');
}

export function node(value) {
  string(value);
  demand(NODE.test(value), 602, 'not a node');
}

export function position(value) {
  string(value);
  parsePosition(value);
}

export function text(value) {
  string(value);
  demand(value !== '', 608, 'empty');
  demand(Buffer.byteLength(value) <= 4096, 603, 'too long');
}

/** A value whose text, as it stands in the frame, has at most that many bytes. */
export const sized = (check, max) => (value, source) => {
  check(value, source);
  demand(Buffer.byteLength(source) <= max, 603, `more than ${max} bytes`);
};

/** The codes of fields in the order in which section 3 judges: steps 8 to 15. */
const STEPS = [600, 607, 602, 706, 611, 606, 603, 608];

/**
 * Judges the fields of a map by a table of checks; of several faults the one of the earliest step
 * counts. `textOf` gives the text of a field as it was sent.
 */
export function judge(message, fields, textOf) {
  const faults = Object.entries(fields).flatMap(([field, check]) => {
    try {
      demand(!message.repeated?.has(field), 600, `${field} stands twice`);
      demand(message.has(field) || check.optional, 600, `${field} is missing`);
      if (message.has(field)) check(message.get(field), textOf?.(field));
      return [];
    } catch (fault) {
      if (!(fault instanceof Refused)) throw fault;
      return [fault];
    }
  });
  const [first] = faults.toSorted((a, b) => STEPS.indexOf(a.code) - STEPS.indexOf(b.code));
  if (first) throw first;
}
