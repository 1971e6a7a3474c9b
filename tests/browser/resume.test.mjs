/** A page that loses its socket, or its server, comes back as the same peer, and its calls go on meanwhile. */

import assert from 'node:assert/strict';
import { allHear, flows, lines, pair, seen, seesAndHears, tile, watch } from './calls.mjs';
import { guest, startServer, until } from './lib.mjs';
import { flaky } from './proxy.mjs';

/** What the browser itself says about sockets that broke off. */
const ofNetwork = (fault) => /net::ERR_|WebSocket connection to/.test(fault);
const faults = (...guests) => guests.flatMap((each) => each.faults).filter((fault) => !ofNetwork(fault));
const port = (base) => new URL(base).port;
const CAME_BACK = { tiles: 0, states: ['reconnecting', 'connected'], samePeer: true, sameCall: true };
const STAYED = { tiles: 0, states: [], samePeer: true, sameCall: true };

/** A cut at the worst moment of a negotiation: Bob offers, Ada answers. `who` is cut off when `sees` says so. */
const negotiation = (room, who, sees) => async ({ browser, base, after }) => {
  const proxy = await flaky(port(base));
  after(() => proxy.close());
  let cut;
  proxy.watch = (from, { type }) => {
    const verdict = cut ? undefined : sees(from, type);
    cut ||= verdict;
    return verdict;
  };
  const ada = await guest(browser, who === 'ada' ? proxy.base : base, { name: 'Ada', room });
  const bob = await guest(browser, who === 'bob' ? proxy.base : base, { name: 'Bob', room });
  await ada.join();
  await ada.status('connected');
  await bob.join();
  await until('the cut', () => cut);
  const away = who === 'ada' ? ada : bob;
  await away.status('reconnecting');
  const peers = () => Promise.all([ada, bob].map(({ page }) => page.evaluate(() => rallypoint.room?.you.peer)));
  const before = await until('both have been in the room', async () => {
    const both = await peers();
    return both.every(Boolean) && both;
  });
  proxy.mend();
  await away.status('connected');
  await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
  assert.deepEqual(await peers(), before);
  for (const each of [ada, bob]) {
    assert.equal(await each.page.locator('.tile').count(), 2);
    assert.doesNotMatch((await lines(each)).join(), /left|no longer known/);
  }
  assert.deepEqual(faults(ada, bob), []);
};

/** A server that goes away under a call, and another in its place. */
const restart = (signal) => async ({ browser, after }) => {
  const first = await startServer();
  after(() => first.stop('SIGKILL'));
  const [ada, bob] = await pair({ browser, base: first.base }, 'resume/restart');
  await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
  await Promise.all([watch(ada), watch(bob)]);
  await ada.page.getByRole('button', { name: 'Mute' }).click();
  await until('Bob sees it', async () => (await tile(bob.page, 'Ada').locator('.flags').textContent()) === 'muted');

  await first.stop(signal);
  for (const each of [ada, bob]) await each.status('reconnecting');
  // Only now, so that the attempts in between have failed at least once.
  await until('a failed attempt', async () => /does not answer/.test(await ada.page.locator('#status').textContent()));
  await flows(ada, bob);
  await ada.shot(`reconnecting-${signal}`);

  // Whatever is told of who is here while they come back, one after the other.
  await Promise.all([ada, bob].map(({ page }) =>
    page.evaluate(() => {
      window.shown = new Set();
      const look = () => {
        shown.add(document.querySelector('#count').textContent);
        const names = [...document.querySelectorAll('.tile .name')].map((name) => name.textContent.replace(' (you)', ''));
        for (const name of names.sort()) shown.add(name);
      };
      look();
      new MutationObserver(look).observe(document.querySelector('#stage'), { subtree: true, childList: true });
    })));
  const second = await startServer({ port: first.port });
  after(() => second.stop('SIGKILL'));
  for (const each of [ada, bob]) await each.status('connected');
  for (const { page } of [ada, bob]) assert.deepEqual(await page.evaluate(() => [...shown]), ['2 here', 'Ada', 'Bob']);
  for (const { page } of [ada, bob]) {
    await until('both are here again', async () => (await page.locator('#count').textContent()) === '2 here');
  }
  await flows(ada, bob);
  await ada.say('back again');
  await bob.heard('Ada', 'back again');
  await bob.say('me too');
  await allHear('Bob', 'me too', ada, bob);
  for (const each of [ada, bob]) {
    assert.deepEqual(await seen(each), CAME_BACK);
    const chat = await lines(each);
    const from = chat.findIndex((line) => /no longer known/.test(line));
    assert.deepEqual(chat.slice(from + 1), ['Ada: back again', 'Bob: me too']);
    assert.doesNotMatch(chat.join(), /left/);
  }
  await until('still muted', async () => (await tile(bob.page, 'Ada').locator('.flags').textContent()) === 'muted');
  await bob.shot(`restarted-${signal}`);
  assert.deepEqual(faults(ada, bob), []);
};

