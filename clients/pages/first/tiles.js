/** The tiles: one picture with a name per person. */

import { nameOf } from './chat.js';

export class Tiles {
  #tiles = new Map();

  /**
   * @param {HTMLElement} list
   * @param {HTMLTemplateElement} template
   * @param {() => void} blocked called when the browser plays no sound before a click
   */
  constructor(list, template, blocked) {
    Object.assign(this, { list, template, blocked });
  }

  /** Makes the tile of a peer, or brings it up to date. `own` is muted: nobody wants to hear himself. */
  show(peer, { entry, stream, own = false, connection = 'connected' }) {
    const tile = this.#tiles.get(peer) ?? this.#add(peer, own);
    const name = nameOf(entry);
    const { muted, cameraOff } = entry.state ?? {};
    const set = (selector, text) => {
      const element = tile.querySelector(selector);
      if (element.textContent !== text) element.textContent = text;
    };
    set('.name', own ? `${name} (you)` : name);
    set('.initial', [...name][0].toUpperCase());
    set('.flags', [muted && 'muted', cameraOff && 'camera off'].filter(Boolean).join(', '));
    set('.rtt', entry.rtt == null ? '' : `${Math.round(entry.rtt)} ms`);
    tile.dataset.connection = connection;
    const video = tile.querySelector('video');
    video.setAttribute('aria-label', own ? 'Your camera' : `Camera of ${name}`);
    // Without a picture the initial shows; the element stays, as it also carries the sound.
    tile.classList.toggle('dark', Boolean(cameraOff) || !stream?.getVideoTracks().length);
    if (stream && video.srcObject !== stream) video.srcObject = stream;
    if (stream?.getTracks().length && video.paused) {
      video.play().catch((error) => error.name === 'NotAllowedError' && this.blocked());
    }
  }

  remove(peer) {
    const tile = this.#tiles.get(peer);
    if (!tile) return;
    this.#tiles.delete(peer);
    // A video that is taken out of the page would go on playing its sound.
    tile.querySelector('video').srcObject = null;
    tile.remove();
  }

  clear() {
    for (const peer of [...this.#tiles.keys()]) this.remove(peer);
  }

  /** After a click the browser allows sound. */
  play() {
    for (const tile of this.#tiles.values()) tile.querySelector('video').play().catch(() => {});
  }

  #add(peer, own) {
    const tile = this.template.content.firstElementChild.cloneNode(true);
    tile.dataset.peer = peer;
    tile.classList.toggle('own', own);
    tile.querySelector('video').muted = own;
    if (own) this.list.prepend(tile);
    else this.list.append(tile);
    this.#tiles.set(peer, tile);
    return tile;
  }
}
