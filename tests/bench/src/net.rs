//! Sockets of one thread over epoll: connections that are written to at once and read when something has come.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use socket2::{Domain, SockRef, Socket, Type};

/// Room for one read. What is incomplete at its end waits in its connection.
const SCRATCH: usize = 256 * 1024;
/// A wait goes on after that.
const LONGEST_SLEEP_NS: u64 = 1_000_000_000;

/// One connection.
struct Link {
    /// None once it is closed.
    socket: Option<TcpStream>,
    /// The beginning of something whose end has not come.
    rest: Vec<u8>,
    /// What the kernel did not take.
    unsent: Vec<u8>,
}

/// All connections of the generator.
pub struct Net {
    poll: Poll,
    events: Events,
    links: Vec<Link>,
    scratch: Vec<u8>,
    clock: Clock,
    sleeps: bool,
    /// Time spent waiting for something to happen.
    idle: Duration,
    /// Bytes read and written.
    traffic: (u64, u64),
}

/// Nanoseconds since the connections began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// The time.
    pub fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// Which connection.
pub type Id = usize;

impl Net {
    /// No connection yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            links: Vec::new(),
            scratch: vec![0; SCRATCH],
            clock: Clock(Instant::now()),
            sleeps: false,
            idle: Duration::ZERO,
            traffic: (0, 0),
        })
    }

    /// From now on it sleeps while it waits, as every other program does, and has to be woken.
    pub fn sleep(&mut self) {
        self.sleeps = true;
    }

    /// Nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// The clock of the connections.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Time spent waiting so far: what is missing to the time that passed is load.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// Bytes read and written so far.
    pub fn traffic(&self) -> (u64, u64) {
        self.traffic
    }

    /// Opens a connection from an address of the loopback network; each has about 28 000 ports.
    pub fn connect(&mut self, to: SocketAddr, from: Ipv4Addr) -> io::Result<Id> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::V4(SocketAddrV4::new(from, 0)).into())?;
        socket.connect(&to.into())?;
        socket.set_tcp_nodelay(true)?;
        // Thousands end at once: with a reset none of their ports waits for minutes.
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket.into());
        let id = self.links.len();
        self.poll.registry().register(&mut socket, Token(id), Interest::READABLE | Interest::WRITABLE)?;
        self.links.push(Link { socket: Some(socket), rest: Vec::new(), unsent: Vec::new() });
        Ok(id)
    }

    /// Writes now what the kernel takes, and the rest when it can.
    pub fn send(&mut self, id: Id, bytes: &[u8]) -> io::Result<()> {
        let link = &mut self.links[id];
        let Some(socket) = &mut link.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        let sent = if link.unsent.is_empty() { write(socket, bytes)? } else { 0 };
        // Whoever has spoken is taken for one half of a dialogue, and the kernel acknowledges what it hears while it is the
        // other's turn: on loopback, on the server's account. Guests elsewhere acknowledge on their own.
        rustix::net::sockopt::set_tcp_quickack(&*socket, true)?;
        self.traffic.1 += sent as u64;
        link.unsent.extend(&bytes[sent..]);
        Ok(())
    }

    /// Whether anything waits for the kernel.
    pub fn is_stuck(&self, id: Id) -> bool {
        !self.links[id].unsent.is_empty()
    }

    /// Closes a connection.
    pub fn close(&mut self, id: Id) {
        self.links[id].socket = None;
    }

    /// Closes all connections and forgets them.
    pub fn clear(&mut self) {
        self.links.clear();
    }

    /// Waits until something has come, `until` at most, and gives `take` what came, connection by connection; it
    /// returns how many bytes of it were whole. An empty slice is the end of a connection.
    pub fn turn(&mut self, until: u64, mut take: impl FnMut(Id, &[u8]) -> io::Result<usize>) -> io::Result<()> {
        // It looks again and again and never sleeps, unless it is told to. To wake another processor up is the dearest part of a write on
        // loopback, and a server whose guests are elsewhere has nothing to do with it.
        let begin = Instant::now();
        loop {
            let looked = begin.elapsed();
            let patience = if self.sleeps { until.saturating_sub(self.now()).min(LONGEST_SLEEP_NS) } else { 0 };
            self.poll.poll(&mut self.events, Some(Duration::from_nanos(patience))).or_else(ignore_interruption)?;
            if !self.events.is_empty() || self.now() >= until {
                self.idle += looked;
                break;
            }
        }
        for event in &self.events {
            let Token(id) = event.token();
            let link = &mut self.links[id];
            let Some(socket) = &mut link.socket else { continue };
            if event.is_writable() && !link.unsent.is_empty() {
                let sent = write(socket, &link.unsent)?;
                self.traffic.1 += sent as u64;
                link.unsent.drain(..sent);
            }
            if !event.is_readable() {
                continue;
            }
            loop {
                let before = link.rest.len();
                if self.scratch.len() < before + SCRATCH / 2 {
                    self.scratch.resize(before + SCRATCH, 0);
                }
                self.scratch[..before].copy_from_slice(&link.rest);
                let room = self.scratch.len() - before;
                match socket.read(&mut self.scratch[before..]) {
                    Ok(0) => {
                        link.socket = None;
                        take(id, &[])?;
                        break;
                    }
                    Ok(read) => {
                        self.traffic.0 += read as u64;
                        let whole = take(id, &self.scratch[..before + read])?;
                        link.rest.clear();
                        link.rest.extend(&self.scratch[whole..before + read]);
                        // Edge-triggered: a read that was not filled has emptied the socket, unless its end has come.
                        if read < room && !event.is_read_closed() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => {
                        link.socket = None;
                        take(id, &[])?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

fn write(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => sent += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

fn ignore_interruption(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
