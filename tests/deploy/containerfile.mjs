// Reads docs/deploy/Containerfile as far as that goes without an engine: what it copies is there and is enough for cargo,
// stages come before they are used, and what runs at the end is no root and needs no shell.
//
// Usage: node tests/deploy/containerfile.mjs [--self-test], from the top of the repository; the last line counts.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const KNOWN = ['FROM', 'WORKDIR', 'COPY', 'RUN', 'USER', 'ENV', 'EXPOSE', 'STOPSIGNAL', 'ENTRYPOINT', 'CMD'];
const tracked = execFileSync('git', ['ls-files', '-z'], { encoding: 'utf8' }).split('\0').filter(existsSync);

/** The stages, each with its instructions. */
function stages(text) {
  const lines = text.replace(/^\s*#.*\n/gm, '').replace(/\\\n/g, ' ').split('\n').filter((line) => line.trim() !== '');
  const stages = [];
  for (const line of lines) {
    const [, word, rest] = line.match(/^(\S+)\s+(.*)$/) ?? [, line, ''];
    if (!KNOWN.includes(word)) throw new Error(`no instruction: ${line}`);
    if (word === 'FROM') {
      const [, image, , name] = rest.match(/^(\S+)( AS (\w+))?$/) ?? [];
      if (!image) throw new Error(`no stage: ${line}`);
      stages.push({ image, name, steps: [] });
    } else if (stages.length === 0) throw new Error(`before the first FROM: ${line}`);
    else stages.at(-1).steps.push({ word, rest });
  }
  return stages;
}

/** The sources of a COPY, where they go, and the stage that they are of. */
function copied(rest) {
  const words = rest.split(/\s+/);
  const from = words[0].startsWith('--from=') ? words.shift().slice('--from='.length) : undefined;
  return { from, to: words.pop(), sources: words };
}

const below = (source) => tracked.filter((file) => file === source || file.startsWith(`${source}/`));

/** What is wrong with the file. */
function faults(text) {
  const wrong = [];
  const all = stages(text);
  for (const [at, { name, steps }] of all.entries()) {
    for (const { from, sources } of steps.filter(({ word }) => word === 'COPY').map(({ rest }) => copied(rest))) {
      const before = all.slice(0, at).some((stage) => stage.name === from);
      if (from && !before) wrong.push(`${name}: no stage ${from} before it`);
      if (!from) wrong.push(...sources.filter((source) => below(source).length === 0).map((it) => `${it} is not there`));
    }
    const programs = steps.filter(({ word, rest }) => word === 'RUN' && rest.includes('/')).map(({ rest }) => rest.split(' ')[0]);
    const here = steps.filter(({ word }) => word === 'COPY').flatMap(({ rest }) => copied(rest).sources.flatMap(below));
    wrong.push(...programs.filter((it) => it.includes('/') && !here.includes(it)).map((it) => `${it} is not copied`));
  }
  const last = all.at(-1).steps;
  const rest = (word) => last.find((step) => step.word === word)?.rest ?? '';
  if (!/^[1-9]\d*(:[1-9]\d*)?$/.test(rest('USER'))) wrong.push('it ends as root, or as somebody with a name only');
  if (last.some(({ word }) => word === 'RUN')) wrong.push('the last stage has no shell to run anything');
  for (const word of ['ENTRYPOINT', 'CMD']) if (!/^\["[^"]+"(, "[^"]+")*\]$/.test(rest(word))) wrong.push(`${word} needs a shell`);
  return wrong;
}

/** Whether cargo can read the workspace with what the stage that builds the server takes from here. */
function isEnoughForCargo(text) {
  const folder = mkdtempSync(join(tmpdir(), 'rallypoint-container-'));
  const { steps } = stages(text).find(({ name }) => name === 'server');
  try {
    for (const { from, sources } of steps.filter(({ word }) => word === 'COPY').map(({ rest }) => copied(rest))) {
      if (!from) for (const file of sources.flatMap(below)) cpSync(file, join(folder, file), { recursive: true });
    }
    execFileSync('cargo', ['metadata', '--locked', '--no-deps', '--format-version=1'], { cwd: folder, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const found = (text) => {
  try {
    return faults(text);
  } catch (error) {
    return [error.message];
  }
};

const text = readFileSync('docs/deploy/Containerfile', 'utf8');
const checks = [];
if (process.argv[2] === '--self-test') {
  const planted = [
    ['COPY src src', 'COPY source src'],
    ['--from=pages', '--from=page'],
    ['USER 65532:65532', 'USER 0:0'],
    ['USER 65532:65532\n', ''],
    ['ENTRYPOINT ["/usr/bin/rallypoint"]', 'ENTRYPOINT /usr/bin/rallypoint'],
    ['EXPOSE', 'EXPORT'],
    ['FROM scratch', 'FROM scratch and more'],
    ['RUN clients/build.sh', 'RUN clients/make.sh'],
    ['STOPSIGNAL SIGTERM', 'RUN true'],
  ];
  for (const [from, to] of planted) {
    checks.push([text.includes(from) && found(text.replace(from, to)).length > 0, `${from.trim()} -> ${to.trim()}`]);
  }
  checks.push([!isEnoughForCargo(text.replace('COPY tests tests\n', '')), 'a member of the workspace that is not copied']);
} else {
  const wrong = found(text);
  checks.push([wrong.length === 0, `what it says holds ${wrong}`]);
  checks.push([isEnoughForCargo(text), 'what it copies is enough for cargo']);
}
for (const [good, name] of checks) console.log(`${good ? 'ok     ' : 'FAILED '} ${name}`);
const failed = checks.filter(([good]) => !good).length;
console.log(`${checks.length - failed} passed, ${failed} failed`);
process.exit(failed);
