/** Two browsers in one room see and hear each other, chat, and notice each other's leave. */

import assert from 'node:assert/strict';
import { allHear, pair, received, restartIce, seesAndHears, tile } from './calls.mjs';
import { guest, until } from './lib.mjs';

const latencyOn = (page, name) => {
  const rtt = tile(page, name).locator('.rtt');
  return until(`latency on the tile of ${name}`, async () => /^\d+ ms$/.test(await rtt.textContent()));
};

export const tests = {
  async 'two browsers see and hear each other, chat and part'(world) {
    const [ada, bob] = await pair(world, 'call/two');
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);

    // The later one offers and is polite; the other is neither.
    const roles = ({ page }) =>
      page.evaluate(() => [...rallypoint.call.peers.values()].map(({ member }) => [member.polite, member.offers])[0]);
    assert.deepEqual(await roles(ada), [false, false]);
    assert.deepEqual(await roles(bob), [true, true]);

    const metrics = await (await fetch(`${world.base}/metrics`)).text();
    const counts = [...metrics.matchAll(/^rallypoint_signals_total(?:\{[^}]*\})? (\d+)/gm)];
    const signals = counts.reduce((sum, [, value]) => sum + Number(value), 0);
    assert.ok(signals > 0, `rallypoint_signals_total in /metrics is ${signals}`);

    // Typing shows while it goes on, ends by itself, and ends with the message.
    const typing = bob.page.locator('#typing');
    await ada.page.getByLabel('Message', { exact: true }).pressSequentially('hel');
    await until('Bob sees typing', async () => (await typing.textContent()) === 'Ada is typing…');
    await ada.shot('call-ada');
    await bob.shot('call-bob-typing');
    await until('typing ends by itself', async () => (await typing.textContent()) === '');
    await ada.page.getByLabel('Message', { exact: true }).pressSequentially('lo');
    await until('Bob sees typing again', async () => (await typing.textContent()) === 'Ada is typing…');
    await ada.say('hello Bob');
    await until('typing ends with the message', async () => (await typing.textContent()) === '', 2_500);
    await allHear('Ada', 'hello Bob', ada, bob);
    await bob.say('hello Ada');
    await allHear('Bob', 'hello Ada', ada, bob);

    for (const [{ page }, you, other] of [[ada, 'Ada (you)', 'Bob'], [bob, 'Bob (you)', 'Ada']]) {
      await latencyOn(page, you);
      await latencyOn(page, other);
      const clock = page.locator('#clock');
      await until('round trip and clock', async () =>
        /^Round trip \d+ ms, clock [+−]\d+ ms$/.test(await clock.textContent()));
      assert.equal(await page.locator('#count').textContent(), '2 here');
    }

    await bob.page.getByRole('button', { name: 'Mute' }).click();
    await bob.page.getByRole('button', { name: 'Camera off' }).click();
    const flags = tile(ada.page, 'Bob').locator('.flags');
    await until('Ada sees that Bob is muted', async () => (await flags.textContent()) === 'muted, camera off');
    await ada.shot('call-muted');
    await bob.shot('call-bob');

    await bob.page.getByRole('button', { name: 'Leave' }).click();
    await bob.status('left');
    await until('the tile of Bob is gone', async () => (await ada.page.locator('.tile').count()) === 1);
    await until('one is left', async () => (await ada.page.locator('#count').textContent()) === '1 here');
    await ada.page.getByText('Bob left.').waitFor();
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'a closed tab is a leave, and who comes back is called again'(world) {
    const [ada, bob] = await pair(world, 'call/again');
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    await bob.page.reload();
    await until('the tile of Bob is gone', async () => (await ada.page.locator('.tile').count()) === 1);
    await bob.join();
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'ICE restarts that cross on both sides recover'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'call/restart' });
    const bob = await guest(browser, base, { name: 'Bob', room: 'call/restart' });
    // What a page sends is held back from its offer on until the other has offered, too: so the two cross for certain.
    let crossing = false;
    const held = new Map();
    const sent = [];
    for (const [name, { page, join, status }] of [['Ada', ada], ['Bob', bob]]) {
      await page.routeWebSocket('**/v1/ws', (socket) => {
        const server = socket.connectToServer();
        socket.onMessage((data) => {
          const { type } = JSON.parse(data);
          if (crossing && (type === 'offer' || type === 'answer')) sent.push(`${name}: ${type}`);
          if (crossing && type === 'offer' && held.size < 2 && !held.has(name)) held.set(name, []);
          if (!held.get(name)) return server.send(data);
          held.get(name).push(() => server.send(data));
          if (held.size < 2) return;
          for (const [each, messages] of held) {
            held.set(each, null);
            for (const message of messages) message();
          }
        });
      });
      await page.reload();
      await join();
      await status('connected');
    }
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);

    // Not every browser falls silent after a rollback, so the remedy is looked at, too: which tracks were given again.
    await Promise.all([ada, bob].map(({ page }) =>
      page.evaluate(() => {
        window.again = [];
        const { replaceTrack } = RTCRtpSender.prototype;
        RTCRtpSender.prototype.replaceTrack = function (track) {
          if (track === this.track) again.push(track.kind);
          return replaceTrack.call(this, track);
        };
      })));
    crossing = true;
    await restartIce([ada, bob], ada, bob);
    // Both offered, and the polite one gave way.
    assert.deepEqual(sent.slice(0, 2).sort(), ['Ada: offer', 'Bob: offer']);
    assert.equal(sent[2], 'Bob: answer');

    // So many that they cannot have been under way already.
    const frames = async () =>
      (await Promise.all([ada, bob].map(({ page }) => received(page)))).map((each) => each.frames);
    const old = await frames();
    await until('pictures go on on both sides', async () =>
      (await frames()).every((now, index) => now > old[index] + 20));
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    const again = ({ page }) => page.evaluate(() => again);
    assert.deepEqual([await again(ada), (await again(bob)).sort()], [[], ['audio', 'video']]);
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'an offer that overtakes the join of its sender is answered'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'call/overtaken' });
    const bob = await guest(browser, base, { name: 'Bob', room: 'call/overtaken' });
    // Holds the `peer-joined` back until the offer has passed; the protocol allows this order between two nodes.
    const order = [];
    await ada.page.routeWebSocket('**/v1/ws', (socket) => {
      let held;
      const server = socket.connectToServer();
      server.onMessage((data) => {
        const { type } = JSON.parse(data);
        if (type === 'peer-joined' && !order.includes('offer')) return void (held = data);
        order.push(type);
        socket.send(data);
        if (type === 'offer' && held) {
          order.push('peer-joined');
          socket.send(held);
          held = undefined;
        }
      });
    });
    await ada.page.reload();
    await ada.join();
    await ada.status('connected');
    await bob.join();
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    assert.ok(order.indexOf('offer') < order.indexOf('peer-joined'), `the order was ${order}`);
    assert.equal(await ada.page.locator('.tile').count(), 2);
    assert.equal(await tile(ada.page, 'Bob').count(), 1, 'the late entry names the tile');
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'a guest without camera sees and hears, and says so'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'call/blind' });
    const eve = await guest(browser, base, { name: 'Eve', room: 'call/blind' });
    // As if the person had said no; the fake devices always say yes.
    await eve.page.addInitScript(() => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
    });
    await eve.page.reload();
    await ada.join();
    await ada.status('connected');
    await eve.join();
    await seesAndHears(eve);
    await eve.page.locator('#log', { hasText: 'were not allowed' }).waitFor();
    const flags = tile(ada.page, 'Eve').locator('.flags');
    await until('Ada sees that Eve sends nothing', async () => (await flags.textContent()) === 'muted, camera off');
    await eve.shot('call-receive-only');
    assert.deepEqual([...ada.faults, ...eve.faults], []);
  },

  async 'who has a microphone that the browser cannot measure joins all the same'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'call/unmeasured' });
    await ada.page.addInitScript(() => {
      AudioContext.prototype.createMediaStreamSource = () => {
        throw new DOMException('another rate', 'NotSupportedError');
      };
    });
    await ada.page.reload();
    await ada.page.locator('#media-note', { hasText: 'are ready' }).waitFor();
    await ada.join();
    await ada.status('connected');
    assert.deepEqual(ada.faults, []);
  },

  async 'three are a mesh'({ browser, base }) {
    const all = [];
    for (const name of ['Ada', 'Bob', 'Cleo']) {
      const one = await guest(browser, base, { name, room: 'call/three' });
      await one.join();
      await one.status('connected');
      all.push(one);
    }
    for (const { page } of all) {
      await until('two calls that receive', () =>
        page.evaluate(async () => {
          const framesOf = async ({ connection }) =>
            [...(await connection.getStats()).values()].find(
              (each) => each.type === 'inbound-rtp' && each.kind === 'video',
            )?.framesDecoded ?? 0;
          const counts = await Promise.all([...rallypoint.call.peers.values()].map(framesOf));
          return counts.length === 2 && counts.every((frames) => frames > 0);
        }));
    }
    await all[0].shot('call-three');
    assert.deepEqual(all.flatMap(({ faults }) => faults), []);
  },
};
