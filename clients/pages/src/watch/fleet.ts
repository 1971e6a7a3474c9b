/** The ships of a watched arena, out of a feed's states: each is drawn between two of them, a moment back. */

import type { FeedState } from 'rallypoint-client';
import type { Actor, Scene } from '../arena/stage.js';
import { Clock } from '../arena/clock.js';
import { MOST_PLAYERS, type Ship, SHIP_RADIUS } from '../arena/ship.js';
import { Track } from '../arena/track.js';
import { decode, KEY } from '../arena/wire.js';
import { SHOT_LIFE, type Shot } from '../arena/world.js';

/** How far back, in states: two, and a little for the way. */
const BACK = 2.2;
const WAY = 60;
/** Places of members that have left come no more, but one may be under way. */
const MOST_GONE = 256;
const MOST_SHOTS = 64;

export class Fleet {
  readonly tracks = new Map<string, Track>();
  readonly #gone = new Set<string>();
  readonly #clock = new Clock();
  readonly #shots: Shot[] = [];
  readonly #actors: Actor[] = [];
  readonly #back: number;
  /** How far the server's clock is ahead of ours, at most: every state came some time after it was taken. */
  #ahead = -Infinity;
  readonly #scene: Scene;
  /** The colours of the shots. */
  readonly #colours = new WeakMap<Shot, number>();

  /** `rate`: states a second. */
  constructor(rate: number) {
    this.#back = (BACK * 1000) / Math.max(1, rate) + WAY;
    this.#scene = {
      actors: this.#actors,
      shots: this.#shots,
      own: -1,
      now: 0,
      shown: 0,
      colourOfShot: (shot) => this.#colours.get(shot) ?? 0,
    };
  }

  /** Takes the moves of a state that came at `now`, Unix ms. */
  hear({ moves }: FeedState, now: number): void {
    for (const { from, key, time, data } of moves) {
      const read = key === KEY.ship || key === KEY.still ? decode(data) : undefined;
      if (read?.kind !== 'ship' || this.#gone.has(from)) continue;
      this.#ahead = Math.max(this.#ahead, time - now);
      const track = this.tracks.get(from);
      if (track) {
        this.#shoot(track.newestShip, read.ship, time);
        track.push(time, read.ship);
      } else if (this.tracks.size < MOST_PLAYERS) this.tracks.set(from, new Track(time, read.ship));
    }
  }

  /** A feed has no shots, but each ship tells how many it has fired: one is drawn when there are more. */
  #shoot(before: Ship, ship: Ship, time: number): void {
    if (ship.shots <= before.shots || ship.shots - before.shots > 8 || ship.health === 0) return;
    if (this.#shots.length >= MOST_SHOTS) this.#shots.shift();
    const [x, y] = [ship.x + Math.cos(ship.angle) * SHIP_RADIUS, ship.y + Math.sin(ship.angle) * SHIP_RADIUS];
    const shot = { by: 0, number: ship.shots, x, y, angle: ship.angle, born: time, spent: false };
    this.#colours.set(shot, ship.colour);
    this.#shots.push(shot);
  }

  left(peer: string): void {
    this.tracks.delete(peer);
    this.#gone.add(peer);
    for (const oldest of this.#gone) {
      if (this.#gone.size <= MOST_GONE) break;
      this.#gone.delete(oldest);
    }
  }

  came(peer: string): void {
    this.#gone.delete(peer);
  }

  /** The room is shown anew. */
  clear(): void {
    this.tracks.clear();
    this.#gone.clear();
    this.#shots.length = 0;
  }

  /** What to draw at `now`, Unix ms, `passed` ms after the last time. */
  scene(now: number, passed: number, label: (peer: string) => string): Scene {
    const shown = this.#clock.follow(now + this.#ahead - this.#back, passed);
    this.#actors.length = 0;
    for (const [peer, track] of this.tracks)
      this.#actors.push({ ship: track.at(shown, passed / 1000), label: label(peer), you: false });
    let kept = 0;
    for (const shot of this.#shots) {
      if (shown - shot.born > SHOT_LIFE) continue;
      this.#shots[kept] = shot;
      kept += 1;
    }
    this.#shots.length = kept;
    this.#scene.now = this.#scene.shown = shown;
    return this.#scene;
  }
}
