/**
 * The end of a build: a gzip twin beside each text file, for the server to hand out as it is, and what each page costs
 * at its first load. The build fails when that is too much.
 */

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Plugin } from 'vite';

const MOST_KIB = 150;
const TEXT = /\.(html|js|css|svg|json|txt)$/;
/** What a page asks for by itself: scripts, stylesheets and what is preloaded. */
const ASKED = /(?:src|href)="(?:\.\/)?([^"#?]+\.(?:js|css))"/g;

/** The plugin. */
export function finish(): Plugin {
  let out = 'dist';
  return {
    name: 'finish',
    apply: 'build',
    configResolved: ({ root, build }) => void (out = join(root, build.outDir)),
    writeBundle: {
      order: 'post',
      sequential: true,
      async handler() {
        const files = await readdir(out, { recursive: true });
        const packed = new Map<string, number>();
        for (const file of files.filter((each) => TEXT.test(each))) {
          const twin = gzipSync(await readFile(join(out, file)), { level: 9 });
          await writeFile(join(out, `${file}.gz`), twin);
          packed.set(file, twin.length);
        }
        for (const page of files.filter((each) => each.endsWith('.html')).sort()) {
          const html = await readFile(join(out, page), 'utf8');
          const asked = new Set([page, ...[...html.matchAll(ASKED)].map(([, file]) => file ?? '')]);
          let bytes = 0;
          for (const file of asked) {
            const size = packed.get(file);
            if (size === undefined) throw new Error(`${page} asks for ${file}, which is not there`);
            bytes += size;
          }
          const kib = bytes / 1024;
          console.log(`${page}: ${kib.toFixed(1)} KiB gzip at first load`);
          if (kib > MOST_KIB) throw new Error(`${page} is above ${MOST_KIB} KiB`);
        }
      },
    },
  };
}
