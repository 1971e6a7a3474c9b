//! The checker against histories that are correct, and against the same with one thing wrong.

mod model;
mod mutate;

use model::Model;
use proptest::prelude::*;
use rallypoint_proof::{
    check::{Kind, Report, check},
    history::{Came, ClientNo, ContentNo, History, Label, LogNo, Outcome, Role, What, Why},
    seed::Seed,
};
use rallypoint_protocol::{Event, EventBody, PeerId, Position, event::Millis, server::ResetReason};

/// Long enough for losses, resets and a few restarts.
const STEPS: usize = 4000;

fn told(report: &Report, history: &History) -> String {
    let told: Vec<_> = report.violations.iter().take(4).map(|violation| violation.tell(history)).collect();
    format!("{} violations\n{}", report.found, told.join("\n"))
}

#[test]
fn correct_histories_are_clean_and_hold_everything() {
    for seed in 0..20 {
        let history = Model::history(seed, STEPS);
        let report = check(&history);
        assert!(report.found == 0, "seed {seed}: {}", told(&report, &history));
    }
    // What is not in a history cannot be checked in it.
    let tally = check(&Model::history(1, 10 * STEPS)).tally;
    let counts = [
        tally.events,
        tally.distinct,
        tally.published,
        tally.unknown,
        tally.signals,
        tally.reliable,
        tally.latest,
        tally.resumed,
        tally.restored,
        tally.new,
        tally.restarts,
        tally.resets.len(),
        tally.refused.len(),
    ];
    assert!(counts.iter().all(|&count| count > 0), "{tally}");
    assert!(tally.unwatched * 20 < tally.published, "{tally}");
}

