/** What every page does first: colours, the menu, links within the page. Import it for its effect. */

import { tokenOfAddress } from './address.js';
import { at, el } from './el.js';
import './toast.js';

const dark = matchMedia('(prefers-color-scheme: dark)');
const themeButton = at('theme', HTMLButtonElement);
const menuButton = at('menu', HTMLButtonElement);
const pages = at('pages');

const isDark = (): boolean =>
  (document.documentElement.dataset['theme'] ?? (dark.matches ? 'dark' : 'light')) === 'dark';

function showTheme(): void {
  themeButton.ariaPressed = `${isDark()}`;
  // Charts are drawn with the page's colours and have to be drawn again.
  document.dispatchEvent(new CustomEvent('theme'));
}

themeButton.addEventListener('click', () => {
  const chosen = isDark() ? 'light' : 'dark';
  document.documentElement.dataset['theme'] = chosen;
  try {
    localStorage.setItem('rallypoint-theme', chosen);
  } catch {
    // A browser that keeps nothing: the choice holds for this page.
  }
  showTheme();
});
dark.addEventListener('change', showTheme);
showTheme();

function openMenu(open: boolean): void {
  menuButton.ariaExpanded = `${open}`;
  pages.classList.toggle('open', open);
}
menuButton.addEventListener('click', () => openMenu(menuButton.ariaExpanded !== 'true'));
addEventListener('keydown', ({ key }) => {
  if (key !== 'Escape' || menuButton.ariaExpanded !== 'true') return;
  openMenu(false);
  menuButton.focus();
});
document.addEventListener('click', ({ target }) => {
  if (target instanceof Node && !menuButton.contains(target) && !pages.contains(target)) openMenu(false);
});

// A token behind the question mark is not taken: it has been sent to the server, and to every proxy on the way.
if (new URLSearchParams(location.search).has('token')) {
  at('main').prepend(
    el(
      'section', { class: 'box warn', attrs: { role: 'alert' } },
      el('h2', {}, 'The token in the address is not used'),
      el(
        'p', {},
        'It stands behind a question mark, and what stands there is sent along and kept in logs of proxies. ' +
          'Take another one, and put it behind a number sign: ', el('code', {}, '#token=…'),
      ),
    ),
  );
}

// A link within the page would put its place where the token of the address is, and the token be lost.
document.addEventListener('click', (event) => {
  const link = event.target instanceof Element ? event.target.closest('a[href^="#"]') : null;
  const place = link && document.getElementById(link.getAttribute('href')?.slice(1) ?? '');
  if (!place || tokenOfAddress() === null) return;
  event.preventDefault();
  if (!place.hasAttribute('tabindex')) place.tabIndex = -1;
  place.focus({ preventScroll: true });
  place.scrollIntoView();
});
