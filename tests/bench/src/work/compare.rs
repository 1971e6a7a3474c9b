//! The same messages to the same spectators over each transport of this server: what it costs, and how long it takes.

use std::{io, net::Ipv4Addr, time::Duration};

use hdrhistogram::Histogram;
use rallypoint_proof::ws::{self, op};

use super::{
    Figures, Meter,
    feeds::{self, TEXT},
    histogram,
    spectator::{Reply, Spectator, Transport},
};
use crate::{
    crowd::Crowd,
    dialect::Dialect,
    field::Server,
    heard::Heard,
    net::{Id, Net},
};

/// The room.
const ROOM: &str = "stage";
/// Messages in a second.
pub const MESSAGES_PER_SECOND: u64 = 10;
/// How often a spectator polls who does not wait.
const TICK_NS: u64 = 1_000_000_000;
/// Spectators that come in at the same time.
const DOORWAY: usize = 64;
/// Spectators that hear two messages before anything is measured, so that what is made once is not charged.
const FIRST_FEW: usize = 8;
/// From the last spectator to the first message: all polls wait by then, and those that do not wait are in step.
const LEAD_NS: u64 = 1_000_000_000;
/// The look at the server's processor time comes so long before the first message.
const LOOK_NS: u64 = 5_000_000;
/// How long it is listened for messages that nobody should hear; longer than a tick.
const SURPLUS_NS: u64 = 1_100_000_000;
/// How long nothing may happen.
const PATIENCE_NS: u64 = 20_000_000_000;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Compare {
    /// How they hear.
    pub transport: Transport,
    /// How many hear.
    pub spectators: usize,
    /// How much is said.
    pub messages: u32,
}

impl Compare {
    /// Runs it on a server that nobody else uses. It fails unless every spectator hears every message once, in order.
    pub fn run(self, server: &Server) -> io::Result<Figures> {
        let mut speaker = Crowd::new(server.peer.dialect())?;
        speaker.enter(server, [ROOM.to_owned()])?;
        // Nobody who comes later may hear these two.
        let first_two = vec![feeds::text(99_999_998), feeds::text(99_999_999)];
        Audience::enter(self.transport, server, FIRST_FEW, first_two)?.hear_all(&mut speaker)?;
        let before = server.process.quiet_memory(Duration::from_nanos(PATIENCE_NS))?;

        let texts = (0..self.messages).map(feeds::text).collect();
        let mut audience = Audience::enter(self.transport, server, self.spectators, texts)?;
        let mut figures = audience.hear_all(&mut speaker)?;
        let memory = server.process.memory()?.saturating_sub(before) as f64;
        figures.insert("memory KiB", memory / 1024.0 / self.spectators as f64 * 1000.0);
        audience.hear_no_more()?;
        Ok(figures)
    }
}

/// All spectators of a run.
struct Audience<'a> {
    transport: Transport,
    server: &'a Server,
    net: Net,
    spectators: Vec<Spectator>,
    /// What will be said.
    texts: Vec<String>,
    /// When the first of it is due.
    first_due: u64,
    /// How many are in.
    present: usize,
    /// Messages heard, by all of them together.
    heard: usize,
    /// Requests that they have made.
    requests: u64,
    /// When polls that do not wait began, and how many there were.
    ticks: Option<(u64, u64)>,
    latencies: Histogram<u64>,
}

impl<'a> Audience<'a> {
    /// Brings spectators in, a few at a time.
    fn enter(transport: Transport, server: &'a Server, count: usize, texts: Vec<String>) -> io::Result<Self> {
        let mut audience = Self {
            transport,
            server,
            net: Net::new()?,
            spectators: Vec::with_capacity(count),
            texts,
            first_due: u64::MAX,
            present: 0,
            heard: 0,
            requests: 0,
            ticks: None,
            latencies: histogram(),
        };
        let mut until = audience.net.now() + PATIENCE_NS;
        while audience.present < count {
            while audience.spectators.len() < count && audience.spectators.len() < audience.present + DOORWAY {
                audience.open()?;
            }
            let before = audience.present;
            audience.step(until)?;
            let now = audience.net.now();
            if audience.present > before {
                until = now + PATIENCE_NS;
            } else if now >= until {
                return Err(io::Error::other(format!("{} of {count} spectators have come in", audience.present)));
            }
        }
        Ok(audience)
    }

    /// Opens the connection of one more.
    fn open(&mut self) -> io::Result<()> {
        let id = self.net.connect(self.server.address, Ipv4Addr::new(127, 0, 0, 2))?;
        // The speaker is guest 0.
        self.spectators.push(Spectator::new(self.server.token(id + 1)));
        if self.transport.polls() {
            return self.poll(id);
        }
        let token = &self.spectators[id].token;
        let request = match self.transport {
            Transport::WebSocket => Dialect::Rallypoint.upgrade(ROOM, id + 1, token),
            _ => get(&format!("/v1/events?room={ROOM}"), token),
        };
        self.requests += 1;
        self.net.send(id, request.as_bytes())
    }

