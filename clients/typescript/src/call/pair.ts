/**
 * One connection to one peer, negotiated as in "Perfect negotiation" of the W3C WebRTC specification: of two offers that
 * cross, the polite side takes back its own.
 *
 * There is one part for sound and one for pictures. Tracks are put into them and taken out without a negotiation; only
 * who sends for the first time something that it never sent negotiates once.
 */

import type { CallPeer, PairState } from '../call.js';
import type { Member } from '../room/roster.js';
import type { IceServer, Signal } from '../wire.js';
import { KINDS, type Media } from './media.js';
import { whyFailed, type Signs } from './reasons.js';
import { Restarts } from './restarts.js';
import { measure, type PairStats, type Stat, type Totals } from './stats.js';

/** What a pair needs of its call. */
export interface PairOptions {
  peer: string;
  Connection: typeof RTCPeerConnection;
  /** With the ICE servers as they were known last: a package for Node may take them only now. */
  configuration: RTCConfiguration;
  media: Media;
  channel?: RTCDataChannelInit | undefined;
  member(): Member | undefined;
  /** ICE servers with fresh credentials; `undefined` if none can be had now. */
  iceServers(): Promise<IceServer[] | undefined>;
  /** Sends a signal; what is refused comes back by `Pair.refuse`. */
  send(type: Signal['type'], data: unknown): void;
  changed(): void;
  data(data: string | ArrayBuffer): void;
}

/** After so many attempts of the one who is to make them, the other makes them as well. */
const PATIENCE = 3;
/** From the attempt after the first quick ones on, a pair counts as failed, and its connection is made anew. */
const HOPEFUL = 3;

export class Pair implements CallPeer {
  readonly peer: string;
  /** Whether we make the first offer. */
  offers = false;
  /** Whether we give way when two offers cross. */
  polite = false;
  /** The timer of a pair whose peer is not back in a room that began anew; see `Call`. */
  awaited: ReturnType<typeof setTimeout> | undefined;
  /** Whether the peer has ever answered or offered. */
  described = false;
  readonly #options: PairOptions;
  readonly #restarts = new Restarts((attempt) => this.#retry(attempt));
  #connection: RTCPeerConnection;
  #configuration: RTCConfiguration;
  #stream: MediaStream | undefined;
  #channel: RTCDataChannel | undefined;
  #tail: Promise<void> = Promise.resolve();
  #begun = false;
  #ignoring = false;
  /** The peer's connection, by the session id of its descriptions (RFC 9429 section 5.2.1: one for each connection). */
  #origin: string | undefined;
  /** That an answer of the peer was refused, so that this connection can negotiate no more. */
  #stuck = false;
  /** Candidates that are kept back until the answer is here. */
  #held: (RTCIceCandidateInit | null)[] | undefined;
  #closed = false;
  #stood = false;
  #relay = false;
  #error: Signs['error'];
  /** That gathering ended without a candidate that may be used. */
  #blocked = false;
  #why = '';
  #fault = '';
  /** That our signals were refused for good: nothing comes of this until there is another description. */
  #refused = false;
  #totals: Totals | undefined;

  constructor(options: PairOptions) {
    this.#options = options;
    this.#configuration = options.configuration;
    this.peer = options.peer;
    this.#connection = this.#make();
    this.#do(() => this.#configure());
  }

  get connection(): RTCPeerConnection {
    return this.#connection;
  }

  get member(): Member | undefined {
    return this.#options.member();
  }