export const tests = {
  async 'a lost socket in a call: the same peer, the same call, nothing lost, nothing twice'({ browser, base, after }) {
    const proxy = await flaky(port(base));
    after(() => proxy.close());
    const [ada, bob] = await pair({ browser }, 'resume/call', [proxy.base, base]);
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    await bob.say('before');
    await ada.heard('Bob', 'before');
    await Promise.all([watch(ada), watch(bob)]);

    // The server gets this message, and Ada no answer to it.
    proxy.watch = (from, { type }) => from === 'page' && type === 'message' && 'cut';
    await ada.say('at the cut');
    await ada.status('reconnecting');
    await bob.heard('Ada', 'at the cut');
    proxy.watch = undefined;
    for (const text of ['one', 'two']) await bob.say(text);
    await bob.heard('Bob', 'two');
    await ada.say('from afar');
    // It waits where it will stand, and nothing is told of a line that is not there.
    const waiting = ada.page.locator('#unsent li');
    await until('it waits', async () => /from afar.*not sent yet/.test(await waiting.last().textContent()));
    assert.equal(await ada.page.locator('#clock').isVisible(), false);
    await ada.page.getByRole('button', { name: 'Mute' }).click();
    await flows(ada, bob);
    assert.equal(await tile(bob.page, 'Ada').locator('.flags').textContent(), '');
    await bob.shot('resume-away');
    proxy.mend();
    await ada.status('connected');
    await bob.heard('Ada', 'from afar');
    const flags = tile(bob.page, 'Ada').locator('.flags');
    await until('Bob sees that she is muted', async () => (await flags.textContent()) === 'muted');
    await until('nothing waits', async () => (await waiting.count()) === 0);
    await bob.say('after');
    await allHear('Bob', 'after', ada, bob);
    await flows(ada, bob);

    const chat = ['Bob: before', 'Ada: at the cut', 'Bob: one', 'Bob: two', 'Ada: from afar', 'Bob: after'];
    assert.deepEqual(await lines(ada), ['You are in the room resume/call.', 'Bob joined.', ...chat]);
    assert.deepEqual(await lines(bob), ['You are in the room resume/call.', ...chat]);
    assert.deepEqual(await seen(ada), CAME_BACK);
    assert.deepEqual(await seen(bob), STAYED);
    await ada.shot('resume-ada');
    assert.deepEqual(faults(ada, bob), []);
  },

  async 'more words without an answer than the server remembers answers'({ browser, after }) {
    // All words and their repetitions go out within a second, which is above the usual rate: a refused word goes out
    // later and so behind others.
    const server = await startServer({ env: { RALLYPOINT_LIMITS__REQUESTS_BURST: '1000' } });
    after(() => server.stop('SIGKILL'));
    const proxy = await flaky(server.port);
    after(() => proxy.close());
    const [ada, bob] = await pair({ browser }, 'resume/many', [proxy.base, server.base]);
    const words = Array.from({ length: 80 }, (_, index) => `word ${index}`);
    const heard = async () => (await lines(bob)).filter((line) => /^Ada: word/.test(line));
    let sent = 0;
    proxy.watch = (from, { type }) => {
      sent += from === 'page' && type === 'message';
      return from === 'server' && 'hold';
    };
    await ada.page.evaluate((all) => {
      window.answers = Promise.allSettled(all.map((text) => rallypoint.room.say(text)));
    }, words);
    // There is room for 64 requests; the call's signals may take some of it.
    await until('the server has all that was sent', async () => sent >= 48 && (await heard()).length === sent);
    proxy.cut();
    proxy.watch = undefined;
    await ada.status('reconnecting');
    proxy.mend();
    const answers = await ada.page.evaluate(() => answers);
    assert.deepEqual(answers.filter(({ status }) => status !== 'fulfilled'), []);
    await bob.heard('Ada', words.at(-1));
    const all = words.map((word) => `Ada: ${word}`);
    assert.deepEqual(await heard(), all);
    assert.deepEqual((await lines(ada)).filter((line) => /^Ada: word/.test(line)), all);
  },

  'a cut when the offer is on its way to the server': negotiation(
    'resume/sent', 'bob', (from, type) => from === 'page' && type === 'offer' && 'drop',
  ),
  'a cut when the server has the offer and its sender no answer': negotiation(
    'resume/unanswered', 'bob', (from, type) => from === 'page' && type === 'offer' && 'cut',
  ),
  'a cut when the offer has just arrived': negotiation(
    'resume/arrived', 'ada', (from, type) => from === 'server' && type === 'offer' && 'cut',
  ),
  'a cut before the answer arrives': negotiation(
    'resume/answer', 'bob', (from, type) => from === 'server' && type === 'answer' && 'drop',
  ),

  async 'an offer that the server no longer has is made up for'({ browser, after }) {
    // It keeps two events, so that a few words are enough and the page cannot go on where it was.
    const server = await startServer({ env: { RALLYPOINT_ROOM__HISTORY_EVENTS: '2' } });
    after(() => server.stop('SIGKILL'));
    const proxy = await flaky(server.port);
    after(() => proxy.close());
    let lost = false;
    proxy.watch = (from, { type }) => {
      if (lost || from !== 'server' || type !== 'offer') return undefined;
      lost = true;
      return 'drop';
    };
    const [ada, bob] = await pair({ browser }, 'resume/trimmed', [proxy.base, server.base]);
    await ada.status('reconnecting');
    for (const text of ['one', 'two', 'three']) await bob.say(text);
    await bob.heard('Bob', 'three');
    proxy.mend();
    await ada.status('connected');
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    assert.match((await lines(ada)).join(), /no longer known/);
    assert.equal(await ada.page.evaluate(() => rallypoint.client.session.resumed), false);
    assert.deepEqual(faults(ada, bob), []);
  },

  'a server that is killed under a call: the call goes on': restart('SIGKILL'),
  'a server that shuts down under a call: the call goes on': restart('SIGTERM'),

  async 'a server that is restarted in the middle of a negotiation'({ browser, after }) {
    const first = await startServer();
    after(() => first.stop('SIGKILL'));
    const proxy = await flaky(first.port);
    after(() => proxy.close());
    let lost = false;
    proxy.watch = (from, { type }) => {
      if (lost || from !== 'server' || type !== 'offer') return undefined;
      lost = true;
      return 'drop';
    };
    const [ada, bob] = await pair({ browser }, 'resume/middle', [proxy.base, first.base]);
    await ada.status('reconnecting');
    await first.stop();
    const second = await startServer({ port: first.port });
    after(() => second.stop('SIGKILL'));
    proxy.mend();
    for (const each of [ada, bob]) await each.status('connected');
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    for (const { page } of [ada, bob]) assert.equal(await page.locator('.tile').count(), 2);
    assert.deepEqual(faults(ada, bob), []);
  },

  async 'who does not come back to a restarted server is let go'({ browser, after }) {
    const first = await startServer();
    after(() => first.stop('SIGKILL'));
    const [ada, bob] = await pair({ browser, base: first.base }, 'resume/alone');
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    await watch(ada);
    // Bob's call stands, but his way to the server is gone for good.
    await bob.page.route('**/dev/token', (route) => route.abort());
    await first.stop('SIGKILL');
    const second = await startServer({ port: first.port });
    after(() => second.stop('SIGKILL'));
    await ada.status('connected');
    await until('alone in the room', () => ada.page.evaluate(() => rallypoint.room.count === 1));
    assert.equal(await ada.page.locator('#count').textContent(), '2 here', 'as long as his picture is there');
    assert.deepEqual(await seen(ada), { ...CAME_BACK, states: ['reconnecting', 'connected'] });
    await until('his tile is gone', async () => (await ada.page.locator('.tile').count()) === 1);
    assert.equal(await ada.page.locator('#count').textContent(), '1 here');
    assert.equal(await ada.page.evaluate(() => rallypoint.call.peers.size), 0);
  },

  async 'a loss that outlasts the grace: a new peer, and what was said is told once'({ browser, after }) {
    const server = await startServer({ env: { RALLYPOINT_LIMITS__RESUME_GRACE_MS: '500' } });
    after(() => server.stop('SIGKILL'));
    const proxy = await flaky(server.port);
    after(() => proxy.close());
    const [ada, bob] = await pair({ browser }, 'resume/late', [proxy.base, server.base]);
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    await bob.say('before');
    await ada.heard('Bob', 'before');
    await watch(ada);
    // What is on its way at the cut may have arrived or not; what is said after it waits.
    proxy.watch = (from, { type }) => from === 'page' && type === 'message' && 'drop';
    await ada.say('in vain');
    await ada.status('reconnecting');
    proxy.watch = undefined;
    await until('Bob sees her leave', async () => (await bob.page.locator('.tile').count()) === 1);
    for (const text of ['one', 'two', 'three']) await bob.say(text);
    await bob.heard('Bob', 'three');
    await ada.say('from afar');
    proxy.mend();
    await ada.status('connected');
    await ada.page.getByText('Perhaps not sent: connection lost').waitFor();
    assert.equal(await ada.page.getByLabel('Message', { exact: true }).inputValue(), 'in vain', 'it can be sent again');
    await bob.heard('Ada', 'from afar');
    await bob.say('after');
    await ada.heard('Bob', 'after');
    assert.match(await ada.page.locator('#log .failed').textContent(), /in vain.*Perhaps not sent: connection lost/);
    assert.equal(await ada.page.locator('#unsent li').count(), 0);
    const said = await ada.page.locator('#log li:not(.failed) b + span').allTextContents();
    assert.deepEqual(said, ['before', 'one', 'two', 'three', 'from afar', 'after']);
    assert.doesNotMatch(await ada.page.locator('#log').textContent(), /no longer known/);
    assert.equal((await seen(ada)).samePeer, false);
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    assert.equal(await ada.page.locator('.tile').count(), 2);
    assert.deepEqual(faults(ada, bob), []);
  },

  async 'a second tab that takes the session over: the first is told and stops'({ browser, base }) {
    const [ada, bob] = await pair({ browser, base }, 'resume/copied');
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    await watch(bob);
    let sockets = 0;
    ada.page.on('websocket', () => (sockets += 1));
    const resume = await ada.page.evaluate(() => rallypoint.client.session.resume);
    const copy = await (await browser.newContext()).newPage();
    await copy.goto(base);
    const joined = await copy.evaluate(
      (token) =>
        new Promise((done) => {
          window.socket = new WebSocket(`${location.origin.replace('http', 'ws')}/v1/ws`, 'rallypoint.v1.json');
          socket.onopen = () => socket.send(JSON.stringify({ type: 'resume', token, received: 0, positions: {} }));
          socket.onmessage = ({ data }) => JSON.parse(data).type === 'joined' && done(JSON.parse(data));
          socket.onclose = ({ code, reason }) => done({ code, reason });
        }),
      resume,
    );
    await ada.status('refused');
    assert.match(await ada.page.locator('#status').textContent(), /took over.*4410/);
    await ada.shot('resume-copied');
    assert.equal(joined.you?.user, await ada.page.evaluate(() => rallypoint.room.you.user));
    await copy.evaluate(() =>
      socket.send(JSON.stringify({ type: 'message', id: 1_000, room: 'resume/copied', text: 'from the copy' })));
    await bob.heard('Ada', 'from the copy');
    assert.equal(await copy.evaluate(() => socket.readyState), 1, 'nobody took it back');
    assert.equal(sockets, 0);
    const passing = (await lines(bob)).filter((line) => /left|joined/.test(line));
    assert.equal(passing.length, 0, 'to the others nothing has happened');
  },
};
