/** The ticker: one of the tabs runs the market, the next one goes on, and an alert is told once. */

import assert from 'node:assert/strict';
import { looks } from './barriers.mjs';
import { token, until } from './lib.mjs';
import { open } from './pages.mjs';
import { startStrict } from './strict.mjs';

const tick = ({ page }) => page.evaluate(() => Number(document.querySelector('#board').dataset.tick ?? 0));
const runner = ({ page }) => page.getAttribute('#market', 'data-runner');
const priceOf = ({ page }, symbol) =>
  page.evaluate((each) => {
    const price = document.querySelector(`tr[data-symbol="${each}"] .price .number`);
    return Number(price.textContent);
  }, symbol);

/** Waits for prices that are newer than those on the board. */
async function moves(tab, what) {
  const before = await tick(tab);
  await until(what, async () => (await tick(tab)) > before + 3, 30_000);
}

/** What the server has told a user, read from its log. */
async function told(base, user) {
  const bearer = await token(base, { user, rooms: [] });
  const response = await fetch(`${base}/v1/poll?after=0&wait=0`, { headers: { authorization: `Bearer ${bearer}` } });
  return (await response.json()).events.map(({ data }) => data);
}

async function ask({ page }, symbol, side, price) {
  await page.getByLabel('Tell me when').selectOption(symbol);
  await page.getByLabel('is', { exact: true }).selectOption(side);
  await page.getByLabel('this price').fill(`${price}`);
  await page.getByRole('button', { name: 'Set the alert' }).click();
}

