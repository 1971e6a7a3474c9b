//! Small ones: round trips, handshakes, joins, and what the idle cost.

use std::{io, net::Ipv4Addr, time::Duration};

use super::{Figures, Meter, WARM_UP_NS, histogram, quantiles};
use crate::{
    crowd::{Crowd, frames},
    dialect::{self, Said},
    field::Server,
    net::Net,
};

/// Handshakes at the same time.
const DOORWAY: usize = 32;
/// How long a server may take until it does nothing more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Round trips of one guest, one after the other.
pub fn pings(server: &Server, measured_ns: u64) -> io::Result<Figures> {
    let mut crowd = Crowd::new(server.peer.dialect())?;
    crowd.enter(server, ["ping".to_owned()])?;
    let mut latencies = histogram();
    let mut figures = Figures::new();
    let begin = crowd.net.now();
    let end = begin + WARM_UP_NS + measured_ns;
    let mut out = Vec::new();
    let mut is_warm = false;
    while crowd.net.now() < end {
        if !is_warm && crowd.net.now() >= begin + WARM_UP_NS {
            is_warm = true;
            latencies.reset();
        }
        out.clear();
        crowd.dialect.ping(&mut crowd.guests[0], &mut out);
        let sent = crowd.net.now();
        crowd.net.send(0, &out)?;
        let mut came = None;
        while came.is_none() {
            // Without sleeping: to be woken costs as much as the round trip.
            crowd.listen(0, |_, said, now| {
                if said == Said::Pong {
                    came = Some(now);
                }
                Ok(())
            })?;
            if crowd.net.now() > sent + 5_000_000_000 {
                return Err(io::Error::other("a ping without an answer"));
            }
        }
        latencies.record(came.unwrap_or_default() - sent).map_err(io::Error::other)?;
    }
    quantiles(&latencies, &mut figures);
    Ok(figures)
}

/// Connections that open, show their token and are greeted, as when all guests come back after a failure. They stay.
pub fn handshakes(server: &Server, guests: usize) -> io::Result<Figures> {
    let mut net = Net::new()?;
    let mut figures = Figures::new();
    // What is made once is not charged to them.
    let warm = guests / 10;
    let tokens: Vec<_> = (0..warm + guests).map(|n| server.token(n)).collect();
    let dialect = server.peer.dialect();
    let (mut coming, mut greeted, mut meter) = (0, 0, None);
    // By connection.
    let mut is_in = Vec::new();
    while greeted < tokens.len() {
        if meter.is_none() && greeted >= warm {
            meter = Some((Meter::start(server, &net)?, greeted));
        }
        while coming < DOORWAY && greeted + coming < tokens.len() {
            let n = greeted + coming;
            let id = net.connect(server.address, Ipv4Addr::new(127, 0, 0, 2 + (n % 32) as u8))?;
            net.send(id, dialect.upgrade("door", n, &tokens[n]).as_bytes())?;
            is_in.push(false);
            coming += 1;
        }
        let until = net.now() + PATIENCE.as_nanos() as u64;
        let before = greeted;
        net.turn(until, |id, bytes| {
            if is_in[id] {
                return Ok(bytes.len());
            }
            let Some((status, head)) = dialect::head(bytes)? else {
                return if bytes.is_empty() { Err(io::Error::other("turned away")) } else { Ok(0) };
            };
            if status != 101 {
                return Err(io::Error::other(format!("status {status} for a WebSocket")));
            }
            let mut is_greeted = dialect.enters_silently();
            let read = frames(dialect, &bytes[head..], |_| {
                is_greeted = true;
                Ok(())
            })?;
            if !is_greeted {
                return Ok(0);
            }
            is_in[id] = true;
            (greeted, coming) = (greeted + 1, coming - 1);
            Ok(head + read)
        })?;
        if greeted == before && net.now() >= until {
            return Err(io::Error::other(format!("{coming} guests are not greeted")));
        }
    }
    let (meter, before) = meter.ok_or_else(|| io::Error::other("there was nobody to measure"))?;
    let cpu = meter.stop(server, &net, &mut figures)?;
    figures.insert("handshakes/cpu-s", (greeted - before) as f64 / cpu);
    Ok(figures)
}

/// What it costs that many join one room, and how many times that of a fifth of them; the handshakes included.
pub fn joins(server: &Server, guests: usize) -> io::Result<Figures> {
    let cost = |room: &str, guests: usize| {
        let mut crowd = Crowd::new(server.peer.dialect())?;
        let before = server.process.cpu()?;
        crowd.enter(server, (0..guests).map(|_| room.to_owned()))?;
        io::Result::Ok((server.process.cpu()? - before).as_secs_f64())
    };
    // What is made once is not charged to the first room.
    cost("warm", guests / 50)?;
    let (few, many) = (cost("few", guests / 5)?, cost("many", guests)?);
    Ok(Figures::from([("cpu-s", many), ("times a fifth", many / few)]))
}

/// Resident memory for each idle WebSocket that joined a room of ten.
pub fn idle(server: &Server, guests: usize) -> io::Result<Figures> {
    let room = |n: usize| format!("idle-{}", n / 10);
    let mut warm = Crowd::new(server.peer.dialect())?;
    warm.enter(server, (0..32).map(room))?;
    warm.net.clear();
    let before = server.process.quiet_memory(PATIENCE)?;
    let mut crowd = Crowd::new(server.peer.dialect())?;
    crowd.enter(server, (0..guests).map(|n| room(n + 1000)))?;
    let after = server.process.quiet_memory(PATIENCE)?;
    let each = after.saturating_sub(before) as f64 / guests as f64;
    Ok(Figures::from([
        ("bytes", each),
        ("before MiB", before as f64 / 1048576.0),
        ("after MiB", after as f64 / 1048576.0),
    ]))
}
