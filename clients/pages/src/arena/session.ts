/** One who plays: a client, its room, its player. For the person at the screen, and for demo players. */

import { ClosedError, connect, RequestError, type Client, type Room, type Status } from 'rallypoint-client';
import { server } from '../shell/address.js';
import { keeping, tokenSource, type TokenHints } from '../shell/token.js';
import { hasSeat, Player } from './player.js';

/** Eight play already. */
export class NoSeat extends Error {}

/** The network lets no WebSocket through: there is no playing without. */
export class NoSocket extends Error {}

const ROOM_FULL = 901;
const FORBIDDEN = 705;

export interface Session {
  readonly client: Client;
  readonly room: Room;
  readonly player: Player;
  /** The access token that is in use, for plain HTTP. */
  token(): string;
  /** Leaves, and says goodbye. */
  end(): void;
}

/** Who comes, and where to. */
export interface Entry extends TokenHints {
  room: string;
  name: string;
  colour: number;
  /** Default: the guest of this tab. */
  user?: string;
  status?: (status: Status) => void;
  signal: AbortSignal;
}

/** Connects, joins, takes a seat. @throws {NoSeat | NoSocket | ClosedError | RequestError} */
export async function enter({
  room: name,
  name: called,
  colour,
  user,
  status,
  signal,
  ...hints
}: Entry): Promise<Session> {
  // A host may publish, and so tells watchers who was shot down.
  const wish = { name: called, rooms: [{ r: name, role: 'host' as const }], ...(user === undefined ? {} : { user }) };
  const { source, token } = keeping(tokenSource(wish, hints));
  const client = connect({ url: server, token: source, signal });
  if (status) client.on('status', status);
  try {
    await client.ready;
    if (client.missing.length) throw new NoSocket();
    const room = await client.join(name).catch((fault: unknown) => {
      throw fault instanceof RequestError && fault.code === ROOM_FULL ? new NoSeat() : fault;
    });
    if (!hasSeat(room)) throw new NoSeat();
    const player = new Player(client, room, colour);
    tellDowns(room, player);
    return {
      client,
      room,
      player,
      token,
      end() {
        player.stop();
        client.close();
      },
    };
  } catch (fault) {
    client.close();
    throw signal.aborted ? new ClosedError(0, 'called off') : fault;
  }
}

/** Publishes when this player was shot down, for those who watch: moves are not in a room's log, events are. */
function tellDowns(room: Room, player: Player): void {
  let may = true;
  player.on('hit', ({ me, down, by, whom }) => {
    if (!me || !down || !may) return;
    room.publish('arena.down', { by, whom }).catch((fault: unknown) => {
      if (fault instanceof RequestError && fault.code === FORBIDDEN) may = false;
    });
  });
}
