/** A worker that beats: the timers of a tab that nobody looks at go slow, those of its workers do not. */

const BEAT_MS = 250;

setInterval(() => postMessage(null), BEAT_MS);
