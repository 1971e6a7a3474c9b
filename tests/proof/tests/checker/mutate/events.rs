//! What goes wrong with events and with the answers about them.

use rallypoint_proof::{
    history::{Came, History, LogNo, Outcome, Record, What, Why},
    seed::Seed,
};

use super::{
    is_event, next_of_view, pick, repeat,
    rewrite::{chain, event_at, rewrite},
    swap,
};

/// An event that is followed by another one of the same view.
fn followed_event(history: &History, seed: &mut Seed) -> Option<(usize, usize)> {
    let next = |at| next_of_view(history, at).filter(|&next| is_event(&history.records[next]));
    let at = pick(history, seed, |at, record| is_event(record) && next(at).is_some())?;
    Some((at, next(at)?))
}

pub(super) fn lose_event(history: &mut History, seed: &mut Seed) -> bool {
    let Some((at, _)) = followed_event(history, seed) else { return false };
    history.records.remove(at);
    true
}

pub(super) fn repeat_event(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |_, record| is_event(record)) else { return false };
    repeat(history, at);
    true
}

pub(super) fn swap_events(history: &mut History, seed: &mut Seed) -> bool {
    let Some(places) = followed_event(history, seed) else { return false };
    swap(history, places);
    true
}

/// A reset that something was skipped by, with an event behind it.
pub(super) fn needed_reset(history: &History, seed: &mut Seed, lost: bool) -> Option<usize> {
    pick(history, seed, |at, record| {
        let What::Stands { log, position, why: Why::Reset(_) } = record.what else { return false };
        let before = history.records[..at].iter().rev().filter(|other| other.client == record.client);
        let view = before.clone().find_map(|other| match other.what {
            What::Event { log: own, position, .. } | What::Stands { log: own, position, .. } if own == log => {
                Some(position)
            }
            _ => None,
        });
        let restored = before.clone().find_map(|other| match other.what {
            What::Opened { came, .. } => Some(came == Came::Restored),
            What::Stands { log: own, .. } if own == log => Some(false),
            _ => None,
        });
        // If the connection is lost before the next event, the reset may have been lost with it.
        let stays = |next| history.records[at..next].iter().all(|r| r.client != record.client || r.what != What::Away);
        let next =
            next_of_view(history, at).is_some_and(|next| is_event(&history.records[next]) && (!lost || stays(next)));
        let of_room = history.log_name(log).starts_with("room/");
        // If it is only one event, it may be the member's own coming, which nobody would have shown it.
        let skipped = view.is_some_and(|view| view.epoch != position.epoch || view.seq + 1 < position.seq);
        next && if lost { of_room && restored == Some(true) } else { skipped }
    })
}

pub(super) fn hide_reset(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = needed_reset(history, seed, false) else { return false };
    history.records.remove(at);
    true
}

pub(super) fn hide_lost_reset(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = needed_reset(history, seed, true) else { return false };
    history.records.remove(at);
    true
}

pub(super) fn spoil_tag(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |_, record| is_event(record)) else { return false };
    if let What::Event { position, .. } = &mut history.records[at].what {
        position.tag.0 ^= 1;
    }
    true
}

pub(super) fn spoil_content(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |_, record| is_event(record)) else { return false };
    let other = history.contents.no(br#"{"kind":"message","time":1,"data":{"text":"something else"}}"#);
    if let What::Event { content, .. } = &mut history.records[at].what {
        *content = other;
    }
    true
}

pub(super) fn begin_anew(history: &mut History, seed: &mut Seed) -> bool {
    // In a new session that does not stand there yet, it may.
    let stands = |at: usize, log: LogNo| {
        let client = history.records[at].client;
        let before = history.records[..at].iter().rev().filter(|other| other.client == client);
        let last = before.map(|other| other.what).find(|what| match what {
            What::Stands { log: own, .. } => *own == log,
            What::Opened { came, .. } => *came == Came::New,
            _ => false,
        });
        matches!(last, Some(What::Stands { .. }))
    };
    let at = pick(history, seed, |at, record| match record.what {
        What::Event { log, .. } => next_of_view(history, at).is_some() && stands(at, log),
        _ => false,
    });
    let Some(at) = at else { return false };
    let Record { what: What::Event { log, position, .. }, client, .. } = history.records[at] else { return false };
    let what = What::Stands { log, position, why: Why::New };
    history.records.insert(at + 1, Record { at: 0, client, what });
    true
}

pub(super) fn fork(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |_, record| is_event(record)) else { return false };
    let (log, position, content) = event_at(history, at);
    // Somebody else has seen it as it was.
    let client = history.records[at].client;
    let others = history.records.iter().any(|other| {
        other.client != client
            && matches!(other.what, What::Event { log: l, position: p, .. } if (l, p) == (log, position))
    });
    let other = history.contents.no(br#"{"kind":"message","time":1,"data":{"text":"another world"}}"#);
    others && other != content && rewrite(history, log, position, other, Some(client))
}

pub(super) fn publish_twice(history: &mut History, seed: &mut Seed) -> bool {
    let labelled = |record: &Record| match record.what {
        What::Event { content, .. } => history.contents.text(content).contains("\"c"),
        _ => false,
    };
    let Some(at) = pick(history, seed, |_, record| labelled(record)) else { return false };
    let (log, position, content) = event_at(history, at);
    let later = pick(history, seed, |_, record| {
        matches!(record.what, What::Event { log: l, position: p, .. }
            if l == log && p.epoch == position.epoch && p.seq > position.seq)
    });
    let Some(later) = later else { return false };
    let (_, place, _) = event_at(history, later);
    rewrite(history, log, place, content, None)
}

pub(super) fn answer_wrong(history: &mut History, seed: &mut Seed) -> bool {
    let done = |record: &Record| matches!(record.what, What::Answered { outcome: Outcome::Done(Some(_)), .. });
    let Some(at) = pick(history, seed, |_, record| done(record)) else { return false };
    let What::Answered { label, outcome: Outcome::Done(Some(position)) } = history.records[at].what else {
        return false;
    };
    let log = history.records.iter().find_map(|record| match record.what {
        What::Publishes { log, label: own } if own == label => Some(log),
        _ => None,
    });
    let Some(log) = log else { return false };
    let Some(&(other, _)) = chain(history, log, position.epoch).values().find(|&&(other, _)| other != position) else {
        return false;
    };
    history.records[at].what = What::Answered { label, outcome: Outcome::Done(Some(other)) };
    true
}

pub(super) fn invent(history: &mut History, seed: &mut Seed) -> bool {
    let seen: Vec<_> = history.records.iter().filter(|record| is_event(record)).map(|record| record.what).collect();
    let published = |record: &Record| {
        let What::Publishes { label, .. } = record.what else { return false };
        let word = format!("\"{label}");
        seen.iter().any(|what| match what {
            What::Event { content, .. } => {
                let text = history.contents.text(*content);
                text.contains(&format!("{word}\"")) || text.contains(&format!("{word} "))
            }
            _ => false,
        })
    };
    let mut tries: Vec<_> =
        (0..history.records.len()).filter(|&at| matches!(history.records[at].what, What::Publishes { .. })).collect();
    while !tries.is_empty() {
        let at = tries.swap_remove(seed.index(tries.len()));
        if published(&history.records[at]) {
            history.records.remove(at);
            return true;
        }
    }
    false
}

pub(super) fn fall_behind(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |at, record| is_event(record) && next_of_view(history, at).is_none()) else {
        return false;
    };
    history.records.remove(at);
    true
}
