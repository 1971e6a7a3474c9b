//! A simulated guest: it keeps the client's side of the specification, and shows everything that comes to the checker.

use std::collections::{BTreeMap, BTreeSet};

use rallypoint_proof::seed::Seed;
use rallypoint_protocol::{
    Event, EventBody, Kind, PeerId, Position, Request, moves::Lane, payload::Payload, request::SignalKind,
};
use serde_json::value::RawValue;

use crate::{
    check::Ledger,
    faults::Fault,
    plan::{peer, room},
    wire::{Down, Latest, Up},
};

/// Requests that a client may have without an answer and still repeat them all.
const WAITING_MAX: usize = 60;
/// Counted messages after which a client acknowledges.
const ACK_EVERY: u64 = 128;

/// The room as the guest knows it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) position: Option<Position>,
    pub(crate) members: BTreeSet<PeerId>,
    pub(crate) latest: BTreeMap<(u32, u16), u32>,
}

/// One guest over all its connections.
#[derive(Debug)]
pub(crate) struct Guest {
    number: usize,
    /// The connection it uses.
    pub(crate) link: Option<usize>,
    /// `connected` came on it.
    pub(crate) open: bool,
    /// Its session, and the token for it.
    pub(crate) session: Option<(usize, u64)>,
    pub(crate) view: Option<View>,
    pub(crate) life: u64,
    received: u64,
    acked: u64,
    last_id: u64,
    /// Requests without an answer, and the last move before each.
    pub(crate) waiting: BTreeMap<u64, (Up, u32)>,
    /// Requests that may be asked again for no reason.
    asked: Vec<Up>,
    seq: u32,
    /// Reliable moves of which it does not know whether they arrived.
    unsure: Vec<(u32, Up)>,
    bytes: Vec<u8>,
}

