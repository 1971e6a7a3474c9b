//! What nodes say to each other about a room in which both have a part, and that no log keeps.

use bytes::Bytes;
use rallypoint_protocol::{PeerId, RoomName, convert, moves::Lane, msgpack, payload::Payload, request::SignalKind};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Something for the members on one other node: it arrives once and in order, or its loss is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Parcel {
    /// A signal to a member.
    Signal {
        /// The room.
        room: RoomName,
        /// Who sends it.
        from: PeerId,
        /// Who gets it.
        to: PeerId,
        /// An offer, an answer or a candidate.
        kind: SignalKind,
        /// What.
        data: Data,
    },
    /// A reliable move.
    Move {
        /// The room.
        room: RoomName,
        /// What.
        step: Step,
    },
    /// Something of this room was lost on the way.
    Lost {
        /// The room.
        room: RoomName,
    },
}

impl Parcel {
    /// The room that it is about.
    pub fn room(&self) -> &RoomName {
        match self {
            Self::Signal { room, .. } | Self::Move { room, .. } | Self::Lost { room } => room,
        }
    }

    /// About as many bytes as it takes.
    pub fn size(&self) -> usize {
        let data = match self {
            Self::Signal { data, .. } => data.len(),
            Self::Move { step, .. } => step.size(),
            Self::Lost { .. } => 0,
        };
        data + self.room().as_str().len() + OVERHEAD
    }
}

/// Names of fields aside, what a message takes besides its data.
const OVERHEAD: usize = 64;

/// Something for the members on all other nodes, that may be lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Whisper {
    /// A move of which only the latest counts.
    Move(Step),
    /// A member types, or stopped.
    Typing(PeerId, bool),
    /// The round trip to a member and its jitter, in milliseconds.
    Latency(PeerId, f64, f64),
}

impl Whisper {
    /// Whether this makes an earlier one worthless.
    pub fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Move(step), Self::Move(before)) => {
                (step.peer, step.key, &step.to) == (before.peer, before.key, &before.to)
            }
            (Self::Typing(peer, _), Self::Typing(before, _)) | (Self::Latency(peer, ..), Self::Latency(before, ..)) => {
                peer == before
            }
            _ => false,
        }
    }

    /// About as many bytes as it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Move(step) => step.size() + OVERHEAD,
            Self::Typing(..) | Self::Latency(..) => OVERHEAD,
        }
    }
}

/// A move of a member of another node, which was checked and numbered there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Who moves.
    pub peer: PeerId,
    /// Its delivery promise.
    pub lane: Lane,
    /// The sender's key.
    pub key: u16,
    /// The sender's sequence number.
    pub seq: u32,
    /// When it came to the sender's node, Unix milliseconds.
    pub time: u64,
    /// Who gets it; `None` means everybody else.
    pub to: Option<Vec<PeerId>>,
    /// What.
    pub data: Data,
}

impl Step {
    fn size(&self) -> usize {
        self.data.len() + self.to.as_ref().map_or(0, |to| to.len() * size_of::<PeerId>())
    }
}

/// A payload in the encoding of its sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    /// JSON text.
    Json(Bytes),
    /// A MessagePack value.
    MsgPack(Bytes),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::Json(bytes) | Self::MsgPack(bytes) => bytes.len(),
        }
    }

    /// What a client may be given; `None` if it is no value. The engine is trusted to keep it, and not trusted with a
    /// panic.
    pub fn payload(self) -> Option<Payload> {
        match self {
            Self::MsgPack(bytes) => {
                msgpack::check_single(&bytes, msgpack::DEPTH_CEILING).ok()?;
                Some(Payload::MsgPack(bytes))
            }
            Self::Json(bytes) => {
                convert::check_json_depth(&bytes, msgpack::DEPTH_CEILING).ok()?;
                let raw: &RawValue = serde_json::from_slice(&bytes).ok()?;
                convert::check_json_values(raw.get()).ok()?;
                Some(Payload::from_raw_json(raw))
            }
        }
    }
}

impl From<Payload> for Data {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Json(bytes) => Self::Json(bytes),
            Payload::MsgPack(bytes) => Self::MsgPack(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(key: u16, data: Data) -> Step {
        let to = Some(vec![PeerId::random()]);
        Step { peer: PeerId::random(), lane: Lane::Reliable, key, seq: 7, time: 1, to, data }
    }

    #[test]
    fn what_nodes_write_they_read() {
        let room = RoomName::new("match/7").unwrap();
        let data = || Data::MsgPack(Bytes::from_static(&[0x93, 1, 2, 3]));
        let (from, to) = (PeerId::random(), PeerId::random());
        let signal = Parcel::Signal { room: room.clone(), from, to, kind: SignalKind::IceCandidate, data: data() };
        let parcels = [signal, Parcel::Move { room: room.clone(), step: step(1, data()) }, Parcel::Lost { room }];
        let bytes = rmp_serde::to_vec(&parcels).unwrap();
        assert_eq!(rmp_serde::from_slice::<[Parcel; 3]>(&bytes).unwrap(), parcels);
        assert!(bytes.len() <= parcels.iter().map(Parcel::size).sum());
        let whispers = [Whisper::Move(step(1, data())), Whisper::Typing(from, true), Whisper::Latency(to, 1.5, 0.1)];
        let bytes = rmp_serde::to_vec(&whispers).unwrap();
        assert_eq!(rmp_serde::from_slice::<[Whisper; 3]>(&bytes).unwrap(), whispers);
        assert!(bytes.len() <= whispers.iter().map(Whisper::size).sum());
    }

    #[test]
    fn only_values_are_handed_on() {
        let json = |text: &'static str| Data::Json(Bytes::from_static(text.as_bytes())).payload();
        let msgpack = |bytes: &'static [u8]| Data::MsgPack(Bytes::from_static(bytes)).payload();
        assert_eq!(json("[1]").unwrap().msgpack()[..], [0x91, 1]);
        assert_eq!(msgpack(&[0x91, 1]).unwrap().json()[..], *b"[1]");
        for bad in ["", "[1", "1e999", "\"\\ud800\"", &"[".repeat(200).leak()[..]] {
            assert_eq!(json(bad), None, "{bad}");
        }
        for bad in [&[][..], &[0x91], &[1, 1], &[0xc1]] {
            assert_eq!(msgpack(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_the_same_of_the_same_member_is_replaced() {
        let one = step(1, Data::Json(Bytes::new()));
        let newer = Step { seq: 8, ..one.clone() };
        assert!(Whisper::Move(newer).replaces(&Whisper::Move(one.clone())));
        for other in [Step { key: 2, ..one.clone() }, Step { to: None, ..one.clone() }, step(1, one.data.clone())] {
            assert!(!Whisper::Move(other).replaces(&Whisper::Move(one.clone())));
        }
        assert!(Whisper::Typing(one.peer, false).replaces(&Whisper::Typing(one.peer, true)));
        assert!(!Whisper::Typing(one.peer, false).replaces(&Whisper::Latency(one.peer, 1.0, 1.0)));
    }
}
