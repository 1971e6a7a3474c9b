/**
 * The messages of the protocol as the server writes them: `protocol/README.md`, whose section is named with each type.
 * Times are Unix milliseconds, durations milliseconds, sizes bytes.
 */

/** Where one room's log stands: `epoch.seq.tag` (section 11). To be handed back as it came. */
export type Position = string;

/** Where a feed of several rooms stands; opaque (section 11). */
export type Cursor = string;

/** A peer as the server describes it to one receiver (section 6). */
export interface PeerEntry {
  /** The session's public identity, a UUID; the same over a resume. */
  peer: string;
  /** The member's number in moves. Absent in feeds. */
  handle?: number;
  /** The token's `sub`. */
  user: string;
  /** The token's `name`. Written by a stranger: show it as text, never as markup. */
  name?: string;
  /** The token's `info`. */
  info?: unknown;
  /** What the peer last gave to `update`. */
  state?: Record<string, unknown>;
  /** Sequence number of its join: the larger of two makes the first offer. */
  order?: number;
  /** Round trip to the server, ms, if measured. */
  rtt?: number;
  /** Whether the receiver of the entry gives way when two offers cross. */
  polite?: boolean;
  /** Whether the receiver of the entry makes the first offer. */
  offers?: boolean;
}

/** Who wrote something; without `peer` it came over HTTP. */
export interface Author {
  peer?: string;
  user: string;
  name?: string;
}

/** Who left. */
export interface LeftPeer extends Author {
  peer: string;
  handle?: number;
}

/** Why a peer left (section 5). */
export type LeaveReason = 'left' | 'closed' | 'lost' | 'kicked' | 'expired' | 'slow' | 'shutdown';

/** Why a room is shown anew in place of what was missed (section 5). */
export type ResetReason = 'trimmed' | 'epoch' | 'forked' | 'ahead' | 'too-many' | 'no-history' | 'lost';

/** A latest move as a snapshot has it. `from` is a handle in a room that was joined, a peer id to watchers and feeds. */
export interface StateMove<From = number> {
  from: From;
  key: number;
  seq: number;
  time: number;
  data: unknown;
}

/** What every event of a log has. */
export interface Logged {
  room: string;
  time: number;
  position: Position;
}

/** Chat. */
export interface MessageEvent extends Logged {
  type: 'message';
  from: Author;
  text: string;
}

/** An event of the application's own kind. */
export interface AppEvent extends Logged {
  type: 'event';
  kind: string;
  from?: Author;
  data: unknown;
}

/** A new member. */
export interface PeerJoined extends Logged {
  type: 'peer-joined';
  peer: PeerEntry;
}

/** A member that left. */
export interface PeerLeft extends Logged {
  type: 'peer-left';
  peer: LeftPeer;
  reason: LeaveReason;
}

/** Joins and leaves of a large room, gathered. */
export interface Presence extends Logged {
  type: 'presence';
  count: number;
  spectators: number;
  joined: PeerEntry[];
  left: LeftPeer[];
  more: boolean;
}

/** A node of a cluster is dead, and its members are gone. */
export interface NodeDown extends Logged {
  type: 'node-down';
  node: string;
  count: number;
  spectators: number;
  left: LeftPeer[];
  more: boolean;
}

/** Whatever stands in a room's log. */
export type RoomEvent = MessageEvent | AppEvent | PeerJoined | PeerLeft | Presence | NodeDown;

/** The bounds of a session (section 5, `connected`). */
export interface Limits {
  /** Largest frame that the client may send. */
  frame: number;
  /** Largest payload of a move. */
  move: number;
  /** Longest chat text. */
  text: number;
  /** Largest signal. */
  signal: number;
  /** Largest own public state, as JSON. */
  state: number;
  /** Rooms of one session. */
  rooms: number;
  requests_per_second?: number;
  requests_burst?: number;
  moves_per_second?: number;
  moves_burst?: number;
  bytes_per_second?: number;
}

/** A STUN or TURN server, as `RTCPeerConnection` takes it. */
export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

/** The first message of the server. */
export interface Connected {
  type: 'connected';
  peer: string;
  session: string;
  resume?: string;
  resumed: boolean;
  time: number;
  heartbeat: number;
  limits: Limits;
  ice_servers?: IceServer[];
  /** When the credentials in `ice_servers` end. */
  ice_expires?: number;
  notifications: Position;
}

/** The room as it is at `position`. */
export interface Joined {
  type: 'joined';
  re: number | null;
  room: string;
  handle: number;
  you: PeerEntry;
  members: PeerEntry[];
  count: number;
  spectators: number;
  position: Position;
  state: StateMove[];
  missed?: RoomEvent[];
}

/** A refusal, or (with `re: null`) a report of refused messages. */
export interface ErrorMessage {
  type: 'error';
  re: number | null;
  code: number;
  name: string;
  message: string;
  retry_after?: number;
  room?: string;
  count?: number;
}

/** A request was carried out. */
export interface Ok {
  type: 'ok';
  re: number;
  position?: Position;
}

/** The list of members, a page of it. */
export interface Members {
  type: 'members';
  re: number;
  room: string;
  members: PeerEntry[];
  count: number;
  next?: string;
}

/** The answer to `ping`, with both clocks of the server. */
export interface Pong {
  type: 'pong';
  re?: number;
  t?: number;
  received: number;
  sent: number;
}

/** A signal from a peer in the same room. */
export interface Signal {
  type: 'offer' | 'answer' | 'ice-candidate';
  room: string;
  from: string;
  data: unknown;
}

/** A move of the JSON subprotocol. */
export interface JsonMove {
  type: 'move';
  room: string;
  from: number;
  key: number;
  seq: number;
  time: number;
  data: unknown;
  reliable?: boolean;
}

/** Who types, and who stopped. */
export interface Typing {
  type: 'typing';
  room: string;
  from: string;
  on: boolean;
}

/** A peer's new public state. */
export interface PeerUpdated {
  type: 'peer-updated';
  room: string;
  peer: string;
  state: Record<string, unknown>;
}

/** Round trips of a room's members to the server: `[handle, rtt, jitter]`, ms. */
export interface LatencyReport {
  type: 'latency';
  room: string;
  peers: [number, number, number][];
}

/** A room, or the user's own log (`user/<sub>`), anew. */
export interface Reset {
  type: 'reset';
  room: string;
  reason: ResetReason;
  position: Position;
  members: PeerEntry[];
  count: number;
  state: StateMove[];
}

/** Something for the user, wherever the user is. */
export interface NotificationMessage {
  type: 'notification';
  message: string;
  data?: unknown;
  time: number;
  position: Position;
}

/** The server goes away. */
export interface Reconnect {
  type: 'reconnect';
  after_ms: number;
}

/** Whatever the server sends to a session, binary moves aside. */
export type ServerMessage =
  | Connected | Joined | ErrorMessage | Ok | Members | Pong | Signal | JsonMove | Typing | PeerUpdated
  | LatencyReport | Reset | NotificationMessage | Reconnect | RoomEvent;
