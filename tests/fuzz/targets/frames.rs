//! Raw bytes of a WebSocket through the parser as the server sets it up: in one piece and in many,
//! which must come to the same.
#![no_main]

use std::io::{self, Read, Write};

use libfuzzer_sys::fuzz_target;
use rallypoint::transport::ws;
use rallypoint_fuzz::within;
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{Role, WebSocketContext},
};

/// The longest payload of a control frame, RFC 6455 section 5.5.
const CONTROL_MAX: usize = 125;

/// What bytes came to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    messages: Vec<Message>,
    written: Vec<u8>,
    fault: Option<String>,
}

/// What the parser reads from and writes to, like the server's own port.
struct Port<'a> {
    unread: &'a [u8],
    written: &'a mut Vec<u8>,
}

impl Read for Port<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.unread.read(out) }
    }
}

impl Write for Port<'_> {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.written.write(frame)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The loop of the server's connection, with a list in place of the hub.
fn parse<'a>(pieces: impl Iterator<Item = &'a [u8]>, frame_max: usize) -> Outcome {
    let mut parser = WebSocketContext::new(Role::Server, Some(ws::parsing(frame_max)));
    let mut outcome = Outcome::default();
    for unread in pieces {
        let mut port = Port { unread, written: &mut outcome.written };
        loop {
            match parser.read(&mut port) {
                Ok(Message::Close(frame)) => {
                    _ = parser.flush(&mut port);
                    outcome.messages.push(Message::Close(frame));
                    return outcome;
                }
                Ok(message) => outcome.messages.push(message),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    outcome.fault = Some(error.to_string());
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// Cuts bytes into pieces of sizes that the seed decides; seed 0 makes single bytes.
fn pieces(mut rest: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(u32::from(seed).wrapping_mul(1_013_904_223));
        let (piece, later) = rest.split_at(rest.len().min(1 + (state >> 24) as usize % 200));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What the parser writes must be whole frames, unmasked and short.
fn check_written(mut bytes: &[u8]) {
    while let [opcode, len, rest @ ..] = bytes {
        assert!(matches!(opcode, 0x88 | 0x8a), "only close and pong are written, not {opcode:#x}");
        let len = usize::from(*len);
        assert!(len <= CONTROL_MAX && len <= rest.len(), "a control frame of {len} bytes");
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "half a frame was written");
}

fuzz_target!(|data: &[u8]| {
    let [seed, bytes @ ..] = data else { return };
    let frame_max = if seed & 0x80 == 0 { 1 << 10 } else { 1 << 16 };
    // A frame's announced length may be reserved before it has come; nothing beyond that may be.
    let budget = 16 * 1024 + 3 * frame_max + 32 * bytes.len();
    let whole = within(budget, || parse(std::iter::once(bytes), frame_max));
    let pieced = within(budget, || parse(pieces(bytes, *seed), frame_max));
    assert_eq!(whole, pieced, "the pieces in which bytes come change what they mean");
    check_written(&whole.written);
    for message in &whole.messages {
        let max = if matches!(message, Message::Text(_) | Message::Binary(_)) { frame_max } else { CONTROL_MAX };
        assert!(message.len() <= max, "a message of {} bytes", message.len());
    }
});
