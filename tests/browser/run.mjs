/**
 * Runs the browser tests: `node run.mjs [part of a file name …]`. One server and one browser for all; a test that needs
 * to stop a server starts its own.
 */

import { readdir } from 'node:fs/promises';
import { launch, startServer } from './lib.mjs';

const TEST_MS = 120_000;
const wanted = process.argv.slice(2);
const files = (await readdir(new URL('.', import.meta.url)))
  .filter((file) => file.endsWith('.test.mjs') && (!wanted.length || wanted.some((part) => file.includes(part))))
  .sort();

const server = await startServer();
const browser = await launch();
let passed = 0;
let failed = 0;

async function run(file, name, test) {
  const start = performance.now();
  const took = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${TEST_MS} ms`)), TEST_MS);
  });
  const cleanup = [];
  try {
    await Promise.race([test({ base: server.base, browser, after: (act) => cleanup.unshift(act) }), late]);
    passed += 1;
    console.log(`ok      ${file}: ${name} (${took()})`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${file}: ${name} (${took()})`);
    console.log(error);
    for (const [number, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
      const path = new URL(`out/failed-${file.replace('.test.mjs', '')}-${number}.png`, import.meta.url).pathname;
      await page.screenshot({ path, timeout: 5_000 }).catch(() => {});
    }
  } finally {
    clearTimeout(timer);
    for (const act of cleanup) await act().catch(() => {});
    for (const context of browser.contexts()) await context.close().catch(() => {});
  }
}

try {
  for (const file of files) {
    const { tests } = await import(`./${file}`);
    for (const [name, test] of Object.entries(tests)) await run(file, name, test);
  }
  if (failed) console.log(`\nthe server's last words:\n${server.output().slice(-4_000)}`);
} finally {
  await browser.close();
  await server.stop();
}
console.log(`${passed} passed, ${failed} failed`);
// Nothing ran is no success either: a misspelt name must not look green.
process.exit(failed || !passed ? 1 : 0);