  get state(): PairState {
    const { connectionState } = this.connection;
    const { attempts } = this.#restarts;
    if (connectionState === 'connected') return 'connected';
    if (this.#closed || this.#refused || attempts > HOPEFUL) return 'failed';
    return attempts || this.#stood ? 'reconnecting' : 'connecting';
  }

  get reason(): string {
    const { state } = this;
    const label = this.#label;
    if (state === 'connected') return '';
    if (this.#fault) return this.#fault;
    if (!this.described) return `${label} has not answered yet.`;
    return this.#why || (this.#stood ? `The connection to ${label} is lost for the moment.` : '');
  }

  /** Its own stream, because tracks may come with or without one. */
  get stream(): MediaStream {
    return (this.#stream ??= new MediaStream());
  }

  get channel(): RTCDataChannel | undefined {
    return this.#channel?.readyState === 'open' ? this.#channel : undefined;
  }

  async stats(): Promise<PairStats> {
    const report = await this.connection.getStats();
    const all: Stat[] = [];
    report.forEach((each: Stat) => all.push(each));
    const { stats, totals } = measure(all, this.#totals);
    this.#totals = totals;
    return stats;
  }

  /** Takes what the server says of who offers, which is newer than what we knew. */
  update(offers: boolean, polite: boolean): void {
    Object.assign(this, { offers, polite });
    if (offers) this.begin();
    this.#options.changed();
  }

  /**
   * Makes the first offer. It names both kinds even when there is no device for one: so that we can receive what we cannot
   * send. The other side adds nothing before the offer is there, else both would want to offer.
   */
  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#do(async () => {
      if (this.described) return;
      this.#open();
      await this.#place(this.#options.media.wanted);
      // node-datachannel offers by itself once there is a channel, and never says that a negotiation is needed. A peer whose
      // checks overtake its answer breaks it ("certificate verify failed"): without candidates of ours it makes none.
      if (this.connection.signalingState !== 'have-local-offer') return;
      this.#held = [];
      this.#tell();
    });
  }

  /** What we send changed: takes it over. */
  refresh(): void {
    if (this.#begun) this.#do(() => this.#place(false));
  }

  /**
   * Signals were lost. A pair that stands needs none; for one that does not they are made anew.
   * @param alone whether the peer knows nothing of the loss: then it is for us to make an offer, whoever is to make it
   *   otherwise
   */
  mend(alone: boolean): void {
    this.#do(async () => {
      const { signalingState, connectionState } = this.connection;
      if (signalingState === 'have-local-offer') this.#tell();
      else if (this.described && connectionState !== 'connected') {
        if (this.offers || alone) await this.#restart();
      } else if (alone) this.begin();
    });
  }

  /** The network is another one, or we are back: whoever waits for a next attempt need not sit it out. */
  hurry(): void {
    if (this.#restarts.attempts) this.#restarts.now();
  }

  /** Takes a signal of the peer. */
  receive({ type, data }: Signal): void {
    this.#do(() => (type === 'ice-candidate'
      ? this.#candidate(data as RTCIceCandidateInit | null)
      : this.#description(data as RTCSessionDescriptionInit)));
  }

  /** A signal of ours was refused; `forGood`: repeating it would not help. */
  refuse(reason: string, forGood: boolean): void {
    this.#fault = reason;
    this.#refused = forGood;
    this.#options.changed();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.awaited);
    this.#restarts.end();
    this.#unmake();
  }

  get #label(): string {
    return this.member?.label ?? 'the other side';
  }

