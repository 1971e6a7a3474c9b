//! Frames of a client into messages (RFC 6455 section 5): in place, over the bytes of one read. tungstenite reads the
//! header of a frame; the rest is here, since its own parser costs each idle connection several hundred bytes and each
//! message two copies. Between messages this one holds nothing on the heap.

use std::{borrow::Cow, io::Cursor, ops::ControlFlow};

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{CloseCode, Control, Data, OpCode},
};

/// The longest payload of a control frame, section 5.5.
const CONTROL_MAX: usize = 125;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A text message.
    Text(Cow<'a, [u8]>),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    /// An answer, or a sign of life.
    Pong(&'a [u8]),
    /// Goodbye; the code may be missing. Nothing that follows means anything.
    Close(Option<u16>),
}

/// What no client may say. The connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A frame or message is larger than the limit.
    TooBig,
    /// Text that is not UTF-8.
    BadText,
    /// Against RFC 6455, and how.
    Protocol(&'static str),
}

/// The state between two reads.
#[derive(Debug, Default)]
pub struct Parser {
    /// A frame whose end has not come.
    unread: Vec<u8>,
    /// A message whose last frame has not come.
    message: Option<Box<Fragments>>,
}

#[derive(Debug)]
struct Fragments {
    is_text: bool,
    bytes: Vec<u8>,
    /// So much of it is known to be UTF-8.
    checked: usize,
}

impl Parser {
    /// Has everything that is whole in what was read heard, until `hear` says that it has heard enough. Messages are at
    /// most `max` bytes long.
    pub fn feed(
        &mut self,
        read: &mut [u8],
        max: usize,
        mut hear: impl FnMut(Said<'_>) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        if self.unread.is_empty() {
            let rest = self.hear_all(read, max, &mut hear)?;
            if !rest.is_empty() {
                self.unread = rest.to_vec();
            }
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.unread);
        joined.extend_from_slice(read);
        let left = self.hear_all(&mut joined, max, &mut hear)?.len();
        joined.drain(..joined.len() - left);
        if left > 0 {
            self.unread = joined;
        }
        Ok(())
    }

    /// What is left of `unread` in the end.
    fn hear_all<'a>(
        &mut self,
        mut unread: &'a mut [u8],
        max: usize,
        hear: &mut impl FnMut(Said<'_>) -> ControlFlow<()>,
    ) -> Result<&'a mut [u8], Fault> {
        while let Some((header, payload)) = frame(&mut unread, max)? {
            let said = match header.opcode {
                OpCode::Control(control) => Some(said(control, payload)?),
                OpCode::Data(data) => self.fragment(data, header.is_final, payload, max)?,
            };
            if said.is_some_and(|said| hear(said).is_break()) {
                break;
            }
        }
        Ok(unread)
    }

    fn fragment<'a>(
        &mut self,
        data: Data,
        is_last: bool,
        payload: &'a [u8],
        max: usize,
    ) -> Result<Option<Said<'a>>, Fault> {
        let mut message = match (data, self.message.take()) {
            (Data::Continue, Some(message)) => message,
            (Data::Continue, None) => return Err(Fault::Protocol("a continuation of nothing")),
            (_, Some(_)) => return Err(Fault::Protocol("a message within another")),
            (Data::Text, None) if is_last => {
                std::str::from_utf8(payload).map_err(|_| Fault::BadText)?;
                return Ok(Some(Said::Text(Cow::Borrowed(payload))));
            }
            (Data::Binary, None) if is_last => return Ok(Some(Said::Binary(Cow::Borrowed(payload)))),
            (data, None) => Box::new(Fragments { is_text: data == Data::Text, bytes: Vec::new(), checked: 0 }),
        };
        if message.bytes.len() + payload.len() > max {
            return Err(Fault::TooBig);
        }
        message.bytes.extend_from_slice(payload);
        if message.is_text {
            message.check(is_last)?;
        }
        if !is_last {
            self.message = Some(message);
            return Ok(None);
        }
        let bytes = Cow::Owned(message.bytes);
        Ok(Some(if message.is_text { Said::Text(bytes) } else { Said::Binary(bytes) }))
    }
}

impl Fragments {
    /// Whether it is text so far. A character may be cut in two, but not at the end.
    fn check(&mut self, is_last: bool) -> Result<(), Fault> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !is_last => self.checked += error.valid_up_to(),
            Err(_) => return Err(Fault::BadText),
        }
        Ok(())
    }
}

