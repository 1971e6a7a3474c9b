//! What spectators hear: chat in the answers to polls, in event streams and in WebSocket frames. Texts are cut out
//! rather than parsed, since the generator must be faster than the server; everything else is read properly, and what
//! should not come is an error. The formats are sections 5 and 12 of `protocol/README.md`.

use std::{io, ops::Range};

use memchr::memmem;
use rallypoint_protocol::{Encoding, ServerMessage};

/// Something for the spectator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The feed begins here.
    Begin,
    /// Chat.
    Text(&'a [u8]),
}

/// Reads the body of an answer to a poll.
pub fn answer(body: &[u8], mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    if memmem::find(body, b"\"reset\":").is_some() {
        return Err(wrong("a poll was reset", body));
    }
    let mut rest = body;
    while let Some((text, after)) = next_text(rest) {
        each(text)?;
        rest = after;
    }
    Ok(())
}

/// The data of the first chunk of a chunked body and where the chunk ends, once all of it is there: RFC 9112, section
/// 7.1. The last chunk, which is empty, is an error: a feed has no end.
pub fn chunk(bytes: &[u8]) -> io::Result<Option<(Range<usize>, usize)>> {
    let Some(line) = memmem::find(bytes, b"\r\n") else { return Ok(None) };
    let size = std::str::from_utf8(&bytes[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    let data = match size {
        None => return Err(wrong("no size of a chunk", &bytes[..line])),
        Some(0) => return Err(io::Error::other("the stream has ended")),
        Some(size) => line + 2..line + 2 + size,
    };
    match bytes.get(data.end..data.end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((data.clone(), data.end + 2))),
        Some(other) => Err(wrong("a chunk of another size", other)),
    }
}

/// An event stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The beginning of a block whose end has not come.
    rest: Vec<u8>,
}

impl Stream {
    /// Reads what comes next, cut wherever it may be.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Heard<'_>) -> io::Result<()>) -> io::Result<()> {
        self.rest.extend(bytes);
        let mut at = 0;
        while let Some(length) = memmem::find(&self.rest[at..], b"\n\n") {
            if let Some(heard) = block(&self.rest[at..at + length])? {
                each(heard)?;
            }
            at += length + 2;
        }
        self.rest.drain(..at);
        Ok(())
    }
}

fn block(block: &[u8]) -> io::Result<Option<Heard<'_>>> {
    let event = block.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"event: "));
    match event {
        Some(b"message") => {
            let (text, _) = next_text(block).ok_or_else(|| wrong("a message without a text", block))?;
            Ok(Some(Heard::Text(text)))
        }
        Some(b"connected") => Ok(Some(Heard::Begin)),
        Some(b"heartbeat") => Ok(None),
        _ => Err(wrong("an event of another kind", block)),
    }
}

/// Reads a MessagePack frame to a spectator.
pub fn frame(frame: &[u8]) -> io::Result<Option<Heard<'_>>> {
    // {"type": "message", …, "text": …}
    if frame.get(6..).is_some_and(|rest| rest.starts_with(b"\xa7message")) {
        let text = memmem::find(frame, b"\xa4text").and_then(|at| packed(&frame[at + 5..]));
        return Ok(Some(Heard::Text(text.ok_or_else(|| wrong("a message without a text", frame))?)));
    }
    match ServerMessage::decode(Encoding::MsgPack, frame) {
        Ok(ServerMessage::Watching(_)) => Ok(Some(Heard::Begin)),
        Ok(ServerMessage::Connected(_)) => Ok(None),
        Ok(other) => Err(io::Error::other(format!("a message of another kind: {other:?}"))),
        Err(refused) => Err(io::Error::other(refused.message.into_owned())),
    }
}

/// The next text in JSON, which must be one without escapes, and what follows it.
fn next_text(json: &[u8]) -> Option<(&[u8], &[u8])> {
    const KEY: &[u8] = b"\"text\":\"";
    let from = memmem::find(json, KEY)? + KEY.len();
    let length = memchr::memchr(b'"', &json[from..])?;
    Some((&json[from..from + length], &json[from + length..]))
}