  get #relayOnly(): boolean {
    return this.#configuration.iceTransportPolicy === 'relay';
  }

  /**
   * Between Firefox 153 and Chromium 148 ICE restarts often come to nothing: Firefox checks for ever and says `connected` all
   * the while, or its answer takes another part in DTLS than it has, which Chromium refuses.
   */
  get #hasFirefox(): boolean {
    const { localDescription, remoteDescription } = this.connection;
    return [localDescription, remoteDescription].some((each) => /^o=mozilla/m.test(each?.sdp ?? ''));
  }

  #make(): RTCPeerConnection {
    const connection = new this.#options.Connection(this.#configuration);
    connection.onnegotiationneeded = () => this.#do(() => this.#offer());
    connection.onicecandidate = ({ candidate }) => {
      if (candidate && / typ relay/.test(candidate.candidate)) this.#relay = true;
      if (!candidate) {
        this.#blocked = this.#relayOnly && !this.#relay;
        this.#see();
      }
      // `null` ends the candidates. Some browsers send an empty candidate before it, which says the same once more.
      // In turn, since a package for Node tells of candidates before it tells of the offer they belong to.
      if (candidate?.candidate !== '') this.#do(() => this.#found(candidate?.toJSON() ?? null));
    };
    connection.onicecandidateerror = ({ errorCode: code, url }) => {
      // Chromium calls a TURN server whose name it does not find `stun:…`.
      const [, host] = /^\w+:([^?]+)/.exec(url) ?? [];
      if (!host || !this.#turn().some((each) => each.includes(host))) return;
      // A server that cannot be reached from one of several networks says little; a refusal says all.
      if (!this.#error || this.#error.code === 701) this.#error = { code, host };
    };
    connection.onconnectionstatechange = () => this.#see();
    return connection;
  }

  #unmake(): void {
    const { connection } = this;
    connection.onnegotiationneeded = connection.onicecandidate = connection.onicecandidateerror = null;
    connection.onconnectionstatechange = null;
    for (const track of this.#stream?.getTracks() ?? []) {
      track.onmute = track.onunmute = null;
      this.#stream?.removeTrack(track);
    }
    if (this.#channel) this.#channel.onopen = this.#channel.onclose = this.#channel.onmessage = null;
    this.#channel = this.#origin = this.#held = undefined;
    connection.close();
  }

  /** Another connection, where new candidates for this one did not help or cannot be had. */
  #remake(): void {
    this.#unmake();
    this.#begun = this.described = this.#ignoring = this.#relay = this.#blocked = this.#stuck = false;
    this.#totals = undefined;
    this.#connection = this.#make();
  }

  /** The addresses of the TURN servers. */
  #turn(): string[] {
    return (this.#configuration.iceServers ?? []).flatMap(({ urls }) => urls).filter((url) => /^turns?:/.test(url));
  }

  /** One thing after the other, so that each finds the connection in a state that it stays in. */
  #do(act: () => void | Promise<void>): void {
    this.#tail = this.#tail
      .then(() => (this.#closed ? undefined : act()))
      .catch((error: unknown) => {
        if (this.#closed) return;
        this.#fault = `The negotiation failed: ${error instanceof Error ? error.message : String(error)}`;
        this.#options.changed();
      });
  }

  async #configure(): Promise<void> {
    const iceServers = await this.#options.iceServers();
    if (!iceServers || this.#closed) return;
    this.#configuration = { ...this.#configuration, iceServers };
    this.connection.setConfiguration(this.#configuration);
  }

  async #offer(): Promise<void> {
    // What is needed is asked for again once the connection is stable.
    if (this.connection.signalingState !== 'stable') return;
    await this.connection.setLocalDescription();
    this.#tell();
  }

  /** Sends the description as it is now. Plain, since the encodings do not know a browser's own objects. */
  #tell(): void {
    const { localDescription } = this.connection;
    if (!localDescription) return;
    const { type } = localDescription;
    const sdp = this.#held ? localDescription.sdp.replace(/^a=(candidate:|end-of-candidates).*\r\n/gm, '') : localDescription.sdp;
    if (this.#refused) {
      this.#refused = false;
      this.#fault = '';
      this.#options.changed();
    }
    if (type === 'offer' || type === 'answer') this.#options.send(type, { type, sdp });
  }

  #found(candidate: RTCIceCandidateInit | null): void {
    if (this.#held) this.#held.push(candidate);
    else this.#options.send('ice-candidate', candidate);
  }

  async #description(description: RTCSessionDescriptionInit): Promise<void> {
    const { connection } = this;
    const offer = description.type === 'offer';
    // An offer that went out twice is answered twice.
    if (!offer && connection.signalingState !== 'have-local-offer') return;
    const crossed = offer && connection.signalingState === 'have-local-offer';
    this.#ignoring = crossed && !this.polite;
    if (this.#ignoring) return;
    const [, origin] = /^o=\S+ (\S+)/m.exec(description.sdp ?? '') ?? [];
    if (connection.signalingState === 'closed' || (this.#origin !== undefined && this.#origin !== origin)) {
      // Ours is beyond help, or the peer has another one than before.
      this.#remake();
      if (!offer) return this.begin();
    }
    await this.#accept(description);
    this.#origin = origin;
    this.described = this.#begun = true;
    this.#fault = '';
    this.#refused = false;
    for (const candidate of this.#held ?? []) this.#options.send('ice-candidate', candidate);
    this.#held = undefined;
    if (offer) {
      this.#open();
      await this.#place(false);
      await this.connection.setLocalDescription();
      this.#tell();
      // Who takes an offer without being ready for it has rolled back its own.
      if (crossed) await this.#sendAgain();
    }
    this.#hear();
    this.#see();
  }

  async #accept(description: RTCSessionDescriptionInit): Promise<void> {
    try {
      await this.connection.setRemoteDescription(description);
    } catch (error) {
      // Whoever offered waits for an answer until there is another connection.
      this.#stuck = description.type === 'answer';
      if (this.#stuck && !this.#restarts.attempts) this.#restarts.now();
      throw error;
    }
  }

  /**
   * In Chromium 148 the senders of a connection fall silent for good when an offer is rolled back, while every state says
   * `connected`; another ICE restart does not wake them. Being given the track that they have does. Elsewhere this
   * changes nothing.
   */
  async #sendAgain(): Promise<void> {
    const sending = this.connection.getTransceivers().filter(({ sender }) => sender.track);
    await Promise.all(sending.map(({ sender }) => sender.replaceTrack(sender.track)));
  }

  async #candidate(candidate: RTCIceCandidateInit | null): Promise<void> {
    try {
      await this.connection.addIceCandidate(candidate ?? undefined);
    } catch (error) {
      // Candidates that belong to an offer we ignored have nothing to belong to here.
      if (!this.#ignoring) throw error;
    }
  }

  /** Both sides make the same channel, so that it needs no negotiation of its own. */
  #open(): void {
    const { channel: wish, data, changed } = this.#options;
    if (!wish || this.#channel) return;
    const channel = this.connection.createDataChannel('rallypoint', { ...wish, negotiated: true, id: 0 });
    this.#channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.onopen = channel.onclose = changed;
    channel.onmessage = (event: MessageEvent<string | ArrayBuffer>) => data(event.data);
  }

  /** Puts our tracks where they belong. `both`: also makes the parts for what we do not send. */
  async #place(both: boolean): Promise<void> {
    const { connection } = this;
    const { media } = this.#options;
    for (const kind of KINDS) {
      const track = media.track(kind);
      const direction = media.sends(kind) ? 'sendrecv' : 'recvonly';
      const parts = connection.getTransceivers()
        .filter(({ receiver, direction }) => receiver.track.kind === kind && direction !== 'stopped' && direction !== 'inactive');
      const part = parts.find(({ mid }) => mid !== null) ?? parts[0];
      if (!part) {
        if (track || both) connection.addTransceiver(track ?? kind, { direction, streams: [media.stream] });
        continue;
      }
      // Of a first offer that was rolled back parts are left over for which the other's offer brought its own. They become
      // parts that nobody uses: Chromium 148 negotiates without end when they are stopped.
      for (const other of parts) {
        if (other === part || other.mid !== null) continue;
        other.direction = 'inactive';
        await other.sender.replaceTrack(null);
      }
      if (part.direction !== direction) part.direction = direction;
      if (part.sender.track !== track) await part.sender.replaceTrack(track);
      if (track) part.sender.setStreams?.(media.stream);
    }
  }

  /** Brings `stream` in line with what the peer sends since this negotiation. */
  #hear(): void {
    for (const { receiver: { track }, currentDirection } of this.connection.getTransceivers()) {
      if (currentDirection === 'sendrecv' || currentDirection === 'recvonly') {
        this.stream.addTrack(track);
        track.onmute = track.onunmute = this.#options.changed;
      } else this.#stream?.removeTrack(track);
    }
  }

  #see(): void {
    const { connectionState } = this.connection;
    if (connectionState === 'connected') {
      this.#stood = true;
      this.#fault = this.#why = '';
      this.#refused = false;
    }
    // Without a candidate a browser waits for nothing, and says so late or never.
    const closed = connectionState === 'closed';
    if (this.described || closed) this.#restarts.see(this.#blocked || closed ? 'failed' : connectionState);
    this.#options.changed();
  }

  #retry(attempt: number): void {
    this.#why = whyFailed({
      label: this.#label,
      relayOnly: this.#relayOnly,
      turn: this.#turn().length > 0,
      relay: this.#relay,
      error: this.#error,
    });
    // Both sides notice a failure, and one offer is enough: two would only cross.
    if (this.offers || this.#stuck || attempt > PATIENCE) this.#do(() => this.#restart());
    this.#options.changed();
  }

  /** New candidates for the same connection, or another one if that does not help. */
  async #restart(): Promise<void> {
    // Credentials of a TURN server end, and with old ones nothing could come of it.
    await this.#configure();
    const { connection } = this;
    // An offer that waits for its answer brings new candidates already.
    if (this.#closed || (connection.signalingState === 'have-local-offer' && !this.#stuck)) return;
    const isHopeless = connection.connectionState === 'closed' || this.#stuck || this.#hasFirefox;
    if (!isHopeless && this.#restarts.attempts <= HOPEFUL) {
      this.#relay = this.#blocked = false;
      this.#error = undefined;
      try {
        connection.restartIce();
        return;
      } catch {
        // node-datachannel has no such thing.
      }
    }
    this.#remake();
    this.begin();
  }
}
