/**
 * Judges what the Autobahn cases found out about the connection code.
 *
 * `node judge.mjs INDEX` reads the report's index.json, names every case that failed and sums up;
 * `node judge.mjs --self-test` plants faults in a good report and expects each to be found.
 */
import { readFileSync } from 'node:fs';

/** How many cases there are without compression (12.* and 13.*), which the server does not offer. */
const CASES = 301;
/** Cases without a right answer: the suite only notes what happens. */
const OPEN = new Set(['7.1.6', '7.13.1', '7.13.2']);
/** Broken UTF-8 should fail at once. We see it when its frame is complete; the frame is bounded, so that is soon. */
const LATE = /^6\.4\.[1-4]$/;

/** Whether a verdict of the suite is good enough for us. */
function isGood(id, { behavior, behaviorClose }) {
  if (OPEN.has(id)) return [behavior, behaviorClose].every((verdict) => ['OK', 'INFORMATIONAL'].includes(verdict));
  return (behavior === 'OK' || (behavior === 'NON-STRICT' && LATE.test(id))) && behaviorClose === 'OK';
}

/** The report of one server: `passed`, the `faults` in words, and which cases passed without being strict. */
function judge(index) {
  const reports = Object.values(index);
  const cases = Object.entries(reports[0] ?? {});
  const faults = cases
    .filter(([id, verdict]) => !isGood(id, verdict))
    .map(([id, { behavior, behaviorClose }]) => `${id}: ${behavior}, close ${behaviorClose}`);
  const passed = cases.length - faults.length;
  if (reports.length !== 1) faults.push(`${reports.length} servers were tested, not one`);
  if (cases.length !== CASES) faults.push(`${cases.length} cases ran, not ${CASES}`);
  const lax = cases.filter(([, { behavior }]) => behavior === 'NON-STRICT').map(([id]) => id);
  return { passed, faults, lax };
}

/** A report in which everything is as it should be. */
function goodIndex() {
  const good = { behavior: 'OK', behaviorClose: 'OK' };
  const cases = { '6.4.3': { behavior: 'NON-STRICT', behaviorClose: 'OK' } };
  for (const id of OPEN) cases[id] = { behavior: 'INFORMATIONAL', behaviorClose: 'INFORMATIONAL' };
  for (let n = 1; Object.keys(cases).length < CASES; n += 1) cases[`1.1.${n}`] = good;
  return { server: cases };
}

const FAULTS = {
  'a case failed': ({ server }) => (server['1.1.1'] = { behavior: 'FAILED', behaviorClose: 'OK' }),
  'a case ended in an error': ({ server }) => (server['1.1.2'] = { behavior: 'ERROR', behaviorClose: 'FAILED' }),
  'a close was unclean': ({ server }) => (server['1.1.3'] = { behavior: 'OK', behaviorClose: 'UNCLEAN' }),
  'a close had the wrong code': ({ server }) => (server['6.4.3'].behaviorClose = 'WRONG CODE'),
  'lax where it may not be': ({ server }) => (server['1.1.4'] = { behavior: 'NON-STRICT', behaviorClose: 'OK' }),
  'an open case failed': ({ server }) => (server['7.1.6'] = { behavior: 'FAILED', behaviorClose: 'OK' }),
  'only noted, with a right answer': ({ server }) =>
    (server['1.1.5'] = { behavior: 'INFORMATIONAL', behaviorClose: 'OK' }),
  'a case is missing': ({ server }) => delete server['1.1.6'],
  'a case more': ({ server }) => (server['1.2.1'] = { behavior: 'OK', behaviorClose: 'OK' }),
  'nothing ran': (index) => delete index.server,
  'two servers': (index) => (index.other = {}),
};

function selfTest() {
  const { faults } = judge(goodIndex());
  if (faults.length > 0) console.error(`a good report was refused: ${faults}`);
  const missed = Object.entries(FAULTS).filter(([, plant]) => {
    const index = goodIndex();
    plant(index);
    return judge(index).faults.length === 0;
  });
  for (const [name] of missed) console.error(`not found: ${name}`);
  console.log(`self-test: planted ${Object.keys(FAULTS).length} faults, missed ${missed.length}`);
  return faults.length === 0 && missed.length === 0;
}

function report(file) {
  const { passed, faults, lax } = judge(JSON.parse(readFileSync(file, 'utf8')));
  for (const fault of faults) console.log(`FAILED  ${fault}`);
  const strict = lax.length > 0 ? `${lax.length} non-strict (${lax.join(', ')})` : 'all strict';
  console.log(`conformance: ${passed} of ${CASES} Autobahn cases, ${strict}, ${OPEN.size} without a right answer`);
  console.log(`${passed} passed, ${faults.length} failed`);
  return faults.length === 0;
}

const [argument] = process.argv.slice(2);
process.exitCode = (argument === '--self-test' ? selfTest() : report(argument)) ? 0 : 1;
