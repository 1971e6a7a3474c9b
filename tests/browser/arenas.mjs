/** What the tests of the arena and of those who watch it share. */

import { until } from './lib.mjs';
import { open } from './pages.mjs';

/** Small on purpose: without a graphics card every pixel of every tab costs. */
const viewport = { width: 640, height: 560 };

/** Somebody who plays. With `bot` the tab flies by itself. */
export async function player(browser, base, room, { name, bot = false, ...options } = {}) {
  const tab = await open(browser, base, `arena?room=${room}${bot ? '&bot=1' : ''}`, { viewport, ...options });
  if (!bot) {
    if (name) await tab.page.getByLabel('Your name', { exact: true }).fill(name);
    await tab.page.getByRole('button', { name: 'Play', exact: true }).click();
  }
  await tab.page.waitForSelector('#game:not([hidden])', { timeout: 30_000 });
  return tab;
}

/** Our own ship, as whole numbers: so it is told to the others. */
export const ship = ({ page }) =>
  page.evaluate(() => {
    const { room, game } = rallypoint;
    const { x, y, health, score, downs } = game.session.player.ship;
    return { peer: room.you.peer, handle: room.you.handle, x: Math.round(x), y: Math.round(y), health, score, downs };
  });

/** Puts our ship somewhere, looking in a direction, ready to be hit. */
export const put = ({ page }, x, y, angle) =>
  page.evaluate(
    ([x, y, angle]) => {
      const { world } = rallypoint.game.session.player;
      Object.assign(world.ship, { x, y, angle, vx: 0, vy: 0 });
      world.safeUntil = 0;
    },
    [x, y, angle],
  );

/** What a tab has of the others' ships, by peer id: the newest that was told. */
export const others = ({ page }) =>
  page.evaluate(() =>
    Object.fromEntries(
      [...rallypoint.game.session.player.others].map(([peer, { track, lane }]) => {
        const { x, y, health, score, downs } = track.newestShip;
        return [peer, { x, y, health, score, downs, lane, time: track.newest }];
      }),
    ),
  );

/** What a watcher has of the ships, by peer id. */
export const watched = ({ page }) =>
  page.evaluate(() =>
    Object.fromEntries(
      [...rallypoint.fleet.tracks].map(([peer, { newestShip }]) => [
        peer,
        { x: newestShip.x, y: newestShip.y, health: newestShip.health },
      ]),
    ),
  );

/** Waits until every one of `views` (maps by peer id) has the players' ships where they are. */
export async function agree(players, views) {
  await until('all to see the ships where they are', async () => {
    const [truth, ...seen] = await Promise.all([Promise.all(players.map(ship)), ...views.map((view) => view())]);
    return seen.every((view) =>
      truth.every(({ peer, x, y, health }) =>
        !(peer in view) ? view.self === peer : view[peer].x === x && view[peer].y === y && view[peer].health === health,
      ),
    );
  });
}

/** Somebody who watches. */
export async function watcher(browser, base, room, transport = 'auto', options = {}) {
  const tab = await open(browser, base, `watch?room=${room}&transport=${transport}`, { viewport, ...options });
  await tab.page.waitForSelector('#status[data-state="connected"]', { timeout: 30_000 });
  return tab;
}
