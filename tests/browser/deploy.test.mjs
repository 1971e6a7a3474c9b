/** Behind nginx as docs/deploy/nginx.conf has it: every door, a reload, and whose address counts. */

import assert from 'node:assert/strict';
import https from 'node:https';
import { guest, startServer, token, until } from './lib.mjs';
import { open } from './pages.mjs';
import { certificate, startDocumentedNginx } from './services.mjs';

async function start(after, env = {}) {
  const files = await certificate();
  after(files.remove);
  const server = await startServer({
    env: { RALLYPOINT_TRUSTED_PROXIES: '127.0.0.1', ...env },
  });
  after(() => server.stop());
  const nginx = await startDocumentedNginx([server.port], files);
  after(nginx.stop);
  return { server, nginx };
}

/** A request from an address of loopback: status, body, and how long it took. */
const ask = (port, path, { from = '127.0.0.1', headers = {} } = {}) =>
  new Promise((done, failed) => {
    const begin = performance.now();
    const options = { port, path, headers, host: '127.0.0.1', localAddress: from, rejectUnauthorized: false, agent: false };
    const request = https.get(options, (answer) => {
      let body = '';
      answer.on('data', (data) => (body += data));
      answer.on('end', () => done({ status: answer.statusCode, body, took: performance.now() - begin }));
    });
    request.on('error', failed);
  });

/** A member of a room, through nginx; its socket. */
function join(port, jwt, room) {
  return new Promise((done, failed) => {
    const headers = {
      connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'), 'sec-websocket-protocol': `rallypoint.v1.json, bearer.${jwt}`,
    };
    const path = `/v1/ws?room=${room}`;
    const request = https.get({ port, path, headers, host: '127.0.0.1', rejectUnauthorized: false, agent: false });
    request.on('error', failed);
    request.on('response', ({ statusCode }) => failed(new Error(`no upgrade: ${statusCode}`)));
    request.on('upgrade', (_, socket) => {
      const text = JSON.stringify({ type: 'join', id: 1, room: decodeURIComponent(room) });
      // A frame of text, masked with zeros.
      socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]));
      socket.on('error', failed);
      socket.on('data', (data) => data.includes('"joined"') && done(socket));
    });
  });
}

