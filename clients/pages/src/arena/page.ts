/** The arena's page: the door, the ways it may be shut, and the game. */

import '../shell/start.js';
import type { Status } from 'rallypoint-client';
import { copy } from '../shell/copy.js';
import { at, el, setText, within } from '../shell/el.js';
import { shownOf, StatusPill } from '../shell/status.js';
import { toast } from '../shell/toast.js';
import { tokenHelp } from '../shell/token.js';
import { guestName, rememberedName, rememberName } from '../shell/who.js';
import { Match } from './match.js';
import { enter, NoSeat, NoSocket, type Session } from './session.js';
import { COLOURS, MOST_PLAYERS } from './ship.js';
import { colourOf } from './stage.js';

const COLOUR_NAMES = ['green', 'blue', 'orange', 'purple', 'red', 'olive', 'indigo', 'teal'];
const DEFAULT_ROOM = 'arena';
const DEMO_NAMES = ['Demo Dora', 'Demo Emil', 'Demo Fay', 'Demo Gus'];

const query = new URLSearchParams(location.search);
const form = at('enter', HTMLFormElement);
const nameField = at('name', HTMLInputElement);
const roomField = at('room', HTMLInputElement);
const slowSwitch = at('slow', HTMLInputElement);
const canvas = at('canvas', HTMLCanvasElement);
const demoButton = at('demo', HTMLButtonElement);
const pill = new StatusPill(at('status'));

let match: Match | undefined;
/** Ends the coming in that is under way, or the session. */
let visit = new AbortController();

/** Shows one of the page's parts. */
function show(part: 'door' | 'closed' | 'game'): void {
  for (const each of ['door', 'closed', 'game']) at(each).hidden = each !== part;
  document.body.classList.toggle('playing', part === 'game');
}

/** The address of a page for this room; what stands behind the number sign is nobody else's. */
function link(page: string, room: string): string {
  const url = new URL(`./${page}`, document.baseURI);
  url.search = '';
  url.hash = '';
  url.searchParams.set('room', room);
  return url.href;
}

const chosenColour = (): number => {
  const chosen = Number(new FormData(form).get('colour'));
  return Number.isInteger(chosen) && chosen >= 0 && chosen < COLOURS ? chosen : 0;
};

function busy(on: boolean): void {
  at('play', HTMLButtonElement).disabled = on;
  at('call-off').hidden = !on;
}

/** The door, with what went wrong. */
function refuse(text: string): void {
  show('door');
  const fault = at('fault');
  setText(fault, text);
  fault.hidden = !text;
  pill.show({ state: text ? 'refused' : 'idle', reason: text || 'Not connected.' });
}

/** The arena cannot be played in; it can be watched. */
function close(title: string, text: string): void {
  show('closed');
  setText(at('closed-title'), title);
  setText(at('closed-text'), text);
  pill.show({ state: 'left', reason: title });
  at('closed-title').focus();
}

function noSocket(): void {
  close(
    'Playing needs a WebSocket',
    'Something on the way lets none through, and a game cannot wait for the slower ways. Watching works over them.',
  );
}

/** Ends the game, if there is one: what its client tells from then on is no news. */
function end(): boolean {
  const ended = match;
  match = undefined;
  ended?.end();
  return ended !== undefined;
}

function told(status: Status): void {
  if (status.state !== 'closed') pill.show(shownOf(status));
  else if (end()) refuse(`The game has ended: ${status.reason}`);
  if (match?.session.client.missing.length && end()) noSocket();
}

async function play(): Promise<void> {
  const room = roomField.value.trim();
  const name = nameField.value.trim();
  if (!room || !name || match) return;
  rememberName(name);
  visit.abort();
  visit = new AbortController();
  const { signal } = visit;
  at('fault').hidden = true;
  at('help').hidden = true;
  for (const each of ['watch-closed', 'watch-game']) at(each, HTMLAnchorElement).href = link('watch', room);
  history.replaceState(null, '', `${link('arena', room).replace(/^[^?]*/, location.pathname)}${location.hash}`);
  busy(true);
  try {
    const session = await enter({
      room,
      name,
      colour: chosenColour(),
      signal,
      status: told,
      noTokens: () => {
        at('help').replaceChildren(tokenHelp({ room, role: 'host' }));
        at('help').hidden = false;
      },
    });
    begin(session);
  } catch (fault) {
    if (signal.aborted) refuse('');
    else if (fault instanceof NoSeat) {
      close(
        'The arena is full',
        `${MOST_PLAYERS} play in “${room}” already. You can watch them, or wait until somebody leaves.`,
      );
    } else if (fault instanceof NoSocket) noSocket();
    else refuse(fault instanceof Error ? fault.message : String(fault));
  } finally {
    busy(false);
  }
}

