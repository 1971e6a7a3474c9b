/** Buttons that copy a text, and say so. */

import { toast } from './toast.js';

const SAID_MS = 2_000;

/** Buttons that say so just now, and how to end it. */
const saying = new WeakMap<HTMLElement, () => void>();

/** Copies a text; `button` says for a moment that it worked. */
export async function copy(text: string, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard outside https and localhost: then the text is shown to be copied by hand.
    return toast(text, { kind: 'danger' });
  }
  // Pressed again it says so for longer, and has its own words back after that.
  saying.get(button)?.();
  const before = button.textContent;
  button.textContent = 'Copied';
  const end = () => {
    clearTimeout(timer);
    saying.delete(button);
    button.textContent = before;
  };
  const timer = setTimeout(end, SAID_MS);
  saying.set(button, end);
}
