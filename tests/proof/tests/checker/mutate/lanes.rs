//! What goes wrong with signals and moves.

use rallypoint_proof::{
    history::{Came, ClientNo, History, LogNo, Outcome, Record, What, Why},
    seed::Seed,
};
use rallypoint_protocol::moves::Lane;

use super::{pick, repeat, swap};

/// Whether nothing of these clients' connections happens between two records, or from the first to the end.
fn unbroken(history: &History, clients: &[ClientNo], from: usize, to: usize) -> bool {
    history.records[from..to].iter().all(|record| {
        let own = clients.contains(&record.client);
        let breaks =
            matches!(record.what, What::Opened { .. } | What::Away | What::Stands { .. } | What::Unfollows { .. });
        !(own && breaks)
    })
}

pub(super) fn signal_sent(history: &History, at: usize) -> Option<usize> {
    let What::Signal { label, .. } = history.records[at].what else { return None };
    (0..at).find(|&sent| matches!(history.records[sent].what, What::Signals { label: own, .. } if own == label))
}

pub(super) fn acknowledged(history: &History, at: usize) -> bool {
    let What::Signal { label: own, .. } = history.records[at].what else { return false };
    let done = |what| matches!(what, What::Answered { label, outcome: Outcome::Done(None) } if label == own);
    history.records.iter().any(|record| done(record.what))
}

/// Acknowledged, and either its addressee stays to the end, or something that was sent later came before a break.
pub(super) fn lose_signal(history: &mut History, seed: &mut Seed) -> bool {
    let due = |at: usize, record: &Record| {
        let Some(sent) = signal_sent(history, at) else { return false };
        if !acknowledged(history, at) {
            return false;
        }
        let breaks = |what: &What| match what {
            What::Opened { came, .. } => *came != Came::Resumed,
            What::Stands { why, .. } => matches!(why, Why::Reset(_)),
            What::Unfollows { .. } => true,
            _ => false,
        };
        let end = history.records[sent..]
            .iter()
            .position(|other| other.client == record.client && breaks(&other.what))
            .map_or(history.records.len(), |after| sent + after);
        // The answer stands right behind the question in these histories.
        let later = |other: usize| signal_sent(history, other).is_some_and(|other| other > sent + 1);
        end == history.records.len()
            || (at + 1..end).any(|other| history.records[other].client == record.client && later(other))
    };
    let Some(at) = pick(history, seed, due) else { return false };
    history.records.remove(at);
    true
}

pub(super) fn repeat_signal(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |_, record| matches!(record.what, What::Signal { .. })) else { return false };
    repeat(history, at);
    true
}

/// The next record that is alike, in the eyes of `key`.
pub(super) fn next_like<K: PartialEq>(
    history: &History,
    at: usize,
    key: impl Fn(&Record) -> Option<K>,
) -> Option<usize> {
    let own = key(&history.records[at])?;
    (at + 1..history.records.len()).find(|&next| key(&history.records[next]).as_ref() == Some(&own))
}

pub(super) fn swap_signals(history: &mut History, seed: &mut Seed) -> bool {
    let key = |record: &Record| match record.what {
        What::Signal { room, label } => Some((record.client, room, label.client)),
        _ => None,
    };
    let restarts = |from: usize, to| history.records[from..to].iter().any(|r| matches!(r.what, What::Started { .. }));
    let next = |at| {
        let next = next_like(history, at, key)?;
        // The later one had been sent when the earlier one came: else it comes before it was sent.
        (!restarts(at, next) && signal_sent(history, next).is_some_and(|sent| sent < at)).then_some(next)
    };
    let Some(at) = pick(history, seed, |at, _| next(at).is_some()) else { return false };
    let Some(to) = next(at) else { return false };
    swap(history, (at, to));
    true
}

pub(super) fn pair_of(lane: Lane) -> impl Fn(&Record) -> Option<(ClientNo, LogNo, ClientNo, u16)> {
    move |record| match record.what {
        What::Moved { room, from, lane: own, key, .. } if own == lane => {
            Some((record.client, room, from, if lane == Lane::Latest { key } else { 0 }))
        }
        _ => None,
    }
}

pub(super) fn move_sent(history: &History, at: usize) -> Option<usize> {
    let What::Moved { room, from, seq, .. } = history.records[at].what else { return None };
    (0..at).find(|&sent| {
        let record = &history.records[sent];
        record.client == from && matches!(record.what, What::Moves { room: r, seq: s, .. } if (r, s) == (room, seq))
    })
}

/// A move and the next of the same pair, both sent while both sides had an unbroken connection.
pub(super) fn next_move(history: &History, at: usize, lane: Lane) -> Option<usize> {
    let (to, _, from, _) = pair_of(lane)(&history.records[at])?;
    let next = next_like(history, at, pair_of(lane))?;
    let sent = move_sent(history, at)?;
    let after = move_sent(history, next)?;
    (after < at && unbroken(history, &[to, from], sent, next)).then_some(next)
}

pub(super) fn lose_move(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |at, _| next_move(history, at, Lane::Reliable).is_some()) else { return false };
    history.records.remove(at);
    true
}

pub(super) fn repeat_move(history: &mut History, seed: &mut Seed) -> bool {
    let reliable = pair_of(Lane::Reliable);
    let Some(at) = pick(history, seed, |_, record| reliable(record).is_some()) else { return false };
    repeat(history, at);
    true
}

pub(super) fn swap_moves(history: &mut History, seed: &mut Seed, lane: Lane) -> bool {
    let Some(at) = pick(history, seed, |at, _| next_move(history, at, lane).is_some()) else { return false };
    let Some(next) = next_move(history, at, lane) else { return false };
    swap(history, (at, next));
    true
}

pub(super) fn swap_reliable(history: &mut History, seed: &mut Seed) -> bool {
    swap_moves(history, seed, Lane::Reliable)
}

pub(super) fn swap_latest(history: &mut History, seed: &mut Seed) -> bool {
    swap_moves(history, seed, Lane::Latest)
}

/// Every member sends one latest move after faults are off.
pub(super) fn lose_newest(history: &mut History, seed: &mut Seed) -> bool {
    let quiet = history.records.iter().position(|record| record.what == What::Quiet).unwrap_or_default();
    let latest = pair_of(Lane::Latest);
    let at = pick(history, seed, |at, record| {
        latest(record).is_some() && move_sent(history, at).is_some_and(|sent| sent > quiet)
    });
    let Some(at) = at else { return false };
    history.records.remove(at);
    true
}

pub(super) fn reuse_handle(history: &mut History, seed: &mut Seed) -> bool {
    let moved = |record: &Record| match record.what {
        What::Moved { room, from, handle, .. } => Some((record.client, room, from, handle)),
        _ => None,
    };
    let other = |at: usize| {
        let (to, room, from, _) = moved(&history.records[at])?;
        let next = (at + 1..history.records.len()).find(|&next| {
            moved(&history.records[next]).is_some_and(|(t, r, f, _)| (t, r) == (to, room) && f != from)
        })?;
        unbroken(history, &[to], at, next).then_some(next)
    };
    let Some(at) = pick(history, seed, |at, _| other(at).is_some()) else { return false };
    let (Some(next), Some((.., taken))) = (other(at), moved(&history.records[at])) else { return false };
    if let What::Moved { handle, .. } = &mut history.records[next].what {
        *handle = taken;
    }
    true
}
