/** Names and messages of strangers are text, whatever they look like. */

import assert from 'node:assert/strict';
import { allHear } from './calls.mjs';
import { guest, token, until } from './lib.mjs';

const NAME = '<img src=x onerror="hit=1"><b>Mal';
const TEXT = '<script>hit=1</script><img src=x onerror="hit=1"> & "quoted" javascript:hit=1';

export const tests = {
  async 'markup in names, chat and notifications stays text'({ browser, base }) {
    const room = 'markup';
    const ada = await guest(browser, base, { name: 'Ada', room });
    const mal = await guest(browser, base, { name: NAME, room });
    await ada.join();
    await ada.status('connected');
    await mal.join();
    await mal.status('connected');
    await mal.page.getByLabel('Message', { exact: true }).pressSequentially('<i>');
    const typing = ada.page.locator('#typing');
    await until('typing as text', async () => (await typing.textContent()) === `${NAME} is typing…`);
    await mal.say(TEXT);
    await allHear(NAME, TEXT, ada, mal);

    const user = await ada.page.evaluate(() => rallypoint.room.you.user);
    const admin = await token(base, { user: 'backend', admin: true });
    const sent = await fetch(`${base}/v1/users/${encodeURIComponent(user)}/notifications`, {
      method: 'POST',
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
      body: JSON.stringify({ message: TEXT }),
    });
    assert.equal(sent.status, 200);
    assert.equal((await sent.json()).sent, 1);
    await ada.page.locator('#log .notification', { hasText: TEXT }).waitFor();

    const name = ada.page.locator('.tile:not(.own) .name');
    await until('the name on the tile', async () => (await name.textContent()) === NAME);
    await ada.shot('markup');
    for (const { page, faults } of [ada, mal]) {
      assert.equal(await page.evaluate(() => window.hit), undefined, 'nothing was executed');
      assert.equal(await page.locator('#call :is(img, script, i, b b)').count(), 0, 'no element was made of it');
      assert.deepEqual(faults, []);
    }
  },
};
