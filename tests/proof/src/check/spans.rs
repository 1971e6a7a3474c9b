//! From when to when a client was in a room without a break, and the server ran.

use std::collections::HashMap;

use rallypoint_protocol::server::ResetReason;

use super::content::{Body, Contents};
use crate::history::{Came, ClientNo, History, LogNo, What, Why};

/// Further than any record.
pub(super) const END: usize = usize::MAX;

/// A client's time in a room in which nothing may be lost on the way to it or from it: from `joined` or a reset to
/// the next reset, new session, `resumed: false`, or leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    /// The record that began it.
    pub(super) from: usize,
    /// The record that ended it; [`END`]: it lasted to the end of the run.
    pub(super) to: usize,
    /// Until when what others received of this client proves that all it sent before has been sent: afterwards it may
    /// be that its connection was lost, and that a session in which something is missing sent what still waited.
    pub(super) proves_until: usize,
    /// How it ended: whether the client was told that signals and moves were lost, in both directions.
    pub(super) loss: Loss,
    /// A reset ended it.
    pub(super) is_reset: bool,
}

/// What a client was told of what was on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing.
    #[default]
    None,
    /// It may be lost, as its connection was: `resumed: false`.
    Connection,
    /// It may be lost, although its connection was not.
    Reset,
}

impl Stay {
    pub(super) fn has(&self, at: usize) -> bool {
        self.from < at && at < self.to
    }

    pub(super) fn is_last(&self) -> bool {
        self.to == END
    }
}

/// One life of the server's process, by its own clock.
#[derive(Clone, Copy, Debug)]
struct Life {
    from_ms: f64,
    to_ms: f64,
    /// The record that began it.
    at: usize,
}

#[derive(Debug, Default)]
pub(super) struct Spans {
    stays: HashMap<(ClientNo, LogNo), Vec<Stay>>,
    lives: Vec<Life>,
    /// When a client saw that a node with members in a room died.
    downs: HashMap<(ClientNo, LogNo), Vec<usize>>,
    /// The record from which on faults are off.
    pub(super) quiet: Option<usize>,
}

impl Spans {
    pub(super) fn of(history: &History, contents: &Contents) -> Self {
        let mut spans = Self::default();
        // When a client last noticed that its connection was gone.
        let mut noticed: HashMap<ClientNo, usize> = HashMap::new();
        for (at, record) in history.records.iter().enumerate() {
            let client = record.client;
            match record.what {
                What::Started { unix_ms } => spans.lives.push(Life { from_ms: unix_ms, to_ms: f64::INFINITY, at }),
                What::Ended { unix_ms } => {
                    if let Some(life) = spans.lives.last_mut() {
                        life.to_ms = unix_ms;
                    }
                }
                What::Event { log, content, .. } if matches!(contents.of(content).body, Body::NodeDown) => {
                    spans.downs.entry((client, log)).or_default().push(at);
                }
                What::Quiet => spans.quiet = Some(at),
                What::Away => _ = noticed.insert(client, at),
                What::Opened { came: Came::New | Came::Restored | Came::Moved, .. } => {
                    let noticed = noticed.get(&client).copied();
                    for ((own, _), stays) in &mut spans.stays {
                        if *own == client {
                            end(stays, at, Loss::Connection, |stay| {
                                noticed.filter(|&at| at > stay.from).unwrap_or(stay.from)
                            });
                        }
                    }
                }
                What::Stands { log, why, .. } => {
                    let stays = spans.stays.entry((client, log)).or_default();
                    if let Why::Reset(reason) = why {
                        let loss = if reason == ResetReason::Lost { Loss::Reset } else { Loss::None };
                        end(stays, at, loss, |_| at);
                        stays.iter_mut().filter(|stay| stay.to == at).for_each(|stay| stay.is_reset = true);
                    }
                    if stays.last().is_none_or(|stay| stay.to != END) {
                        stays.push(Stay { from: at, to: END, proves_until: END, loss: Loss::None, is_reset: false });
                    }
                }
                What::Unfollows { log } => {
                    if let Some(stays) = spans.stays.get_mut(&(client, log)) {
                        // What it sent before it left, it sent in order.
                        end(stays, at, Loss::None, |_| END);
                    }
                }
                _ => {}
            }
        }
        spans
    }

    /// All stays of a client in a room, in order.
    pub(super) fn stays(&self, client: ClientNo, room: LogNo) -> &[Stay] {
        self.stays.get(&(client, room)).map_or(&[], Vec::as_slice)
    }

    /// The stay in which this record falls.
    pub(super) fn stay_at(&self, client: ClientNo, room: LogNo, at: usize) -> Option<Stay> {
        let stays = self.stays(client, room);
        let next = stays.partition_point(|stay| stay.from < at);
        stays[..next].last().copied().filter(|stay| stay.has(at))
    }

    /// Whether a client saw within a stay, and before a record, that a node died.
    pub(super) fn saw_death(&self, client: ClientNo, room: LogNo, stay: &Stay, before: usize) -> bool {
        self.downs.get(&(client, room)).is_some_and(|downs| downs.iter().any(|&at| stay.has(at) && at < before))
    }

    /// Whether a client was told in this stay, or in those that began with a reset right behind it, that signals and moves
    /// were lost: one reset may follow the other.
    pub(super) fn is_told_of_loss(&self, client: ClientNo, room: LogNo, stay: &Stay) -> bool {
        let behind = self.stays(client, room).iter().skip_while(|other| other.from < stay.from);
        let of_resets = behind.take_while(|stay| stay.is_reset).collect::<Vec<_>>();
        of_resets.iter().any(|stay| stay.loss == Loss::Reset)
    }

    /// Who was ever in a room.
    pub(super) fn guests(&self, room: LogNo) -> impl Iterator<Item = ClientNo> {
        self.stays.keys().filter(move |&&(_, log)| log == room).map(|&(client, _)| client)
    }

    /// Whether the server was not started anew between two of its own times.
    pub(super) fn same_life(&self, earlier_ms: f64, later_ms: f64) -> bool {
        self.lives.iter().any(|life| life.from_ms <= earlier_ms && later_ms <= life.to_ms)
    }

    /// Whether the server was started anew between two records.
    pub(super) fn restarted_between(&self, earlier: usize, later: usize) -> bool {
        self.lives.iter().any(|life| earlier < life.at && life.at < later)
    }
}

fn end(stays: &mut [Stay], at: usize, loss: Loss, proves_until: impl Fn(&Stay) -> usize) {
    if let Some(stay) = stays.last_mut().filter(|stay| stay.to == END) {
        (stay.proves_until, stay.loss) = (proves_until(stay), loss);
        stay.to = at;
    }
}
