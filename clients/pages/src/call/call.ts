/** The call's page: the lobby, a visit to a room, and the call in it. */

import '../shell/start.js';

import type { Call, CallPeer, Client, Member, PairStats, Room } from 'rallypoint-client';
import { tokenOfAddress } from '../shell/address.js';
import { copy } from '../shell/copy.js';
import { at, setText, within } from '../shell/el.js';
import { refusal } from '../shell/refused.js';
import { StatusPill, type Shown } from '../shell/status.js';
import { tokenHelp } from '../shell/token.js';
import { rememberedName, rememberName } from '../shell/who.js';
import { Chat, nameOf } from './chat.js';
import { controls } from './controls.js';
import { constraints } from './devices.js';
import { Lobby } from './lobby.js';
import { measure, words } from './meters.js';
import { Tiles } from './tiles.js';
import { Visit } from './visit.js';

declare global {
  interface Window {
    /** For the browser's console and for tests, no part of any interface: what the page holds just now. */
    rallypoint: { client: Client | undefined; room: Room | undefined; call: Call | undefined };
  }
}

const asked = new URLSearchParams(location.search);
const pill = new StatusPill(at('status'));
const tiles = new Tiles(() => (at('sound').hidden = false));
const chat = new Chat(() => room);
const lobby = new Lobby();
const showLocal = controls({
  call: () => call,
  microphone: () => {
    const wanted = constraints(lobby.wish.audio);
    return typeof wanted === 'object' ? wanted : {};
  },
  figures: (on) => at('call').classList.toggle('figures', on),
  invite: () => void invite('invite'),
  talk: () => (getComputedStyle(at('talk')).display === 'none' ? chat.focus() : chat.open(true)),
  leave: () => visit?.leave(),
});

let visit: Visit | undefined;
let room: Room | undefined;
let call: Call | undefined;
/** The visit whose call is being begun. */
let calling: Visit | undefined;
let endMeasuring: (() => void) | undefined;
/** Under which peer our own tile stands. */
let own: string | undefined;
const figures = new Map<string, PairStats>();
/** Who is in the call, as last told: a room that is shown anew may name them later than their pictures come. */
const known = new Map<string, Member>();
/** Peers whose call began since the room was shown: newcomers, not those who come back into a call that went on. */
const fresh = new Set<string>();
window.rallypoint = { client: undefined, room: undefined, call: undefined };

at('name', HTMLInputElement).value = asked.get('name') ?? rememberedName();
at('room', HTMLInputElement).value = asked.get('room') ?? 'lobby';
showLink();
showTokenNote();
addEventListener('hashchange', showTokenNote);
at('room').addEventListener('input', showLink);
at('alone-invite').addEventListener('click', () => void invite('alone-invite'));
at('copy').addEventListener('click', () => void copy(link(), at('copy')));
at('join-form').addEventListener('submit', (event) => {
  event.preventDefault();
  void join();
});
at('sound').addEventListener('click', () => {
  at('sound').hidden = true;
  tiles.play();
});
// Says bye, else the others would look at a frozen picture until the server notices the loss.
addEventListener('pagehide', () => visit?.leave());

function link(): string {
  const address = new URL(location.pathname, location.origin);
  address.searchParams.set('room', at('room', HTMLInputElement).value);
  return address.href;
}

function showLink(): void {
  at('link', HTMLInputElement).value = at('alone-link', HTMLInputElement).value = link();
}

function showTokenNote(): void {
  const given = Boolean(tokenOfAddress());
  at('name-row').hidden = given;
  at('name', HTMLInputElement).required = !given;
  at('token-note').hidden = !given;
}

async function invite(button: string): Promise<void> {
  const share = { title: `Call in ${room?.name ?? ''}`, url: link() };
  // A telephone has a sheet of its own for this.
  if (matchMedia('(pointer: coarse)').matches && navigator.canShare?.(share)) {
    await navigator.share(share).catch(() => {});
    return;
  }
  await copy(share.url, within(at(button), 'span'));
}

