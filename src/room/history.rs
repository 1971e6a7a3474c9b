//! The tail of a room's log: what `since(position)` can still serve.
//!
//! Resume, SSE `Last-Event-ID` and long poll are all this one function.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use once_cell::race::OnceBox;
use rallypoint_protocol::{
    Event, Position, RoomName,
    code::ErrorCode,
    event::{self, Millis},
    server::ResetReason,
};

use crate::node::NodeId;

/// An event that its log has given a position.
#[derive(Debug)]
pub struct Publication {
    /// The log it belongs to.
    pub log: RoomName,
    /// Where it stands there.
    pub position: Position,
    /// What the log stores and the tag covers.
    pub bytes: Box<[u8]>,
    /// When it happened.
    pub time: Millis,
    /// Who put it into the log; `None`: this node.
    pub node: Option<NodeId>,
    /// Most logs have no spectators. One word: logs hold many of these.
    block: OnceBox<Bytes>,
}

impl Publication {
    /// Takes what the engine delivered.
    pub fn new(log: RoomName, position: Position, bytes: Box<[u8]>) -> Result<Self, ErrorCode> {
        let time = Event::from_bytes(&bytes)?.time;
        Ok(Self { log, position, bytes, time, node: None, block: OnceBox::new() })
    }

    /// The same, put into the log by another node.
    #[must_use]
    pub fn by(self, node: Option<NodeId>) -> Self {
        Self { node, ..self }
    }

    /// What happened. Kept as bytes only: logs hold far more events than are ever looked into
    /// again, and decoded ones would be twice as large.
    pub fn event(&self) -> Event {
        Event::from_bytes(&self.bytes).expect("the bytes were decoded when they came in")
    }

    /// The name of what happened; its bytes begin with it.
    pub fn kind(&self) -> &str {
        let kind = self.bytes.strip_prefix(br#"{"kind":""#).and_then(|rest| rest.split(|&byte| byte == b'"').next());
        kind.and_then(|kind| std::str::from_utf8(kind).ok()).unwrap_or_default()
    }

    /// The event as event streams have it, up to the id, which is each spectator's own. Made once and shared by all.
    pub fn block(&self) -> &[u8] {
        self.block.get_or_init(|| {
            let object = event::feed_object(&self.log, self.position, &self.bytes);
            Box::new([b"event: ", self.kind().as_bytes(), b"\ndata: ", &object].concat().into())
        })
    }

    /// The event object of feeds, which ends the block.
    pub fn feed_object(&self) -> &[u8] {
        &self.block()[b"event: \ndata: ".len() + self.kind().len()..]
    }

    /// What keeping it costs, in bytes.
    pub fn cost(&self) -> usize {
        self.bytes.len()
    }
}

/// How much a log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Events at most.
    pub events: usize,
    /// Bytes at most.
    pub bytes: usize,
    /// Milliseconds at most.
    pub age_ms: u64,
}

/// A bounded tail of one log, without holes.
#[derive(Clone, Debug)]
pub struct History {
    bounds: Bounds,
    /// The position just before the oldest kept event.
    edge: Position,
    head: Position,
    events: VecDeque<Arc<Publication>>,
    bytes: usize,
}

/// What became of an event offered to [`History::append`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is the new head.
    Done,
    /// It was there already.
    Known,
    /// Events before it are missing.
    Gap,
    /// It does not continue this log.
    Foreign,
}

impl History {
    /// A log's tail that begins after `edge`.
    pub fn new(edge: Position, bounds: Bounds) -> Self {
        Self { bounds, edge, head: edge, events: VecDeque::new(), bytes: 0 }
    }

    /// Where the log stands.
    pub fn head(&self) -> Position {
        self.head
    }

