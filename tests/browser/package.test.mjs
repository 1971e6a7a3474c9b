/**
 * The npm package as its user has it: packed, installed into an empty Vite project, and the README's first example as
 * written.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { FLAGS, freePort, startServer, until } from './lib.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PACKAGE = here('../../clients/typescript');
/** The address that the README speaks of; the browser is told where it really is. */
const WRITTEN = 'localhost:3000';

const run = promisify(execFile);
const npm = (cwd, ...args) => run('npm', args, { cwd, maxBuffer: 16 << 20 }).catch(tell);
const npx = (cwd, ...args) => run('npx', ['--no-install', ...args], { cwd, maxBuffer: 16 << 20 }).catch(tell);
function tell(error) {
  throw new Error(`${error.message}\n${error.stdout}\n${error.stderr}`);
}

/** What `npm create vite -- --template vanilla-ts` makes, as far as it matters here. */
const project = (versions) => ({
  'package.json': JSON.stringify({ name: 'demo', private: true, type: 'module', devDependencies: versions }),
  'index.html':
    '<!doctype html><html lang="en"><head><link rel="icon" href="data:,"></head>' +
    '<body><script type="module" src="/src/main.ts"></script></body></html>',
  'tsconfig.json': JSON.stringify({
    compilerOptions: {
      target: 'es2023', module: 'esnext', lib: ['ES2023', 'DOM'], types: ['vite/client'], moduleResolution: 'bundler',
      allowImportingTsExtensions: true, verbatimModuleSyntax: true, moduleDetection: 'force', noEmit: true,
      strict: true,
      noUnusedLocals: true, noUnusedParameters: true, erasableSyntaxOnly: true, noFallthroughCasesInSwitch: true,
    },
    include: ['src'],
  }),
});

/** The versions that the pages are built with, so that they are known to work. */
async function versions() {
  const { packages } = JSON.parse(await readFile(here('../../clients/pages/package-lock.json'), 'utf8'));
  return Object.fromEntries(['vite', 'typescript'].map((name) => [name, packages[`node_modules/${name}`].version]));
}

async function example() {
  const text = await readFile(join(PACKAGE, 'README.md'), 'utf8');
  const [, code] = /^```ts\n([\s\S]*?)^```$/m.exec(text) ?? [];
  assert.ok(code, 'the README begins with an example');
  assert.ok(code.includes(`http://${WRITTEN}`), 'which speaks of a server started by `make run`');
  return code;
}

export const tests = {
  async 'npm pack, an empty Vite project, and the first example of the README'({ after }) {
    const folder = await mkdtemp(join(tmpdir(), 'rallypoint-package-'));
    after(() => rm(folder, { recursive: true, force: true }));
    const { stdout } = await npm(PACKAGE, 'pack', '--json', '--pack-destination', folder);
    const [{ filename, files }] = JSON.parse(stdout.slice(stdout.indexOf('[\n')));
    const packed = files.map(({ path }) => path);
    for (const path of ['README.md', 'dist/index.js', 'dist/index.d.ts']) {
      assert.ok(packed.includes(path), `${path} is in the package`);
    }
    assert.deepEqual(packed.filter((path) => /(^|\/)(test|build|node_modules)\//.test(path)), []);

    const demo = join(folder, 'demo');
    await mkdir(join(demo, 'src'), { recursive: true });
    for (const [name, content] of Object.entries(project(await versions()))) await writeFile(join(demo, name), content);
    await writeFile(join(demo, 'src/main.ts'), await example());
    await npm(demo, 'install', '--no-audit', '--no-fund', '--prefer-offline', join(folder, filename));
    await npx(demo, 'tsc');
    await npx(demo, 'vite', 'build');

    const server = await startServer();
    after(() => server.stop());
    const port = await freePort();
    const vite = join(demo, 'node_modules/.bin/vite');
    const flags = ['preview', '--host', '127.0.0.1', '--port', `${port}`, '--strictPort'];
    const preview = execFile(vite, flags, { cwd: demo });
    after(async () => preview.kill());
    const browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [...FLAGS, `--host-resolver-rules=MAP ${WRITTEN} 127.0.0.1:${server.port}`],
    });
    after(() => browser.close());
    const address = `http://127.0.0.1:${port}/`;
    await until('the preview answers', async () => (await fetch(address)).ok);

    const pages = [];
    const faults = [];
    for (let number = 0; number < 2; number += 1) {
      const page = await (await browser.newContext()).newPage();
      page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
      page.on('pageerror', (error) => faults.push(`${error}`));
      await page.goto(address);
      await page.getByPlaceholder('Say something').waitFor();
      pages.push(page);
    }
    const [ada, bob] = pages;
    await ada.getByText('Guest is here').waitFor();
    await ada.getByPlaceholder('Say something').fill('<b>hello</b>');
    await ada.getByPlaceholder('Say something').press('Enter');
    for (const page of pages) await page.getByText('Guest: <b>hello</b>').waitFor();
    await bob.close();
    await ada.getByText('Guest has left').waitFor();
    assert.deepEqual(faults, []);
  },
};