/// Takes a whole frame off the front and unmasks it. What is wrong with a header is said at once, whether or not the
/// payload is there.
fn frame<'a>(unread: &mut &'a mut [u8], max: usize) -> Result<Option<(FrameHeader, &'a [u8])>, Fault> {
    let mut cursor = Cursor::new(&unread[..]);
    let header = FrameHeader::parse(&mut cursor).map_err(|_| Fault::Protocol("no such opcode"))?;
    let Some((header, len)) = header else { return Ok(None) };
    let begin = usize::try_from(cursor.position()).map_err(|_| Fault::TooBig)?;
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(Fault::Protocol("a reserved bit is set"));
    }
    let mask = header.mask.ok_or(Fault::Protocol("clients mask their frames"))?;
    let len = usize::try_from(len).ok().filter(|len| *len <= max).ok_or(Fault::TooBig)?;
    if matches!(header.opcode, OpCode::Control(_)) {
        if !header.is_final {
            return Err(Fault::Protocol("control frames are not fragmented"));
        }
        if len > CONTROL_MAX {
            return Err(Fault::Protocol("a control frame has at most 125 bytes"));
        }
    }
    if unread.len() - begin < len {
        return Ok(None);
    }
    let (taken, rest) = std::mem::take(unread).split_at_mut(begin + len);
    *unread = rest;
    let payload = &mut taken[begin..];
    unmask(payload, mask);
    Ok(Some((header, payload)))
}

