/**
 * The way of one distant ship: what came of it with the server's times, and where it is to be drawn at a moment a
 * little back, between two of them. When the next is late it goes on straight for a moment; a wrong guess is slid away.
 */

import { FIELD, type Ship, turn } from './ship.js';

/** How far behind the server's clock others are drawn, ms: some four states. */
export const DELAY = 100;
/** How long a ship goes on without news, ms. */
const AHEAD = 140;
/** In which time a wrong guess shrinks to a third, ms. */
const SLIDE = 90;
const KEPT = 48;
/** A ship does not cover this in one state: it came back somewhere else. */
const LEAP = 260;

interface Sample {
  time: number;
  ship: Ship;
}

const clamp = (value: number, most: number) => Math.min(most, Math.max(0, value));

export class Track {
  readonly #samples: Sample[] = [];
  /** How far the drawn place is from the true one, shrinking. */
  #offX = 0;
  #offY = 0;
  #last = Number.NaN;
  /** Where the ship is drawn; the same object at all times. */
  readonly ship: Ship;

  constructor(time: number, ship: Ship) {
    this.ship = { ...ship };
    this.#samples.push({ time, ship });
  }

  /** The server's time of the newest that came, ms. */
  get newest(): number {
    return this.#samples.at(-1)?.time ?? 0;
  }

  /** The ship as it was told last, not as it is drawn. */
  get newestShip(): Ship {
    return this.#samples.at(-1)?.ship ?? this.ship;
  }

  /** Takes a state; what is not newer than the last is nothing new. */
  push(time: number, ship: Ship): void {
    const before = this.#samples.at(-1);
    if (!before || time <= before.time) return;
    const from = this.ship;
    const leaps =
      before.ship.downs !== ship.downs ||
      (before.ship.health === 0) !== (ship.health === 0) ||
      Math.hypot(ship.x - before.ship.x, ship.y - before.ship.y) > LEAP;
    const [x, y] = [from.x, from.y];
    if (leaps) {
      this.#samples.length = 0;
      this.#offX = this.#offY = 0;
    }
    this.#samples.push({ time, ship });
    if (this.#samples.length > KEPT) this.#samples.shift();
    // Where it was drawn and where it would have been, had this come in time: that much is slid away.
    if (leaps || !(this.#last > before.time)) return;
    this.#place(this.#last);
    this.#offX = x - this.ship.x;
    this.#offY = y - this.ship.y;
    this.ship.x = x;
    this.ship.y = y;
  }

  /** Puts `ship` where it is to be drawn at `time`; `dt` in seconds since the last call. */
  at(time: number, dt: number): Ship {
    const shrink = Math.exp((-dt * 1000) / SLIDE);
    this.#offX *= shrink;
    this.#offY *= shrink;
    this.#place(time);
    this.ship.x = clamp(this.ship.x + this.#offX, FIELD.width);
    this.ship.y = clamp(this.ship.y + this.#offY, FIELD.height);
    this.#last = time;
    return this.ship;
  }

  #place(time: number): void {
    const samples = this.#samples;
    let index = samples.length - 1;
    while (index > 0 && (samples[index]?.time ?? 0) > time) index -= 1;
    const from = samples[index];
    if (!from) return;
    const to = samples[index + 1];
    const { ship } = this;
    const { x, y, vx, vy, angle } = from.ship;
    // What is counted, not measured, is the newest there is.
    Object.assign(ship, (to ?? from).ship);
    if (to && time >= from.time) {
      const part = (time - from.time) / (to.time - from.time);
      ship.x = x + (to.ship.x - x) * part;
      ship.y = y + (to.ship.y - y) * part;
      ship.angle = angle + turn(angle, to.ship.angle) * part;
      return;
    }
    const ahead = clamp(time - from.time, AHEAD) / 1000;
    ship.x = clamp(x + vx * ahead, FIELD.width);
    ship.y = clamp(y + vy * ahead, FIELD.height);
    ship.angle = angle;
  }
}
