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
