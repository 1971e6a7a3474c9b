/** Buttons that copy a text, and say so. */

import { toast } from './toast.js';

const SAID_MS = 2_000;

/** Copies a text; `button` says for a moment that it worked. */
export async function copy(text: string, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard outside https and localhost: then the text is shown to be copied by hand.
    return toast(text, { kind: 'danger' });
  }
  const before = button.textContent;
  button.textContent = 'Copied';
  setTimeout(() => (button.textContent = before), SAID_MS);
}
