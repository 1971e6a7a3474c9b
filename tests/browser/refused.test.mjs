/** What the page says when it is refused, and how it comes back to a server that was gone. */

import assert from 'node:assert/strict';
import { guest, startServer, token, until } from './lib.mjs';

const back = (signal) => async ({ browser, after }) => {
  const room = 'back/one';
  const first = await startServer();
  after(() => first.stop('SIGKILL'));
  const ada = await guest(browser, first.base, { name: 'Ada', room });
  const bob = await guest(browser, first.base, { name: 'Bob', room });
  for (const each of [ada, bob]) {
    await each.join();
    await each.status('connected');
  }
  await first.stop(signal);
  for (const each of [ada, bob]) await each.status('reconnecting');
  // Only now, so that the attempts in between have failed at least once.
  await until('a failed attempt', async () => /does not answer/.test(await ada.page.locator('#status').textContent()));
  await ada.shot(`reconnecting-${signal}`);

  const second = await startServer({ port: first.port });
  after(() => second.stop('SIGKILL'));
  for (const each of [ada, bob]) await each.status('connected');
  for (const { page } of [ada, bob]) {
    await until('both are here again', async () => (await page.locator('#count').textContent()) === '2 here');
    await until('two tiles', async () => (await page.locator('.tile').count()) === 2);
    await until('the call works again', () =>
      page.evaluate(() => [...rallypoint.calls.peers.values()].every(({ pc }) => pc.connectionState === 'connected')));
  }
  await ada.say('back again');
  await Promise.all([ada.heard('Ada', 'back again'), bob.heard('Ada', 'back again')]);
  await bob.say('me too');
  await ada.heard('Bob', 'me too');
  assert.deepEqual([...ada.faults, ...bob.faults].filter((fault) => !/net::ERR_|WebSocket connection to/.test(fault)), []);
};

