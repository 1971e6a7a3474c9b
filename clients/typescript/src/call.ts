/**
 * Calls: one `RTCPeerConnection` to every other member of the room (a full mesh). The server says in each peer entry who
 * makes the first offer and who gives way; `call/pair.ts` negotiates by it.
 */

import { Media } from './call/media.js';
import { Pair } from './call/pair.js';
import type { PairStats } from './call/stats.js';
import type { Client } from './client.js';
import { Emitter } from './emitter.js';
import { RallypointError, RequestError, UnsupportedError } from './errors.js';
import type { Room } from './room.js';
import type { Inside, RoomInside } from './room/inside.js';
import type { Member } from './room/roster.js';
import type { IceServer, PeerEntry, Signal } from './wire.js';

export type { PairStats } from './call/stats.js';

/** What to send, and how. */
export interface CallOptions {
  /** The microphone. Default: on if neither `audio`, `video`, `stream` nor `data` is given. */
  audio?: boolean | MediaTrackConstraints;
  /** The camera; same default. */
  video?: boolean | MediaTrackConstraints;
  /** What to send in place of asking for devices: at most one audio and one video track. */
  stream?: MediaStream;
  /** Also opens a data channel to each peer: `Call.send`, and `data` events. */
  data?: boolean | RTCDataChannelInit;
  /** `relay` uses TURN only. */
  iceTransportPolicy?: RTCIceTransportPolicy;
  /** For Node: the class of a package such as `node-datachannel`. */
  RTCPeerConnection?: typeof RTCPeerConnection;
}

/** How a pair stands. */
export type PairState =
  /** Being made. */
  | 'connecting'
  /** Pictures and sound may flow. */
  | 'connected'
  /** Lost for a moment, or being made anew after a failure. */
  | 'reconnecting'
  /**
   * Several attempts came to nothing: see `CallPeer.reason`. It is tried again every half minute with fresh credentials, and
   * at once when the network comes back. Or the server refuses what we signal (the token has no right `signal`), and nothing
   * is tried until the peer or a new session begins anew.
   */
  | 'failed';

/** One peer of a call. */
export interface CallPeer {
  /** The peer's id. */
  readonly peer: string;
  /** The member, as it is in the room now. */
  readonly member: Member | undefined;
  readonly state: PairState;
  /** Why it is not connected, for a person at the screen: no relay that answers, no way through, … */
  readonly reason: string;
  /** What the peer sends: at most one audio and one video track, which come and go. */
  readonly stream: MediaStream;
  /** The connection; another one after it had to be made anew. */
  readonly connection: RTCPeerConnection;
  /** The data channel, if the call has one and it is open. */
  readonly channel: RTCDataChannel | undefined;
  /** Measures now. */
  stats(): Promise<PairStats>;
}

/** What a call tells. */
export interface CallEvents {
  /** Somebody new: a tile for it. */
  peer: CallPeer;
  /** Something about a peer changed: its state, its tracks, its entry. */
  change: CallPeer;
  /** A peer has truly left. */
  gone: CallPeer;
  /** What we send changed: muted, another device, the screen. */
  local: LocalMedia;
  /** Something came over the data channel. */
  data: { from: CallPeer; data: string | ArrayBuffer };
  /** The call is over: `end()`, or we left the room. */
  ended: { reason: string };
}

/** What we send. */
export interface LocalMedia {
  /** To show to ourselves: the camera, or the screen while it is shared. */
  stream: MediaStream;
  /** There is a microphone and it is on. */
  audio: boolean;
  /** There is a camera (or a screen) and it is on. */
  video: boolean;
  /** The screen is sent in place of the camera. */
  sharing: boolean;
  /** Why a device that was asked for is missing, for a person at the screen. */
  fault?: string;
}

/** What the others see of what we send: keys of our public state in the room, so of `member.state`. */
export interface CallFlags {
  /** No microphone, or it is off. */
  muted: boolean;
  /** No camera and no screen, or it is off. */
  cameraOff: boolean;
  /** The screen is sent in place of the camera. */
  sharing: boolean;
}