/** Prices of somebody who may write them, as if the market had made them. */
async function trade(base, symbol, price) {
  const bearer = await token(base, { user: 'exchange', rooms: [{ r: 'ticker', role: 'host' }] });
  const response = await fetch(`${base}/v1/rooms/ticker/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
    body: JSON.stringify({ kind: 'prices', data: { tick: 1, quotes: [[symbol, price, price, 10]] } }),
  });
  assert.equal(response.status, 201);
}

export const tests = {
  async 'the first tab runs the market, its board is fed by events, and the next tab goes on when it is closed'({
    base,
    browser,
  }) {
    const ada = await open(browser, base, 'ticker');
    await until('the first tab runs the market', async () => (await runner(ada)) === 'us', 30_000);
    const bob = await open(browser, base, 'ticker');
    await until('the second one knows who does', async () => (await runner(bob)) === 'other', 30_000);
    assert.equal(await runner(ada), 'us');
    await moves(bob, 'prices on the second board');
    assert.equal(await bob.page.textContent('#way'), 'Server-Sent Events');
    const rows = bob.page.locator('#board tbody .price .number');
    const prices = async () => (await rows.allTextContents()).map(Number);
    await until('the whole board', async () => (await prices()).filter((price) => price > 0).length === 12);

    await trade(base, 'LOOM', 600);
    await until('a price that no market begins with', async () => (await priceOf(bob, 'LOOM')) > 580);
    const before = await tick(bob);
    await ada.close();
    await until('the second tab runs the market', async () => (await runner(bob)) === 'us', 30_000);
    await moves(bob, 'prices that go on');
    assert.ok((await tick(bob)) > before, 'the count goes on where it was');
    const price = await priceOf(bob, 'LOOM');
    assert.ok(price > 560, `${price}: and so do the prices`);
    assert.equal(await bob.page.textContent('#holes'), '0');
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'an alert arrives as a notification, in every tab, once, also over a change of who runs the market'({
    base,
    browser,
  }) {
    const market = await open(browser, base, 'ticker');
    await until('somebody else’s tab runs the market', async () => (await runner(market)) === 'us', 30_000);
    const ada = await open(browser, base, 'ticker');
    const page = await ada.context.newPage();
    await page.goto(`${base}/ticker`);
    const tabs = [ada, { page }];
    for (const tab of tabs) await moves(tab, 'prices in both tabs');

    const price = Number(((await priceOf(ada, 'NOVA')) * 2).toFixed(2));
    await ask(ada, 'NOVA', 'above', price);
    const words = `NOVA above ${price.toFixed(2)}`;
    for (const tab of tabs) await tab.page.locator('#waiting').getByText(words).waitFor();
    assert.equal(await ada.page.locator('#past li').count(), 0);

    await trade(base, 'NOVA', price + 1);
    for (const tab of tabs) {
      await tab.page.locator('#past').getByText(`NOVA is above ${price.toFixed(2)}`).waitFor();
      await until('it no longer waits', async () => (await tab.page.locator('#waiting li').count()) === 0);
    }
    assert.equal(await ada.page.locator('.toast').count(), 1);

    // The next market begins at a price at which the alert has come true as well.
    await market.close();
    const runners = () => Promise.all(tabs.map(runner));
    await until('a tab of the user runs the market', async () => (await runners()).includes('us'), 30_000);
    for (const tab of tabs) await moves(tab, 'prices go on');
    const user = await page.evaluate(() => localStorage.getItem('rallypoint-trader'));
    assert.equal((await told(base, user)).length, 1, 'the user was told once');
    for (const tab of tabs) assert.equal(await tab.page.locator('#past li').count(), 1);

    await ada.page.reload();
    await ada.page.locator('#past').getByText(`NOVA is above ${price.toFixed(2)}`).waitFor();
    assert.deepEqual([...market.faults, ...ada.faults], []);
  },

  async 'the market that follows may tell an alert a second time, and the server does it once'({ base, browser }) {
    // A tab that never learns that its alert was told: its state goes on asking for it, whoever runs the market.
    const first = await open(browser, base, 'ticker');
    const deaf = await open(browser, base, 'ticker', {
      before: (page) => page.route('**/v1/events*', (route) => route.abort()),
    });
    await until('the first tab runs the market', async () => (await runner(first)) === 'us', 30_000);
    await deaf.page.route('**/v1/poll*', (route) => route.abort());
    await until('the deaf one knows', async () => (await runner(deaf)) === 'other', 30_000);
    await ask(deaf, 'MOSS', 'below', 1);
    await deaf.page.locator('#waiting').getByText('MOSS below 1.00').waitFor();
    const user = await deaf.page.evaluate(() => localStorage.getItem('rallypoint-trader'));
    await trade(base, 'MOSS', 0.9);
    await until('it was told', async () => (await told(base, user)).length === 1);
    const second = await open(browser, base, 'ticker');
    const answers = [];
    // Either of the two may run the next market.
    for (const { page } of [deaf, second]) {
      await page.route('**/notifications', async (route) => {
        const response = await route.fetch();
        answers.push(await response.json());
        await route.fulfill({ response });
      });
    }
    await moves(second, 'prices');
    await first.close();
    const again = await until('the next market tells it again', () => answers[0], 30_000);
    assert.equal(again.sent, 0, 'the server knows its key');
    assert.equal((await told(base, user)).length, 1);
    assert.deepEqual([...first.faults, ...second.faults], []);
  },

  async 'what makes no sense is refused in words, and an alert can be removed'({ base, browser }) {
    const ada = await open(browser, base, 'ticker');
    const { page } = ada;
    await until('prices', async () => (await tick(ada)) > 0, 30_000);
    const fault = page.locator('#alert-fault');
    await ask(ada, 'LOOM', 'above', '');
    assert.match(await fault.textContent(), /price above 0/);
    await ask(ada, 'LOOM', 'above', 1);
    assert.match(await fault.textContent(), /already/);
    assert.equal(await page.locator('#waiting li').count(), 0);
    await ask(ada, 'LOOM', 'below', 1);
    await page.locator('#waiting li').waitFor();
    assert.equal(await fault.isVisible(), false);
    await page.reload();
    await page.getByRole('button', { name: 'Remove LOOM below 1.00' }).click();
    assert.equal(await page.locator('#waiting li').count(), 0);

    await page.getByRole('button', { name: 'Alert for MOSS' }).click();
    assert.equal(await page.getByLabel('Tell me when').inputValue(), 'MOSS');
    assert.ok(Number(await page.getByLabel('this price').inputValue()) > 0);
    assert.deepEqual(ada.faults, []);
  },

  async 'a line that is cut goes on where it was, and nothing is missing'({ base, browser }) {
    const [ada, bob] = [await open(browser, base, 'ticker'), await open(browser, base, 'ticker')];
    await moves(ada, 'prices');
    await moves(bob, 'prices');
    await ada.page.getByRole('button', { name: 'Cut the line' }).click();
    const before = await tick(ada);
    await until('the market goes on without it', async () => (await tick(bob)) > before + 8);
    assert.ok((await tick(ada)) <= before, 'nothing gets through a line that is cut');
    await ada.page.getByRole('button', { name: 'Go on from the cursor' }).click();
    await until('it has caught up', async () => (await tick(ada)) > before + 8);
    await until('it says so', async () => {
      const resumed = await ada.page.textContent('#resumed');
      const [, events] = /: (\d+) events were caught up, none is missing/.exec(resumed) ?? [];
      return Number(events) >= 8;
    });
    assert.equal(await ada.page.textContent('#holes'), '0');
    assert.deepEqual([...ada.faults, ...bob.faults], []);
  },

  async 'it is sorted by keyboard'({ base, browser }) {
    const ada = await open(browser, base, 'ticker');
    await moves(ada, 'prices');
    const shown = ada.page.locator('#board tbody .price .number');
    const prices = async () => (await shown.allTextContents()).map(Number);
    await until('every price', async () => (await prices()).every((price) => price > 0));
    const head = ada.page.locator('th[data-column="price"]');
    await head.getByRole('button').focus();
    await ada.page.keyboard.press('Enter');
    assert.equal(await head.getAttribute('aria-sort'), 'descending');
    const falling = await prices();
    assert.deepEqual([falling[0] > 300, falling.at(-1) < 12], [true, true], `${falling}`);
    await ada.page.keyboard.press('Space');
    assert.equal(await head.getAttribute('aria-sort'), 'ascending');
    const rising = await prices();
    assert.deepEqual([rising[0] < 12, rising.at(-1) > 300], [true, true], `${rising}`);
    assert.deepEqual(ada.faults, []);
  },

  async 'where no tokens are handed out one is told how to get one, and who may only look on has a board'({
    browser,
    after,
  }) {
    const { base, sign } = await startStrict(after);
    const nobody = await open(browser, base, 'ticker');
    await nobody.page.getByRole('heading', { name: 'You need a token' }).waitFor();
    assert.equal(await nobody.page.locator('#ticker').isVisible(), false);

    const all = [{ r: 'ticker', do: ['create', 'join', 'watch', 'publish', 'history'] }];
    const exchange = { sub: 'exchange', name: 'Exchange', rooms: all, notify: { send: ['*'] } };
    const market = await open(browser, base, `ticker#token=${sign(exchange)}`);
    await until('it runs the market', async () => (await runner(market)) === 'us', 30_000);
    const rights = [{ r: 'ticker', do: ['watch', 'history'] }];
    const onlooker = await open(browser, base, `ticker#token=${sign({ sub: 'tv', rooms: rights })}`);
    await moves(onlooker, 'prices');
    const said = () => onlooker.page.textContent('#runner-note');
    await until('it is said', async () => /look on, but not take part/.test(await said()));
    assert.equal(await onlooker.page.getByRole('button', { name: 'Set the alert' }).isDisabled(), true);
    assert.deepEqual([...market.faults, ...onlooker.faults], []);
  },

  async 'it has no barriers, in both themes, on a telephone and on a desk'({ base, browser }) {
    await looks(browser, base, 'ticker', (page) =>
      page.waitForFunction(() => Number(document.querySelector('#board').dataset.tick) > 4));
  },
};
