//! Positions and cursors: where a log stands, and where a subscription of several logs stands.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha1::{Digest, Sha1};
use smallvec::SmallVec;

use crate::{SAFE_INTEGER_MAX, code::ErrorCode, id::RoomName};

/// The running checksum of a log: 32 bits, written as eight hex digits.
///
/// `tag(n)` = the first eight hex digits of SHA-1 over `tag(n-1)` (as text) and the event's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag(pub u32);

impl Tag {
    /// The tag after an event with these bytes.
    #[must_use]
    pub fn next(self, event: &[u8]) -> Self {
        let mut sha = Sha1::new();
        sha.update(self.to_string().as_bytes());
        sha.update(event);
        let digest = sha.finalize();
        Self(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Where one room's log stands, on the wire `epoch.seq.tag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which life of the log.
    pub epoch: u64,
    /// How many events the log has had; the first event has 1.
    pub seq: u64,
    /// The checksum of all events up to `seq`.
    pub tag: Tag,
}

impl Position {
    /// The position of a log that has had no event yet.
    pub fn start(epoch: u64) -> Self {
        Self { epoch, seq: 0, tag: Tag::default() }
    }

    /// The position after an event with these bytes.
    #[must_use]
    pub fn next(self, event: &[u8]) -> Self {
        Self { epoch: self.epoch, seq: self.seq + 1, tag: self.tag.next(event) }
    }

    /// Reads the text form; [`ErrorCode::BadPosition`] for anything else.
    pub fn parse(text: &str) -> Result<Self, ErrorCode> {
        let bad = ErrorCode::BadPosition;
        let mut parts = text.split('.');
        let (Some(epoch), Some(seq), Some(tag), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(bad);
        };
        let is_hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let canonical = seq == "0" || !seq.starts_with('0');
        if epoch.len() != 16 || !is_hex(epoch) || tag.len() != 8 || !is_hex(tag) || !canonical {
            return Err(bad);
        }
        if seq.is_empty() || seq.len() > 16 || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad);
        }
        let seq: u64 = seq.parse().map_err(|_| bad)?;
        if seq > SAFE_INTEGER_MAX {
            return Err(bad);
        }
        Ok(Self {
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| bad)?,
            seq,
            tag: Tag(u32::from_str_radix(tag, 16).map_err(|_| bad)?),
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}.{}", self.epoch, self.seq, self.tag)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|_| de::Error::custom(crate::codec::BAD_POSITION))
    }
}

/// Where a subscription stands: one position per log, opaque text to the client.
///
/// Logs are named by the first eight bytes of the SHA-1 of their name, so that sixteen long room
/// names still fit an SSE `id:` line. Most follow one room, and have no heap for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(SmallVec<[(LogKey, Position); 2]>);

/// A log's name inside a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey([u8; 8]);

impl LogKey {
    /// The key of a log.
    pub fn of(log: &RoomName) -> Self {
        let digest = Sha1::digest(log.as_str().as_bytes());
        let mut key = [0; 8];
        key.copy_from_slice(&digest[..8]);
        Self(key)
    }

    /// Its first byte, which divides logs evenly into 256 parts.
    pub fn first(self) -> u8 {
        self.0[0]
    }
}

impl FromIterator<(LogKey, Position)> for Cursor {
    fn from_iter<I: IntoIterator<Item = (LogKey, Position)>>(logs: I) -> Self {
        let mut cursor = Self::new();
        logs.into_iter().for_each(|(log, position)| cursor.set(log, position));
        cursor
    }
}

/// Rooms that one feed may follow.
pub const FEED_ROOMS_MAX: usize = 16;
/// The rooms of a feed and the user's own log.
pub const CURSOR_LOGS_MAX: usize = FEED_ROOMS_MAX + 1;
/// The longest cursor text, in bytes.
pub const CURSOR_TEXT_MAX: usize = 2048;
const CURSOR_VERSION: u8 = 1;
const CURSOR_ENTRY: usize = 8 + 8 + 8 + 4;

impl Cursor {
    /// A cursor that stands nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where one log stands.
    pub fn set(&mut self, log: LogKey, position: Position) {
        match self.0.binary_search_by_key(&log, |entry| entry.0) {
            Ok(at) => self.0[at].1 = position,
            Err(at) => self.0.insert(at, (log, position)),
        }
    }

