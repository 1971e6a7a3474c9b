//! A room is a value: it changes only by [`Room::apply`], and the same commands always lead to the
//! same room. No clock, randomness, socket or lock lives here; time comes in, outcomes go out.
//!
//! The hub calls it under the room's lock and carries out what it returns.

pub mod command;
pub mod history;
pub mod moves;
pub mod presence;
pub mod settings;
pub mod snapshot;

use std::{collections::BTreeMap, sync::Arc};

use rallypoint_protocol::{
    EventBody, PeerId, Position, RoomName, UserName,
    code::ErrorCode,
    event::{Entry, Gone, LeaveReason, Millis},
    moves::Lane,
    server::ResetReason,
};

use crate::node::NodeId;
use command::{Command, Departed, Move, Outcome, PresenceDue, Present, Ticked};
use history::{Append, History, Publication};
use moves::{Latest, Moves};
use presence::Gathered;
use rustc_hash::FxHashSet;
pub use settings::RoomSettings;

/// A member and what the room knows of it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its number on this node, never given to another in this life of the room.
    pub handle: u32,
    /// As others see it; `order` is always set.
    pub entry: Entry,
    /// Told in tenths of milliseconds.
    jitter: f32,
    /// The last sequence number of its moves.
    moved: Option<u32>,
    /// Where its session is; `None`: on this node.
    pub home: Option<NodeId>,
}

impl Member {
    fn departed(&self) -> Departed {
        Departed { peer: self.entry.peer, handle: self.handle, here: self.home.is_none() }
    }
}

/// A room on one node: roster, latest moves, timers and the tail of its log.
#[derive(Clone, Debug)]
pub struct Room {
    name: RoomName,
    settings: Arc<RoomSettings>,
    members: BTreeMap<PeerId, Member>,
    /// Members whose sessions are on this node.
    here: usize,
    /// How many there are on which other node.
    elsewhere: BTreeMap<NodeId, usize>,
    last_handle: u32,
    spectators: usize,
    moves: Moves,
    /// Who types, and until when it counts as typing.
    typing: Vec<(PeerId, Millis)>,
    /// Whether joins and leaves are gathered instead of announced.
    gathering: bool,
    gathered: Gathered,
    /// When the next latency report is due; set while there is something new to tell.
    latency_due: Option<Millis>,
    history: History,
}

impl Room {
    /// A room without members whose log stands where `history` does.
    pub fn new(name: RoomName, settings: Arc<RoomSettings>, history: History) -> Self {
        Self {
            name,
            settings,
            members: BTreeMap::new(),
            here: 0,
            elsewhere: BTreeMap::new(),
            last_handle: 0,
            spectators: 0,
            moves: Moves::default(),
            typing: Vec::new(),
            gathering: false,
            gathered: Gathered::default(),
            latency_due: None,
            history,
        }
    }

    /// The room's name.
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// The room's settings.
    pub fn settings(&self) -> &RoomSettings {
        &self.settings
    }

    /// The room's settings, for a room that begins anew.
    pub fn shared_settings(&self) -> Arc<RoomSettings> {
        self.settings.clone()
    }

    /// Where its log stands.
    pub fn position(&self) -> Position {
        self.history.head()
    }

    /// The tail of its log.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How many members it has, on all nodes.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// How many of them are on this node.
    pub fn here(&self) -> usize {
        self.here
    }

    /// The other nodes on which it has members.
    pub fn elsewhere(&self) -> impl Iterator<Item = NodeId> {
        self.elsewhere.keys().copied()
    }

    /// Whether it has members on other nodes.
    pub fn is_apart(&self) -> bool {
        !self.elsewhere.is_empty()
    }

    /// How many watch it.
    pub fn spectators(&self) -> usize {
        self.spectators
    }

    /// Whether joins and leaves are too many to be announced one by one.
    pub fn is_gathering(&self) -> bool {
        self.gathering
    }

    /// A member, by peer id.
    pub fn member(&self, peer: PeerId) -> Option<&Member> {
        self.members.get(&peer)
    }

    /// Rises with every change of the latest moves.
    pub fn state_version(&self) -> u64 {
        self.moves.version()
    }

    /// The latest moves, ordered by member and key.
    pub fn latest_moves(&self) -> Vec<&Latest> {
        self.moves.sorted()
    }

