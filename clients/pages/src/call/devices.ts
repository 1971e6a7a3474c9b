/** Cameras and microphones: which there are, and opening them for the preview, with whatever of them there is. */

// The call's own words for the same refusals; the package does not export them.
import { whyMissing } from '../../../typescript/src/call/reasons.js';

/** What is to be opened; a device id, or true for the browser's choice. */
export interface Wish {
  audio: boolean | string;
  video: boolean | string;
}

/** Beside the address browsers show a lock, or a crossed-out camera. */
const ALLOW = 'Press the lock or the camera sign there, allow them, and reload the page.';
const STILL = 'You will see and hear the others.';

/** Constraints for a device, as the call takes them. */
export const constraints = (device: boolean | string): boolean | MediaTrackConstraints =>
  typeof device === 'string' ? { deviceId: { exact: device } } : device;

/**
 * Asks for both, then for each alone, since one missing device fails the whole request. Never throws: a guest without
 * devices still sees and hears the others. `note` says what is missing, if anything is.
 */
export async function open({ audio, video }: Wish): Promise<{ stream: MediaStream; note: string }> {
  if (!audio && !video) return { stream: new MediaStream(), note: '' };
  // Browsers hide the devices from pages that came over plain http from another machine.
  if (!navigator.mediaDevices) {
    return { stream: new MediaStream(), note: `This page may use a camera only over https or on localhost. ${STILL}` };
  }
  const wishes: Wish[] = [{ audio, video }];
  if (audio && video) wishes.push({ audio, video: false }, { audio: false, video });
  let why: unknown;
  for (const wish of wishes) {
    try {
      const wanted = { audio: constraints(wish.audio), video: constraints(wish.video) };
      const stream = await navigator.mediaDevices.getUserMedia(wanted);
      if (!why) return { stream, note: '' };
      const note = wish.video
        ? 'No microphone can be used: the others will not hear you.'
        : 'No camera can be used: the others will not see you.';
      return { stream, note };
    } catch (error) {
      why ??= error;
      // Asking a second time after a refusal would only annoy.
      if (error instanceof Error && error.name === 'NotAllowedError') break;
    }
  }
  const what = [audio && 'microphone', video && 'camera'].filter(Boolean).join(' and ');
  const isRefused = why instanceof Error && why.name === 'NotAllowedError';
  const note = [whyMissing(what, why), isRefused && ALLOW, STILL].filter(Boolean).join(' ');
  return { stream: new MediaStream(), note };
}

/** Lets go of the devices of a stream. */
export function close(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

/** Fills a list of choices; nothing to choose is said, too. */
export async function fill(
  select: HTMLSelectElement,
  kind: 'audioinput' | 'videoinput',
  chosen: string | undefined,
): Promise<void> {
  const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const devices = all.filter((device) => device.kind === kind);
  const word = kind === 'audioinput' ? 'Microphone' : 'Camera';
  const options = devices
    .filter(({ deviceId }) => deviceId)
    .map(({ deviceId, label }, index) =>
      new Option(label || `${word} ${index + 1}`, deviceId, false, deviceId === chosen));
  // Before the person has allowed any, browsers tell that there are some, and neither names nor ids.
  const none = devices.length ? 'not allowed' : 'none found';
  select.replaceChildren(...(options.length ? options : [new Option(none, '')]));
  select.disabled = options.length < 2;
}
