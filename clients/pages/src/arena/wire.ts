/**
 * How the arena's moves look on the wire: short arrays of whole numbers, their kind first. What comes in was written by
 * strangers: whatever is not exactly a move of this game is `undefined`.
 */

import { COLOURS, FIELD, FULL_HEALTH, type Ship } from './ship.js';

/** The keys of the moves. Of each key and player the newest latest move is kept by the server. */
export const KEY = {
  /** The ship, many times a second. */
  ship: 0,
  /** The ship once a second, for latecomers and watchers, while its states go over the reliable lane. */
  still: 1,
  shot: 2,
  hit: 3,
} as const;

const SHIP = 1;
const SHOT = 2;
const HIT = 3;
const MOST_SPEED = 4_000;
const MOST_COUNT = 1_000_000;

/** Somebody fired: the `number` of the shot is the shooter's count. */
export interface ShotMove {
  kind: 'shot';
  number: number;
  x: number;
  y: number;
  angle: number;
}

/** The sender was hit by shot `number` of the member with the handle `by`, and perhaps shot down. */
export interface HitMove {
  kind: 'hit';
  by: number;
  number: number;
  down: boolean;
}

export interface ShipMove {
  kind: 'ship';
  ship: Ship;
}

/** Angles travel as 1/1000 radians, -3142 to 3142. */
const packAngle = (angle: number) => Math.round(Math.atan2(Math.sin(angle), Math.cos(angle)) * 1000);

export const encodeShip = (ship: Ship): number[] => [
  SHIP,
  Math.round(ship.x),
  Math.round(ship.y),
  packAngle(ship.angle),
  Math.round(ship.vx),
  Math.round(ship.vy),
  ship.health,
  ship.score,
  ship.downs,
  ship.colour,
  ship.shots,
  (ship.safe ? 1 : 0) | (ship.away ? 2 : 0),
];

export const encodeShot = (number: number, x: number, y: number, angle: number): number[] => [
  SHOT,
  number,
  Math.round(x),
  Math.round(y),
  packAngle(angle),
];

export const encodeHit = (by: number, number: number, down: boolean): number[] => [HIT, by, number, down ? 1 : 0];

/** Whole numbers of the ranges given, in this order and no others. */
function whole(data: unknown, ranges: readonly (readonly [number, number])[]): data is number[] {
  return (
    Array.isArray(data) &&
    data.length === ranges.length &&
    ranges.every(([least, most], index) => Number.isInteger(data[index]) && data[index] >= least && data[index] <= most)
  );
}

const COUNT = [0, MOST_COUNT] as const;
const X = [0, FIELD.width] as const;
const Y = [0, FIELD.height] as const;
const ANGLE = [-3142, 3142] as const;
const SPEED = [-MOST_SPEED, MOST_SPEED] as const;
const SHIP_RANGES = [
  [SHIP, SHIP],
  X,
  Y,
  ANGLE,
  SPEED,
  SPEED,
  [0, FULL_HEALTH],
  COUNT,
  COUNT,
  [0, COLOURS - 1],
  COUNT,
  [0, 3],
] as const;
const SHOT_RANGES = [[SHOT, SHOT], [1, MOST_COUNT], X, Y, ANGLE] as const;
const HIT_RANGES = [
  [HIT, HIT],
  [0, 0xffffffff],
  [1, MOST_COUNT],
  [0, 1],
] as const;

/** Reads a move; `undefined` for anything that is not one of this game. */
export function decode(data: unknown): ShipMove | ShotMove | HitMove | undefined {
  if (whole(data, SHIP_RANGES)) {
    const [
      ,
      x = 0,
      y = 0,
      angle = 0,
      vx = 0,
      vy = 0,
      health = 0,
      score = 0,
      downs = 0,
      colour = 0,
      shots = 0,
      flags = 0,
    ] = data;
    const ship = {
      x,
      y,
      angle: angle / 1000,
      vx,
      vy,
      health,
      score,
      downs,
      colour,
      shots,
      safe: (flags & 1) > 0,
      away: (flags & 2) > 0,
    };
    return { kind: 'ship', ship };
  }
  if (whole(data, SHOT_RANGES)) {
    const [, number = 0, x = 0, y = 0, angle = 0] = data;
    return { kind: 'shot', number, x, y, angle: angle / 1000 };
  }
  if (whole(data, HIT_RANGES)) {
    const [, by = 0, number = 0, down = 0] = data;
    return { kind: 'hit', by, number, down: down === 1 };
  }
  return undefined;
}
