/** What is known of a ship, and the measures of the field that all tabs agree on. */

/** The field, in its own units; how large it is on a screen is the canvas's matter. */
export const FIELD = { width: 1280, height: 800 } as const;

/** Round things in the way, the same for everybody. */
export const ROCKS: readonly { x: number; y: number; radius: number }[] = [
  { x: 640, y: 400, radius: 78 },
  { x: 320, y: 235, radius: 50 },
  { x: 960, y: 565, radius: 50 },
  { x: 345, y: 590, radius: 38 },
  { x: 935, y: 210, radius: 38 },
];

export const SHIP_RADIUS = 24;
export const FULL_HEALTH = 5;
/** How many may play in one room; whoever comes later watches. */
export const MOST_PLAYERS = 8;
/** How many colours a player may choose from. */
export const COLOURS = 8;

/** The wanted colour, or the next one that nobody has; with all of them taken, the wanted one. */
export function freeColour(wanted: number, taken: Iterable<number>): number {
  const has = new Set(taken);
  for (let step = 0; step < COLOURS; step += 1) {
    const colour = (wanted + step) % COLOURS;
    if (!has.has(colour)) return colour;
  }
  return wanted;
}

/** A ship as it is drawn and as it is told to the others. */
export interface Ship {
  x: number;
  y: number;
  /** Where it looks, radians. */
  angle: number;
  /** Speed, units a second. */
  vx: number;
  vy: number;
  /** 0 to FULL_HEALTH; 0 is out of the game until it comes back. */
  health: number;
  /** How many it has shot down, and how often it was. */
  score: number;
  downs: number;
  colour: number;
  /** How many shots it has fired: whoever sees only states can tell from it that it fired. */
  shots: number;
  /** It cannot be hit: it has just come back. */
  safe: boolean;
  /** Its player looks at another tab. */
  away: boolean;
}

/** A ship that has just entered, at the place given. */
export const newShip = (colour: number, x: number, y: number): Ship => ({
  x, y, angle: Math.atan2(FIELD.height / 2 - y, FIELD.width / 2 - x), vx: 0, vy: 0,
  health: FULL_HEALTH, score: 0, downs: 0, colour, shots: 0, safe: true, away: false,
});

/** The angle from `from` to `to` the shorter way round, -π to π. */
export function turn(from: number, to: number): number {
  const full = 2 * Math.PI;
  return ((((to - from + Math.PI) % full) + full) % full) - Math.PI;
}
