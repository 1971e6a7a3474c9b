/** The page of the ticker: a board fed by Server-Sent Events, a market that one of the tabs runs, and alerts. */

import '../shell/start.js';
import { reloadForToken, tokenOfAddress } from '../shell/address.js';
import { at, el, setText } from '../shell/el.js';
import { shownOf, StatusPill } from '../shell/status.js';
import { toast } from '../shell/toast.js';
import { claimsOf, tokenHelp, tokenSource } from '../shell/token.js';
import { guestName } from '../shell/who.js';
import { Desk } from './desk.js';
import { Floor, ROOM } from './floor.js';
import { trader } from './kept.js';
import { Line } from './line.js';
import { KIND, read } from './prices.js';
import { Table } from './table.js';

/** What is older than this, ms, was replayed. */
const LIVE_MS = 3_000;
/** How long the feed has for what the room's log still holds, before a market of our own may begin, ms. */
const LEARN_MS = 1_000;
/** How long prices may stay away until it is said, ms. */
const STILL_MS = 3_000;

reloadForToken();
const given = tokenOfAddress();
const name = given ? undefined : guestName();
const wish = { user: trader(), ...(name ? { name } : {}), rooms: [{ r: ROOM, role: 'host' as const }] };
const token = tokenSource(wish, {
  noTokens: () => {
    at('help').replaceChildren(tokenHelp({ room: ROOM, role: 'host', more: ' --notify \'*\'' }));
    at('help').hidden = false;
    at('ticker').hidden = true;
  },
});

const pill = new StatusPill(at('status'));
const floor = new Floor(token);
const table = new Table(at('board', HTMLTableElement), (symbol) => desk.choose(symbol));
const desk = new Desk((symbol) => table.priceOf(symbol), (alerts) => floor.wait(alerts));
const line = new Line(ROOM, token);

/** When the last prices came, by this page's clock and in words. */
let last: { at: number; words: string } | undefined;
let isCut = false;
let wasOurs: boolean | undefined;

line.on('status', ({ status, isCut: cut }) => {
  isCut = cut;
  pill.show(cut ? { state: 'left', reason: 'You have cut the line.' } : shownOf(status));
});
line.on('connected', () => void setTimeout(() => floor.begin(), LEARN_MS));
line.on('gap', () => table.gap());
line.on('event', (event) => {
  if (event.kind === 'notification') return desk.hear(event, floor.now);
  const prices = event.room === ROOM && event.kind === KIND ? read(event.data) : undefined;
  if (!prices) return;
  const age = Math.max(0, floor.now - event.time);
  table.show(prices.quotes, performance.now() - age, age < LIVE_MS);
  if (prices.whole) table.sort();
  floor.learn(prices);
  last = { at: performance.now() - age, words: new Date(event.time).toLocaleTimeString() };
  at('board').dataset['tick'] = `${prices.tick}`;
});

/** Says who runs the market, and when nobody does. */
function draw(): void {
  const { runner, fault, state, count } = floor;
  at('market').dataset['runner'] = runner ? (runner.isUs ? 'us' : 'other') : 'nobody';
  const nobody = state === 'connected' && !fault ? 'Nobody yet' : '–';
  setText(at('runner'), runner ? (runner.isUs ? 'This tab' : runner.label) : nobody);
  setText(at('runner-note'), note(runner?.isUs));
  setText(at('tabs'), count ? `${count}` : '–');
  if (runner?.isUs && wasOurs === false) toast('The market is run by this tab now.');
  if (runner) wasOurs = runner.isUs;
  at('still').hidden = !last || isCut || performance.now() - last.at < STILL_MS;
  if (last) {
    const next = floor.isOut
      ? 'Nobody runs the market just now.'
      : 'The next tab takes the market over in a moment.';
    setText(at('still'), `The prices stand still since ${last.words}. ${next}`);
  }
  desk.close(floor.isOut ? `Alerts can only be set by a tab that takes part. ${fault ?? ''}` : undefined);
  at('no-prices').hidden = last !== undefined;
}

function note(isUs: boolean | undefined): string {
  if (floor.isMute && isUs) {
    return 'It makes up the prices, four times a second; its token may notify nobody, so alerts wait for another tab.';
  }
  if (isUs) {
    return 'It makes up the prices and writes them into the room, four times a second, and tells whose alert has ' +
      'come true. Close it, and the next tab goes on.';
  }
  if (floor.fault) return floor.fault;
  if (isUs === false) {
    return 'That tab makes up the prices, and tells whose alert has come true. When it goes, the next one goes on.';
  }
  return floor.state === 'connected'
    ? 'Of the tabs that are open the first one runs the market.'
    : 'On the way into the room…';
}

floor.on('changed', draw);
setInterval(draw, 500);

const me = given ? claimsOf(given)['name'] ?? claimsOf(given)['sub'] : name;
at('me').replaceChildren('This tab is ', el('b', {}, typeof me === 'string' ? me : 'a guest'), '.');

// Who says goodbye hands the market over at once.
addEventListener('pagehide', () => {
  line.close();
  floor.close();
});
addEventListener('pageshow', ({ persisted }) => {
  if (persisted) location.reload();
});
