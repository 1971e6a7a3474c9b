/** Two nodes of one site, each with a page on it: what the pages do together goes from node to node. */

import assert from 'node:assert/strict';
import { allHear, flows, lines, pair, restartIce, seen, seesAndHears, tile, watch } from './calls.mjs';
import { guest, startServer, token, until } from './lib.mjs';
import { certificate, startDocumentedBalancer, startRedis } from './services.mjs';

/** A node holds a lease of 6 s; once it has run out the others declare it dead, and tell its rooms. */
const BURIED_MS = 7_000;
/** On a machine that has other things to do. */
const MARGIN_MS = 3_000;
/**
 * Pictures come every 50 ms, and are looked at every 250 ms. A machine that has other things to do may be late by some
 * of these; a call that is begun anew, or waits for somebody to come back, is longer without pictures.
 */
const STALL_MS = 2_000;

/** An engine and two nodes on it, gone with the test. */
async function site(after) {
  const engine = await startRedis();
  after(engine.stop);
  const nodes = [];
  for (const _ of [1, 2]) {
    const node = await startServer({ engine: engine.url });
    after(() => node.stop('SIGKILL'));
    nodes.push(node);
  }
  return nodes;
}

/** From here on notes the sockets of a guest and what they bring: `guest.line`. */
async function listen(guest) {
  const line = { ports: [], closed: 0, messages: [] };
  guest.line = line;
  guest.page.on('websocket', (socket) => {
    line.ports.push(Number(new URL(socket.url()).port));
    socket.on('close', () => (line.closed += 1));
    socket.on('framereceived', ({ payload }) => line.messages.push(JSON.parse(payload)));
  });
}

/** What a guest was sent of this type. */
const told = ({ line }, type) => line.messages.filter((message) => message.type === type);

/** Ada on the first node and Bob on the second. */
const apart = (browser, room, [first, second]) => pair({ browser }, room, [first.base, second.base], listen);

const you = ({ page }) => page.evaluate(() => rallypoint.room.you);

const says = (what, { page }, selector, text) =>
  until(what, async () => (await page.locator(selector).textContent()) === text);

/** The one socket that a guest had is to its own node and open. */
const keeps = ({ line }, { port }) => assert.deepEqual([line.ports, line.closed], [[port], 0]);

/** From here on notes the moves of the others: `window.moves`. */
const noteMoves = ({ page }) =>
  page.evaluate(() => {
    window.moves = [];
    rallypoint.room.onMove(({ from, key, reliable, data }) => moves.push({ from: from?.peer, key, reliable, data }));
  });

/** The moves that came on one lane. */
const moves = ({ page }, reliable) =>
  page.evaluate((reliable) => window.moves.filter((move) => move.reliable === reliable), reliable);

/** How many WebSockets a node has. */
async function sockets({ base }) {
  const metrics = await (await fetch(`${base}/metrics`)).text();
  return Number(/^rallypoint_connections\{transport="websocket"\} (\d+)/m.exec(metrics)?.[1] ?? 0);
}

/**
 * From here on notes in the page how the only call goes, as long as its connection is this one: the states that it comes
 * to, and the longest time (ms) for which it decoded no picture. `media()` tells both.
 */
const watchMedia = ({ page }) =>
  page.evaluate(async () => {
    const [{ connection }] = rallypoint.call.peers.values();
    const states = [];
    for (const state of ['connectionState', 'iceConnectionState']) {
      connection.addEventListener(state.toLowerCase() + 'change', () => states.push(connection[state]));
    }
    let [frames, grew, stall] = [0, performance.now(), 0];
    // A connection that tells nothing any more decodes nothing either.
    const since = () => Math.max(stall, performance.now() - grew);
    const look = async () => {
      const stats = [...(await connection.getStats()).values()];
      const decoded = stats.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video')?.framesDecoded ?? 0;
      if (decoded > frames) [frames, stall, grew] = [decoded, since(), performance.now()];
      setTimeout(look, 250);
    };
    await look();
    window.media = () => ({ states, stall: since() });
  });

