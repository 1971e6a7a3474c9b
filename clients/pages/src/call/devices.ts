/** Cameras and microphones: which there are, and opening them for the preview, with whatever of them there is. */

/** What is to be opened; a device id, or true for the browser's choice. */
export interface Wish {
  audio: boolean | string;
  video: boolean | string;
}

const WHY: Record<string, string> = {
  NotAllowedError: 'Camera and microphone were not allowed.',
  NotFoundError: 'No camera or microphone was found.',
  NotReadableError: 'Camera or microphone are in use by another program.',
};
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
  const { name, message } = why instanceof Error ? why : new Error(`${why}`);
  return { stream: new MediaStream(), note: `${WHY[name] ?? `Camera and microphone failed: ${message}.`} ${STILL}` };
}

/** Lets go of the devices of a stream. */
export function close(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

/** The devices of a kind. Before the person has allowed any, browsers tell neither names nor ids. */
export async function list(kind: 'audioinput' | 'videoinput'): Promise<{ id: string; label: string }[]> {
  const all = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
  const word = kind === 'audioinput' ? 'Microphone' : 'Camera';
  return all
    .filter((device) => device.kind === kind && device.deviceId)
    .map(({ deviceId, label }, index) => ({ id: deviceId, label: label || `${word} ${index + 1}` }));
}

/** Fills a list of choices; nothing to choose is said, too. */
export async function fill(
  select: HTMLSelectElement,
  kind: 'audioinput' | 'videoinput',
  chosen: string | undefined,
): Promise<void> {
  const devices = await list(kind);
  const options = devices.map(({ id, label }) => new Option(label, id, false, id === chosen));
  select.replaceChildren(...(options.length ? options : [new Option('none found', '')]));
  select.disabled = devices.length < 2;
}
