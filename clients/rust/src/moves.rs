//! Moves on their way out: those that wait for a socket, and those of which it is not proved yet that they arrived. Of
//! latest moves that is only the newest: an older one is of no use to anybody.
//!
//! Frames on one socket arrive in order, so any answer to a request proves the moves that were sent before it.

use std::{collections::VecDeque, time::Duration};

use rallypoint_protocol::{
    Encoding, Payload, Request, RoomName,
    moves::{ClientMove, Lane, Receivers},
    request::JsonMove,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::rooms::{Part, Rooms};

/// Reliable moves that this end keeps; with more of them under way, senders wait.
pub(crate) const RELIABLE_MOST: usize = 256;
/// Latest moves that wait for a socket, and as many that wait for a proof; beyond it the oldest is dropped.
const LATEST_MOST: usize = 256;
/// Reliable moves without proof after which the server is asked for one.
const PROVE_EVERY: u64 = 32;
/// The longest time that a move stays without proof before the server is asked.
const PROVE_WITHIN: Duration = Duration::from_secs(2);
/// Proofs asked for that are remembered; more are under way only if the server answers none.
const ASKED_MOST: usize = 16;

/// After a loss so many moves go out at once, and then one each `PACE`. Servers bound the rate of moves, and
/// a reliable one that was refused cannot be sent again behind those that came after it.
const AT_ONCE: u32 = 64;
const PACE: Duration = Duration::from_millis(10);

/// A move of the application.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) room: RoomName,
    pub(crate) key: u16,
    /// `None` counts by itself.
    pub(crate) seq: Option<u32>,
    pub(crate) lane: Lane,
    pub(crate) to: Option<Receivers>,
    pub(crate) payload: Payload,
    /// The place among the reliable moves; free again once the move needs no keeping.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// A move with its number, ready to be written, perhaps more than once.
#[derive(Debug)]
struct Numbered {
    seq: u32,
    outgoing: Outgoing,
}

impl Numbered {
    fn is(&self, lane: Lane) -> bool {
        self.outgoing.lane == lane
    }

    /// Whether the other takes this one's place: each (room, key, receivers) has a latest move of its own.
    fn is_replaced_by(&self, other: &Outgoing) -> bool {
        let Outgoing { room, key, lane, to, .. } = &self.outgoing;
        *lane == Lane::Latest && other.lane == Lane::Latest && (room, key, to) == (&other.room, &other.key, &other.to)
    }

    fn frame(&self, encoding: Encoding, handle: u32) -> Vec<u8> {
        let Self { seq, outgoing: Outgoing { room, key, lane, to, payload, .. } } = self;
        let (seq, key, lane, to) = (*seq, *key, *lane, to.clone());
        match encoding {
            Encoding::Json => {
                let (room, data) = (room.clone(), payload.clone());
                Request::Move(JsonMove { room, lane, key, seq: Some(seq), to, data }).encode(encoding)
            }
            Encoding::MsgPack => {
                let payload = payload.msgpack();
                let mut frame = Vec::with_capacity(payload.len() + 32);
                ClientMove { lane, room: handle, key, seq, to, payload: &payload }.encode(&mut frame);
                frame
            }
        }
    }
}

/// How far the moves of a loss have been caught up with.
#[derive(Debug, Default)]
struct CatchUp {
    begin: Option<Instant>,
    written: u32,
}

/// The moves of one session.
#[derive(Debug)]
pub(crate) struct Moves {
    encoding: Encoding,
    /// Whether lost moves can be sent again at all.
    keeps: bool,
    /// What waits for a socket or for its room's handle, in order of sequence numbers.
    unsent: VecDeque<Numbered>,
    /// Moves written to the present socket, each with its place in their row.
    unproved: VecDeque<(u64, Numbered)>,
    /// How many moves have been written to the present socket.
    written: u64,
    /// Reliable moves written since a proof was asked for or has come, and the marks of the pings that asked.
    unasked: u64,
    asked: VecDeque<u64>,
    ask_by: Option<Instant>,
    /// From a loss until nothing waits any more.
    catch_up: Option<CatchUp>,
}

impl Moves {
    pub(crate) fn new(encoding: Encoding, keeps: bool) -> Self {
        let (unsent, unproved, asked) = Default::default();
        Self { encoding, keeps, unsent, unproved, written: 0, unasked: 0, asked, ask_by: None, catch_up: None }
    }

    /// Takes a move for sending. One for a room that was left while it was on its way here is dropped.
    pub(crate) fn push(&mut self, outgoing: Outgoing, rooms: &mut Rooms) {
        let Some(seq) = rooms.next_seq(&outgoing.room, outgoing.seq) else { return };
        make_way(&mut self.unsent, &outgoing, |waiting| waiting);
        // At the end, also if it replaced an older one: numbers must rise over both lanes.
        self.unsent.push_back(Numbered { seq, outgoing });
    }

    /// The next frame for the present socket.
    pub(crate) fn next(&mut self, rooms: &Rooms, now: Instant) -> Option<Vec<u8>> {
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.begin.get_or_insert(now);
        }
        if self.is_held_back(now) {
            return None;
        }
        let mut at = 0;
        while at < self.unsent.len() {
            match rooms.part(&self.unsent[at].outgoing.room) {
                Some(Part::Member(Some(handle))) => {
                    let numbered = self.unsent.remove(at)?;
                    let frame = numbered.frame(self.encoding, handle);
                    if let Some(catch_up) = &mut self.catch_up {
                        catch_up.written += 1;
                    }
                    self.keep(numbered, now);
                    return Some(frame);
                }
                Some(Part::Member(None)) => at += 1,
                Some(Part::Watcher(_)) | None => drop(self.unsent.remove(at)),
            }
        }
        // What still waits does so for its room, not for its time.
        self.catch_up = (!self.unsent.is_empty()).then(CatchUp::default);
        None
    }

    /// When the next move of a loss may go out.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let CatchUp { begin, written } = self.catch_up.as_ref()?;
        begin.map(|begin| begin + PACE * written.saturating_sub(AT_ONCE - 1))
    }

    /// Whether moves wait only for their time. What was asked for behind them must not overtake them.
    pub(crate) fn is_held_back(&self, now: Instant) -> bool {
        self.next_at().is_some_and(|at| at > now)
    }

    fn keep(&mut self, numbered: Numbered, now: Instant) {
        if !self.keeps {
            return;
        }
        make_way(&mut self.unproved, &numbered.outgoing, |(_, waiting)| waiting);
        self.written += 1;
        self.unasked += u64::from(numbered.is(Lane::Reliable));
        self.unproved.push_back((self.written, numbered));
        self.ask_by.get_or_insert(now + PROVE_WITHIN);
    }

    /// A mark for a request that is written now: its answer proves every move up to here.
    pub(crate) fn mark(&self) -> u64 {
        self.written
    }

    /// The answer to the request with this mark has come, on the same socket.
    pub(crate) fn proved(&mut self, mark: u64) {
        while self.unproved.pop_front_if(|(at, _)| *at <= mark).is_some() {}
        let reliable = self.unproved.iter().filter(|(_, waiting)| waiting.is(Lane::Reliable)).count();
        self.unasked = self.unasked.min(reliable as u64);
        if self.unproved.is_empty() {
            self.ask_by = None;
        }
    }

    /// When the server must be asked for a proof.
    pub(crate) fn ask_by(&self) -> Option<Instant> {
        self.ask_by
    }

    /// The mark for a ping, if a proof must be asked for now. It is asked for again while none comes: a ping
    /// above the rate is refused.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<u64> {
        let (many, late) = (self.unasked >= PROVE_EVERY, self.ask_by.is_some_and(|by| by <= now));
        if !(many || late) {
            return None;
        }
        (self.unasked, self.ask_by) = (0, Some(now + PROVE_WITHIN));
        if self.asked.back() != Some(&self.written) {
            self.asked.push_back(self.written);
        }
        if self.asked.len() > ASKED_MOST {
            self.asked.pop_front();
        }
        Some(self.written)
    }

    /// Takes a pong that answers no request; whether it was one of ours.
    pub(crate) fn answered(&mut self, mark: Option<u64>) -> bool {
        let Some(mark) = mark.filter(|mark| self.asked.contains(mark)) else { return false };
        self.proved(mark);
        true
    }

    /// The socket is lost, and with it perhaps what has no proof: that goes first on the next one, unless something
    /// newer has taken its place.
    pub(crate) fn lost(&mut self) {
        while let Some((_, numbered)) = self.unproved.pop_back() {
            if !self.unsent.iter().any(|newer| numbered.is_replaced_by(&newer.outgoing)) {
                self.unsent.push_front(numbered);
            }
        }
        (self.written, self.unasked, self.ask_by, self.catch_up) = (0, 0, None, Some(CatchUp::default()));
        self.asked.clear();
    }

    /// The session lost something: what was meant for the game as it was is not sent any more. A latest move
    /// for the whole room still says what is so; one to members by handle does not, as handles may differ.
    pub(crate) fn forget(&mut self) {
        self.unproved.clear();
        self.unsent.retain(|Numbered { outgoing, .. }| outgoing.lane == Lane::Latest && outgoing.to.is_none());
    }

    /// Whether the session can be resumed from here on.
    pub(crate) fn keep_unproved(&mut self, keeps: bool) {
        self.keeps = keeps;
    }
}

/// Makes room in a row for one more move: the latest move that it replaces goes, or else the oldest one of too many.
fn make_way<T>(row: &mut VecDeque<T>, coming: &Outgoing, numbered: impl Fn(&T) -> &Numbered) {
    if coming.lane != Lane::Latest {
        return;
    }
    let is_latest = |waiting: &T| numbered(waiting).is(Lane::Latest);
    let at = row.iter().position(|waiting| numbered(waiting).is_replaced_by(coming)).or_else(|| {
        let full = row.iter().filter(|waiting| is_latest(waiting)).count() >= LATEST_MOST;
        row.iter().position(is_latest).filter(|_| full)
    });
    at.map(|at| row.remove(at));
}

#[cfg(test)]
mod tests;