/** A restarted server brings lost sessions back for 10 s after its start (`limits.resume_grace_ms`); and a little. */
const AWAIT_MS = 15_000;
/** How long a pair waits for fresh credentials before it makes do with those it has. */
const ICE_SERVERS_MS = 5_000;
/** What may wait in one data channel; a browser closes it at 16 MiB. */
const CHANNEL_BYTES = 4 << 20;
/**
 * A rollback as an `offer` takes the call back: we hang up and stay in the room. As an `answer` it asks for an offer: we
 * call again.
 */
const ROLLBACK = { type: 'rollback' };

const isRollback = (data: unknown): boolean =>
  typeof data === 'object' && data !== null && 'type' in data && data.type === 'rollback';

/** A call with everybody in a room. It goes on without the server, and over its restart. */
export class Call extends Emitter<CallEvents> {
  readonly #client: Pick<Client, 'iceServers'>;
  readonly #room: Pick<Room, 'members' | 'isLeft'>;
  readonly #inside: Pick<RoomInside, 'signal' | 'listen' | 'flag'>;
  readonly #options: CallOptions;
  readonly #Connection: typeof RTCPeerConnection;
  readonly #media: Media;
  readonly #pairs = new Map<string, Pair>();
  /** Peers that left, so that a late signal of theirs does not bring them back. */
  readonly #left = new Set<string>();
  /** Peers that hung up and are in the room still: they are called again once they call. */
  readonly #hungUp = new Set<string>();
  #you: PeerEntry | undefined;
  #iceServers: IceServer[] = [];
  #flags = '';
  #deaf: (() => void) | undefined;
  #ended = false;

  /** @internal */
  constructor(
    client: Pick<Client, 'iceServers'>,
    room: Pick<Room, 'members' | 'isLeft'>,
    inside: Pick<RoomInside, 'signal' | 'listen' | 'flag'>,
    options: CallOptions,
  ) {
    super();
    const Connection = options.RTCPeerConnection ?? globalThis.RTCPeerConnection;
    if (!Connection) throw new TypeError('there is no RTCPeerConnection here: pass one as an option of the call');
    this.#client = client;
    this.#room = room;
    this.#inside = inside;
    this.#options = options;
    this.#Connection = Connection;
    this.#media = new Media(options, () => this.#sending());
  }

