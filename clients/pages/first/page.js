/**
 * The page: form, status and buttons, and what connects them to the socket (signal.js), the calls (call.js), the tiles
 * and the chat.
 */

import { Calls } from './call.js';
import { Chat, nameOf } from './chat.js';
import { openMedia } from './media.js';
import { Client } from './signal.js';
import { Tiles } from './tiles.js';
import { NoTokens, tokenOfAddress, tokenSource } from './token.js';

const at = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);

/**
 * For debugging in the browser's console and for tests, no part of any interface: the client and the calls of the
 * present room, for example `[...rallypoint.calls.peers.values()][0].pc.getStats()`.
 */
window.rallypoint = { client: null, calls: null };

let client = null;
let calls = null;
let own = null;
let count = 0;
let media = { stream: new MediaStream(), note: '' };
const opened = openMedia().then(showMedia);

const tiles = new Tiles(at('tiles'), at('tile'), () => (at('sound').hidden = false));
const chat = new Chat(
  { log: at('log'), typing: at('typing'), form: at('chat-form'), text: at('text') },
  { message: (text) => client.request('message', { room: client.room, text }), typing: () => client.send('typing', { room: client.room }) },
);

at('name').value = asked.get('name') ?? '';
at('room').value = asked.get('room') ?? 'lobby';
at('help-url').textContent = location.origin + location.pathname;
showLink();
showTokenNote();
addEventListener('hashchange', showTokenNote);

at('room').addEventListener('input', showLink);
at('copy').addEventListener('click', () => copyLink(at('copy')));
at('share').addEventListener('click', () => copyLink(at('share')));
at('join-form').addEventListener('submit', (event) => {
  event.preventDefault();
  join(at('name').value.trim(), at('room').value);
});
at('leave').addEventListener('click', () => client.leave());
at('mute').addEventListener('click', () => toggle('audio', at('mute'), 'Mute', 'Unmute'));
at('camera').addEventListener('click', () => toggle('video', at('camera'), 'Camera off', 'Camera on'));
at('sound').addEventListener('click', () => {
  at('sound').hidden = true;
  tiles.play();
});
// Says bye, else the others would look at a frozen picture until the server notices the loss.
addEventListener('pagehide', () => client?.leave());

function showMedia(found) {
  media = found;
  // A video that waits for an empty stream would keep the page loading forever.
  if (media.stream.getTracks().length) at('preview').srcObject = media.stream;
  at('media-note').textContent = media.note || 'Camera and microphone are ready.';
  for (const [button, tracks, missing] of [
    [at('mute'), media.stream.getAudioTracks(), 'No microphone'],
    [at('camera'), media.stream.getVideoTracks(), 'No camera'],
  ]) {
    button.disabled = !tracks.length;
    if (!tracks.length) button.textContent = missing;
  }
}

function showLink() {
  const link = new URL(location.pathname, location.origin);
  link.searchParams.set('room', at('room').value);
  at('link').value = link.href;
}

function showTokenNote() {
  const given = Boolean(tokenOfAddress());
  at('name-row').hidden = given;
  at('name').required = !given;
  at('token-note').hidden = !given;
}

async function copyLink(button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(at('link').value);
    button.textContent = 'Copied';
  } catch {
    // No clipboard outside https and localhost.
    at('link').select();
    button.textContent = client ? at('link').value : 'Press Ctrl+C';
  }
  setTimeout(() => (button.textContent = before), 2_000);
}

function showStatus({ state, detail }) {
  Object.assign(at('status').dataset, { state });
  at('status').textContent = detail;
  document.body.dataset.state = state;
}

async function join(name, room) {
  at('help').hidden = true;
  at('join').disabled = true;
  showStatus({ state: 'connecting', detail: 'Waiting for camera and microphone…' });
  await opened;
  const source = tokenSource({ name, room });
  const token = async (why) => {
    try {
      return await source(why);
    } catch (error) {
      at('help').hidden = !(error instanceof NoTokens);
      throw error;
    }
  };
  const url = new URL('v1/ws', document.baseURI);
  url.protocol = url.protocol.replace('http', 'ws');
  client = new Client({ url, room, token });
  calls = new Calls(client, media.stream);
  window.rallypoint = { client, calls };
  listen();
  client.connect();
}

