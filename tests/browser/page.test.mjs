/** The pages themselves: what a person sees where something is missing, both themes, a telephone, and no barriers. */

import assert from 'node:assert/strict';
import { barriers, PHONE, wide } from './barriers.mjs';
import { pair, seesAndHears, tile } from './calls.mjs';
import { guest, noSocket, until } from './lib.mjs';
import { open } from './pages.mjs';

/** No person is here to choose a screen; a canvas stands in for it. */
const canvasAsScreen = ({ page }) =>
  page.evaluate(() => {
    const canvas = document.createElement('canvas');
    canvas.getContext('2d').fillRect(0, 0, 10, 10);
    navigator.mediaDevices.getDisplayMedia = async () => canvas.captureStream(5);
  });

/** The tile of a person: its place on the page, how its picture is fitted in, and where its name begins. */
const shape = (page, name) =>
  tile(page, name).evaluate((element) => {
    const video = element.querySelector('video');
    const [{ width, height }, picture, label] = [element, video, element.querySelector('.label')]
      .map((each) => each.getBoundingClientRect());
    return { area: width * height, fit: getComputedStyle(video).objectFit, free: label.top >= picture.bottom };
  });

export const tests = {
  async 'every page in both themes and on a telephone: no barriers, nothing refused, nothing from elsewhere'({
    browser,
    base,
  }) {
    for (const path of ['/', '/call', '/arena', '/watch']) {
      for (const colorScheme of ['light', 'dark']) {
        for (const viewport of [PHONE, { width: 1280, height: 800 }]) {
          const context = await browser.newContext({ colorScheme, viewport, permissions: ['camera', 'microphone'] });
          const page = await context.newPage();
          const faults = [];
          page.on('console', (message) => ['error', 'warning'].includes(message.type()) && faults.push(message.text()));
          page.on('request', (request) => new URL(request.url()).origin !== base && faults.push(request.url()));
          await page.goto(base + path, { waitUntil: 'networkidle' });
          const where = `${path} ${colorScheme} ${viewport.width}`;
          assert.deepEqual(await barriers(page), [], where);
          assert.equal(await wide(page), false, where);
          assert.deepEqual(faults, [], where);
          await context.close();
        }
      }
    }
  },

  async 'the colours that were chosen stay, and the page does not begin in the others'({ browser, base }) {
    const context = await browser.newContext({ colorScheme: 'light' });
    const page = await context.newPage();
    await page.goto(`${base}/call`);
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.getByRole('button', { name: 'Dark colours' }).click();
    const dark = await ground();
    assert.notEqual(dark, light);
    // Without its scripts, other than the first one, the page is as it is before they have come.
    await page.route('**/assets/*.js', (route) => route.abort());
    await page.goto(base);
    assert.equal(await ground(), dark);
  },

  async 'a pair without a way through says so in its tile'({ browser, base }) {
    const [ada, bob] = await pair({ browser, base }, 'page/cut', [base, base], async ({ page }) => {
      await page.addInitScript(() => {
        // As between two networks that let nothing through: only a relay would do, and there is none.
        const Real = RTCPeerConnection;
        window.RTCPeerConnection = class extends Real {
          constructor(configuration) {
            super({ ...configuration, iceTransportPolicy: 'relay' });
          }
          setConfiguration(configuration) {
            super.setConfiguration({ ...configuration, iceTransportPolicy: 'relay' });
          }
        };
      });
      await page.reload();
    });
    for (const [{ page }, other] of [[ada, 'Bob'], [bob, 'Ada']]) {
      const why = tile(page, other).locator('.why');
      const words = /No way through to \w+.*no TURN server is configured/;
      await until('words in the tile', async () => words.test(await why.textContent()), 90_000);
      const state = async () => tile(page, other).getAttribute('data-connection');
      await until('given up for now', async () => (await state()) === 'failed', 90_000);
      assert.equal(await why.isVisible(), true);
    }
    await ada.shot('page-no-way');
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'where no WebSocket gets through there is chat, and it is said why there is no picture'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'page/strict' });
    const bob = await guest(browser, base, { name: 'Bob', room: 'page/strict' });
    await ada.join();
    await ada.status('connected');
    await bob.page.addInitScript(noSocket);
    await bob.page.reload();
    await bob.join();
    await bob.status('connected');
    assert.match(await bob.page.locator('#status').textContent(), /Server-Sent Events/);
    await bob.page.getByText('lets no WebSocket through').waitFor();
    assert.equal(await bob.page.locator('.tile').count(), 0, 'nobody sees him, so he does not either');
    assert.equal(await bob.page.getByRole('button', { name: 'Camera off' }).isDisabled(), true);
    await ada.say('can you read me?');
    await bob.heard('Ada', 'can you read me?');
    await bob.say('every word');
    await Promise.all([ada.heard('Bob', 'every word'), bob.heard('Bob', 'every word')]);
    await bob.shot('page-strict');
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'on a telephone the chat is opened over the call, and counts what was not read'({ browser, base }) {
    const [ada, bob] = await pair({ browser, base }, 'page/phone');
    await ada.page.setViewportSize(PHONE);
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    const unread = ada.page.locator('#unread');
    assert.equal(await unread.isVisible(), false);
    for (const text of ['one', 'two']) await bob.say(text);
    await until('two unread', async () => (await unread.textContent()) === '2' && unread.isVisible());
    assert.equal(await wide(ada.page), false);
    assert.deepEqual(await barriers(ada.page), []);
    await ada.page.getByRole('button', { name: 'Chat' }).first().click();
    await ada.page.getByText('two', { exact: true }).waitFor();
    assert.equal(await unread.isVisible(), false);
    await ada.say('three');
    await bob.heard('Ada', 'three');
    await ada.shot('page-phone');
    await ada.page.getByRole('button', { name: 'Close the chat' }).click();
    assert.equal(await ada.page.getByLabel('Message', { exact: true }).isVisible(), false);
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'keys mute, switch the camera off, and share the screen, which the others see'({ browser, base }) {
    const [ada, bob] = await pair({ browser, base }, 'page/keys');
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    const flags = tile(bob.page, 'Ada').locator('.flags');
    const shows = (text) => until(`Bob sees "${text}"`, async () => (await flags.textContent()) === text);
    // In the chat they are letters.
    await ada.page.getByLabel('Message', { exact: true }).pressSequentially('mv');
    await ada.page.getByRole('log').focus();
    await ada.page.keyboard.press('m');
    await shows('muted');
    await ada.page.keyboard.press('v');
    await shows('muted, camera off');
    await ada.page.keyboard.press('m');
    await ada.page.keyboard.press('v');
    await shows('');
    await seesAndHears(bob);
    await canvasAsScreen(ada);
    await ada.page.keyboard.press('s');
    await shows('sharing the screen');
    await ada.page.getByRole('button', { name: 'Stop sharing' }).click();
    await shows('');
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'a screen is large, with its name below it; every tile can be made large, and small again'({ browser, base }) {
    for (const viewport of [{ width: 1280, height: 800 }, PHONE]) {
      const [ada, bob] = await pair({ browser, base }, `page/large-${viewport.width}`);
      const { page } = bob;
      await page.setViewportSize(viewport);
      await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
      const areas = async () => {
        const [hers, his] = [await shape(page, 'Ada'), await shape(page, 'Bob (you)')];
        return hers.area / his.area;
      };
      const alike = () => until('both alike', async () => Math.abs((await areas()) - 1) < 0.01);
      await alike();
      await canvasAsScreen(ada);
      await ada.page.getByRole('button', { name: 'Share screen' }).click();
      await until('her screen is large', async () => (await areas()) > 3);
      const { fit, free } = await shape(page, 'Ada');
      assert.deepEqual([fit, free], ['contain', true], 'all of it is seen');
      assert.equal(await wide(page), false);
      assert.deepEqual(await barriers(page), []);
      await bob.shot(`page-screen-${viewport.width}`);
      await page.getByRole('button', { name: 'Back: show all alike' }).click();
      await alike();
      // By the keyboard, and by two clicks.
      await page.getByRole('button', { name: 'Enlarge yourself' }).focus();
      await page.keyboard.press('Enter');
      await until('his own is large', async () => (await areas()) < 1 / 3);
      await page.keyboard.press('Escape');
      await alike();
      await tile(page, 'Ada').dblclick();
      await until('hers is large', async () => (await areas()) > 3);
      await ada.page.getByRole('button', { name: 'Stop sharing' }).click();
      await alike();
      assert.deepEqual([...ada.faults, ...bob.faults], []);
      await ada.close();
      await bob.close();
    }
  },

  async 'on a telephone one gets at the devices, and they open once'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'page/devices' });
    const { page } = ada;
    await page.setViewportSize(PHONE);
    await ada.join();
    await ada.status('connected');
    const devices = page.getByRole('button', { name: 'Devices' });
    assert.equal(await devices.isVisible(), false);
    await page.getByRole('button', { name: 'More' }).click();
    await devices.waitFor();
    assert.deepEqual(await barriers(page), []);
    await devices.evaluate((button) => [button.click(), button.click()]);
    await page.getByRole('dialog').waitFor();
    await until('both lists', async () => (await page.getByRole('dialog').locator('select').count()) === 2);
    assert.equal(await page.locator('dialog').count(), 1);
    await page.keyboard.press('Escape');
    assert.deepEqual(ada.faults, []);
  },

  async 'who is alone is given the link'({ browser, base }) {
    const ada = await guest(browser, base, { name: 'Ada', room: 'page/first' });
    await ada.join();
    const alone = ada.page.getByText('Nobody else is here yet');
    await alone.waitFor();
    assert.match(await ada.page.getByLabel('Link to this room').inputValue(), /\/call\?room=page%2Ffirst$/);
    const bob = await guest(browser, base, { name: 'Bob', room: 'page/first' });
    await bob.join();
    await until('no longer alone', async () => !(await alone.isVisible()));
  },

  async 'a token behind the question mark is not used, which is said'({ browser, base }) {
    for (const path of ['call', 'arena', 'watch', 'ticker', 'status', 'compare', 'selftest']) {
      const { page, close } = await open(browser, base, `${path}?token=abc`);
      await page.getByRole('alert').getByText('The token in the address is not used').waitFor();
      await close();
    }
  },
};
