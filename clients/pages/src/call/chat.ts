/**
 * Chat and the lines that tell what happened. Everything a user wrote goes in by `textContent`: names and messages come
 * from strangers.
 */

import { LostError, type Author, type Room } from 'rallypoint-client';
import { at, el, setText } from '../shell/el.js';

const LINES_MOST = 500;
const clock = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });

/** The name to show for whoever wrote something: the name of the token, else the user id. */
export const nameOf = ({ name, user }: Partial<Author> = {}): string => name || user || '…';

/** The chat of the room that `room` gives. */
export class Chat {
  readonly #log = at('log');
  /** What scrolls. */
  readonly #box = at('lines');
  readonly #text = at('text', HTMLInputElement);
  readonly #unreadBadge = at('unread');
  #unread = 0;

  constructor(room: () => Room | undefined) {
    this.#text.addEventListener('input', () => this.#text.value && room()?.typing());
    at('chat-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const said = this.#text.value.trim();
      const to = room();
      if (!said || !to) return;
      this.#text.value = '';
      to.say(said).catch((error: Error) => {
        // Of a lost session nobody knows what it still did.
        this.notice(error instanceof LostError ? 'Perhaps not sent: connection lost.' : `Not sent: ${error.message}`);
        this.#text.value ||= said;
      });
    });
    at('talk').addEventListener('click', () => this.open(!this.isOpen));
    const close = () => {
      this.open(false);
      at('talk').focus();
    };
    at('chat-close').addEventListener('click', close);
    at('chat').addEventListener('keydown', ({ key }) => key === 'Escape' && this.isOpen && close());
  }

  /** On a wide screen the chat stands beside the call; on a narrow one it is opened over it. */
  get isOpen(): boolean {
    return at('call').classList.contains('talking');
  }

  open(on: boolean): void {
    at('call').classList.toggle('talking', on);
    at('talk').ariaExpanded = `${on}`;
    if (!on) return;
    this.#read();
    this.#box.scrollTop = this.#box.scrollHeight;
    this.focus();
  }

  /** Where one types. */
  focus(): void {
    if (this.#visible) this.#text.focus();
  }

  get #visible(): boolean {
    return at('chat').checkVisibility();
  }

  /** A message of a member, or of a back end (then `from` has no peer). */
  message({ from, text, time }: { from: Author; text: string; time: number }, own: boolean): void {
    this.#line(own ? 'own' : 'said', time, el('b', {}, nameOf(from)), el('span', {}, text));
    if (own || (this.#visible && document.visibilityState === 'visible')) return;
    this.#unread += 1;
    this.#showUnread();
  }

  /** Something that happened: who came, who left, what went wrong. */
  notice(text: string, time = Date.now(), kind = 'notice'): void {
    this.#line(kind, time, el('span', {}, text));
  }

  /** Who types just now. */
  typing(names: readonly string[]): void {
    let text = '';
    if (names.length > 3) text = 'Several people are typing…';
    else if (names.length) text = `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} typing…`;
    setText(at('typing'), text);
  }

  clear(): void {
    this.#log.replaceChildren();
    this.typing([]);
    this.#read();
  }

  #read(): void {
    this.#unread = 0;
    this.#showUnread();
  }

  #showUnread(): void {
    this.#unreadBadge.hidden = !this.#unread;
    this.#unreadBadge.textContent = this.#unread > 99 ? '99+' : `${this.#unread}`;
    this.#unreadBadge.title = `${this.#unread} unread`;
  }

  #line(kind: string, time: number, ...parts: HTMLElement[]): void {
    // Only who reads the end is taken along to the new end.
    const atEnd = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < 40;
    const date = new Date(time);
    const when = el('time', { dateTime: date.toISOString() }, clock.format(date));
    this.#log.append(el('li', { class: kind }, when, ...parts.flatMap((part) => [' ', part])));
    if (this.#log.childElementCount > LINES_MOST) this.#log.firstElementChild?.remove();
    if (atEnd) this.#box.scrollTop = this.#box.scrollHeight;
  }
}
