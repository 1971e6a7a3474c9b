/** The page of the comparison: the same events over four ways, measured in this browser. */

import '../shell/start.js';
import { tokenOfAddress } from '../shell/address.js';
import { at, el, setText } from '../shell/el.js';
import { StatusPill } from '../shell/status.js';
import { askForToken, NoTokens, tokenHelp } from '../shell/token.js';
import { guestUser } from '../shell/who.js';
import { Column } from './column.js';
import { bytes, conclusion, ms, NAMES, perEvent, type Result, WAYS } from './results.js';
import { Run } from './run.js';

const DRAW_MS = 250;

const pill = new StatusPill(at('status'));
const columns = new Map(WAYS.map((way) => [way, new Column(way)]));
const [rate, seconds] = [at('rate', HTMLInputElement), at('seconds', HTMLInputElement)];
const button = at('go', HTMLButtonElement);
at('columns').replaceChildren(...[...columns.values()].map(({ element }) => element));

let run: Run | undefined;

/** What the sliders say. */
function chosen(): void {
  const [perSecond, length] = [rate.valueAsNumber, seconds.valueAsNumber];
  setText(at('rate-value'), `${perSecond} a second`);
  setText(at('seconds-value'), `${length} s`);
  setText(at('plan'), `${perSecond * length} events, to each of the four.`);
}

async function start(): Promise<void> {
  const now = new Run(rate.valueAsNumber, seconds.valueAsNumber, (way, delay) => columns.get(way)?.hear(delay));
  run = now;
  for (const column of columns.values()) column.clear();
  at('results').hidden = at('fault').hidden = at('help').hidden = true;
  rate.disabled = seconds.disabled = true;
  button.classList.remove('main');
  setText(button, 'Stop');
  pill.show({ state: 'connecting', reason: 'Four clients get ready…' });
  const timer = setInterval(() => draw(now), DRAW_MS);
  try {
    await now.go(tokenOfAddress() ?? (await ask(now.room)));
    pill.show({ state: 'idle', reason: 'Done.' });
    tell(now);
  } catch (error) {
    now.close();
    const reason = error instanceof Error ? error.message : `${error}`;
    pill.show({ state: 'refused', reason });
    setText(at('fault'), reason);
    at('fault').hidden = !at('help').hidden;
  } finally {
    clearInterval(timer);
    draw(now);
    run = undefined;
    rate.disabled = seconds.disabled = button.disabled = false;
    button.classList.add('main');
    setText(button, 'Start');
  }
}

async function ask(room: string): Promise<string> {
  try {
    return await askForToken({ user: `${guestUser()}-compares`, rooms: [{ r: room, role: 'host' }] });
  } catch (error) {
    if (error instanceof NoTokens) {
      // A token from the address has to be for the rooms of all comparisons.
      at('help').replaceChildren(tokenHelp({ room: '\'compare/*\'', role: 'host' }));
      at('help').hidden = false;
    }
    throw error;
  }
}

function draw(now: Run): void {
  const { stage, conditions: { sent }, planned } = now;
  const { begun } = now;
  const isOver = stage === 'done';
  for (const result of now.results) {
    const column = columns.get(result.way);
    column?.show(result, sent);
    const moment = performance.now();
    if (begun) column?.between(begun, isOver ? moment : Math.max(moment, begun + now.seconds * 1000));
  }
  const progress = at('progress', HTMLProgressElement);
  progress.max = planned;
  progress.value = sent;
  if (stage === 'publishing') pill.show({ state: 'connected', reason: 'Publishing…', aside: `${sent} of ${planned}` });
  if (stage === 'waiting for the last ones') pill.show({ state: 'connected', reason: 'Waiting for the last ones…' });
  const words = `${stage.charAt(0).toUpperCase()}${stage.slice(1)}…`;
  setText(at('stage'), stage === 'done' ? `${sent} of ${planned} published.` : words);
}

/** The figures as a table, and what they say. */
function tell(now: Run): void {
  const { results, conditions } = now;
  at('conclusion').replaceChildren(...conclusion(results, conditions).map((text) => el('li', {}, text)));
  at('rows').replaceChildren(...results.map((result) => row(result, conditions.sent)));
  at('results').hidden = false;
  at('results').focus({ preventScroll: true });
  at('results').scrollIntoView({ block: 'nearest' });
}

function row(result: Result, sent: number): HTMLTableRowElement {
  const { way, received, requests, inward, outward, delays, fault } = result;
  const cells = fault === undefined
    ? [
        `${received} of ${sent}`, `${requests}`, bytes(inward), bytes(outward), bytes(perEvent(result)),
        ...(delays ? [delays.min, delays.average, delays.p95, delays.max].map(ms) : ['–', '–', '–', '–']),
      ]
    : Array.from({ length: 9 }, () => '–');
  return el(
    'tr', { data: { way } },
    el('th', { scope: 'row' }, NAMES[way]), ...cells.map((text) => el('td', { class: 'number' }, text)),
  );
}

for (const slider of [rate, seconds]) slider.addEventListener('input', chosen);
at('form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  if (!run) return void start();
  button.disabled = true;
  run.halt();
});
addEventListener('pagehide', () => run?.close());
chosen();
