//! Another past: puts an event into a log and makes everything behind it fit.

use std::collections::{BTreeMap, HashMap};

use rallypoint_proof::history::{ClientNo, ContentNo, History, LogNo, Outcome, What};
use rallypoint_protocol::Position;

/// The events of one life of a log, if all of them from some place on are known.
pub(super) type Chain = BTreeMap<u64, (Position, ContentNo)>;

pub(super) fn chain(history: &History, log: LogNo, epoch: u64) -> Chain {
    let events = history.records.iter().filter_map(|record| match record.what {
        What::Event { log: own, position, content } if own == log && position.epoch == epoch => {
            Some((position.seq, (position, content)))
        }
        _ => None,
    });
    events.collect()
}

/// Puts another content at a place in a log and makes all tags behind it right again: the log as it would be, had it
/// happened so. With `only`, for this client.
pub(super) fn rewrite(
    history: &mut History,
    log: LogNo,
    at: Position,
    content: ContentNo,
    only: Option<ClientNo>,
) -> bool {
    let mut chain = chain(history, log, at.epoch);
    let last = chain.keys().next_back().copied().unwrap_or_default();
    if (at.seq..=last).any(|seq| !chain.contains_key(&seq)) {
        return false;
    }
    let before = chain.get(&(at.seq - 1)).map(|&(position, _)| position);
    let Some(mut position) = before.or((at.seq == 1).then(|| Position::start(at.epoch))) else { return false };
    chain.insert(at.seq, (at, content));
    let mut new = HashMap::new();
    for seq in at.seq..=last {
        let (_, content) = chain[&seq];
        position = position.next(history.contents.bytes(content));
        new.insert(seq, (position, content));
    }
    let asked: HashMap<_, _> = history
        .records
        .iter()
        .filter_map(|record| match record.what {
            What::Publishes { log, label } => Some((label, log)),
            _ => None,
        })
        .collect();
    for record in history.records.iter_mut().filter(|record| only.is_none_or(|only| only == record.client)) {
        let renew = |old: &mut Position| match new.get(&old.seq).filter(|_| old.epoch == at.epoch) {
            Some(&(position, content)) => {
                *old = position;
                Some(content)
            }
            None => None,
        };
        match &mut record.what {
            What::Event { log: own, position, content } if *own == log => {
                if let Some(new) = renew(position) {
                    *content = new;
                }
            }
            What::Stands { log: own, position, .. } | What::Head { log: own, position } if *own == log => {
                renew(position);
            }
            What::Answered { label, outcome: Outcome::Done(Some(position)) } if asked.get(label) == Some(&log) => {
                renew(position);
            }
            _ => {}
        }
    }
    true
}

pub(super) fn event_at(history: &History, at: usize) -> (LogNo, Position, ContentNo) {
    let What::Event { log, position, content } = history.records[at].what else { unreachable!("an event was picked") };
    (log, position, content)
}
