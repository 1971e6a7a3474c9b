//! The floor: what a relay costs at least. One thread over epoll that checks nothing and writes each message to each
//! member, stream and waiting poll, pre-encoded. `floor PORT` writes it to everybody at once, `floor PORT gather` writes
//! all messages of a turn to a member with one call. It speaks [`rallypoint_bench::dialect::Dialect::Plain`].

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::Ipv4Addr,
    process::ExitCode,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use rallypoint_bench::dialect::ask;
use rallypoint_proof::ws::{self, op};
use sha1::{Digest, Sha1};

const LISTENER: Token = Token(usize::MAX);
/// RFC 6455 section 1.3.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

struct Guest {
    /// None once it has left.
    socket: Option<TcpStream>,
    input: Vec<u8>,
    unsent: Vec<u8>,
    room: Option<usize>,
    /// It comes over plain HTTP.
    spectates: bool,
    dirty: bool,
}

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    streams: Vec<usize>,
    /// Polls that wait.
    polls: Vec<usize>,
    /// Answers with what was said, for polls that come late.
    said: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Server {
    gathers: bool,
    guests: Vec<Guest>,
    rooms: Vec<Room>,
    by_name: HashMap<String, usize>,
    by_number: HashMap<u32, usize>,
    dirty: Vec<usize>,
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().collect();
    let Some(port) = words.get(1).and_then(|word| word.parse().ok()) else {
        eprintln!("usage: floor PORT [gather]");
        return ExitCode::FAILURE;
    };
    let mut server = Server { gathers: words.get(2).is_some_and(|word| word == "gather"), ..Server::default() };
    match server.run(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Server {
    fn run(&mut self, port: u16) -> io::Result<()> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1024);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut scratch = vec![0; 64 * 1024];
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept(&listener, &poll)?;
                    continue;
                }
                let Token(id) = event.token();
                if event.is_writable() {
                    self.flush(id);
                }
                if event.is_readable() {
                    self.read(id, &mut scratch);
                }
            }
            for id in std::mem::take(&mut self.dirty) {
                self.guests[id].dirty = false;
                self.flush(id);
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let mut socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            let id = self.guests.len();
            poll.registry().register(&mut socket, Token(id), Interest::READABLE | Interest::WRITABLE)?;
            self.guests.push(Guest {
                socket: Some(socket),
                input: Vec::new(),
                unsent: Vec::new(),
                room: None,
                spectates: false,
                dirty: false,
            });
        }
    }

    fn read(&mut self, id: usize, scratch: &mut [u8]) {
        loop {
            let Some(socket) = &mut self.guests[id].socket else { return };
            let read = match socket.read(scratch) {
                Ok(0) => return self.leave(id),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.leave(id),
            };
            let mut input = std::mem::take(&mut self.guests[id].input);
            let whole = if input.is_empty() {
                let whole = self.take(id, &scratch[..read]);
                input.extend(&scratch[whole..read]);
                0
            } else {
                input.extend(&scratch[..read]);
                self.take(id, &input)
            };
            input.drain(..whole);
            self.guests[id].input = input;
            if read < scratch.len() {
                return;
            }
        }
    }

    /// Takes in what is whole and returns how much that is.
    fn take(&mut self, id: usize, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.guests[id].room.is_none() {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return 0 };
            at = end + 4;
            self.enter(id, &bytes[..at]);
        }
        if self.guests[id].spectates {
            return at;
        }
        while let Some(frame) = ws::read(&bytes[at..]) {
            let payload = &bytes[at..][frame.payload.clone()];
            at += frame.payload.end;
            // The generator masks with zeros.
            assert_eq!(frame.mask, Some([0; 4]), "clients mask");
            match frame.op {
                op::BINARY => self.message(id, payload),
                op::CLOSE => self.leave(id),
                _ => {}
            }
        }
        at
    }

    fn enter(&mut self, id: usize, head: &[u8]) {
        let head = String::from_utf8_lossy(head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (room, n) = path.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
        if ["events", "poll"].contains(&room) {
            return self.spectate(id, room, n);
        }
        let room = self.room(room);
        self.rooms[room].members.push(id);
        self.by_number.insert(n.parse().unwrap_or_default(), id);
        self.guests[id].room = Some(room);
        let accept = STANDARD.encode(Sha1::digest(KEY));
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        self.send(id, answer.as_bytes());
    }

    fn room(&mut self, name: &str) -> usize {
        let fresh = self.rooms.len();
        let room = *self.by_name.entry(name.to_owned()).or_insert(fresh);
        if room == fresh {
            self.rooms.push(Room::default());
        }
        room
    }

    /// Takes in a stream, or a poll as often as it asks.
    fn spectate(&mut self, id: usize, how: &str, target: &str) {
        self.guests[id].spectates = true;
        let (name, query) = target.split_once('?').unwrap_or((target, ""));
        let room = self.room(name);
        let Room { streams, polls, said, .. } = &mut self.rooms[room];
        if how == "events" {
            streams.push(id);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            return self.send(id, head.as_bytes());
        }
        let after = query.strip_prefix("after=").and_then(|after| after.parse().ok());
        match after.and_then(|after: usize| said.get(after).cloned()) {
            Some(answer) => self.send(id, &answer),
            None => polls.push(id),
        }
    }

    /// Tells what a guest says to those who hear the room over plain HTTP.
    fn say(&mut self, id: usize, text: &[u8]) {
        let Some(room) = self.guests[id].room else { return };
        let text = String::from_utf8_lossy(text);
        let event = format!("data: {text}\n\n");
        let event = format!("{:x}\r\n{event}\r\n", event.len());
        let streams = std::mem::take(&mut self.rooms[room].streams);
        streams.iter().for_each(|&stream| self.send(stream, event.as_bytes()));
        self.rooms[room].streams = streams;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        for poll in std::mem::take(&mut self.rooms[room].polls) {
            self.send(poll, answer.as_bytes());
        }
        self.rooms[room].said.push(answer.into_bytes());
    }

    fn message(&mut self, id: usize, message: &[u8]) {
        let mut frame = Vec::with_capacity(message.len() + 10);
        match message {
            [ask::PUBLISH, payload @ ..] => {
                ws::server_frame(op::BINARY, payload, &mut frame);
                let Some(room) = self.guests[id].room else { return };
                let members = std::mem::take(&mut self.rooms[room].members);
                members.iter().filter(|&&member| member != id).for_each(|&member| self.send(member, &frame));
                self.rooms[room].members = members;
            }
            [ask::CHAT, text @ ..] => self.say(id, text),
            [ask::SIGNAL, a, b, c, d, ..] => {
                ws::server_frame(op::BINARY, message, &mut frame);
                if let Some(&to) = self.by_number.get(&u32::from_le_bytes([*a, *b, *c, *d])) {
                    self.send(to, &frame);
                }
            }
            _ => {
                ws::server_frame(op::BINARY, message, &mut frame);
                self.send(id, &frame);
            }
        }
    }

    fn send(&mut self, id: usize, bytes: &[u8]) {
        let guest = &mut self.guests[id];
        if self.gathers {
            guest.unsent.extend(bytes);
            if !std::mem::replace(&mut guest.dirty, true) {
                self.dirty.push(id);
            }
            return;
        }
        let Some(socket) = &mut guest.socket else { return };
        let sent = if guest.unsent.is_empty() { socket.write(bytes).unwrap_or_default() } else { 0 };
        guest.unsent.extend(&bytes[sent..]);
    }

    fn flush(&mut self, id: usize) {
        let guest = &mut self.guests[id];
        let Some(socket) = &mut guest.socket else { return };
        while !guest.unsent.is_empty() {
            match socket.write(&guest.unsent) {
                Ok(sent) => _ = guest.unsent.drain(..sent),
                Err(_) => return,
            }
        }
    }

    fn leave(&mut self, id: usize) {
        if let Some(room) = self.guests[id].room {
            self.rooms[room].members.retain(|member| *member != id);
        }
        self.guests[id].socket = None;
    }
}
