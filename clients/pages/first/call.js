/**
 * The calls: one RTCPeerConnection to every other member of the room (a full mesh), negotiated as in "perfect
 * negotiation" of the W3C WebRTC specification. The server says in each peer entry who makes the first offer
 * (`offers`) and who gives way when two offers cross (`polite`).
 *
 * Dispatches `open`, `change` and `close`, each with the call as `detail`.
 */

const SIGNALS = ['offer', 'answer', 'ice-candidate'];
/** A restarted server brings lost sessions back for 10 s after its start (`limits.resume_grace_ms`); and a little. */
const AWAIT_MS = 15_000;

/** One connection to one peer. */
class Call {
  /** The peer's entry as far as we know it; a signal may come before it. */
  entry;
  /** The timer of a call whose peer is not back in a room that began anew; see `Calls.#sync`. */
  awaited = undefined;
  /** Whether the peer came back like that: to the others it is no newcomer. */
  returned = false;
  /** What the peer sends us. Its own stream, because tracks may come with or without one. */
  remote = new MediaStream();
  #makingOffer = false;
  #ignoringOffer = false;
  #settingAnswer = false;
  #offered = false;

  constructor({ entry, iceServers, local, send, changed }) {
    this.entry = entry;
    this.local = local;
    this.changed = changed;
    this.pc = new RTCPeerConnection({ iceServers });
    this.pc.onnegotiationneeded = () => this.#offer();
    this.pc.onicecandidate = ({ candidate }) => {
      // `null` ends the candidates. Some browsers send an empty candidate before it, which says the same once more.
      if (candidate?.candidate !== '') send('ice-candidate', candidate);
    };
    this.pc.ontrack = ({ track }) => {
      this.remote.addTrack(track);
      changed(this);
    };
    this.pc.onconnectionstatechange = () => {
      if (this.pc.connectionState === 'failed') this.#reconnect(false);
      changed(this);
    };
    this.send = send;
    if (entry.offers) this.#begin();
  }

  /** Takes the server's entry, which is newer than ours. */
  update(entry) {
    this.entry = { ...this.entry, ...entry };
    if (this.entry.offers) this.#begin();
    this.changed(this);
  }

  /**
   * Signals were lost. A call that stands needs none; for one that does not they are made anew.
   * @param {boolean} alone whether the peer knows nothing of the loss: then it is for us to make an offer, whoever is to
   *   make it otherwise
   */
  mend(alone) {
    if (this.pc.signalingState === 'have-local-offer') this.send('offer', this.pc.localDescription);
    else if (this.pc.remoteDescription && this.pc.connectionState !== 'connected') this.#reconnect(alone);
    else if (alone) this.#begin();
  }

  /** New candidates, same connection. Both sides notice a failure, and one offer is enough: two would only cross. */
  #reconnect(alone) {
    if (this.entry.offers || alone) this.pc.restartIce();
  }

  /**
   * The offering side names both kinds even when it has no device for one: so that it can receive what it cannot send.
   * The other side adds nothing before the offer is there, else both would want to offer.
   */
  #begin() {
    if (this.#offered || this.pc.remoteDescription) return;
    this.#offered = true;
    for (const kind of ['audio', 'video']) {
      const track = this.local.getTracks().find((each) => each.kind === kind);
      this.pc.addTransceiver(track ?? kind, { direction: track ? 'sendrecv' : 'recvonly', streams: [this.local] });
    }
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.pc.setLocalDescription();
      this.send(this.pc.localDescription.type, this.pc.localDescription);
    } catch (error) {
      this.#fault(error);
    } finally {
      this.#makingOffer = false;
    }
  }

  /** Takes a signal of the peer: {type, data}. */
  async receive({ type, data }) {
    try {
      if (type === 'ice-candidate') await this.#candidate(data);
      else await this.#description(data);
    } catch (error) {
      this.#fault(error);
    }
  }

  async #description(description) {
    const { pc } = this;
    // An offer that went out twice is answered twice.
    if (description.type === 'answer' && (this.#settingAnswer || pc.signalingState !== 'have-local-offer')) return;
    const ready = !this.#makingOffer && (pc.signalingState === 'stable' || this.#settingAnswer);
    this.#ignoringOffer = description.type === 'offer' && !ready && !this.entry.polite;
    if (this.#ignoringOffer) return;
    this.#settingAnswer = description.type === 'answer';
    try {
      await pc.setRemoteDescription(description);
    } finally {
      this.#settingAnswer = false;
    }
    if (description.type !== 'offer') return;
    const sending = new Set(pc.getSenders().map((sender) => sender.track));
    for (const track of this.local.getTracks()) if (!sending.has(track)) pc.addTrack(track, this.local);
    await pc.setLocalDescription();
    this.send('answer', pc.localDescription);
    // Who takes an offer without being ready for it has rolled back its own.
    if (!ready) await this.#sendAgain();
  }

  /**
   * In Chromium 148 the senders of a connection fall silent for good when an offer is rolled back, while every state says
   * `connected`; another ICE restart does not wake them. Being given the track that they have does. Elsewhere this
   * changes nothing. The track must not be taken away in between: an offer that comes then would add it once more.
   */
  async #sendAgain() {
    const sending = this.pc.getSenders().filter(({ track }) => track);
    await Promise.all(sending.map((sender) => sender.replaceTrack(sender.track)));
  }

  async #candidate(candidate) {
    try {
      await this.pc.addIceCandidate(candidate ?? undefined);
    } catch (error) {
      // Candidates that belong to an offer we ignored have nothing to belong to here.
      if (!this.#ignoringOffer) throw error;
    }
  }

  #fault(error) {
    if (this.pc.signalingState !== 'closed') console.warn('rallypoint: negotiation with', this.entry.peer, error);
  }

  close() {
    clearTimeout(this.awaited);
    this.pc.close();
  }
}

