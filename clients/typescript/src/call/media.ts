/** What a call sends: the microphone, and the camera or the screen in its place, with whatever of them there is. */

import type { CallOptions, LocalMedia } from '../call.js';
import { whyMissing } from './reasons.js';

/** What a pair sends. */
export type Kind = 'audio' | 'video';
export const KINDS: readonly Kind[] = ['audio', 'video'];

type Wish = { audio?: boolean | MediaTrackConstraints; video?: boolean | MediaTrackConstraints };
type Devices = { audio?: MediaTrackConstraints; video?: MediaTrackConstraints };

const NAMES = { audio: 'microphone', video: 'camera' };

/** The own devices. Whatever is asked of them is done one after the other, and what fails is told as `fault`. */
export class Media {
  /** Whether the call is about pictures and sound at all; one of data alone has no part for them. */
  readonly wanted: boolean;
  readonly #changed: () => void;
  readonly #wish: Wish;
  /** The tracks that we opened and are to close; those of a given stream are not ours. */
  readonly #opened = new Set<MediaStreamTrack>();
  readonly #sent = new Set<Kind>();
  #stream: MediaStream | undefined;
  #microphone: MediaStreamTrack | undefined;
  #camera: MediaStreamTrack | undefined;
  #screen: MediaStreamTrack | undefined;
  /** The camera of a given stream while it is off: it is not ours to close. */
  #resting: MediaStreamTrack | undefined;
  #fault: string | undefined;
  #turn: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: CallOptions, changed: () => void) {
    const { audio, video, stream, data } = options;
    const silent = audio === undefined && video === undefined && !stream;
    // Node has no media.
    this.wanted = typeof MediaStream !== 'undefined' && !(silent && data);
    this.#wish = silent ? { audio: this.wanted, video: this.wanted } : { audio: audio ?? false, video: video ?? false };
    this.#changed = changed;
    this.#microphone = stream?.getAudioTracks()[0];
    this.#camera = stream?.getVideoTracks()[0];
  }

  /**
   * One stream for the whole call. Tracks of one stream are played in step at the other end, and an element that shows it
   * to ourselves follows by itself when tracks come and go.
   */
  get stream(): MediaStream {
    return (this.#stream ??= new MediaStream());
  }

  get local(): LocalMedia {
    const media = this;
    return {
      get stream() {
        return media.stream;
      },
      audio: Boolean(this.#microphone?.enabled),
      video: Boolean(this.track('video')),
      sharing: Boolean(this.#screen),
      ...(this.#fault ? { fault: this.#fault } : {}),
    };
  }

  /** What is sent of a kind now. */
  track(kind: Kind): MediaStreamTrack | null {
    return (kind === 'audio' ? this.#microphone : (this.#screen ?? this.#camera)) ?? null;
  }

  /** Whether a kind was ever sent: a camera that is off keeps its part of the connection, so that nothing is negotiated. */
  sends(kind: Kind): boolean {
    return this.#sent.has(kind);
  }

  /** Opens what was asked for and not given. */
  open(): Promise<void> {
    return this.#do(async () => {
      const { audio, video } = this.#wish;
      const wish: Wish = {};
      if (audio && !this.#microphone) wish.audio = audio;
      if (video && !this.#camera) wish.video = video;
      await this.#ask(wish);
    });
  }

  setAudio(on: boolean): void {
    if (!this.#microphone) return;
    this.#microphone.enabled = on;
    this.#changed();
  }

  setVideo(on: boolean): Promise<void> {
    return this.#do(async () => {
      if (on === Boolean(this.#camera)) return;
      if (!on) {
        if (this.#camera && !this.#opened.has(this.#camera)) this.#resting = this.#camera;
        this.#drop(this.#camera);
        this.#camera = undefined;
      } else if (this.#resting) {
        this.#camera = this.#resting;
        this.#resting = undefined;
      } else await this.#ask({ video: this.#wish.video || true });
    });
  }

  use(devices: Devices): Promise<void> {
    return this.#do(() => {
      for (const kind of KINDS) if (devices[kind]) this.#wish[kind] = devices[kind];
      return this.#ask(devices);
    });
  }

  share(options: DisplayMediaStreamOptions): Promise<void> {
    return this.#do(async () => {
      let tracks: MediaStreamTrack[];
      try {
        tracks = (await navigator.mediaDevices.getDisplayMedia({ video: true, ...options, audio: false })).getTracks();
      } catch (error) {
        this.#fault = whyMissing('screen', error);
        return;
      }
      const screen = this.#keep(tracks)[0];
      if (!screen) return;
      this.#drop(this.#screen);
      // What counts on a screen is that one can read it.
      screen.contentHint = 'detail';
      this.#screen = screen;
    });
  }

  stopSharing(): Promise<void> {
    return this.#do(() => {
      this.#drop(this.#screen);
      this.#screen = undefined;
    });
  }

  /** Lets go of every device that was opened here. */
  close(): void {
    this.#closed = true;
    for (const track of [...this.#opened]) this.#drop(track);
    this.#microphone = this.#camera = this.#screen = this.#resting = undefined;
  }

  /** Does one thing after the other: a camera that is switched off while it is being opened has to end up off. */
  #do(act: () => void | Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(async () => {
      if (this.#closed) return;
      this.#fault = undefined;
      await act();
      if (!this.#closed) this.#show();
    });
    return this.#turn;
  }

  /** Brings `stream` in line with what is sent, and tells. */
  #show(): void {
    if (this.wanted) {
      const sent = KINDS.map((kind) => this.track(kind));
      for (const track of this.stream.getTracks()) if (!sent.includes(track)) this.stream.removeTrack(track);
      for (const track of sent) if (track) this.stream.addTrack(track);
    }
    for (const kind of KINDS) if (this.track(kind)) this.#sent.add(kind);
    this.#changed();
  }

  /**
   * Asks for all, then for each alone, since one missing device fails the whole request. Never throws: a guest without
   * devices still sees and hears the others.
   */
  async #ask(wish: Wish): Promise<void> {
    const kinds = KINDS.filter((kind) => wish[kind]);
    if (!kinds.length) return;
    const names = kinds.map((kind) => NAMES[kind]).join(' and ');
    // Browsers hide the devices from pages that came over plain http from another machine.
    if (!globalThis.navigator?.mediaDevices) {
      this.#fault = `This page may use the ${names} only over https or on localhost.`;
      return;
    }
    let why: unknown;
    for (const some of kinds.length > 1 ? [kinds, ...kinds.map((kind) => [kind])] : [kinds]) {
      try {
        const missing = kinds.filter((kind) => !some.includes(kind)).map((kind) => NAMES[kind]);
        const tracks = await this.#get(Object.fromEntries(some.map((kind) => [kind, wish[kind]])) as Wish);
        if (missing.length) this.#fault = whyMissing(missing.join(' and '), why);
        this.#take(tracks);
        return;
      } catch (error) {
        why ??= error;
        // Asking a second time after a refusal would only annoy.
        if (error instanceof Error && error.name === 'NotAllowedError') break;
      }
    }
    this.#fault = whyMissing(names, why);
  }

  async #get(wish: Wish): Promise<MediaStreamTrack[]> {
    const get = async (): Promise<MediaStreamTrack[]> => (await navigator.mediaDevices.getUserMedia(wish)).getTracks();
    try {
      return await get();
    } catch (error) {
      // Many a telephone opens only one camera at a time.
      const busy = error instanceof Error && error.name === 'NotReadableError' && wish.video && this.#camera;
      if (!busy) throw error;
      this.#drop(this.#camera);
      this.#camera = undefined;
      return get();
    }
  }

  #take(tracks: MediaStreamTrack[]): void {
    for (const track of this.#keep(tracks)) {
      if (track.kind === 'audio') {
        // Who is muted stays so with another microphone.
        track.enabled = this.#microphone?.enabled ?? true;
        this.#drop(this.#microphone);
        this.#microphone = track;
      } else {
        this.#drop(this.#camera);
        this.#camera = track;
        this.#resting = undefined;
      }
    }
  }

  /** Takes tracks that we opened; a call that ended meanwhile has no use for them. */
  #keep(tracks: MediaStreamTrack[]): MediaStreamTrack[] {
    for (const track of tracks) {
      this.#opened.add(track);
      track.onended = () => this.#lost(track);
      if (this.#closed) this.#drop(track);
    }
    return this.#closed ? [] : tracks;
  }

  /** Stops a track if it is ours. Stopping tells no `ended`: that means the device, or the browser's own button. */
  #drop(track: MediaStreamTrack | undefined): void {
    if (!track || !this.#opened.delete(track)) return;
    track.onended = null;
    track.stop();
  }

  #lost(track: MediaStreamTrack): void {
    void this.#do(() => {
      if (!this.#opened.delete(track)) return;
      if (track === this.#screen) this.#screen = undefined;
      else this.#fault = `The ${track.kind === 'video' ? NAMES.video : NAMES.audio} is gone.`;
      if (track === this.#camera) this.#camera = undefined;
      if (track === this.#microphone) this.#microphone = undefined;
    });
  }
}
