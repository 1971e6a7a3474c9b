/** A real server for tests, and a proxy before it that is as bad as the test wants. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { surroundings, type Env } from '../src/env.js';

/** The server's binary, from `RALLYPOINT_BIN`. */
export const BINARY = process.env['RALLYPOINT_BIN'];
/** What a test that needs a server says where there is none. */
export const SKIP = BINARY ? false : 'set RALLYPOINT_BIN to the binary of a server';

/** Waits for a condition. */
export async function until(what: string, condition: () => unknown, deadline = 20_000): Promise<void> {
  const end = performance.now() + deadline;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${deadline} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** Surroundings in which every wait is shorter: what waits here waits for the server's word, not for time. */
export function hasty(times = 10): Env {
  const env = surroundings();
  return { ...env, after: (ms, act) => env.after(ms / times, act) };
}

async function listen(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP port was to be had');
  return address.port;
}

/** A verb list or role for `POST /dev/token`. */
export interface RoomWish {
  r: string;
  role?: string;
  do?: string[];
}

export class Server {
  readonly base: string;
  readonly port: number;
  readonly #stop: () => Promise<void>;

  private constructor(port: number, stop: () => Promise<void>) {
    this.port = port;
    this.base = `http://127.0.0.1:${port}`;
    this.#stop = stop;
  }

  static async start(settings: Record<string, string> = {}): Promise<Server> {
    if (!BINARY) throw new Error(String(SKIP));
    const free = net.createServer();
    const port = await listen(free);
    free.close();
    const outside = Object.entries(process.env).filter(([name]) => !name.startsWith('RALLYPOINT_'));
    const env = { ...Object.fromEntries(outside), RALLYPOINT_LIMITS__SSE_HEARTBEAT_MS: '1000', ...settings };
    const child = spawn(BINARY, ['serve', '--dev', '--listen', `127.0.0.1:${port}`], { env, stdio: 'ignore' });
    const exit = once(child, 'exit');
    const server = new Server(port, async () => {
      child.kill('SIGKILL');
      await exit;
    });
    await until('the server is there', () => fetch(`${server.base}/healthz`).then(({ ok }) => ok, () => false));
    return server;
  }

  stop(): Promise<void> {
    return this.#stop();
  }

  async token(
    user: string,
    rooms: RoomWish[] = [{ r: '*', role: 'host' }],
    more: Record<string, unknown> = {},
  ): Promise<string> {
    const answer = await fetch(`${this.base}/dev/token`, {
      method: 'POST',
      headers: { origin: this.base, 'content-type': 'application/json' },
      body: JSON.stringify({ user, rooms, ...more }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    return ((await answer.json()) as { token: string }).token;
  }

  /** Publishes, and gives the position. */
  async publish(token: string, room: string, kind: string, data: unknown): Promise<string> {
    const answer = await fetch(`${this.base}/v1/rooms/${encodeURIComponent(room)}/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ kind, data }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    return ((await answer.json()) as { position: string }).position;
  }
}

/** A proxy between a guest and the server, byte by byte. */
export class Proxy {
  /** Keeps answers to streams back until they end, as some company proxies do. */
  keepsStreams = false;
  /** Swallows the answer to the next POST, and cuts the connection when it has come. */
  losesAnswers = 0;
  /** First lines of the requests that were seen. */
  readonly seen: string[] = [];
  readonly #sockets = new Set<net.Socket>();
  readonly #server: net.Server;
  base = '';

  private constructor(to: number) {
    this.#server = net.createServer((near) => {
      const far = net.connect(to, '127.0.0.1');
      let isStream = false;
      let isPost = false;
      const kept: Buffer[] = [];
      for (const [one, other] of [[near, far], [far, near]] as const) {
        this.#sockets.add(one);
        one.on('error', () => other.destroy());
        one.on('close', () => {
          this.#sockets.delete(one);
          other.destroy();
        });
      }
      near.on('data', (data) => {
        const line = /^(GET|POST|DELETE) (\S+)/.exec(data.toString('latin1'));
        if (line) {
          this.seen.push(`${line[1]} ${line[2]}`);
          isStream = line[2]?.startsWith('/v1/events') ?? false;
          isPost = line[1] === 'POST';
        }
        if (/^upgrade: *websocket/im.test(data.toString('latin1'))) {
          near.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
          return;
        }
        far.write(data);
      });
      far.on('data', (data) => {
        if (isPost && this.losesAnswers > 0) {
          this.losesAnswers--;
          near.destroy();
        } else if (isStream && this.keepsStreams) {
          kept.push(data);
        } else {
          near.write(data);
        }
      });
      far.on('end', () => near.end(Buffer.concat(kept)));
    });
  }

  static async before({ port }: Server): Promise<Proxy> {
    const proxy = new Proxy(port);
    proxy.base = `http://127.0.0.1:${await listen(proxy.#server)}`;
    return proxy;
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  stop(): void {
    this.#server.close();
    this.cut();
  }
}
