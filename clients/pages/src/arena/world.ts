/**
 * The game of one player, without clock, network and canvas: its ship, everybody's shots, and one step in time. Each
 * player owns its ship: it alone decides where the ship is and whether it was hit, and tells the others.
 */

import { FIELD, FULL_HEALTH, newShip, ROCKS, type Ship, SHIP_RADIUS, turn } from './ship.js';

const THRUST = 1_350;
const DRAG = 3.6;
const TURN = 11;
const BOUNCE = 0.45;
export const SHOT_SPEED = 600;
/** How long a shot flies, ms. */
export const SHOT_LIFE = 1_150;
const COOLDOWN = 260;
const DOWN_MS = 1_800;
/** How long a ship that has come, or come back, cannot be hit, ms. */
export const SAFE_MS = 1_500;
/** A shot bends by at most this towards somebody who is nearly in line: keys know only eight directions. */
const AIM = 0.24;
const AIM_RANGE = 620;
/** Shots that are kept at once; above it the oldest go. Eight players cannot have as many. */
const MOST_SHOTS = 128;

/** What the player wants: a direction of length 0 to 1, and whether to fire. */
export interface Input {
  x: number;
  y: number;
  fire: boolean;
}

/** A shot flies straight; where it is follows from when it was fired. */
export interface Shot {
  /** The shooter's member handle. */
  by: number;
  number: number;
  x: number;
  y: number;
  angle: number;
  /** When it was fired, server's clock, ms. */
  born: number;
  /** Whose ship it has met already: drawn no more. */
  spent: boolean;
}

/** What came of a step, to be told to the others. */
export type Happening =
  { kind: 'shot'; shot: Shot } | { kind: 'hit'; by: number; number: number; down: boolean } | { kind: 'back' };

export interface World {
  /** Our member handle. */
  handle: number;
  ship: Ship;
  shots: Shot[];
  /** Server's clock, ms, of the next moment at which a shot may be fired, the ship comes back, and can be hit. */
  loaded: number;
  back: number;
  safeUntil: number;
}

/** A place for a ship: of some the one that is farthest from everybody and no rock. */
export function place(others: Iterable<{ x: number; y: number }>, random: () => number): { x: number; y: number } {
  const there = [...others];
  let best = { x: FIELD.width / 2, y: 120, room: -1 };
  for (let tries = 0; tries < 12; tries += 1) {
    const x = 90 + random() * (FIELD.width - 180);
    const y = 90 + random() * (FIELD.height - 180);
    const rocks = Math.min(...ROCKS.map((rock) => Math.hypot(rock.x - x, rock.y - y) - rock.radius - 2 * SHIP_RADIUS));
    const room = rocks < 0 ? -1 : Math.min(600, ...there.map((other) => Math.hypot(other.x - x, other.y - y)));
    if (room > best.room) best = { x, y, room };
  }
  return { x: best.x, y: best.y };
}

export function newWorld(handle: number, colour: number, at: { x: number; y: number }, now: number): World {
  return { handle, ship: newShip(colour, at.x, at.y), shots: [], loaded: 0, back: 0, safeUntil: now + SAFE_MS };
}

/** Where a shot is at `now`, into `out`. */
export function shotAt(shot: Shot, now: number, out: { x: number; y: number }): void {
  const way = ((now - shot.born) / 1000) * SHOT_SPEED;
  out.x = shot.x + Math.cos(shot.angle) * way;
  out.y = shot.y + Math.sin(shot.angle) * way;
}

/** Whether the point is outside the field or in a rock. */
const blocked = (x: number, y: number) =>
  x < 0 ||
  y < 0 ||
  x > FIELD.width ||
  y > FIELD.height ||
  ROCKS.some((rock) => Math.hypot(rock.x - x, rock.y - y) < rock.radius);

/** Adds a shot, its own or one that was told. The same shot told twice is one. */
export function addShot(world: World, shot: Shot): boolean {
  if (world.shots.some((each) => each.by === shot.by && each.number === shot.number)) return false;
  if (world.shots.length >= MOST_SHOTS) world.shots.shift();
  world.shots.push(shot);
  return true;
}

/** Bends the angle of a shot towards the nearest target that is almost in line. */
function aimed(ship: Ship, targets: Iterable<Ship>): number {
  let { angle } = ship;
  let nearest = AIM_RANGE;
  for (const target of targets) {
    if (target.health === 0 || target.away) continue;
    const far = Math.hypot(target.x - ship.x, target.y - ship.y);
    const ahead = far / SHOT_SPEED;
    const to = Math.atan2(target.y + target.vy * ahead - ship.y, target.x + target.vx * ahead - ship.x);
    if (far < nearest && Math.abs(turn(ship.angle, to)) < AIM) [nearest, angle] = [far, to];
  }
  return angle;
}

