/**
 * Node calls Node: a data channel over `node-datachannel`, which has no media. It finds no candidates where a machine has
 * the loopback address alone; `unshare -rn` with a pair of `veth` devices is such a place with an address of its own.
 */

import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { cleanup } from 'node-datachannel';
import { RTCPeerConnection as NodePeerConnection } from 'node-datachannel/polyfill';
import { WebSocket } from 'ws';
import type { Call, CallOptions } from '../src/call.js';
import { connect, type Client } from '../src/client.js';
import type { Room } from '../src/room.js';
import { Server, SKIP, until } from './server.js';

const reachable = Object.values(networkInterfaces()).flat().some((each) => each && !each.internal);
const skip = SKIP || (reachable ? false : 'this machine has no address but loopback, where node-datachannel finds no candidates');

/** The package has its own declarations of what a browser declares. */
const Connection = NodePeerConnection as unknown as typeof RTCPeerConnection;

describe('calls between programs', { skip }, () => {
  let server: Server;
  const clients = new Set<Client>();

  before(async () => {
    server = await Server.start();
  });
  after(async () => {
    for (const client of clients) client.close();
    await server.stop();
    cleanup();
  });

  async function join(user: string, room: string, encoding: 'msgpack' | 'json' = 'msgpack'): Promise<Room> {
    const client = connect({ url: server.base, token: await server.token(user), encoding, WebSocket });
    clients.add(client);
    return client.join(room);
  }

  const call = (room: Room, options: CallOptions = {}): Promise<Call> =>
    room.call({ data: true, RTCPeerConnection: Connection, ...options });
  const isOpen = (each: Call, count = 1): boolean =>
    each.peers.size === count && [...each.peers.values()].every(({ channel, state }) => channel && state === 'connected');

  function heard(each: Call): unknown[] {
    const all: unknown[] = [];
    each.on('data', ({ from, data }) =>
      all.push([from.member?.user, typeof data === 'string' ? data : [...new Uint8Array(data)]]));
    return all;
  }

  test('text and bytes go both ways, to one and to all, whatever the encoding of the signals', async () => {
    const rooms = [await join('ada', 'data'), await join('bob', 'data', 'json'), await join('cleo', 'data')] as const;
    const [ada, bob, cleo] = await Promise.all([call(rooms[0]), call(rooms[1]), call(rooms[2])]);
    await until('all channels are open', () => [ada, bob, cleo].every((each) => isOpen(each, 2)));
    const [atAda, atBob, atCleo] = [heard(ada), heard(bob), heard(cleo)];
    assert.equal(ada.send('to all'), 2);
    assert.equal(ada.send(new Uint8Array([1, 2, 3]), rooms[1].you.peer), 1);
    await until('all is heard', () => atBob.length === 2 && atCleo.length === 1);
    assert.deepEqual(atBob, [['ada', 'to all'], ['ada', [1, 2, 3]]]);
    assert.deepEqual(atCleo, [['ada', 'to all']]);
    assert.equal(bob.send('back', rooms[0].you.peer), 1);
    await until('the answer is heard', () => atAda.length === 1);
    assert.deepEqual(atAda, [['bob', 'back']]);

    const [pair] = ada.peers.values();
    const stats = await pair?.stats();
    assert.equal(stats?.relayed, false);
    assert.equal(pair?.reason, '');

    const gone: string[] = [];
    ada.on('gone', ({ peer }) => gone.push(peer));
    await rooms[2].leave();
    await until('who left is gone', () => gone.length === 1);
    assert.deepEqual(gone, [rooms[2].you.peer]);
    assert.equal(cleo.peers.size, 0);
    assert.equal(ada.send('to one'), 1);
  });

  test('whoever calls last is reached, whoever hangs up is gone, and is called again by calling', async () => {
    for (const name of ['first', 'second'] as const) {
      const rooms = [await join('ada', `late/${name}`), await join('bob', `late/${name}`)] as const;
      // The one who joined first answers, the second offers: each of them may be late with its call.
      const [late, early] = name === 'first' ? rooms : [rooms[1], rooms[0]];
      const waiting = await call(early);
      await until('the other member is known', () => waiting.peers.size === 1);
      const [pair] = waiting.peers.values();
      assert.match(pair?.reason ?? '', /has not answered yet/);
      const coming = await call(late);
      await until('the late one is reached', () => isOpen(waiting) && isOpen(coming));

      coming.end();
      await until('who hung up is gone', () => waiting.peers.size === 0);
      const again = await call(late);
      await until('who calls again is reached', () => isOpen(waiting) && isOpen(again));

      // A second call in the room replaces the first.
      const ended = waiting.once('ended');
      const other = await call(early);
      assert.deepEqual(await ended, { reason: 'replaced by another call' });
      await until('the other call is reached', () => isOpen(other) && isOpen(again));
    }
  });
});
