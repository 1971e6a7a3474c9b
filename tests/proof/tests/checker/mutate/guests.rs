//! What goes wrong with those who come and go.

use rallypoint_proof::{
    history::{Came, History, PeerNo, Record, What},
    seed::Seed,
};

use super::{
    pick,
    rewrite::{chain, event_at, rewrite},
};

pub(super) fn opened(record: &Record) -> Option<(PeerNo, Came, f64)> {
    match record.what {
        What::Opened { peer: Some(peer), came, time } => Some((peer, came, time)),
        _ => None,
    }
}

/// Puts an event of presence in the place of an event that was published.
pub(super) fn rewrite_presence(history: &mut History, at: usize, kind: &str, peer: PeerNo, more: &str) -> bool {
    let (log, position, content) = event_at(history, at);
    let text = history.contents.text(content);
    let Some(time) = text.split("\"time\":").nth(1).and_then(|rest| rest.split(',').next()) else { return false };
    let peer = history.peers.text(peer);
    let bytes = format!(r#"{{"kind":"{kind}","time":{time},"data":{{"peer":{{"peer":"{peer}","user":"u"}}{more}}}}}"#);
    let content = history.contents.no(bytes.as_bytes());
    rewrite(history, log, position, content, None)
}

pub(super) fn published_in_room(history: &History, record: &Record) -> bool {
    match record.what {
        What::Event { log, content, .. } => {
            history.log_name(log).starts_with("room/") && history.contents.text(content).contains("\"c")
        }
        _ => false,
    }
}

pub(super) fn show_leave(history: &mut History, seed: &mut Seed) -> bool {
    let back = |at: usize| {
        let later = history.records[at..].iter().take_while(|record| !matches!(record.what, What::Ended { .. }));
        later.filter_map(opened).find(|&(_, came, _)| came == Came::Resumed).map(|(peer, ..)| peer)
    };
    // The time in the event must lie before the return: the record does, and in these histories nothing is told later.
    let fits = |at: usize, record: &Record| published_in_room(history, record) && back(at).is_some();
    let Some(at) = pick(history, seed, fits) else { return false };
    let Some(peer) = back(at) else { return false };
    rewrite_presence(history, at, "peer-left", peer, r#","reason":"lost""#)
}

pub(super) fn join_twice(history: &mut History, seed: &mut Seed) -> bool {
    // The next event about presence, at any place behind, is of a peer that leaves: so it is there.
    let there = |at: usize| {
        let (log, position, _) = event_at(history, at);
        let chain = chain(history, log, position.epoch);
        let mut last = position.seq;
        for (&seq, &(_, content)) in chain.range(position.seq + 1..) {
            if seq != last + 1 {
                return None;
            }
            last = seq;
            let text = history.contents.text(content);
            if text.contains("\"peer-left\"") {
                let id = text.split("\"peer\":\"").nth(1)?.split('"').next()?;
                return history.peers.find(id.as_bytes());
            }
            if text.contains("\"peer-joined\"") {
                return None;
            }
        }
        None
    };
    let joined_before = |at: usize, peer: PeerNo| {
        let (log, position, _) = event_at(history, at);
        let id = history.peers.text(peer);
        let chain = chain(history, log, position.epoch);
        // Without a hole from its join to here.
        let mut next = position.seq;
        while next > 1 {
            next -= 1;
            match chain.get(&next) {
                None => return false,
                Some(&(_, content)) => {
                    let text = history.contents.text(content);
                    if text.contains(&id) && text.contains("\"peer-joined\"") {
                        return true;
                    }
                }
            }
        }
        false
    };
    let fits = |at: usize, record: &Record| {
        published_in_room(history, record) && there(at).is_some_and(|peer| joined_before(at, peer))
    };
    let Some(at) = pick(history, seed, fits) else { return false };
    let Some(peer) = there(at) else { return false };
    rewrite_presence(history, at, "peer-joined", peer, "")
}

pub(super) fn stay_away(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |_, record| record.what == What::Left) else { return false };
    history.records[at].what = What::Away;
    true
}

pub(super) fn keep_answer(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |_, record| matches!(record.what, What::Answered { .. })) else { return false };
    history.records.remove(at);
    true
}

pub(super) fn send_away(history: &mut History, seed: &mut Seed) -> bool {
    let Some(at) = pick(history, seed, |_, record| matches!(record.what, What::Opened { .. })) else { return false };
    let client = history.records[at].client;
    history.records.insert(at + 1, Record { at: 0, client, what: What::Stopped { code: 4410 } });
    true
}
