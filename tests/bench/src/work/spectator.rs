//! A spectator of this server over any of its transports: what has come for it, and what it has to answer.

use std::io;

use rallypoint_proof::ws::{self, op};

use super::feeds;
use crate::{
    dialect,
    heard::{self, Heard, Stream},
};

/// How spectators hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Polls that are answered at once, one a second.
    ShortPoll,
    /// Polls that wait, one after the other.
    LongPoll,
    /// Server-sent events.
    Events,
    /// A watched room.
    WebSocket,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ShortPoll, Self::LongPoll, Self::Events, Self::WebSocket];

    /// As it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShortPoll => "short poll",
            Self::LongPoll => "long poll",
            Self::Events => "SSE",
            Self::WebSocket => "WebSocket",
        }
    }

    /// Whether a request is answered once.
    pub fn polls(self) -> bool {
        matches!(self, Self::ShortPoll | Self::LongPoll)
    }
}

/// A spectator.
#[derive(Clone, Debug, Default)]
pub struct Spectator {
    /// Who it is.
    pub token: String,
    /// How many messages it has heard.
    pub heard: usize,
    /// It hears what is said from now on.
    pub is_in: bool,
    /// Where the next poll goes on.
    pub cursor: String,
    /// A poll is on its way.
    pub asks: bool,
    /// The head of its stream or WebSocket is here.
    is_open: bool,
    stream: Stream,
}

/// What it has to send because of what has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The request that makes a spectator of it.
    Watch,
    /// The next poll.
    Poll,
    /// To a ping.
    Pong(Vec<u8>),
}