async function join(): Promise<void> {
  const name = at('name', HTMLInputElement).value.trim();
  rememberName(name);
  at('help').hidden = true;
  at('join', HTMLButtonElement).disabled = true;
  pill.show({ state: 'connecting', reason: 'Waiting for camera and microphone…' });
  await lobby.ready();
  const present = new Visit({
    name: tokenOfAddress() ? '' : name,
    room: at('room', HTMLInputElement).value,
    noTokens: () => {
      at('help').replaceChildren(tokenHelp({ room: at('room', HTMLInputElement).value, role: 'host' }));
      at('help').hidden = false;
    },
  });
  visit = present;
  window.rallypoint = { client: present.client, room: undefined, call: undefined };
  const { client } = present;
  present.on('stands', (shown) => {
    pill.show(shown);
    showCount();
    if (shown.state === 'connected') void begin();
    // What was measured on a connection that is lost says nothing.
    else at('clock').hidden = true;
  });
  present.on('room', (entered) => {
    room = entered;
    window.rallypoint.room = entered;
    if (at('call').hidden) showCall(entered.name);
    hear(entered);
  });
  present.on('over', showDoor);
  client.on('notification', ({ message, time }) => chat.notice(message, time, 'notification'));
  client.on('latency', ({ rtt, offset }) => {
    at('clock').hidden = false;
    at('clock').title = 'Round trip to the server, and how far its clock is ahead of yours';
    const ahead = Math.round(offset);
    setText(at('clock'), `Round trip ${Math.round(rtt)} ms, clock ${ahead < 0 ? '−' : '+'}${Math.abs(ahead)} ms`);
  });
}

/** What the room tells. */
function hear(here: Room): void {
  here.on('shown', ({ missed }) => {
    fresh.clear();
    const same = own === here.you.peer;
    if (own && !same) tiles.remove(own);
    own = here.you.peer;
    showOwn();
    if (!same && !missed) chat.notice(`You are in the room ${here.name}.`);
  });
  here.on('members', (members) => {
    showCount();
    chat.typing([...members.values()].filter(({ typing, you }) => typing && !you).map((member) => nameOf(member)));
    showOwn();
    call?.peers.forEach(showPeer);
  });
  here.on('reset', () => chat.notice('Some of what happened meanwhile is no longer known.'));
  here.on('message', (message) => chat.message(message, message.from.peer === here.you.peer));
  here.on('peer-joined', ({ peer, time, missed }) => {
    if (peer.peer === here.you.peer || (missed && peer.user === here.you.user)) return;
    // Who came back into a call that went on without the server never left it.
    const cameBack = !missed && call?.peers.has(peer.peer) && !fresh.has(peer.peer);
    if (!cameBack) chat.notice(`${nameOf(peer)} joined.`, time);
  });
  here.on('peer-left', ({ peer, reason, time, missed }) => {
    if (peer.peer === here.you.peer || (missed && peer.user === here.you.user)) return;
    chat.notice(`${nameOf(peer)} left${reason === 'left' || reason === 'closed' ? '' : ` (${reason})`}.`, time);
  });
}

