/** The buttons of a call, and their keys. */

import type { Call, LocalMedia } from 'rallypoint-client';
import { dialog } from '../shell/dialog.js';
import { at, el, setText, within } from '../shell/el.js';
import { toast } from '../shell/toast.js';
import { constraints, fill } from './devices.js';

/** What the buttons act on. */
export interface Controlled {
  call(): Call | undefined;
  /** Which devices to open when there is none yet. */
  microphone(): MediaTrackConstraints;
  figures(on: boolean): void;
  invite(): void;
  talk(): void;
  leave(): void;
}

const KEYS: Record<string, string> = { m: 'mute', v: 'camera', s: 'share', f: 'figures' };

const NEED_CALL = ['mute', 'camera', 'share', 'devices', 'figures'];

/** Connects buttons and keys; returns what shows the state of what is sent, or that there is no call. */
export function controls(on: Controlled): (local: LocalMedia | undefined) => void {
  const act = (id: string, what: (call: Call) => void | Promise<void>) =>
    at(id).addEventListener('click', () => {
      const call = on.call();
      if (call) void what(call);
    });
  act('mute', (call) => {
    const there = call.local.stream.getAudioTracks().length > 0;
    return there ? call.setAudio(!call.local.audio) : call.use({ audio: on.microphone() });
  });
  act('camera', async (call) => {
    const { sharing, video } = call.local;
    if (sharing) await call.stopSharing();
    await call.setVideo(sharing ? true : !video);
  });
  act('share', (call) => (call.local.sharing ? call.stopSharing() : call.share()));
  let choosing = false;
  act('devices', async (call) => {
    more(false);
    if (choosing) return;
    choosing = true;
    await choose(call).finally(() => (choosing = false));
  });
  at('more').addEventListener('click', () => more(at('more').ariaExpanded !== 'true'));
  const figures = at('figures', HTMLButtonElement);
  figures.addEventListener('click', () => {
    const shown = figures.ariaPressed !== 'true';
    figures.ariaPressed = `${shown}`;
    on.figures(shown);
  });
  at('invite').addEventListener('click', on.invite);
  at('leave').addEventListener('click', on.leave);
  at('share').hidden = !navigator.mediaDevices?.getDisplayMedia;

  addEventListener('keydown', (event) => {
    const { key, target, ctrlKey, altKey, metaKey, repeat } = event;
    if (!on.call() || ctrlKey || altKey || metaKey || repeat) return;
    if (target instanceof Element && target.closest('input, textarea, select, dialog')) return;
    const id = KEYS[key.toLowerCase()];
    if (id) at(id).click();
    else if (key.toLowerCase() === 'c') on.talk();
    else return;
    event.preventDefault();
  });

  let told: string | undefined;
  return (local) => {
    if (!local) more(false);
    for (const id of NEED_CALL) at(id, HTMLButtonElement).disabled = !local;
    if (!local) return;
    const { stream, audio, video, sharing, fault } = local;
    const there = stream.getAudioTracks().length > 0;
    show('mute', audio ? 'Mute' : there ? 'Unmute' : 'Mic on', !audio);
    show('camera', video && !sharing ? 'Camera off' : 'Camera on', !video || sharing);
    show('share', sharing ? 'Stop sharing' : 'Share screen', false);
    at('share').classList.toggle('busy-with', sharing);
    if (fault && fault !== told) toast(fault, { kind: 'danger' });
    told = fault;
  };
}

/** On a narrow screen, a second row of buttons. */
function more(open: boolean): void {
  at('more').ariaExpanded = `${open}`;
}

function show(id: string, text: string, off: boolean): void {
  const button = at(id);
  setText(within(button, 'span'), text);
  button.title = text;
  button.classList.toggle('off', off);
}

/** Lets the person choose other devices; each choice counts at once. */
async function choose(call: Call): Promise<void> {
  const used = (kind: string) =>
    call.local.stream.getTracks().find((track) => track.kind === kind)?.getSettings().deviceId;
  const pick = async (label: string, kind: 'audioinput' | 'videoinput', media: 'audio' | 'video') => {
    const select = el('select', { id: `switch-${media}` });
    await fill(select, kind, used(media));
    select.addEventListener('change', () => {
      const wanted = constraints(select.value);
      if (typeof wanted === 'object') void call.use({ [media]: wanted });
    });
    return el('p', { class: 'field' }, el('label', { htmlFor: select.id }, label), select);
  };
  await dialog({
    title: 'Devices',
    body: [
      await pick('Camera', 'videoinput', 'video'),
      await pick('Microphone', 'audioinput', 'audio'),
      el('p', { class: 'hint' }, 'What you choose is used at once; nobody has to be called again.'),
    ],
    actions: [{ label: 'Done', value: '', kind: 'main' }],
  });
}
