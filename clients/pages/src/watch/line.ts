/**
 * The line between this page and the server, as a `fetch` that can be cut for real: what is under way is aborted, in
 * the middle of a body too, and new requests fail until the line is whole again. It counts what passes.
 */

const BEAT = 'event: heartbeat';

export class Line {
  /** Requests begun, bytes of bodies received, and how often the line was cut. */
  requests = 0;
  bytes = 0;
  cuts = 0;
  /** When the last byte came, and the last heartbeat of a stream; Unix ms, 0 if never. */
  heard = 0;
  beat = 0;
  #broken = new AbortController();
  #whole = true;
  #mend: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly outside: typeof fetch = (...call) => globalThis.fetch(...call)) {}

  get whole(): boolean {
    return this.#whole;
  }

  /** Cuts the line; after `ms` it is whole again and `mended` is called. */
  cut(ms: number, mended: () => void): void {
    clearTimeout(this.#mend);
    this.cuts += 1;
    this.#whole = false;
    this.#broken.abort(new TypeError('the line is cut'));
    this.#mend = setTimeout(() => {
      this.#broken = new AbortController();
      this.#whole = true;
      mended();
    }, ms);
  }

  /** Makes the line whole at once, and is silent from then on. */
  close(): void {
    clearTimeout(this.#mend);
  }

  /** The `fetch` to hand to whoever is to use this line. */
  readonly fetch: typeof fetch = async (input, init = {}) => {
    if (!this.#whole) throw new TypeError('the line is cut');
    this.requests += 1;
    const ends = [this.#broken.signal];
    if (init.signal) ends.push(init.signal);
    const response = await this.outside(input, { ...init, signal: AbortSignal.any(ends) });
    if (!response.body) return response;
    const { status, statusText, headers } = response;
    return new Response(response.body.pipeThrough(this.#counter()), { status, statusText, headers });
  };

  #counter(): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
    const decoder = new TextDecoder();
    let tail = '';
    return new TransformStream({
      transform: (chunk, controller) => {
        this.bytes += chunk.byteLength;
        this.heard = Date.now();
        const text = tail + decoder.decode(chunk, { stream: true });
        if (text.includes(BEAT)) this.beat = this.heard;
        tail = text.slice(1 - BEAT.length);
        controller.enqueue(chunk);
      },
    });
  }
}
