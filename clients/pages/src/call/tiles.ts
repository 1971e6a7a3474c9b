/**
 * The tiles: one picture with a name per person, as large as all of them fit; or one of them large and the others in a
 * strip, when somebody shows a screen or the person at this one enlarges a tile.
 */

import { setText, within, at } from '../shell/el.js';
import { fit, spotlight } from './grid.js';

/** What a tile shows. */
export interface Picture {
  name: string;
  stream: MediaStream;
  own?: boolean;
  muted: boolean;
  cameraOff: boolean;
  sharing: boolean;
  /** How the pair stands. */
  connection: string;
  /** Why there is no picture, in words. */
  why: string;
  /** Round trip, ms. */
  rtt?: number | undefined;
  /** Bitrates and the like. */
  rates: string;
}

/** The tiles of a call, by peer. */
export class Tiles {
  readonly #list = at('tiles');
  readonly #template = at('tile', HTMLTemplateElement);
  readonly #tiles = new Map<string, HTMLElement>();
  readonly #blocked: () => void;
  /** Peers that show their screen, the latest last. */
  readonly #screens = new Set<string>();
  /** Which tile the person has enlarged, and which screens have been made small again. */
  #chosen: string | undefined;
  readonly #small = new Set<string>();

  /** `blocked`: the browser plays no sound before a click. */
  constructor(blocked: () => void) {
    this.#blocked = blocked;
    new ResizeObserver(() => this.#arrange()).observe(this.#list);
  }

  /** Makes the tile of a peer, or brings it up to date. */
  show(peer: string, picture: Picture): void {
    const { name, stream, own = false, muted, cameraOff, sharing, connection, why, rtt, rates } = picture;
    const tile = this.#tiles.get(peer) ?? this.#add(peer, own);
    const set = (selector: string, text: string) => setText(within(tile, selector), text);
    set('.name', own ? `${name} (you)` : name);
    set('.initial', ([...name][0] ?? '').toUpperCase());
    const flags = [muted && 'muted', cameraOff && 'camera off', sharing && 'sharing the screen'];
    set('.flags', flags.filter(Boolean).join(', '));
    set('.rtt', rtt === undefined ? '' : `${Math.round(rtt)} ms`);
    set('.rates', rates);
    set('.why', why);
    tile.dataset['connection'] = connection;
    tile.classList.toggle('screen', sharing);
    // Our own screen we have before us anyway.
    this.#screen(peer, sharing && !own);
    tile.dataset['name'] = own ? 'yourself' : name;
    this.#words(peer, tile);
    const video = within(tile, 'video', HTMLVideoElement);
    const what = sharing ? 'screen' : 'camera';
    video.ariaLabel = own ? `Your ${what}` : `${what === 'screen' ? 'Screen' : 'Camera'} of ${name}`;
    // Without a picture the initial shows; the element stays, as it also carries the sound.
    tile.classList.toggle('dark', cameraOff || !stream.getVideoTracks().length);
    if (!stream.getTracks().length) return;
    if (video.srcObject !== stream) video.srcObject = stream;
    if (video.paused) void video.play().catch((error: Error) => error.name === 'NotAllowedError' && this.#blocked());
  }

  /** Who speaks just now. */
  speaking(peer: string, on: boolean): void {
    this.#tiles.get(peer)?.classList.toggle('speaking', on);
  }

  remove(peer: string): void {
    const tile = this.#tiles.get(peer);
    if (!tile) return;
    this.#tiles.delete(peer);
    this.#screens.delete(peer);
    this.#small.delete(peer);
    if (this.#chosen === peer) this.#chosen = undefined;
    // A video that is taken out of the page would go on playing its sound.
    within(tile, 'video', HTMLVideoElement).srcObject = null;
    tile.remove();
    this.#arrange();
  }

  /** The tile that is large now. */
  get #large(): string | undefined {
    return this.#chosen ?? [...this.#screens].filter((peer) => !this.#small.has(peer)).at(-1);
  }

  /** Makes a tile large, or all of them alike again. */
  #enlarge(peer: string): void {
    const isLarge = this.#large === peer;
    this.#chosen = isLarge ? undefined : peer;
    if (isLarge) for (const each of this.#screens) this.#small.add(each);
    this.#arrange();
  }

  #screen(peer: string, shown: boolean): void {
    if (this.#screens.has(peer) === shown) return;
    this.#small.delete(peer);
    if (shown) this.#screens.add(peer);
    else this.#screens.delete(peer);
    // A screen that begins is what everybody is to look at now.
    if (shown || this.#chosen === peer) this.#chosen = undefined;
    this.#arrange();
  }

  #words(peer: string, tile: HTMLElement): void {
    const isLarge = this.#large === peer;
    const button = within(tile, 'button');
    setText(within(button, 'span'), isLarge ? 'Back' : 'Enlarge');
    button.ariaLabel = isLarge ? 'Back: show all alike' : `Enlarge ${tile.dataset['name'] ?? ''}`;
    button.title = isLarge ? 'Back' : 'Enlarge';
  }

  clear(): void {
    for (const peer of [...this.#tiles.keys()]) this.remove(peer);
  }

  /** After a click the browser allows sound. */
  play(): void {
    for (const tile of this.#tiles.values()) void within(tile, 'video', HTMLVideoElement).play().catch(() => {});
  }

  #add(peer: string, own: boolean): HTMLElement {
    const tile = this.#template.content.firstElementChild?.cloneNode(true);
    if (!(tile instanceof HTMLElement)) throw new Error('the template of a tile is empty');
    tile.dataset['peer'] = peer;
    tile.classList.toggle('own', own);
    within(tile, 'video', HTMLVideoElement).muted = own;
    within(tile, 'button').addEventListener('click', () => this.#enlarge(peer));
    tile.addEventListener('dblclick', ({ target }) => {
      if (target instanceof Element && !target.closest('button') && this.#tiles.size > 1) this.#enlarge(peer);
    });
    tile.addEventListener('keydown', ({ key }) => key === 'Escape' && this.#large === peer && this.#enlarge(peer));
    if (own) this.#list.prepend(tile);
    else this.#list.append(tile);
    this.#tiles.set(peer, tile);
    this.#arrange();
    return tile;
  }

  #arrange(): void {
    const { clientWidth: width, clientHeight: height } = this.#list;
    const gap = parseFloat(getComputedStyle(this.#list).rowGap) || 0;
    // On a telephone held upright, pictures are as wide as they are tall.
    const shape = width < 500 && width < height ? 4 / 3 : 16 / 9;
    const set = (name: string, value: number, unit = 'px') => this.#list.style.setProperty(name, `${value}${unit}`);
    const large = this.#large;
    for (const [peer, tile] of this.#tiles) {
      tile.classList.toggle('large', peer === large);
      this.#words(peer, tile);
    }
    this.#list.classList.toggle('alone', this.#tiles.size < 2);
    this.#list.classList.toggle('spotlight', large !== undefined);
    set('--tile-shape', shape, '');
    if (large === undefined) return set('--tile-width', fit(this.#tiles.size, width, height, gap, shape));
    const spot = spotlight(this.#tiles.size - 1, width, height, gap, shape);
    this.#list.classList.toggle('upright', spot.upright);
    set('--tile-width', spot.small);
    set('--large-width', spot.width);
    set('--large-height', spot.height);
  }
}
