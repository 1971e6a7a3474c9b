/** The tiles: one picture with a name per person, as large as all of them fit. */

import { setText, within, at } from '../shell/el.js';
import { fit } from './grid.js';

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
    const video = within(tile, 'video', HTMLVideoElement);
    video.ariaLabel = own ? 'Your camera' : `Camera of ${name}`;
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
    // A video that is taken out of the page would go on playing its sound.
    within(tile, 'video', HTMLVideoElement).srcObject = null;
    tile.remove();
    this.#arrange();
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
    this.#list.style.setProperty('--tile-shape', `${shape}`);
    this.#list.style.setProperty('--tile-width', `${fit(this.#tiles.size, width, height, gap, shape)}px`);
  }
}
