/** A demo player: it looks for the nearest ship, keeps its distance, circles, and fires when in line. No master. */

import type { Input } from './world.js';
import { FIELD, ROCKS, type Ship, SHIP_RADIUS, turn } from './ship.js';

const NEAR = 250;
/** Seconds between two decisions about where to go. */
const MOOD = 1.3;

export class Bot {
  #moodUntil = 0;
  #side = 1;
  #calm = 1;

  constructor(readonly random: () => number = Math.random) {}

  /** What to do now; `time` in seconds, by any clock. */
  think(me: Ship, others: Iterable<Ship>, time: number): Input {
    if (time > this.#moodUntil) {
      this.#moodUntil = time + MOOD * (0.5 + this.random());
      this.#side = this.random() < 0.5 ? -1 : 1;
      this.#calm = this.random();
    }
    let target: Ship | undefined;
    let far = Infinity;
    for (const other of others) {
      const away = Math.hypot(other.x - me.x, other.y - me.y);
      if (other.health > 0 && !other.away && away < far) [target, far] = [other, away];
    }
    const goal = target ?? {
      x: FIELD.width * (0.5 + 0.3 * Math.cos(time / 3)),
      y: FIELD.height * (0.5 + 0.3 * Math.sin(time / 3)),
    };
    const to = Math.atan2(goal.y - me.y, goal.x - me.x);
    // Closer while far away, round and round when near, back when too near.
    const swing = target ? (far > NEAR ? 0.35 : far > NEAR * 0.5 ? 1.1 : 2.2) : 0.3;
    let x = Math.cos(to + swing * this.#side);
    let y = Math.sin(to + swing * this.#side);
    for (const rock of ROCKS) {
      const [dx, dy] = [me.x - rock.x, me.y - rock.y];
      const gap = Math.hypot(dx, dy) - rock.radius - SHIP_RADIUS;
      if (gap < 70) {
        x += (dx / (gap + rock.radius)) * (1 - gap / 70);
        y += (dy / (gap + rock.radius)) * (1 - gap / 70);
      }
    }
    const length = Math.hypot(x, y) || 1;
    const speed = 0.55 + 0.4 * this.#calm;
    const inLine = target !== undefined && far < 480 && Math.abs(turn(me.angle, to)) < 0.4;
    return { x: (x / length) * speed, y: (y / length) * speed, fire: inLine && this.random() < 0.1 };
  }
}