export const tests = {
  async 'a call: signals go from node to node, pictures and sound come'({ browser, after }) {
    const nodes = await site(after);
    const [ada, bob] = await apart(browser, 'nodes/call', nodes);
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    await ada.shot('nodes-call');
    keeps(ada, nodes[0]);
    keeps(bob, nodes[1]);
    // The later one offers.
    for (const [to, from, kinds] of [
      [ada, bob, ['offer', 'ice-candidate']],
      [bob, ada, ['answer', 'ice-candidate']],
    ]) {
      const { peer } = await you(from);
      for (const kind of kinds) {
        const signals = told(to, kind);
        assert.ok(signals.length, `${kind} over the nodes`);
        assert.ok(signals.every((signal) => signal.from === peer), kind);
      }
    }
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'who is here, chat, typing, states and notifications'({ browser, after }) {
    const nodes = await site(after);
    const [ada, bob] = await apart(browser, 'nodes/words', nodes);
    const both = [[ada, 'Ada', bob], [bob, 'Bob', ada]];
    await ada.page.getByText('Bob joined.').waitFor();
    for (const [one, name] of both) {
      await says('both are here', one, '#count', '2 here');
      const names = ['Ada', 'Bob'].map((each) => (each === name ? `${name} (you)` : each)).join();
      await until('both have a tile', async () =>
        (await one.page.locator('.tile .name').allTextContents()).sort().join() === names);
    }

    for (const [one, name, other] of both) {
      await one.page.getByLabel('Message', { exact: true }).pressSequentially('hel');
      await says(`${name} types`, other, '#typing', `${name} is typing…`);
      await one.say(`hello from ${name}`);
      await allHear(name, `hello from ${name}`, one, other);
      await says(`${name} has said it`, other, '#typing', '');
    }

    const flags = (page, name) => tile(page, name).locator('.flags');
    await ada.page.getByRole('button', { name: 'Mute' }).click();
    await until('Bob sees it', async () => (await flags(bob.page, 'Ada').textContent()) === 'muted');
    await bob.page.getByRole('button', { name: 'Camera off' }).click();
    await until('Ada sees it', async () => (await flags(ada.page, 'Bob').textContent()) === 'camera off');
    await ada.page.evaluate(() => rallypoint.room.update({ team: 'red' }));
    const { peer } = await you(ada);
    const state = () => bob.page.evaluate((peer) => rallypoint.room.members.get(peer).state, peer);
    await until('Bob is told of the state', async () => (await state()).team === 'red');
    assert.deepEqual(await state(), { team: 'red', muted: true, cameraOff: false, sharing: false });

    for (const [one, node] of [[bob, nodes[0]], [ada, nodes[1]]]) {
      const { user } = await you(one);
      const bearer = await token(node.base, { user: 'back-end', notify: { send: [user] } });
      const sent = await fetch(`${node.base}/v1/users/${encodeURIComponent(user)}/notifications`, {
        method: 'POST',
        headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
        body: JSON.stringify({ message: `for ${user}` }),
      });
      assert.equal(sent.status, 200);
      await one.page.locator('#log .notification', { hasText: `for ${user}` }).waitFor();
    }

    // Behind all else in the logs: each of it came, and came once.
    await ada.say('the end');
    await allHear('Ada', 'the end', ada, bob);
    const chat = ['Ada: hello from Ada', 'Bob: hello from Bob'];
    for (const [one, joined] of [[ada, ['Bob joined.']], [bob, []]]) {
      const notice = `for ${(await you(one)).user}`;
      const room = ['You are in the room nodes/words.', ...joined];
      assert.deepEqual(await lines(one), [...room, ...chat, notice, 'Ada: the end']);
    }
    assert.deepEqual(told(ada, 'peer-joined').map(({ peer }) => peer.name), ['Bob']);
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'moves on both lanes'({ browser, after }) {
    const [ada, bob] = await apart(browser, 'nodes/moves', await site(after));
    for (const { page } of [ada, bob]) {
      await until('both are here', () => page.evaluate(() => rallypoint.room.members.size === 2));
    }
    await Promise.all([noteMoves(ada), noteMoves(bob)]);
    for (const [one, other] of [[ada, bob], [bob, ada]]) {
      const { peer: from } = await you(one);
      const { peer: to } = await you(other);

      // In a rhythm, as games send where somebody is: one of them may be lost, the newest counts.
      let n = 0;
      await until('latest moves', async () => {
        n += 1;
        await one.page.evaluate((n) => rallypoint.room.send({ n }, { key: 7 }), n);
        return (await moves(other, false)).length >= 5;
      });
      await until('the newest', async () => (await moves(other, false)).at(-1).data.n === n);
      const latest = await moves(other, false);
      assert.ok(latest.every((move) => move.from === from && move.key === 7), JSON.stringify(latest));
      const numbers = latest.map(({ data }) => data.n);
      assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b), 'none twice, none before an earlier one');
      const kept = ({ page }) => page.evaluate((from) => rallypoint.room.state.get(from)?.get(7)?.data, from);
      assert.deepEqual(await kept(other), { n });

      // All at once, every second one by name.
      const all = Array.from({ length: 100 }, (_, n) => ({ from, key: 9, reliable: true, data: { n } }));
      await one.page.evaluate(
        ([to, count]) => {
          for (let n = 0; n < count; n += 1) {
            rallypoint.room.sendReliable({ n }, { key: 9, ...(n % 2 ? { to: [to] } : {}) });
          }
        },
        [to, all.length],
      );
      await until('all reliable moves', async () => (await moves(other, true)).length >= all.length);
      assert.deepEqual(await moves(other, true), all);
    }
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'a page that is closed has left, and one whose node is killed is lost with it'({ browser, after }) {
    const [first, second] = await site(after);
    const [ada, bob] = await apart(browser, 'nodes/gone', [first, second]);
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    await bob.page.close({ runBeforeUnload: true });
    await ada.page.getByText('Bob left.').waitFor();
    await says('Ada is alone', ada, '#count', '1 here');
    await until('the tile of Bob is gone', async () => (await ada.page.locator('.tile').count()) === 1);

    const cleo = await guest(browser, second.base, { name: 'Cleo', room: 'nodes/gone' });
    await cleo.join();
    await cleo.status('connected');
    await Promise.all([seesAndHears(ada), seesAndHears(cleo)]);
    await watch(ada);
    const session = () => ada.page.evaluate(() => [rallypoint.client.session.session, rallypoint.room.you.peer]);
    const [before, { peer }] = [await session(), await you(cleo)];
    await ada.page.evaluate(() => {
      window.goings = [];
      for (const type of ['node-down', 'peer-left']) {
        rallypoint.room.on(type, (event) => goings.push({ type, at: Date.now(), event }));
      }
    });

    const killed = Date.now();
    await second.stop('SIGKILL');
    const goings = await until('Ada is told', async () => {
      const all = await ada.page.evaluate(() => goings);
      return all.length >= 2 && all;
    }, BURIED_MS + MARGIN_MS);
    const took = goings[0].at - killed;
    console.log(`        node-down ${took} ms after the kill, peer-left ${goings[1].at - killed} ms`);
    assert.ok(took <= BURIED_MS + MARGIN_MS, `node-down after ${took} ms`);
    assert.deepEqual(goings.map(({ type }) => type), ['node-down', 'peer-left']);
    const [{ event: down }, { event: left }] = goings;
    assert.deepEqual([down.left.map((gone) => gone.peer), down.count, down.more], [[peer], 1, false]);
    assert.deepEqual([left.peer.peer, left.reason], [peer, 'lost']);

    await ada.page.getByText('Cleo left (lost).').waitFor();
    await says('Ada is alone again', ada, '#count', '1 here');
    await until('the tile of Cleo is gone', async () => (await ada.page.locator('.tile').count()) === 1);
    await ada.say('still here');
    await ada.heard('Ada', 'still here');
    await ada.shot('nodes-lost');
    keeps(ada, first);
    assert.deepEqual(await ada.page.evaluate(() => seen.states), []);
    assert.deepEqual(await session(), before);
    assert.equal(told(ada, 'node-down').length, 1);
    assert.deepEqual(told(ada, 'peer-left').map(({ peer, reason }) => [peer.name, reason]), [['Bob', 'closed']]);
    assert.deepEqual(ada.faults, []);
  },

  async 'a call whose one node is killed goes on: its page is the same peer on the other node'({ browser, after }) {
    const nodes = await site(after);
    const files = await certificate();
    after(files.remove);
    const balancer = await startDocumentedBalancer(nodes.map(({ port }) => port), files);
    after(balancer.stop);

    // Ada comes to a node by her address, whichever that is, and Bob to the other one.
    const ada = await guest(browser, balancer.base, { name: 'Ada', room: 'nodes/moved' });
    await listen(ada);
    await ada.join();
    await ada.status('connected');
    const isFirst = (await sockets(nodes[0])) === 1;
    const [hers, his] = isFirst ? nodes : [...nodes].reverse();
    const bob = await guest(browser, his.base, { name: 'Bob', room: 'nodes/moved' });
    await listen(bob);
    await bob.join();
    await bob.status('connected');
    assert.deepEqual(await Promise.all([hers, his].map(sockets)), [1, 1]);
    // Cleo has no way to another node and is gone with hers; Dan is told, in a room of their own.
    const [cleo, dan] = await Promise.all([['Cleo', hers], ['Dan', his]].map(([name, { base }]) =>
      guest(browser, base, { name, room: 'nodes/grave', devices: false })));
    for (const one of [cleo, dan]) {
      await one.join();
      await one.status('connected');
    }

    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    await Promise.all([ada, bob].map(watch));
    await Promise.all([ada, bob].map(watchMedia));
    const { peer } = await you(ada);
    await ada.page.evaluate(() => rallypoint.room.on('shown', () => (window.back = Date.now())));

    const killed = Date.now();
    await hers.stop('SIGKILL');
    const back = await until('Ada is in the room again', () => ada.page.evaluate(() => window.back));
    console.log(`        Ada is back ${back - killed} ms after the kill`);
    await ada.status('connected');
    assert.equal((await you(ada)).peer, peer);
    assert.equal(await sockets(his), 3, 'Bob, Dan and Ada');
    assert.deepEqual([...new Set(ada.line.ports)], [balancer.port], 'Ada knows of no other address');
    await ada.say('here again');
    await allHear('Ada', 'here again', ada, bob);
    await bob.say('you were never away');
    await allHear('Bob', 'you were never away', ada, bob);
    await flows(ada, bob);
    await ada.shot('nodes-moved');

    // Nor does anything happen when the node is declared dead.
    await dan.page.getByText('Cleo left (lost).').waitFor({ timeout: BURIED_MS + MARGIN_MS });
    console.log(`        the node was declared dead at most ${Date.now() - killed} ms after the kill`);
    await flows(ada, bob);
    for (const one of [ada, bob]) {
      const { states, stall } = await one.page.evaluate(() => media());
      console.log(`        no picture for at most ${Math.round(stall)} ms`);
      assert.deepEqual(states, [], 'connected all the time');
      assert.ok(stall <= STALL_MS, `no picture for ${stall} ms`);
    }
    assert.deepEqual(await seen(ada), { tiles: 0, states: ['reconnecting', 'connected'], samePeer: true, sameCall: true });
    assert.deepEqual(await seen(bob), { tiles: 0, states: [], samePeer: true, sameCall: true });
    keeps(bob, his);
    // To him nothing has happened.
    const inRoom = bob.line.messages.filter(({ room }) => room === 'nodes/moved').map(({ type }) => type);
    assert.deepEqual(inRoom.filter((type) => /joined|peer-left|node-down|reset/.test(type)), ['joined']);

    // Negotiations go by the other node from now on, whoever begins them.
    await restartIce([ada, bob], ada);
    await restartIce([ada, bob], bob);
    await ada.page.getByRole('button', { name: 'Camera off' }).click();
    const flags = tile(bob.page, 'Ada').locator('.flags');
    await until('Bob sees that her camera is off', async () => (await flags.textContent()) === 'camera off');
    await ada.page.getByRole('button', { name: 'Camera on' }).click();
    await until('and on', async () => (await flags.textContent()) === '');
    await flows(ada, bob);
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    for (const one of [ada, bob]) assert.equal((await seen(one)).sameCall, true);
    const said = ['Ada: here again', 'Bob: you were never away'];
    assert.deepEqual(await lines(ada), ['You are in the room nodes/moved.', 'Bob joined.', ...said]);
    assert.deepEqual(await lines(bob), ['You are in the room nodes/moved.', ...said]);
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },
};
