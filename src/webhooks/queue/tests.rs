//! The queue under a clock of the tests: what is down comes back, what is full is told, and chance plays against it all.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TERMS: Terms =
    Terms { events: 1000, bytes: 1 << 20, concurrency: 4, first_ms: 1000, most_ms: 60_000, give_up_ms: 86_400_000 };

fn room(n: usize) -> RoomName {
    RoomName::new(&format!("match/{n}")).unwrap()
}

/// A queue, its clock, and what its receiver has seen: the ids of each lane in order, losses with their count.
struct Bench {
    queue: Queue,
    now: Millis,
    pushed: usize,
    seen: BTreeMap<Lane, Vec<(String, u64)>>,
    asked: usize,
}

impl Bench {
    fn new(terms: Terms) -> Self {
        Self { queue: Queue::new(terms), now: Millis(1e12), pushed: 0, seen: BTreeMap::new(), asked: 0 }
    }

    /// Pushes an event that is called by its number; whether it was taken.
    fn push(&mut self, n: usize) -> bool {
        self.pushed += 1;
        let id = self.pushed.to_string();
        self.queue.push(&room(n), &id, Bytes::from(format!("{{\"id\":{id}}}")), self.now)
    }

    /// Sends all that is due, and has `answer` answer it at once.
    fn send(&mut self, mut answer: impl FnMut(&Delivery) -> Outcome) {
        while let Some(delivery) = self.queue.next(self.now) {
            self.asked += 1;
            let outcome = answer(&delivery);
            if outcome == Outcome::Taken {
                self.take(&delivery);
            }
            self.queue.done(delivery.lane, outcome, self.now, 0.5);
        }
    }

    fn take(&mut self, delivery: &Delivery) {
        let count = if let Load::Lost(count, _) = delivery.load { count } else { 0 };
        self.seen.entry(delivery.lane.clone()).or_default().push((delivery.id.to_string(), count));
    }

    /// Goes on from one due moment to the next until nothing is left, or `until`.
    fn run(&mut self, until: Millis, mut answer: impl FnMut(&Delivery, Millis) -> Outcome) {
        loop {
            let now = self.now;
            self.send(|delivery| answer(delivery, now));
            match self.queue.wakes() {
                Some(due) if due <= until => self.now = if due > self.now { due } else { self.now.after(1) },
                _ => break,
            }
        }
    }

    fn seen(&self, n: usize) -> Vec<&str> {
        self.seen.get(&Some(room(n))).into_iter().flatten().map(|(id, _)| id.as_str()).collect()
    }

    fn lost(&self) -> u64 {
        self.seen.values().flatten().map(|(_, count)| count).sum()
    }
}

#[test]
fn a_room_waits_for_its_own_event_and_for_no_other() {
    let mut bench = Bench::new(TERMS);
    for n in [1, 1, 2, 1, 2] {
        assert!(bench.push(n));
    }
    bench.send(|delivery| if delivery.lane == Some(room(1)) { Outcome::Again(None) } else { Outcome::Taken });
    assert_eq!((bench.seen(1), bench.seen(2)), (vec![], vec!["3", "5"]));
    assert_eq!(bench.queue.len(), 3);
    let due = bench.queue.wakes().unwrap();
    assert_eq!(due.since(bench.now), 750.0, "a second, less what chance takes off");
    bench.now = due;
    bench.send(|_| Outcome::Taken);
    assert_eq!(bench.seen(1), ["1", "2", "4"]);
    assert!(bench.queue.is_empty() && bench.queue.wakes().is_none());
    assert_eq!(bench.queue.bytes, 0);
}

#[test]
fn only_one_of_a_room_and_only_so_many_in_all_are_on_their_way() {
    let mut bench = Bench::new(TERMS);
    for n in [1, 1, 2, 3, 4, 5] {
        bench.push(n);
    }
    let now = bench.now;
    let sent: Vec<_> = std::iter::from_fn(|| bench.queue.next(now)).map(|delivery| delivery.lane).collect();
    assert_eq!(sent, [1, 2, 3, 4].map(|n| Some(room(n))));
    assert_eq!(bench.queue.wakes(), None, "somebody answers first");
    bench.queue.done(sent[0].clone(), Outcome::Taken, now, 0.5);
    assert_eq!(bench.queue.next(now).unwrap().lane, Some(room(5)), "the room that has waited longest");
}

