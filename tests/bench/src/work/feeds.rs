//! Spectators: one guest speaks, and many hear it as server-sent events or with polls that wait.

use std::{io, net::Ipv4Addr};

use super::{Figures, Meter, WARM_UP_NS, histogram, quantiles};
use crate::{
    crowd::Crowd,
    dialect,
    field::{Peer, Server},
    net::{Id, Net},
};

/// Spectators that come in at the same time.
const DOORWAY: usize = 64;
/// Spectators of one address.
const PER_ADDRESS: usize = 2000;
/// How long nothing may happen.
const PATIENCE_NS: u64 = 20_000_000_000;
/// Bytes of what is said.
pub(crate) const TEXT: usize = 64;
/// Bytes of the mark in it.
const MARK: usize = 10;

/// How spectators hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Server-sent events.
    Events,
    /// Polls that wait.
    Poll,
}

/// How many hear, and how.
#[derive(Clone, Copy, Debug)]
pub struct Feeds {
    /// How.
    pub feed: Feed,
    /// How many.
    pub spectators: usize,
    /// How long it is measured.
    pub measured_ns: u64,
}

/// What is said for the `n`th time; the mark is found wherever the server puts it.
pub(crate) fn text(n: u32) -> String {
    let mut text = format!("#{n:08}.");
    text.extend(std::iter::repeat_n('x', TEXT - MARK));
    text
}

/// A spectator.
#[derive(Clone, Debug, Default)]
struct Spectator {
    /// The number of the next message.
    next: u32,
    /// The head of the stream is here.
    is_open: bool,
    /// Where the next poll goes on.
    cursor: String,
    /// What its requests carry; made once, or the generator would sign more tokens than it reads answers.
    authorization: String,
}

/// All of them, and the one who speaks.
struct Stage<'a> {
    server: &'a Server,
    feed: Feed,
    net: Net,
    spectators: Vec<Spectator>,
    speaker: Speaker,
}

/// Who speaks: a guest, or a back end where there are no guests.
enum Speaker {
    Guest(Box<Crowd>),
    Http(Net),
}

impl Feeds {
    /// Runs it on a server that nobody else uses: the next message goes out when everybody has the last one.
    pub fn run(self, server: &Server) -> io::Result<Figures> {
        let mut stage = Stage::new(server, self.feed)?;
        stage.enter(self.spectators)?;
        let mut figures = Figures::new();
        let mut latencies = histogram();
        let begin = stage.net.now();
        let (measure_from, end) = (begin + WARM_UP_NS, begin + WARM_UP_NS + self.measured_ns);
        let mut meter: Option<(Meter, u32)> = None;
        let mut said = 0;
        while stage.net.now() < end {
            if meter.is_none() && stage.net.now() >= measure_from {
                meter = Some((Meter::start(server, &stage.net)?, said));
                latencies.reset();
            }
            stage.say(said)?;
            let at = stage.net.now();
            stage.hear(said, self.spectators, |now| latencies.record(now - at).map_err(io::Error::other))?;
            said += 1;
        }
        let (meter, before) = meter.ok_or_else(|| io::Error::other("one message took longer than the warm-up"))?;
        let cpu = meter.stop(server, &stage.net, &mut figures)?;
        quantiles(&latencies, &mut figures);
        let deliveries = f64::from(said - before) * self.spectators as f64;
        figures.insert("deliveries/s", deliveries / (self.measured_ns as f64 / 1e9));
        figures.insert("deliveries/cpu-s", deliveries / cpu);
        Ok(figures)
    }
}

/// Resident memory for each spectator who waits.
pub fn idle(server: &Server, feed: Feed, spectators: usize) -> io::Result<Figures> {
    let patience = std::time::Duration::from_secs(60);
    let mut stage = Stage::new(server, feed)?;
    stage.enter(32)?;
    stage.say(0)?;
    stage.hear(0, 32, |_| Ok(()))?;
    let before = server.process.quiet_memory(patience)?;
    let mut crowd = Stage::new(server, feed)?;
    crowd.enter(spectators)?;
    let after = server.process.quiet_memory(patience)?;
    Ok(Figures::from([("bytes", after.saturating_sub(before) as f64 / spectators as f64)]))
}

impl<'a> Stage<'a> {
    fn new(server: &'a Server, feed: Feed) -> io::Result<Self> {
        let speaker = if server.peer == Peer::Nchan {
            let mut net = Net::new()?;
            net.connect(server.address, Ipv4Addr::LOCALHOST)?;
            Speaker::Http(net)
        } else {
            let mut crowd = Crowd::new(server.peer.dialect())?;
            crowd.enter(server, ["stage".to_owned()])?;
            Speaker::Guest(Box::new(crowd))
        };
        Ok(Self { server, feed, net: Net::new()?, spectators: Vec::new(), speaker })
    }