    /// Where one log stands, if the cursor knows it.
    pub fn get(&self, log: LogKey) -> Option<Position> {
        let at = self.0.binary_search_by_key(&log, |entry| entry.0).ok()?;
        Some(self.0[at].1)
    }

    /// Reads the text form; [`ErrorCode::BadPosition`] for anything else.
    pub fn parse(text: &str) -> Result<Self, ErrorCode> {
        let bad = ErrorCode::BadPosition;
        if text.len() > CURSOR_TEXT_MAX {
            return Err(bad);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad)?;
        let (&version, entries) = bytes.split_first().ok_or(bad)?;
        if version != CURSOR_VERSION
            || !entries.len().is_multiple_of(CURSOR_ENTRY)
            || entries.len() / CURSOR_ENTRY > CURSOR_LOGS_MAX
        {
            return Err(bad);
        }
        let mut cursor = Self::new();
        for entry in entries.chunks_exact(CURSOR_ENTRY) {
            let word = |at: usize| u64::from_be_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
            let key = LogKey(entry[..8].try_into().expect("eight bytes"));
            let tag = u32::from_be_bytes(entry[24..].try_into().expect("four bytes"));
            let position = Position { epoch: word(8), seq: word(16), tag: Tag(tag) };
            let in_order = cursor.0.last().is_none_or(|last| last.0 < key);
            if !in_order || position.seq > SAFE_INTEGER_MAX {
                return Err(bad);
            }
            cursor.0.push((key, position));
        }
        Ok(cursor)
    }

    /// Appends the text form to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; 1 + CURSOR_LOGS_MAX * CURSOR_ENTRY];
        bytes[0] = CURSOR_VERSION;
        let mut end = 1;
        for (key, position) in self.0.iter().take(CURSOR_LOGS_MAX) {
            let entry = &mut bytes[end..end + CURSOR_ENTRY];
            entry[..8].copy_from_slice(&key.0);
            entry[8..16].copy_from_slice(&position.epoch.to_be_bytes());
            entry[16..24].copy_from_slice(&position.seq.to_be_bytes());
            entry[24..].copy_from_slice(&position.tag.0.to_be_bytes());
            end += CURSOR_ENTRY;
        }
        let start = out.len();
        out.resize(start + (end * 4).div_ceil(3), 0);
        URL_SAFE_NO_PAD.encode_slice(&bytes[..end], &mut out[start..]).expect("without padding it fits exactly");
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write_to(&mut text);
        f.write_str(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_and_refuse_other_spellings() {
        let position = Position { epoch: 0xab, seq: 7, tag: Tag(0x1f) };
        assert_eq!(position.to_string(), "00000000000000ab.7.0000001f");
        assert_eq!(Position::parse("00000000000000ab.7.0000001f"), Ok(position));
        for bad in [
            "",
            "ab.7.0000001f",
            "00000000000000AB.7.0000001f",
            "00000000000000ab.07.0000001f",
            "00000000000000ab.-7.0000001f",
            "00000000000000ab..0000001f",
            "00000000000000ab.7.0000001f.1",
            "00000000000000ab.9007199254740992.0000001f",
        ] {
            assert_eq!(Position::parse(bad), Err(ErrorCode::BadPosition), "{bad}");
        }
    }

    #[test]
    fn sixteen_rooms_and_a_user_fit_a_cursor() {
        let mut cursor = Cursor::new();
        for n in 0..CURSOR_LOGS_MAX as u64 {
            let log = RoomName::new(&format!("room/{n}/{}", "x".repeat(100))).unwrap();
            cursor.set(LogKey::of(&log), Position { epoch: u64::MAX, seq: SAFE_INTEGER_MAX, tag: Tag(u32::MAX) });
        }
        let text = cursor.to_string();
        assert!(text.len() <= CURSOR_TEXT_MAX);
        assert_eq!(Cursor::parse(&text), Ok(cursor));
        for bad in ["", "x", "AQ==", "Ag", &text[..text.len() - 2], &"A".repeat(3000)] {
            assert!(Cursor::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Cursor::parse("AQ"), Ok(Cursor::new()));
    }
}
