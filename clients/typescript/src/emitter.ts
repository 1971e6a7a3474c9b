/** Typed events, small: `on` and `once`, each ended by what it returns or by an `AbortSignal`. */

/** Ends a subscription. */
export type Unsubscribe = () => void;

/** An object that tells of events; `Events` maps each name to what its listeners are given. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();

  /** Calls `listener` at each event of this name, until it is ended or `signal` aborts. */
  on<Name extends keyof Events>(
    name: Name,
    listener: (event: Events[Name]) => void,
    options: { signal?: AbortSignal | undefined } = {},
  ): Unsubscribe {
    if (options.signal?.aborted) return () => {};
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    // A wrapper of its own, so that the same function may listen twice and each ends alone.
    const own = (event: Events[Name]) => listener(event);
    listeners.add(own);
    const end = () => {
      listeners.delete(own);
      options.signal?.removeEventListener('abort', end);
    };
    options.signal?.addEventListener('abort', end, { once: true });
    return end;
  }

  /** Resolves with the next event of this name; rejects when `signal` aborts. */
  once<Name extends keyof Events>(name: Name, options: { signal?: AbortSignal | undefined } = {}): Promise<Events[Name]> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      const abort = () => {
        end();
        reject(signal?.reason);
      };
      const end = this.on(name, (event) => {
        end();
        signal?.removeEventListener('abort', abort);
        resolve(event);
      });
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Tells everybody who listens. One listener's fault is reported as uncaught and stops nobody else. */
  protected emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as (event: Events[Name]) => void)(event);
      } catch (fault) {
        queueMicrotask(() => {
          throw fault;
        });
      }
    }
  }
}
