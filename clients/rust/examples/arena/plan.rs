//! The schedule: who sends which move when. Fixed beforehand, so that a slow server or a slow
//! sender makes moves late, never fewer (no coordinated omission).

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use rallypoint_client::protocol::moves::Lane;
use tokio::sync::mpsc;

use crate::options::Options;

/// One move to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// When, microseconds from the beginning.
    pub(crate) at: u64,
    pub(crate) player: usize,
    pub(crate) lane: Lane,
    /// Its number on that lane, from 0.
    pub(crate) n: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    players: usize,
    /// Microseconds between two moves of one player on one lane.
    period: f64,
    /// Moves of one player on a lane.
    moves: u32,
    lanes: Vec<Lane>,
    /// When player 0 does not read, microseconds from the beginning.
    pub(crate) stall: Option<Range<u64>>,
    /// The shared clock's zero.
    pub(crate) begin: Instant,
}

fn micros(seconds: f64) -> u64 {
    Duration::from_secs_f64(seconds).as_micros().try_into().unwrap_or(u64::MAX)
}

impl Plan {
    pub(crate) fn new(options: &Options, begin: Instant) -> Self {
        let seconds = f64::from(options.seconds);
        let stall = options.stall.map(|stall| micros((seconds - stall) / 2.0)..micros((seconds + stall) / 2.0));
        let lanes = if options.latest_only { vec![Lane::Latest] } else { vec![Lane::Latest, Lane::Reliable] };
        let (period, moves) = (1e6 / f64::from(options.rate), options.rate * options.seconds);
        Self { players: options.players, period, moves, lanes, stall, begin }
    }

    /// How many moves one player sends on a lane.
    pub(crate) fn moves(&self, lane: Lane) -> u32 {
        if self.lanes.contains(&lane) { self.moves } else { 0 }
    }

    /// All moves in the order of their times. Players and lanes are spread over the period, as
    /// players who know nothing of each other are.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let slots = self.players * self.lanes.len();
        let mut ticks = Vec::with_capacity(slots * self.moves as usize);
        for n in 0..self.moves {
            for (index, &lane) in self.lanes.iter().enumerate() {
                for player in 0..self.players {
                    let slot = (index * self.players + player) as f64 / slots as f64;
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an hour in us")]
                    let at = ((f64::from(n) + slot) * self.period) as u64;
                    ticks.push(Tick { at, player, lane, n });
                }
            }
        }
        ticks
    }

    /// The moment `at` microseconds after the beginning.
    pub(crate) fn moment(&self, at: u64) -> Instant {
        self.begin + Duration::from_micros(at)
    }

    /// Microseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.begin.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
    }
}

/// Hands each tick to its player at its time, on a thread of its own: the timers of the runtime
/// are a millisecond coarse, which is more than what is measured.
pub(crate) fn pace(plan: Plan, ticks: Vec<Tick>, players: Vec<mpsc::Sender<Tick>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for tick in ticks {
            thread::sleep(plan.moment(tick.at).saturating_duration_since(Instant::now()));
            // The queues hold a player's whole schedule; one that is gone reports that itself.
            _ = players[tick.player].try_send(tick);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Plan {
        Plan::new(&Options::read(line.split_whitespace().map(str::to_owned)).unwrap(), Instant::now())
    }

    #[test]
    fn every_move_is_scheduled_once_and_in_time() {
        let plan = plan("--players 3 --rate 7 --seconds 2");
        let ticks = plan.ticks();
        assert_eq!(ticks.len(), 3 * 2 * 14);
        assert!(ticks.is_sorted_by_key(|tick| tick.at) && ticks[ticks.len() - 1].at < 2_000_000);
        let of_one: Vec<_> = ticks.iter().filter(|tick| tick.player == 1 && tick.lane == Lane::Reliable).collect();
        assert!(of_one.iter().enumerate().all(|(index, tick)| tick.n as usize == index));
        assert!(of_one.is_sorted_by(|a, b| (142_856..=142_858).contains(&(b.at - a.at))));
    }

    #[test]
    fn a_stall_lies_in_the_middle_and_leaves_the_reliable_lane_out() {
        let plan = plan("--seconds 10 --stall 4");
        assert_eq!(plan.stall, Some(3_000_000..7_000_000));
        assert_eq!((plan.moves(Lane::Latest), plan.moves(Lane::Reliable)), (200, 0));
        assert!(plan.ticks().iter().all(|tick| tick.lane == Lane::Latest));
    }
}
