/** The own camera and microphone, with whatever of them there is. */

const WHY = {
  NotAllowedError: 'Camera and microphone were not allowed.',
  NotFoundError: 'No camera or microphone was found.',
  NotReadableError: 'Camera or microphone are in use by another program.',
};

/**
 * Asks for both, then for each alone, since one missing device fails the whole request. Never throws: a guest without
 * devices still sees and hears the others.
 * @returns {Promise<{stream: MediaStream, note: string}>} the stream may be empty; the note says what is missing, if anything
 */
export async function openMedia() {
  // Browsers hide the devices from pages that came over plain http from another machine.
  if (!navigator.mediaDevices) {
    return { stream: new MediaStream(), note: 'This page may use a camera only over https or on localhost. You will see and hear the others.' };
  }
  let why;
  for (const wish of [{ audio: true, video: true }, { audio: true }, { video: true }]) {
    try {
      const stream = await navigator.mediaDevices.getUserMedia(wish);
      const missing = [!wish.video && 'camera', !wish.audio && 'microphone'].filter(Boolean);
      return { stream, note: missing.length ? `Joining without ${missing[0]}.` : '' };
    } catch (error) {
      why ??= error;
      // Asking a second time after a refusal would only annoy.
      if (error.name === 'NotAllowedError') break;
    }
  }
  return { stream: new MediaStream(), note: `${WHY[why.name] ?? `Camera and microphone failed: ${why.message}.`} You will see and hear the others.` };
}
