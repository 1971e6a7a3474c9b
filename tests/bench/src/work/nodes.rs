//! Two nodes on one Redis: what is said on the first is heard on the second, next to what Redis takes by itself for a
//! message from one connection to another.

use std::{io, net::Ipv4Addr, time::Duration};

use hdrhistogram::Histogram;

use super::{
    Figures, WARM_UP_NS,
    feeds::{body, text},
    histogram, quantiles,
};
use crate::{
    crowd::Crowd,
    dialect::{self, Said},
    engine::{Answer, Engine, Used, answer, command},
    field::Server,
    net::Net,
};

/// How long it is the one's turn, and then the other's: what disturbs the machine for longer disturbs both.
const SLICE_NS: u64 = 50_000_000;
/// How long the engine is looked at while nobody does anything.
const IDLE: Duration = Duration::from_secs(1);
/// How long nothing may happen.
const PATIENCE_NS: u64 = 20_000_000_000;
/// Events of a log that is replayed.
const REPLAYED: usize = 100;
/// Rooms whose logs are filled at the same time.
const FILLED: usize = 16;
/// Replays before the measurement.
const WARM_UP: usize = 5;

/// Events from a member on the first node to one on the second, and bare messages over the same Redis, in turn. The next
/// one goes out when everybody has the last one. Guests sleep here while they wait: to be woken is a large part of both
/// ways, and would be left out of one half of the one and of a quarter of the other.
pub fn events(server: &Server, measured_ns: u64) -> io::Result<Figures> {
    let engine = &server.site()?.engine;
    let mut pair = Pair::open(server)?;
    let mut bare = Bare::open(engine)?;
    let idle = idle(engine)?;
    let (mut events, mut messages) = (histogram(), histogram());
    pair.run(WARM_UP_NS, &mut events)?;
    bare.run(WARM_UP_NS, &mut messages)?;
    events.reset();
    messages.reset();
    let mut used = Used::default();
    for _ in 0..measured_ns / (2 * SLICE_NS) {
        used.by(engine, || pair.run(SLICE_NS, &mut events))?;
        bare.run(SLICE_NS, &mut messages)?;
    }
    let mut figures = Figures::new();
    quantiles(&events, &mut figures);
    let (ours, theirs) = (events.value_at_quantile(0.5) as f64, messages.value_at_quantile(0.5) as f64);
    figures.insert("PUBLISH p50 ms", theirs / 1e6);
    figures.insert("times PUBLISH", ours / theirs);
    figures.insert("engine us/event", used.us_for_each(idle, events.len() as usize));
    Ok(figures)
}

/// How long it takes a spectator to get 100 events that are only in the engine.
///
/// A node answers from its memory for every room that it has open, so a spectator of such a room says nothing about the
/// engine. Here the members are on the first node, and the spectator polls on the second, which has none of these rooms
/// open: it begins to listen to the room's channel, reads log and roster, and answers with all that is kept.
pub fn replay(server: &Server, rooms: usize) -> io::Result<Figures> {
    let site = server.site()?;
    let _members = fill(server, rooms + WARM_UP)?;
    let idle = idle(&site.engine)?;
    let mut net = Net::new()?;
    net.connect(site.second.address, Ipv4Addr::LOCALHOST)?;
    net.sleep();
    let token = server.token(rooms + WARM_UP);
    let mut latencies = histogram();
    let mut poll = |n: usize| {
        let ask = format!(
            "GET /v1/poll?room={}&after=0&wait=0 HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n",
            room(n)
        );
        let at = net.now();
        net.send(0, ask.as_bytes())?;
        let mut heard = None;
        while heard.is_none() {
            if net.now() > at + PATIENCE_NS {
                return Err(io::Error::other("a poll is not answered"));
            }
            net.turn(at + PATIENCE_NS, |_, bytes| {
                let Some((status, head)) = dialect::head(bytes)? else { return Ok(0) };
                let Some(end) = body(bytes, head)? else { return Ok(0) };
                if status != 200 {
                    return Err(io::Error::other(format!("status {status} for a poll")));
                }
                heard = Some(memchr::memchr_iter(b'#', &bytes[head..end]).count());
                Ok(end)
            })?;
        }
        if heard != Some(REPLAYED) {
            return Err(io::Error::other(format!("{heard:?} events of {REPLAYED} were replayed")));
        }
        Ok(net.now() - at)
    };
    (0..WARM_UP).try_for_each(|n| poll(n).map(drop))?;
    let mut used = Used::default();
    used.by(&site.engine, || {
        (WARM_UP..WARM_UP + rooms).try_for_each(|n| latencies.record(poll(n)?).map_err(io::Error::other))
    })?;
    let mut figures = Figures::new();
    quantiles(&latencies, &mut figures);
    figures.insert("engine us/replay", used.us_for_each(idle, rooms));
    Ok(figures)
}

/// What the engine uses while nodes and guests are there and silent.
fn idle(engine: &Engine) -> io::Result<Used> {
    let mut used = Used::default();
    used.by(engine, || {
        std::thread::sleep(IDLE);
        Ok(())
    })?;
    Ok(used)
}

