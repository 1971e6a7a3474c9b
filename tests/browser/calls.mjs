/** What the browser tests of calls share: two in a call, and whether it works. */

import assert from 'node:assert/strict';
import { guest, until } from './lib.mjs';

/** What the only call of this page receives, from getStats: running totals, and the candidate pair in use. */
export const received = (page) =>
  page.evaluate(async () => {
    const [call] = rallypoint.call.peers.values();
    if (!call) return null;
    const stats = [...(await call.connection.getStats()).values()];
    const inbound = (kind) => stats.find((each) => each.type === 'inbound-rtp' && each.kind === kind);
    const transport = stats.find((each) => each.type === 'transport');
    const pair = stats.find((each) => each.id === transport?.selectedCandidatePairId);
    const type = (id) => stats.find((each) => each.id === id)?.candidateType;
    return {
      frames: inbound('video')?.framesDecoded ?? 0,
      energy: inbound('audio')?.totalAudioEnergy ?? 0,
      pair: pair && { state: pair.state, local: type(pair.localCandidateId), remote: type(pair.remoteCandidateId) },
    };
  });

export async function seesAndHears({ page }) {
  const first = await until('first frames and sound', async () => {
    const now = await received(page);
    return now?.frames > 0 && now.energy > 0 && now;
  });
  await until('more frames and more sound', async () => {
    const now = await received(page);
    return now.frames > first.frames && now.energy > first.energy;
  });
  // The chosen pair is checked again and again, and "in-progress" while it is.
  const pair = await until('the chosen pair to have succeeded', async () => {
    const { pair } = await received(page);
    return pair?.state === 'succeeded' && pair;
  });
  assert.ok(pair.local && pair.remote, 'both candidates of the pair are known');
}

/** Waits for these words in the chat of each: who said them has them from the server as well, and perhaps last. */
export const allHear = (from, text, ...guests) => Promise.all(guests.map((guest) => guest.heard(from, text)));

/** The tile of a person, by name. */
export const tile = (page, name) => page.locator('.tile', { has: page.getByText(name, { exact: true }) });

/**
 * Ada and Bob in a room, Bob the later one. Their pages may come from addresses of their own, and be prepared before
 * they join.
 */
export async function pair({ browser, base }, room, [adas, bobs] = [base, base], prepare = async () => {}) {
  const ada = await guest(browser, adas, { name: 'Ada', room });
  const bob = await guest(browser, bobs, { name: 'Bob', room });
  await Promise.all([prepare(ada), prepare(bob)]);
  await ada.join();
  await ada.status('connected');
  await bob.join();
  await bob.status('connected');
  return [ada, bob];
}

/** From here on notes whatever must not happen, or must, while somebody is away; `seen` tells it. */
export const watch = ({ page }) =>
  page.evaluate(() => {
    const [call] = rallypoint.call.peers.values();
    window.seen = { pc: call.connection, peer: rallypoint.room.you.peer, tiles: 0, states: [] };
    const tiles = (records) => {
      for (const { addedNodes, removedNodes } of records) seen.tiles += addedNodes.length + removedNodes.length;
    };
    new MutationObserver(tiles).observe(document.querySelector('#tiles'), { childList: true });
    const status = document.querySelector('#status');
    const state = () => seen.states.at(-1) !== status.dataset.state && seen.states.push(status.dataset.state);
    new MutationObserver(state).observe(status, { attributes: true });
  });

/** `tiles`: how many came or went; `states`: the states of the page one after the other; and what is still the same. */
export const seen = ({ page }) =>
  page.evaluate(() => {
    const [call, ...others] = rallypoint.call.peers.values();
    return {
      tiles: seen.tiles,
      states: seen.states,
      samePeer: rallypoint.room.you.peer === seen.peer,
      sameCall: !others.length && call?.connection === seen.pc && seen.pc.connectionState === 'connected',
    };
  });

/** Whether pictures go on to come in on both sides. */
export async function flows(...guests) {
  const before = await Promise.all(guests.map(({ page }) => received(page)));
  await until('more frames on every side', async () => {
    const now = await Promise.all(guests.map(({ page }) => received(page)));
    return now.every(({ frames }, index) => frames > before[index].frames);
  });
}

/** The ICE credentials of the only call of a page, and whether it is not being negotiated. */
const credentials = ({ page }) =>
  page.evaluate(() => {
    const [{ connection: pc }] = rallypoint.call.peers.values();
    const [local, remote] = [pc.currentLocalDescription, pc.currentRemoteDescription].map(
      ({ sdp }) => /a=ice-ufrag:(\S+)/.exec(sdp)[1],
    );
    return { local, remote, stable: pc.signalingState === 'stable' };
  });

/** Has these begin a negotiation of new ICE credentials, and waits until both sides agree on them. */
export async function restartIce([ada, bob], ...offering) {
  const before = await credentials(ada);
  await Promise.all(offering.map(({ page }) =>
    page.evaluate(() => [...rallypoint.call.peers.values()][0].connection.restartIce())));
  await until('new ICE credentials on which both agree', async () => {
    const [a, b] = await Promise.all([credentials(ada), credentials(bob)]);
    const isNew = a.local !== before.local && a.remote !== before.remote;
    return a.stable && b.stable && isNew && a.local === b.remote && b.local === a.remote;
  });
}

/** All lines of the chat, with the name before what somebody said. */
export const lines = ({ page }) =>
  page.locator('#log li').evaluateAll((all) =>
    all.map((line) => [...line.querySelectorAll('b, span')].map((part) => part.textContent).join(': ')));
