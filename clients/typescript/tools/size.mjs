/** Prints what the package costs a page, minified and gzipped, dependencies included: at first, and when it is needed. */

import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';

const AIM_KIB = 16;
const INDEX = new URL('../src/index.ts', import.meta.url).pathname;

/** A page that uses nothing but this of the package, as Vite bundles it. */
const page = (name) => ({
  name: 'page',
  resolveId: (id) => (id === 'page' ? id : null),
  load: (id) => (id === 'page' ? `export { ${name} } from ${JSON.stringify(INDEX)}` : null),
});

/** KiB at first, and of each part that is loaded when it is needed. */
async function sizes(name, external = []) {
  const bundle = await rolldown({
    input: 'page', plugins: [page(name)], external, resolve: { extensionAlias: { '.js': ['.ts', '.js'] } },
  });
  const { output } = await bundle.generate({ format: 'esm', minify: true });
  const files = new Map(output.map((file) => [file.fileName, file]));
  /** A file with all that it cannot do without. */
  const whole = (file, seen = new Set()) => {
    if (!files.has(file) || seen.has(file)) return seen;
    seen.add(file);
    for (const next of files.get(file).imports) whole(next, seen);
    return seen;
  };
  const kib = (names) => names.reduce((sum, file) => sum + gzipSync(files.get(file).code, { level: 9 }).length / 1024, 0);
  const first = whole(output.find(({ isEntry }) => isEntry).fileName);
  const later = output.filter(({ isDynamicEntry }) => isDynamicEntry);
  return {
    first: kib([...first]),
    later: later.map(({ name: part, fileName }) => [part, kib([...whole(fileName)].filter((file) => !first.has(file)))]),
  };
}

const rooms = await sizes('connect');
const bare = await sizes('connect', ['@msgpack/msgpack']);
const feed = await sizes('watch');
console.log('rallypoint-client, KiB gzip:');
console.log(`  connect, rooms, moves  ${rooms.first.toFixed(1)} (aim: ${AIM_KIB}), of it MessagePack ${(rooms.first - bare.first).toFixed(1)}`);
for (const [part, kib] of rooms.later) console.log(`  ${part.padEnd(22)} ${kib.toFixed(1)}, loaded when it is needed`);
console.log(`  watch alone            ${feed.first.toFixed(1)}`);
