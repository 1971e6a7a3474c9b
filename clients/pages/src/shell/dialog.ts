/** A question or an explanation in front of the page. */

import { el, type Child } from './el.js';

/** Shows a dialog and resolves with the `value` of the button that closed it, or '' for Escape. */
export function dialog(options: {
  title: string;
  body: Child[];
  actions?: { label: string; value: string; kind?: 'main' | 'danger' }[];
}): Promise<string> {
  const { title, body, actions = [{ label: 'Close', value: '', kind: 'main' }] } = options;
  const buttons = actions.map(({ label, value, kind }) => el('button', { value, class: kind ?? '' }, label));
  const heading = el('h2', { id: 'dialog-title' }, title);
  const box = el(
    'dialog',
    { class: 'dialog', attrs: { 'aria-labelledby': heading.id } },
    el(
      'form', { method: 'dialog' },
      heading, el('div', { class: 'body' }, ...body), el('div', { class: 'row end' }, ...buttons),
    ),
  );
  document.body.append(box);
  box.showModal();
  return new Promise((resolve) => {
    box.addEventListener('close', () => {
      box.remove();
      resolve(box.returnValue);
    });
  });
}
