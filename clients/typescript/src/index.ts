/**
 * rallypoint-client: video calls, games and live feeds over a rallypoint server.
 *
 * `connect` gives a {@link Client}, its `join` a {@link Room}, the room's `call` a {@link Call}; `watch` gives a
 * {@link Feed}, which needs no WebSocket.
 */

export type { Call, CallEvents, CallFlags, CallOptions, CallPeer, LocalMedia, PairState, PairStats } from './call.js';
export type { ClientState, LostMove, Status, TransportName } from './carrier.js';
export { Client, connect, TokenRefused, type ClientEvents, type ConnectOptions, type Notification, type TokenReason, type TokenSource } from './client.js';
export { Emitter, type Unsubscribe } from './emitter.js';
export { closeAction, ClosedError, LostError, QueueFullError, RallypointError, RequestError, UnsupportedError, type CloseAction } from './errors.js';
export { Feed, watch, type FeedConnected, type FeedEvent, type FeedEvents, type FeedReset, type FeedState, type FeedStatus, type WatchOptions } from './feed.js';
export { EventStream, type Block } from './feed/sse.js';
export { Room, type Late, type MoveOptions, type RoomEvents, type Waiting } from './room.js';
export type { Member, Move } from './room/roster.js';
export type * from './wire.js';
