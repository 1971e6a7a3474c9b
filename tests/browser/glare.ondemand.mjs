/**
 * ICE restarts that cross. With Chromium 148 this fails: one direction of the media stops, though every signal arrived
 * and both sides are stable. Whether the browser or the page is at fault is not known yet, so for now it runs only when
 * it is named (`node run.mjs glare`). It belongs into `call.test.mjs`.
 */

import assert from 'node:assert/strict';
import { pair, seesAndHears } from './calls.mjs';
import { until } from './lib.mjs';

export const tests = {
  async 'ICE restarts that cross on both sides recover'(world) {
    const [ada, bob] = await pair(world, 'call/restart');
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    // Both at once, so that the two offers cross: the polite one gives way.
    const password = ({ page }) => page.evaluate(() => /a=ice-pwd:(\S+)/.exec([...rallypoint.calls.peers.values()][0].pc.currentLocalDescription.sdp)[1]);
    const before = await password(ada);
    const restart = ({ page }) => page.evaluate(() => [...rallypoint.calls.peers.values()][0].pc.restartIce());
    await Promise.all([restart(ada), restart(bob)]);
    await until('new ICE credentials', async () => (await password(ada)) !== before);
    await until('both stable', async () =>
      (await Promise.all([ada, bob].map(({ page }) => page.evaluate(() => [...rallypoint.calls.peers.values()][0].pc.signalingState)))).every((state) => state === 'stable'));
    await Promise.all([seesAndHears(ada), seesAndHears(bob)]);
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },
};