/// Where what has come is put.
type Each<'a> = &'a mut dyn FnMut(&mut Spectator, Heard<'_>) -> io::Result<()>;

impl Spectator {
    /// One that has nothing yet.
    pub fn new(token: String) -> Self {
        Self { token, ..Self::default() }
    }

    /// Reads what is whole of what has come and returns how many bytes that is.
    pub fn read(
        &mut self,
        transport: Transport,
        bytes: &[u8],
        replies: &mut Vec<Reply>,
        each: Each<'_>,
    ) -> io::Result<usize> {
        match transport {
            Transport::ShortPoll => self.read_poll(bytes, each),
            Transport::LongPoll => {
                let read = self.read_poll(bytes, each)?;
                replies.extend((read > 0).then_some(Reply::Poll));
                Ok(read)
            }
            Transport::Events => self.read_stream(bytes, each),
            Transport::WebSocket => self.read_socket(bytes, replies, each),
        }
    }

    fn read_poll(&mut self, bytes: &[u8], each: Each<'_>) -> io::Result<usize> {
        let Some(head) = head(bytes, 200)? else { return Ok(0) };
        let Some(end) = feeds::body(bytes, head)? else { return Ok(0) };
        if !self.asks || end < bytes.len() {
            return Err(io::Error::other("an answer that nobody asked for"));
        }
        self.asks = false;
        let body = &bytes[head..end];
        heard::answer(body, |text| each(self, Heard::Text(text)))?;
        self.cursor = feeds::cursor(body)?;
        if !self.is_in {
            each(self, Heard::Begin)?;
        }
        Ok(end)
    }

    fn read_stream(&mut self, bytes: &[u8], each: Each<'_>) -> io::Result<usize> {
        let mut at = 0;
        if !self.is_open {
            let Some(end) = head(bytes, 200)? else { return Ok(0) };
            if feeds::header(&bytes[..end], "transfer-encoding") != Some("chunked") {
                return Err(io::Error::other("a stream without chunks"));
            }
            self.is_open = true;
            at = end;
        }
        let mut stream = std::mem::take(&mut self.stream);
        while let Some((data, end)) = heard::chunk(&bytes[at..])? {
            stream.take(&bytes[at..][data], |what| each(self, what))?;
            at += end;
        }
        self.stream = stream;
        Ok(at)
    }

    fn read_socket(&mut self, bytes: &[u8], replies: &mut Vec<Reply>, each: Each<'_>) -> io::Result<usize> {
        let mut at = 0;
        if !self.is_open {
            let Some(end) = head(bytes, 101)? else { return Ok(0) };
            replies.push(Reply::Watch);
            self.is_open = true;
            at = end;
        }
        while let Some(frame) = ws::read(&bytes[at..]) {
            let payload = &bytes[at..][frame.payload.clone()];
            at += frame.payload.end;
            match frame.op {
                op::PING => replies.push(Reply::Pong(payload.to_vec())),
                op::BINARY => {
                    if let Some(what) = heard::frame(payload)? {
                        each(self, what)?;
                    }
                }
                op => return Err(io::Error::other(format!("a frame with opcode {op}"))),
            }
        }
        Ok(at)
    }
}

/// Where the head of an answer ends, once it is there; another status is an error.
fn head(bytes: &[u8], wanted: u16) -> io::Result<Option<usize>> {
    match dialect::head(bytes)? {
        Some((status, end)) if status == wanted => Ok(Some(end)),
        Some((status, end)) => {
            let more = String::from_utf8_lossy(&bytes[end..]);
            Err(io::Error::other(format!("status {status} in place of {wanted}: {more}")))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads bytes that come in two parts, cut at every place; what was heard, and what is to be sent.
    fn read(transport: Transport, bytes: &[u8], cut: usize) -> io::Result<(Spectator, Vec<String>, Vec<Reply>)> {
        let mut spectator = Spectator { asks: transport.polls(), ..Spectator::default() };
        let (mut heard, mut replies) = (Vec::new(), Vec::new());
        let mut waiting = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            waiting.extend(part);
            let read = spectator.read(transport, &waiting, &mut replies, &mut |spectator, what| {
                match what {
                    Heard::Begin => spectator.is_in = true,
                    Heard::Text(text) => heard.push(String::from_utf8_lossy(text).into_owned()),
                }
                Ok(())
            })?;
            waiting.drain(..read);
        }
        assert_eq!(waiting, b"", "all of it is read");
        Ok((spectator, heard, replies))
    }

    #[test]
    fn a_poll_is_read_however_it_is_cut() {
        let body = r#"{"cursor":"Ac9g","events":[{"kind":"message","data":{"text":"one"}}]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for cut in 0..answer.len() {
            let (spectator, heard, replies) = read(Transport::LongPoll, answer.as_bytes(), cut).unwrap();
            assert_eq!((spectator.is_in, spectator.asks, &*spectator.cursor), (true, false, "Ac9g"));
            assert_eq!((heard, replies), (vec!["one".to_owned()], vec![Reply::Poll]));
            assert_eq!(read(Transport::ShortPoll, answer.as_bytes(), cut).unwrap().2, []);
        }
        assert!(read(Transport::ShortPoll, answer.repeat(2).as_bytes(), 0).is_err(), "two answers to one poll");
        assert!(read(Transport::ShortPoll, b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n", 0).is_err());
    }

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        let blocks =
            ["event: connected\ndata: {}\nid: A\n\n", "event: message\ndata: {\"data\":{\"text\":\"one\"}}\nid: B\n\n"];
        let mut answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        answer.extend(blocks.map(|block| format!("{:x}\r\n{block}\r\n", block.len())));
        for cut in 0..answer.len() {
            let (spectator, heard, replies) = read(Transport::Events, answer.as_bytes(), cut).unwrap();
            assert_eq!((spectator.is_in, heard, replies), (true, vec!["one".to_owned()], vec![]));
        }
        assert!(read(Transport::Events, answer.replace("chunked", "identity").as_bytes(), 0).is_err());
    }

    #[test]
    fn a_socket_is_read_however_it_is_cut() {
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        ws::server_frame(op::PING, b"beat", &mut answer);
        ws::server_frame(op::BINARY, b"\x82\xa4type\xa7message\xa4text\xa3one", &mut answer);
        for cut in 0..answer.len() {
            let (_, heard, replies) = read(Transport::WebSocket, &answer, cut).unwrap();
            assert_eq!((heard, replies), (vec!["one".to_owned()], vec![Reply::Watch, Reply::Pong(b"beat".to_vec())]));
        }
        ws::server_frame(op::CLOSE, &4002_u16.to_be_bytes(), &mut answer);
        assert!(read(Transport::WebSocket, &answer, 0).is_err());
    }
}
