/** Before the call: what the others will see and hear, and who one is. */

import { at, setText } from '../shell/el.js';
import { close, fill, open, type Wish } from './devices.js';
import { Level } from './level.js';

const METER_MS = 80;

/** The preview. */
export class Lobby {
  /** What the call is to be begun with. */
  readonly wish: Wish = { audio: true, video: true };
  stream = new MediaStream();
  note = '';
  /** What the person chose, also while it is off. */
  readonly #chosen: { audio?: string; video?: string } = {};
  /** The last opening of the devices: whatever an earlier one brings is let go of. */
  #opening: Promise<void> | undefined;
  #level: Level | undefined;
  #metering: number | undefined;

  constructor() {
    const pick = (kind: 'audio' | 'video') => ({ target }: Event) => {
      if (!(target instanceof HTMLSelectElement) || !target.value) return;
      this.wish[kind] = this.#chosen[kind] = target.value;
      void this.open();
    };
    at('pick-camera').addEventListener('change', pick('video'));
    at('pick-microphone').addEventListener('change', pick('audio'));
    const toggle = (kind: 'audio' | 'video') => () => {
      // What is wished for counts, as the devices may just be opened.
      this.wish[kind] = this.wish[kind] ? false : (this.#chosen[kind] ?? true);
      void this.open();
    };
    at('lobby-camera').addEventListener('click', toggle('video'));
    at('lobby-microphone').addEventListener('click', toggle('audio'));
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.#fill());
    void this.open();
  }

  #tracks(kind: 'audio' | 'video'): MediaStreamTrack[] {
    return kind === 'audio' ? this.stream.getAudioTracks() : this.stream.getVideoTracks();
  }

  /** Opens the devices as they are wished for, and shows them. */
  async open(): Promise<void> {
    this.close();
    setText(at('preview-empty'), 'Asking for camera and microphone…');
    const opening = open({ ...this.wish }).then((opened) => {
      if (this.#opening === opening) this.#take(opened);
      else close(opened.stream);
    });
    this.#opening = opening;
    await opening;
    await this.#fill();
  }

  /** Resolves when the person has said yes or no to what was wished for last. */
  async ready(): Promise<void> {
    let opening: Promise<void> | undefined;
    while (opening !== this.#opening) await (opening = this.#opening);
  }

  #take({ stream, note }: { stream: MediaStream; note: string }): void {
    this.stream = stream;
    this.note = note;
    // Who joins without a device may still open it in the call.
    for (const kind of ['audio', 'video'] as const) if (!this.#tracks(kind).length) this.wish[kind] = false;
    this.#show();
  }

  async #fill(): Promise<void> {
    const chosen = (kind: 'audio' | 'video') => this.#tracks(kind)[0]?.getSettings().deviceId ?? this.#chosen[kind];
    await fill(at('pick-camera', HTMLSelectElement), 'videoinput', chosen('video'));
    await fill(at('pick-microphone', HTMLSelectElement), 'audioinput', chosen('audio'));
  }

  #show(): void {
    const [microphone, camera] = [this.#tracks('audio').length > 0, this.#tracks('video').length > 0];
    const preview = at('preview', HTMLVideoElement);
    // A video that waits for an empty stream would keep the page loading forever.
    preview.srcObject = camera ? this.stream : null;
    preview.hidden = !camera;
    setText(at('preview-empty'), camera ? '' : 'Your camera is off.');
    setText(at('lobby-microphone'), `Turn microphone ${microphone ? 'off' : 'on'}`);
    setText(at('lobby-camera'), `Turn camera ${camera ? 'off' : 'on'}`);
    at('lobby-microphone').classList.toggle('off', !microphone);
    at('lobby-camera').classList.toggle('off', !camera);
    setText(at('media-note'), this.note || (microphone && camera ? 'Camera and microphone are ready.' : ''));
    const meter = at('level', HTMLMeterElement);
    meter.value = 0;
    if (microphone) this.#meter(meter);
  }

  #meter(meter: HTMLMeterElement): void {
    try {
      const level = new Level(this.stream);
      this.#level = level;
      this.#metering = setInterval(() => (meter.value = level.now), METER_MS);
    } catch {
      // Some browsers measure no microphone whose rate is not the loudspeaker's. The call takes it all the same.
    }
  }

  /** Lets go of the devices: the call has opened them for itself. */
  close(): void {
    this.#opening = undefined;
    clearInterval(this.#metering);
    this.#level?.close();
    this.#level = undefined;
    at('preview', HTMLVideoElement).srcObject = null;
    close(this.stream);
    this.stream = new MediaStream();
  }
}