/** Begins the call once there is a way for it: where no WebSocket gets through there is chat only. */
async function begin(): Promise<void> {
  const present = visit;
  if (!present || !room) return;
  const { missing } = present.client;
  at('no-call').hidden = !missing.length;
  setText(
    at('no-call'),
    'Your network lets no WebSocket through, so there are no pictures and no sound here: you can read and write. ' +
      'A WebSocket is tried again from time to time.',
  );
  if (missing.length) {
    // Nobody sees or hears us, so no device has to be on.
    if (!call) lobby.close();
    showOwn();
    return;
  }
  if (call || calling === present) return;
  calling = present;
  const { audio, video } = lobby.wish;
  let begun: Call;
  try {
    begun = await room.call({ audio: constraints(audio), video: constraints(video) });
  } catch (error) {
    // Whoever left meanwhile has called it off.
    if (visit !== present) return;
    const why = error instanceof Error ? error.message : `${error}`;
    at('no-call').hidden = false;
    setText(at('no-call'), `This browser cannot take part in calls (${why}): you can read and write.`);
    return;
  } finally {
    if (calling === present) calling = undefined;
    // After a leave the devices are the lobby's again.
    if (visit === present) lobby.close();
  }
  if (visit !== present) return begun.end();
  call = begun;
  window.rallypoint.call = begun;
  begun.on('peer', ({ peer }) => fresh.add(peer));
  begun.on('peer', showPeer);
  begun.on('change', showPeer);
  begun.on('gone', ({ peer }) => {
    figures.delete(peer);
    known.delete(peer);
    tiles.remove(peer);
    showCount();
  });
  begun.on('local', (local) => {
    showLocal(local);
    showOwn();
  });
  // Out of the room for good, or the session was lost: the visit tells what comes next.
  begun.on('ended', () => {
    if (call !== begun) return;
    call = window.rallypoint.call = undefined;
    showLocal(undefined);
    endMeasuring?.();
  });
  begun.peers.forEach(showPeer);
  showLocal(begun.local);
  showOwn();
  if (lobby.note) chat.notice(lobby.note);
  endMeasuring = measure(begun, {
    speaking: (peer, on) => tiles.speaking(peer, on),
    stats: (peer, stats) => {
      figures.set(peer.peer, stats);
      if (begun.peers.get(peer.peer) === peer) showPeer(peer);
    },
  });
}

/** How many are here; not fewer than the call has, while they come back one after the other into a room begun anew. */
function showCount(): void {
  if (!room) return;
  const { spectators } = room;
  const count = Math.max(room.count, (call?.peers.size ?? 0) + 1);
  setText(at('count'), `${count} here${spectators ? `, ${spectators} watching` : ''}`);
  at('alone').hidden = count > 1 || document.body.dataset['state'] !== 'connected';
}

function showPeer(peer: CallPeer): void {
  const { state, reason, stream } = peer;
  if (peer.member) known.set(peer.peer, peer.member);
  const member = known.get(peer.peer);
  const stats = state === 'connected' ? figures.get(peer.peer) : undefined;
  const flags = member?.state ?? {};
  tiles.show(peer.peer, {
    name: nameOf(member),
    stream,
    muted: flags['muted'] === true,
    cameraOff: flags['cameraOff'] === true,
    sharing: flags['sharing'] === true,
    connection: state,
    why: state === 'connected' ? '' : reason || (state === 'connecting' ? 'Connecting…' : 'Connecting again…'),
    rtt: stats?.rtt ?? member?.rtt,
    rates: stats ? words(stats) : '',
  });
}

function showOwn(): void {
  if (!room || own === undefined) return;
  if (!call && visit?.client.missing.length) return tiles.remove(own);
  const { stream = lobby.stream, audio = false, video = false, sharing = false } = call?.local ?? {};
  tiles.show(own, {
    name: nameOf(room.you),
    stream,
    own: true,
    muted: !audio && Boolean(call),
    cameraOff: !video && Boolean(call),
    sharing,
    connection: 'connected',
    why: '',
    rtt: room.you.rtt,
    rates: '',
  });
}

function showCall(name: string): void {
  chat.clear();
  at('door').hidden = true;
  at('call').hidden = false;
  showLocal(undefined);
  document.body.classList.add('in-call');
  setText(at('call-title'), name);
  document.title = `${name} · rallypoint`;
  chat.focus();
}

function showDoor(shown: Shown): void {
  call?.end();
  endMeasuring?.();
  call = room = visit = own = undefined;
  tiles.clear();
  figures.clear();
  known.clear();
  chat.open(false);
  pill.show(shown);
  at('call').hidden = true;
  at('door').hidden = false;
  at('clock').hidden = true;
  at('join', HTMLButtonElement).disabled = false;
  document.body.classList.remove('in-call');
  document.title = 'Call · rallypoint';
  void lobby.open();
  const help = at('help');
  // How to get a token is said already.
  if (shown.state === 'refused' && help.hidden) {
    help.hidden = false;
    help.replaceChildren(refusal(shown));
  }
  if (help.hidden) at('join').focus();
  else help.focus();
}
