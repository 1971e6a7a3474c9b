//! One member speaks, all others of the room hear it.

use std::{collections::VecDeque, io};

use rallypoint_protocol::moves::Lane;

use super::{Figures, Meter, WARM_UP_NS, histogram, quantiles, read_all};
use crate::{crowd::Crowd, field::Server, stamp::Stamp};

/// How long the last messages may take.
const PATIENCE_NS: u64 = 10_000_000_000;

/// How a fan-out is driven.
#[derive(Clone, Copy, Debug)]
pub struct FanOut {
    /// Who hears it.
    pub receivers: usize,
    /// Bytes of a payload.
    pub bytes: usize,
    /// What makes the next message go out.
    pub pace: Pace,
    /// How long it is measured.
    pub measured_ns: u64,
}

/// What makes the next message go out.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many messages are on their way at a time: the next goes out when everybody has one of them.
    InFlight(usize),
    /// So many messages a second, whatever became of those before.
    PerSecond(f64),
}

impl FanOut {
    /// Runs it on a server that nobody else uses.
    pub fn run(self, server: &Server) -> io::Result<Figures> {
        let mut crowd = Crowd::new(server.peer.dialect())?;
        crowd.enter(server, (0..=self.receivers).map(|_| "fanout".to_owned()))?;
        let mut figures = Figures::new();
        let mut latencies = histogram();
        // The speaker is the guest that came last; by connection, the number of the next message to hear.
        let speaker = self.receivers;
        let mut next_heard = vec![0_u32; self.receivers];
        // By message on its way, the first of them first: how many have not heard it.
        let (mut on_the_way, mut first) = (VecDeque::<usize>::new(), 0_u32);
        let (mut spoken, mut deliveries) = (0_u32, 0_u64);
        let begin = crowd.net.now();
        let (measure_from, end) = (begin + WARM_UP_NS, begin + WARM_UP_NS + self.measured_ns);
        let mut meter: Option<(Meter, u64)> = None;
        let mut out = Vec::new();
        loop {
            let now = crowd.net.now();
            if meter.is_none() && now >= measure_from {
                meter = Some((Meter::start(server, &crowd.net)?, deliveries));
                latencies.reset();
            }
            if now >= end {
                break;
            }
            let wait_until = match self.pace {
                Pace::InFlight(most) => {
                    while on_the_way.len() < most {
                        self.speak(&mut crowd, speaker, spoken, now, &mut out);
                        (spoken, _) = (spoken + 1, on_the_way.push_back(self.receivers));
                    }
                    if meter.is_none() { measure_from } else { end }
                }
                Pace::PerSecond(rate) => {
                    let due = |n: u32| begin + (f64::from(n) * 1e9 / rate) as u64;
                    while due(spoken) <= now {
                        self.speak(&mut crowd, speaker, spoken, due(spoken), &mut out);
                        (spoken, _) = (spoken + 1, on_the_way.push_back(self.receivers));
                    }
                    due(spoken)
                }
            };
            crowd.net.send(speaker, &out)?;
            out.clear();
            read_all(&mut crowd, wait_until, self.bytes, |id, stamp, now| {
                let heard = &mut next_heard[id];
                if stamp.n != *heard || stamp.from != speaker as u32 {
                    return Err(io::Error::other(format!("guest {id} heard {stamp:?} in place of {heard}")));
                }
                *heard += 1;
                deliveries += 1;
                on_the_way[(stamp.n - first) as usize] -= 1;
                latencies.record(now.saturating_sub(stamp.due)).map_err(io::Error::other)
            })?;
            while on_the_way.front() == Some(&0) {
                on_the_way.pop_front();
                first += 1;
            }
        }
        let (meter, before) = meter.expect("the measurement began before it ended");
        let measured = deliveries - before;
        let cpu = meter.stop(server, &crowd.net, &mut figures)?;
        quantiles(&latencies, &mut figures);
        // Everything that was spoken is heard.
        let until = crowd.net.now() + PATIENCE_NS;
        while deliveries < u64::from(spoken) * self.receivers as u64 {
            if crowd.net.now() > until {
                return Err(io::Error::other(format!("{deliveries} deliveries of {spoken} messages")));
            }
            read_all(&mut crowd, until, self.bytes, |id, stamp, _| {
                if stamp.n != next_heard[id] {
                    return Err(io::Error::other(format!("guest {id} heard {stamp:?} in place of {}", next_heard[id])));
                }
                next_heard[id] += 1;
                deliveries += 1;
                Ok(())
            })?;
        }
        figures.insert("deliveries/s", measured as f64 / (self.measured_ns as f64 / 1e9));
        figures.insert("deliveries/cpu-s", measured as f64 / cpu);
        Ok(figures)
    }

    fn speak(self, crowd: &mut Crowd, speaker: usize, n: u32, due: u64, out: &mut Vec<u8>) {
        let payload = Stamp { from: speaker as u32, n, due }.write(self.bytes);
        crowd.dialect.publish(&mut crowd.guests[speaker], Lane::Reliable, 0, &payload, out);
    }
}
