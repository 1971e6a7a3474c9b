/**
 * Calls in a real browser, over a real server: `RALLYPOINT_BIN=… npm run test:browser [part of a name …]`. The browser,
 * the server and the bad network are those of `tests/browser`, where `npm ci` has to have been run.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { build } from 'rolldown';
import { launch, startServer, token, until } from '../../../../tests/browser/lib.mjs';
import { flaky } from '../../../../tests/browser/proxy.mjs';

const TEST_MS = 120_000;
const { output: [script] } = await build({
  input: new URL('page.js', import.meta.url).pathname,
  resolve: { extensionAlias: { '.js': ['.ts', '.js'] } },
  output: { format: 'iife', codeSplitting: false },
  write: false,
});

/** A page with nothing but the package; servers in `--dev` let every page from localhost in. */
const site = createServer((request, response) => {
  const [type, body] = request.url === '/page.js' ? ['text/javascript', script.code] : ['text/html', '<script src="/page.js"></script>'];
  response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(body);
});
await once(site.listen(0, '127.0.0.1'), 'listening');

const base = await startServer();
const browser = await launch();

/** A browser window. `join` and `call` are those of `page.js`. */
async function open(server = base) {
  const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(`${error}`));
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  return {
    page, faults,
    ask: (act, ...args) => page.evaluate(act, args),
    async join(name, room, { url = server.base, ...more } = {}) {
      const key = await token(server.base, { user: name, name });
      await page.evaluate(([who, where, how]) => join(who, where, how), [name, room, { url, token: key, ...more }]);
    },
    call: (name, options) => page.evaluate(([who, how]) => call(who, how), [name, options]),
    seen: (name) => page.evaluate((who) => seen(who), name),
    events: (name) => page.evaluate((who) => guests[who].events, name),
    status: (name, state) => page.waitForFunction(([who, what]) => guests[who].client.status.state === what, [name, state], { timeout: 30_000 }),
    close: () => context.close(),
  };
}

/** Waits until so many more frames came in at each than are there now. Each is [window, guest, from whom]. */
async function flows(...ways) {
  const frames = () => Promise.all(ways.map(async ([window, name, other]) => (await window.seen(name))[other]?.framesDecoded ?? 0));
  const before = await frames();
  await until('more frames on every way', async () => (await frames()).every((now, index) => now > before[index] + 5));
}

async function two(room, { options = {}, urls = [], server = base } = {}) {
  const [ada, bob] = [await open(server), await open(server)];
  await ada.join('ada', room, { options, url: urls[0] });
  await bob.join('bob', room, { options, url: urls[1] });
  return [ada, bob];
}
const both = (ada, bob) => flows([ada, 'ada', 'bob'], [bob, 'bob', 'ada']);
const noFaults = (...windows) =>
  assert.deepEqual(windows.flatMap(({ faults }) => faults).filter((fault) => !/net::ERR_|WebSocket connection to/.test(fault)), []);
/** How often descriptions were made here: what needs no negotiation makes none. */
const descriptions = (window) => window.ask(() => counts.descriptions);

