//! WebSocket framing (RFC 6455 section 5) for clients that must never be the bottleneck, or that are up to no good.

use std::ops::Range;

/// Opcodes.
pub mod op {
    /// Text.
    pub const TEXT: u8 = 1;
    /// Bytes.
    pub const BINARY: u8 = 2;
    /// The end.
    pub const CLOSE: u8 = 8;
    /// A ping.
    pub const PING: u8 = 9;
    /// Its answer.
    pub const PONG: u8 = 10;
}

/// Appends a whole frame from a client: masked, as it must be, with zeros, which leave the payload as it is.
pub fn client_frame(op: u8, payload: &[u8], out: &mut Vec<u8>) {
    frame(op, payload, 0x80, out);
}

/// Appends a whole frame from a server.
pub fn server_frame(op: u8, payload: &[u8], out: &mut Vec<u8>) {
    frame(op, payload, 0, out);
}

fn frame(op: u8, payload: &[u8], mask: u8, out: &mut Vec<u8>) {
    out.push(0x80 | op);
    match payload.len() {
        length @ 0..126 => out.push(mask | length as u8),
        length @ 126..65_536 => {
            out.push(mask | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(mask | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    if mask != 0 {
        out.extend([0; 4]);
    }
    out.extend(payload);
}

/// A frame in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub op: u8,
    /// A whole message, without bits that nobody has agreed on.
    pub is_plain: bool,
    /// Where its payload lies.
    pub payload: Range<usize>,
    /// The mask, of a frame from a client.
    pub mask: Option<[u8; 4]>,
}

/// The first frame in `bytes`, if all of it is there.
pub fn read(bytes: &[u8]) -> Option<Frame> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, mut at) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, 10),
        length => (usize::from(length), 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        mask = Some(*bytes.get(at..)?.first_chunk()?);
        at += 4;
    }
    let end = at.checked_add(length)?;
    let is_plain = first & 0xf0 == 0x80;
    (bytes.len() >= end).then_some(Frame { op: first & 0x0f, is_plain, payload: at..end, mask })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_lengths_read_back_and_halves_do_not() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![7; length];
            for (client, mask) in [(true, Some([0; 4])), (false, None)] {
                let mut out = Vec::new();
                let make = if client { client_frame } else { server_frame };
                make(op::BINARY, &payload, &mut out);
                let frame = read(&out).unwrap();
                assert!(frame.is_plain);
                assert_eq!((frame.op, frame.mask, &out[frame.payload.clone()]), (op::BINARY, mask, &payload[..]));
                assert_eq!(frame.payload.end, out.len());
                assert_eq!(read(&out[..out.len() - 1]), None);
            }
        }
        assert_eq!((read(b""), read(b"\x82")), (None, None));
        for odd in [b"\x02\0", b"\xc2\0"] {
            assert!(!read(odd).unwrap().is_plain, "{odd:?}");
        }
    }
}
