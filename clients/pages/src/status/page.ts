/** The page of the server's state: its figures as they come, and one sentence on whether all is well. */

import '../shell/start.js';
import { reloadForToken, tokenOfAddress } from '../shell/address.js';
import { at, el, setText } from '../shell/el.js';
import { StatusPill, type PageState } from '../shell/status.js';
import { Card, isName, NAMES } from './cards.js';
import type { Figures, Name } from './figures.js';
import { calm, judge, RECENT } from './health.js';
import { StatusStream } from './stream.js';

/** After so long without figures the lines of the charts are broken, ms. */
const GAP_MS = 3_000;

reloadForToken();
const pill = new StatusPill(at('status'));
const stream = new StatusStream(tokenOfAddress());
const cards = new Map<Name, Card<Name>>(NAMES.map((name) => [name, new Card(name)]));
at('cards').replaceChildren(...[...cards.values()].map(({ element }) => element));

/** The last seconds, oldest first. */
const recent: Partial<Figures>[] = [];
/** When figures came last, and whether the charts know that none come. */
let heard = performance.now();
let isBroken = true;
let state: PageState = 'idle';

function hear<N extends Name>(name: N, of: Figures[N]): void {
  // Each second begins with the name that the last one has already.
  let second = recent.at(-1);
  if (!second || name in second) recent.push((second = {}));
  if (recent.length > RECENT) recent.shift();
  second[name] = of;
  cards.get(name)?.show(of);
}

function breakLines(): void {
  if (isBroken) return;
  isBroken = true;
  for (const card of cards.values()) card.gap();
}

stream.on('figure', ({ name, data }) => {
  heard = performance.now();
  isBroken = false;
  // The server's own words, by its own names.
  if (isName(name)) hear(name, data as Figures[typeof name]);
});
stream.on('gap', breakLines);
stream.on('status', (shown) => {
  ({ state } = shown);
  if (state === 'connecting') heard = performance.now();
  pill.show(shown);
  const isRefused = state === 'refused';
  at('refused').hidden = !isRefused;
  at('cards').hidden = at('health').hidden = at('spans').hidden = isRefused;
  if (isRefused) at('refused').replaceChildren(...help(shown.said ?? shown.reason, shown.code));
  draw();
});

/** What to do about a refusal. */
function help(reason: string, code: number | undefined): Node[] {
  const here = `${location.origin}${location.pathname}`;
  return [
    el('h2', {}, 'The server does not show you this'),
    el('p', {}, `It says: ${reason}${code === undefined ? '' : ` (${code})`}.`),
    el(
      'p', {},
      'Its figures are for those who run it: they need a token with the right ', el('code', {}, 'status'), ' in ',
      el('code', {}, 'admin'),
      '. Make one with the server’s key, and open this page with it behind the number sign:',
    ),
    el('pre', { tabIndex: 0 }, 'rallypoint token --user ops --admin --key …'),
    el('pre', { tabIndex: 0 }, `${here}#token=…`),
    el('p', { class: 'hint' }, 'Only a server that runs with ', el('code', {}, '--dev'), ' shows them to everybody.'),
  ];
}

/** How all is, in a word or two. */
function verdict(isPaused: boolean, found: number): string {
  if (isPaused) return 'Paused';
  if (found) return found > 1 ? `${found} things to look at` : 'Look at this';
  return recent.length ? 'All is well' : 'Asking…';
}

/** One sentence on the whole, and marks on the cards that it is about. */
function draw(): void {
  const health = at('health');
  const silent = performance.now() - heard;
  const isPaused = state === 'left';
  const findings = isPaused || !recent.length && silent < GAP_MS ? [] : judge(recent, silent);
  for (const [name, card] of cards) card.mark(findings.find(({ card: about }) => about === name)?.level);
  health.dataset['level'] = isPaused || !recent.length && !findings.length ? 'none' : (findings[0]?.level ?? 'good');
  setText(at('verdict'), verdict(isPaused, findings.length));
  const calmly = isPaused ? 'Nobody looks at this page, so it asks for nothing.' : calm(recent.at(-1) ?? {});
  const lines = findings.length ? findings.map(({ text }) => text) : [calmly];
  const list = at('findings');
  lines.forEach((text, n) => {
    const about = findings[n]?.card;
    const line = list.children[n] ?? list.appendChild(el('li'));
    if (line.textContent !== text) line.replaceChildren(about ? el('a', { href: `#card-${about}` }, text) : text);
  });
  while (list.childElementCount > lines.length) list.lastElementChild?.remove();
  if (!isPaused && silent > GAP_MS) {
    breakLines();
    for (const card of cards.values()) card.draw();
  }
}

setInterval(draw, 1_000);

function look(): void {
  if (document.visibilityState === 'visible') {
    if (state !== 'refused') stream.start();
  } else if (stream.isOn) {
    breakLines();
    stream.stop('Paused while nobody looks.');
  }
}
document.addEventListener('visibilitychange', look);
// A page that comes back out of the browser's memory has to ask anew.
addEventListener('pagehide', () => stream.isOn && stream.stop('Paused while nobody looks.'));
addEventListener('pageshow', look);
look();
