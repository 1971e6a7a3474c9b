/**
 * Other people's servers that some browser tests need: a TURN server (coturn), a reverse proxy (nginx) and an engine
 * (Redis), on loopback.
 */

import { execFile, spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, until } from './lib.mjs';

/** Ports that a relay may take for its ends; each test run has one relay at a time. */
const RELAY_PORTS = 200;

/** Runs a program until `stop`; `answers` tells when it is ready. */
async function run(what, command, args, answers) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (text = (text + data).slice(-20_000)));
  let failure;
  child.on('error', (error) => (failure = error));
  const gone = () => failure || child.exitCode !== null || child.signalCode !== null;
  const stop = async () => {
    if (gone()) return;
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await exit;
    clearTimeout(timer);
  };
  try {
    await until(`${what} answers`, async () => gone() || answers());
    if (gone()) throw new Error(`${what} did not start: ${failure?.message ?? `exit ${child.exitCode}`}`);
  } catch (error) {
    await stop();
    throw new Error(`${error.message}\n${text}`);
  }
  return { stop, output: () => text };
}

const connects = (port) =>
  new Promise((done) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.end(() => done(true)));
    socket.on('error', () => done(false));
  });

/** A run of free UDP ports: where the first is free the others mostly are, and a relay skips those that are not. */
async function freeUdpPort() {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return Math.min(port, 65_535 - RELAY_PORTS);
}

/** coturn with the shared secret that a server mints credentials by. */
export async function startTurn(secret) {
  const [port, relay] = [await freePort(), await freeUdpPort()];
  const folder = await mkdtemp(join(tmpdir(), 'rallypoint-turn-'));
  const server = await run('coturn', 'turnserver', [
    '-n', '--no-cli', '--log-file=stdout', '--simple-log', '--listening-ip=127.0.0.1', '--relay-ip=127.0.0.1',
    `--listening-port=${port}`, `--min-port=${relay}`, `--max-port=${relay + RELAY_PORTS}`, '--realm=test.local',
    '--use-auth-secret', `--static-auth-secret=${secret}`, '--allow-loopback-peers', '--no-tls', '--no-dtls',
    `--pidfile=${folder}/pid`, `--userdb=${folder}/users`, '--verbose',
  ], () => connects(port));
  return {
    url: `turn:127.0.0.1:${port}?transport=udp`,
    output: server.output,
    stop: () => server.stop().finally(() => rm(folder, { recursive: true, force: true })),
  };
}

/** A Redis that keeps nothing; `url` as `--engine` takes it. */
export async function startRedis() {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'rallypoint-redis-'));
  const server = await run('redis-server', 'redis-server', [
    '--bind', '127.0.0.1', '--port', `${port}`, '--save', '', '--appendonly', 'no', '--dir', folder,
  ], () => connects(port));
  return {
    url: `redis://127.0.0.1:${port}`,
    output: server.output,
    stop: () => server.stop().finally(() => rm(folder, { recursive: true, force: true })),
  };
}

/**
 * nginx in front of a server. `location` is what stands in its `location /`, beside the address of the server: what it
 * lets through and what it holds back.
 */
export async function startNginx(upstream, location) {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'rallypoint-nginx-'));
  const config = `${head(folder)}
  access_log off;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${upstream};
      proxy_set_header Host $http_host;
      ${location}
    }
  }
}
`;
  return { base: `http://127.0.0.1:${port}`, ...(await serve(folder, config, port)) };
}

/** nginx with this configuration; `reload` has it read again, `stop` removes its folder. */
async function serve(folder, config, port) {
  await writeFile(`${folder}/nginx.conf`, config);
  const args = ['-p', folder, '-e', 'stderr', '-c', `${folder}/nginx.conf`];
  const server = await run('nginx', 'nginx', args, () => connects(port));
  return {
    output: server.output,
    reload: () => promisify(execFile)('nginx', [...args, '-s', 'reload']),
    stop: () => server.stop().finally(() => rm(folder, { recursive: true, force: true })),
  };
}

/** The part of a configuration that every nginx of the tests begins with. */
const head = (folder) => `
daemon off;
pid ${folder}/pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
`;

/** nginx as a file of docs/deploy has it, but for its certificate, its log, its port, and what else `changes` says. */
async function startDocumented(file, { certificate, key }, changes) {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'rallypoint-nginx-'));
  let text = await readFile(new URL(`../../docs/deploy/${file}`, import.meta.url), 'utf8');
  for (const [documented, here] of [
    ['listen 443 ssl http2', `listen 127.0.0.1:${port} ssl http2`],
    ['    listen [::]:443 ssl http2;\n', ''],
    ['/etc/letsencrypt/live/play.example/fullchain.pem', certificate],
    ['/etc/letsencrypt/live/play.example/privkey.pem', key],
    ['/var/log/nginx/rallypoint.log', `${folder}/access.log`],
    ...changes,
  ]) {
    if (text.split(documented).length !== 2) throw new Error(`not once in docs/deploy/${file}: ${documented}`);
    text = text.replace(documented, here);
  }
  const server = await serve(folder, `${head(folder)}\n${text}\n}\n`, port);
  return { base: `https://127.0.0.1:${port}`, port, log: () => readFile(`${folder}/access.log`, 'utf8'), ...server };
}

/** nginx as docs/deploy/nginx.conf has it, before servers on these ports. */
export const startDocumentedNginx = (upstreams, files) =>
  startDocumented('nginx.conf', files, [
    ['    server 127.0.0.1:3000;\n', upstreams.map((port) => `    server 127.0.0.1:${port};\n`).join('')],
  ]);

/** nginx as docs/deploy/nginx-cluster.conf has it, before two nodes on these ports. */
export const startDocumentedBalancer = ([first, second], files) =>
  startDocumented('nginx-cluster.conf', files, [
    ['server 127.0.0.1:3001 ', `server 127.0.0.1:${first} `],
    ['server 127.0.0.1:3002 ', `server 127.0.0.1:${second} `],
  ]);

const openssl = (...args) => promisify(execFile)('openssl', args);

/** A folder with a certificate that vouches for itself; `renew` puts another in its place. */
export async function certificate() {
  const folder = await mkdtemp(join(tmpdir(), 'rallypoint-tls-'));
  const files = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
  const renew = async () => {
    const [certificate, key] = [`${files.certificate}.new`, `${files.key}.new`];
    await openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate);
    await rename(key, files.key);
    await rename(certificate, files.certificate);
  };
  await renew();
  return { ...files, renew, remove: () => rm(folder, { recursive: true, force: true }) };
}