impl Guest {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            number,
            link: None,
            open: false,
            session: None,
            view: None,
            life: 0,
            received: 0,
            acked: 0,
            last_id: 0,
            waiting: BTreeMap::new(),
            asked: vec![],
            seq: 0,
            unsure: vec![],
            bytes: vec![],
        }
    }

    /// It has a new connection; what it says first.
    pub(crate) fn connect(&mut self, link: usize) -> Up {
        (self.link, self.open) = (Some(link), false);
        self.bytes.clear();
        let position = self.view.as_ref().and_then(|view| view.position);
        match self.session {
            Some((session, token)) => Up::Resume { session, token, received: self.received, position },
            None => Up::Auth,
        }
    }

    /// It has no connection any more.
    pub(crate) fn lose(&mut self) {
        (self.link, self.open) = (None, false);
    }

    /// Bytes came; what it says to them.
    pub(crate) fn hear(&mut self, bytes: &[u8], fault: &mut Option<Fault>, ledger: &mut Ledger) -> Vec<Up> {
        self.bytes.extend(bytes);
        let mut said = vec![];
        while let Some((frame, len)) = Down::decode(&self.bytes) {
            self.bytes.drain(..len);
            let frames = match fault {
                Some(fault) => fault.pass(self.number, frame),
                None => vec![frame],
            };
            frames.into_iter().for_each(|frame| self.take(frame, &mut said, ledger));
        }
        said
    }

    fn take(&mut self, frame: Down, said: &mut Vec<Up>, ledger: &mut Ledger) {
        match frame {
            Down::Connected { session, resumed, life, token } => {
                self.connected((session, token), resumed, life, said, ledger)
            }
            Down::Picture { re, position, missed, members, state } => {
                let before = self.view.take().unwrap_or_default();
                let stood = before.position.map(|at| {
                    let missed = missed.iter().flatten();
                    missed.fold(at, |at, event| ledger.events.came(self.number, at, None, event))
                });
                ledger.events.shown(self.number, stood, position);
                let mut latest = BTreeMap::new();
                for Latest { from, key, seq } in state {
                    let known = before.latest.get(&(from, key)).is_some_and(|known| *known > seq);
                    ledger.expect(!known, || format!("guest {}: the picture is older than a move", self.number));
                    latest.insert((from, key), seq);
                }
                self.view = Some(View { position: Some(position), members: members.into_iter().collect(), latest });
                if let Some(id) = re {
                    self.answered(id);
                    // Some only look in.
                    if id % 3 == 0 && self.open {
                        self.ask(said, 0, |id| Request::Leave { id, room: room() }, 40);
                    }
                }
            }
            Down::Reset => {}
            Down::Event { position, bytes } => self.event(position, &bytes, ledger),
            Down::Counted { unique, .. } => {
                let Some((session, _)) = self.session else { return };
                ledger.counted.came(session, self.life, unique);
                self.received += 1;
                if self.received - self.acked >= ACK_EVERY {
                    self.ack(said);
                }
            }
            Down::Latest(Latest { from, key, seq }) => {
                if let Some(view) = &mut self.view {
                    let before = view.latest.insert((from, key), seq);
                    ledger.moves.came(self.number, before, seq);
                }
            }
            Down::Answer { id, code, seq } => {
                if let Some((asked, _)) = self.waiting.get(&id) {
                    ledger.answers.heard(self.session.map_or(0, |(session, _)| session), id, code, seq);
                    if code == 0 && matches!(asked, Up::Ask { request: Request::Leave { .. }, .. }) {
                        self.view = None;
                    }
                    self.answered(id);
                }
            }
            Down::Ping(payload) => said.push(Up::Pong(payload)),
            // Its session is no more: it begins anew.
            Down::Close(4200) => *self = Self { link: self.link, ..Self::new(self.number) },
            Down::Close(_) => {}
        }
    }
    fn connected(&mut self, session: (usize, u64), resumed: bool, life: u64, said: &mut Vec<Up>, ledger: &mut Ledger) {
        (self.open, self.session) = (true, Some(session));
        ledger.expect(!resumed || life == self.life, || {
            format!("guest {}: nothing is lost, but its count begins anew ({} to {life})", self.number, self.life)
        });
        if !resumed {
            ledger.moves.begin_anew(session.0);
            (self.received, self.acked, self.life) = (0, 0, life);
            self.unsure.clear();
            self.view.iter_mut().for_each(|view| view.position = None);
            self.view.iter_mut().for_each(|view| view.latest.clear());
        }
        // Moves first: an answer that comes then speaks of them, too.
        said.extend(self.unsure.iter().map(|(_, step)| step.clone()));
        said.extend(self.waiting.values().map(|(asked, _)| asked.clone()));
    }

    fn event(&mut self, position: Position, bytes: &[u8], ledger: &mut Ledger) {
        let Some(View { position: Some(at), members, .. }) = &mut self.view else {
            return ledger.fail(&format!("guest {} got the event of {position:?} outside of the room", self.number));
        };
        *at = ledger.events.came(self.number, *at, Some(position), bytes);
        match Event::from_bytes(bytes).map(|event| event.body) {
            Ok(EventBody::PeerJoined { peer }) => _ = members.insert(peer.peer),
            Ok(EventBody::PeerLeft { peer, .. }) => _ = members.remove(&peer.peer),
            Ok(EventBody::Presence(presence)) => {
                presence.left.iter().for_each(|gone| _ = members.remove(&gone.peer));
                members.extend(presence.joined.iter().map(|entry| entry.peer));
            }
            Ok(EventBody::NodeDown(down)) => down.left.iter().for_each(|gone| _ = members.remove(&gone.peer)),
            Ok(_) => {}
            Err(code) => ledger.fail(&format!("an event that cannot be read: {code:?}")),
        }
    }

    fn answered(&mut self, id: u64) {
        if let Some((_, moves)) = self.waiting.remove(&id) {
            self.unsure.retain(|(seq, _)| *seq > moves);
        }
    }

    fn ack(&mut self, said: &mut Vec<Up>) {
        self.acked = self.received;
        said.push(Up::Ack(self.received));
    }

    /// What it does next.
    pub(crate) fn deed(&mut self, unique: &mut u64, seed: &mut Seed, ledger: &mut Ledger) -> Vec<Up> {
        let mut said = vec![];
        let Some((session, _)) = self.session.filter(|_| self.open) else { return said };
        let others =
            |view: &View| view.members.iter().copied().filter(|&other| other != peer(session)).collect::<Vec<_>>();
        let others = self.view.as_ref().filter(|view| view.position.is_some()).map(others);
        let chance = seed.below(100);
        match others {
            None if self.is_moving_in_or_out() => {}
            None => self.ask(&mut said, 0, |id| Request::Join { id, room: room(), since: None }, 40),
            Some(others) => match chance {
                0..45 => self.moves(&mut said, session, &others, unique, seed, ledger),
                45..65 if !others.is_empty() => {
                    for _ in 0..=seed.below(3) {
                        *unique += 1;
                        let (to, kind, data) =
                            (*seed.pick(&others), SignalKind::Offer, Payload::Json(b"0".to_vec().into()));
                        let size = if seed.percent(3) { 30_000 } else { 20 + seed.index(600) };
                        let signal = |id| Request::Signal { id, room: room(), to, kind, data };
                        self.ask(&mut said, *unique, signal, size);
                    }
                }
                65..75 => {
                    let text = "x".repeat(1 + seed.index(200));
                    let len = text.len();
                    self.ask(&mut said, 0, |id| Request::Message { id, room: room(), text }, len);
                }
                75..85 => {
                    let (kind, data) = (Kind::new("price").expect("a good kind"), RawValue::from_string("5".into()));
                    let publish = |id| Request::Publish { id, room: room(), kind, data: data.expect("a number") };
                    self.ask(&mut said, 0, publish, 60);
                }
                85..90 => self.ask(&mut said, 0, |id| Request::Ping { id: Some(id), t: None }, 30),
                90..93 if !self.is_moving_in_or_out() => {
                    self.ask(&mut said, 0, |id| Request::Leave { id, room: room() }, 40);
                }
                // Asked twice for no reason: the answer is the same.
                93..96 if !self.asked.is_empty() => said.push(seed.pick(&self.asked).clone()),
                _ => self.ack(&mut said),
            },
        }
        said
    }

    fn is_moving_in_or_out(&self) -> bool {
        let is = |asked: &Up| matches!(asked, Up::Ask { request: Request::Join { .. } | Request::Leave { .. }, .. });
        self.waiting.values().any(|(asked, _)| is(asked))
    }

    fn ask(&mut self, said: &mut Vec<Up>, unique: u64, request: impl FnOnce(u64) -> Request, len: usize) {
        if self.waiting.len() >= WAITING_MAX {
            return;
        }
        self.last_id += 1;
        let request = request(self.last_id);
        let views = matches!(request, Request::Join { .. } | Request::Leave { .. });
        let asked = Up::Ask { request, len, unique };
        self.waiting.insert(self.last_id, (asked.clone(), self.seq));
        if !views {
            self.asked.push(asked.clone());
            if self.asked.len() > 100 {
                self.asked.remove(0);
            }
        }
        said.push(asked);
    }

    fn moves(
        &mut self,
        said: &mut Vec<Up>,
        session: usize,
        others: &[PeerId],
        unique: &mut u64,
        seed: &mut Seed,
        ledger: &mut Ledger,
    ) {
        let many = if seed.percent(5) { 80 } else { 8 };
        for _ in 0..=seed.below(many) {
            *unique += 1;
            self.seq += 1;
            let lane = if seed.percent(50) { Lane::Latest } else { Lane::Reliable };
            let to = (lane == Lane::Reliable && seed.percent(20) && !others.is_empty()).then(|| *seed.pick(others));
            let key = u16::try_from(seed.below(4)).expect("below 4");
            let step = Up::Move { lane, key, seq: self.seq, len: 15 + seed.index(120), unique: *unique, to };
            if lane == Lane::Reliable {
                ledger.moves.sent(session, *unique);
                self.unsure.push((self.seq, step.clone()));
            }
            said.push(step);
        }
    }
}
