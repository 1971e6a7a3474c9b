/** Over TLS, straight to the server: WebSockets, more streams than HTTP/1.1 allows, and a certificate that is replaced. */

import assert from 'node:assert/strict';
import tls from 'node:tls';
import { guest, startServer, until } from './lib.mjs';
import { certificate } from './services.mjs';

/** The fingerprint of the certificate that somebody new sees. */
const shown = (port) =>
  new Promise((done, failed) => {
    const socket = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false }, () => {
      done(socket.getPeerCertificate().fingerprint256);
      socket.end();
    });
    socket.on('error', failed);
  });

async function start(after) {
  const files = await certificate();
  after(files.remove);
  const server = await startServer({ tls: files, env: { RALLYPOINT_TLS__RELOAD_MS: '200' } });
  after(() => server.stop());
  return { files, server };
}

export const tests = {
  async 'a call over wss goes on while the certificate is replaced'({ browser, after }) {
    const { files, server } = await start(after);
    const [ada, bob] = [
      await guest(browser, server.base, { name: 'Ada', room: 'tls/call' }),
      await guest(browser, server.base, { name: 'Bob', room: 'tls/call' }),
    ];
    const sockets = [];
    for (const { page } of [ada, bob]) page.on('websocket', (socket) => sockets.push(socket.url()));
    for (const one of [ada, bob]) {
      await one.join();
      await one.status('connected');
    }
    await ada.say('before');
    await bob.heard('Ada', 'before');
    const old = await shown(server.port);
    await files.renew();
    await until('the new certificate', async () => (await shown(server.port)) !== old);
    await bob.say('after');
    await Promise.all([ada.heard('Bob', 'after'), bob.heard('Bob', 'after')]);
    assert.equal(sockets.length, 2, 'nobody had to connect again');
    assert.ok(sockets.every((url) => url.startsWith('wss://')));
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'ten streams over one connection'({ browser, after }) {
    const { server } = await start(after);
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await page.goto(server.base);
    const seen = await page.evaluate(async () => {
      const wish = { user: 'eve', rooms: [{ r: 'tls/*', role: 'host' }] };
      const json = { 'content-type': 'application/json' };
      const minted = await fetch('/dev/token', { method: 'POST', headers: json, body: JSON.stringify(wish) });
      const { token } = await minted.json();
      const query = `room=${encodeURIComponent('tls/feed')}&token=${token}`;
      const sources = Array.from({ length: 10 }, () => new EventSource(`/v1/events?${query}`));
      const first = (source, kind) => new Promise((done) => source.addEventListener(kind, done, { once: true }));
      await Promise.all(sources.map((source) => first(source, 'connected')));
      const goals = Promise.all(sources.map((source) => first(source, 'goal')));
      const published = await fetch(`/v1/rooms/${encodeURIComponent('tls/feed')}/events`, {
        method: 'POST',
        headers: { ...json, authorization: `Bearer ${token}` },
        body: JSON.stringify({ kind: 'goal', data: 1 }),
      });
      const heard = (await goals).length;
      const metrics = await (await fetch('/metrics')).text();
      for (const source of sources) source.close();
      return { status: published.status, heard, sockets: Number(/^rallypoint_sockets (\d+)/m.exec(metrics)[1]) };
    });
    assert.deepEqual([seen.status, seen.heard], [201, 10]);
    // A browser may open one more in advance.
    assert.ok(seen.sockets <= 2, `${seen.sockets} sockets`);
  },
};