/// Section 5.3, eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn said(control: Control, payload: &[u8]) -> Result<Said<'_>, Fault> {
    match (control, payload) {
        (Control::Ping, _) => Ok(Said::Ping(payload)),
        (Control::Pong, _) => Ok(Said::Pong(payload)),
        (Control::Reserved(_), _) => Err(Fault::Protocol("no such opcode")),
        (Control::Close, []) => Ok(Said::Close(None)),
        (Control::Close, [_]) => Err(Fault::Protocol("a close code has two bytes")),
        (Control::Close, [a, b, reason @ ..]) => {
            let code = u16::from_be_bytes([*a, *b]);
            if !CloseCode::from(code).is_allowed() {
                return Err(Fault::Protocol("no such close code"));
            }
            std::str::from_utf8(reason).map_err(|_| Fault::BadText)?;
            Ok(Said::Close(Some(code)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};

    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::{
        Error, Message,
        error::CapacityError,
        protocol::{Role, WebSocketConfig, WebSocketContext},
    };

    use super::*;

    const MAX: usize = 300;

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 0, 255, 19];
        let len = u16::try_from(payload.len()).unwrap();
        let mut out = vec![first];
        match u8::try_from(len) {
            Ok(short @ 0..=125) => out.push(0x80 | short),
            _ => {
                out.push(0x80 | 126);
                out.extend(len.to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// In words, so that both parsers can be compared.
    fn ours(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut heard = Vec::new();
        for piece in pieces {
            let mut is_over = false;
            let fed = parser.feed(&mut piece.to_vec(), MAX, |said| {
                heard.push(match said {
                    Said::Text(text) => format!("text {}", String::from_utf8(text.into_owned()).unwrap()),
                    Said::Binary(bytes) => format!("binary {bytes:?}"),
                    Said::Ping(bytes) => format!("ping {bytes:?}"),
                    Said::Pong(bytes) => format!("pong {bytes:?}"),
                    Said::Close(code) => {
                        is_over = true;
                        format!("close {code:?}")
                    }
                });
                if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let fault = match fed {
                Ok(()) if is_over => return heard,
                Ok(()) => continue,
                Err(Fault::TooBig) => "too big",
                Err(Fault::BadText) => "bad text",
                Err(Fault::Protocol(_)) => "protocol",
            };
            heard.push(fault.to_owned());
            return heard;
        }
        heard
    }

    struct Piece<'a>(&'a [u8]);

    impl Read for Piece<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(out) }
        }
    }

    impl Write for Piece<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn theirs(pieces: &[&[u8]]) -> Vec<String> {
        let config = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
        let mut parser = WebSocketContext::new(Role::Server, Some(config));
        let mut heard = Vec::new();
        for piece in pieces {
            let mut piece = Piece(piece);
            loop {
                heard.push(match parser.read(&mut piece) {
                    Ok(Message::Text(text)) => format!("text {text}"),
                    Ok(Message::Binary(bytes)) => format!("binary {:?}", &bytes[..]),
                    Ok(Message::Ping(bytes)) => format!("ping {:?}", &bytes[..]),
                    Ok(Message::Pong(bytes)) => format!("pong {:?}", &bytes[..]),
                    Ok(Message::Close(frame)) => {
                        let code = frame.map(|frame| u16::from(frame.code));
                        return [heard, vec![format!("close {code:?}")]].concat();
                    }
                    Ok(Message::Frame(_)) => unreachable!(),
                    Err(Error::Io(_)) => break,
                    Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                        return [heard, vec!["too big".to_owned()]].concat();
                    }
                    Err(Error::Utf8(_)) => return [heard, vec!["bad text".to_owned()]].concat(),
                    Err(_) => return [heard, vec!["protocol".to_owned()]].concat(),
                });
            }
        }
        heard
    }

    fn assert_same(bytes: &[u8], cuts: &[usize]) {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        for cut in cuts {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        assert_eq!(ours(&pieces), theirs(&pieces), "{bytes:?} in {cuts:?}");
    }

    #[test]
    fn faults_are_what_tungstenite_takes_for_faults() {
        let frames = [
            vec![0x81, 1, b'x'],
            client_frame(0xc1, b"reserved bit"),
            client_frame(0x83, b"reserved opcode"),
            client_frame(0x8b, b"reserved control"),
            client_frame(0x09, b"fragmented ping"),
            client_frame(0x89, &[1; 126]),
            client_frame(0x80, b"of nothing"),
            [client_frame(0x01, b"a"), client_frame(0x81, b"b")].concat(),
            client_frame(0x81, &[0xff]),
            [client_frame(0x01, &[0xc3]), client_frame(0x80, &[0x28])].concat(),
            [client_frame(0x01, &[0xc3]), client_frame(0x80, &[])].concat(),
            client_frame(0x82, &[0; MAX + 1]),
            [client_frame(0x02, &[0; MAX]), client_frame(0x80, &[0])].concat(),
            client_frame(0x88, &[3]),
        ];
        for bytes in frames {
            assert_eq!(ours(&[&bytes]).len(), 1, "{bytes:?}");
            assert_same(&bytes, &[]);
            assert_same(&bytes, &[1, 1, 1, 3]);
        }
    }

    #[test]
    fn a_close_frame_says_why_in_words() {
        let close = |code: u16, reason: &[u8]| client_frame(0x88, &[&code.to_be_bytes(), reason].concat());
        assert_eq!(ours(&[&close(1000, b"bye")]), ["close Some(1000)"]);
        assert_eq!(ours(&[&client_frame(0x88, &[])]), ["close None"]);
        for code in [0, 999, 1004, 1005, 1006, 1015, 5000] {
            assert_eq!(ours(&[&close(code, b"")]), ["protocol"], "{code}");
        }
        assert_eq!(ours(&[&close(1000, &[0xff])]), ["bad text"]);
    }

    #[test]
    fn between_messages_it_holds_nothing() {
        let mut parser = Parser::default();
        let bytes = [client_frame(0x01, b"half"), client_frame(0x80, b" and half")].concat();
        for byte in bytes {
            parser.feed(&mut [byte], MAX, |_| ControlFlow::Continue(())).unwrap();
        }
        assert_eq!((parser.unread.capacity(), parser.message.is_some()), (0, false));
    }

    proptest! {
        /// Frames good and bad, cut anywhere: both parsers hear the same.
        #[test]
        fn it_hears_what_tungstenite_hears(
            frames in prop::collection::vec((0u8..16, any::<bool>(), "[a-zä€😀]{0,60}", 0u8..20), 1..12),
            cuts in prop::collection::vec(0usize..40, 0..30),
        ) {
            let mut bytes = Vec::new();
            for (opcode, is_final, text, spoil) in frames {
                // Mostly the ones that there are.
                let opcode = if opcode < 11 { opcode % 3 } else { opcode - 3 };
                let is_final = is_final || opcode >= 8;
                let mut payload = text.into_bytes();
                payload.truncate(125);
                if opcode == 8 {
                    payload.splice(0..0, 1000u16.to_be_bytes());
                    payload.truncate(2);
                }
                if spoil == 0 && opcode < 3 {
                    payload.push(0xff);
                }
                bytes.extend(client_frame(u8::from(is_final) << 7 | opcode, &payload));
            }
            assert_same(&bytes, &cuts);
        }
    }
}