function listen() {
  const on = (type, act) => client.addEventListener(type, ({ detail }) => act(detail));
  on('state', (status) => {
    showStatus(status);
    if (status.state === 'reconnecting') chat.quiet();
    if (status.state === 'refused' || status.state === 'left') showDoor();
  });
  on('joined', ({ you, count: here, spectators, missed }) => {
    if (!own) showCall();
    const same = own?.peer === you.peer;
    if (own && !same) tiles.remove(own.peer);
    own = same ? { ...own, ...you } : you;
    chat.quiet();
    showOwn();
    showCount(here, spectators);
    if (!missed && !same) chat.notice(`You are in the room ${client.room}.`);
    announce();
  });
  on('missed', (event) => tell(event, true));
  on('reset', ({ room, count: here }) => {
    if (room !== client.room) return;
    chat.notice('Some of what happened meanwhile is no longer known.');
    chat.quiet();
    showCount(here);
  });
  for (const type of ['message', 'peer-joined', 'peer-left']) on(type, (event) => tell(event, false));
  on('presence', ({ count: here, spectators }) => showCount(here, spectators));
  on('typing', ({ from, on: typing }) => chat.typing(from, nameOf(calls.peers.get(from)?.entry), typing));
  on('notification', ({ message, time }) => chat.notice(message, time, 'notification'));
  on('clock', ({ rtt, offset }) => {
    at('clock').hidden = false;
    at('clock').textContent = `Round trip ${Math.round(rtt)} ms, clock ${offset < 0 ? '−' : '+'}${Math.abs(Math.round(offset))} ms`;
    at('clock').title = 'Round trip to the server, and how far its clock is ahead of yours';
  });
  on('latency', ({ peers }) => {
    const [, rtt] = peers.find(([handle]) => handle === own?.handle) ?? [];
    if (rtt == null) return;
    own = { ...own, rtt };
    showOwn();
  });
  const show = ({ detail: call }) =>
    tiles.show(call.entry.peer, { entry: call.entry, stream: call.remote, connection: call.pc.connectionState });
  calls.addEventListener('open', show);
  calls.addEventListener('change', show);
  calls.addEventListener('close', ({ detail: call }) => {
    tiles.remove(call.entry.peer);
    chat.typing(call.entry.peer, '', false);
  });
}

/** An event as a line. What was missed changes no count: that came with `joined`. */
function tell(event, missed) {
  if (event.type === 'message') return chat.message(event, event.from.peer === own.peer);
  if (event.peer?.peer === own.peer || (missed && event.peer?.user === own.user)) return;
  // Who came back into a call that went on without the server never left it.
  if (event.type === 'peer-joined' && !calls.peers.get(event.peer.peer)?.returned) chat.notice(`${nameOf(event.peer)} joined.`, event.time);
  if (event.type === 'peer-left') chat.notice(`${nameOf(event.peer)} left${event.reason === 'left' || event.reason === 'closed' ? '' : ` (${event.reason})`}.`, event.time);
  if (!missed) showCount(count + (event.type === 'peer-joined' ? 1 : -1));
}

function showCount(here, spectators = 0) {
  count = here;
  at('count').textContent = `${here} here${spectators ? `, ${spectators} watching` : ''}`;
}

const ownState = () => ({
  muted: !media.stream.getAudioTracks().some((track) => track.enabled),
  cameraOff: !media.stream.getVideoTracks().some((track) => track.enabled),
});

function showOwn() {
  if (own) tiles.show(own.peer, { entry: { ...own, state: ownState() }, stream: media.stream, own: true });
}

/** Tells the others of mute and camera; after a loss again, since a new session and a restarted server do not know. */
function announce() {
  showOwn();
  // If the session is lost this fails; `joined` announces again.
  client.request('update', { room: client.room, state: ownState() }).catch(() => {});
}

/** A disabled track sends silence or black: at once, and without a new negotiation with everybody. */
function toggle(kind, button, off, on) {
  for (const track of media.stream.getTracks()) if (track.kind === kind) track.enabled = !track.enabled;
  const enabled = media.stream.getTracks().some((track) => track.kind === kind && track.enabled);
  button.classList.toggle('on', !enabled);
  button.textContent = enabled ? off : on;
  announce();
}

function showCall() {
  chat.clear();
  at('door').hidden = true;
  at('call').hidden = false;
  at('call-title').textContent = client.room;
  document.title = `${client.room} · rallypoint`;
  if (media.note) chat.notice(media.note);
  at('text').focus();
}

function showDoor() {
  calls.closeAll();
  tiles.clear();
  own = null;
  at('call').hidden = true;
  at('door').hidden = false;
  at('clock').hidden = true;
  at('join').disabled = false;
  document.title = 'rallypoint';
  at('join').focus();
}