export const tests = {
  async 'a wrong token is explained'({ browser, base }) {
    const ada = await guest(browser, base, { room: 'refused', hash: '#token=not.a.token' });
    assert.equal(await ada.page.getByLabel('Your name', { exact: true }).isVisible(), false);
    await ada.join();
    await ada.status('refused');
    assert.match(await ada.page.locator('#status').textContent(), /did not accept the token.*4401/);
    assert.ok(await ada.page.getByRole('button', { name: 'Join' }).isEnabled(), 'one can try again');
    await ada.shot('refused-token');
  },

  async 'a token without this room is explained, one with it gets in'({ browser, base }) {
    const given = await token(base, { user: 'ada', name: 'Ada', rooms: [{ r: 'mine', role: 'player' }] });
    const ada = await guest(browser, base, { room: 'other', hash: `#token=${given}` });
    await ada.join();
    await ada.status('refused');
    assert.match(await ada.page.locator('#status').textContent(), /705/);
    await ada.page.getByLabel('Room', { exact: true }).fill('mine');
    await ada.page.getByRole('button', { name: 'Join' }).click();
    await ada.status('connected');
    assert.deepEqual(ada.faults, []);
  },

  async 'a server that hands out no tokens is explained'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'refused' });
    await ada.page.route('**/dev/token', (route) =>
      route.fulfill({ status: 404, contentType: 'application/problem+json', body: '{"type":"about:blank","title":"not-found","status":404,"code":800}' }));
    await ada.join();
    await ada.status('refused');
    await ada.page.getByRole('heading', { name: 'You need a token' }).waitFor();
    await ada.shot('refused-no-tokens');
  },

  async 'a member that is kicked is told and stays out'({ browser, base }) {
    const room = 'refused/kick';
    const ada = await guest(browser, base, { name: 'Ada', room });
    await ada.join();
    await ada.status('connected');
    const host = await token(base, { user: 'host', rooms: [{ r: room, role: 'host' }] });
    const peer = await ada.page.evaluate(() => rallypoint.calls.you.peer);
    const response = await fetch(`${base}/v1/rooms/${encodeURIComponent(room)}/members/${peer}`, { method: 'DELETE', headers: { authorization: `Bearer ${host}` } });
    assert.equal(response.status, 204);
    await ada.status('refused');
    assert.match(await ada.page.locator('#status').textContent(), /removed.*kicked/);
  },

  async 'close codes are obeyed'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'refused/codes' });
    const { page } = ada;
    const sockets = [];
    let tokens = 0;
    page.on('request', (request) => (tokens += request.url().endsWith('/dev/token')));
    await page.routeWebSocket('**/v1/ws', (socket) => {
      socket.connectToServer();
      sockets.push(socket);
    });
    await page.reload();
    const rejoined = async (code, reason) => {
      const before = { sockets: sockets.length, tokens };
      sockets.at(-1).close({ code, reason });
      await until(`a new socket after ${code}`, () => sockets.length === before.sockets + 1 && tokens === before.tokens + 1);
      await ada.status('connected');
      await until('alone again', async () => (await page.locator('#count').textContent()) === '1 here');
    };
    await ada.join();
    await ada.status('connected');
    for (const [code, reason] of [[4000, 'shutdown'], [4100, 'token-expired'], [4200, 'session-unknown'], [4300, 'overloaded'], [4399, 'later']]) {
      await rejoined(code, reason);
    }
    for (const [code, reason, text] of [
      [1000, 'bye', /ended the connection.*1000 bye/],
      [4403, 'forbidden', /not allowed in, or were removed.*4403/],
      [4410, 'replaced', /took over.*4410/],
      [4499, 'unknown', /ended the connection.*4499/],
    ]) {
      sockets.at(-1).close({ code, reason });
      await ada.status('refused');
      assert.match(await page.locator('#status').textContent(), text);
      await ada.join();
      await ada.status('connected');
    }
    assert.deepEqual(ada.faults, []);
  },

  async 'an expired token from the address is explained'({ browser, base }) {
    const given = await token(base, { user: 'ada', name: 'Ada', rooms: [{ r: 'mine', role: 'player' }] });
    const ada = await guest(browser, base, { room: 'mine', hash: `#token=${given}` });
    let open;
    await ada.page.routeWebSocket('**/v1/ws', (socket) => {
      socket.connectToServer();
      open = socket;
    });
    await ada.page.reload();
    await ada.join();
    await ada.status('connected');
    open.close({ code: 4100, reason: 'token-expired' });
    await ada.status('refused');
    assert.match(await ada.page.locator('#status').textContent(), /expired/);
  },

  async 'what was said during a loss is told after it, once'({ browser, base }) {
    const room = 'back/missed';
    const ada = await guest(browser, base, { name: 'Ada', room });
    const bob = await guest(browser, base, { name: 'Bob', room });
    let open;
    await ada.page.routeWebSocket('**/v1/ws', (socket) => {
      socket.connectToServer();
      open = socket;
    });
    await ada.page.reload();
    for (const each of [ada, bob]) {
      await each.join();
      await each.status('connected');
    }
    await bob.say('before');
    await ada.heard('Bob', 'before');
    // The way back goes through a new token, so holding that back keeps her away.
    let release;
    const gate = new Promise((done) => (release = done));
    await ada.page.route('**/dev/token', async (route) => {
      await gate;
      await route.continue();
    });
    open.close({ code: 4001, reason: 'no-pong' });
    await ada.status('reconnecting');
    await until('Bob sees her leave', async () => (await bob.page.locator('.tile').count()) === 1);
    for (const text of ['one', 'two', 'three']) await bob.say(text);
    await bob.heard('Bob', 'three');
    release();
    await ada.status('connected');
    await bob.say('after');
    await ada.heard('Bob', 'after');
    assert.deepEqual(await ada.page.locator('#log b + span').allTextContents(), ['before', 'one', 'two', 'three', 'after']);
    assert.doesNotMatch(await ada.page.locator('#log').textContent(), /no longer known/);
    await until('two tiles', async () => (await ada.page.locator('.tile').count()) === 2);
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  'a server that is killed: reconnecting, then joined again': back('SIGKILL'),
  'a server that shuts down: reconnecting, then joined again': back('SIGTERM'),
};
