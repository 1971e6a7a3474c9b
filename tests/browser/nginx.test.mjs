/**
 * Behind nginx as it is when nobody thought of us: it holds answers back, speaks HTTP/1.0 to the server, upgrades
 * nothing.
 */

import assert from 'node:assert/strict';
import { guest, startServer, token, until } from './lib.mjs';
import { open } from './pages.mjs';
import { startNginx } from './services.mjs';

/**
 * Its default towards the server is HTTP/1.0 without `Upgrade`; here it also overhears that a stream is not to be held
 * back.
 */
const HOLDS_BACK = 'proxy_http_version 1.0; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; gzip on;';

export const tests = {
  async 'a feed that nginx holds back still arrives'({ browser, base, after }) {
    const nginx = await startNginx(new URL(base).port, HOLDS_BACK);
    after(nginx.stop);
    const publisher = await token(base, { user: 'publisher', rooms: [{ r: 'nginx/feed', role: 'host' }] });
    const publish = async (kind) => {
      const response = await fetch(`${base}/v1/rooms/${encodeURIComponent('nginx/feed')}/events`, {
        method: 'POST',
        headers: { authorization: `Bearer ${publisher}`, 'content-type': 'application/json' },
        body: JSON.stringify({ kind, data: { by: 'nginx' } }),
      });
      assert.equal(response.status, 201);
    };
    // Without events a room that is only polled is there only while a poll waits.
    await publish('kick-off');
    const { page, faults } = await open(browser, nginx.base, 'watch?room=nginx/feed');
    const status = page.locator('#status');
    await until('the feed is there by polls', async () => /long poll/i.test(await status.textContent()), 30_000);
    await publish('goal');
    await page.getByText('goal').first().waitFor();
    assert.deepEqual(faults, []);
  },

  async 'where nginx upgrades nothing there is chat both ways'({ browser, base, after }) {
    const nginx = await startNginx(new URL(base).port, HOLDS_BACK);
    after(nginx.stop);
    const ada = await guest(browser, base, { name: 'Ada', room: 'nginx/chat' });
    const bob = await guest(browser, nginx.base, { name: 'Bob', room: 'nginx/chat' });
    await ada.join();
    await ada.status('connected');
    await bob.join();
    await bob.status('connected');
    await until('by polls', async () => /long poll/i.test(await bob.page.locator('#status').textContent()), 30_000);
    await bob.page.getByText('lets no WebSocket through').waitFor();
    for (const text of ['one', 'two', 'three']) await ada.say(text);
    for (const text of ['one', 'two', 'three']) await bob.heard('Ada', text);
    await bob.say('every word');
    await Promise.all([ada.heard('Bob', 'every word'), bob.heard('Bob', 'every word')]);
    await bob.shot('nginx-chat');
    // That the WebSocket failed is what the browser itself says.
    assert.deepEqual([...ada.faults, ...bob.faults].filter((fault) => !/WebSocket connection to/.test(fault)), []);
  },

  async 'a stream that nginx is told not to hold back is one'({ browser, after }) {
    const server = await startServer();
    after(() => server.stop());
    const nginx = await startNginx(server.port, '');
    after(nginx.stop);
    const { page } = await open(browser, nginx.base, 'watch?room=nginx/stream');
    const status = page.locator('#status');
    await until('the feed is a stream', async () => /Server-Sent Events/.test(await status.textContent()));
  },
};