/// The receiver is down for a minute, and then for a while it fails after it has taken what came.
#[test]
fn a_minute_of_nobody_loses_nothing() {
    let mut bench = Bench::new(TERMS);
    let (begin, mut expected) = (bench.now, BTreeMap::<usize, Vec<String>>::new());
    let mut taken: Vec<(Lane, String)> = Vec::new();
    let mut failed_after_taking = 0;
    for second in 0..120 {
        bench.now = begin.after(second * 1000);
        for n in 0..5 {
            assert!(bench.push(n), "within the bound");
            expected.entry(n).or_default().push(bench.pushed.to_string());
        }
        bench.run(begin.after(second * 1000 + 999), |delivery, now| {
            if now.since(begin) < 60_000.0 {
                return Outcome::Again(None);
            }
            taken.push((delivery.lane.clone(), delivery.id.to_string()));
            // Every third answer is lost on its way back.
            if taken.len().is_multiple_of(3) {
                failed_after_taking += 1;
                return Outcome::Again(None);
            }
            Outcome::Taken
        });
    }
    bench.run(begin.after(10_000_000), |delivery, _| {
        taken.push((delivery.lane.clone(), delivery.id.to_string()));
        Outcome::Taken
    });
    assert!(failed_after_taking > 100, "{failed_after_taking}");
    assert_eq!(taken.len(), 600 + failed_after_taking, "each of those came twice");
    for n in 0..5 {
        let mut once: Vec<_> = taken.iter().filter(|(lane, _)| *lane == Some(room(n))).map(|(_, id)| id).collect();
        once.dedup();
        assert_eq!(once, expected[&n].iter().collect::<Vec<_>>(), "in order, but for the same id twice in a row");
    }
}

#[test]
fn who_is_down_is_asked_by_one_and_not_by_all() {
    let mut bench = Bench::new(TERMS);
    for n in 0..200 {
        bench.push(n);
    }
    let begin = bench.now;
    bench.run(begin.after(600_000), |_, _| Outcome::Again(None));
    assert!((15..40).contains(&bench.asked), "{} times in ten minutes", bench.asked);
    // The first good answer opens the door for all, whatever they had to wait for.
    bench.now = bench.queue.wakes().unwrap();
    let now = bench.now;
    bench.send(|_| Outcome::Taken);
    assert_eq!((bench.queue.len(), bench.now), (0, now));
}

#[test]
fn nobody_waits_any_longer_when_the_receiver_is_back() {
    let mut bench = Bench::new(Terms { concurrency: 2, ..TERMS });
    bench.push(1);
    bench.push(2);
    let begin = bench.now;
    let both = [bench.queue.next(begin).unwrap(), bench.queue.next(begin).unwrap()];
    for (Delivery { lane, .. }, jitter) in both.into_iter().zip([1.0, 0.0]) {
        bench.queue.done(lane, Outcome::Again(None), begin, jitter);
    }
    let soon = begin.after(500);
    let probe = bench.queue.next(soon).unwrap();
    assert_eq!((&probe.lane, bench.queue.next(soon)), (&Some(room(2)), None), "the other one waits for a second");
    bench.queue.done(probe.lane, Outcome::Taken, soon, 0.5);
    assert_eq!(bench.queue.next(soon).unwrap().lane, Some(room(1)));
}

#[test]
fn what_one_room_has_to_say_cannot_bring_the_others_to_rest() {
    let mut bench = Bench::new(TERMS);
    let begin = bench.now;
    bench.push(1);
    bench.run(begin.after(3_600_000), |_, _| Outcome::Again(None));
    bench.push(2);
    let now = bench.now;
    bench.send(|delivery| if delivery.lane == Some(room(1)) { Outcome::Again(None) } else { Outcome::Taken });
    assert_eq!((bench.seen(2), bench.now), (vec!["2"], now));
}

#[test]
fn pauses_double_up_to_the_most_and_vary_by_half() {
    let pauses = |jitter| {
        let queue = Queue::new(TERMS);
        [1, 2, 3, 7, 8, 60, u32::MAX].map(|tries| queue.pause_ms(tries, jitter))
    };
    assert_eq!(pauses(1.0), [1000, 2000, 4000, 60_000, 60_000, 60_000, 60_000]);
    assert_eq!(pauses(0.0), [500, 1000, 2000, 30_000, 30_000, 30_000, 30_000]);
}

