/** Four in a call, and what happens to it: cut, restarted, a tab killed, another camera, the screen. */

import assert from 'node:assert/strict';
import { allHear, tile } from './calls.mjs';
import { guest, startServer, until } from './lib.mjs';
import { flaky } from './proxy.mjs';

const NAMES = ['Ada', 'Bob', 'Cleo', 'Dan'];
const ofNetwork = (fault) => /net::ERR_|WebSocket connection to/.test(fault);
const faults = (all) => all.flatMap((each) => each.faults).filter((fault) => !ofNetwork(fault));

/** Frames decoded of each peer, by its name. */
const frames = ({ page }) =>
  page.evaluate(async () => Object.fromEntries(await Promise.all([...rallypoint.call.peers.values()].map(async ({ member, connection }) => [
    member.label,
    [...(await connection.getStats()).values()].find((each) => each.type === 'inbound-rtp' && each.kind === 'video')?.framesDecoded ?? 0,
  ]))));

/** Waits until everybody decodes more frames of everybody else than when it was asked. */
async function meshFlows(all) {
  await Promise.all(all.map(async (one) => {
    const others = all.filter((each) => each !== one).map(({ name }) => name);
    const before = await until(`${one.name} sees all others`, async () => {
      const now = await frames(one);
      return others.every((name) => name in now) && now;
    });
    await until(`${one.name} decodes frames of all others`, async () => {
      const now = await frames(one);
      return others.every((name) => now[name] > before[name]);
    }, 60_000);
  }));
}

/** Notes from here on what must stay: peer ids and connections; `stayed` compares. */
const remember = ({ page }) => page.evaluate(() => {
  const { room, call } = rallypoint;
  window.kept = { you: room.you.peer, connections: new Map([...call.peers].map(([peer, { connection }]) => [peer, connection])), gone: 0 };
  call.on('gone', () => (kept.gone += 1));
});
const stayed = ({ page }) => page.evaluate(() => {
  const { room, call } = rallypoint;
  return {
    you: room.you.peer === kept.you,
    calls: [...kept.connections].every(([peer, connection]) => call.peers.get(peer)?.connection === connection),
    gone: kept.gone,
  };
});
const STAYED = { you: true, calls: true, gone: 0 };

/** Twelve pictures are encoded and as many decoded by this machine, so they are small ones. */
const smallCamera = async ({ page }) => {
  await page.addInitScript(() => {
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    const small = { width: 160, height: 120, frameRate: 10 };
    navigator.mediaDevices.getUserMedia = ({ video, ...rest }) =>
      open({ ...rest, ...(video ? { video: { ...small, ...(video === true ? {} : video) } } : {}) });
  });
  await page.reload();
};

async function party({ browser }, room, bases) {
  const all = [];
  for (const [index, name] of NAMES.entries()) {
    const one = { ...(await guest(browser, bases[index] ?? bases[0], { name, room })), name };
    await smallCamera(one);
    await one.join();
    await one.status('connected');
    all.push(one);
  }
  await meshFlows(all);
  return all;
}

export const tests = {
  async 'four in a call: a socket cut, and the server restarted'({ browser, after }) {
    // However slow the machine is, nobody is lost while it looks at all pictures.
    const env = { RALLYPOINT_LIMITS__RESUME_GRACE_MS: '120000' };
    const first = await startServer({ env });
    after(() => first.stop('SIGKILL'));
    const proxy = await flaky(first.port);
    after(() => proxy.close());
    const all = await party({ browser }, 'party/four', [first.base, proxy.base]);
    const [ada, bob] = all;
    await Promise.all(all.map(remember));
    await ada.shot('party-four');

    proxy.cut();
    await bob.status('reconnecting');
    await meshFlows(all);
    proxy.mend();
    await bob.status('connected');
    await bob.say('I am back');
    await allHear('Bob', 'I am back', ...all);
    for (const one of all) assert.deepEqual(await stayed(one), STAYED, `${one.name} after the cut`);

    await first.stop('SIGKILL');
    for (const one of all) await one.status('reconnecting');
    const second = await startServer({ port: first.port, env });
    after(() => second.stop('SIGKILL'));
    await meshFlows(all);
    for (const one of all) await one.status('connected');
    await ada.say('the server too');
    await allHear('Ada', 'the server too', ...all);
    await meshFlows(all);
    for (const one of all) assert.deepEqual(await stayed(one), STAYED, `${one.name} after the restart`);
    assert.deepEqual(faults(all), []);
  },

  async 'four in a call: a tab is killed'({ browser, base }) {
    const all = await party({ browser }, 'party/killed', [base]);
    const dan = all.pop();
    // By the server's clock, which is this machine's: what a busy browser takes to draw it is another matter.
    const left = Promise.all(all.map(({ page }) => page.evaluate(() => rallypoint.room.once('peer-left'))));
    const devtools = await dan.context.newCDPSession(dan.page);
    const killed = Date.now();
    devtools.send('Page.crash').catch(() => {});
    for (const { time, reason, peer } of await left) {
      assert.deepEqual([peer.name, reason], ['Dan', 'lost']);
      assert.ok(time - killed < 12_000, `gone within the grace of 10 s and 2 s, not after ${time - killed} ms`);
    }
    await Promise.all(all.map((one) => until(`${one.name} sees no more of Dan`, async () => (await tile(one.page, 'Dan').count()) === 0)));
    await meshFlows(all);
    assert.deepEqual(faults(all), []);
  },

  async 'another camera and the screen, without a new negotiation'({ browser, base }) {
    const all = await party({ browser }, 'party/devices', [base]);
    const [ada, ...others] = all;
    await Promise.all(all.map(remember));
    const sent = () => ada.page.evaluate(async () => {
      const [{ connection }] = rallypoint.call.peers.values();
      const track = connection.getSenders().find((sender) => sender.track?.kind === 'video').track;
      return { id: track.id, device: track.getSettings().deviceId, surface: track.getSettings().displaySurface };
    });
    const negotiations = await Promise.all(all.map(({ page }) => page.evaluate(() => {
      window.offers = 0;
      for (const { connection } of rallypoint.call.peers.values())
        connection.addEventListener('signalingstatechange', () => (offers += connection.signalingState !== 'stable'));
      return offers;
    })));
    assert.deepEqual(negotiations, [0, 0, 0, 0]);
    const before = await sent();
    await ada.page.evaluate(async () => {
      const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === 'videoinput');
      const [track] = rallypoint.call.local.stream.getVideoTracks();
      const other = cameras.find(({ deviceId }) => deviceId !== track.getSettings().deviceId) ?? cameras[0];
      await rallypoint.call.use({ video: { deviceId: { exact: other.deviceId } } });
    });
    const camera = await sent();
    assert.notEqual(camera.id, before.id, 'another track is sent');
    await meshFlows(all);

    await ada.page.getByRole('button', { name: 'Share screen' }).click();
    await until('the screen is sent', async () => (await sent()).surface);
    await meshFlows(all);
    for (const one of others) await until('they are told', async () => /screen/.test(await tile(one.page, 'Ada').locator('.flags').textContent()));
    await ada.page.getByRole('button', { name: /Stop (sharing|screen)/ }).click();
    await until('the camera again', async () => !(await sent()).surface);
    await meshFlows(all);
    for (const one of all) assert.deepEqual(await stayed(one), STAYED);
    assert.deepEqual(await Promise.all(all.map(({ page }) => page.evaluate(() => offers))), [0, 0, 0, 0]);
    assert.deepEqual(faults(all), []);
  },
};
