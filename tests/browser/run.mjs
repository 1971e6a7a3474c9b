/**
 * Runs the browser tests: `node run.mjs [part of a file name …]`. Two workers share the files; each has a server and a
 * browser for all of its tests, and a test that needs to stop a server starts its own. What keeps the processors busy, or
 * looks at how long something takes, runs afterwards, alone.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { launch, startServer } from './lib.mjs';

const TEST_MS = 120_000;
const WORKERS = 2;
/** Files that have the machine for themselves. */
const ALONE = ['arena', 'call', 'compare', 'firefox', 'nodes', 'party', 'resume', 'selftest', 'turn'].map(
  (name) => `${name}.test.mjs`,
);

/** Runs one test; whether it passed. */
async function run({ server, browser }, file, name, test) {
  const start = performance.now();
  const took = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${TEST_MS} ms`)), TEST_MS);
  });
  const cleanup = [];
  try {
    await Promise.race([test({ base: server.base, browser, after: (act) => cleanup.unshift(act) }), late]);
    console.log(`ok      ${file}: ${name} (${took()})`);
    return true;
  } catch (error) {
    console.log(`FAILED  ${file}: ${name} (${took()})`);
    console.log(error);
    for (const [number, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
      const path = new URL(`out/failed-${file.replace('.test.mjs', '')}-${number}.png`, import.meta.url).pathname;
      await page.screenshot({ path, timeout: 5_000 }).catch(() => {});
    }
    return false;
  } finally {
    clearTimeout(timer);
    for (const act of cleanup) await act().catch(() => {});
    for (const context of browser.contexts()) await context.close().catch(() => {});
  }
}

/** A worker: is told one file after the other, and tells what became of its tests. */
async function work() {
  const house = { server: await startServer(), browser: await launch() };
  process.send({ passed: 0, failed: 0 });
  let any = false;
  for (;;) {
    const [file] = await once(process, 'message');
    if (file === null) break;
    const counts = { passed: 0, failed: 0 };
    const { tests } = await import(`./${file}`);
    for (const [name, test] of Object.entries(tests)) counts[(await run(house, file, name, test)) ? 'passed' : 'failed'] += 1;
    any ||= counts.failed > 0;
    process.send(counts);
  }
  if (any) console.log(`\nthe server's last words:\n${house.server.output().slice(-4_000)}`);
  await house.browser.close();
  await house.server.stop();
  process.disconnect();
}

/** Shares files among so many workers; adds to `counts`. A worker that ends early has failed. */
async function share(files, workers, counts) {
  const queue = [...files];
  const one = () =>
    new Promise((done) => {
      const worker = fork(fileURLToPath(import.meta.url));
      let file;
      worker.on('message', ({ passed, failed }) => {
        counts.passed += passed;
        counts.failed += failed;
        file = queue.shift() ?? null;
        worker.send(file);
      });
      worker.on('exit', (code) => {
        if (code !== 0 || file !== null) {
          counts.failed += 1;
          console.log(`FAILED  ${file ?? 'the start'}: a worker ended with ${code}`);
        }
        done();
      });
    });
  await Promise.all(Array.from({ length: Math.min(workers, files.length) }, one));
}

async function lead() {
  const wanted = process.argv.slice(2);
  const files = (await readdir(new URL('.', import.meta.url)))
    .filter((file) => file.endsWith('.test.mjs') && (!wanted.length || wanted.some((part) => file.includes(part))))
    .sort();
  const counts = { passed: 0, failed: 0 };
  const is = (alone) => files.filter((file) => ALONE.includes(file) === alone);
  await share(is(false), WORKERS, counts);
  await share(is(true), 1, counts);
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  // Nothing ran is no success either: a misspelt name must not look green.
  process.exit(counts.failed || !counts.passed ? 1 : 0);
}

await (process.send ? work() : lead());
