/** How loud a microphone is just now. */

/** Measures a stream's sound until it is closed. To make it throws where the browser cannot measure this microphone. */
export class Level {
  readonly #context: AudioContext;
  readonly #analyser: AnalyserNode;
  readonly #samples: Float32Array<ArrayBuffer>;

  constructor(stream: MediaStream) {
    this.#context = new AudioContext();
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = 512;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    try {
      this.#context.createMediaStreamSource(stream).connect(this.#analyser);
    } catch (fault) {
      this.close();
      throw fault;
    }
    // Browsers begin no sound before a click; a meter that stands still until then is all there is to it.
    void this.#context.resume().catch(() => {});
  }

  /** 0 to 1, as the ear has it: a root mean square of -60 dB is 0. */
  get now(): number {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, each) => sum + each * each, 0) / this.#samples.length;
    return Math.max(0, Math.min(1, 1 + Math.log10(Math.sqrt(power) + 1e-9) / 3));
  }

  close(): void {
    void this.#context.close().catch(() => {});
  }
}
