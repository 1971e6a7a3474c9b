//! Rooms of players who all send moves at a steady rate, to everybody else in their room.

use std::io;

use rallypoint_protocol::moves::Lane;

use super::{Figures, Meter, WARM_UP_NS, histogram, quantiles, read_all};
use crate::{crowd::Crowd, dialect::Dialect, field::Server, stamp::Stamp};

/// How long the last moves may take.
const PATIENCE_NS: u64 = 10_000_000_000;

/// How many rooms, and what goes on in each.
#[derive(Clone, Copy, Debug)]
pub struct Rooms {
    /// Rooms.
    pub rooms: usize,
    /// Players in each.
    pub players: usize,
    /// Moves a second of each, in turn on the latest and on the reliable lane.
    pub rate: u64,
    /// Bytes of a payload.
    pub bytes: usize,
    /// How long it is measured.
    pub measured_ns: u64,
}

impl Rooms {
    /// Runs it on a server that nobody else uses.
    pub fn run(self, server: &Server) -> io::Result<Figures> {
        let players = self.rooms * self.players;
        let mut crowd = Crowd::new(server.peer.dialect())?;
        crowd.enter(server, (0..players).map(|n| format!("match-{}", n / self.players)))?;
        let mut heard = Heard::new(self, crowd.dialect);
        let mut latencies = histogram();
        let mut figures = Figures::new();
        let mut meter: Option<(Meter, u64)> = None;
        let mut out = Vec::new();
        let period = 1_000_000_000 / self.rate;
        let begin = crowd.net.now();
        let (measure_from, end) = (begin + WARM_UP_NS, begin + WARM_UP_NS + self.measured_ns);
        // Everybody has the same period, so everybody's turn comes in the same order each time. Neighbours in time are
        // of different rooms.
        let due = |turn: u64| begin + turn * period / players as u64;
        let who = |turn: u64| {
            let place = turn as usize % players;
            (place % self.rooms) * self.players + place / self.rooms
        };
        let mut turn = 0;
        loop {
            let now = crowd.net.now();
            if meter.is_none() && now >= measure_from {
                meter = Some((Meter::start(server, &crowd.net)?, heard.deliveries));
                latencies.reset();
            }
            if now >= end {
                break;
            }
            while due(turn) <= now {
                let (id, n) = (who(turn), (turn / players as u64) as u32);
                let payload = Stamp { from: id as u32, n, due: due(turn) }.write(self.bytes);
                let lane = if is_reliable(n) { Lane::Reliable } else { Lane::Latest };
                out.clear();
                crowd.dialect.publish(&mut crowd.guests[id], lane, 0, &payload, &mut out);
                crowd.net.send(id, &out)?;
                turn += 1;
            }
            read_all(&mut crowd, due(turn).min(end), self.bytes, |id, stamp, now| {
                heard.note(id, stamp)?;
                latencies.record(now.saturating_sub(stamp.due)).map_err(io::Error::other)
            })?;
        }
        let (meter, before) = meter.expect("the measurement began before it ended");
        let measured = heard.deliveries - before;
        let cpu = meter.stop(server, &crowd.net, &mut figures)?;
        quantiles(&latencies, &mut figures);
        let until = crowd.net.now() + PATIENCE_NS;
        while !heard.is_complete(turn) {
            if crowd.net.now() > until {
                return Err(io::Error::other("moves are missing"));
            }
            read_all(&mut crowd, until, self.bytes, |id, stamp, _| heard.note(id, stamp))?;
        }
        figures.insert("replaced", heard.replaced as f64);
        figures.insert("deliveries/s", measured as f64 / (self.measured_ns as f64 / 1e9));
        figures.insert("deliveries/cpu-s", measured as f64 / cpu);
        Ok(figures)
    }
}

