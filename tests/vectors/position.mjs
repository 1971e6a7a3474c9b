/** Positions, tags, cursors and feeds: sections 11 and 12 of the text. */
import { createHash } from 'node:crypto';
import { demand } from './refused.mjs';

const POSITION = /^([0-9a-f]{16})\.(0|[1-9][0-9]{0,15})\.([0-9a-f]{8})$/;
const ENTRY = 28;
const LOGS_MAX = 17;
const TEXT_MAX = 2048;

const sha1 = (text) => createHash('sha1').update(text).digest();

export function parsePosition(text) {
  const match = POSITION.exec(text);
  demand(match && Number(match[2]) <= Number.MAX_SAFE_INTEGER, 606, 'not a position');
  return { epoch: match[1], seq: Number(match[2]), tag: match[3] };
}

export const TAG_0 = '00000000';

/** The tag after an event with these bytes. */
export function nextTag(tag, event) {
  return sha1(tag + event).toString('hex').slice(0, 8);
}

/** The key of a log in a cursor, as hex. */
export function logKey(name) {
  return sha1(name).toString('hex').slice(0, 16);
}

/** The cursor text of `{log: position}`. */
export function writeCursor(logs) {
  const entries = Object.entries(logs).map(([log, position]) => {
    const { epoch, seq, tag } = parsePosition(position);
    return logKey(log) + epoch + BigInt(seq).toString(16).padStart(16, '0') + tag;
  });
  return Buffer.from(`01${entries.sort().join('')}`, 'hex').toString('base64url');
}

/** The entries of a cursor, `[log key, position]`. */
export function parseCursor(text) {
  const bytes = Buffer.from(text, 'base64url');
  demand(text.length <= TEXT_MAX && bytes.toString('base64url') === text, 606, 'not base64url without padding');
  demand(bytes[0] === 1, 606, 'not version 1');
  const count = (bytes.length - 1) / ENTRY;
  demand(Number.isInteger(count) && count <= LOGS_MAX, 606, 'a wrong length');
  const hex = (begin, end) => bytes.toString('hex', begin, end);
  const entries = [];
  for (let at = 1; at < bytes.length; at += ENTRY) {
    const key = hex(at, at + 8);
    const seq = bytes.readBigUInt64BE(at + 16);
    demand(seq <= BigInt(Number.MAX_SAFE_INTEGER), 606, 'a seq that is too large');
    demand(entries.length === 0 || entries.at(-1)[0] < key, 606, 'not sorted');
    entries.push([key, `${hex(at + 8, at + 16)}.${seq}.${hex(at + 24, at + 28)}`]);
  }
  return entries;
}

/** The text of the feed object. */
export function feedObject(room, position, event) {
  return `{"room":${JSON.stringify(room)},"position":${JSON.stringify(position)},${event.slice(1)}`;
}

/** The lines of an event's block in an event stream. */
export function sseLines(room, position, event, cursor) {
  return [`event: ${JSON.parse(event).kind}`, `data: ${feedObject(room, position, event)}`, `id: ${cursor}`, ''];
}

/** What an `EventSource` makes of a stream (WHATWG HTML, "Interpreting an event stream"). */
export function readStream(stream) {
  const events = [];
  let data = [];
  let type = '';
  let id = '';
  for (const line of stream.split(/\r\n|\n|\r/)) {
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (line === '') {
      if (data.length > 0) events.push({ type: type || 'message', data: data.join('\n'), id });
      data = [];
      type = '';
    } else if (field === 'data') {
      data.push(value ?? '');
    } else if (field === 'event') {
      type = value ?? '';
    } else if (field === 'id' && !value?.includes('\0')) {
      id = value ?? '';
    }
  }
  return events;
}
