/**
 * Chat and the lines that tell what happened. Everything a user wrote goes in by `textContent`: names and messages
 * come from strangers.
 */

const TYPING_EVERY_MS = 2_000;
const LINES_MOST = 500;
const clock = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });

/** The name to show for an entry or a `from`: the name of the token, else the user id. */
export const nameOf = ({ name, user } = {}) => name || user || '…';

export class Chat {
  #typing = new Map();
  #typed = -Infinity;

  /**
   * @param {object} elements `log`, `typing`, `form` and `text` of the page
   * @param {{message: (text: string) => Promise<unknown>, typing: () => void}} send
   */
  constructor({ log, typing, form, text }, send) {
    Object.assign(this, { log, typingLine: typing });
    text.addEventListener('input', () => {
      // The server ends typing 6 s after the last word of it, so one every 2 s keeps it alive.
      if (!text.value || performance.now() - this.#typed < TYPING_EVERY_MS) return;
      this.#typed = performance.now();
      send.typing();
    });
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const said = text.value.trim();
      if (!said) return;
      text.value = '';
      this.#typed = -Infinity;
      try {
        await send.message(said);
      } catch (error) {
        this.notice(`Not sent: ${error.message}`);
        text.value ||= said;
      }
    });
  }

  /** A message of a member, or of a back end (then `from` has no peer). */
  message({ from, text, time }, own) {
    const who = document.createElement('b');
    who.textContent = nameOf(from);
    const what = document.createElement('span');
    what.textContent = text;
    this.#line(own ? 'own' : 'said', time, who, what);
  }

  /** Something that happened: who came, who left, what went wrong. */
  notice(text, time = Date.now(), kind = 'notice') {
    const what = document.createElement('span');
    what.textContent = text;
    this.#line(kind, time, what);
  }

  /** Who types just now. */
  typing(peer, name, on) {
    if (on) this.#typing.set(peer, name);
    else this.#typing.delete(peer);
    const names = [...this.#typing.values()];
    if (!names.length) this.typingLine.textContent = '';
    else if (names.length > 3) this.typingLine.textContent = 'Several people are typing…';
    else this.typingLine.textContent = `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} typing…`;
  }

  /** Nobody types: after a reconnect the server tells anew. */
  quiet() {
    this.#typing.clear();
    this.typing();
  }

  clear() {
    this.log.replaceChildren();
    this.quiet();
  }

  #line(kind, time, ...parts) {
    // Only who reads the end is taken along to the new end.
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    const line = document.createElement('li');
    line.className = kind;
    const when = document.createElement('time');
    const date = new Date(time);
    when.dateTime = date.toISOString();
    when.textContent = clock.format(date);
    line.append(when, ...parts.flatMap((part) => [' ', part]));
    this.log.append(line);
    if (this.log.childElementCount > LINES_MOST) this.log.firstElementChild.remove();
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}
