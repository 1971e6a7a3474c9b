/** How the pages are built, and shown while they are worked on. See README.md. */

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import { finish } from './tools/finish.ts';
import { frame } from './tools/frame.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
/** Every page is an HTML file of its own beside this file. */
const pages = readdirSync(here('.')).filter((file) => file.endsWith('.html'));
/** The pages are built into the server, so its version is theirs. */
const version = /^version = "(.+)"/m.exec(readFileSync(here('../../Cargo.toml'), 'utf8'))?.[1];
if (!version) throw new Error('there is no version in Cargo.toml');

const server = new URL(process.env['RALLYPOINT_URL'] ?? 'http://127.0.0.1:3000/');
/** The server lists its own origin, not that of the development server. */
const proxy = Object.fromEntries(
  ['/v1', '/dev', '/healthz', '/readyz', '/metrics'].map((path) => [
    path,
    { target: server.origin, ws: path === '/v1', changeOrigin: true, headers: { origin: server.origin } },
  ]),
);

export default defineConfig({
  // Relative, so that a proxy may put a path in front.
  base: './',
  appType: 'mpa',
  resolve: {
    // The client's source, so that one build does it all. Its one dependency comes from here, too.
    alias: { 'rallypoint-client': here('../typescript/src/index.ts') },
    dedupe: ['@msgpack/msgpack'],
  },
  plugins: [frame({ version }), finish()],
  build: {
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
    // Both would be refused by the server's Content-Security-Policy, as `data:` and as inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: pages.map(here) },
  },
  server: { proxy },
  preview: { proxy },
});
