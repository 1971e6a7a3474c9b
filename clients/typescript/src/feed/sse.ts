/** A parser of event streams (WHATWG HTML, "Server-sent events"), fed with the bytes as they come. */

/** One block of a stream. */
export interface Block {
  event: string;
  data: string;
  /** The last id that the stream gave, with this block or before it. */
  id: string | undefined;
}

/** The longest line, and the most data of one block, in UTF-16 units: the server's frames end at 1 MiB. */
export const LONGEST = 2 * 1024 * 1024;

/** Cuts the bytes of a stream into blocks; for streams that no {@link Feed} reads, such as `v1/status`. */
export class EventStream {
  /** It also takes away a byte order mark, and puts together what was cut inside a character. */
  readonly #decoder = new TextDecoder();
  #line = '';
  /** The last chunk ended with CR: an LF that follows belongs to it. */
  #cr = false;
  #event = '';
  #data: string | undefined;
  #id: string | undefined;
  /** How long to wait before coming back, ms, as the stream last said. */
  retry = 0;

  /** What these bytes complete; a block that the end of the stream cuts off is not told. @throws {RangeError} too long */
  *push(bytes: Uint8Array): Generator<Block> {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (!text) return;
    if (this.#cr && text.startsWith('\n')) text = text.slice(1);
    this.#cr = text.endsWith('\r');
    const lines = text.split(/\r\n?|\n/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop() ?? '';
    for (const line of lines) {
      const block = this.#take(line);
      if (block) yield block;
    }
    bound(this.#line);
  }

  #take(line: string): Block | undefined {
    if (!line) {
      const [event, data] = [this.#event || 'message', this.#data];
      this.#event = '';
      this.#data = undefined;
      return data === undefined ? undefined : { event, data, id: this.#id };
    }
    bound(line);
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') this.#event = value;
    else if (field === 'data') bound((this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`));
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Number(value);
    return undefined;
  }
}

function bound(text: string): void {
  if (text.length > LONGEST) throw new RangeError('a line or block of the stream is too long');
}
