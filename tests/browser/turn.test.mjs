/**
 * Calls over a real TURN server (coturn) with the credentials that the server mints, and what is said when they are no
 * good.
 */

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { pair, received, seesAndHears, tile } from './calls.mjs';
import { startServer, until } from './lib.mjs';
import { startTurn } from './services.mjs';

const SECRET = 'a-shared-secret-of-the-test';

/** A server whose users get credentials for a relay. */
const withTurn = (url, secret) =>
  startServer({ env: { RALLYPOINT_ICE__0__URLS: url, RALLYPOINT_ICE__0__SECRET: secret } });

/**
 * Nothing but the relay may be used, as between two networks that let nothing else through. `credentials` take the
 * place of those that the server minted.
 */
const onlyRelay = (credentials) => async ({ page }) => {
  await page.addInitScript((given) => {
    const strict = (configuration) => ({
      ...configuration,
      iceServers: configuration.iceServers.map((each) => ({ ...each, ...given })),
      iceTransportPolicy: 'relay',
    });
    const Real = RTCPeerConnection;
    window.RTCPeerConnection = class extends Real {
      constructor(configuration) {
        super(strict(configuration));
      }
      setConfiguration(configuration) {
        super.setConfiguration(strict(configuration));
      }
    };
  }, credentials);
  await page.reload();
};

/** Rightly signed, and over since 1970. */
const EXPIRED = { username: '1:ada', credential: createHmac('sha1', SECRET).update('1:ada').digest('base64') };

/** A call that the relay refuses: it is said in the tiles, and why. */
async function refused({ browser, after }, secret, room, credentials) {
  const turn = await startTurn(SECRET);
  after(turn.stop);
  const server = await withTurn(turn.url, secret);
  after(() => server.stop());
  const [ada, bob] = await pair({ browser }, room, [server.base, server.base], onlyRelay(credentials));
  for (const [{ page }, other] of [[ada, 'Bob'], [bob, 'Ada']]) {
    const why = tile(page, other).locator('.why');
    const words = /the TURN server refused our credentials, which are wrong or have expired/i;
    await until('words in the tile', async () => words.test(await why.textContent()), 60_000);
    assert.equal(await why.isVisible(), true);
  }
  assert.equal((await received(ada.page)).frames, 0);
  await ada.shot(room.replace('/', '-'));
  assert.deepEqual([...ada.faults, ...bob.faults], []);
}

export const tests = {
  async 'a call over the relay alone, with minted credentials'({ browser, after }) {
    const turn = await startTurn(SECRET);
    after(turn.stop);
    const server = await withTurn(turn.url, SECRET);
    after(() => server.stop());
    const [ada, bob] = await pair({ browser }, 'turn/call', [server.base, server.base], onlyRelay());
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    for (const { page } of [ada, bob]) {
      const { pair: used } = await received(page);
      assert.deepEqual([used.local, used.remote], ['relay', 'relay']);
      const { username } = await page.evaluate(async () => {
        const servers = await rallypoint.client.iceServers();
        return servers.find((each) => each.username);
      });
      const [, end, user] = /^(\d+):(.+)$/.exec(username);
      assert.ok(Number(end) * 1000 > Date.now() + 60_000, 'the credentials hold for a while');
      assert.equal(user, await page.evaluate(() => rallypoint.room.you.user));
    }
    await ada.shot('turn-call');
    assert.match(turn.output(), /realm <test.local>/);
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  'a wrong secret: words in place of a black tile': (world) =>
    refused(world, 'another-secret-than-the-relay-has', 'turn/wrong'),

  'credentials that have expired: words in place of a black tile': (world) =>
    refused(world, SECRET, 'turn/expired', EXPIRED),
};
