/** What the browser tests share: a server of their own, a browser with a fake camera, and waiting for conditions. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const BINARY = process.env.RALLYPOINT_BIN ?? here('../../target/debug/rallypoint');
const OUT = here('out/');
/** The environment without settings of a server: the tests' server takes only the test's, and refuses unknown ones. */
const outside = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('RALLYPOINT_')));
mkdirSync(OUT, { recursive: true });

/** Both the flags and the permissions of `guest` are needed: without them ICE finds no loopback candidates. */
export const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream', '--autoplay-policy=no-user-gesture-required',
  '--allow-loopback-in-peer-connection',
];

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });

/** Polls until `condition` gives something true, and returns it. Tests wait like this and never for a fixed time. */
export async function until(what, condition, deadline = 20_000) {
  const end = performance.now() + deadline;
  let last;
  for (;;) {
    try {
      const found = await condition();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`not within ${deadline} ms: ${what}`, { cause: last });
    await new Promise((done) => setTimeout(done, 100));
  }
}

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * Starts a server and resolves when it is healthy. Everything that has to be waited for goes fast here. One that is not
 * for development has to be told its keys by `env`; `tls` names the files of a certificate and its key; servers with the
 * same `engine` are nodes of one site.
 * @returns {Promise<{base: string, port: number, output: () => string, stop: (signal?: string) => Promise<void>}>}
 */
export async function startServer({ port, env = {}, dev = true, tls, engine } = {}) {
  port ??= await freePort();
  const base = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;
  const secured = tls ? ['--tls-certificate', tls.certificate, '--tls-key', tls.key] : [];
  const shared = engine ? ['--engine', engine] : [];
  const flags = [...(dev ? ['--dev'] : []), '--listen', `127.0.0.1:${port}`, ...secured, ...shared];
  const child = spawn(BINARY, ['serve', ...flags], {
    env: {
      ...outside,
      RALLYPOINT_LIMITS__SSE_HEARTBEAT_MS: '1000',
      RALLYPOINT_LIMITS__PING_INTERVAL_MS: '1000',
      RALLYPOINT_LIMITS__DRAIN_MS: '500',
      RALLYPOINT_ROOM__LATENCY_MS: '1000',
      RALLYPOINT_ROOM__TYPING_MS: '3000',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (text = (text + data).slice(-20_000)));
  let failure;
  child.on('error', (error) => (failure = error));
  const gone = () => failure || child.exitCode !== null || child.signalCode !== null;
  const stop = async (signal = 'SIGTERM') => {
    if (gone()) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    // A server that does not end on a signal is a finding, but not a reason to leave it behind.
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exit;
    clearTimeout(timer);
  };
  try {
    await until('the server is healthy', async () => {
      if (gone()) return true;
      // Nobody here trusts its certificate.
      return tls ? text.includes('listens on') : (await fetch(`${base}/healthz`)).ok;
    });
    if (gone()) throw new Error(`the server did not start: ${failure?.message ?? `exit ${child.exitCode}`}`);
  } catch (error) {
    await stop('SIGKILL');
    throw new Error(`${error.message}\n${text}`);
  }
  return { base, port, stop, output: () => text };
}

/** For a page before it begins: nothing lets a WebSocket be opened. */
export const noSocket = () => {
  globalThis.WebSocket = class {
    constructor() {
      throw new DOMException('blocked', 'SecurityError');
    }
  };
};

/** A browser context of its own with the page open; `faults` collects what the console and the page complain of. */
export async function guest(browser, base, { name, room, hash = '', devices = true } = {}) {
  const permissions = devices ? ['camera', 'microphone'] : [];
  const context = await browser.newContext({ permissions, ignoreHTTPSErrors: base.startsWith('https:') });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(`${error}`));
  await page.goto(`${base}/call${hash}`);
  const self = {
    context, page, faults,
    /** Fills the form as a person would. */
    async join() {
      if (name) await page.getByLabel('Your name', { exact: true }).fill(name);
      await page.getByLabel('Room', { exact: true }).fill(room);
      await page.getByRole('button', { name: 'Join' }).click();
    },
    status: (state) => page.waitForSelector(`#status[data-state="${state}"]`, { timeout: 30_000 }),
    async say(text) {
      await page.getByLabel('Message', { exact: true }).fill(text);
      await page.keyboard.press('Enter');
    },
    /** Waits for a chat line of this name and text, markup and all, and returns what the line says. */
    heard: (from, text) =>
      page.waitForFunction(
        ([who, what]) =>
          [...document.querySelectorAll('#log li')].some(
            (line) =>
              line.querySelector('b')?.textContent === who && line.querySelector('span')?.textContent === what,
          ),
        [from, text],
        { timeout: 20_000 },
      ),
    shot: (file) => page.screenshot({ path: `${OUT}${file}.png` }),
    close: () => context.close(),
  };
  return self;
}

/** A token for the back end's side of a test. */
export async function token(base, claims) {
  const response = await fetch(`${base}/dev/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: base },
    body: JSON.stringify(claims),
  });
  if (response.status !== 201) throw new Error(`/dev/token: ${response.status} ${await response.text()}`);
  return (await response.json()).token;
}
