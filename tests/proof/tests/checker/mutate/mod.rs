//! One thing wrong in a history that was correct: the ways in which servers break their promises.

mod events;
mod guests;
mod lanes;
mod rewrite;

use rallypoint_proof::{
    check::Kind,
    history::{History, Record, What},
    seed::Seed,
};

/// A way to spoil a history, and what the checker must call it. `false`: there was no place for it.
pub(crate) type Mutation = (&'static str, Kind, fn(&mut History, &mut Seed) -> bool);

/// All of them.
pub(crate) const ALL: &[Mutation] = &[
    ("an event is lost", Kind::Gap, events::lose_event),
    ("an event comes twice", Kind::Duplicate, events::repeat_event),
    ("two events change places", Kind::Reordered, events::swap_events),
    ("a reset is kept back", Kind::Gap, events::hide_reset),
    ("a reset after resumed: false is kept back", Kind::Silence, events::hide_lost_reset),
    ("a tag is wrong", Kind::WrongTag, events::spoil_tag),
    ("an event says something else", Kind::WrongTag, events::spoil_content),
    ("one client sees another log", Kind::Disagreement, events::fork),
    ("a view begins anew", Kind::Unasked, events::begin_anew),
    ("one publish is there twice", Kind::DoublePublish, events::publish_twice),
    ("an answer names another place", Kind::LostPublish, events::answer_wrong),
    ("an event that nobody sent", Kind::Invented, events::invent),
    ("a signal is lost", Kind::SignalLost, lanes::lose_signal),
    ("a signal comes twice", Kind::SignalTwice, lanes::repeat_signal),
    ("two signals change places", Kind::SignalOrder, lanes::swap_signals),
    ("a reliable move is lost", Kind::MoveLost, lanes::lose_move),
    ("a reliable move comes twice", Kind::MoveTwice, lanes::repeat_move),
    ("two reliable moves change places", Kind::MoveOrder, lanes::swap_reliable),
    ("two latest moves change places", Kind::LatestBackwards, lanes::swap_latest),
    ("the newest latest move is lost", Kind::LatestLost, lanes::lose_newest),
    ("a handle is given twice", Kind::HandleReused, lanes::reuse_handle),
    ("a leave is visible", Kind::VisibleLeave, guests::show_leave),
    ("a member joins twice", Kind::PresenceOrder, guests::join_twice),
    ("a client stays behind", Kind::Behind, events::fall_behind),
    ("a client stays away", Kind::Hangs, guests::stay_away),
    ("a question has no answer", Kind::Hangs, guests::keep_answer),
    ("a client is sent away", Kind::Stopped, guests::send_away),
];

/// Picks one of the records that `wanted` likes: the first at or after a place that chance chooses.
fn pick(history: &History, seed: &mut Seed, wanted: impl Fn(usize, &Record) -> bool) -> Option<usize> {
    let len = history.records.len();
    let begin = seed.index(len);
    (begin..len).chain(0..begin).find(|&at| wanted(at, &history.records[at]))
}

/// The next record of the same view.
fn next_of_view(history: &History, at: usize) -> Option<usize> {
    let view = |record: &Record| match record.what {
        What::Event { log, .. } | What::Stands { log, .. } | What::Unfollows { log } => Some((record.client, log)),
        _ => None,
    };
    let own = view(&history.records[at]);
    (at + 1..history.records.len()).find(|&next| view(&history.records[next]) == own)
}

fn is_event(record: &Record) -> bool {
    matches!(record.what, What::Event { .. })
}

fn swap(history: &mut History, (a, b): (usize, usize)) {
    let what = history.records[a].what;
    history.records[a].what = history.records[b].what;
    history.records[b].what = what;
}

fn repeat(history: &mut History, at: usize) {
    history.records.insert(at + 1, history.records[at]);
}
