/** The last so many measurements of something, with their times: a ring that never grows. */

/** A ring of (time, value). */
export class Samples {
  readonly #times: Float64Array;
  readonly #values: Float64Array;
  #next = 0;
  #size = 0;

  constructor(most: number) {
    this.#times = new Float64Array(most);
    this.#values = new Float64Array(most);
  }

  push(time: number, value: number): void {
    this.#times[this.#next] = time;
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % this.#times.length;
    this.#size = Math.min(this.#size + 1, this.#times.length);
  }

  /** The newest value. */
  get last(): number | undefined {
    return this.#size ? this.#values[(this.#next - 1 + this.#values.length) % this.#values.length] : undefined;
  }

  /** Oldest first, those that are not older than `since`. */
  *since(since = -Infinity): Generator<[time: number, value: number]> {
    const { length } = this.#times;
    for (let index = 0; index < this.#size; index += 1) {
      const at = (this.#next - this.#size + index + length) % length;
      const time = this.#times[at] ?? 0;
      if (time >= since) yield [time, this.#values[at] ?? 0];
    }
  }

  clear(): void {
    this.#next = this.#size = 0;
  }
}
