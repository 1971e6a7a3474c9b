//! Guests of one server: they come in a few at a time, and then say and hear what a workload has them say and hear.

use std::{io, net::Ipv4Addr};

use rallypoint_proof::ws;

use crate::{
    dialect::{self, Dialect, Guest, Said},
    field::Server,
    net::{Id, Net},
};

/// Guests that come in at the same time.
const DOORWAY: usize = 64;
/// Guests of one address.
const PER_ADDRESS: usize = 2000;
/// How long nothing may happen while guests come in.
const PATIENCE_NS: u64 = 20_000_000_000;

/// A client acknowledges after so many counted messages, the first time after fewer: `protocol/README.md`, section 8.
const ACKNOWLEDGE: u64 = 128;

/// How far a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of the answer has not come.
    Opening,
    /// The WebSocket is open.
    Entering,
    In,
}

/// The guests of a server.
pub struct Crowd {
    /// Their connections.
    pub net: Net,
    /// How the server is spoken to.
    pub dialect: Dialect,
    /// By connection.
    pub guests: Vec<Guest>,
    rooms: Vec<String>,
    phases: Vec<Phase>,
    /// Who has to acknowledge.
    due: Vec<Id>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(dialect: Dialect) -> io::Result<Self> {
        Ok(Self {
            net: Net::new()?,
            dialect,
            guests: Vec::new(),
            rooms: Vec::new(),
            phases: Vec::new(),
            due: Vec::new(),
        })
    }

    /// The room of a guest.
    pub fn room(&self, id: Id) -> &str {
        &self.rooms[id]
    }

    /// Brings guests in, one for each of these rooms, and returns when all are there.
    pub fn enter(&mut self, server: &Server, rooms: impl IntoIterator<Item = String>) -> io::Result<()> {
        let mut rooms = rooms.into_iter().peekable();
        let mut coming = 0;
        let mut out = Vec::new();
        while coming > 0 || rooms.peek().is_some() {
            while coming < DOORWAY
                && let Some(room) = rooms.next()
            {
                let n = self.guests.len();
                let from = Ipv4Addr::new(127, 0, 0, u8::try_from(2 + n / PER_ADDRESS).map_err(io::Error::other)?);
                let id = self.net.connect(server.address, from)?;
                self.net.send(id, self.dialect.upgrade(&room, n, &server.token(n)).as_bytes())?;
                self.guests.push(Guest { n, name: self.dialect.name(n), ..Guest::default() });
                self.rooms.push(room);
                self.phases.push(Phase::Opening);
                coming += 1;
            }
            let until = self.net.now() + PATIENCE_NS;
            let (mut moved, mut opened) = (false, Vec::new());
            let Self { net, dialect, guests, phases, .. } = self;
            net.turn(until, |id, bytes| {
                moved = true;
                let mut at = 0;
                if phases[id] == Phase::Opening {
                    match dialect::head(bytes)? {
                        Some((101, end)) => at = end,
                        Some((status, _)) => return Err(io::Error::other(format!("status {status} for a WebSocket"))),
                        None if bytes.is_empty() => return Err(io::Error::other("a guest was turned away")),
                        None => return Ok(0),
                    }
                    phases[id] = Phase::Entering;
                    opened.push(id);
                    if dialect.enters_silently() {
                        phases[id] = Phase::In;
                        coming -= 1;
                    }
                }
                let whole = frames(*dialect, &bytes[at..], |said| {
                    match said {
                        Said::Entered(handle, name) => {
                            guests[id].handle = handle;
                            if !name.is_empty() {
                                guests[id].name = name;
                            }
                            phases[id] = Phase::In;
                            coming -= 1;
                        }
                        Said::Wrong(what) => return Err(io::Error::other(what)),
                        _ => {}
                    }
                    Ok(())
                })?;
                Ok(at + whole)
            })?;
            if !moved && self.net.now() >= until {
                return Err(io::Error::other(format!("{coming} guests do not come in")));
            }
            for id in opened {
                out.clear();
                self.dialect.enter(&self.rooms[id], &mut self.guests[id], &mut out);
                self.net.send(id, &out)?;
            }
        }
        Ok(())
    }
}

impl Crowd {
    /// Waits until something has come, `until` at most, and gives all of it to `each` with the time at which it was
    /// read. Guests acknowledge as clients do.
    pub fn listen(&mut self, until: u64, mut each: impl FnMut(Id, Said<'_>, u64) -> io::Result<()>) -> io::Result<()> {
        let Self { net, dialect, guests, due, .. } = self;
        let clock = net.clock();
        net.turn(until, |id, bytes| {
            if bytes.is_empty() {
                return Err(io::Error::other(format!("guest {id} was dropped")));
            }
            let now = clock.now();
            frames(*dialect, bytes, |said| {
                match said {
                    Said::Wrong(what) => return Err(io::Error::other(format!("guest {id}: {what}"))),
                    Said::Delivery(_, true) | Said::Signal(_) => {
                        guests[id].counted += 1;
                        if (guests[id].counted + id as u64).is_multiple_of(ACKNOWLEDGE) {
                            due.push(id);
                        }
                    }
                    _ => {}
                }
                each(id, said, now)
            })
        })?;
        let mut out = Vec::new();
        for id in std::mem::take(&mut self.due) {
            out.clear();
            self.dialect.acknowledge(&self.guests[id], &mut out);
            self.net.send(id, &out)?;
        }
        Ok(())
    }
}

/// Reads the whole frames in `bytes` and returns how long they are.
pub fn frames(dialect: Dialect, bytes: &[u8], mut each: impl FnMut(Said<'_>) -> io::Result<()>) -> io::Result<usize> {
    let mut at = 0;
    while let Some(frame) = ws::read(&bytes[at..]) {
        let payload = &bytes[at..][frame.payload.clone()];
        at += frame.payload.end;
        if frame.op == ws::op::CLOSE {
            let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
            return Err(io::Error::other(format!("the server closed with {code}")));
        }
        each(dialect.read(frame.op, payload))?;
    }
    Ok(at)
}
