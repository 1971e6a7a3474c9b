/** What the player's hands do: keys, and on a screen that is touched a stick and a button. */

import type { Input } from './world.js';

const KEYS: Readonly<Record<string, keyof Directions>> = {
  ArrowUp: 'up',
  KeyW: 'up',
  ArrowDown: 'down',
  KeyS: 'down',
  ArrowLeft: 'left',
  KeyA: 'left',
  ArrowRight: 'right',
  KeyD: 'right',
  Space: 'fire',
};

interface Directions {
  up: boolean;
  down: boolean;
  left: boolean;
  right: boolean;
  fire: boolean;
}

/** How far the stick goes, px. */
const REACH = 46;

export class Steering {
  readonly #held: Directions = { up: false, down: false, left: false, right: false, fire: false };
  readonly #input: Input = { x: 0, y: 0, fire: false };
  #stickX = 0;
  #stickY = 0;
  #button = false;
  #tapped = false;
  /** Whether anything was ever steered: the hint is of no more use. */
  used = false;

  readonly #knob: HTMLElement;
  /** The finger on the stick. */
  #pointer: number | undefined;

  constructor(stick: HTMLElement, knob: HTMLElement, button: HTMLElement, signal: AbortSignal) {
    this.#knob = knob;
    const key = (down: boolean) => (event: KeyboardEvent) => {
      const name = KEYS[event.code];
      if (!name) return;
      if (down && (event.ctrlKey || event.altKey || event.metaKey || taken(event.target))) return;
      if (down) event.preventDefault();
      this.#held[name] = down;
      this.used ||= down;
    };
    addEventListener('keydown', key(true), { signal });
    addEventListener('keyup', key(false), { signal });
    addEventListener('blur', () => this.release(), { signal });
    this.#touch(stick, signal);
    const press = (on: boolean) => (event: PointerEvent) => {
      event.preventDefault();
      if (on) button.setPointerCapture(event.pointerId);
      this.#button = on;
      this.used = true;
    };
    button.addEventListener('pointerdown', press(true), { signal });
    // A screen reader presses without a pointer: one shot.
    button.addEventListener('click', ({ detail }) => (this.#tapped ||= detail === 0), { signal });
    for (const end of ['pointerup', 'pointercancel'] as const) button.addEventListener(end, press(false), { signal });
  }

  /** What is held now; the same object at each call. */
  read(): Input {
    const { up, down, left, right, fire } = this.#held;
    this.#input.x = this.#stickX || Number(right) - Number(left);
    this.#input.y = this.#stickY || Number(down) - Number(up);
    this.#input.fire = fire || this.#button || this.#tapped;
    this.#tapped = false;
    return this.#input;
  }

  /** Lets everything go: the page is not looked at. */
  release(): void {
    Object.assign(this.#held, { up: false, down: false, left: false, right: false, fire: false });
    this.#button = false;
    this.#centre();
  }

  /** The stick is where it is when nobody touches it, and is drawn there. */
  #centre(): void {
    this.#pointer = undefined;
    this.#stickX = this.#stickY = 0;
    this.#knob.style.transform = '';
  }

  #touch(stick: HTMLElement, signal: AbortSignal): void {
    const drag = (event: PointerEvent) => {
      if (event.pointerId !== this.#pointer) return;
      const box = stick.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
      const far = Math.max(REACH, Math.hypot(x, y));
      this.#stickX = x / far;
      this.#stickY = y / far;
      this.#knob.style.transform = `translate(${this.#stickX * REACH}px, ${this.#stickY * REACH}px)`;
      this.used = true;
    };
    const end = (event: PointerEvent) => {
      if (event.pointerId === this.#pointer) this.#centre();
    };
    stick.addEventListener(
      'pointerdown',
      (event) => {
        event.preventDefault();
        this.#pointer = event.pointerId;
        stick.setPointerCapture(event.pointerId);
        drag(event);
      },
      { signal },
    );
    stick.addEventListener('pointermove', drag, { signal });
    stick.addEventListener('pointerup', end, { signal });
    stick.addEventListener('pointercancel', end, { signal });
  }
}

/** Whether the key means something to what has the focus. */
function taken(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest('input, select, textarea, button, a, summary, dialog') !== null;
}