    /// Members by peer id, from the one after `after`.
    pub fn members(&self, after: Option<PeerId>) -> impl Iterator<Item = &Member> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.members.range((from, Unbounded)).map(|(_, member)| member)
    }

    /// The events after `position`, or why there would be a gap.
    pub fn since(
        &self,
        position: Position,
    ) -> Result<impl ExactSizeIterator<Item = &Arc<Publication>> + use<'_>, ResetReason> {
        self.history.since(position)
    }

    /// The log could not be continued, and this is its tail now. Members of this node stay, and keep their orders: every
    /// node compares the same numbers, in whichever life of the log they were given. Who came or went by what is in the
    /// tail does so now; returns those who went, with their handles. Members of other nodes are known from elsewhere.
    pub fn go_on_from(&mut self, history: History) -> Vec<(Gone, LeaveReason)> {
        let old = std::mem::replace(&mut self.history, history).head();
        let mut last = BTreeMap::new();
        let is_new = |at: Position| at.epoch != old.epoch || at.seq > old.seq;
        for publication in self.history.events().filter(|publication| is_new(publication.position)) {
            let event = publication.event();
            match &event.body {
                EventBody::PeerJoined { peer } if publication.node.is_none() => {
                    _ = last.insert(peer.peer, (publication.position.seq, event));
                }
                EventBody::PeerLeft { peer, .. } => _ = last.insert(peer.peer, (publication.position.seq, event)),
                _ => {}
            }
        }
        let mut left = Vec::new();
        for (id, (seq, event)) in last {
            let is_here = self.members.get(&id).is_some_and(|member| member.home.is_none());
            match event.body {
                EventBody::PeerJoined { peer } if !is_here => self.seat(Entry { order: Some(seq), ..peer }, None),
                EventBody::PeerLeft { peer, reason } if is_here => {
                    let handle = self.unseat(id).map(|member| member.handle);
                    left.push((Gone { handle, ..peer }, reason));
                }
                _ => {}
            }
        }
        left
    }

    /// The one way a room changes.
    pub fn apply(&mut self, command: Command, now: Millis) -> Result<Outcome, ErrorCode> {
        match command {
            Command::Apply(publication) => Ok(self.event(publication, now)),
            Command::Enter(entry) => self.enter(*entry, now),
            Command::Exit(peer) => self.exit(peer, now),
            Command::Adopt(entry) => {
                self.seat(*entry, None);
                Ok(Outcome::Nothing)
            }
            Command::Seat(present) => {
                self.seat(present.entry, Some(present.node));
                Ok(Outcome::Seated { gone: Vec::new() })
            }
            Command::Unseat(peer) => {
                let is_remote = self.members.get(&peer).is_some_and(|member| member.home.is_some());
                let gone = is_remote.then(|| self.unseat(peer)).flatten();
                Ok(Outcome::Seated { gone: gone.iter().map(|member| member.handle).collect() })
            }
            Command::Roster(roster) => Ok(self.roster(roster)),
            Command::Move(step) => self.relay(step, now),
            Command::Update { peer, state } => self.update(peer, state),
            Command::Typing(peer) => self.types(peer, now),
            Command::Hush(peer) => Ok(Outcome::Hushed { typing: self.stop_typing(peer).is_some() }),
            Command::Latency { peer, rtt, jitter } => self.latency(peer, rtt, jitter, now),
            Command::Spectators(count) => {
                self.spectators = count;
                Ok(Outcome::Nothing)
            }
            Command::Trim { keep_bytes } => {
                self.history.trim(now);
                if let Some(bytes) = keep_bytes {
                    self.history.trim_to(bytes);
                }
                Ok(Outcome::Nothing)
            }
            Command::Tick => Ok(Outcome::Ticked(self.tick(now))),
        }
    }

    /// When [`Command::Tick`] would have something to do.
    pub fn deadline(&self) -> Option<Millis> {
        let typing = self.typing.iter().map(|&(_, until)| until);
        typing.chain(self.gathered.due()).chain(self.latency_due).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn event(&mut self, publication: Arc<Publication>, now: Millis) -> Outcome {
        self.history.trim(now);
        match self.history.append(publication.clone()) {
            Append::Done => {}
            refused => return Outcome::NotNext(refused),
        }
        let event = Box::new(publication.event());
        let (mut stopped_typing, mut left) = (None, Vec::new());
        match &event.body {
            EventBody::PeerJoined { peer } => {
                self.gathered.told(peer.peer);
                self.seat(Entry { order: Some(publication.position.seq), ..peer.clone() }, publication.node);
            }
            EventBody::PeerLeft { peer, .. } => {
                self.gathered.told(peer.peer);
                stopped_typing = self.stop_typing(peer.peer);
                left.extend(self.unseat(peer.peer).map(|member| member.departed()));
            }
            EventBody::NodeDown(down) => left = down.node.parse().map_or_else(|_| Vec::new(), |node| self.bury(node)),
            EventBody::Message { .. } => {
                let sender = event.from.as_ref().and_then(|from| from.peer);
                stopped_typing = sender.and_then(|peer| self.stop_typing(peer));
            }
            EventBody::App { .. } | EventBody::Presence(_) | EventBody::Notification { .. } => {}
        }
        Outcome::Event { publication, event, stopped_typing, left }
    }

    /// Takes a member in. One that is known, from a roster that was ahead of the log, keeps its handle.
    fn seat(&mut self, entry: Entry, home: Option<NodeId>) {
        if let Some(member) = self.members.get_mut(&entry.peer) {
            let before = std::mem::replace(&mut member.home, home);
            member.entry = entry;
            self.count_out(before);
        } else {
            self.last_handle += 1;
            let member = Member { handle: self.last_handle, entry, jitter: 0.0, moved: None, home };
            self.members.insert(member.entry.peer, member);
        }
        match home {
            None => self.here += 1,
            Some(node) => *self.elsewhere.entry(node).or_default() += 1,
        }
        if self.members.len() > self.settings.gather_above {
            self.gathering = true;
        }
    }

    /// One member less is there.
    fn count_out(&mut self, home: Option<NodeId>) {
        let Some(node) = home else { return self.here -= 1 };
        if let Some(count) = self.elsewhere.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                self.elsewhere.remove(&node);
            }
        }
    }

    /// A member that was read from the log shares the name of its user with those who hold it already. Returns the
    /// member's handle.
    pub fn intern(&mut self, peer: PeerId, user: &UserName) -> Option<u32> {
        let member = self.members.get_mut(&peer)?;
        if member.entry.user == *user {
            member.entry.user = user.clone();
        }
        Some(member.handle)
    }

    /// All members of another node are gone with it.
    fn bury(&mut self, node: NodeId) -> Vec<Departed> {
        let there: Vec<_> =
            self.members.values().filter(|member| member.home == Some(node)).map(|member| member.entry.peer).collect();
        there
            .into_iter()
            .filter_map(|peer| {
                self.stop_typing(peer);
                self.gathered.told(peer);
                self.unseat(peer).map(|member| member.departed())
            })
            .collect()
    }

    fn unseat(&mut self, peer: PeerId) -> Option<Member> {
        let member = self.members.remove(&peer)?;
        self.count_out(member.home);
        self.moves.forget(member.handle);
        if self.members.len() < self.settings.gather_until {
            self.gathering = false;
        }
        Some(member)
    }

    /// Members of other nodes are these and no others.
    fn roster(&mut self, roster: Vec<Present>) -> Outcome {
        let listed: FxHashSet<_> = roster.iter().map(|present| present.entry.peer).collect();
        let strays = |member: &Member| member.home.is_some() && !listed.contains(&member.entry.peer);
        let strays: Vec<_> = self.members.values().filter(|member| strays(member)).map(|m| m.entry.peer).collect();
        let gone = strays.into_iter().filter_map(|peer| self.unseat(peer)).map(|member| member.handle).collect();
        for Present { entry, node } in roster {
            // Whoever has a session here is known best here.
            if self.members.get(&entry.peer).is_none_or(|member| member.home.is_some()) {
                self.seat(entry, Some(node));
            }
        }
        Outcome::Seated { gone }
    }

    fn enter(&mut self, entry: Entry, now: Millis) -> Result<Outcome, ErrorCode> {
        if self.members.contains_key(&entry.peer) {
            return Err(ErrorCode::AlreadyJoined);
        }
        let entry = Entry { order: Some(self.position().seq + 1), ..entry };
        self.seat(entry.clone(), None);
        self.gathered.join(entry, now, self.settings.gather_ms);
        Ok(Outcome::Entered)
    }

    fn exit(&mut self, peer: PeerId, now: Millis) -> Result<Outcome, ErrorCode> {
        let typing = self.stop_typing(peer).is_some();
        let Member { handle, entry, .. } = self.unseat(peer).ok_or(ErrorCode::NotJoined)?;
        let gone = Gone { peer, handle: Some(handle), user: entry.user, name: entry.name };
        self.gathered.leave(gone, now, self.settings.gather_ms);
        Ok(Outcome::Exited { handle, typing })
    }

    fn relay(&mut self, step: Move, now: Millis) -> Result<Outcome, ErrorCode> {
        let Move { peer, lane, key, seq, named, passed, payload } = step;
        let member = self.members.get_mut(&peer).ok_or(ErrorCode::NotJoined)?;
        let from = member.handle;
        let seq = match (seq, member.moved) {
            // A client that went on on another node sends its newest again.
            (Some(seq), last)
                if lane == Lane::Latest && (last.is_none() || passed.is_some()) && self.moves.has(from, key, seq) =>
            {
                return Ok(Outcome::Stale);
            }
            // The two lanes come here on different ways, each in order.
            (Some(seq), _) if passed.is_some() => seq,
            (Some(seq), Some(last)) if seq <= last => return Ok(Outcome::Stale),
            (Some(seq), _) => seq,
            (None, None) => 1,
            (None, Some(u32::MAX)) => return Ok(Outcome::Stale),
            (None, Some(last)) => last + 1,
        };
        member.moved = member.moved.max(Some(seq));
        if lane == Lane::Latest && !named {
            let latest = Latest { peer, from, key, seq, time: passed.unwrap_or(now.whole()), payload };
            self.moves.keep(latest, self.settings.state_keys, self.settings.state_bytes);
        }
        Ok(Outcome::Relayed { from, seq })
    }

    fn update(&mut self, peer: PeerId, state: Option<Box<serde_json::value::RawValue>>) -> Result<Outcome, ErrorCode> {
        let member = self.members.get_mut(&peer).ok_or(ErrorCode::NotJoined)?;
        if let Some(waiting) = self.gathered.waiting(peer) {
            waiting.state = state.clone();
        }
        member.entry.state = state;
        Ok(Outcome::Updated)
    }

    fn types(&mut self, peer: PeerId, now: Millis) -> Result<Outcome, ErrorCode> {
        if !self.members.contains_key(&peer) {
            return Err(ErrorCode::NotJoined);
        }
        let until = now.after(self.settings.typing_ms);
        let began = match self.typing.iter_mut().find(|(typist, _)| *typist == peer) {
            Some(entry) => {
                entry.1 = until;
                false
            }
            None => {
                self.typing.push((peer, until));
                true
            }
        };
        Ok(Outcome::Typing { began })
    }

    fn stop_typing(&mut self, peer: PeerId) -> Option<PeerId> {
        let at = self.typing.iter().position(|(typist, _)| *typist == peer)?;
        self.typing.swap_remove(at);
        Some(peer)
    }

    fn latency(&mut self, peer: PeerId, rtt: f64, jitter: f64, now: Millis) -> Result<Outcome, ErrorCode> {
        let member = self.members.get_mut(&peer).ok_or(ErrorCode::NotJoined)?;
        member.entry.rtt = Some(rtt);
        member.jitter = jitter as f32;
        if (2..=self.settings.latency_members).contains(&self.members.len()) {
            self.latency_due.get_or_insert(now.after(self.settings.latency_ms));
        }
        Ok(Outcome::Nothing)
    }

    fn tick(&mut self, now: Millis) -> Ticked {
        let mut ticked = Ticked::default();
        self.typing.retain(|&(peer, until)| {
            let on = until > now;
            if !on {
                ticked.stopped_typing.push(peer);
            }
            on
        });
        ticked.presence = self.gathered.take(now, self.members.len(), self.spectators).map(PresenceDue);
        if self.latency_due.is_some_and(|due| due <= now) {
            self.latency_due = None;
            if self.members.len() <= self.settings.latency_members {
                let measured = |member: &Member| Some((member.handle, member.entry.rtt?, member.jitter.into()));
                ticked.latency = self.members.values().filter_map(measured).collect();
            }
        }
        ticked
    }
}

#[cfg(test)]
mod tests;
