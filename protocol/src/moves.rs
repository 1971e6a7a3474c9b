//! Binary moves: small MessagePack arrays whose payload bytes are forwarded untouched.
//!
//! `[lane, room, key, seq, (to,) payload]` from clients, `[lane, room, from, key, seq, time,
//! payload]` from the server; byte by byte in `protocol/README.md`.

use serde::{Deserialize, Serialize};

use crate::{
    code::ErrorCode,
    msgpack::{self, Head, Reader},
};

/// The delivery promise of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// The newest per (sender, key) arrives; older ones may be skipped.
    Latest,
    /// Every one, in order per sender.
    Reliable,
}

/// Member handles that a move names, at most [`MoveLimits::receivers`] of them.
pub type Receivers = Vec<u32>;

/// A move as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMove<'a> {
    /// Its delivery promise.
    pub lane: Lane,
    /// Handle of the room, from `joined`.
    pub room: u32,
    /// What the move is about; newer latest moves replace older ones of the same key.
    pub key: u16,
    /// The sender's sequence number, rising per room over both lanes.
    pub seq: u32,
    /// Handles of the receivers; `None` means everybody else in the room.
    pub to: Option<Receivers>,
    /// One MessagePack value.
    pub payload: &'a [u8],
}

/// A move as the server relays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerMove<'a> {
    /// Its delivery promise.
    pub lane: Lane,
    /// Handle of the room.
    pub room: u32,
    /// Handle of the sender.
    pub from: u32,
    /// The sender's key.
    pub key: u16,
    /// The sender's sequence number.
    pub seq: u32,
    /// When the server took it, Unix milliseconds.
    pub time: u64,
    /// One MessagePack value.
    pub payload: &'a [u8],
}

/// The bounds a client's move must keep.
#[derive(Clone, Copy, Debug)]
pub struct MoveLimits {
    /// Largest payload, in bytes.
    pub payload: usize,
    /// Deepest nesting of the payload.
    pub depth: usize,
    /// Most receivers a move may name.
    pub receivers: usize,
}

impl Default for MoveLimits {
    fn default() -> Self {
        Self { payload: 4096, depth: 16, receivers: 64 }
    }
}

const LATEST: u64 = 1;
const RELIABLE: u64 = 2;
const LATEST_TO: u64 = 3;
const RELIABLE_TO: u64 = 4;

fn within<T: TryFrom<u64>>(value: u64) -> Result<T, ErrorCode> {
    T::try_from(value).map_err(|_| ErrorCode::BadValue)
}

/// Whether a binary frame is a move: its first byte is an array marker.
pub fn is_move(frame: &[u8]) -> bool {
    matches!(frame.first(), Some(0x90..=0x9f | 0xdc | 0xdd))
}

/// The payload: the rest of the frame, exactly one value.
fn payload<'a>(reader: &mut Reader<'a>, limit: usize, depth: usize) -> Result<&'a [u8], ErrorCode> {
    let bytes = reader.rest();
    if bytes.len() > limit {
        return Err(ErrorCode::TooBig);
    }
    msgpack::check_single(bytes, depth)?;
    Ok(bytes)
}