function begin(session: Session): void {
  const { room, client } = session;
  show('game');
  setText(at('room-name'), room.name);
  match = new Match(session, { bot: query.get('bot') === '1' });
  // For tests, and for a look from the browser's console.
  Object.assign(window, { rallypoint: { client, room, game: match } });
  room.on('left', ({ message }) => {
    if (end()) refuse(message || 'You are out of the room.');
  });
  applyLane();
  slowSwitch.checked = false;
  demos();
  scrollTo(0, 0);
  focusField();
}

/** Lets the keys steer; where there are none the field needs no focus. */
function focusField(): void {
  if (matchMedia('(any-pointer: fine)').matches) canvas.focus({ preventScroll: true });
}

function leave(): void {
  end();
  refuse('');
  pill.show({ state: 'left', reason: 'You have left.' });
  at('play').focus();
}

/** How the players of this tab send their places. */
function applyLane(): void {
  const chosen = within(document, 'input[name=lane]:checked', HTMLInputElement).value;
  for (const { player } of match?.sessions ?? []) player.lane = chosen === 'reliable' ? 'reliable' : 'latest';
}

/** What can be done about demo players. */
function demos(): void {
  const count = match?.demos.size ?? 0;
  demoButton.disabled = count >= DEMO_NAMES.length;
  at('undemo').hidden = !count;
}

async function addDemo(): Promise<void> {
  const now = match;
  if (!now) return;
  demoButton.disabled = true;
  const user = `demo-${crypto.randomUUID()}`;
  const { player, room } = now.session;
  // The next colour, or the next free one after it.
  const colour = (player.ship.colour + 1) % COLOURS;
  const name = DEMO_NAMES.find((each) => ![...room.members.values()].some(({ label }) => label === each)) ?? 'Demo';
  let demo: Session | undefined;
  // One whose client is closed by the server plays no more.
  const status = ({ state }: Status) => {
    if (state === 'closed' && demo) removeDemo(demo);
  };
  try {
    demo = await enter({ room: room.name, name, colour, user, status, signal: visit.signal });
    demo.room.on('left', () => removeDemo(demo));
    // We may have left while it came.
    if (match === now) now.add(demo);
    else demo.end();
  } catch (fault) {
    if (!visit.signal.aborted)
      toast(
        fault instanceof NoSeat
          ? 'The arena is full.'
          : `No demo player: ${fault instanceof Error ? fault.message : fault}`,
      );
  }
  demos();
}

/** Ends a demo player; of one that has ended nothing is left to do. */
function removeDemo(demo: Session | undefined): void {
  if (demo && match?.demos.has(demo)) match.remove(demo);
  demos();
}

const first = Math.floor(Math.random() * COLOURS);
for (const [colour, name] of COLOUR_NAMES.entries()) {
  const dot = el('i', { attrs: { 'aria-hidden': 'true' } });
  dot.style.background = colourOf(colour);
  const input = el('input', {
    type: 'radio',
    name: 'colour',
    value: `${colour}`,
    checked: colour === first,
    ariaLabel: name,
  });
  at('colours').append(el('label', { title: name }, input, dot));
}
nameField.value = rememberedName() || guestName();
roomField.value = query.get('room') || DEFAULT_ROOM;
const showWatch = () =>
  (at('watch-door', HTMLAnchorElement).href = link('watch', roomField.value.trim() || DEFAULT_ROOM));
roomField.addEventListener('input', showWatch);
showWatch();

form.addEventListener('submit', (event) => {
  event.preventDefault();
  void play();
});
at('call-off').addEventListener('click', () => visit.abort());
at('again').addEventListener('click', () => void play());
at('back').addEventListener('click', () => {
  refuse('');
  roomField.select();
});
at('leave').addEventListener('click', leave);
at('copy').addEventListener('click', () => void copy(link('arena', roomField.value.trim()), at('copy')));
demoButton.addEventListener('click', () => void addDemo());
at('undemo').addEventListener('click', () => removeDemo([...(match?.demos.keys() ?? [])].at(-1)));
slowSwitch.addEventListener('change', () => match?.session.player.setSlow(slowSwitch.checked));
for (const radio of document.querySelectorAll('input[name=lane]')) radio.addEventListener('change', applyLane);
// Whoever clicks goes on to fly with the keys; whoever tabs stays where the focus is.
at('game').addEventListener('click', ({ target, detail }) => {
  if (detail > 0 && target instanceof Element && target.closest('button, label, canvas') && match) focusField();
});

if (query.get('bot') === '1') void play();
else at('play').focus({ preventScroll: true });