const tests = {
  async 'three call each other: pictures on every pair, and each is measured'() {
    const names = ['ada', 'bob', 'cleo'];
    const windows = {};
    for (const name of names) {
      windows[name] = await open();
      await windows[name].join(name, 'three', { encoding: name === 'bob' ? 'json' : 'msgpack' });
    }
    await flows(...names.flatMap((name) => names.filter((other) => other !== name).map((other) => [windows[name], name, other])));
    for (const name of names) {
      // Rates are over the time since the last look, and what one peer just sent need not have left yet.
      const seen = await until('rates of every pair', async () => {
        const now = await windows[name].seen(name);
        return Object.values(now).every(({ sent, received }) => sent > 0 && received > 0) && now;
      });
      assert.deepEqual(Object.keys(seen).sort(), names.filter((other) => other !== name));
      for (const stats of Object.values(seen)) {
        assert.deepEqual([stats.state, stats.reason, stats.relayed, stats.protocol], ['connected', '', false, 'udp']);
        assert.ok(stats.width > 0 && stats.rtt >= 0 && stats.lost < 0.5, JSON.stringify(stats));
      }
      const tracks = await windows[name].ask(([who]) => [...pairs(who).values()].map(({ stream }) => stream.getTracks().map(({ kind }) => kind).sort()), name);
      assert.deepEqual(tracks, [['audio', 'video'], ['audio', 'video']]);
    }
    await windows.cleo.ask(() => guests.cleo.room.leave());
    await until('who left is gone', async () => (await windows.ada.events('ada')).includes('gone'));
    assert.deepEqual(await windows.cleo.events('cleo'), ['gone', 'gone', 'ended left']);
    await windows.bob.close();
    await until('whose window was closed is gone', async () => Object.keys(await windows.ada.seen('ada')).length === 0);
    assert.deepEqual(await windows.ada.events('ada'), ['peer bob', 'peer cleo', 'gone', 'gone']);
    noFaults(windows.ada, windows.cleo);
  },

  async 'data goes beside the pictures, and alone'() {
    for (const options of [{ data: true }, { data: true, audio: true, video: true }]) {
      const [ada, bob] = await two(`data/${Object.keys(options).length}`, { options });
      await until('both channels are open', async () =>
        (await Promise.all([[ada, 'ada', 'bob'], [bob, 'bob', 'ada']].map(([window, ...who]) =>
          window.ask(([name, other]) => Boolean(pair(name, other)?.channel), ...who)))).every(Boolean));
      assert.equal(await ada.ask(() => guests.ada.call.send('hello')), 1);
      assert.equal(await ada.ask(() => guests.ada.call.send(new Uint8Array([1, 2]), guests.ada.room.you.peer)), 0);
      assert.equal(await ada.ask(() => guests.ada.call.send(new Uint8Array([1, 2]))), 1);
      await until('all is heard', async () => (await bob.events('bob')).filter((event) => /^data/.test(event)).length === 2);
      assert.deepEqual((await bob.events('bob')).slice(-2), ['data ada hello', 'data ada 1,2']);
      if (options.audio) await both(ada, bob);
      else assert.equal(await ada.ask(() => pair('ada', 'bob').connection.getTransceivers().length + counts.tracks.length), 0);
      noFaults(ada, bob);
      await Promise.all([ada.close(), bob.close()]);
    }
  },

  async 'offers that cross, fifty times: the polite one gives way, and both send on'() {
    // Both in one window, so that both begin in the same moment and cross for certain.
    const window = await open();
    await window.join('ada', 'glare');
    await window.join('bob', 'glare');
    await both(window, window);
    const result = await window.ask(async () => {
      const ends = [pair('ada', 'bob'), pair('bob', 'ada')];
      const before = ends.map(({ connection }) => connection);
      const next = (what, condition) => new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`${what}: ${before.map(({ signalingState }) => signalingState)}`)), 10_000);
        const look = () => {
          if (!condition()) return requestAnimationFrame(look);
          clearTimeout(late);
          resolve();
        };
        look();
      });
      const names = () => before.map(({ currentLocalDescription }) => /ice-ufrag:(\S+)/.exec(currentLocalDescription.sdp)[1]);
      const video = (end) => end.connection.getTransceivers().find(({ receiver }) => receiver.track.kind === 'video');
      const [rollbacks, given] = [counts.rollbacks, counts.given];
      for (let round = 0; round < 50; round += 1) {
        const old = names();
        for (const end of ends) {
          end.connection.restartIce();
          if (round % 2) video(end).direction = 'recvonly';
        }
        await next(`round ${round}`, () =>
          before.every(({ signalingState }) => signalingState === 'stable')
          && counts.rollbacks === rollbacks + round + 1
          && names().every((name, index) => name !== old[index]));
        for (const end of ends) video(end).direction = 'sendrecv';
      }
      await next('both send', () => ends.every((end) => video(end).currentDirection === 'sendrecv'));
      return {
        rollbacks: counts.rollbacks - rollbacks,
        given: counts.given - given >= 100,
        same: ends.every(({ connection }, index) => connection === before[index]),
        parts: before.map((each) => each.getTransceivers().length),
        states: ends.map(({ state, reason }) => state + reason),
      };
    });
    assert.deepEqual(result, { rollbacks: 50, given: true, same: true, parts: [2, 2], states: ['connected', 'connected'] });
    await both(window, window);
    noFaults(window);
  },

  async 'an answer that the browser refuses: both have another connection, whoever offered'() {
    const [ada, bob] = await two('refused');
    for (const [window, name, other] of [[ada, 'ada', 'bob'], [bob, 'bob', 'ada']]) {
      await both(ada, bob);
      await window.ask(([...who]) => {
        const { connection } = pair(...who);
        Object.assign(globalThis, { before: connection, refusedAnswers: 1 });
        connection.restartIce();
      }, name, other);
      await until(`${name} has another connection`, () => window.ask(([...who]) => pair(...who).connection !== before, name, other));
      await both(ada, bob);
    }
    assert.deepEqual([...await ada.events('ada'), ...await bob.events('bob')], ['peer bob'], 'to the application it is the same peer');
    noFaults(ada, bob);
  },

  async 'microphone, camera, another device and the screen: all without a negotiation'() {
    const [ada, bob] = await two('devices');
    await both(ada, bob);
    await until('the negotiation is over', async () =>
      (await Promise.all([ada, bob].map((window) => window.ask(() => counts.connections.at(-1).signalingState)))).every((state) => state === 'stable'));
    const before = await Promise.all([descriptions(ada), descriptions(bob)]);
    const flags = () => ada.ask(() => {
      const { muted, cameraOff, sharing, mine } = [...guests.ada.room.members.values()].find(({ user }) => user === 'bob').state ?? {};
      return { muted, cameraOff, sharing, mine };
    });
    const flagged = (wish) => until(`Ada sees ${JSON.stringify(wish)}`, async () => {
      try {
        assert.deepEqual(await flags(), wish);
        return true;
      } catch {
        return false;
      }
    });
    const local = () => bob.ask(() => {
      const { stream, ...rest } = guests.bob.call.local;
      return { ...rest, tracks: stream.getTracks().map(({ kind, contentHint }) => kind + contentHint).sort() };
    });
    await flagged({ muted: false, cameraOff: false, sharing: false, mine: undefined });
    // What the application has in its state stays, and the call's keys stay beside it.
    await bob.ask(() => guests.bob.room.update({ mine: 1, muted: 'nonsense' }));
    await flagged({ muted: false, cameraOff: false, sharing: false, mine: 1 });
    await bob.ask(() => guests.bob.call.setAudio(false));
    await flagged({ muted: true, cameraOff: false, sharing: false, mine: 1 });

    await bob.ask(() => guests.bob.call.setVideo(false));
    assert.equal(await bob.ask(() => counts.tracks.filter(({ kind, readyState }) => kind === 'video' && readyState === 'live').length), 0, 'the light is off');
    await flagged({ muted: true, cameraOff: true, sharing: false, mine: 1 });
    assert.deepEqual(await local(), { audio: false, video: false, sharing: false, tracks: ['audio'] });
    await bob.ask(() => guests.bob.call.setVideo(true));
    await flagged({ muted: true, cameraOff: false, sharing: false, mine: 1 });
    await flows([ada, 'ada', 'bob']);

    // The fake camera is one; another size tells it apart.
    await bob.ask(() => guests.bob.call.use({ video: { width: 320, height: 240 }, audio: {} }));
    await until('the other picture', async () => (await ada.seen('ada')).bob.width === 320);
    assert.equal(await bob.ask(() => counts.tracks.filter(({ readyState }) => readyState === 'live').length), 2, 'the old devices are closed');
    assert.equal(await bob.ask(() => guests.bob.call.local.audio), false, 'another microphone is muted like the one before');
    await bob.ask(() => guests.bob.call.setAudio(true));

    await bob.ask(() => guests.bob.call.share());
    assert.deepEqual(await local(), { audio: true, video: true, sharing: true, tracks: ['audio', 'videodetail'] });
    await flagged({ muted: false, cameraOff: false, sharing: true, mine: 1 });
    await until('the screen is seen', async () => (await ada.seen('ada')).bob.width !== 320);
    // As the browser's own button does.
    await bob.ask(() => {
      const screen = guests.bob.call.local.stream.getVideoTracks()[0];
      screen.stop();
      screen.dispatchEvent(new Event('ended'));
    });
    await until('the camera is back', async () => (await ada.seen('ada')).bob.width === 320);
    await flagged({ muted: false, cameraOff: false, sharing: false, mine: 1 });
    await bob.ask(() => guests.bob.call.share());
    await bob.ask(() => guests.bob.call.stopSharing());
    await flows([ada, 'ada', 'bob']);
    // A camera that is pulled out, and one that is refused.
    await bob.ask(() => {
      const camera = guests.bob.call.local.stream.getVideoTracks()[0];
      camera.stop();
      camera.dispatchEvent(new Event('ended'));
    });
    await flagged({ muted: false, cameraOff: true, sharing: false, mine: 1 });
    assert.equal((await local()).fault, 'The camera is gone.');
    await bob.ask(() => {
      globalThis.refusal = 'NotReadableError';
      return guests.bob.call.setVideo(true);
    });
    assert.equal((await local()).fault, 'The camera was in use by another program: close that, and try again.');
    assert.deepEqual(await Promise.all([descriptions(ada), descriptions(bob)]), before);
    // Two tasks at once end as the last one says, and an end in the middle leaves no device open.
    await bob.ask(() => {
      globalThis.refusal = undefined;
      void guests.bob.call.setVideo(true);
      return guests.bob.call.setVideo(false);
    });
    assert.deepEqual((await local()).tracks, ['audio']);
    await bob.ask(async () => {
      const opening = guests.bob.call.setVideo(true);
      await Promise.resolve();
      guests.bob.call.end();
      await opening;
    });
    assert.equal((await bob.ask(() => left())).devices, 0);
    await until('Bob is gone', async () => (await ada.events('ada')).includes('gone'));
    await flagged({ muted: 'nonsense', cameraOff: undefined, sharing: undefined, mine: 1 });
    noFaults(ada, bob);
  },

  async 'who has no camera sees, and is seen once there is one, whoever offers'() {
    for (const blind of ['ada', 'bob']) {
      const windows = { ada: await open(), bob: await open() };
      await windows[blind].ask(() => (globalThis.refusal = 'NotAllowedError'));
      for (const name of ['ada', 'bob']) await windows[name].join(name, `blind/${blind}`);
      const other = blind === 'ada' ? 'bob' : 'ada';
      assert.match(await windows[blind].ask(([name]) => guests[name].call.local.fault, blind), /^The microphone and camera were not allowed: /);
      await flows([windows[blind], blind, other]);
      assert.equal(await windows[other].ask(([...who]) => pair(...who[0]).stream.getTracks().length, [other, blind]), 0);
      const before = await descriptions(windows[blind]);
      await windows[blind].ask(([name]) => {
        globalThis.refusal = undefined;
        return guests[name].call.share();
      }, blind);
      await flows([windows[other], other, blind]);
      await windows[blind].ask(([name]) => guests[name].call.stopSharing(), blind);
      await windows[blind].ask(([name]) => guests[name].call.setVideo(true), blind);
      await flows([windows[other], other, blind]);
      assert.equal(await descriptions(windows[blind]), before + 1);
      noFaults(windows.ada, windows.bob);
      await Promise.all([windows.ada.close(), windows.bob.close()]);
    }
  },

  async 'a given stream is sent, and is not ours to stop'() {
    const [ada, bob] = [await open(), await open()];
    await ada.join('ada', 'given', { options: { audio: false, video: false } });
    await bob.join('bob', 'given', { options: null });
    await bob.ask(async () => {
      const canvas = document.createElement('canvas');
      const brush = canvas.getContext('2d');
      globalThis.given = canvas.captureStream();
      globalThis.painting = setInterval(() => brush.fillRect(Math.random() * 100, 0, 9, 9), 40);
      await call('bob', { stream: given });
    });
    await flows([ada, 'ada', 'bob']);
    await bob.ask(() => guests.bob.call.setVideo(false));
    await bob.ask(() => guests.bob.call.setVideo(true));
    await flows([ada, 'ada', 'bob']);
    await bob.ask(() => guests.bob.call.end());
    assert.deepEqual(await bob.ask(() => [given.getTracks().map(({ readyState }) => readyState), counts.tracks.length]), [['live'], 0]);
    noFaults(ada, bob);
  },

  async 'a lost socket: the call goes on, and what happened meanwhile is made up for'() {
    const proxy = await flaky(base.port);
    const [ada, bob] = await two('cut', { urls: [proxy.base] });
    await both(ada, bob);
    const before = await ada.ask(() => (globalThis.before = pair('ada', 'bob').connection) && guests.ada.room.you.peer);
    proxy.cut();
    await ada.status('ada', 'reconnecting');
    await both(ada, bob);
    // Muted and negotiated while away: it goes out later.
    await ada.ask(() => {
      guests.ada.call.setAudio(false);
      pair('ada', 'bob').connection.restartIce();
    });
    proxy.mend();
    await ada.status('ada', 'connected');
    await until('Bob sees it', () => bob.ask(() => pair('bob', 'ada').member.state.muted));
    await both(ada, bob);
    assert.deepEqual(await ada.ask(() => [guests.ada.room.you.peer, pair('ada', 'bob').connection === before, guests.ada.events]), [before, true, ['peer bob']]);
    assert.deepEqual(await bob.events('bob'), []);
    noFaults(ada, bob);
    await proxy.close();
  },

  async 'a socket that is lost in the middle of a negotiation'() {
    for (const [who, verdict, sees] of [
      ['bob', 'drop', (from, type) => from === 'page' && type === 'offer'],
      ['bob', 'cut', (from, type) => from === 'page' && type === 'offer'],
      ['ada', 'cut', (from, type) => from === 'server' && type === 'offer'],
      ['bob', 'drop', (from, type) => from === 'server' && type === 'answer'],
    ]) {
      const proxy = await flaky(base.port);
      let cut = false;
      proxy.watch = (from, { type }) => {
        if (cut || !sees(from, type)) return undefined;
        cut = true;
        return verdict;
      };
      const [ada, bob] = await two(`middle/${who}/${verdict}/${sees}`.replace(/[^a-z/]/g, ''), { urls: who === 'ada' ? [proxy.base] : [undefined, proxy.base] });
      await until('the cut', () => cut);
      await (who === 'ada' ? ada : bob).status(who, 'reconnecting');
      proxy.mend();
      await both(ada, bob);
      noFaults(ada, bob);
      await Promise.all([ada.close(), bob.close(), proxy.close()]);
    }
  },

  async 'a server that is killed under a call, and another in its place'() {
    const first = await startServer();
    const [ada, bob] = await two('restart', { server: first });
    const cleo = await open(first);
    await cleo.join('cleo', 'restart');
    await flows([ada, 'ada', 'bob'], [ada, 'ada', 'cleo'], [bob, 'bob', 'ada'], [bob, 'bob', 'cleo']);
    for (const [window, name] of [[ada, 'ada'], [bob, 'bob']]) {
      await window.ask(([who]) => (globalThis.before = new Map([...pairs(who)].map(([user, { connection }]) => [user, connection]))) && undefined, name);
    }
    await bob.ask(() => guests.bob.call.setAudio(false));
    await first.stop('SIGKILL');
    for (const [window, name] of [[ada, 'ada'], [bob, 'bob']]) await window.status(name, 'reconnecting');
    await both(ada, bob);
    // Cleo does not come back, and nobody can say so: the call with her ends when her connection fails, or her time is over.
    await cleo.ask(() => guests.cleo.client.close());
    const second = await startServer({ port: first.port });
    for (const [window, name] of [[ada, 'ada'], [bob, 'bob']]) await window.status(name, 'connected');
    await until('still muted', () => ada.ask(() => [...guests.ada.room.members.values()].find(({ user }) => user === 'bob')?.state?.muted));
    await both(ada, bob);
    for (const [window, name, other] of [[ada, 'ada', 'bob'], [bob, 'bob', 'ada']]) {
      assert.ok(await window.ask(([who, to]) => pair(who, to).connection === before.get(to), name, other), 'the same connection');
      await until('Cleo is gone, and she alone', async () =>
        (await window.ask(([who]) => [...guests[who].call.peers.values()].length, name)) === 1);
      assert.deepEqual((await window.events(name)).filter((event) => !/^peer/.test(event)), ['gone']);
    }
    await both(ada, bob);
    noFaults(ada, bob);
    await second.stop('SIGKILL');
  },

  async 'who hangs up is gone, and is called again by calling'() {
    for (const who of ['ada', 'bob']) {
      const other = who === 'ada' ? 'bob' : 'ada';
      const [ada, bob] = await two(`again/${who}`);
      const windows = { ada, bob };
      await both(ada, bob);
      await windows[who].ask(([name]) => guests[name].call.end(), who);
      await until('gone', async () => (await windows[other].events(other)).at(-1) === 'gone');
      await windows[who].call(who, {});
      await both(ada, bob);
      // A second call takes the place of the first.
      await windows[who].call(who, {});
      await both(ada, bob);
      assert.deepEqual(
        (await windows[who].events(who)).filter((event) => /^ended/.test(event)),
        ['ended hung up', 'ended replaced by another call'],
      );
      assert.equal((await windows[who].ask(() => left())).connections, 1);
      noFaults(ada, bob);
      await Promise.all([ada.close(), bob.close()]);
    }
  },

  async 'no way through is said in words, and a way is found once there is one'() {
    const [ada, bob] = await two('relay', { options: { iceTransportPolicy: 'relay' } });
    for (const [window, name, other] of [[ada, 'ada', 'bob'], [bob, 'bob', 'ada']]) {
      await until('the reason', async () => (await window.seen(name))[other].reason === 'No TURN server is configured, and this call may take no other way.');
    }
    await until('given up for now', async () => (await ada.seen('ada')).bob.state === 'failed', 40_000);
    // As if there were a TURN server now.
    for (const window of [ada, bob]) {
      await window.ask(() => {
        globalThis.rules = { iceTransportPolicy: 'all' };
        dispatchEvent(new Event('online'));
      });
    }
    await both(ada, bob);
    assert.deepEqual([(await ada.seen('ada')).bob, (await bob.seen('bob')).ada].map(({ state, reason }) => state + reason), ['connected', 'connected']);
    noFaults(ada, bob);
  },

  async 'a connection that breaks is mended by one of both, and stands again'() {
    const [ada, bob] = await two('broken', { options: { data: true, audio: true, video: true } });
    await both(ada, bob);
    // A connection that is closed under the call is beyond new candidates: the peer's new one takes its place here, too.
    for (const [window, name, other] of [[bob, 'bob', 'ada'], [ada, 'ada', 'bob']]) {
      await window.ask(([...who]) => {
        const { connection } = pair(...who);
        connection.close();
        connection.onconnectionstatechange();
      }, name, other);
      await until('it stands again', async () =>
        [(await ada.seen('ada')).bob, (await bob.seen('bob')).ada].every(({ state, framesDecoded }) => state === 'connected' && framesDecoded > 0), 40_000);
      await both(ada, bob);
    }
    assert.deepEqual([await ada.events('ada'), await bob.events('bob')], [['peer bob'], []]);
    noFaults(ada, bob);
  },

  async 'an ended call leaves nothing behind'() {
    const window = await open();
    const idle = await window.ask(() => left());
    await window.join('ada', 'left', { options: { data: true, audio: true, video: true } });
    await window.join('bob', 'left', { options: { data: true, audio: true, video: true } });
    await both(window, window);
    // One that is being mended, and one whose peer is awaited, have timers.
    await window.ask(() => {
      const { connection } = pair('ada', 'bob');
      connection.close();
      connection.onconnectionstatechange();
      for (const { call } of [guests.ada, guests.bob]) call.end();
    });
    const [first, second] = await window.ask(() => [guests.ada, guests.bob].map(({ events }) => events));
    assert.deepEqual([first, second], [['peer bob', 'gone', 'ended hung up'], ['gone', 'ended hung up']]);
    // The clients have timers of their own.
    await window.ask(() => [guests.ada, guests.bob].forEach(({ client }) => client.close()));
    await until('nothing is left', async () => {
      assert.deepEqual(await window.ask(() => left()), idle);
      return true;
    }, 8_000);
    noFaults(window);
  },
};

let [passed, failed] = [0, 0];
const wanted = process.argv.slice(2);
try {
  for (const [name, test] of Object.entries(tests)) {
    if (wanted.length && !wanted.some((part) => name.includes(part))) continue;
    const start = performance.now();
    const took = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${TEST_MS} ms`)), TEST_MS);
    });
    try {
      await Promise.race([test(), late]);
      passed += 1;
      console.log(`ok      ${name} (${took()})`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name} (${took()})`);
      console.log(error);
    } finally {
      clearTimeout(timer);
      for (const context of browser.contexts()) await context.close().catch(() => {});
    }
  }
} finally {
  await browser.close();
  await base.stop();
  site.close();
}
console.log(`${passed} passed, ${failed} failed`);
// Nothing ran is no success either: a misspelt name must not look green.
process.exit(failed || !passed ? 1 : 0);
