/**
 * Runs tests/cluster/run.sh and looks at it from outside: the balancer and both nodes answer, a room is one on all of them,
 * a node that is gone is left out, and in the end nothing is left. The last line is "N passed, M failed".
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const SCRIPT = new URL('run.sh', import.meta.url).pathname;

/** Looks again and again, for half a minute. */
async function until(what, look) {
  for (const end = Date.now() + 30_000; Date.now() < end; await new Promise((done) => setTimeout(done, 50))) {
    const found = await look();
    if (found) return found;
  }
  throw new Error(`waited in vain for ${what}`);
}

/** All processes below one. */
async function family(id) {
  const text = await readFile(`/proc/${id}/task/${id}/children`, 'utf8').catch(() => '');
  const children = text.split(' ').filter(Boolean).map(Number);
  return [...children, ...(await Promise.all(children.map(family))).flat()];
}

/** The script, until it has said where everything is. */
async function begin(folder, env = {}) {
  const child = spawn(SCRIPT, { env: { ...process.env, TMPDIR: folder, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (text += data));
  const exit = once(child, 'close').then(([code]) => code);
  const output = () => text;
  await Promise.race([until('the addresses', () => text.includes('Ctrl-C ends')), exit]);
  const [balancer, first, second] = [...text.matchAll(/http:\/\/\S+/g)].map(([url]) => url);
  const nodes = [...text.matchAll(/process (\d+)/g)].map(([, id]) => Number(id));
  return { child, exit, output, balancer, first, second, nodes };
}

async function token(base, user) {
  const headers = { origin: base, 'content-type': 'application/json' };
  const answer = await fetch(`${base}/dev/token`, { method: 'POST', headers, body: JSON.stringify({ user }) });
  assert.equal(answer.status, 201, await answer.clone().text());
  return (await answer.json()).token;
}

/** A member of a room: `heard` tells when a text came. Its frames go out masked with zeros. */
function member(base, jwt, room) {
  const protocols = `rallypoint.v1.json, bearer.${jwt}`;
  const headers = {
    connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', origin: base,
    'sec-websocket-key': Buffer.alloc(16).toString('base64'), 'sec-websocket-protocol': protocols,
  };
  return new Promise((done, failed) => {
    const request = http.get(`${base}/v1/ws?affinity=${encodeURIComponent(room)}`, { headers, agent: false });
    request.on('error', failed);
    request.on('response', ({ statusCode }) => failed(new Error(`no upgrade: ${statusCode}`)));
    request.on('upgrade', (_, socket, head) => {
      let text = head.toString();
      socket.on('data', (data) => (text += data));
      socket.on('error', () => {});
      const say = (message) => {
        const bytes = JSON.stringify(message);
        socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | bytes.length, 0, 0, 0, 0]), Buffer.from(bytes)]));
      };
      say({ type: 'join', id: 1, room });
      done({ say, heard: (what) => until(what, () => text.includes(what)), leave: () => socket.destroy() });
    });
  });
}

/** A spectator's event stream: `heard` tells when a text came. */
async function spectator(base, jwt, room) {
  const answer = await fetch(`${base}/v1/events?room=${room}`, { headers: { authorization: `Bearer ${jwt}` } });
  assert.equal(answer.status, 200);
  let text = '';
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const read = async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  };
  read().catch(() => {});
  return { heard: (what) => until(what, () => text.includes(what)), leave: () => reader.cancel() };
}

const ready = async (base, query = '') => (await fetch(`${base}/readyz${query}`)).status;

const checks = {
  async 'a site begins, is one, and ends'(folder) {
    const site = await begin(folder);
    const processes = await family(site.child.pid);
    try {
      assert.ok(site.second, site.output());
      // Two nodes, Redis, nginx and its worker.
      assert.ok(processes.length >= 5, `${processes}`);
      for (const base of [site.balancer, site.first, site.second]) {
        await until(`${base} to be ready`, async () => (await ready(base)) === 200);
      }

      const doors = [site.first, site.second, site.balancer];
      const members = [];
      for (const [n, base] of doors.entries()) {
        const one = await member(base, await token(base, `guest-${n}`), 'hall');
        await one.heard('"joined"');
        members.push(one);
      }
      const watcher = await spectator(site.balancer, await token(site.balancer, 'watcher'), 'hall');
      for (const [n, one] of members.entries()) one.say({ type: 'message', id: 2, room: 'hall', text: `by ${n}` });
      for (const one of [...members, watcher]) for (const n of members.keys()) await one.heard(`by ${n}`);
      for (const one of [...members, watcher]) await one.leave();

      process.kill(site.nodes[0], 'SIGKILL');
      await until('the end to be told', () => site.output().includes('node-1 has ended'));
      for (let n = 0; n < 16; n += 1) assert.equal(await ready(site.balancer, `?affinity=${n}`), 200);
    } finally {
      site.child.kill('SIGTERM');
      await site.exit;
    }
    assert.equal(await site.exit, 0, site.output());
    assert.deepEqual(processes.filter((id) => existsSync(`/proc/${id}`)), [], 'all processes are gone');
    assert.deepEqual(await readdir(folder), [], 'and all files');
  },

  async 'what is missing is named with its package'(folder) {
    const paths = process.env.PATH.split(delimiter);
    const put = async (program) => {
      const path = paths.map((path) => join(path, program)).find(existsSync);
      await symlink(path, join(folder, program));
    };
    for (const program of ['bash', 'dirname']) await put(program);
    for (const program of ['redis-server', 'nginx']) {
      const site = await begin(folder, { PATH: folder });
      assert.equal(await site.exit, 2);
      assert.match(site.output(), new RegExp(`${program} is missing.*apt-get install ${program}`));
      await put(program);
    }
  },
};

let [passed, failed] = [0, 0];
for (const [name, check] of Object.entries(checks)) {
  const folder = await mkdtemp(join(tmpdir(), 'rallypoint-cluster-'));
  try {
    await check(folder);
    passed += 1;
    console.log(`passed  ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
  await rm(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
