/** Why a frame is refused: thrown by every reader here, with the number of the error table. */
export class Refused extends Error {
  constructor(code, detail) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

/** Throws `Refused` unless `condition` holds. */
export function demand(condition, code, detail) {
  if (!condition) throw new Refused(code, detail);
}
