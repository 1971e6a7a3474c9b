//! One thing that is told of a traced room: who, what kind of frame, how large, what became of it. Never what is in it.

use rallypoint_protocol::{
    ErrorCode, Kind, PeerId, UserName,
    event::{LeaveReason, Millis},
    moves::Lane,
};
use serde::Serialize;

use super::{
    link::{Fate, Waits},
    picture::tenths,
    sessions::SessionCell,
};
use crate::{frame::Label, session::Refusal};

/// Which way a frame goes, or that something became of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
    State,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was carried out.
    Ok,
    /// A move that is not newer than the last; dropped.
    Stale,
    /// A request that had its answer before.
    Repeated,
    /// Not let through; by which limit, if it was one.
    Refused(ErrorCode, Option<&'static str>),
    /// One of the server's own.
    Sent(Fate),
}

impl Verdict {
    /// Of what was refused.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self::Refused(refusal.refused.code, refusal.limit)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Repeated => "repeated",
            Self::Refused(..) => "refused",
            Self::Sent(Fate::Queued) => "queued",
            Self::Sent(Fate::Replaced) => "replaced",
            Self::Sent(Fate::OverBudget) => "over-budget",
            Self::Sent(Fate::Closed) => "closed",
            Self::Sent(Fate::Away) => "away",
            Self::Sent(Fate::Kept) => "kept",
        }
    }
}

/// What is told.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(super) time: Millis,
    pub(super) way: Way,
    pub(super) peer: PeerId,
    /// Its number in the room; a watcher has none, nor who is not in the room.
    pub(super) handle: Option<u32>,
    pub(super) user: UserName,
    pub(super) what: Label,
    /// Handle of the member whose move or signal goes out.
    pub(super) from: Option<u32>,
    /// Bytes.
    pub(super) size: usize,
    /// Messages.
    pub(super) count: u32,
    pub(super) verdict: Verdict,
    /// What waits for the receiver after it.
    pub(super) waits: Option<Waits>,
    pub(super) reason: Option<LeaveReason>,
}

impl Note {
    /// Of something that a peer is or does.
    pub(super) fn of(way: Way, session: &SessionCell, handle: Option<u32>, what: Label, time: Millis) -> Self {
        Self {
            time,
            way,
            peer: session.peer(),
            handle,
            user: session.user().clone(),
            what,
            from: None,
            size: 0,
            count: 1,
            verdict: Verdict::Ok,
            waits: None,
            reason: None,
        }
    }

    /// The name of its event in a stream.
    pub(crate) fn event(&self) -> &'static str {
        match self.way {
            Way::In => "in",
            Way::Out => "out",
            Way::State => "state",
        }
    }

    /// Its data, as JSON.
    pub(crate) fn json(&self) -> String {
        let is_frame = self.way != Way::State;
        let (refused, limit) = match self.verdict {
            Verdict::Refused(code, limit) => (Some(code), limit),
            _ => (None, None),
        };
        let told = Told {
            time: self.time,
            peer: self.peer,
            handle: self.handle,
            user: &self.user,
            kind_of: self.what.name,
            lane: self.what.lane.map(|lane| if lane == Lane::Latest { "latest" } else { "reliable" }),
            kind: self.what.kind.as_ref(),
            from: self.from,
            size: is_frame.then_some(self.size),
            count: (self.count > 1).then_some(self.count),
            verdict: is_frame.then(|| self.verdict.name()),
            code: refused,
            error: refused.map(ErrorCode::name),
            limit,
            queue: self.waits.map(|waits| Queue::of(waits, self.time)),
            reason: self.reason,
        };
        serde_json::to_string(&told).expect("names and numbers have a JSON form")
    }
}

/// A note as the specification spells it.
#[derive(Serialize)]
struct Told<'a> {
    time: Millis,
    peer: PeerId,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<u32>,
    user: &'a UserName,
    #[serde(rename = "type")]
    kind_of: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(rename = "name", skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Queue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<LeaveReason>,
}

/// What waits for a receiver, and for how long the kernel has taken nothing.
#[derive(Serialize)]
pub(super) struct Queue {
    frames: usize,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_ms: Option<f64>,
}

impl Queue {
    pub(super) fn of(waits: Waits, now: Millis) -> Self {
        let blocked_ms = waits.blocked.map(|since| tenths(now.since(since)));
        Self { frames: waits.frames, bytes: waits.bytes, blocked_ms }
    }
}