#[test]
fn a_receiver_is_given_the_time_that_it_asks_for() {
    let mut bench = Bench::new(TERMS);
    bench.push(1);
    bench.push(2);
    let begin = bench.now;
    let first = bench.queue.next(begin).unwrap();
    bench.queue.done(first.lane, Outcome::Again(Some(30_000)), begin, 0.5);
    assert_eq!(bench.queue.next(begin.after(29_999)), None, "not for another room either");
    assert_eq!(bench.queue.wakes(), Some(begin.after(30_000)));
    let second = bench.queue.next(begin.after(30_000)).unwrap();
    bench.queue.done(second.lane, Outcome::Again(Some(u64::MAX)), begin.after(30_000), 0.5);
    assert_eq!(bench.queue.wakes(), Some(begin.after(30_000 + AFTER_MAX_MS)), "but not for ever");
}

#[test]
fn what_is_refused_is_not_tried_again() {
    let mut bench = Bench::new(TERMS);
    bench.push(1);
    bench.push(1);
    bench.send(|delivery| if *delivery.id == *"1" { Outcome::Refused } else { Outcome::Taken });
    assert_eq!((bench.seen(1), bench.queue.len(), bench.asked), (vec!["2"], 0, 2));
}

#[test]
fn what_does_not_fit_is_told_in_its_place() {
    let mut bench = Bench::new(Terms { events: 10, ..TERMS });
    let fits: Vec<_> = (0..15).map(|n| bench.push(n % 3)).collect();
    assert_eq!(fits, [[true; 10].as_slice(), &[false; 5]].concat());
    assert!(!bench.push(7), "a room that has nothing in the queue");
    bench.send(|_| Outcome::Taken);
    for n in 0..3 {
        assert!(bench.push(n), "there is room again");
    }
    bench.send(|_| Outcome::Taken);
    assert_eq!(bench.seen(0), ["1", "4", "7", "10", "lost-13", "17"]);
    assert_eq!(bench.seen(1), ["2", "5", "8", "lost-11", "18"]);
    assert_eq!(bench.seen(7), ["lost-16"]);
    assert_eq!(bench.seen[&Some(room(1))][3].1, 2);
    assert_eq!(bench.lost(), 6);
}

#[test]
fn a_loss_that_was_told_does_not_grow() {
    let mut bench = Bench::new(Terms { events: 1, ..TERMS });
    for _ in 0..3 {
        bench.push(1);
    }
    bench.send(|delivery| if matches!(delivery.load, Load::Event(_)) { Outcome::Taken } else { Outcome::Again(None) });
    bench.push(2);
    assert!(!bench.push(1));
    // The same id stands for the same count, however often it is sent.
    bench.run(bench.now.after(10_000), |_, _| Outcome::Taken);
    assert_eq!(bench.seen[&Some(room(1))], [("1".into(), 0), ("lost-2".into(), 2), ("lost-5".into(), 1)]);
}

#[test]
fn so_many_rooms_cannot_be_named() {
    let mut bench = Bench::new(Terms { events: 5, ..TERMS });
    for n in 0..1000 {
        bench.push(n);
    }
    assert!(bench.queue.lanes.len() <= 11, "{}", bench.queue.lanes.len());
    bench.send(|_| Outcome::Taken);
    assert_eq!((bench.lost(), bench.seen[&None].len()), (995, 1));
}

#[test]
fn bytes_are_bounded_as_well() {
    let mut bench = Bench::new(Terms { bytes: 3 * (OVERHEAD + 8), ..TERMS });
    assert_eq!([1, 1, 1, 1].map(|n| bench.push(n)), [true, true, true, false]);
}

#[test]
fn a_room_that_is_flooded_leaves_place_for_others() {
    let mut bench = Bench::new(TERMS);
    let taken = (0..5000).filter(|_| bench.push(1)).count();
    assert_eq!(taken, 1000 / ROOM_SHARE);
    assert!(bench.push(2));
}

