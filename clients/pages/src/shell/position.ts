/** Positions in a room's log, taken apart. */

import type { Position } from 'rallypoint-client';

/** Where an event stands: events of one epoch are numbered one after the other. */
export interface Place {
  epoch: string;
  seq: number;
}

/** `epoch.seq.tag`, as in the protocol's section 11. */
const POSITION = /^([0-9a-f]{16})\.(0|[1-9][0-9]{0,15})\.[0-9a-f]{8}$/;

/** The parts of a position; `undefined` for a text that is none. */
export function parts(position: Position): Place | undefined {
  const [, epoch, seq] = POSITION.exec(position) ?? [];
  return epoch === undefined || seq === undefined ? undefined : { epoch, seq: Number(seq) };
}
