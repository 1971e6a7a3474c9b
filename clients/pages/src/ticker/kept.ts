/** The alerts of this browser: kept over a visit, and the same in all of its tabs, which are one user for that. */

import { guestUser } from '../shell/who.js';
import { type Alert, alertsOf } from './alert.js';

const ALERTS = 'rallypoint-alerts';
const USER = 'rallypoint-trader';

/** The user of this browser, for whom alerts are; where nothing can be kept, that of this tab. */
export function trader(): string {
  try {
    const user = localStorage.getItem(USER) ?? guestUser().replace('guest', 'trader');
    localStorage.setItem(USER, user);
    return user;
  } catch {
    return guestUser();
  }
}

export class Kept {
  #alerts: Alert[] = [];
  readonly #changed: () => void;

  /** `changed` is called whenever the list is another one, also by another tab. */
  constructor(changed: () => void) {
    this.#changed = changed;
    this.#read();
    addEventListener('storage', ({ key }) => {
      if (key !== ALERTS && key !== null) return;
      this.#read();
      changed();
    });
  }

  get alerts(): readonly Alert[] {
    return this.#alerts;
  }

  add(alert: Alert): void {
    this.#read();
    this.#write([...this.#alerts, alert]);
  }

  /** Takes one out, if it is there. */
  remove(id: string): void {
    this.#read();
    const others = this.#alerts.filter((alert) => alert.id !== id);
    if (others.length < this.#alerts.length) this.#write(others);
  }

  /** What is kept, which another tab may have changed; where nothing can be kept, what this page knows. */
  #read(): void {
    try {
      this.#alerts = alertsOf(JSON.parse(localStorage.getItem(ALERTS) ?? '[]'));
    } catch {
      // Shut, or not ours to read: the list of this page holds.
    }
  }

  #write(alerts: Alert[]): void {
    this.#alerts = alerts;
    try {
      localStorage.setItem(ALERTS, JSON.stringify(alerts));
    } catch {
      // It holds for this page.
    }
    this.#changed();
  }
}
