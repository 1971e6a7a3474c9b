/** The page of a spectator: a room over a feed, a line that can be cut, and the proof that nothing was lost. */

import '../shell/start.js';
import { type Feed, type FeedEvent, type FeedState, watch, type WatchOptions } from 'rallypoint-client';
import { Stage } from '../arena/stage.js';
import { type Asking, type Stand, standing, standOf } from '../arena/standing.js';
import { reloadForToken, server } from '../shell/address.js';
import { at, el, setText } from '../shell/el.js';
import { parts } from '../shell/position.js';
import { reasonOf, shownOf, StatusPill, WAYS } from '../shell/status.js';
import { keeping, tokenHelp, tokenSource } from '../shell/token.js';
import { bytes } from '../status/units.js';
import { Cuts } from './cuts.js';
import { Fleet } from './fleet.js';
import { Line } from './line.js';
import { Names } from './names.js';
import { clock, words } from './show.js';
import { Tally } from './tally.js';

const CUT_MS = 3_000;
const MOST_LINES = 300;
const FIGURES_EVERY = 250;
const STAND_EVERY = 10_000;
const DEFAULT_ROOM = 'arena';

const query = new URLSearchParams(location.search);
const form = at('follow', HTMLFormElement);
const roomField = at('room', HTMLInputElement);
const transportField = at('transport', HTMLSelectElement);
const stateField = at('state', HTMLSelectElement);
const historyField = at('history', HTMLInputElement);
const events = at('events');
const pill = new StatusPill(at('status'));

const LINE = {
  idle: 'Not watching.',
  connecting: 'Connecting…',
  whole: 'The line is whole.',
  cut: 'Cut. Nothing gets through.',
  mending: 'Whole again; the feed comes back…',
};

/** Tells how the line is; it can be cut when it is whole. */
function showLine(state: keyof typeof LINE): void {
  const element = at('line-state');
  element.dataset['state'] = state;
  setText(element, LINE[state]);
  at('cut', HTMLButtonElement).disabled = state !== 'whole';
}

/** What is being watched. */
class View {
  readonly line = new Line();
  readonly tally = new Tally();
  readonly cuts = new Cuts(at('cuts'), this.tally);
  readonly fleet: Fleet;
  readonly feed: Feed;
  readonly #names: Names;
  readonly #asking: Asking;
  readonly #stage: Stage;
  readonly #end = new AbortController();
  #count = 0;
  #spectators = 0;
  /** Up to this number of the log, the counts have everything in them. */
  #countedTo = 0;
  #last = performance.now();
  #due = 0;
  #standDue = 0;
  #frame = 0;
  #isOver = false;

