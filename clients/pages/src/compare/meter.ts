/**
 * Counts what goes over the wire for one way. Of answers that have ended the browser tells the size (`transferSize`, in
 * which it counts 300 bytes for the head of each); of a stream, of a socket and of all requests it tells none, so their
 * bytes are counted here, with an estimate for what the browser adds.
 */

/** What a browser's timing counts for the head of an answer; taken for those that it does not tell, too. */
const ANSWER_HEAD = 300;
/** What a browser adds to a request beside its own name and the page's address: `Host`, `Accept-…`, `Sec-…`. */
const REQUEST_HEAD = 350;
/** The answer to the handshake of a WebSocket. */
const HANDSHAKE = 200;

const utf8 = new TextEncoder();
function sizeOf(data: unknown): number {
  if (typeof data === 'string') return utf8.encode(data).length;
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data) ? data.byteLength : 0;
}
/** The head of a WebSocket frame (RFC 6455, 5.2). */
const frameHead = (size: number): number => (size < 126 ? 2 : size < 65_536 ? 4 : 10);
const MASK = 4;

/** An answer, as far as it has come. */
interface Answer {
  url: string;
  body: number;
  told?: number;
}

export class Meter {
  requests = 0;
  outward = 0;
  #socket = 0;
  /** The addresses differ by their cursors, so each answer is found again by its own. */
  readonly #answers: Answer[] = [];
  readonly #observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (!(entry instanceof PerformanceResourceTiming) || !entry.transferSize) continue;
      const answer = this.#answers.find(({ url, told }) => url === entry.name && told === undefined);
      if (answer) answer.told = entry.transferSize;
    }
  });

  /** `fetch` that is counted. */
  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init);
    const answer: Answer = { url: request.url, body: 0 };
    this.#answers.push(answer);
    this.requests += 1;
    this.outward += this.#headOf(new URL(request.url), request.headers);
    const response = await fetch(request);
    const counted = response.body?.pipeThrough(new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        answer.body += chunk.length;
        controller.enqueue(chunk);
      },
    }));
    return new Response(counted ?? null, response);
  };

  constructor() {
    this.#observer.observe({ type: 'resource' });
  }

  get inward(): number {
    return this.#answers.reduce((sum, { body, told }) => sum + (told ?? body + ANSWER_HEAD), this.#socket);
  }

  /** A WebSocket that is counted. */
  socket(): typeof WebSocket {
    const opens = (url: URL, protocols: string) => {
      this.requests += 1;
      const own = { 'sec-websocket-protocol': protocols, 'sec-websocket-key': ' '.repeat(24) };
      this.outward += this.#headOf(url, new Headers(own));
      this.#socket += HANDSHAKE;
    };
    const comes = (size: number) => (this.#socket += size + frameHead(size));
    const goes = (size: number) => (this.outward += size + frameHead(size) + MASK);
    return class extends WebSocket {
      constructor(url: string | URL, protocols: string | string[] = []) {
        super(url, protocols);
        opens(new URL(url), `${protocols}`);
        this.addEventListener('message', ({ data }) => comes(sizeOf(data)));
      }

      override send(data: Parameters<WebSocket['send']>[0]): void {
        goes(sizeOf(data));
        super.send(data);
      }
    };
  }

  close(): void {
    this.#observer.disconnect();
  }

  #headOf(url: URL, headers: Headers): number {
    const own = [...headers].reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0);
    const first = `GET ${url.pathname}${url.search} HTTP/1.1`;
    return first.length + own + navigator.userAgent.length + location.href.length + REQUEST_HEAD;
  }
}