function move(ship: Ship, input: Input, dt: number): void {
  const push = Math.min(1, Math.hypot(input.x, input.y));
  if (push > 0.1) {
    const want = Math.atan2(input.y, input.x);
    const off = turn(ship.angle, want);
    ship.angle += Math.sign(off) * Math.min(Math.abs(off), TURN * dt);
    ship.vx += Math.cos(want) * push * THRUST * dt;
    ship.vy += Math.sin(want) * push * THRUST * dt;
  }
  const kept = Math.exp(-DRAG * dt);
  ship.vx *= kept;
  ship.vy *= kept;
  ship.x += ship.vx * dt;
  ship.y += ship.vy * dt;
  for (const rock of ROCKS) {
    const [dx, dy] = [ship.x - rock.x, ship.y - rock.y];
    const far = Math.hypot(dx, dy) || 1;
    const over = rock.radius + SHIP_RADIUS - far;
    if (over <= 0) continue;
    const [nx, ny] = [dx / far, dy / far];
    const into = Math.min(0, ship.vx * nx + ship.vy * ny);
    ship.x += nx * over;
    ship.y += ny * over;
    ship.vx -= nx * into * (1 + BOUNCE);
    ship.vy -= ny * into * (1 + BOUNCE);
  }
  const [right, bottom] = [FIELD.width - SHIP_RADIUS, FIELD.height - SHIP_RADIUS];
  if (ship.x < SHIP_RADIUS || ship.x > right) ship.vx *= -BOUNCE;
  if (ship.y < SHIP_RADIUS || ship.y > bottom) ship.vy *= -BOUNCE;
  ship.x = Math.min(right, Math.max(SHIP_RADIUS, ship.x));
  ship.y = Math.min(bottom, Math.max(SHIP_RADIUS, ship.y));
}

/** The distance of a point from the way between two others. */
function distance(x: number, y: number, from: { x: number; y: number }, to: { x: number; y: number }): number {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  const part = length ? Math.min(1, Math.max(0, ((x - from.x) * dx + (y - from.y) * dy) / length)) : 0;
  return Math.hypot(from.x + part * dx - x, from.y + part * dy - y);
}

const was = { x: 0, y: 0 };
const is = { x: 0, y: 0 };

/** Moves the shots on, and tells which of the others' meet our ship. */
function fly(world: World, dt: number, now: number, shown: number, tell: (happening: Happening) => void): void {
  const { ship } = world;
  let kept = 0;
  for (const shot of world.shots) {
    // Others' shots are where others' ships are drawn: a moment back. What a player sees is what hits.
    const time = shot.by === world.handle ? now : shown;
    if (time - shot.born > SHOT_LIFE || shot.spent) continue;
    shotAt(shot, time, is);
    if (time >= shot.born && blocked(is.x, is.y)) continue;
    world.shots[kept] = shot;
    kept += 1;
    if (shot.by === world.handle || ship.health === 0 || ship.safe || ship.away || time < shot.born) continue;
    shotAt(shot, Math.max(shot.born, time - dt * 1000), was);
    if (distance(ship.x, ship.y, was, is) > SHIP_RADIUS) continue;
    shot.spent = true;
    ship.health -= 1;
    const down = ship.health === 0;
    if (down) {
      ship.downs += 1;
      ship.vx = ship.vy = 0;
      world.back = now + DOWN_MS;
    } else {
      ship.vx += Math.cos(shot.angle) * 90;
      ship.vy += Math.sin(shot.angle) * 90;
    }
    tell({ kind: 'hit', by: shot.by, number: shot.number, down });
  }
  world.shots.length = kept;
}

/**
 * Goes on by `dt` seconds. `now` is the server's clock and `shown` the moment of it at which the others are drawn, ms;
 * `others` are their ships as they are drawn.
 */
export function step(
  world: World,
  input: Input,
  dt: number,
  now: number,
  shown: number,
  others: Iterable<Ship>,
  random: () => number,
  tell: (happening: Happening) => void,
): void {
  const { ship } = world;
  ship.safe = now < world.safeUntil;
  if (ship.health === 0 && now >= world.back) {
    Object.assign(ship, place(others, random), { health: FULL_HEALTH, safe: true });
    world.safeUntil = now + SAFE_MS;
    tell({ kind: 'back' });
  }
  if (ship.health > 0 && !ship.away) {
    move(ship, input, dt);
    if (input.fire && now >= world.loaded) {
      world.loaded = now + COOLDOWN;
      // Who fires gives up being safe.
      world.safeUntil = 0;
      ship.safe = false;
      ship.shots += 1;
      const angle = aimed(ship, others);
      const nose = SHIP_RADIUS + 4;
      const x = Math.min(FIELD.width, Math.max(0, ship.x + Math.cos(ship.angle) * nose));
      const y = Math.min(FIELD.height, Math.max(0, ship.y + Math.sin(ship.angle) * nose));
      const shot = { by: world.handle, number: ship.shots, x, y, angle, born: now, spent: false };
      addShot(world, shot);
      tell({ kind: 'shot', shot });
    }
  }
  fly(world, dt, now, shown, tell);
}