  /** @internal Opens the devices and calls everybody. What others signal meanwhile waits in the room. */
  async begin(): Promise<this> {
    await Promise.all([this.#media.open(), this.#servers()]);
    if (this.#room.isLeft) this.#end('left', false);
    if (this.#ended) throw new RallypointError(0, 'the call ended before it began');
    globalThis.addEventListener?.('online', this.#hurry);
    this.#deaf = this.#inside.listen((what) => this.#hear(what));
    return this;
  }

  /** Who is in the call, by peer id. Those who are here when the call begins are told by no event `peer`: begin with these. */
  get peers(): ReadonlyMap<string, CallPeer> {
    return this.#pairs;
  }

  /** What we send. */
  get local(): LocalMedia {
    return this.#media.local;
  }

  /**
   * Microphone on or off, at once and without a negotiation. The others see it as `muted` in our public state. Does nothing
   * without a microphone (`local.audio` stays false), and, as all of these, after the call has ended.
   */
  setAudio(on: boolean): void {
    this.#media.setAudio(on);
  }

  /**
   * Camera on or off; off lets go of the device. The others see it as `cameraOff`. As with `use` and `share`, what the
   * browser or the person refuses is told in `local.fault`, and the call goes on with what there is. Does nothing after the
   * call has ended.
   */
  setVideo(on: boolean): Promise<void> {
    return this.#media.setVideo(on);
  }

  /** Sends another microphone or camera (`deviceId` or constraints), without a negotiation. */
  use(devices: { audio?: MediaTrackConstraints; video?: MediaTrackConstraints }): Promise<void> {
    return this.#media.use(devices);
  }

  /** Sends the screen in place of the camera, until `stopSharing` or the browser's own button. */
  share(options: DisplayMediaStreamOptions = {}): Promise<void> {
    return this.#media.share(options);
  }

  stopSharing(): Promise<void> {
    return this.#media.stopSharing();
  }

  /**
   * Sends over the data channels: to everybody, or to one peer. Returns to how many it went: a channel that is not open, or
   * in which more than 4 MiB wait, is left out.
   */
  send(data: string | ArrayBuffer | Uint8Array<ArrayBuffer>, to?: string): number {
    let count = 0;
    for (const { peer, channel } of this.#pairs.values()) {
      if (!channel || (to !== undefined && to !== peer) || channel.bufferedAmount > CHANNEL_BYTES) continue;
      // The types of `send` are one for each kind of data.
      channel.send(data as string);
      count += 1;
    }
    return count;
  }

  /** Hangs up; the room goes on. Devices that the call had opened are let go of. */
  end(): void {
    this.#end('hung up', true);
  }

  /** @internal Ends because another call in the same room takes its place. */
  replace(): void {
    this.#end('replaced by another call', true);
  }

  #end(reason: string, present: boolean): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#deaf?.();
    globalThis.removeEventListener?.('online', this.#hurry);
    for (const peer of this.#pairs.keys()) if (present) void this.#signal('offer', peer, ROLLBACK);
    this.#closeAll();
    this.#media.close();
    if (present && this.#flags) this.#inside.flag(undefined);
    this.emit('ended', { reason });
  }

  readonly #hurry = (): void => {
    for (const pair of this.#pairs.values()) pair.hurry();
  };

  #hear(what: Inside): void {
    if (this.#ended) return;
    if (what.type === 'shown') this.#sync(what);
    // `shown` follows with everybody who is here.
    else if (what.type === 'joined') what.missed || this.#meet(what.peer);
    else if (what.type === 'left') this.#part(what.peer);
    else if (what.type === 'changed') this.#update(what.peer);
    else if (what.type === 'signal') this.#take(what.signal);
    else this.#end(what.reason, false);
  }

  /**
   * Takes the list of those who are here.
   *
   * Who is not in it is gone, with one exception. After a restart of the server the room begins anew, and everybody
   * comes back into it as the peer they were, one after the other. The calls do not need the server and go on
   * meanwhile. So when the room has a new epoch, a pair without its peer is kept until the peer is back, the connection
   * fails, or nobody who was lost can come back any more.
   */
  #sync({ you, members, anew, lossy }: Inside & { type: 'shown' }): void {
    const first = !this.#you;
    // As a new peer to the others, who dropped the old one, we cannot go on with anything of before.
    if (this.#you?.peer !== you.peer) this.#closeAll();
    this.#you = you;
    const present = new Set(members.map(({ peer }) => peer));
    for (const [peer, pair] of this.#pairs) {
      // What failed is made anew rather than kept: the peer saw the same and does so, too.
      if (anew && pair.connection.connectionState === 'failed') this.#drop(peer);
      else if (anew && !present.has(peer)) pair.awaited ??= setTimeout(() => this.#drop(peer), AWAIT_MS);
      else if (!present.has(peer) && !pair.awaited) this.#drop(peer);
    }
    for (const entry of members) {
      const known = this.#pairs.get(entry.peer);
      this.#meet(entry);
      if (lossy) known?.mend(!anew);
      if ((first || lossy) && !known?.described && !entry.offers) void this.#signal('answer', entry.peer, ROLLBACK);
    }
    this.#sending();
    this.#hurry();
  }

  #meet(entry: PeerEntry): void {
    if (entry.peer === this.#you?.peer || this.#hungUp.has(entry.peer)) return;
    this.#left.delete(entry.peer);
    const known = this.#pairs.get(entry.peer);
    if (!known) return void this.#start(entry.peer, entry);
    this.#update(entry);
    if (!known.awaited) return;
    clearTimeout(known.awaited);
    known.awaited = undefined;
    known.mend(false);
  }

  #update({ peer, offers = false, polite = false }: PeerEntry): void {
    this.#pairs.get(peer)?.update(offers, polite);
  }

  #part(peer: string): void {
    this.#left.add(peer);
    this.#hungUp.delete(peer);
    this.#drop(peer);
  }

  #take(signal: Signal): void {
    const { type, from, data } = signal;
    if (this.#left.has(from)) return;
    if (type !== 'ice-candidate' && isRollback(data)) return type === 'offer' ? this.#hangUp(from) : this.#recall(from);
    if (type === 'offer') this.#hungUp.delete(from);
    if (this.#hungUp.has(from)) return;
    (this.#pairs.get(from) ?? this.#start(from, this.#room.members.get(from))).receive(signal);
  }

  #hangUp(peer: string): void {
    this.#hungUp.add(peer);
    this.#drop(peer);
  }

  /** A peer that begins its call asks for our offer. One that it has not answered yet waits for it in its room. */
  #recall(peer: string): void {
    this.#hungUp.delete(peer);
    if (this.#pairs.get(peer)?.described) this.#drop(peer);
    if (!this.#pairs.has(peer)) this.#start(peer, this.#room.members.get(peer));
  }

  /**
   * `entry`: a signal may come before it. The one who offers joined after us, so until the entry comes we are the one who
   * answers and does not give way.
   */
  #start(peer: string, entry: PeerEntry | undefined): Pair {
    const { data, iceTransportPolicy } = this.#options;
    const pair: Pair = new Pair({
      peer,
      Connection: this.#Connection,
      configuration: { iceServers: this.#iceServers, ...(iceTransportPolicy && { iceTransportPolicy }) },
      media: this.#media,
      channel: data === true ? {} : data || undefined,
      member: () => this.#room.members.get(peer),
      iceServers: () => this.#servers(),
      send: (type, what) => void this.#signal(type, peer, what),
      changed: () => {
        if (this.#pairs.get(peer) !== pair) return;
        if (pair.awaited && pair.connection.connectionState === 'failed') this.#drop(peer);
        else this.emit('change', pair);
      },
      data: (what) => this.emit('data', { from: pair, data: what }),
    });
    this.#pairs.set(peer, pair);
    this.emit('peer', pair);
    if (entry) this.#update(entry);
    return pair;
  }

  #drop(peer: string): void {
    const pair = this.#pairs.get(peer);
    if (!pair) return;
    this.#pairs.delete(peer);
    pair.close();
    this.emit('gone', pair);
  }

  #closeAll(): void {
    for (const peer of [...this.#pairs.keys()]) this.#drop(peer);
    this.#left.clear();
    this.#hungUp.clear();
  }

  /** Sends a signal, in the order of these calls. Nobody waits for the answer: it takes as long as we are away. */
  async #signal(type: Signal['type'], peer: string, data: unknown): Promise<void> {
    const pair = this.#pairs.get(peer);
    try {
      await this.#inside.signal(type, peer, data);
    } catch (error) {
      // Gone (805, 803), or our own session is: what the room tells next cleans up.
      if (!(error instanceof RequestError || error instanceof UnsupportedError) || [803, 805].includes(error.code)) return;
      if (!pair || pair !== this.#pairs.get(peer)) return;
      const isPassing = error instanceof RequestError && error.isPassing;
      pair.refuse(`The negotiation was refused: ${error.message} (${error.code}).`, !isPassing);
    }
  }

  async #servers(): Promise<IceServer[] | undefined> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), ICE_SERVERS_MS);
    });
    try {
      const servers = await Promise.race([this.#client.iceServers(), late]);
      if (servers) this.#iceServers = servers;
      return servers;
    } catch {
      // Away, or not allowed: the pair makes do with those it has.
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  /** What we send may have changed. */
  #sending(): void {
    if (this.#ended || !this.#you) return;
    for (const pair of this.#pairs.values()) pair.refresh();
    const { local } = this;
    const flags = { muted: !local.audio, cameraOff: !local.video, sharing: local.sharing };
    const now = JSON.stringify(flags);
    if (this.#media.wanted && now !== this.#flags) {
      this.#flags = now;
      this.#inside.flag(flags);
    }
    this.emit('local', local);
  }
}
