/** Moves as MessagePack frames (section 9): a header of a few numbers, and a payload that stays as it is. */

import type { IncomingMove } from '../carrier.js';

/** The header of a move that the client sends; `room` is the room's handle. */
export interface MoveHeader {
  room: number;
  key: number;
  seq: number;
  reliable: boolean;
  to?: readonly number[] | undefined;
}

/** A move as it came, its payload not yet read; `room` is the room's handle. */
export interface RawMove extends Omit<IncomingMove, 'room' | 'data'> {
  room: number;
  payload: Uint8Array;
}

/** An unsigned number up to 32 bits in its shortest form. */
function shortest(n: number): number[] {
  if (n < 0x80) return [n];
  if (n < 0x100) return [0xcc, n];
  if (n < 0x10000) return [0xcd, n >> 8, n & 0xff];
  return [0xce, n >>> 24, (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff];
}

/** Puts a header before a payload. */
export function writeMove({ room, key, seq, reliable, to }: MoveHeader, payload: Uint8Array): Uint8Array {
  const head = [0x95 + (to ? 1 : 0), (reliable ? 2 : 1) + (to ? 2 : 0), ...[room, key, seq].flatMap(shortest)];
  if (to) head.push(...(to.length < 16 ? [0x90 + to.length] : [0xdc, 0, to.length]), ...to.flatMap(shortest));
  const frame = new Uint8Array(head.length + payload.length);
  frame.set(head);
  frame.set(payload, head.length);
  return frame;
}

/** Whether a MessagePack frame is a move, and no control message. */
export function isMove(frame: Uint8Array): boolean {
  const first = frame[0] ?? 0;
  return first >> 4 === 9 || first === 0xdc || first === 0xdd;
}

/** Takes the header off. @throws {RangeError} if it is not one, which only a fault of the server could bring */
export function readMove(frame: Uint8Array): RawMove {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const first = view.getUint8(0);
  let at = first === 0xdd ? 5 : first === 0xdc ? 3 : 1;
  const length = first === 0xdd ? view.getUint32(1) : first === 0xdc ? view.getUint16(1) : first & 15;
  const number = (): number => {
    const form = view.getUint8(at++);
    if (form < 0x80) return form;
    const size = form >= 0xcc && form <= 0xd3 ? 1 << (form & 3) : 0;
    at += size;
    // The server writes no negative number here, so signed forms read like unsigned ones.
    if (size === 1) return view.getUint8(at - 1);
    if (size === 2) return view.getUint16(at - 2);
    if (size === 4) return view.getUint32(at - 4);
    if (size === 8) return view.getUint32(at - 8) * 2 ** 32 + view.getUint32(at - 4);
    throw new RangeError('a move with a header of something else than numbers');
  };
  const lane = number();
  if (length !== 7 || lane < 1 || lane > 2) throw new RangeError('a move of a shape that this version does not know');
  const [room, from, key, seq, time] = [number(), number(), number(), number(), number()];
  return { room, from, key, seq, time, reliable: lane === 2, payload: frame.subarray(at) };
}
