/** What the page says when it is refused, and how it obeys close codes. */

import assert from 'node:assert/strict';
import { guest, token, until } from './lib.mjs';

/** The reason stands in a large box above the form, and the focus is there. */
async function boxed({ page }, words) {
  const box = page.locator('#help [role="alert"]');
  await box.waitFor();
  assert.match(await box.textContent(), words);
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'help');
  assert.equal(await page.getByRole('button', { name: 'Join' }).isVisible(), true);
}

export const tests = {
  async 'a wrong token is explained'({ browser, base }) {
    const ada = await guest(browser, base, { room: 'refused', hash: '#token=not.a.token' });
    assert.equal(await ada.page.getByLabel('Your name', { exact: true }).isVisible(), false);
    await ada.join();
    await ada.status('refused');
    assert.match(await ada.page.locator('#status').textContent(), /does not accept the access token.*4401/);
    await boxed(ada, /does not accept the access token.*4401/);
    assert.ok(await ada.page.getByRole('button', { name: 'Join' }).isEnabled(), 'one can try again');
    await ada.shot('refused-token');
  },

  async 'a token without this room is explained, one with it gets in'({ browser, base }) {
    const given = await token(base, { user: 'ada', name: 'Ada', rooms: [{ r: 'mine', role: 'player' }] });
    const ada = await guest(browser, base, { room: 'other', hash: `#token=${given}` });
    await ada.join();
    await ada.status('refused');
    assert.match(await ada.page.locator('#status').textContent(), /705/);
    await boxed(ada, /705.*Choose a room that your token names/);
    await ada.page.getByLabel('Room', { exact: true }).fill('mine');
    await ada.page.getByRole('button', { name: 'Join' }).click();
    await ada.status('connected');
    assert.equal(await ada.page.locator('#help').isVisible(), false);
    assert.deepEqual(ada.faults, []);
  },

  async 'a server that hands out no tokens is explained'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'refused' });
    const body = '{"type":"about:blank","title":"not-found","status":404,"code":800}';
    await ada.page.route('**/dev/token', (route) =>
      route.fulfill({ status: 404, contentType: 'application/problem+json', body }));
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
    const peer = await ada.page.evaluate(() => rallypoint.room.you.peer);
    const response = await fetch(`${base}/v1/rooms/${encodeURIComponent(room)}/members/${peer}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${host}` },
    });
    assert.equal(response.status, 204);
    await ada.status('refused');
    assert.match(await ada.page.locator('#status').textContent(), /removed.*kicked/);
  },

  async 'close codes are obeyed'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'refused/codes' });
    const { page } = ada;
    const sockets = [];
    let said;
    let tokens = 0;
    page.on('request', (request) => (tokens += request.url().endsWith('/dev/token')));
    await page.routeWebSocket('**/v1/ws', (socket) => {
      const server = socket.connectToServer();
      said = [];
      socket.onMessage((data) => {
        said.push(JSON.parse(data));
        server.send(data);
      });
      sockets.push(socket);
    });
    await page.reload();
    const peer = () => page.evaluate(() => rallypoint.room.you.peer);
    const back = async (code, reason) => {
      const before = { sockets: sockets.length, tokens };
      sockets.at(-1).close({ code, reason });
      const isNew = () => sockets.length === before.sockets + 1 && tokens === before.tokens + 1;
      await until(`a new socket after ${code}`, isNew);
      await ada.status('connected');
    };
    const types = () => said.map(({ type }) => type);
    await ada.join();
    await ada.status('connected');
    const first = await peer();
    for (const [code, reason] of [[4000, 'shutdown'], [4100, 'token-expired'], [4300, 'overloaded'], [4399, 'later']]) {
      await back(code, reason);
      assert.equal(await peer(), first, `${code} is for coming back`);
      assert.equal(said[0].type, 'resume');
      assert.ok(!types().includes('join') && !types().includes('auth'), `the room comes by itself: ${types()}`);
      assert.equal(await page.locator('#count').textContent(), '1 here');
    }
    await back(4200, 'session-unknown');
    assert.notEqual(await peer(), first, '4200 is for coming anew');
    assert.deepEqual(types().slice(0, 2), ['auth', 'join']);
    assert.match(said[1].since, /^[0-9a-f]{16}\.\d+\.[0-9a-f]{8}$/);
    for (const [code, reason, text] of [
      [1000, 'bye', /ended the session.*bye.*1000/],
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
    await boxed(ada, /expired/);
  },
};