export class Calls extends EventTarget {
  /** Peer id to call: the others in the room. @type {Map<string, Call>} */
  peers = new Map();
  /** Our own entry. */
  you = null;
  /** Peers that left, so that a late signal of theirs does not bring them back. */
  #gone = new Set();
  /** Which life of the room it is: the epoch of its positions. */
  #epoch = undefined;

  /**
   * @param {import('./signal.js').Client} client
   * @param {MediaStream} local what we send; may be empty, then we only receive
   */
  constructor(client, local) {
    super();
    Object.assign(this, { client, local });
    const on = (type, act) => client.addEventListener(type, ({ detail }) => act(detail));
    on('joined', ({ you, members, position, missed }) => {
      // As a new peer to the others, who dropped the old one, we cannot go on with anything of before.
      if (this.you?.peer !== you.peer) this.closeAll();
      this.you = you;
      // Who left meanwhile has dropped the call, even if it is here again.
      for (const { type, peer, left } of missed ?? []) {
        if (type === 'peer-left') this.#part(peer.peer);
        if (type === 'presence') for (const { peer } of left) this.#part(peer);
      }
      this.#sync(members, position, !client.session.resumed);
    });
    on('reset', ({ room, members, position }) => room === client.room && this.#sync(members, position, false));
    on('peer-joined', ({ peer }) => this.#meet(peer));
    on('peer-left', ({ peer }) => this.#part(peer.peer));
    on('presence', ({ joined, left }) => {
      for (const peer of joined) this.#meet(peer);
      for (const { peer } of left) this.#part(peer);
    });
    on('peer-updated', ({ peer, state }) => this.peers.get(peer)?.update({ state }));
    on('latency', ({ peers }) => {
      const byHandle = new Map(peers.map(([handle, rtt]) => [handle, rtt]));
      for (const call of this.peers.values()) {
        const rtt = byHandle.get(call.entry.handle);
        if (rtt != null) call.update({ rtt });
      }
    });
    for (const type of SIGNALS) {
      on(type, (signal) => {
        if (this.#gone.has(signal.from)) return;
        // The one who offers joined after us, so until the entry comes we are the one who answers and does not give way.
        const call = this.peers.get(signal.from) ?? this.#start({ peer: signal.from, polite: false, offers: false });
        call.receive(signal);
      });
    }
  }

  /** Ends all calls, as on leaving. */
  closeAll() {
    for (const peer of [...this.peers.keys()]) this.#end(peer);
    this.#gone.clear();
  }

  /**
   * Takes the list of those who are here.
   *
   * Who is not in it is gone, with one exception. After a restart of the server the room begins anew, and everybody
   * comes back into it as the peer they were, one after the other. The calls do not need the server and go on
   * meanwhile. So when the room has a new epoch, a call without its peer is kept until the peer is back, the connection
   * fails, or nobody who was lost can come back any more.
   *
   * `lossy` says that signals to us were lost.
   */
  #sync(members, position, lossy) {
    const [epoch] = position.split('.');
    const anew = this.#epoch !== epoch;
    this.#epoch = epoch;
    const present = new Set(members.map(({ peer }) => peer));
    for (const [peer, call] of this.peers) {
      // What failed is made anew rather than kept: the peer saw the same and does so, too.
      if (anew && call.pc.connectionState === 'failed') this.#end(peer);
      else if (anew && !present.has(peer)) call.awaited ??= setTimeout(() => this.#end(peer), AWAIT_MS);
      else if (!present.has(peer) && !call.awaited) this.#end(peer);
    }
    for (const entry of members) {
      const known = this.peers.get(entry.peer);
      this.#meet(entry);
      if (lossy) known?.mend(!anew);
    }
  }

  #meet(entry) {
    if (entry.peer === this.you?.peer) return;
    this.#gone.delete(entry.peer);
    const known = this.peers.get(entry.peer);
    if (!known) return this.#start(entry);
    known.update(entry);
    if (!known.awaited) return;
    known.awaited = clearTimeout(known.awaited);
    known.returned = true;
    known.mend(false);
  }

  #part(peer) {
    this.#gone.add(peer);
    this.#end(peer);
  }

  #start(entry) {
    const call = new Call({
      entry,
      iceServers: this.client.session?.ice_servers ?? [],
      local: this.local,
      changed: () => {
        if (this.peers.get(entry.peer) !== call) return;
        if (call.awaited && call.pc.connectionState === 'failed') this.#end(entry.peer);
        else this.#tell('change', call);
      },
      send: (type, data) =>
        this.client.request(type, { room: this.client.room, to: entry.peer, data }).catch((error) => {
          // Gone (805, 803), or our own session is (0): `peer-left` or `joined` follows and cleans up.
          if (![0, 803, 805].includes(error.code)) console.warn(`rallypoint: ${type} refused`, error.code, error.message);
        }),
    });
    this.peers.set(entry.peer, call);
    this.#tell('open', call);
    return call;
  }

  #end(peer) {
    const call = this.peers.get(peer);
    if (!call) return;
    this.peers.delete(peer);
    call.close();
    this.#tell('close', call);
  }

  #tell(type, call) {
    this.dispatchEvent(new CustomEvent(type, { detail: call }));
  }
}
