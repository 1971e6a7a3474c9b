/** Draws an arena on a canvas: the field, ships, shots, sparks. Knows nothing of rooms; what to draw is handed in. */

import { COLOURS, FIELD, FULL_HEALTH, ROCKS, type Ship, SHIP_RADIUS } from './ship.js';
import { type Shot, SHOT_LIFE, SHOT_SPEED, shotAt } from './world.js';

/** A ship's colour in a style: one of the shell's series, which are made for both themes. */
export const colourOf = (colour: number): string => `var(--series-${(colour % COLOURS) + 1})`;

/** A ship to be drawn. */
export interface Actor {
  ship: Ship;
  label: string;
  you: boolean;
  /** Where another lane would show it. */
  ghost?: Ship | undefined;
  /** A few words behind the name. */
  note?: string | undefined;
}

/** What to draw. `now` is the time of own shots, `shown` that of the others', ms. */
export interface Scene {
  actors: readonly Actor[];
  shots: readonly Shot[];
  /** The handle whose shots are our own. */
  own: number;
  now: number;
  shown: number;
  colourOfShot(shot: Shot): number;
}

interface Spark {
  x: number;
  y: number;
  vx: number;
  vy: number;
  left: number;
  life: number;
  size: number;
  colour: number;
}

const MOST_SPARKS = 240;
/** Below this many pixels for a ship's radius the view follows it in place of showing the whole field. */
const SMALL = 9;
/** Around the field there is room for a ship at the wall: for its ring, its name and what is left of its health. */
const BORDER = { x: 51, y: 32 };
const at = { x: 0, y: 0 };

/** Where a name is drawn. */
interface Sign {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export class Stage {
  readonly #pen: CanvasRenderingContext2D;
  readonly #calm = matchMedia('(prefers-reduced-motion: reduce)');
  readonly #sparks: Spark[] = [];
  #theme = { field: '', ink: '', rock: '', line: '', halo: '', low: '', full: '', fire: '' };
  #colours: string[] = [];
  /** How much of the canvas lies under something at its bottom, px: there the view may go beyond the field. */
  covered = 0;
  #width = 0;
  #height = 0;
  #ratio = 1;
  #eyeX = FIELD.width / 2;
  #eyeY = FIELD.height / 2;
  #shake = 0;

  constructor(
    readonly canvas: HTMLCanvasElement,
    signal: AbortSignal,
  ) {
    const pen = canvas.getContext('2d', { alpha: false });
    if (!pen) throw new Error('this browser draws no canvas');
    this.#pen = pen;
    const sizes = new ResizeObserver(() => this.#measure());
    sizes.observe(canvas);
    signal.addEventListener('abort', () => sizes.disconnect(), { once: true });
    document.addEventListener('theme', () => this.#paint(), { signal });
    this.#measure();
    this.#paint();
  }

  /** Reads the theme's colours anew: off an element, for only so is what the style sheet says resolved. */
  #paint(): void {
    const ink = document.createElement('i');
    ink.hidden = true;
    this.canvas.after(ink);
    const read = (name: string) => {
      ink.style.color = name;
      return getComputedStyle(ink).color;
    };
    this.#theme = {
      field: read('var(--field)'),
      ink: read('var(--ink)'),
      rock: read('var(--field-rock)'),
      line: read('var(--field-line)'),
      halo: read('var(--field-halo)'),
      low: read('var(--danger)'),
      full: read('var(--accent)'),
      fire: read('var(--amber)'),
    };
    this.#colours = Array.from({ length: COLOURS }, (_, colour) => read(colourOf(colour)));
    ink.remove();
  }

  #ink(colour: number): string {
    return this.#colours[colour % COLOURS] ?? this.#theme.ink;
  }

