/**
 * What every page has around its own content: `<!-- frame:head -->`, `<!-- frame:header -->` and
 * `<!-- frame:footer -->` in an HTML file are replaced by it, and `<!-- svg:src/… -->` by a drawing, which so takes the
 * page's colours. All that stands in the files as they are served, so nothing moves when scripts begin.
 */

import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Plugin } from 'vite';

/** The pages as the navigation names them. */
const PAGES = [
  { file: 'call', label: 'Call' },
  { file: 'arena', label: 'Arena' },
  { file: 'watch', label: 'Watch' },
  { file: 'ticker', label: 'Ticker' },
  { file: 'status', label: 'Status' },
  { file: 'compare', label: 'Compare' },
  { file: 'selftest', label: 'Self-test' },
];

/** Arrows that meet in a point, as on the signs of meeting places. */
const MARK = `<svg class="mark" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8"/>
      <circle cx="16" cy="16" r="3"/>
      <path d="M6 6l5.5 5.5M7.2 11.5h4.3V7.2M26 6l-5.5 5.5M24.8 11.5h-4.3V7.2
        M6 26l5.5-5.5M7.2 20.5h4.3v4.3M26 26l-5.5-5.5M24.8 20.5h-4.3v4.3"/>
    </svg>`;

const head = `<meta charset="utf-8">
  <meta name="viewport"
    content="width=device-width, initial-scale=1, viewport-fit=cover, interactive-widget=resizes-content">
  <meta name="color-scheme" content="light dark">
  <script src="/theme.js"></script>
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="./src/shell/base.css">`;

function header(page: string, status: boolean): string {
  const links = PAGES.map(({ file, label }) => {
    const current = file === page ? ' aria-current="page"' : '';
    return `<a href="./${file}"${current}>${label}</a>`;
  });
  return `<a class="skip" href="#main">Skip to the content</a>
  <header class="top">
    <a class="brand" href="./"${page === 'index' ? ' aria-current="page"' : ''}>
    ${MARK}
    <span>rallypoint</span></a>
    ${status ? '<p id="status" class="status" role="status" data-state="idle">Not connected.</p>' : ''}
    <button id="menu" class="quiet icon" type="button" aria-expanded="false" aria-controls="pages" aria-label="Pages">
      <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true"><path d="M3 5.5h14M3 10h14M3 14.5h14"/></svg>
    </button>
    <nav id="pages" class="pages" aria-label="Pages">
      ${links.join('\n      ')}
    </nav>
    <button id="theme" class="quiet icon" type="button" aria-label="Dark colours" aria-pressed="false">
      <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
        <circle cx="10" cy="10" r="7"/><path class="half" d="M10 3a7 7 0 0 1 0 14z"/>
      </svg>
    </button>
  </header>
  <noscript><p class="box warn">These pages talk to the server by script and need JavaScript.</p></noscript>`;
}

const footer = (version: string) => `<footer class="foot">
    <p>rallypoint <b>${version}</b> · wire version 1 · MIT or Apache-2.0</p>
    <p><a href="./healthz">health</a> · <a href="./readyz">readiness</a> · <a href="./metrics">metrics</a></p>
  </footer>`;

/** The plugin. `version` is the server's. */
export function frame({ version }: { version: string }): Plugin {
  return {
    name: 'frame',
    transformIndexHtml: {
      order: 'pre',
      handler(html, { filename }) {
        const page = basename(filename, '.html');
        return html
          .replace('<!-- frame:head -->', head)
          .replace(/<!-- frame:header( status)? -->/, (_, status?: string) => header(page, status !== undefined))
          .replace('<!-- frame:footer -->', footer(version))
          .replace(/<!-- svg:(\S+) -->/g, (_, file: string) =>
            readFileSync(join(dirname(filename), file), 'utf8').trim(),
          );
      },
    },
  };
}