#[test]
fn every_mutation_is_found_by_its_name() {
    for &(name, kind, mutate) in mutate::ALL {
        let mut found = 0;
        for seed in 0..20 {
            let mut history = Model::history(seed, STEPS);
            if mutate(&mut history, &mut Seed::new(seed)) {
                let report = check(&history);
                assert!(report.kinds.contains_key(&kind), "{name}, seed {seed}: {}", told(&report, &history));
                found += 1;
            }
        }
        assert!(found >= 10, "{name}: there was a place for it in {found} of 20 histories only");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_correct_history_is_clean_and_any_mutation_is_found(seed: u64, steps in 500..STEPS, which in 0..mutate::ALL.len()) {
        let mut history = Model::history(seed, steps);
        let report = check(&history);
        prop_assert!(report.found == 0, "{}", told(&report, &history));
        let (name, kind, mutate) = mutate::ALL[which];
        // A short history may have no place for it.
        if mutate(&mut history, &mut Seed::new(seed)) {
            let report = check(&history);
            prop_assert!(report.kinds.contains_key(&kind), "{name}: {}", told(&report, &history));
        }
    }
}

/// A member's view of a room, told as `(number, kind)` of events between where it is told to stand.
struct Told {
    history: History,
    member: ClientNo,
    log: LogNo,
    /// Positions by number, as the other one saw the events.
    positions: Vec<Position>,
    contents: Vec<ContentNo>,
}

impl Told {
    /// A room with ten events, all of which the other one has seen; the member comes in with the sixth.
    fn new() -> Self {
        let mut history = History::default();
        let [member, other] = ["member-1", "member-2"].map(|name| history.client(name, Role::Member));
        let log = history.logs.no(b"room/1");
        let peer = PeerId::random();
        let own = history.peers.no(peer.to_string().as_bytes());
        let (mut positions, mut contents) = (vec![Position::start(7)], Vec::new());
        for n in 1..=10 {
            let peer = if n == 6 { peer } else { PeerId::random() };
            let entry = serde_json::json!({ "peer": peer, "user": "member-1" });
            let body = EventBody::PeerJoined { peer: serde_json::from_value(entry).unwrap() };
            let bytes = Event { time: Millis(f64::from(n)), from: None, body }.to_bytes();
            positions.push(positions[positions.len() - 1].next(&bytes));
            contents.push(history.contents.no(&bytes));
        }
        let mut told = Self { history, member, log, positions, contents };
        told.put(other, What::Stands { log, position: told.positions[0], why: Why::New });
        (1..=10).for_each(|n| told.event(other, n));
        told.put(member, What::Opened { peer: Some(own), came: Came::New, time: 0.0 });
        told
    }

    fn put(&mut self, client: ClientNo, what: What) {
        self.history.put(0, client, what);
    }

    fn event(&mut self, client: ClientNo, n: usize) {
        let (log, position, content) = (self.log, self.positions[n], self.contents[n - 1]);
        self.put(client, What::Event { log, position, content });
    }

    fn stands(&mut self, n: usize, why: Why) {
        let (client, log, position) = (self.member, self.log, self.positions[n]);
        self.put(client, What::Stands { log, position, why });
    }

    fn kinds(&self) -> Vec<Kind> {
        check(&self.history).kinds.into_keys().collect()
    }
}

#[test]
fn only_ones_own_coming_may_be_left_out_of_what_was_missed() {
    for (left_out, fine) in [(6, true), (5, false), (7, false)] {
        let mut told = Told::new();
        let member = told.member;
        told.stands(2, Why::New);
        told.put(member, What::Away);
        told.put(member, What::Opened { peer: None, came: Came::New, time: 0.0 });
        (3..=9).filter(|n| *n != left_out).for_each(|n| told.event(member, n));
        told.stands(9, Why::Caught);
        told.event(member, 10);
        assert_eq!(told.kinds().contains(&Kind::Gap), !fine, "{left_out}");
    }
}

#[test]
fn a_reset_that_was_lost_is_not_owed_once_all_is_resumed() {
    for (came, expected) in [(Came::Resumed, vec![]), (Came::Restored, vec![Kind::Silence])] {
        let mut told = Told::new();
        let member = told.member;
        told.stands(6, Why::New);
        told.put(member, What::Away);
        told.put(member, What::Opened { peer: None, came: Came::Restored, time: 0.0 });
        told.put(member, What::Away);
        told.put(member, What::Opened { peer: None, came, time: 0.0 });
        (7..=10).for_each(|n| told.event(member, n));
        told.stands(10, Why::Caught);
        assert_eq!(told.kinds(), expected);
    }
}

#[test]
fn a_session_of_another_node_owes_no_reset_and_leaves_nothing_out() {
    for (missing, expected) in [(None, vec![]), (Some(8), vec![Kind::Gap])] {
        let mut told = Told::new();
        let member = told.member;
        told.stands(6, Why::New);
        told.put(member, What::Away);
        told.put(member, What::Opened { peer: None, came: Came::Moved, time: 0.0 });
        (7..=9).filter(|n| Some(*n) != missing).for_each(|n| told.event(member, n));
        told.stands(9, Why::Caught);
        told.event(member, 10);
        assert_eq!(told.kinds(), expected, "{missing:?}");
    }
}

/// Ada sends signals to a member, who is told of a loss or not.
#[test]
fn a_signal_is_lost_without_a_word_or_with_one() {
    let lost = Why::Reset(ResetReason::Lost);
    for (reset, own_comes, fine) in [(None, false, false), (Some(lost), false, true), (Some(lost), true, false)] {
        let mut told = Told::new();
        let (member, log) = (told.member, told.log);
        let [ada, eve] = ["ada", "eve"].map(|name| told.history.client(name, Role::Member));
        let sends = |from, number| (from, Label { client: from, number });
        told.stands(10, Why::New);
        let signals = [sends(ada, 1), sends(ada, 2), sends(eve, 1)];
        for (from, label) in signals {
            told.put(from, What::Signals { room: log, to: member, label });
            told.put(from, What::Answered { label, outcome: Outcome::Done(None) });
        }
        for (from, label) in signals {
            let comes = if from == ada { own_comes && label.number == 2 } else { true };
            if comes {
                told.put(member, What::Signal { room: log, label });
            }
        }
        if let Some(why) = reset {
            told.stands(10, why);
        }
        assert_eq!(told.kinds().contains(&Kind::SignalLost), !fine, "{reset:?} {own_comes}");
    }
}

#[test]
fn the_death_of_a_node_that_nobody_hurt_is_found() {
    for is_hurt in [false, true] {
        let mut told = Told::new();
        let (member, log) = (told.member, told.log);
        let down = serde_json::json!({ "node": "01", "count": 1, "spectators": 0, "left": [], "more": false });
        let body = EventBody::NodeDown(serde_json::from_value(down).unwrap());
        let bytes = Event { time: Millis(11.0), from: None, body }.to_bytes();
        let (position, content) = (told.positions[10].next(&bytes), told.history.contents.no(&bytes));
        told.stands(10, Why::New);
        if is_hurt {
            told.put(member, What::Struck { what: "node killed", of_members: true });
        }
        told.put(member, What::Event { log, position, content });
        assert_eq!(told.kinds().contains(&Kind::VisibleLeave), !is_hurt);
    }
}