    /// The request of a spectator.
    fn ask(&self, id: Id) -> String {
        let Spectator { cursor, authorization, .. } = &self.spectators[id];
        let (path, more) = match (self.server.peer, self.feed) {
            (Peer::Rallypoint, Feed::Events) => ("/v1/events?room=stage".to_owned(), authorization.as_str()),
            (Peer::Rallypoint, Feed::Poll) if cursor.is_empty() => {
                ("/v1/poll?room=stage&wait=0".to_owned(), authorization.as_str())
            }
            (Peer::Rallypoint, Feed::Poll) => (format!("/v1/poll?room=stage&after={cursor}"), authorization.as_str()),
            (Peer::Nchan, Feed::Events) => ("/events/stage".to_owned(), "accept: text/event-stream\r\n"),
            (Peer::Nchan, Feed::Poll) => ("/poll/stage".to_owned(), cursor.as_str()),
            (_, Feed::Events) => ("/events/stage".to_owned(), ""),
            (_, Feed::Poll) => (format!("/poll/stage?after={cursor}"), ""),
        };
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}\r\n")
    }

    /// Brings spectators in: each hears what is said when this has returned. rallypoint's first answer tells where polls
    /// begin; the others' begin before the first message.
    fn enter(&mut self, count: usize) -> io::Result<()> {
        let wanted = self.subscribers()?.map(|before| before + count);
        let answers_first = self.feed == Feed::Events || self.server.peer == Peer::Rallypoint;
        let mut coming = 0;
        while self.spectators.len() < count || coming > 0 {
            while coming < DOORWAY && self.spectators.len() < count {
                let n = self.spectators.len();
                let from = Ipv4Addr::new(127, 0, 0, 2 + (n / PER_ADDRESS) as u8);
                let id = self.net.connect(self.server.address, from)?;
                let authorization = match self.server.peer {
                    Peer::Rallypoint => format!("authorization: Bearer {}\r\n", self.server.token(id)),
                    _ => String::new(),
                };
                self.spectators.push(Spectator { authorization, ..Spectator::default() });
                let ask = self.ask(id);
                self.net.send(id, ask.as_bytes())?;
                coming += usize::from(answers_first);
            }
            if coming == 0 {
                continue;
            }
            let until = self.net.now() + PATIENCE_NS;
            let mut opened = Vec::new();
            let Self { net, spectators, feed, .. } = self;
            net.turn(until, |id, bytes| {
                if bytes.is_empty() {
                    return Err(io::Error::other("a spectator was turned away"));
                }
                // The first events of a stream come while others still enter.
                if *feed == Feed::Events && spectators[id].is_open {
                    return Ok(bytes.len());
                }
                let Some((status, head)) = dialect::head(bytes)? else { return Ok(0) };
                if status != 200 {
                    return Err(io::Error::other(format!("status {status} for a spectator")));
                }
                let mut whole = head;
                if *feed == Feed::Poll {
                    let Some(end) = body(bytes, head)? else { return Ok(0) };
                    spectators[id].cursor = cursor(&bytes[head..end])?;
                    whole = end;
                }
                spectators[id].is_open = true;
                opened.push(id);
                Ok(whole)
            })?;
            if opened.is_empty() && self.net.now() >= until {
                return Err(io::Error::other(format!("{coming} spectators do not come in")));
            }
            coming -= opened.len();
            if self.feed == Feed::Poll {
                for id in opened {
                    let ask = self.ask(id);
                    self.net.send(id, ask.as_bytes())?;
                }
            }
        }
        // What was asked last may not have been read yet. rallypoint and Bun keep what is said for polls that come late.
        let until = self.net.now() + PATIENCE_NS;
        while self.subscribers()? < wanted {
            if self.net.now() > until {
                return Err(io::Error::other("spectators do not come in"));
            }
        }
        Ok(())
    }

    /// How many hear, as nchan tells its back end: it answers a poll only when something is said, and then it is too late.
    /// Nothing for the others.
    fn subscribers(&mut self) -> io::Result<Option<usize>> {
        let Speaker::Http(net) = &mut self.speaker else { return Ok(None) };
        net.send(0, b"GET /publish/stage HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")?;
        let until = net.now() + PATIENCE_NS;
        let mut told = None;
        while told.is_none() {
            if net.now() > until {
                return Err(io::Error::other("nchan does not tell how many subscribers it has"));
            }
            net.turn(until, |_, bytes| {
                let Some((_, head)) = dialect::head(bytes)? else { return Ok(0) };
                let Some(end) = body(bytes, head)? else { return Ok(0) };
                // There is no channel before its first subscriber.
                let subscribers = header(&bytes[head..end], "active subscribers");
                told = Some(subscribers.and_then(|value| value.parse().ok()).unwrap_or_default());
                Ok(end)
            })?;
        }
        Ok(told)
    }

    fn say(&mut self, n: u32) -> io::Result<()> {
        match &mut self.speaker {
            Speaker::Guest(crowd) => {
                let mut out = Vec::new();
                crowd.dialect.chat(&mut crowd.guests[0], "stage", &text(n), &mut out);
                crowd.net.send(0, &out)?;
                crowd.listen(0, |_, _, _| Ok(()))
            }
            Speaker::Http(net) => {
                let request = format!(
                    "POST /publish/stage HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {TEXT}\r\n\r\n{}",
                    text(n)
                );
                net.send(0, request.as_bytes())?;
                net.turn(0, |_, bytes| Ok(bytes.len()))
            }
        }
    }

    /// Waits until everybody has heard the message with this number, and nothing else.
    fn hear(&mut self, n: u32, count: usize, mut heard: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
        let mut left = count;
        let until = self.net.now() + PATIENCE_NS;
        let mut again = Vec::new();
        while left > 0 {
            if self.net.now() > until {
                return Err(io::Error::other(format!("{left} spectators have not heard message {n}")));
            }
            let Self { net, spectators, feed, server, .. } = self;
            let clock = net.clock();
            net.turn(until, |id, bytes| {
                if bytes.is_empty() {
                    return Err(io::Error::other(format!("spectator {id} was dropped")));
                }
                let spectator = &mut spectators[id];
                let mut note = |mark: &[u8]| {
                    let number = std::str::from_utf8(&mark[1..9]).ok().and_then(|digits| digits.parse().ok());
                    if number != Some(n) || spectator.next != n {
                        return Err(io::Error::other(format!("spectator {id} heard {number:?} in place of {n}")));
                    }
                    spectator.next += 1;
                    left -= 1;
                    heard(clock.now())
                };
                match feed {
                    Feed::Events => {
                        let mut at = 0;
                        while let Some(mark) = memchr::memchr(b'#', &bytes[at..]) {
                            let Some(whole) = bytes.get(at + mark..at + mark + MARK) else { return Ok(at + mark) };
                            note(whole)?;
                            at += mark + MARK;
                        }
                        Ok(bytes.len())
                    }
                    Feed::Poll => {
                        let Some((status, head)) = dialect::head(bytes)? else { return Ok(0) };
                        let Some(end) = body(bytes, head)? else { return Ok(0) };
                        if status != 200 {
                            return Err(io::Error::other(format!("status {status} for a poll")));
                        }
                        let mark = memchr::memchr(b'#', &bytes[head..end]).map(|at| head + at);
                        let mark = mark.and_then(|at| bytes.get(at..at + MARK));
                        note(mark.ok_or_else(|| io::Error::other("a poll that tells nothing"))?)?;
                        spectator.cursor = match server.peer {
                            Peer::Rallypoint => cursor(&bytes[head..end])?,
                            Peer::Nchan => validators(&bytes[..head]),
                            _ => (n + 1).to_string(),
                        };
                        again.push(id);
                        Ok(end)
                    }
                }
            })?;
            for id in std::mem::take(&mut again) {
                let ask = self.ask(id);
                self.net.send(id, ask.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Where the body that `content-length` tells of ends, once all of it is there.
pub(crate) fn body(bytes: &[u8], head: usize) -> io::Result<Option<usize>> {
    let length = header(&bytes[..head], "content-length").and_then(|value| value.parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other("an answer without content-length"))?;
    Ok(Some(head + length).filter(|end| *end <= bytes.len()))
}

pub(crate) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The cursor in an answer of rallypoint, as a query takes it.
pub(crate) fn cursor(body: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(body).map_err(io::Error::other)?;
    let (_, rest) = text.split_once("\"cursor\":\"").ok_or_else(|| io::Error::other("an answer without a cursor"))?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

/// How nchan's next poll says where it goes on.
fn validators(head: &[u8]) -> String {
    let of = |name| header(head, name).unwrap_or_default();
    format!("if-modified-since: {}\r\nif-none-match: {}\r\n", of("last-modified"), of("etag"))
}
