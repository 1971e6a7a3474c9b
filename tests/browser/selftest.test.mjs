/**
 * The self-test: all is well directly; behind an nginx that holds back, from a wrong origin, with a TURN server and
 * with one that refuses us it says so, and what to do. No report holds a token.
 */

import assert from 'node:assert/strict';
import { looks } from './barriers.mjs';
import { startServer, token as tokenOf, until } from './lib.mjs';
import { open } from './pages.mjs';
import { startNginx, startTurn } from './services.mjs';
import { startStrict } from './strict.mjs';

const SECRET = 'a-shared-secret-of-the-test';
/** Without these a browser finds no candidates on loopback. */
const DEVICES = { permissions: ['camera', 'microphone'] };

const card = (page, id) => page.locator(`#check-${id}`);
const level = (page, id) => card(page, id).getAttribute('data-level');
const fact = (page, id, label) => card(page, id).locator('.facts div', { hasText: label }).locator('dd').textContent();
const done = (page) => until('the report', () => page.locator('#copy').isEnabled(), 60_000);

/** Opens the page and waits for its end. Every report is searched for secrets. */
async function tried(browser, base, { hash = '', ...options } = {}) {
  const all = [];
  const opened = await open(browser, base, `selftest${hash}`, {
    ...options,
    before: (page) =>
      page.on('response', async (response) => {
        if (!/\/dev\/token|\/v1\/ice-servers/.test(response.url())) return;
        const { token, ice_servers: servers = [] } = await response.json().catch(() => ({}));
        all.push(token, ...servers.map(({ credential }) => credential));
      }),
  });
  await done(opened.page);
  const report = await opened.page.textContent('#report');
  const secrets = [...all, decodeURIComponent(hash.replace('#token=', ''))].filter(Boolean);
  for (const secret of secrets) assert.ok(!report.includes(secret), 'a secret is in the report');
  assert.ok(!/eyJ/.test(report));
  return { ...opened, report, secrets };
}

const levels = async (page, ids) =>
  Object.fromEntries(await Promise.all(ids.map(async (id) => [id, await level(page, id)])));

