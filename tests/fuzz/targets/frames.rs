//! Raw bytes of a WebSocket through the parser as the server sets it up: in one piece and in many,
//! which must come to the same.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use rallypoint::transport::ws::parser::{Fault, Parser, Said};
use rallypoint_fuzz::within;

/// The longest payload of a control frame, RFC 6455 section 5.5.
const CONTROL_MAX: usize = 125;

/// What bytes came to: the opcode and payload of each message, and what was wrong in the end.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    messages: Vec<(u8, Vec<u8>)>,
    fault: Option<Fault>,
}

/// The loop of the server's connection, with a list in place of the hub.
fn parse<'a>(pieces: impl Iterator<Item = &'a [u8]>, frame_max: usize) -> Outcome {
    let mut parser = Parser::default();
    let mut outcome = Outcome::default();
    let mut is_over = false;
    for piece in pieces {
        let fed = parser.feed(&mut piece.to_vec(), frame_max, |said| {
            let message = match said {
                Said::Text(text) => {
                    assert!(std::str::from_utf8(&text).is_ok(), "text that is none");
                    (1, text.into_owned())
                }
                Said::Binary(bytes) => (2, bytes.into_owned()),
                Said::Close(code) => (8, code.map_or_else(Vec::new, |code| code.to_be_bytes().to_vec())),
                Said::Ping(payload) => (9, payload.to_vec()),
                Said::Pong(payload) => (10, payload.to_vec()),
            };
            is_over = message.0 == 8;
            outcome.messages.push(message);
            if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        outcome.fault = fed.err();
        if is_over || outcome.fault.is_some() {
            break;
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

fuzz_target!(|data: &[u8]| {
    let [seed, bytes @ ..] = data else { return };
    let frame_max = if seed & 0x80 == 0 { 1 << 10 } else { 1 << 16 };
    let budget = 16 * 1024 + 3 * frame_max + 64 * bytes.len();
    let whole = within(budget, || parse(std::iter::once(bytes), frame_max));
    let pieced = within(budget, || parse(pieces(bytes, *seed), frame_max));
    assert_eq!(whole, pieced, "the pieces in which bytes come change what they mean");
    for (opcode, payload) in &whole.messages {
        let max = if *opcode < 8 { frame_max } else { CONTROL_MAX };
        assert!(payload.len() <= max, "a message of {} bytes", payload.len());
    }
});