    /// Asks what there is, or waits for it; the first poll only asks where it is.
    fn poll(&mut self, id: Id) -> io::Result<()> {
        let spectator = &mut self.spectators[id];
        let wait = if self.transport == Transport::ShortPoll || !spectator.is_in { "&wait=0" } else { "" };
        let after = if spectator.is_in { format!("&after={}", spectator.cursor) } else { String::new() };
        let request = get(&format!("/v1/poll?room={ROOM}{after}{wait}"), &spectator.token);
        spectator.asks = true;
        self.requests += 1;
        self.net.send(id, request.as_bytes())
    }

    /// Has everything said at a steady pace, and returns when everybody has heard all of it.
    fn hear_all(&mut self, speaker: &mut Crowd) -> io::Result<Figures> {
        let begin = self.net.now();
        self.first_due = begin + LEAD_NS;
        if self.transport == Transport::ShortPoll {
            self.ticks = Some((begin, 0));
        }
        self.step_until(self.first_due - LOOK_NS)?;
        let meter = Meter::start(self.server, &self.net)?;
        let mut out = Vec::new();
        for n in 0..self.texts.len() {
            self.step_until(due(self.first_due, n))?;
            out.clear();
            speaker.dialect.chat(&mut speaker.guests[0], ROOM, &self.texts[n], &mut out);
            speaker.net.send(0, &out)?;
            speaker.listen(0, |_, _, _| Ok(()))?;
        }
        let (wanted, until) = (self.texts.len() * self.spectators.len(), self.net.now() + PATIENCE_NS);
        while self.heard < wanted {
            if self.net.now() >= until {
                return Err(io::Error::other(format!("{} of {wanted} messages were heard", self.heard)));
            }
            self.step(until)?;
        }
        let mut figures = Figures::new();
        let cpu = meter.stop(self.server, &self.net, &mut figures)?;
        let (read, written) = self.net.traffic();
        figures.extend([
            ("requests", self.requests as f64),
            ("overhead bytes", (read + written) as f64 - (wanted * TEXT) as f64),
            ("min ms", self.latencies.min() as f64 / 1e6),
            ("avg ms", self.latencies.mean() / 1e6),
            ("p99 ms", self.latencies.value_at_quantile(0.99) as f64 / 1e6),
            ("max ms", self.latencies.max() as f64 / 1e6),
            ("cpu ms", cpu * 1e3),
        ]);
        Ok(figures)
    }

    /// Listens for a while; whatever is heard now is too much and fails.
    fn hear_no_more(&mut self) -> io::Result<()> {
        self.step_until(self.net.now() + SURPLUS_NS)
    }

    fn step_until(&mut self, until: u64) -> io::Result<()> {
        while self.net.now() < until {
            self.step(until)?;
        }
        Ok(())
    }

    /// Sends the polls that are due, waits until something has come, `until` at most, and reads and answers it.
    fn step(&mut self, mut until: u64) -> io::Result<()> {
        while let Some((begin, count)) = self.ticks {
            // Spread over the second: each tick is another spectator's.
            let everybody = self.spectators.len() as u64;
            let tick = begin + count * TICK_NS / everybody;
            if tick > self.net.now() {
                until = until.min(tick);
                break;
            }
            self.ticks = Some((begin, count + 1));
            let id = (count % everybody) as Id;
            // Who still waits for an answer leaves a tick out.
            if !self.spectators[id].asks {
                self.poll(id)?;
            }
        }
        let mut to_send = Vec::new();
        let Self { net, spectators, transport, texts, first_due, present, heard, latencies, .. } = self;
        let clock = net.clock();
        net.turn(until, |id, bytes| {
            let fault = |what: String| io::Error::other(format!("spectator {id}: {what}"));
            if bytes.is_empty() {
                return Err(fault("it was dropped".to_owned()));
            }
            let now = clock.now();
            let mut replies = Vec::new();
            let read = spectators[id].read(*transport, bytes, &mut replies, &mut |spectator, what| match what {
                Heard::Begin if spectator.is_in => Err(io::Error::other("it began twice")),
                Heard::Begin => {
                    spectator.is_in = true;
                    *present += 1;
                    Ok(())
                }
                Heard::Text(text) => {
                    let n = spectator.heard;
                    if texts.get(n).is_none_or(|expected| expected.as_bytes() != text) {
                        let text = String::from_utf8_lossy(text);
                        return Err(io::Error::other(format!("it heard {text:?} as message {n} of {}", texts.len())));
                    }
                    spectator.heard += 1;
                    *heard += 1;
                    latencies.record(now.saturating_sub(due(*first_due, n))).map_err(io::Error::other)
                }
            });
            to_send.extend(replies.into_iter().map(|reply| (id, reply)));
            read.map_err(|error| fault(error.to_string()))
        })?;
        let mut out = Vec::new();
        for (id, reply) in to_send {
            out.clear();
            match reply {
                Reply::Poll => self.poll(id)?,
                Reply::Watch => {
                    self.requests += 1;
                    Dialect::Rallypoint.watch(ROOM, &mut out);
                    self.net.send(id, &out)?;
                }
                Reply::Pong(payload) => {
                    ws::client_frame(op::PONG, &payload, &mut out);
                    self.net.send(id, &out)?;
                }
            }
        }
        Ok(())
    }
}

/// When a message is due.
fn due(first: u64, n: usize) -> u64 {
    first + n as u64 * 1_000_000_000 / MESSAGES_PER_SECOND
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n")
}