impl<'a> ClientMove<'a> {
    /// Reads a client's frame.
    pub fn parse(frame: &'a [u8], limits: MoveLimits) -> Result<Self, ErrorCode> {
        let mut reader = Reader::new(frame);
        let Head::Array(count) = reader.head()? else { return Err(ErrorCode::Malformed) };
        let (lane, named) = match reader.unsigned()? {
            LATEST => (Lane::Latest, false),
            RELIABLE => (Lane::Reliable, false),
            LATEST_TO => (Lane::Latest, true),
            RELIABLE_TO => (Lane::Reliable, true),
            _ => return Err(ErrorCode::UnknownType),
        };
        if count != 5 + usize::from(named) {
            return Err(ErrorCode::Malformed);
        }
        let room = within(reader.unsigned()?)?;
        let key = within(reader.unsigned()?)?;
        let seq = within(reader.unsigned()?)?;
        let to = if named { Some(receivers(&mut reader, limits.receivers)?) } else { None };
        let payload = payload(&mut reader, limits.payload, limits.depth)?;
        Ok(Self { lane, room, key, seq, to, payload })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let lane = match (self.lane, &self.to) {
            (Lane::Latest, None) => LATEST,
            (Lane::Reliable, None) => RELIABLE,
            (Lane::Latest, Some(_)) => LATEST_TO,
            (Lane::Reliable, Some(_)) => RELIABLE_TO,
        };
        out.push(0x95 + u8::from(self.to.is_some()));
        for field in [lane, u64::from(self.room), u64::from(self.key), u64::from(self.seq)] {
            write_uint(out, field);
        }
        if let Some(to) = &self.to {
            rmp::encode::write_array_len(out, u32::try_from(to.len()).expect("bounded by the caller"))
                .expect("writing to memory cannot fail");
            to.iter().for_each(|&handle| write_uint(out, u64::from(handle)));
        }
        out.extend_from_slice(self.payload);
    }
}

fn receivers(reader: &mut Reader<'_>, limit: usize) -> Result<Receivers, ErrorCode> {
    let Head::Array(count) = reader.head()? else { return Err(ErrorCode::Malformed) };
    if count == 0 || count > limit {
        return Err(ErrorCode::BadValue);
    }
    (0..count).map(|_| within(reader.unsigned()?)).collect()
}

fn write_uint(out: &mut Vec<u8>, value: u64) {
    rmp::encode::write_uint(out, value).expect("writing to memory cannot fail");
}

impl<'a> ServerMove<'a> {
    /// The most bytes that stand before the payload.
    pub const HEAD_MAX: usize = 1 + 1 + 5 + 5 + 3 + 5 + 9;

    /// Reads a server's frame.
    pub fn parse(frame: &'a [u8]) -> Result<Self, ErrorCode> {
        let mut reader = Reader::new(frame);
        let Head::Array(7) = reader.head()? else { return Err(ErrorCode::Malformed) };
        let lane = match reader.unsigned()? {
            LATEST => Lane::Latest,
            RELIABLE => Lane::Reliable,
            _ => return Err(ErrorCode::UnknownType),
        };
        Ok(Self {
            lane,
            room: within(reader.unsigned()?)?,
            from: within(reader.unsigned()?)?,
            key: within(reader.unsigned()?)?,
            seq: within(reader.unsigned()?)?,
            time: reader.unsigned()?,
            payload: payload(&mut reader, crate::SERVER_FRAME_MAX, msgpack::DEPTH_CEILING)?,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let lane = match self.lane {
            Lane::Latest => LATEST,
            Lane::Reliable => RELIABLE,
        };
        out.push(0x97);
        for field in
            [lane, u64::from(self.room), u64::from(self.from), u64::from(self.key), u64::from(self.seq), self.time]
        {
            write_uint(out, field);
        }
        out.extend_from_slice(self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_read_back() {
        for to in [None, Some(vec![1, 70_000])] {
            let sent = ClientMove { lane: Lane::Reliable, room: 300, key: 5, seq: 70_000, to, payload: &[0x92, 1, 2] };
            let mut frame = Vec::new();
            sent.encode(&mut frame);
            assert!(is_move(&frame));
            assert_eq!(ClientMove::parse(&frame, MoveLimits::default()), Ok(sent));
        }
        let relayed = ServerMove {
            lane: Lane::Latest,
            room: 1,
            from: 2,
            key: u16::MAX,
            seq: u32::MAX,
            time: 1_767_225_600_000,
            payload: &[0xc0],
        };
        let mut frame = Vec::new();
        relayed.encode(&mut frame);
        assert!(frame.len() <= ServerMove::HEAD_MAX + 1);
        assert_eq!(ServerMove::parse(&frame), Ok(relayed));
    }
}
