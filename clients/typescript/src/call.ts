/**
 * Calls: one `RTCPeerConnection` to every other member of the room (a full mesh), negotiated as in "Perfect negotiation"
 * of the W3C WebRTC specification. The server says in each peer entry who makes the first offer and who gives way.
 */

import { Emitter } from './emitter.js';
import type { Client } from './client.js';
import type { Member, Room } from './room.js';

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
  /** Given up for now: see `CallPeer.reason`. It is tried again when either side has another network or credentials. */
  | 'failed';

/** What one pair measures. Rates are per second, over the time since the last measurement. */
export interface PairStats {
  /** Round trip between the two peers, ms. */
  rtt?: number;
  /** Bits per second. */
  sent: number;
  received: number;
  /** Of what was sent to us, the share that was lost: 0 to 1. */
  lost: number;
  width?: number;
  height?: number;
  framesPerSecond?: number;
  /** How many frames were decoded since the call began. */
  framesDecoded: number;
  /** Whether the pair goes over a TURN server, and by what protocol each end sends. */
  relayed: boolean;
  protocol?: string;
  /** Loudness of the peer's microphone, 0 to 1. */
  audioLevel: number;
}

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

/** A call with everybody in a room. It goes on without the server, and over its restart. */
export class Call extends Emitter<CallEvents> {
  /** Who is in the call, by peer id. */
  get peers(): ReadonlyMap<string, CallPeer> {
    throw new Error('under construction');
  }

  /** What we send. */
  get local(): LocalMedia {
    throw new Error('under construction');
  }

  /** Microphone on or off, at once and without a negotiation. The others see it as `muted` in our public state. */
  setAudio(_on: boolean): void {
    throw new Error('under construction');
  }

  /** Camera on or off; off lets go of the device. The others see it as `cameraOff`. */
  setVideo(_on: boolean): Promise<void> {
    throw new Error('under construction');
  }

  /** Sends another microphone or camera (`deviceId` or constraints), without a negotiation. */
  use(_devices: { audio?: MediaTrackConstraints; video?: MediaTrackConstraints }): Promise<void> {
    throw new Error('under construction');
  }

  /** Sends the screen in place of the camera, until `stopSharing` or the browser's own button. */
  share(_options: DisplayMediaStreamOptions = {}): Promise<void> {
    throw new Error('under construction');
  }

  stopSharing(): Promise<void> {
    throw new Error('under construction');
  }

  /** Sends over the data channels: to everybody, or to one peer. Returns to how many it went. */
  send(_data: string | ArrayBuffer | Uint8Array<ArrayBuffer>, _to?: string): number {
    throw new Error('under construction');
  }

  /** Hangs up; the room goes on. Devices that the call had opened are let go of. */
  end(): void {
    throw new Error('under construction');
  }
}

/** Begins the call of a room; see `inside` in `room.ts` for what the room tells it. */
export function startCall(_client: Client, _room: Room, _options: CallOptions): Promise<Call> {
  throw new Error('under construction');
}
