/**
 * The calls: one RTCPeerConnection to every other member of the room (a full mesh), negotiated as in "perfect
 * negotiation" of the W3C WebRTC specification. The server says in each peer entry who makes the first offer
 * (`offers`) and who gives way when two offers cross (`polite`).
 *
 * Dispatches `open`, `change` and `close`, each with the call as `detail`.
 */

const SIGNALS = ['offer', 'answer', 'ice-candidate'];

/** One connection to one peer. */
class Call {
  /** The peer's entry as far as we know it; a signal may come before it. */
  entry;
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
      // New candidates, same connection; if both sides do this at once, the crossing offers are sorted out as ever.
      if (this.pc.connectionState === 'failed') this.pc.restartIce();
      changed(this);
    };
    this.send = send;
    this.#begin();
  }

  /** Takes the server's entry, which is newer than ours. */
  update(entry) {
    this.entry = { ...this.entry, ...entry };
    this.#begin();
    this.changed(this);
  }

  /**
   * The offering side names both kinds even when it has no device for one: so that it can receive what it cannot send.
   * The other side adds nothing before the offer is there, else both would want to offer.
   */
  #begin() {
    if (!this.entry.offers || this.#offered || this.pc.remoteDescription) return;
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

  /**
   * @param {import('./signal.js').Client} client
   * @param {MediaStream} local what we send; may be empty, then we only receive
   */
  constructor(client, local) {
    super();
    Object.assign(this, { client, local });
    const on = (type, act) => client.addEventListener(type, ({ detail }) => act(detail));
    on('joined', ({ you, members }) => {
      // After a reconnect we are a new peer to the others, who dropped the old one: nothing of before can go on.
      if (this.you?.peer !== you.peer) this.closeAll();
      this.you = you;
      this.#sync(members);
    });
    on('reset', ({ room, members }) => room === client.room && this.#sync(members));
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

  #sync(members) {
    const present = new Set(members.map(({ peer }) => peer));
    for (const peer of [...this.peers.keys()]) if (!present.has(peer)) this.#end(peer);
    for (const entry of members) this.#meet(entry);
  }

  #meet(entry) {
    if (entry.peer === this.you?.peer) return;
    this.#gone.delete(entry.peer);
    const known = this.peers.get(entry.peer);
    if (known) known.update(entry);
    else this.#start(entry);
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
      changed: () => this.peers.get(entry.peer) === call && this.#tell('change', call),
      send: (type, data) =>
        this.client.request(type, { room: this.client.room, to: entry.peer, data }).catch((error) => {
          // Gone (805, 803) or reconnecting (0): `peer-left` or `joined` follows and cleans up.
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
