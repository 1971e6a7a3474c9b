//! Event logs: one script gives an event its position, stores it and hands it out; one pipelined read replays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rallypoint_protocol::{PeerId, Position, RoomName, code::ErrorCode, event, position::Tag, server::ResetReason};
use redis::{Cmd, Pipeline, Value};

use super::{
    keys::Names,
    link::{Failure, Line},
    nodes::Nodes,
};
use crate::{
    broker::{
        Change, Changed, Dedup, Ends, Log, Opened, PublishError, Published, Unavailable, Unread, parcel::Whisper,
    },
    node::NodeId,
    room::{
        command::Present,
        history::{Append, History, Publication},
    },
};

/// Publishers' keys are remembered this long.
const DEDUP_MS: u64 = 5 * 60 * 1000;
/// A log without events is known so much longer than its last event was kept. Nodes that use it say so every 20 s.
const KNOWN_MS: u64 = 2 * 60 * 1000;
/// A publication that may or may not be in the log is tried again, at most so often and for so long.
const TRIES: usize = 3;
const PATIENCE: Duration = Duration::from_millis(900);

/// Events that are read at once at most; no log keeps more.
const READ_MAX: usize = 1 << 20;

/// A script, and what the engine calls it.
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self {
            text,
            hash: hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref()),
        }
    }

    fn call(&self, known: bool, keys: &[String], arguments: impl IntoIterator<Item = Vec<u8>>) -> Cmd {
        let mut command = redis::cmd(if known { "EVALSHA" } else { "EVAL" });
        command.arg(if known { self.hash.as_str() } else { self.text }).arg(keys.len()).arg(keys);
        arguments.into_iter().for_each(|argument| _ = command.arg(argument));
        command
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What changes in a roster with an event: a member of a node enters with an entry, or leaves without one.
struct Seats {
    of: NodeId,
    peer: String,
    entry: String,
}

/// All logs of an engine.
pub(super) struct Logs {
    line: Arc<Line>,
    names: Names,
    publish: Script,
    ends: Script,
    room: Script,
    change: Script,
    fork: Script,
    take: Script,
    nodes: Arc<Nodes>,
    /// Numbers the publications of this node.
    published: AtomicU64,
}

impl Logs {
    pub(super) fn new(line: Arc<Line>, names: Names, nodes: Arc<Nodes>) -> Self {
        Self {
            line,
            names,
            publish: Script::new(include_str!("publish.lua")),
            ends: Script::new(include_str!("ends.lua")),
            room: Script::new(include_str!("room.lua")),
            change: Script::new(include_str!("change.lua")),
            fork: Script::new(include_str!("fork.lua")),
            take: Script::new(include_str!("take.lua")),
            nodes,
            published: AtomicU64::new(0),
        }
    }

    /// What keys and channels are called.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    fn keys(&self, name: &RoomName) -> [String; 3] {
        [self.names.meta(name), self.names.events(name), self.names.since(name)]
    }

    /// Runs a script, which the engine may not know yet.
    pub(super) async fn run(&self, script: &Script, keys: &[String], arguments: &[Vec<u8>]) -> Result<Value, Failure> {
        let mut known = true;
        loop {
            let mut commands = Pipeline::new();
            commands.add_command(script.call(known, keys, arguments.iter().cloned()));
            match self.line.ask(&commands).await {
                Err(Failure::NoScript) if known => known = false,
                answered => return answered.map(|mut answers| answers.pop().unwrap_or(Value::Nil)),
            }
        }
    }

    /// Appends an event and hands it out. However often it has to be tried, it is stored once.
    pub(super) async fn publish(
        &self,
        log: Log<'_>,
        event: Box<[u8]>,
        dedup: Option<Dedup>,
        change: Option<Change<'_>>,
    ) -> Result<Published, PublishError> {
        let own = self.nodes.own();
        let seats = match change {
            None => Seats { of: own, peer: String::new(), entry: String::new() },
            Some(Change::Enter(entry)) => Seats { of: own, peer: entry.peer.to_string(), entry: entry_json(entry) },
            Some(Change::Leave { peer, node }) => {
                Seats { of: node.unwrap_or(own), peer: peer.to_string(), entry: String::new() }
            }
        };
        self.put(log, event, dedup, seats).await
    }

    /// Appends an event that tells of a dead node, and removes the roster that it had; unless that is gone already.
    pub(super) async fn bury(&self, log: Log<'_>, event: Box<[u8]>, dead: NodeId) -> Result<Published, PublishError> {
        self.put(log, event, None, Seats { of: dead, peer: "*".to_owned(), entry: dead.to_string() }).await
    }

    async fn put(
        &self,
        log: Log<'_>,
        event: Box<[u8]>,
        dedup: Option<Dedup>,
        Seats { of, peer, entry }: Seats,
    ) -> Result<Published, PublishError> {
        let mut keys = self.keys(log.name).to_vec();
        keys.push(self.names.births(log.name));
        keys.extend([self.names.roster(log.name, of), self.names.nodes(log.name)]);
        keys.extend(dedup.map(|Dedup(key)| self.names.publisher(log.name, &key)));
        let number = self.published.fetch_add(1, Ordering::Relaxed) + 1;
        let text = |text: &dyn ToString| text.to_string().into_bytes();
        let arguments = [
            event.into_vec(),
            text(&self.nodes.own()),
            text(&number),
            text(&log.bounds.events),
            text(&log.bounds.bytes),
            text(&log.bounds.age_ms),
            text(&self.names.channel(log.name)),
            text(log.name),
            text(&DEDUP_MS),
            text(&known_ms(log)),
            peer.into_bytes(),
            entry.into_bytes(),
            text(&self.names.rosters(log.name)),
        ];
        let attempt = async {
            for _ in 0..TRIES {
                match self.run(&self.publish, &keys, &arguments).await {
                    Ok(answer) => return published(&answer).ok_or(PublishError::Rejected(ErrorCode::Internal)),
                    Err(Failure::Unknown) => {}
                    Err(Failure::Refused | Failure::NoScript | Failure::Aborted) => {
                        return Err(PublishError::Overloaded);
                    }
                }
            }
            Err(PublishError::Ambiguous)
        };
        tokio::time::timeout(PATIENCE, attempt).await.unwrap_or(Err(PublishError::Ambiguous))
    }

    /// What is known of a log and of its partition, and its events from `from` on.
    async fn look(&self, name: &RoomName, from: &str, count: usize) -> Result<Look, Unavailable> {
        let [meta, events, since] = self.keys(name);
        let mut commands = Pipeline::new();
        commands.cmd("HMGET").arg(meta).arg(&["seq", "epoch", "tag"]);
        commands.cmd("XRANGE").arg(events).arg(from).arg("+").arg("COUNT").arg(count);
        commands.cmd("GET").arg(since);
        let answers = self.line.ask(&commands).await?;
        let [Value::Array(meta), Value::Array(entries), since] = &answers[..] else { return Err(Unavailable) };
        let meta: Option<Vec<_>> = meta.iter().map(text).collect();
        let entries: Option<Vec<_>> = entries.iter().map(Entry::read).collect();
        Ok(Look {
            head: meta.and_then(|parts| position(parts.join("-"))),
            entries: entries.ok_or(Unavailable)?,
            partition_since: text(since).and_then(|since| since.parse().ok()),
        })
    }

    /// Where a log stands, or where its next life may begin.
    pub(super) async fn ends(&self, log: Log<'_>) -> Result<Ends, Unavailable> {
        let answer = self.run(&self.ends, &self.keys(log.name), &[]).await?;
        let Value::Array(ends) = &answer else { return Err(Unavailable) };
        let ends: Option<Vec<_>> = ends.iter().map(|end| position(text(end)?)).collect();
        let Some(&[head, edge]) = ends.as_deref() else { return Err(Unavailable) };
        Ok(Ends { edge, head })
    }

    /// Changes the roster of a room and tells the other nodes.
    pub(super) async fn change(&self, log: Log<'_>, change: Change<'_>) -> Result<(), Unavailable> {
        let own = self.nodes.own();
        let (peer, entry, whose) = match change {
            Change::Enter(entry) => {
                let json = format!("{} {}", entry.order.unwrap_or(0), entry_json(entry));
                (entry.peer, json, own)
            }
            Change::Leave { peer, node } => (peer, String::new(), node.unwrap_or(own)),
        };
        let keys = [self.names.meta(log.name), self.names.roster(log.name, whose), self.names.nodes(log.name)];
        let channel = self.names.channel(log.name);
        let arguments =
            [channel, log.name.to_string(), whose.to_string(), peer.to_string(), entry, known_ms(log).to_string()];
        self.run(&self.change, &keys, &arguments.map(String::into_bytes)).await?;
        Ok(())
    }

    /// Moves a member of another node to this one; `None` if it is not there.
    pub(super) async fn take(
        &self,
        log: Log<'_>,
        peer: PeerId,
        from: NodeId,
    ) -> Result<Option<event::Entry>, Unavailable> {
        let own = self.nodes.own();
        let rosters = [from, own].map(|node| self.names.roster(log.name, node));
        let [there, here] = rosters;
        let keys = [self.names.meta(log.name), there, here, self.names.nodes(log.name)];
        let channel = self.names.channel(log.name);
        let arguments = [channel, log.name.to_string(), own.to_string(), peer.to_string(), known_ms(log).to_string()];
        let answer = self.run(&self.take, &keys, &arguments.map(String::into_bytes)).await?;
        Ok(text(&answer).and_then(|value| present(&value, own)).map(|present| present.entry))
    }

    /// A room's log from an event on, and its rosters if they are of another version than the one that is known.
    async fn look_at_room(&self, log: Log<'_>, from: &str, count: usize, known: &str) -> Result<RoomLook, Unavailable> {
        let [meta, events, since] = self.keys(log.name);
        let keys = [meta, events.clone(), since, self.names.nodes(log.name)];
        let arguments = [known_ms(log).to_string(), self.names.rosters(log.name), known.to_owned()];
        let (mut is_known, mut was_aborted) = (true, false);
        // In one transaction: they are of one moment, and the events do not pass through the interpreter.
        let answers = loop {
            let mut commands = Pipeline::new();
            commands.atomic().add_command(self.room.call(is_known, &keys, arguments.clone().map(String::into_bytes)));
            commands.cmd("XRANGE").arg(&events).arg(from).arg("+").arg("COUNT").arg(count);
            match self.line.ask(&commands).await {
                Err(Failure::NoScript) if is_known => is_known = false,
                Err(Failure::Aborted) if !was_aborted => {
                    was_aborted = true;
                    // The library follows this one to where the slot is.
                    self.births(log.name).await?;
                }
                answered => break answered?,
            }
        };
        let [Value::Array(parts), Value::Array(entries)] = &answers[..] else { return Err(Unavailable) };
        let [head, since, version, Value::Array(rosters)] = &parts[..] else { return Err(Unavailable) };
        let entries: Option<Vec<_>> = entries.iter().map(Entry::read).collect();
        let version = text(version).and_then(|version| version.parse().ok()).ok_or(Unavailable)?;
        let mut roster = Vec::new();
        for pair in rosters.chunks_exact(2) {
            let (Some(Ok(node)), members) = (text(&pair[0]).map(|node| node.parse()), &pair[1]) else { continue };
            if let Some(node) = self.nodes.other(node) {
                self.nodes.named(node);
                roster.extend(read_roster(members).filter_map(|(_, value)| present(&value, node)));
            }
        }
        Ok(RoomLook {
            look: Look {
                head: text(head).and_then(position),
                entries: entries.ok_or(Unavailable)?,
                partition_since: text(since).and_then(|since| since.parse().ok()),
            },
            version,
            roster: (known != version.to_string()).then_some(roster),
        })
    }

    /// What a room begins with, and the version of its rosters; or the epoch of a log that does not hang together.
    pub(super) async fn open(&self, log: Log<'_>) -> Result<Result<(Opened, u64), u64>, Unavailable> {
        let RoomLook { look: Look { head, entries, .. }, version, roster } =
            self.look_at_room(log, "-", READ_MAX, "").await?;
        let head = head.ok_or(Unavailable)?;
        let edge = entries.first().map_or(head, Entry::before);
        let mut history = History::new(edge, log.bounds);
        for entry in entries {
            let Ok(publication) = entry.into_publication(log.name, &self.nodes) else { return Ok(Err(head.epoch)) };
            if history.append(Arc::new(publication)) != Append::Done {
                return Ok(Err(head.epoch));
            }
        }
        let opened = Opened { history, roster: roster.unwrap_or_default() };
        Ok(if opened.history.head() == head { Ok((opened, version)) } else { Err(head.epoch) })
    }

    /// At most `limit` events of a room after a position, and its rosters if they are of another version.
    pub(super) async fn read_room(
        &self,
        log: Log<'_>,
        after: Position,
        limit: usize,
        version: u64,
    ) -> Result<(Vec<Arc<Publication>>, Option<(Vec<Present>, u64)>), Unread> {
        let from = after.seq.to_string();
        let found = self.look_at_room(log, &from, limit.min(READ_MAX) + 1, &version.to_string()).await?;
        let events = found.look.after(log, after, limit, &self.nodes).map_err(Unread::Reset)?;
        Ok((events, found.roster.map(|roster| (roster, found.version))))
    }

    /// At most `limit` events after a position, or why there would be a gap.
    pub(super) async fn read(
        &self,
        log: Log<'_>,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Arc<Publication>>, Unread> {
        let look = self.look(log.name, &after.seq.to_string(), limit.min(READ_MAX) + 1).await?;
        look.after(log, after, limit, &self.nodes).map_err(Unread::Reset)
    }

    /// The log has gone another way than it was told here: that life of it ends for everybody, if it has not yet.
    pub(super) async fn fork(&self, log: Log<'_>, epoch: u64) -> Result<(), Unavailable> {
        let [meta, events, _] = self.keys(log.name);
        let arguments = [epoch.to_string(), known_ms(log).to_string()];
        self.run(&self.fork, &[meta, events], &arguments.map(String::into_bytes)).await?;
        Ok(())
    }

    /// How many logs have begun in the partition of this one.
    pub(super) async fn births(&self, name: &RoomName) -> Result<Option<String>, Unavailable> {
        let mut commands = Pipeline::new();
        commands.cmd("GET").arg(self.names.births(name));
        Ok(self.line.ask(&commands).await?.first().and_then(text))
    }

    /// Where logs of one partition stand and of which version the rosters are. They live on for a while, as does what this
    /// node has in them. `None` where nothing is known of one.
    pub(super) async fn heads(&self, logs: &[Log<'_>]) -> Result<Vec<Option<(Position, u64)>>, Unavailable> {
        let mut commands = Pipeline::new();
        for &log in logs {
            let meta = self.names.meta(log.name);
            commands.cmd("HMGET").arg(&meta).arg(&["seq", "epoch", "tag", "v"]);
            for key in [meta, self.names.roster(log.name, self.nodes.own()), self.names.nodes(log.name)] {
                commands.cmd("PEXPIRE").arg(key).arg(known_ms(log));
            }
        }
        let answers = self.line.ask(&commands).await?;
        let head = |answer: &Value| {
            let Value::Array(parts) = answer else { return None };
            let [place @ .., version] = &parts[..] else { return None };
            let place: Option<Vec<_>> = place.iter().map(text).collect();
            let version = text(version).and_then(|version| version.parse().ok()).unwrap_or(0);
            Some((position(place?.join("-"))?, version))
        };
        Ok(answers.iter().step_by(4).map(head).collect())
    }
}

/// How long a log is known without events.
fn known_ms(log: Log<'_>) -> u64 {
    log.bounds.age_ms + KNOWN_MS
}

/// What a look at a log found.
struct Look {
    /// None if it is not there.
    head: Option<Position>,
    entries: Vec<Entry>,
    /// In microseconds, like an epoch.
    partition_since: Option<u64>,
}

/// What a look at a room found.
struct RoomLook {
    look: Look,
    /// Of the rosters.
    version: u64,
    /// Members on other nodes, unless the version was known.
    roster: Option<Vec<Present>>,
}

impl Look {
    /// At most `limit` events after a position, or why there would be a gap. The event at the position, if there is one,
    /// tells whether this is the log that it was.
    fn after(
        self,
        log: Log<'_>,
        after: Position,
        limit: usize,
        nodes: &Nodes,
    ) -> Result<Vec<Arc<Publication>>, ResetReason> {
        let Some((head, after)) = self.continues(after, log.bounds.age_ms) else { return Err(ResetReason::Epoch) };
        let mut entries = self.entries.into_iter().peekable();
        let here = match entries.peek() {
            // Published between the two looks, in another life.
            Some(entry) if entry.position.epoch != after.epoch => return Err(ResetReason::Epoch),
            Some(entry) if entry.position.seq == after.seq => entries.next().map(|entry| entry.position),
            Some(entry) if entry.position.seq == after.seq + 1 => Some(entry.before()),
            Some(_) => return Err(ResetReason::Trimmed),
            None if after.seq > head.seq => return Err(ResetReason::Ahead),
            None if after.seq < head.seq => return Err(ResetReason::Trimmed),
            None => Some(head),
        };
        if here != Some(after) {
            return Err(ResetReason::Forked);
        }
        let mut last = after;
        let mut events = Vec::with_capacity(entries.len().min(limit));
        for entry in entries.take(limit) {
            if entry.position != last.next(&entry.bytes) {
                return Err(ResetReason::Forked);
            }
            last = entry.position;
            let publication = entry.into_publication(log.name, nodes);
            events.push(Arc::new(publication.map_err(|_| ResetReason::Forked)?));
        }
        Ok(events)
    }

    /// The head of the log in which `after` stands, and what it is called there: who stood where no log was yet stands at
    /// the start of the one that began next, unless something may have come and gone in between.
    fn continues(&self, after: Position, age_ms: u64) -> Option<(Position, Position)> {
        if let Some(head) = self.head.filter(|head| head.epoch == after.epoch) {
            return Some((head, after));
        }
        let head = self.head.unwrap_or_else(|| Position::start(now_micros()));
        // What is put into a log is kept for its age, and known for longer.
        let is_next = after.epoch <= head.epoch && head.epoch - after.epoch < age_ms * 1000;
        let is_none = after.epoch.is_multiple_of(2);
        let is_whole = self.partition_since.is_some_and(|since| since <= after.epoch);
        (after == Position::start(after.epoch) && is_none && is_next && is_whole)
            .then(|| (head, Position::start(head.epoch)))
    }
}

/// This moment, by a clock that may be off by some seconds.
fn now_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// An event as it is stored.
struct Entry {
    position: Position,
    before: Tag,
    node: Option<NodeId>,
    bytes: Box<[u8]>,
}

impl Entry {
    fn read(value: &Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [id, Value::Array(fields)] = &parts[..] else { return None };
        let field = |name: &str| {
            let at = fields.chunks_exact(2).find(|pair| text(&pair[0]).as_deref() == Some(name))?;
            Some(&at[1])
        };
        let position = position(format!("{}-{}", text(id)?, text(field("t")?)?))?;
        let node = text(field("a")?)?.split(' ').next().and_then(|node| node.parse().ok());
        let Value::BulkString(bytes) = field("b")? else { return None };
        Some(Self { position, before: tag(&text(field("p")?)?)?, node, bytes: bytes.clone().into() })
    }

    fn into_publication(self, log: &RoomName, nodes: &Nodes) -> Result<Publication, ErrorCode> {
        let node = self.node.and_then(|node| nodes.other(node));
        Publication::new(log.clone(), self.position, self.bytes).map(|publication| publication.by(node))
    }

    /// Where the log stood without it.
    fn before(&self) -> Position {
        Position { seq: self.position.seq.saturating_sub(1), tag: self.before, ..self.position }
    }
}

fn published(answer: &Value) -> Option<Published> {
    let Value::Array(parts) = answer else { return None };
    let [what, place, ..] = &parts[..] else { return None };
    Some(Published { position: position(&text(place)?)?, repeated: text(what)? == "known" })
}

/// What is said on a channel about a log.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// An event, where it stands, and the node that put it there.
    Event(Position, NodeId, &'a [u8]),
    /// What a node has for the members on all others.
    Whispers(NodeId, Vec<Whisper>),
    /// The version to which a roster changed, on which node, and how.
    Change(u64, NodeId, Changed),
}

/// Reads a message of a channel: which log, and what of it.
pub(super) fn parse_message(message: &[u8]) -> Option<(&str, Said<'_>)> {
    let mut parts = message.splitn(4, |&byte| byte == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let (name, place, node) = (word()?, word()?, word()?.parse().ok()?);
    let rest = parts.next()?;
    if place == "~" {
        return Some((name, Said::Whispers(node, rmp_serde::from_slice(rest).ok()?)));
    }
    let Some(version) = place.strip_prefix('+') else {
        return Some((name, Said::Event(position(place)?, node, rest)));
    };
    let (peer, entry) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    let changed = match entry {
        "" => Changed::Left(PeerId::parse(peer).ok()?),
        entry => Changed::Entered(present(entry, node)?),
    };
    Some((name, Said::Change(version.parse().ok()?, node, changed)))
}

/// A member as rosters have it; the order stands before it.
fn entry_json(entry: &event::Entry) -> String {
    let entry = event::Entry { handle: None, order: None, rtt: None, polite: None, offers: None, ..entry.clone() };
    serde_json::to_string(&entry).expect("our own values always have a JSON form")
}

/// Reads a member: its order and its entry.
fn present(value: &str, node: NodeId) -> Option<Present> {
    let (order, json) = value.split_once(' ')?;
    let entry: event::Entry = serde_json::from_str(json).ok()?;
    Some(Present { entry: event::Entry { order: Some(order.parse().ok()?), ..entry }, node })
}

/// The fields and values of a hash, in either form of the protocol.
fn read_roster(hash: &Value) -> impl Iterator<Item = (String, String)> {
    let pairs: Vec<_> = match hash {
        Value::Map(pairs) => pairs.iter().map(|(field, value)| (text(field), text(value))).collect(),
        Value::Array(flat) => flat.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        _ => Vec::new(),
    };
    pairs.into_iter().filter_map(|(field, value)| Some((field?, value?)))
}

/// `seq-epoch-tag`: the first two are what the engine calls the entry.
fn position(text: impl AsRef<str>) -> Option<Position> {
    let mut parts = text.as_ref().splitn(3, '-');
    let (seq, epoch, own) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Position { epoch: epoch.parse().ok()?, seq: seq.parse().ok()?, tag: tag(own)? })
}

fn tag(text: &str) -> Option<Tag> {
    u32::from_str_radix(text, 16).ok().map(Tag)
}

pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