  constructor(
    readonly room: string,
    options: { transports?: WatchOptions['transports']; state: number; history: boolean },
  ) {
    const { signal } = this.#end;
    const wish = { rooms: [{ r: room, role: 'spectator' as const, do: ['watch', 'history', 'presence'] }] };
    const noTokens = () => {
      at('help').replaceChildren(tokenHelp({ room, role: 'spectator' }));
      at('help').hidden = false;
    };
    const { source, token } = keeping(tokenSource(wish, { noTokens }));
    this.#asking = { token, ask: this.line.fetch };
    this.fleet = new Fleet(options.state);
    this.feed = watch({
      url: server,
      rooms: [room],
      signal,
      fetch: this.line.fetch,
      token: source,
      ...(options.transports ? { transports: options.transports } : {}),
      ...(options.state ? { state: options.state } : {}),
      ...(options.history ? { after: '0' } : {}),
    });
    this.#names = new Names(this.feed, room, this.#asking);
    this.#stage = new Stage(at('canvas', HTMLCanvasElement), signal);
    this.feed.on('status', (status) => {
      pill.show(shownOf(status, this.#isOver));
      if (status.state === 'closed' && !this.#isOver) stop(reasonOf(status));
    });
    let isFirst = true;
    this.feed.on('connected', (said) => {
      const found = said.rooms.find((each) => each.room === room);
      // A stream says where it begins; with the log before it, the first event tells it.
      if (found && isFirst && said.transport === 'events' && !options.history) this.tally.start(room, found.position);
      isFirst = false;
      this.cuts.back();
      // A stream keeps its room, so that it can be asked for. Between two polls a room where nobody is does not exist;
      // the feed has just asked for it, though.
      if (said.transport === 'events') void this.#stand();
      else this.#take(found && standOf(found.position, found.count, found.spectators));
    });
    this.feed.on('event', (event) => this.#hear(event));
    this.feed.on('state', (state) => this.#place(state));
    this.feed.on('reset', ({ room: name, position, reason, count, spectators }) => {
      this.tally.reset(name, position);
      if (name !== room) return;
      [this.#count, this.#spectators] = [count, spectators];
      this.fleet.clear();
      this.#write('reset', '', `The server no longer has what was missed (${reason}).`, Date.now());
    });
    events.replaceChildren();
    at('quiet').hidden = false;
    this.#frame = requestAnimationFrame((now) => this.#run(now));
  }

  cut(): void {
    this.cuts.cut(this.feed.cursor);
    // As a browser says it when the network is back: the feed need not sit out its wait.
    this.line.cut(CUT_MS, () => dispatchEvent(new Event('online')));
  }

  close(): void {
    this.#isOver = true;
    cancelAnimationFrame(this.#frame);
    this.line.close();
    this.#end.abort();
  }

  /** Asks how far the log has come: what is up to there and not here yet is caught up now. */
  async #stand(): Promise<void> {
    this.#standDue = performance.now() + STAND_EVERY;
    this.#take(await standing(this.room, this.#asking));
  }

  /** Takes over how the room stands, if that is known. */
  #take(stand: Stand | undefined): void {
    this.#standDue = performance.now() + STAND_EVERY;
    if (!stand) return;
    const { seq, members, spectators } = stand;
    [this.#countedTo, this.#count, this.#spectators] = [seq, members, spectators];
    this.cuts.reach(new Map([[this.room, seq]]));
    this.cuts.check(this.feed.cursor);
  }

  #hear(event: FeedEvent): void {
    const follows = this.tally.event(event.room, event.position);
    const { kind, data } = event;
    // Strangers write the data of other kinds, and null may be anywhere.
    const peer = (data as { peer?: { peer?: string } } | null)?.peer?.peer;
    const seq = parts(event.position)?.seq ?? 0;
    const isNews = seq > this.#countedTo;
    if (kind === 'peer-joined' && peer) {
      if (isNews) this.#count += 1;
      this.fleet.came(peer);
    }
    if (kind === 'peer-left' && peer) {
      if (isNews) this.#count -= 1;
      this.fleet.left(peer);
    }
    if (kind === 'node-down') {
      const { count, spectators, left } = data as { count: number; spectators: number; left: { peer: string }[] };
      if (isNews) [this.#count, this.#spectators] = [count, spectators];
      for (const gone of left) this.fleet.left(gone.peer);
    }
    const told = words(event);
    this.#write(told.kind, told.who, told.what, event.time, { seq: `${seq}`, follows });
    // The feed moves its cursor when all who listen have heard.
    queueMicrotask(() => this.cuts.check(this.feed.cursor));
  }

  #place(state: FeedState): void {
    if (state.room === this.room) this.fleet.hear(state, Date.now());
  }

  #write(kind: string, who: string, what: string, time: number, data: { seq?: string; follows?: string } = {}): void {
    const isAtEnd = events.scrollTop < 8;
    events.prepend(
      el(
        'li',
        { data: { kind, ...data } },
        el('time', {}, clock.format(time)),
        el('span', { class: 'seq' }, data.seq ? `#${data.seq}` : ''),
        el('b', {}, kind),
        el('span', {}, who && el('i', {}, who), who ? ' ' : '', what),
      ),
    );
    while (events.childElementCount > MOST_LINES) events.lastElementChild?.remove();
    if (isAtEnd) events.scrollTop = 0;
    at('quiet').hidden = true;
  }

  #run(now: number): void {
    this.#frame = requestAnimationFrame((next) => this.#run(next));
    const passed = Math.min(250, Math.max(0, now - this.#last));
    this.#last = now;
    const has = this.fleet.tracks.size > 0;
    if (at('arena').hidden === has) {
      at('arena').hidden = !has;
      at('no-arena').hidden = has;
    }
    if (has)
      this.#stage.draw(
        this.fleet.scene(Date.now(), passed, (peer) => this.#names.of(peer)),
        passed / 1000,
      );
    if (now < this.#due) return;
    this.#due = now + FIGURES_EVERY;
    // Spectators come and go without an event.
    if (now > this.#standDue && this.feed.status.state === 'connected') void this.#stand();
    this.#figures();
  }

  #figures(): void {
    const { line, tally, feed } = this;
    const ago = (time: number) => (time ? `${((Date.now() - time) / 1000).toFixed(1)} s ago` : '–');
    const texts = {
      seen: tally.seen,
      gaps: tally.missing,
      repeats: tally.repeats,
      resets: tally.resets,
      requests: line.requests,
      bytes: bytes(line.bytes),
      way: WAYS[feed.status.transport],
      beat: feed.status.transport === 'poll' ? 'none in a poll' : ago(line.beat),
      heard: ago(line.heard),
      cursor: feed.cursor ?? '–',
      crowd: `${this.#count} in the room, ${this.#spectators === 1 ? '1 watches' : `${this.#spectators} watch`}`,
    };
    for (const [id, text] of Object.entries(texts)) setText(at(id), `${text}`);
    at('gaps').classList.toggle('bad', tally.missing > 0);
    at('repeats').classList.toggle('bad', tally.repeats > 0);
    const isHere = feed.status.state === 'connected';
    showLine(line.whole ? (isHere ? 'whole' : line.cuts ? 'mending' : 'connecting') : 'cut');
  }
}

let view: View | undefined;

function begin(): void {
  const room = roomField.value.trim();
  if (!room) return;
  view?.close();
  at('fault').hidden = true;
  at('help').hidden = true;
  const over = transportField.value;
  const state = Number(stateField.value);
  view = new View(room, {
    state,
    history: historyField.checked,
    ...(over === 'events' || over === 'poll' ? { transports: [over] } : {}),
  });
  Object.assign(window, { rallypoint: view });
  at('view').hidden = false;
  at('before').hidden = true;
  at('about').hidden = true;
  at('stop').hidden = false;
  setText(at('start'), 'Watch anew');
  const page = new URL('./watch', document.baseURI);
  page.search = new URLSearchParams({
    room,
    transport: over,
    state: `${state}`,
    history: historyField.checked ? '1' : '0',
  }).toString();
  history.replaceState(null, '', `${location.pathname}${page.search}${location.hash}`);
  const play = at('play', HTMLAnchorElement);
  play.href = `./arena?${new URLSearchParams({ room })}`;
}

/** Ends watching; with a reason it was refused. */
function stop(reason = ''): void {
  // Where nothing was ever seen there is nothing to leave on the screen.
  at('view').hidden = reason !== '' && !view?.tally.seen;
  at('before').hidden = !at('view').hidden;
  view?.close();
  view = undefined;
  showLine('idle');
  at('stop').hidden = true;
  setText(at('start'), 'Watch');
  const fault = at('fault');
  setText(fault, reason);
  fault.hidden = !reason;
  pill.show(reason ? { state: 'refused', reason } : { state: 'left', reason: 'You no longer watch.' });
}

/** Takes a choice out of the address, if it is one of the list's. */
function preset(field: HTMLSelectElement, wanted: string | null): void {
  if ([...field.options].some(({ value }) => value === wanted) && wanted !== null) field.value = wanted;
}

reloadForToken();
roomField.value = query.get('room') || DEFAULT_ROOM;
preset(transportField, query.get('transport'));
preset(stateField, query.get('state'));
historyField.checked = query.get('history') !== '0';
form.addEventListener('submit', (event) => {
  event.preventDefault();
  begin();
});
at('stop').addEventListener('click', () => stop());
at('cut').addEventListener('click', () => view?.cut());
if (query.get('room')) begin();
