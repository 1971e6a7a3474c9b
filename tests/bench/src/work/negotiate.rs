//! Pairs that negotiate WebRTC calls: an offer, an answer, and candidates both ways, over and over.

use std::io;

use super::{Figures, Meter, WARM_UP_NS, histogram, quantiles};
use crate::{
    crowd::Crowd,
    dialect::{Said, Step},
    field::Server,
};

/// Bytes of an offer or answer, and of a candidate.
const DESCRIPTION: usize = 2500;
const CANDIDATE: usize = 150;
/// Candidates of each side.
const CANDIDATES: u32 = 8;

/// How many pairs negotiate at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Negotiate {
    /// Pairs, each in a room of its own.
    pub pairs: usize,
    /// How long it is measured.
    pub measured_ns: u64,
}

/// Where a pair is in its negotiation.
#[derive(Clone, Copy, Default)]
struct Pair {
    number: u32,
    began: u64,
    /// Signals that the one who offered and the one who answers have got.
    got: [u32; 2],
}

impl Negotiate {
    /// Runs it on a server that nobody else uses.
    pub fn run(self, server: &Server) -> io::Result<Figures> {
        let mut crowd = Crowd::new(server.peer.dialect())?;
        crowd.enter(server, (0..2 * self.pairs).map(|n| format!("call-{}", n / 2)))?;
        let mut pairs = vec![Pair::default(); self.pairs];
        let mut latencies = histogram();
        let mut figures = Figures::new();
        let mut meter: Option<(Meter, u64)> = None;
        let mut negotiated = 0;
        let begin = crowd.net.now();
        let (measure_from, end) = (begin + WARM_UP_NS, begin + WARM_UP_NS + self.measured_ns);
        for pair in 0..self.pairs {
            pairs[pair].began = crowd.net.now();
            say(&mut crowd, 2 * pair, Step::Offer, 0)?;
        }
        let mut to_say = Vec::new();
        loop {
            let now = crowd.net.now();
            if meter.is_none() && now >= measure_from {
                meter = Some((Meter::start(server, &crowd.net)?, negotiated));
                latencies.reset();
            }
            if now >= end {
                break;
            }
            let until = if meter.is_none() { measure_from } else { end };
            crowd.listen(until, |id, said, now| {
                let Said::Signal(signal) = said else { return Ok(()) };
                let pair = &mut pairs[id / 2];
                let got = &mut pair.got[id % 2];
                if number(signal) != Some((pair.number, *got)) {
                    return Err(io::Error::other(format!("guest {id} got another signal than {got}")));
                }
                *got += 1;
                if id % 2 == 1 && *got == 1 {
                    to_say.push((id, Step::Answer, pair.number));
                }
                if pair.got == [CANDIDATES + 1; 2] {
                    latencies.record(now - pair.began).map_err(io::Error::other)?;
                    negotiated += 1;
                    *pair = Pair { number: pair.number + 1, began: now, got: [0; 2] };
                    to_say.push((id - id % 2, Step::Offer, pair.number));
                }
                Ok(())
            })?;
            for (id, step, number) in to_say.drain(..) {
                say(&mut crowd, id, step, number)?;
            }
        }
        let (meter, before) = meter.expect("the measurement began before it ended");
        let cpu = meter.stop(server, &crowd.net, &mut figures)?;
        quantiles(&latencies, &mut figures);
        figures.insert("negotiations/s", (negotiated - before) as f64 / (self.measured_ns as f64 / 1e9));
        figures.insert("negotiations/cpu-s", (negotiated - before) as f64 / cpu);
        Ok(figures)
    }
}

/// A description and the candidates: each a message of its own, all of them in one write, as a host's candidates are
/// found within a moment.
fn say(crowd: &mut Crowd, id: usize, description: Step, number: u32) -> io::Result<()> {
    let to = crowd.guests[id ^ 1].clone();
    let room = crowd.room(id).to_owned();
    let mut out = Vec::new();
    for n in 0..=CANDIDATES {
        let (step, length) = if n == 0 { (description, DESCRIPTION) } else { (Step::Candidate, CANDIDATE) };
        let mut text = format!("#{number:08}.{n}.");
        text.extend(std::iter::repeat_n('x', length - text.len()));
        crowd.dialect.signal(&mut crowd.guests[id], &room, &to, step, &text, &mut out);
    }
    crowd.net.send(id, &out)
}

/// Which negotiation a signal belongs to, and which of its side's signals it is.
fn number(signal: &[u8]) -> Option<(u32, u32)> {
    let at = signal.iter().position(|byte| *byte == b'#')?;
    let text = std::str::from_utf8(signal.get(at + 1..at + 11)?).ok()?;
    let (number, n) = text.split_once('.')?;
    Some((number.parse().ok()?, n.trim_end_matches('.').parse().ok()?))
}
