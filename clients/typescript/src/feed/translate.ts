/** What a feed tells, in the words of a session: section 12's event objects as section 5's messages. */

import type { FeedEvent } from '../feed.js';
import type { LeaveReason, LeftPeer, NotificationMessage, PeerEntry, Position, RoomEvent } from '../wire.js';

/** The number of an event in its log. */
function numberOf(position: Position): number {
  return Number(position.split('.')[1]);
}

/** The message that a session would have got. `data` has the server's shape, but for an application's own kinds. */
export function messageOf({ room, position, kind, time, from, data }: FeedEvent): RoomEvent | NotificationMessage {
  const logged = { room, position, time };
  switch (kind) {
    case 'message':
      return { type: kind, ...logged, from: from ?? { user: '' }, text: (data as { text: string }).text };
    case 'peer-joined':
      // Feeds leave the order out, being the number of the event.
      return { type: kind, ...logged, peer: { ...(data as { peer: PeerEntry }).peer, order: numberOf(position) } };
    case 'peer-left':
      return { type: kind, ...logged, ...(data as { peer: LeftPeer; reason: LeaveReason }) };
    case 'presence': {
      const told = data as { count: number; spectators: number; joined: PeerEntry[]; left: LeftPeer[]; more: boolean };
      return { type: kind, ...logged, ...told };
    }
    case 'node-down': {
      const told = data as { node: string; count: number; spectators: number; left: LeftPeer[]; more: boolean };
      return { type: kind, ...logged, ...told };
    }
    case 'notification':
      return { type: kind, time, position, ...(data as { message: string; data?: unknown }) };
    default:
      return { type: 'event', ...logged, kind, ...(from && { from }), data };
  }
}