export const tests = {
  async 'directly everything gets through, and is timed'({ browser, after }) {
    const turn = await startTurn(SECRET);
    after(turn.stop);
    const server = await startServer({
      env: {
        RALLYPOINT_ICE__0__URLS: turn.url.replace('turn:', 'stun:').replace(/\?.*/, ''),
        RALLYPOINT_ICE__1__URLS: turn.url,
        RALLYPOINT_ICE__1__SECRET: SECRET,
      },
    });
    after(server.stop);
    const { page, faults, report, secrets, context } = await tried(browser, server.base, DEVICES);
    const ids = ['http', 'origin', 'websocket', 'event-stream', 'long-poll', 'clock', 'stun-and-turn'];
    assert.deepEqual(await levels(page, ids), Object.fromEntries(ids.map((id) => [id, 'good'])), report);
    assert.equal(await page.textContent('#verdict'), 'All is well');
    assert.equal(await fact(page, 'http', 'HTTP'), 'http/1.1');
    assert.equal(await fact(page, 'http', 'On the way'), 'no sign of a proxy');
    assert.equal(await fact(page, 'websocket', 'Subprotocol'), 'rallypoint.v1.json');
    assert.equal(await fact(page, 'websocket', 'Pings'), '10');
    assert.equal(await fact(page, 'event-stream', 'Events'), '8 of 8');
    for (const [id, label, most] of [
      ['websocket', 'Round trip', 100], ['event-stream', 'Flush delay', 100], ['event-stream', 'First event', 1_000],
      ['long-poll', 'Then answered', 1_000], ['clock', 'Server minus here', 100],
    ]) {
      const ms = parseFloat((await fact(page, id, label)).replace('−', '-'));
      assert.ok(Math.abs(ms) < most, `${label}: ${ms} ms`);
    }
    assert.ok(parseFloat(await fact(page, 'long-poll', 'Held for')) >= 900);
    assert.match(await card(page, 'stun-and-turn').textContent(), /relay after [\d.]+ ms/);
    assert.ok(secrets.length >= 2, 'a token and a credential were looked for');
    assert.deepEqual(faults, []);

    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Copy report' }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), report);
    for (const line of [/^rallypoint \d+\.\d+\.\d+, self-test of 20/, /^whole {4}Everything/m, /^\[good\] WebSocket/m]) {
      assert.match(report, line);
    }
    await page.getByRole('button', { name: 'Run again' }).click();
    assert.equal(await page.locator('#copy').isEnabled(), false);
    await done(page);
    assert.equal(await page.textContent('#verdict'), 'All is well');
    const rooms = await fetch(`${server.base}/v1/rooms`, {
      headers: { authorization: `Bearer ${await tokenOf(server.base, { user: 'ops', admin: true })}` },
    });
    const left = (await rooms.json()).rooms.filter(({ members, spectators }) => members + spectators > 0);
    assert.deepEqual(left, [], 'nobody is left behind');
  },

  async 'an nginx that holds back and upgrades nothing is named'({ browser, base, after }) {
    const holdsBack = 'proxy_http_version 1.0; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; gzip on;';
    const nginx = await startNginx(new URL(base).port, holdsBack);
    after(nginx.stop);
    const { page, report } = await tried(browser, nginx.base);
    assert.deepEqual(await levels(page, ['http', 'origin', 'websocket', 'event-stream', 'long-poll', 'clock']), {
      http: 'good', origin: 'good', websocket: 'bad', 'event-stream': 'bad', 'long-poll': 'good', clock: 'good',
    }, report);
    assert.match(await fact(page, 'http', 'On the way'), /^server: nginx/);
    assert.match(await card(page, 'event-stream').textContent(), /a proxy on the way buffers/);
    assert.match(await card(page, 'event-stream').textContent(), /proxy_buffering off/);
    assert.match(await card(page, 'websocket').textContent(), /does not pass on the headers Upgrade and Connection/);
    assert.match(report, /Not working: WebSocket, Event stream\./);
    assert.equal(await page.textContent('#verdict'), 'Something does not get through');
  },

  async 'an nginx that compresses streams: the WebSocket works, and events do not come'({ browser, base, after }) {
    const compresses = `proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering;
      gzip on; gzip_proxied any; gzip_types text/event-stream;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;`;
    const nginx = await startNginx(new URL(base).port, compresses);
    after(nginx.stop);
    const { page, report, faults } = await tried(browser, nginx.base);
    assert.deepEqual(await levels(page, ['websocket', 'event-stream', 'long-poll', 'clock']), {
      websocket: 'good', 'event-stream': 'bad', 'long-poll': 'good', clock: 'good',
    }, report);
    assert.match(await card(page, 'event-stream').textContent(), /a proxy on the way buffers/);
    assert.match(await card(page, 'event-stream').textContent(), /gzip off/);
    assert.deepEqual(faults, []);
  },

  async 'a page that the server does not list is told what to configure'({ browser, after }) {
    const { port, sign } = await startStrict(after);
    const rooms = [{ r: 'match/*', do: ['watch', 'chat', 'signal'] }];
    // The server lists 127.0.0.1 only.
    const base = `http://localhost:${port}`;
    const { page, report } = await tried(browser, base, { hash: `#token=${sign({ sub: 'ada', rooms })}` });
    const ids = ['http', 'origin', 'websocket', 'event-stream', 'long-poll'];
    const expected = {
      http: 'good', origin: 'bad', websocket: 'bad', 'event-stream': 'warning', 'long-poll': 'warning',
    };
    assert.deepEqual(await levels(page, ids), expected, report);
    assert.equal(await card(page, 'origin').locator('pre').textContent(), `origins = ["${base}"]`);
    assert.match(await card(page, 'websocket').textContent(), /Look at “Origin” first/);
  },

  async 'a token of the address is enough, and chat takes the place of events'({ browser, after }) {
    const { base, sign } = await startStrict(after);
    const rooms = [{ r: 'match/*', do: ['watch', 'chat', 'signal'] }];
    const { page, report, faults } = await tried(browser, base, { hash: `#token=${sign({ sub: 'ada', rooms })}` });
    assert.deepEqual(await levels(page, ['origin', 'websocket', 'event-stream', 'long-poll', 'stun-and-turn']), {
      origin: 'good', websocket: 'good', 'event-stream': 'good', 'long-poll': 'good', 'stun-and-turn': 'warning',
    }, report);
    assert.equal(await fact(page, 'event-stream', 'Events'), '8 of 8');
    assert.match(await card(page, 'stun-and-turn').textContent(), /names no STUN or TURN server/);
    assert.deepEqual(faults, []);
  },

  async 'without a token it tries what needs none, and says how to get one'({ browser, after }) {
    const { base } = await startStrict(after);
    const { page, report } = await tried(browser, base);
    assert.deepEqual(await levels(page, ['http', 'origin', 'websocket', 'event-stream', 'stun-and-turn']), {
      http: 'good', origin: 'good', websocket: 'warning', 'event-stream': 'warning', 'stun-and-turn': 'warning',
    }, report);
    await page.getByRole('heading', { name: 'You need a token' }).waitFor();
    assert.match(await card(page, 'websocket').textContent(), /The WebSocket opens/);
  },

  async 'a TURN server with another secret: the number and what it means'({ browser, after }) {
    const turn = await startTurn(SECRET);
    after(turn.stop);
    const env = { RALLYPOINT_ICE__0__URLS: turn.url, RALLYPOINT_ICE__0__SECRET: 'another-secret-than-the-relay-has' };
    const server = await startServer({ env });
    after(server.stop);
    const { page, report } = await tried(browser, server.base, DEVICES);
    assert.equal(await level(page, 'stun-and-turn'), 'bad', report);
    const words = await card(page, 'stun-and-turn').textContent();
    assert.match(words, /refuses our credentials \(401/);
    assert.match(words, /static-auth-secret/);
  },

  async 'TURN servers that are not there'({ browser, after }) {
    const urls = ['turn:127.0.0.1:9?transport=udp', 'turn:nowhere.invalid:3478?transport=udp'];
    const entry = (url, n) => [
      [`RALLYPOINT_ICE__${n}__URLS`, url], [`RALLYPOINT_ICE__${n}__USERNAME`, 'ada'],
      [`RALLYPOINT_ICE__${n}__CREDENTIAL`, 'a-credential-of-the-test'],
    ];
    const server = await startServer({ env: Object.fromEntries(urls.flatMap(entry)) });
    after(server.stop);
    const { page, report } = await tried(browser, server.base, DEVICES);
    assert.equal(await level(page, 'stun-and-turn'), 'bad', report);
    assert.match(await card(page, 'stun-and-turn').textContent(), /None of the TURN servers relays.*every firewall/);
    // Of a port on which nobody answers some browsers tell nothing at all, of a name that is not known they do.
    assert.match(report, /turn:127\.0\.0\.1:9\?transport=udp: (no answer|not reached \(701)/);
    assert.match(report, /turn:nowhere\.invalid:3478\?transport=udp: not reached \(701/);
    assert.ok(!report.includes('a-credential-of-the-test'));
  },

  async 'a clock that is wrong is told by how much'({ browser, base }) {
    const { page } = await open(browser, base, 'selftest', {
      before: (each) =>
        each.addInitScript(() => {
          const { timeOrigin } = performance;
          Object.defineProperty(performance, 'timeOrigin', { value: timeOrigin + 3_600_000 });
        }),
    });
    await done(page);
    assert.equal(await level(page, 'clock'), 'warning');
    assert.match(await card(page, 'clock').textContent(), /clock of this device is 3600 s ahead of the server’s/);
    assert.equal(await fact(page, 'clock', 'Server minus here'), '−3600 s');
  },

  async 'it has no barriers, in both themes, on a telephone and on a desk'({ browser, base }) {
    await looks(browser, base, 'selftest', done);
  },
};