export const tests = {
  async 'a WebSocket goes through, and on when nginx is reloaded'({ browser, after }) {
    const { nginx } = await start(after);
    const [ada, bob] = [
      await guest(browser, nginx.base, { name: 'Ada', room: 'deploy/call' }),
      await guest(browser, nginx.base, { name: 'Bob', room: 'deploy/call' }),
    ];
    const sockets = [];
    for (const { page } of [ada, bob]) page.on('websocket', (socket) => sockets.push(socket.url()));
    for (const one of [ada, bob]) {
      await one.join();
      await one.status('connected');
    }
    await nginx.reload();
    await ada.say('after the reload');
    await bob.heard('Ada', 'after the reload');
    assert.equal(sockets.length, 2, 'nobody had to connect again');
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'a stream arrives as it is written, and a poll waits and is woken'({ browser, after }) {
    const { server, nginx } = await start(after);
    const host = await token(server.base, { user: 'host', rooms: [{ r: 'deploy/*', role: 'host' }] });
    const room = encodeURIComponent('deploy/feed');
    const publish = async (kind) => {
      const headers = { authorization: `Bearer ${host}`, 'content-type': 'application/json' };
      const body = JSON.stringify({ kind, data: { by: 'nginx' } });
      const answer = await fetch(`${server.base}/v1/rooms/${room}/events`, { method: 'POST', headers, body });
      assert.equal(answer.status, 201);
      return (await answer.json()).position;
    };
    const { page, faults } = await open(browser, nginx.base, 'watch?room=deploy/feed');
    await until('a stream', async () => /Server-Sent Events/.test(await page.locator('#status').textContent()));
    await publish('goal');
    await page.getByText('goal').first().waitFor();
    assert.deepEqual(faults, []);

    const headers = { authorization: `Bearer ${host}` };
    const first = JSON.parse((await ask(nginx.port, `/v1/poll?room=${room}`, { headers })).body);
    const path = `/v1/poll?room=${room}&after=${encodeURIComponent(first.cursor)}`;
    const idle = await ask(nginx.port, `${path}&wait=2`, { headers });
    assert.deepEqual([idle.status, JSON.parse(idle.body).events], [200, []]);
    assert.ok(idle.took >= 1900, `it waited ${idle.took} ms`);
    const busy = ask(nginx.port, `${path}&wait=30`, { headers });
    await publish('whistle');
    assert.equal(JSON.parse((await busy).body).events[0].kind, 'whistle');
    // The room is one segment, encoded once, and stays so.
    const looked = await ask(nginx.port, `/v1/rooms/${room}`, { headers });
    assert.equal(looked.status, 200, looked.body);
    const log = await nginx.log();
    assert.ok(log.includes('/v1/poll') && !log.includes('cursor') && !log.includes(first.cursor), log);
  },

  async 'with several servers everybody in a room comes to the same one'({ after }) {
    const files = await certificate();
    after(files.remove);
    const servers = [await startServer(), await startServer()];
    for (const server of servers) after(() => server.stop());
    const nginx = await startDocumentedNginx(servers.map(({ port }) => port), files);
    after(nginx.stop);
    // All servers know the same keys.
    const host = await token(servers[0].base, { user: 'host', rooms: [{ r: '*', role: 'host' }] });
    const headers = { authorization: `Bearer ${host}`, 'content-type': 'application/json' };
    const homes = new Set();
    for (let number = 0; number < 16; number += 1) {
      const room = encodeURIComponent(`deploy/room:${number}`);
      const answers = await Promise.all(
        servers.map(({ base }) => fetch(`${base}/v1/rooms/${room}`, { headers }).then(({ status }) => status)),
      );
      assert.deepEqual(answers, [404, 404], 'nobody has it yet');
      const socket = await join(nginx.port, host, room);
      // Where the member is, the room's own path leads, and a poll's query, whatever stands before the room.
      const looked = await ask(nginx.port, `/v1/rooms/${room}`, { headers });
      assert.equal(JSON.parse(looked.body).members, 1, looked.body);
      const polled = JSON.parse((await ask(nginx.port, `/v1/poll?after=0&wait=0&room=${room}`, { headers })).body);
      assert.deepEqual(polled.events.map(({ kind }) => kind), ['peer-joined']);
      for (const [index, { base }] of servers.entries()) {
        if ((await fetch(`${base}/v1/rooms/${room}`, { headers })).ok) homes.add(index);
      }
      socket.destroy();
    }
    assert.equal(homes.size, 2, 'both servers have some of the rooms');
  },

  async 'each guest counts for its own address, whatever it writes'({ after }) {
    const { server, nginx } = await start(after, {
      RALLYPOINT_LIMITS__REQUESTS_PER_SECOND_PER_IP: '1',
      RALLYPOINT_LIMITS__REQUESTS_BURST_PER_IP: '5',
      RALLYPOINT_AUDIT__TO: 'stdout',
    });
    const until429 = async (from, headers = () => ({})) => {
      for (let asked = 1; asked <= 50; asked += 1) {
        if ((await ask(nginx.port, '/healthz', { from, headers: headers(asked) })).status === 429) return asked;
      }
      return Infinity;
    };
    assert.ok((await until429('127.0.0.2')) <= 50);
    assert.equal((await ask(nginx.port, '/healthz', { from: '127.0.0.3' })).status, 200, 'another address');
    // A new address in each request, by its own word.
    const forged = (asked) => ({ 'x-forwarded-for': `203.0.113.${asked}`, forwarded: `for=198.51.100.${asked}` });
    assert.ok((await until429('127.0.0.4', forged)) <= 50, 'a forged address is of no use');
    // Nor does the audit log believe it.
    const told = () => server.output().split('\n').filter((line) => line.includes('"refused"')).map((line) => JSON.parse(line));
    const addresses = await until('both to be told', () => {
      const seen = new Set(told().map(({ address }) => address));
      return seen.size > 1 && [...seen].sort();
    });
    assert.deepEqual(addresses, ['127.0.0.2', '127.0.0.4']);
  },
};
