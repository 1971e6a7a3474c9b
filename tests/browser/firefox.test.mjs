/** Firefox: every page opens, and calls with Chromium work whoever came first, whoever negotiates, and when they break. */

import assert from 'node:assert/strict';
import puppeteer from 'puppeteer-core';
import { guest, until } from './lib.mjs';

const PATHS = ['/', '/call', '/arena', '/watch', '/ticker', '/status', '/compare', '/selftest'];
/** Devices that are not there and need no permission; candidates on loopback; sound without a click. */
const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
};

async function launchFirefox(after) {
  const firefox = await puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    extraPrefsFirefox: PREFERENCES,
  });
  after(() => firefox.close());
  return firefox;
}

/** A page of Firefox; `faults` collects what the console and the page complain of. */
async function open(firefox, address) {
  const page = await firefox.newPage();
  const faults = [];
  page.on('console', (message) => ['error', 'warn'].includes(message.type()) && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(`${error}`));
  await page.goto(address);
  return { page, faults };
}

async function foxInCall(firefox, base, room) {
  const fox = await open(firefox, `${base}/call?room=${room}`);
  await fox.page.type('#name', 'Fox');
  await fox.page.click('#join');
  await fox.page.waitForSelector('#status[data-state="connected"]');
  return fox;
}

async function chromeInCall(browser, base, room) {
  const chrome = await guest(browser, base, { name: 'Chrome', room });
  await chrome.join();
  await chrome.status('connected');
  return chrome;
}

/** The only pair of a page: its state, that of the negotiation, and the frames that were decoded. */
const seen = ({ page }) => page.evaluate(async () => {
  const [pair] = rallypoint.call?.peers.values() ?? [];
  if (!pair) return {};
  const { framesDecoded } = await pair.stats();
  return { is: `${pair.state} ${pair.connection.signalingState}`, frames: framesDecoded };
});

/** Waits until nothing is under way and more frames came in at both than are there now. */
async function flows(what, ...both) {
  const before = await Promise.all(both.map(seen));
  let now;
  await until(what, async () => {
    now = await Promise.all(both.map(seen));
    return now.every(({ is, frames }, index) => is === 'connected stable' && frames > (before[index].frames ?? 0));
  }).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify([before, now])}`);
  });
}

/** Negotiates once more, as a page does that sends something new; how often it was done is in the descriptions. */
const negotiate = ({ page }) => page.evaluate(() => {
  const [{ connection }] = rallypoint.call.peers.values();
  connection.addTransceiver('audio', { direction: 'inactive' });
});
const parts = ({ page }) => page.evaluate(() => {
  const [{ connection }] = rallypoint.call.peers.values();
  return connection.currentRemoteDescription.sdp.match(/^m=/gm).length;
});

/** Notes the connection as it is now; `isKept` compares. */
const keep = ({ page }) => page.evaluate(() => {
  window.kept = [...rallypoint.call.peers.values()][0].connection;
});
const isKept = ({ page }) => page.evaluate(() => [...rallypoint.call.peers.values()][0].connection === kept);

/** A connection that breaks under the call: both have another one. */
async function breaks(...both) {
  const [fox] = both;
  await Promise.all(both.map(keep));
  await fox.page.evaluate(() => kept.close());
  await until('another connection', async () => (await Promise.all(both.map(isKept))).every((is) => !is), 60_000);
  await flows('pictures over the new connection', ...both);
}

export const tests = {
  async 'Firefox shows every page, without a complaint'({ base, after }) {
    const firefox = await launchFirefox(after);
    for (const path of PATHS) {
      const { page, faults } = await open(firefox, base + path);
      await page.waitForSelector('main h1', { visible: true });
      assert.deepEqual(faults, [], path);
      await page.close();
    }
  },

  async 'Firefox and Chromium call each other, and either negotiates anew'({ browser, base, after }) {
    const firefox = await launchFirefox(after);
    for (const first of ['fox', 'chrome']) {
      const room = `firefox-${first}`;
      let [fox, chrome] = [];
      if (first === 'fox') fox = await foxInCall(firefox, base, room);
      chrome = await chromeInCall(browser, base, room);
      fox ??= await foxInCall(firefox, base, room);
      await flows(`${first} first: pictures both ways`, fox, chrome);
      await Promise.all([fox, chrome].map(keep));
      for (const one of [fox, chrome]) {
        const before = await parts(one);
        await negotiate(one);
        await until('both have the new part', async () =>
          (await Promise.all([fox, chrome].map(parts))).every((now) => now > before));
        await flows(`${first} first: pictures after another negotiation`, fox, chrome);
      }
      assert.deepEqual(await Promise.all([fox, chrome].map(isKept)), [true, true], `${first} first: the connection is the same`);
      if (first === 'fox') await breaks(fox, chrome);
      await fox.page.close();
      await until('Fox is gone', async () => (await seen(chrome)).is === undefined);
      assert.deepEqual([...fox.faults, ...chrome.faults], [], `${first} first`);
      await chrome.close();
    }
  },
};