fn room(n: usize) -> String {
    format!("replayed-{n}")
}

/// A member of each room on the first node, which has said all that is to be replayed.
fn fill(server: &Server, rooms: usize) -> io::Result<Crowd> {
    let mut crowd = Crowd::new(server.peer.dialect())?;
    crowd.enter(server, (0..rooms).map(room))?;
    let mut heard = vec![0; rooms];
    let mut out = Vec::new();
    for first in (0..rooms).step_by(FILLED) {
        let some = first..rooms.min(first + FILLED);
        for id in some.clone() {
            out.clear();
            for n in 0..REPLAYED {
                crowd.dialect.event(&mut crowd.guests[id], &room(id), &text(n as u32), &mut out);
            }
            crowd.net.send(id, &out)?;
        }
        let until = crowd.net.now() + PATIENCE_NS;
        while heard[some.clone()].iter().any(|&heard| heard < REPLAYED) {
            if crowd.net.now() > until {
                return Err(io::Error::other("events are not told"));
            }
            crowd.listen(until, |id, said, _| {
                heard[id] += usize::from(matches!(said, Said::Event(_)));
                Ok(())
            })?;
        }
    }
    Ok(crowd)
}

/// A member of a room on each node; the first one speaks.
struct Pair {
    crowd: Crowd,
    said: u32,
}

impl Pair {
    fn open(server: &Server) -> io::Result<Self> {
        let mut crowd = Crowd::new(server.peer.dialect())?;
        for node in [server, &*server.site()?.second] {
            crowd.enter(node, ["stage".to_owned()])?;
        }
        crowd.net.sleep();
        Ok(Self { crowd, said: 0 })
    }

    /// Speaks for a while, and records how long it took until the second member heard it.
    fn run(&mut self, for_ns: u64, latencies: &mut Histogram<u64>) -> io::Result<()> {
        let end = self.crowd.net.now() + for_ns;
        while self.crowd.net.now() < end {
            let said = text(self.said);
            self.said += 1;
            let mut out = Vec::new();
            self.crowd.dialect.event(&mut self.crowd.guests[0], "stage", &said, &mut out);
            let at = self.crowd.net.now();
            self.crowd.net.send(0, &out)?;
            let mut heard = [None; 2];
            while heard.contains(&None) {
                if self.crowd.net.now() > at + PATIENCE_NS {
                    return Err(io::Error::other(format!("event {} is not heard", self.said)));
                }
                self.crowd.listen(at + PATIENCE_NS, |id, what, now| {
                    let Said::Event(frame) = what else { return Ok(()) };
                    let is_it = memchr::memmem::find(frame, said.as_bytes()).is_some();
                    if !is_it || heard[id].replace(now).is_some() {
                        return Err(io::Error::other(format!("guest {id} heard something else")));
                    }
                    Ok(())
                })?;
            }
            latencies.record(heard[1].unwrap_or_default() - at).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Two connections to Redis: the first one publishes, the second one has subscribed.
struct Bare {
    net: Net,
    said: u32,
}

impl Bare {
    fn open(engine: &Engine) -> io::Result<Self> {
        let mut net = Net::new()?;
        for _ in 0..2 {
            net.connect(engine.address, Ipv4Addr::LOCALHOST)?;
        }
        net.sleep();
        net.send(1, &command(&[b"SUBSCRIBE", b"stage"]))?;
        let mut is_there = false;
        while !is_there {
            net.turn(u64::MAX, |_, bytes| {
                let read = answer(bytes)?;
                is_there |= read.is_some();
                Ok(read.map_or(0, |(_, length)| length))
            })?;
        }
        Ok(Self { net, said: 0 })
    }

    /// Publishes for a while, and records how long it took until the subscriber had it.
    fn run(&mut self, for_ns: u64, latencies: &mut Histogram<u64>) -> io::Result<()> {
        let end = self.net.now() + for_ns;
        let clock = self.net.clock();
        while self.net.now() < end {
            let said = text(self.said);
            self.said += 1;
            let publish = command(&[b"PUBLISH", b"stage", said.as_bytes()]);
            let wanted = [
                Answer::Number(1),
                Answer::List(vec![Answer::Text(b"message"), Answer::Text(b"stage"), Answer::Text(said.as_bytes())]),
            ];
            let at = self.net.now();
            self.net.send(0, &publish)?;
            let mut heard = [None; 2];
            while heard.contains(&None) {
                if self.net.now() > at + PATIENCE_NS {
                    return Err(io::Error::other(format!("message {} is not heard", self.said)));
                }
                self.net.turn(at + PATIENCE_NS, |id, bytes| {
                    let Some((what, length)) = answer(bytes)? else {
                        return if bytes.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(0) };
                    };
                    if what != wanted[id] || heard[id].replace(clock.now()).is_some() {
                        return Err(io::Error::other(format!("connection {id} heard {what:?}")));
                    }
                    Ok(length)
                })?;
            }
            latencies.record(heard[1].unwrap_or_default() - at).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
