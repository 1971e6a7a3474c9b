/** Prints what the package costs a page: all of it, and its parts alone, minified and gzipped, dependencies included. */

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const AIM_KIB = 16;
const parts = {
  'everything': 'export * from "./src/index.js"',
  'watch alone': 'export { watch } from "./src/index.js"',
};

for (const [name, contents] of Object.entries(parts)) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: new URL('..', import.meta.url).pathname, loader: 'ts' },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    logLevel: 'error',
  });
  const kib = gzipSync(outputFiles[0].contents, { level: 9 }).length / 1024;
  const aim = name === 'everything' ? ` (aim: ${AIM_KIB} KiB)` : '';
  console.log(`rallypoint-client, ${name}: ${kib.toFixed(1)} KiB gzip${aim}`);
}
