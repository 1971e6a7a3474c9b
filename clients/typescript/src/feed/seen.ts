/** What of each log was told: it tells what comes a second time, when one transport takes over from the other. */

import type { Position, ResetReason } from '../wire.js';

/** Resets after which a log may go on at a lower number under the same epoch. */
const BACK: readonly ResetReason[] = ['forked', 'ahead', 'lost'];

export class Seen {
  readonly #logs = new Map<string, Position>();

  /** Whether an event at this position was not told yet; from now on it was. */
  isNew(room: string, position: Position): boolean {
    const isNew = !this.#covers(room, position);
    if (isNew) this.#logs.set(room, position);
    return isNew;
  }

  /** Whether a reset to this position tells anything new; from now on the log goes on there. */
  reset(room: string, position: Position, reason: ResetReason): boolean {
    const isNew = BACK.includes(reason) ? this.#logs.get(room) !== position : !this.#covers(room, position);
    if (isNew) this.#logs.set(room, position);
    return isNew;
  }

  forget(room: string): void {
    this.#logs.delete(room);
  }

  #covers(room: string, position: Position): boolean {
    return covers(this.#logs.get(room) ?? '', position);
  }
}

/** Whether a log that was told up to `upTo` was told `position`: within one life of a log its numbers rise. */
export function covers(upTo: Position, position: Position): boolean {
  const [epoch, seq] = upTo.split('.');
  const [itsEpoch, itsSeq] = position.split('.');
  return epoch === itsEpoch && Number(itsSeq) <= Number(seq);
}

/** Why something is missing between two events, the first of which was told; undefined if nothing is. */
export function hole(told: Position, next: Position): ResetReason | undefined {
  const [epoch, seq] = told.split('.');
  const [itsEpoch, itsSeq] = next.split('.');
  // Where there never was an event, the first one may begin another life of the log.
  if (epoch !== itsEpoch) return Number(seq) === 0 && Number(itsSeq) === 1 ? undefined : 'epoch';
  return Number(itsSeq) === Number(seq) + 1 ? undefined : 'trimmed';
}
