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

/** What one has said and the room has not told yet. */
interface Unsent {
  text: string;
  line: HTMLLIElement;
}

/** The chat of the room that `room` gives. */
export class Chat {
  readonly #log = at('log');
  readonly #unsentLog = at('unsent');
  #unsent: Unsent[] = [];
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
      void this.#say(to, said);
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

  /** Says something: it stands below the log until the room tells it, or the server refuses. */
  async #say(to: Room, text: string): Promise<void> {
    const waiting = el('em', {}, 'not sent yet');
    const words = [el('b', {}, nameOf(to.you)), el('span', {}, text), waiting];
    const said: Unsent = { text, line: this.#made('own waiting', Date.now(), ...words) };
    this.#unsent.push(said);
    this.#atEnd(() => this.#unsentLog.append(said.line));
    try {
      await to.say(text);
      waiting.remove();
    } catch (error) {
      if (!this.#unsent.includes(said)) return;
      this.#settle(said);
      const why = error instanceof Error ? error.message : `${error}`;
      // Of a lost session nobody knows what it still did.
      setText(waiting, error instanceof LostError ? 'Perhaps not sent: connection lost.' : `Not sent: ${why}`);
      said.line.className = 'own failed';
      this.#append(said.line);
      this.#text.value ||= text;
    }
  }

  #settle(said: Unsent): void {
    this.#unsent = this.#unsent.filter((each) => each !== said);
    said.line.remove();
  }

  /** A message of a member, or of a back end (then `from` has no peer). */
  message({ from, text, time }: { from: Author; text: string; time: number }, own: boolean): void {
    const said = own && this.#unsent.find((each) => each.text === text);
    if (said) this.#settle(said);
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
    this.#unsentLog.replaceChildren();
    this.#unsent = [];
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
    this.#append(this.#made(kind, time, ...parts));
  }

  #made(kind: string, time: number, ...parts: HTMLElement[]): HTMLLIElement {
    const date = new Date(time);
    const when = el('time', { dateTime: date.toISOString() }, clock.format(date));
    return el('li', { class: kind }, when, ...parts.flatMap((part) => [' ', part]));
  }

  #append(line: HTMLElement): void {
    this.#atEnd(() => this.#log.append(line));
    if (this.#log.childElementCount > LINES_MOST) this.#log.firstElementChild?.remove();
  }

  /** Only who reads the end is taken along to the new end. */
  #atEnd(add: () => void): void {
    const atEnd = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < 40;
    add();
    if (atEnd) this.#box.scrollTop = this.#box.scrollHeight;
  }
}
