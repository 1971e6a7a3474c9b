//! Finds the requests in a stream of bytes that may be doubled: POSTs that carry an `Idempotency-Key`.

/// The largest head and body that are held back; a larger request passes as it comes.
const HELD_MAX: usize = 256 * 1024;

/// A piece of the stream, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// To be passed on.
    Plain(Vec<u8>),
    /// One whole request, which its sender allows to be carried out once however often it comes.
    Request(Vec<u8>),
}

/// Cuts a stream towards a server into pieces.
#[derive(Debug, Default)]
pub(super) struct Tap {
    held: Vec<u8>,
    /// What comes is no HTTP/1.1 request with a known length: everything passes from here on.
    through: bool,
}

/// What the head of a request says.
enum Head {
    /// Not all of it is here.
    Short,
    /// Nothing that ends at a known place follows.
    Endless,
    /// The request is so long, with its body, and may be doubled or not.
    Long(usize, bool),
}

impl Tap {
    /// Takes what came in and returns what may go on now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.held.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while !self.held.is_empty() {
            let head = if self.through { Head::Endless } else { head(&self.held) };
            match head {
                Head::Long(len, doubled) if len <= self.held.len() => {
                    let rest = self.held.split_off(len);
                    let request = std::mem::replace(&mut self.held, rest);
                    pieces.push(if doubled { Piece::Request(request) } else { Piece::Plain(request) });
                }
                Head::Long(..) | Head::Short if self.held.len() <= HELD_MAX => break,
                Head::Long(..) | Head::Short | Head::Endless => {
                    self.through = true;
                    pieces.push(Piece::Plain(std::mem::take(&mut self.held)));
                }
            }
        }
        pieces
    }

    /// What is still held back when nothing more will come.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

fn head(bytes: &[u8]) -> Head {
    // A stream that does not begin with a method never has the end of a head; it is not to wait for one.
    let begins = |method: &[u8]| bytes.starts_with(&method[..method.len().min(bytes.len())]);
    if ![&b"GET "[..], b"POST ", b"DELETE "].into_iter().any(begins) {
        return Head::Endless;
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Head::Short };
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return Head::Endless };
    let (mut length, mut keyed) = (0, false);
    for (name, value) in text.split("\r\n").skip(1).filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => match value.trim().parse() {
                Ok(number) => length = number,
                Err(_) => return Head::Endless,
            },
            "transfer-encoding" | "upgrade" => return Head::Endless,
            "idempotency-key" => keyed = true,
            _ => {}
        }
    }
    Head::Long((end + 4_usize).saturating_add(length), keyed && text.starts_with("POST "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYED: &[u8] = b"POST /a HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 4\r\n\r\nbody";
    const PLAIN: &[u8] = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok";
    const GET: &[u8] = b"GET /c HTTP/1.1\r\nIdempotency-Key: k\r\n\r\n";

    #[test]
    fn requests_are_found_however_they_are_cut() {
        let stream = [KEYED, PLAIN, GET, KEYED].concat();
        let expected = [
            Piece::Request(KEYED.to_vec()),
            Piece::Plain(PLAIN.to_vec()),
            Piece::Plain(GET.to_vec()),
            Piece::Request(KEYED.to_vec()),
        ];
        for size in [1, 3, 50, stream.len()] {
            let mut tap = Tap::default();
            let pieces: Vec<_> = stream.chunks(size).flat_map(|chunk| tap.push(chunk)).collect();
            assert_eq!(pieces, expected, "in pieces of {size}");
            assert!(tap.rest().is_empty());
        }
    }

    #[test]
    fn what_is_no_request_passes_at_once() {
        let upgrade = b"GET /v1/ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        for start in [&upgrade[..], b"\x16\x03\x01", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5"] {
            let mut tap = Tap::default();
            assert_eq!(tap.push(start), [Piece::Plain(start.to_vec())]);
            // Even if it looks like a request later on.
            assert_eq!(tap.push(KEYED), [Piece::Plain(KEYED.to_vec())]);
        }
    }

    #[test]
    fn an_unfinished_request_is_the_rest() {
        let mut tap = Tap::default();
        assert!(tap.push(&KEYED[..KEYED.len() - 1]).is_empty());
        assert_eq!(tap.rest(), &KEYED[..KEYED.len() - 1]);
    }

    #[test]
    fn nothing_endless_is_held() {
        let mut tap = Tap::default();
        let endless = [b"POST /".to_vec(), vec![b'x'; HELD_MAX]].concat();
        assert_eq!(tap.push(&endless), [Piece::Plain(endless)]);
    }
}