  #measure(): void {
    const { clientWidth, clientHeight } = this.canvas;
    this.#ratio = Math.min(2, devicePixelRatio || 1);
    this.#width = Math.max(1, clientWidth);
    this.#height = Math.max(1, clientHeight);
    this.canvas.width = Math.round(this.#width * this.#ratio);
    this.canvas.height = Math.round(this.#height * this.#ratio);
  }

  /** Pieces that fly off from a place. */
  burst(x: number, y: number, colour: number, count: number, speed = 240): void {
    if (this.#calm.matches) return;
    for (let piece = 0; piece < count; piece += 1) {
      const angle = Math.random() * 2 * Math.PI;
      const fast = speed * (0.25 + Math.random());
      const life = 0.25 + Math.random() * 0.45;
      if (this.#sparks.length >= MOST_SPARKS) this.#sparks.shift();
      this.#sparks.push({
        x,
        y,
        vx: Math.cos(angle) * fast,
        vy: Math.sin(angle) * fast,
        left: life,
        life,
        size: 2 + Math.random() * 4,
        colour,
      });
    }
  }

  /** Shakes the picture: we were hit. */
  shake(much: number): void {
    if (!this.#calm.matches) this.#shake = much;
  }

  /** Draws; `dt` in seconds since the last time. */
  draw(scene: Scene, dt: number): void {
    const pen = this.#pen;
    const [wide, high] = [this.#width / (FIELD.width + 2 * BORDER.x), this.#height / (FIELD.height + 2 * BORDER.y)];
    const [fit, cover] = [Math.min(wide, high), Math.max(wide, high)];
    const follows = SHIP_RADIUS * fit < SMALL;
    const scale = follows ? Math.min(cover, Math.max(fit, 0.62)) : fit;
    this.#look(scene, follows, scale, dt);
    const theme = this.#theme;
    pen.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    pen.fillStyle = theme.halo;
    pen.fillRect(0, 0, this.#width, this.#height);
    this.#shake = Math.max(0, this.#shake - dt * 30);
    const shakeX = this.#shake ? (Math.random() - 0.5) * this.#shake : 0;
    pen.translate(this.#width / 2 + shakeX, this.#height / 2);
    pen.scale(scale, scale);
    pen.translate(-this.#eyeX, -this.#eyeY);
    this.#ground();
    for (const actor of scene.actors) if (actor.ghost) this.#ghost(actor.ship, actor.ghost);
    for (const shot of scene.shots) this.#shot(shot, scene);
    for (const actor of scene.actors) if (this.#isSeen(actor, scale)) this.#ship(actor, scene.now);
    this.#signs(scene, scale);
    this.#fly(dt);
    if (follows) this.#edges(scene, scale);
  }

  #look(scene: Scene, follows: boolean, scale: number, dt: number): void {
    const me = scene.actors.find((actor) => actor.you)?.ship ?? scene.actors[0]?.ship;
    const [halfX, halfY] = [this.#width / scale / 2, this.#height / scale / 2];
    const hold = (value: number, half: number, whole: number, border: number) =>
      half * 2 >= whole + 2 * border ? whole / 2 : Math.min(whole + border - half, Math.max(half - border, value));
    const under = follows ? this.covered / scale : 0;
    const toX = hold(follows && me ? me.x : FIELD.width / 2, halfX, FIELD.width, BORDER.x);
    const toY = hold(follows && me ? me.y + under / 2 : FIELD.height / 2, halfY, FIELD.height + under, BORDER.y);
    const part = this.#calm.matches || !follows ? 1 : 1 - Math.exp(-dt * 7);
    this.#eyeX += (toX - this.#eyeX) * part;
    this.#eyeY += (toY - this.#eyeY) * part;
  }

  #ground(): void {
    const pen = this.#pen;
    const theme = this.#theme;
    pen.fillStyle = theme.field;
    pen.fillRect(0, 0, FIELD.width, FIELD.height);
    pen.strokeStyle = theme.line;
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (let x = 100; x < FIELD.width; x += 100) {
      pen.moveTo(x, 0);
      pen.lineTo(x, FIELD.height);
    }
    for (let y = 100; y < FIELD.height; y += 100) {
      pen.moveTo(0, y);
      pen.lineTo(FIELD.width, y);
    }
    pen.stroke();
    pen.lineWidth = 4;
    pen.strokeRect(2, 2, FIELD.width - 4, FIELD.height - 4);
    pen.fillStyle = theme.rock;
    for (const rock of ROCKS) {
      pen.beginPath();
      pen.arc(rock.x, rock.y, rock.radius, 0, 2 * Math.PI);
      pen.fill();
      pen.stroke();
    }
  }

  /** The outline of a ship around (0, 0), looking to the right. */
  #outline(): void {
    const pen = this.#pen;
    const r = SHIP_RADIUS;
    pen.beginPath();
    pen.moveTo(r * 1.15, 0);
    pen.lineTo(-r * 0.8, r * 0.82);
    pen.lineTo(-r * 0.42, 0);
    pen.lineTo(-r * 0.8, -r * 0.82);
    pen.closePath();
  }

  #ghost(ship: Ship, ghost: Ship): void {
    const pen = this.#pen;
    pen.save();
    pen.strokeStyle = this.#ink(ship.colour);
    pen.globalAlpha = 0.7;
    pen.lineWidth = 2.5;
    pen.setLineDash([7, 6]);
    pen.beginPath();
    pen.moveTo(ship.x, ship.y);
    pen.lineTo(ghost.x, ghost.y);
    pen.stroke();
    pen.translate(ghost.x, ghost.y);
    pen.rotate(ghost.angle);
    this.#outline();
    pen.stroke();
    pen.restore();
  }

  #shot(shot: Shot, scene: Scene): void {
    const pen = this.#pen;
    const time = shot.by === scene.own ? scene.now : scene.shown;
    if (shot.spent || time < shot.born || time - shot.born > SHOT_LIFE) return;
    shotAt(shot, time, at);
    pen.strokeStyle = this.#ink(scene.colourOfShot(shot));
    pen.lineWidth = 6;
    pen.lineCap = 'round';
    const tail = Math.min(26, ((time - shot.born) / 1000) * SHOT_SPEED);
    pen.beginPath();
    pen.moveTo(at.x, at.y);
    pen.lineTo(at.x - Math.cos(shot.angle) * tail, at.y - Math.sin(shot.angle) * tail);
    pen.stroke();
  }

  /** Outside the view there is only a mark at its edge. */
  #isSeen({ ship }: Actor, scale: number): boolean {
    const [halfX, halfY] = [this.#width / scale / 2 + SHIP_RADIUS, this.#height / scale / 2 + SHIP_RADIUS];
    return ship.health > 0 && Math.abs(ship.x - this.#eyeX) <= halfX && Math.abs(ship.y - this.#eyeY) <= halfY;
  }

  /** The names: over all ships, in view as far as their width can be guessed, and none over another. */
  #signs(scene: Scene, scale: number): void {
    const pen = this.#pen;
    // On a small screen the words stay readable.
    const size = Math.max(17, 12 / scale);
    pen.textAlign = 'center';
    pen.font = `600 ${size}px system-ui, sans-serif`;
    pen.lineWidth = 4;
    pen.strokeStyle = this.#theme.field;
    pen.fillStyle = this.#theme.ink;
    const [halfX, halfY] = [this.#width / scale / 2, this.#height / scale / 2];
    const signs: Sign[] = [];
    // Our own name, which comes last, has its place first.
    for (const actor of scene.actors.toReversed()) {
      if (!this.#isSeen(actor, scale)) continue;
      const { ship, label, note } = actor;
      const words = ship.away ? `${label} (away)` : note ? `${label} · ${note}` : label;
      const half = Math.min(160, words.length * size * 0.31);
      const x = Math.max(this.#eyeX - halfX + half, Math.min(this.#eyeX + halfX - half, ship.x));
      const sign = signAt(x, half, size, ship.y, this.#eyeY - halfY, signs);
      signs.push(sign);
      pen.strokeText(words, x, sign.bottom - size * 0.2, 320);
      pen.fillText(words, x, sign.bottom - size * 0.2, 320);
    }
  }

  #ship({ ship, you }: Actor, now: number): void {
    const pen = this.#pen;
    const r = SHIP_RADIUS;
    pen.save();
    pen.translate(ship.x, ship.y);
    pen.globalAlpha = ship.away
      ? 0.35
      : ship.safe && !this.#calm.matches
        ? 0.55 + 0.35 * Math.sin(now / 70)
        : ship.safe
          ? 0.6
          : 1;
    pen.fillStyle = this.#theme.line;
    pen.fillRect(-r, -r - 13, 2 * r, 5);
    pen.fillStyle = ship.health <= 1 ? this.#theme.low : this.#theme.full;
    pen.fillRect(-r, -r - 13, (2 * r * ship.health) / FULL_HEALTH, 5);
    if (you) {
      pen.strokeStyle = this.#theme.ink;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(0, 0, r * 1.35, 0, 2 * Math.PI);
      pen.stroke();
    }
    pen.rotate(ship.angle);
    const speed = Math.hypot(ship.vx, ship.vy);
    if (speed > 60) {
      pen.fillStyle = this.#theme.fire;
      pen.beginPath();
      pen.moveTo(-r * 0.5, r * 0.3);
      pen.lineTo(-r * (0.75 + speed / 420), 0);
      pen.lineTo(-r * 0.5, -r * 0.3);
      pen.fill();
    }
    this.#outline();
    pen.fillStyle = this.#ink(ship.colour);
    pen.fill();
    pen.lineWidth = 2.5;
    pen.strokeStyle = this.#theme.ink;
    pen.stroke();
    pen.restore();
  }

  #fly(dt: number): void {
    const pen = this.#pen;
    let kept = 0;
    for (const spark of this.#sparks) {
      spark.left -= dt;
      if (spark.left <= 0) continue;
      this.#sparks[kept] = spark;
      kept += 1;
      spark.x += spark.vx * dt;
      spark.y += spark.vy * dt;
      pen.globalAlpha = Math.min(1, spark.left / spark.life + 0.2);
      pen.fillStyle = this.#ink(spark.colour);
      pen.fillRect(spark.x - spark.size / 2, spark.y - spark.size / 2, spark.size, spark.size);
    }
    this.#sparks.length = kept;
    pen.globalAlpha = 1;
  }

  /** Where the view follows us: marks at its edge that tell where the others are. */
  #edges(scene: Scene, scale: number): void {
    const pen = this.#pen;
    pen.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    for (const { ship, you } of scene.actors) {
      const x = (ship.x - this.#eyeX) * scale;
      const y = (ship.y - this.#eyeY) * scale;
      const [halfX, halfY] = [this.#width / 2 - 12, this.#height / 2 - 12];
      if (you || ship.health === 0 || (Math.abs(x) < halfX && Math.abs(y) < halfY)) continue;
      const part = Math.min(halfX / Math.max(1, Math.abs(x)), halfY / Math.max(1, Math.abs(y)));
      pen.fillStyle = this.#ink(ship.colour);
      pen.beginPath();
      pen.arc(this.#width / 2 + x * part, this.#height / 2 + y * part, 7, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}

/** A place for a name of `half` its width: above the ship at `y`, else below it, else farther up or down. */
function signAt(x: number, half: number, size: number, y: number, top: number, signs: readonly Sign[]): Sign {
  const high = size * 1.2;
  const above = y - SHIP_RADIUS - 16;
  const below = y + SHIP_RADIUS + 4 + high;
  const places = [0, 1, 2, 3].flatMap((step) => [above - step * high, below + step * high]);
  const made = places.map((bottom) => ({ left: x - half, right: x + half, top: bottom - high, bottom }));
  const isFree = (one: Sign) =>
    one.top >= top &&
    signs.every(({ left, right, top: upper, bottom }) =>
      one.right < left || one.left > right || one.bottom <= upper || one.top >= bottom);
  return made.find(isFree) ?? { left: x - half, right: x + half, top: below - high, bottom: below };
}