/// The most rooms in which the slowest hundredth of moves takes less than `limit_ms`: more and more until it takes
/// longer, then closer and closer to where it begins to.
pub fn most(server: &Server, work: Rooms, limit_ms: f64) -> io::Result<Figures> {
    let mut good = 0;
    let mut bad = None;
    let mut last = Figures::new();
    let mut next = work.rooms;
    while bad.is_none_or(|bad| bad > good + good / CLOSE) {
        match (Rooms { rooms: next, ..work }).run(server) {
            Ok(figures) if figures["p99 ms"] < limit_ms => (good, last) = (next, figures),
            _ => bad = Some(next),
        }
        next = bad.map_or(good * 5 / 4, |bad| usize::midpoint(good, bad));
        if next == good || next == 0 {
            break;
        }
    }
    last.insert("rooms", good as f64);
    Ok(last)
}

/// A search ends when it is within a part of this many.
const CLOSE: usize = 32;

fn is_reliable(n: u32) -> bool {
    n % 2 == 1
}

/// What every player has heard of every other in its room.
struct Heard {
    players: usize,
    /// Whether a latest move may be left out when there is a newer one.
    may_replace: bool,
    /// By hearer and speaker within the room: the next move of each lane.
    next: Vec<[u32; 2]>,
    deliveries: u64,
    replaced: u64,
}

impl Heard {
    fn new(work: Rooms, dialect: Dialect) -> Self {
        let pairs = work.rooms * work.players * work.players;
        let may_replace = dialect == Dialect::Rallypoint;
        Self { players: work.players, may_replace, next: vec![[0, 1]; pairs], deliveries: 0, replaced: 0 }
    }

    fn note(&mut self, id: usize, stamp: Stamp) -> io::Result<()> {
        let from = stamp.from as usize;
        if from / self.players != id / self.players || from == id {
            return Err(io::Error::other(format!("guest {id} heard {stamp:?} of another room")));
        }
        // A newer latest move takes the place of an older one, also ahead of a reliable one between them: each lane has
        // an order of its own.
        let lane = usize::from(is_reliable(stamp.n));
        let next = &mut self.next[id * self.players + from % self.players][lane];
        let may_be_newer = self.may_replace && lane == 0;
        if stamp.n < *next || (stamp.n > *next && !may_be_newer) {
            return Err(io::Error::other(format!("guest {id} heard {stamp:?} in place of {next}")));
        }
        self.replaced += u64::from((stamp.n - *next) / 2);
        *next = stamp.n + 2;
        self.deliveries += 1;
        Ok(())
    }

    /// Whether all moves of so many turns have been heard or replaced.
    fn is_complete(&self, turns: u64) -> bool {
        let all = turns * (self.players as u64 - 1);
        self.deliveries + self.replaced == all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(dialect: Dialect) -> Heard {
        let work = Rooms { rooms: 2, players: 3, rate: 1, bytes: 48, measured_ns: 1 };
        Heard::new(work, dialect)
    }

    #[test]
    fn loss_repetition_disorder_and_strangers_are_noticed() {
        let stamp = |from, n| Stamp { from, n, due: 0 };
        for dialect in [Dialect::Plain, Dialect::Rallypoint] {
            let mut heard = heard(dialect);
            for n in 0..4 {
                heard.note(0, stamp(1, n)).unwrap();
            }
            assert!(heard.note(0, stamp(1, 3)).is_err(), "twice");
            assert!(heard.note(0, stamp(1, 2)).is_err(), "out of order");
            assert!(heard.note(0, stamp(3, 0)).is_err(), "another room");
            assert!(heard.note(0, stamp(0, 0)).is_err(), "its own");
            assert!(heard.note(0, stamp(1, 7)).is_err(), "5 is reliable");
            // 4 is a latest move, and 6 may go ahead of 5.
            assert_eq!(heard.note(0, stamp(1, 6)).is_ok(), dialect == Dialect::Rallypoint);
            heard.note(0, stamp(1, 5)).unwrap();
            assert_eq!(heard.replaced, u64::from(dialect == Dialect::Rallypoint));
        }
    }
}
