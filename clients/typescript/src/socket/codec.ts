/** The two encodings of the protocol (sections 3 and 10): requests to frames, and frames to messages. */

import { Decoder, Encoder, ExtData, ExtensionCodec, type ExtensionCodecType } from '@msgpack/msgpack';
import type { ServerMessage } from '../wire.js';
import { isMove, readMove, writeMove, type MoveHeader, type RawMove } from './frame.js';

/** What stands on the wire. */
export type Frame = string | Uint8Array;

/** Turns what is said into frames and back. */
export interface Codec {
  readonly subprotocol: string;
  /**
   * Encodes a value at once, so that what its owner changes later does not count. Fields of a request are an object,
   * to be handed to `request`; the payload of a move is any value. @throws what cannot be encoded
   */
  encode(value: unknown): Frame;
  /** A request; without an id if it has no answer. */
  request(type: string, id: number | undefined, fields: Frame): Frame;
  move(room: string, header: MoveHeader, payload: Frame): Frame;
  /** @throws {Error} for a frame that is neither a message nor a move */
  read(frame: unknown): ServerMessage | RawMove;
  /** Reads what `encode` gives; a payload that came, too, of the MessagePack subprotocol. */
  payload(encoded: Frame): unknown;
}

const asMessage = (value: unknown): ServerMessage => {
  if (typeof (value as ServerMessage | null)?.type !== 'string') throw new TypeError('a message without a type');
  return value as ServerMessage;
};

/** Size of a frame that came, as near as the count of what came needs it. */
export const sizeOf = (frame: unknown): number =>
  typeof frame === 'string' ? frame.length : frame instanceof ArrayBuffer ? frame.byteLength : 0;

const utf8 = new TextEncoder();

/** Bytes of a frame that we send. */
export const bytesOf = (frame: Frame): number => (typeof frame === 'string' ? utf8.encode(frame) : frame).length;

/** What MessagePack refuses and JSON would leave out without a word. */
function refuse(_key: string, value: unknown): unknown {
  if (typeof value === 'function' || typeof value === 'symbol') throw new TypeError(typeof value);
  return value;
}

/** JSON, readable in the tools of a browser. */
export const json: Codec = {
  subprotocol: 'rallypoint.v1.json',
  encode: (value) => JSON.stringify(value, refuse),
  request(type, id, fields) {
    const head = JSON.stringify({ type, id });
    return fields === '{}' ? head : `${head.slice(0, -1)},${(fields as string).slice(1)}`;
  },
  move(room, { key, seq, reliable, to }, payload) {
    const head = JSON.stringify({ type: 'move', room, key, seq, reliable: reliable || undefined, to });
    return `${head.slice(0, -1)},"data":${payload as string}}`;
  },
  // A key `__proto__` becomes an own property here and reaches no prototype.
  read: (frame) => asMessage(JSON.parse(frame as string)),
  payload: (text) => JSON.parse(text as string),
};

/** What is not a timestamp after all is any other extension, and refuses nothing else in its frame. */
const extensions: ExtensionCodecType<undefined> = {
  tryToEncode: (value, context) => ExtensionCodec.defaultCodec.tryToEncode(value, context),
  decode(data, type, context) {
    try {
      return ExtensionCodec.defaultCodec.decode(data, type, context);
    } catch {
      return new ExtData(type, data);
    }
  },
};

const encoder = new Encoder({ extensionCodec: extensions, ignoreUndefined: true });
const decoder = new Decoder({
  extensionCodec: extensions,
  mapKeyConverter: (key) => (typeof key === 'string' ? key : JSON.stringify(key)),
});

const PROTO = [...'__proto__'].map((letter) => letter.charCodeAt(0));

/**
 * Reads a value. The decoder refuses a key `__proto__`, by which a stranger could keep a whole message from its
 * readers: the list of a room, say. So where it refuses, it gets the bytes once more with that name made harmless.
 */
function decode(bytes: Uint8Array): unknown {
  try {
    return decoder.decode(bytes);
  } catch {
    const tame = bytes.slice();
    for (let at = 0; at <= tame.length - PROTO.length; at += 1) {
      if (PROTO.every((byte, i) => tame[at + i] === byte)) tame.fill(0x2d, at, at + 2);
    }
    return decoder.decode(tame);
  }
}

/** MessagePack: moves are a few bytes. */
export const msgpack: Codec = {
  subprotocol: 'rallypoint.v1.msgpack',
  encode: (value) => encoder.encode(value),
  request(type, id, fields) {
    const head = encoder.encode({ type, id });
    const body = fields as Uint8Array;
    const frame = new Uint8Array(head.length + body.length - 1);
    frame.set(head);
    frame.set(body.subarray(1), head.length);
    // Both are maps of so few fields that their number stands in the first byte.
    frame[0] = 0x80 + ((head[0] ?? 0) & 15) + ((body[0] ?? 0) & 15);
    return frame;
  },
  move: (_room, header, payload) => writeMove(header, payload as Uint8Array),
  read(frame) {
    const bytes = new Uint8Array(frame as ArrayBuffer);
    return isMove(bytes) ? readMove(bytes) : asMessage(decode(bytes));
  },
  payload: (bytes) => decode(bytes as Uint8Array),
};
