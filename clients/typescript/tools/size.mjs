/** Prints what the package costs a page, minified and gzipped, dependencies included: each use of it, and its parts. */

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const AIM_KIB = 16;
const uses = {
  'connect and rooms': 'export { connect } from "./src/index.js"',
  'connect and rooms, MessagePack aside': 'export { connect } from "./src/index.js"',
  'watch alone': 'export { watch } from "./src/index.js"',
};

/** Sizes by the name of the file: the entry, and what is loaded when it is needed. */
async function sizes(contents, external) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: new URL('..', import.meta.url).pathname, loader: 'ts' },
    bundle: true,
    splitting: true,
    outdir: 'out',
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    metafile: true,
    external,
    logLevel: 'error',
  });
  const kib = new Map(outputFiles.map(({ path, contents: bytes }) => [path, gzipSync(bytes, { level: 9 }).length / 1024]));
  const outputs = Object.entries(metafile.outputs);
  const of = (name) => [...kib].find(([path]) => path.endsWith(name))?.[1] ?? 0;
  /** With the chunks that it cannot do without. */
  const whole = (name) => {
    const seen = new Set();
    const add = (path) => {
      if (seen.has(path)) return;
      seen.add(path);
      for (const { path: next, kind } of metafile.outputs[path]?.imports ?? []) if (kind === 'import-statement') add(next);
    };
    add(name);
    return seen;
  };
  const [entry] = outputs.find(([, { entryPoint }]) => entryPoint === '<stdin>') ?? [];
  const first = whole(entry);
  const sum = (paths) => [...paths].reduce((total, path) => total + of(path.slice(path.lastIndexOf('/') + 1)), 0);
  const later = outputs.filter(([path, { entryPoint }]) => path !== entry && entryPoint);
  return {
    first: sum(first),
    later: later.map(([path, { entryPoint }]) => [
      entryPoint.replace(/^.*\/|\.ts$/g, ''), sum([...whole(path)].filter((each) => !first.has(each))),
    ]),
  };
}

for (const [name, contents] of Object.entries(uses)) {
  const { first, later } = await sizes(contents, name.includes('aside') ? ['@msgpack/msgpack'] : []);
  const aim = name === 'connect and rooms' ? ` (aim: ${AIM_KIB} KiB)` : '';
  console.log(`rallypoint-client, ${name}: ${first.toFixed(1)} KiB gzip${aim}`);
  if (!name.includes('aside')) for (const [part, kib] of later) console.log(`  and when it is needed, ${part}: ${kib.toFixed(1)} KiB`);
}