#[test]
fn what_is_too_old_is_told_as_a_loss() {
    let mut bench = Bench::new(Terms { give_up_ms: 60_000, ..TERMS });
    let begin = bench.now;
    bench.push(1);
    bench.now = begin.after(1000);
    bench.push(1);
    let mut given_up = 0;
    while given_up < 2 {
        let due = bench.queue.wakes().unwrap();
        bench.now = if due > bench.now { due } else { bench.now };
        let delivery = bench.queue.next(bench.now).unwrap();
        // The event behind a loss has its turn when the loss was told.
        let told = matches!(delivery.load, Load::Lost(..));
        if told {
            bench.take(&delivery);
        }
        let outcome = if told { Outcome::Taken } else { Outcome::Again(None) };
        given_up += bench.queue.done(delivery.lane, outcome, bench.now, 0.5);
    }
    assert!(bench.now.since(begin) >= 60_000.0);
    assert_eq!(bench.queue.len(), 0, "neither is kept");
    bench.run(begin.after(10_000_000), |_, _| Outcome::Taken);
    assert_eq!((bench.lost(), bench.seen(1)), (2, vec!["lost-1", "lost-2"]));
}

proptest! {
    /// Whatever happens, each room sees what was taken of it in order, and is told how many were not.
    #[test]
    fn nothing_is_lost_in_silence(
        steps in proptest::collection::vec((0..6_usize, 0..8_u8, 0..20_000_u64), 1..400),
        events in 1..40_usize,
        concurrency in 1..5_usize,
    ) {
        let terms = Terms { events, concurrency, give_up_ms: 40_000, ..TERMS };
        let mut bench = Bench::new(terms);
        let mut on_their_way = VecDeque::new();
        let (mut refused_to_take, mut given_up) = (0, 0);
        let mut accepted = BTreeMap::<usize, Vec<String>>::new();
        let mut seen = BTreeMap::<Lane, Vec<(String, u64)>>::new();
        for (n, what, ms) in steps {
            bench.now = bench.now.after(ms / 10);
            match what {
                0..=2 => match bench.push(n) {
                    true => accepted.entry(n).or_default().push(bench.pushed.to_string()),
                    false => refused_to_take += 1,
                },
                3..=5 => on_their_way.extend(bench.queue.next(bench.now)),
                _ => if let Some(delivery) = on_their_way.pop_front() {
                    let Delivery { lane, id, load } = delivery;
                    let count = if let Load::Lost(count, _) = load { count } else { 0 };
                    // Half of those that fail had been taken.
                    if what == 6 || ms % 2 == 0 {
                        seen.entry(lane.clone()).or_default().push((id.to_string(), count));
                    }
                    let outcome = if what == 6 { Outcome::Taken } else { Outcome::Again(None) };
                    given_up += bench.queue.done(lane, outcome, bench.now, 0.3);
                },
            }
            prop_assert!(bench.queue.events <= events && on_their_way.len() <= concurrency);
            prop_assert!(bench.queue.lanes.len() <= 2 * events + 1);
            prop_assert_eq!(bench.queue.on_their_way, on_their_way.len());
        }
        for delivery in on_their_way {
            bench.take(&delivery);
            bench.queue.done(delivery.lane, Outcome::Taken, bench.now, 0.3);
        }
        let end = bench.now.after(10_000_000);
        bench.run(end, |_, _| Outcome::Taken);
        prop_assert!(bench.queue.is_empty());
        prop_assert_eq!((bench.queue.events, bench.queue.bytes), (0, 0));
        let mut told = 0;
        for (lane, items) in bench.seen {
            seen.entry(lane).or_default().extend(items);
        }
        for (lane, mut items) in seen {
            // The same id twice is the same thing twice, and nothing came between.
            items.dedup();
            let ids: std::collections::BTreeSet<_> = items.iter().map(|(id, _)| id).collect();
            prop_assert_eq!(ids.len(), items.len());
            let events: Vec<_> = items.iter().filter(|(_, count)| *count == 0).map(|(id, _)| id.clone()).collect();
            told += items.iter().map(|(_, count)| count).sum::<u64>();
            let n = (0..6).find(|&n| lane == Some(room(n)));
            let accepted = n.and_then(|n| accepted.get(&n)).cloned().unwrap_or_default();
            let mut rest = accepted.iter();
            prop_assert!(events.iter().all(|id| rest.any(|accepted| accepted == id)), "{:?}", events);
            prop_assert!(accepted.len() - events.len() <= usize::try_from(given_up).unwrap());
        }
        prop_assert_eq!(told, refused_to_take + given_up);
    }
}