    /// The position from which everything kept can be read.
    pub fn edge(&self) -> Position {
        self.edge
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything kept, oldest first.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &Arc<Publication>> {
        self.events.iter()
    }

    /// Takes the next event; anything but the next is refused and changes nothing.
    pub fn append(&mut self, publication: Arc<Publication>) -> Append {
        let position = publication.position;
        if position.epoch != self.head.epoch {
            return Append::Foreign;
        }
        if position.seq <= self.head.seq {
            return Append::Known;
        }
        if position.seq != self.head.seq + 1 {
            return Append::Gap;
        }
        if position != self.head.next(&publication.bytes) {
            return Append::Foreign;
        }
        self.head = position;
        self.bytes += publication.cost();
        self.events.push_back(publication);
        while self.events.len() > self.bounds.events || self.bytes > self.bounds.bytes {
            self.drop_oldest();
        }
        Append::Done
    }

    /// Lets go of what is too old.
    pub fn trim(&mut self, now: Millis) {
        while let Some(oldest) = self.events.front()
            && oldest.time.after(self.bounds.age_ms) <= now
        {
            self.drop_oldest();
        }
        if self.events.is_empty() {
            self.events.shrink_to_fit();
        }
    }

    /// Lets go of the oldest events until at most `bytes` are kept.
    pub fn trim_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.edge = oldest.position;
            self.bytes -= oldest.cost();
        }
    }

    /// The events after `position`, or why they cannot be given without a gap.
    pub fn since(
        &self,
        position: Position,
    ) -> Result<impl ExactSizeIterator<Item = &Arc<Publication>> + use<'_>, ResetReason> {
        if position.epoch != self.head.epoch {
            return Err(ResetReason::Epoch);
        }
        if position.seq > self.head.seq {
            return Err(ResetReason::Ahead);
        }
        let Some(past) = position.seq.checked_sub(self.edge.seq) else {
            return Err(ResetReason::Trimmed);
        };
        let past = usize::try_from(past).map_err(|_| ResetReason::Ahead)?;
        let here = match past.checked_sub(1) {
            None => self.edge,
            Some(at) => self.events[at].position,
        };
        if here.tag != position.tag {
            return Err(ResetReason::Forked);
        }
        Ok(self.events.range(past..))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rallypoint_protocol::{EventBody, position::Tag};

    pub(crate) fn publication(log: &RoomName, after: Position, time: f64, body: EventBody) -> Arc<Publication> {
        let bytes: Box<[u8]> = Event { time: Millis(time), from: None, body }.to_bytes().into();
        Arc::new(Publication::new(log.clone(), after.next(&bytes), bytes).unwrap())
    }

    fn chat(history: &mut History, n: u64) {
        let log = RoomName::new("r").unwrap();
        for _ in 0..n {
            let body = EventBody::Message { text: format!("{}", history.head().seq).into() };
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let event = publication(&log, history.head(), history.head().seq as f64, body);
            assert_eq!(history.append(event), Append::Done);
        }
    }

    fn history(events: usize) -> History {
        History::new(Position::start(9), Bounds { events, bytes: 1 << 20, age_ms: 100 })
    }

    #[test]
    fn serves_edge_head_and_everything_between_and_nothing_else() {
        let mut log = history(4);
        chat(&mut log, 10);
        let kept: Vec<_> = log.events().map(|p| p.position).collect();
        assert_eq!(log.edge().seq, 6);
        assert_eq!(log.since(log.edge()).unwrap().len(), 4);
        for (n, &position) in kept.iter().enumerate() {
            assert_eq!(log.since(position).unwrap().len(), 3 - n);
        }
        let reset = |position| log.since(position).err();
        assert_eq!(reset(Position { seq: 5, ..kept[0] }), Some(ResetReason::Trimmed));
        assert_eq!(reset(Position { seq: 11, ..kept[3] }), Some(ResetReason::Ahead));
        assert_eq!(reset(Position { epoch: 1, ..kept[3] }), Some(ResetReason::Epoch));
        assert_eq!(reset(Position { tag: Tag(1), ..kept[1] }), Some(ResetReason::Forked));
        assert_eq!(reset(Position { tag: Tag(1), ..log.edge() }), Some(ResetReason::Forked));
        assert_eq!(reset(Position { tag: Tag(1), ..log.head() }), Some(ResetReason::Forked));
    }

    #[test]
    fn takes_only_the_next_event() {
        let mut log = history(4);
        chat(&mut log, 2);
        let name = RoomName::new("r").unwrap();
        let body = || EventBody::Message { text: "x".into() };
        let third = publication(&name, log.head(), 3.0, body());
        let fourth = publication(&name, third.position, 4.0, body());
        assert_eq!(log.append(fourth), Append::Gap);
        let forked = publication(&name, Position { tag: Tag(7), ..log.head() }, 3.0, body());
        assert_eq!(log.append(forked), Append::Foreign);
        assert_eq!(log.append(third.clone()), Append::Done);
        assert_eq!(log.append(third), Append::Known);
    }

    #[test]
    fn age_and_bytes_bound_it_too() {
        let mut log = history(100);
        chat(&mut log, 10);
        log.trim(Millis(104.0));
        assert_eq!(log.edge().seq, 5);
        log.trim_to(0);
        assert_eq!((log.bytes(), log.edge()), (0, log.head()));
        assert_eq!(log.since(log.head()).unwrap().len(), 0);
    }
}
