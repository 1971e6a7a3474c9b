/** How large so many pictures can be in a place, all of them seen. */

/** The width of each of `count` pictures of the given shape so that all fit into the place, and as large as can be. */
export function fit(count: number, width: number, height: number, gap: number, shape = 16 / 9): number {
  let best = 0;
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const wide = (width - gap * (columns - 1)) / columns;
    const high = (height - gap * (rows - 1)) / rows;
    best = Math.max(best, Math.min(wide, high * shape));
  }
  return Math.floor(best);
}

/** A large picture and the strip of the others beside it, or below it where the place is upright: all in pixels. */
export interface Spotlight {
  upright: boolean;
  width: number;
  height: number;
  /** The width of each picture in the strip. */
  small: number;
}

/** The strip takes so much of the place, and no more than a picture of this width needs. */
const STRIP = 0.22;
const SMALL_MOST = 224;

/** How large one picture can be when `others` stand in a strip. */
export function spotlight(others: number, width: number, height: number, gap: number, shape = 16 / 9): Spotlight {
  const upright = height > width;
  if (!others) return { upright, width, height, small: 0 };
  const [long, across] = upright ? [width, height] : [height, width];
  const each = (long - gap * (others - 1)) / others;
  const along = upright ? each : each * shape;
  const small = Math.floor(Math.min(along, SMALL_MOST, across * STRIP * (upright ? shape : 1)));
  const rest = upright ? { width, height: height - gap - small / shape } : { width: width - gap - small, height };
  return { upright, small, width: Math.floor(rest.width), height: Math.floor(rest.height) };
}
