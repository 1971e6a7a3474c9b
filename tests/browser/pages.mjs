/** What the tests of the pages share: a tab of its own with one of them open. */

/**
 * Opens `path` in a context of its own; `faults` collects what the console and the page complain of. `before` is given
 * the page before it loads anything.
 */
export async function open(browser, base, path, { before, ...options } = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: base.startsWith('https:'), ...options });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(`${error}`));
  await before?.(page);
  await page.goto(`${base}/${path}`);
  return { context, page, faults, close: () => context.close() };
}