/// A MessagePack string.
fn packed(bytes: &[u8]) -> Option<&[u8]> {
    match *bytes {
        [short @ 0xa0..=0xbf, ref rest @ ..] => rest.get(..usize::from(short & 0x1f)),
        [0xd9, length, ref rest @ ..] => rest.get(..usize::from(length)),
        [0xda, high, low, ref rest @ ..] => rest.get(..usize::from(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}

fn wrong(what: &str, bytes: &[u8]) -> io::Error {
    io::Error::other(format!("{what}: {}", String::from_utf8_lossy(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"room":"stage","position":"9f3c5a1e7b2d4860.3.8e2413aa","kind":"message","time":1795379822000,"from":{"user":"alice"},"data":{"text":"TEXT"}}"#;

    fn event(text: &str) -> String {
        EVENT.replace("TEXT", text)
    }

    fn texts_of(body: &str) -> io::Result<Vec<String>> {
        let mut texts = Vec::new();
        answer(body.as_bytes(), |text| {
            texts.push(String::from_utf8_lossy(text).into_owned());
            Ok(())
        })?;
        Ok(texts)
    }

    #[test]
    fn a_poll_tells_nothing_or_many_and_a_reset_is_a_fault() {
        assert_eq!(texts_of(r#"{"cursor":"Ac9g","events":[]}"#).unwrap(), [""; 0]);
        let many = format!(r#"{{"cursor":"Ac9g","events":[{},{}]}}"#, event("one"), event("two"));
        assert_eq!(texts_of(&many).unwrap(), ["one", "two"]);
        let reset = r#"{"cursor":"Ac9g","events":[],"reset":[{"room":"stage","reason":"trimmed"}]}"#;
        assert!(texts_of(reset).unwrap_err().to_string().starts_with("a poll was reset"));
    }

    #[test]
    fn chunks_come_whole_or_not_at_all() {
        let bytes = b"1a\r\nabcdefghijklmnopqrstuvwxyz\r\n2\r\nab\r\n";
        assert_eq!(chunk(bytes).unwrap(), Some((4..30, 32)));
        assert_eq!(chunk(&bytes[32..]).unwrap(), Some((3..5, 7)));
        for length in 0..32 {
            assert_eq!(chunk(&bytes[..length]).unwrap(), None, "{length} bytes");
        }
        for bad in [&b"0\r\n\r\n"[..], b"x\r\n", b"2\r\nabcd"] {
            assert!(chunk(bad).is_err());
        }
    }

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut() {
        let stream = format!(
            "retry: 2000\nevent: connected\ndata: {{}}\nid: A\n\nevent: heartbeat\ndata: {{}}\n\n\
             event: message\ndata: {}\nid: B\n\nevent: message\ndata: {}\nid: C\n\n",
            event("one"),
            event("two")
        );
        for size in [1, 2, 7, 100, stream.len()] {
            let (mut reader, mut heard) = (Stream::default(), Vec::new());
            for part in stream.as_bytes().chunks(size) {
                let noted = reader.take(part, |what| {
                    heard.push(match what {
                        Heard::Begin => "begin".to_owned(),
                        Heard::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    });
                    Ok(())
                });
                noted.unwrap();
            }
            assert_eq!(heard, ["begin", "one", "two"], "cut into {size} bytes");
            assert!(reader.rest.is_empty());
        }
        for bad in ["event: reset\ndata: {}\n\n", "event: error\ndata: {}\n\n", "data: {}\n\n"] {
            assert!(Stream::default().take(bad.as_bytes(), |_| Ok(())).is_err());
        }
    }

    #[test]
    fn frames_are_read_as_the_protocol_writes_them() {
        let long = "x".repeat(300);
        let message = |text: &str| {
            serde_json::json!({"type": "message", "room": "stage", "time": 1.0, "position": "9f3c5a1e7b2d4860.3.8e2413aa",
                "from": {"user": "alice"}, "text": text})
        };
        let packed = |json: serde_json::Value| {
            let message = ServerMessage::decode(Encoding::Json, json.to_string().as_bytes()).unwrap();
            message.encode(Encoding::MsgPack)
        };
        for text in ["short", &long[..64], &long] {
            assert_eq!(frame(&packed(message(text))).unwrap(), Some(Heard::Text(text.as_bytes())));
        }
        let pong = packed(serde_json::json!({"type": "pong", "received": 1.0, "sent": 2.0}));
        assert!(frame(&pong).is_err());
        assert!(frame(b"").is_err());
    }
}
