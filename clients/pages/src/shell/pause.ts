/** Waiting that can be called off. */

/** Resolves after `wait` ms, or as soon as `signal` aborts; never rejects. */
export function pause(wait: number, signal: AbortSignal): Promise<void> {
  if (wait <= 0 || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, wait);
    signal.addEventListener('abort', end);
  });
}
