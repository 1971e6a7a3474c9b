//! An opaque value in the encoding its sender used; the other encoding is made only if a receiver
//! needs it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{code::ErrorCode, convert, msgpack::DEPTH_CEILING};

/// One value: the `data` of a signal or a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// JSON text on a single line.
    Json(Bytes),
    /// One checked MessagePack value.
    MsgPack(Bytes),
}

impl Payload {
    /// Keeps JSON text that a parser has seen.
    pub fn from_raw_json(raw: &RawValue) -> Self {
        Self::Json(Bytes::copy_from_slice(convert::single_line(raw.get()).as_bytes()))
    }

    /// Encodes a value as JSON.
    pub fn json_of<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|text| Self::Json(text.into()))
    }

    /// Size in the sender's encoding, in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(bytes) | Self::MsgPack(bytes) => bytes.len(),
        }
    }

    /// Whether there are no bytes at all (never so for a received payload).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value as JSON text.
    pub fn json(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Json(text) => Cow::Borrowed(text),
            Self::MsgPack(bytes) => {
                let mut out = Vec::with_capacity(bytes.len() * 2);
                convert::to_json(bytes, DEPTH_CEILING, &mut out).expect("the payload was checked when it came in");
                Cow::Owned(out)
            }
        }
    }

    /// The value as MessagePack.
    pub fn msgpack(&self) -> Cow<'_, [u8]> {
        match self {
            Self::MsgPack(bytes) => Cow::Borrowed(bytes),
            Self::Json(text) => {
                let mut out = Vec::with_capacity(text.len());
                convert::from_json(text, &mut out).expect("the payload was parsed when it came in");
                Cow::Owned(out)
            }
        }
    }

    /// The value as JSON that can stand inside a larger message.
    pub fn to_raw_json(&self) -> Box<RawValue> {
        let text = String::from_utf8(self.json().into_owned()).expect("JSON text is UTF-8");
        RawValue::from_string(text).expect("a payload is one JSON value")
    }

    /// Reads the value into a type of the application.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ErrorCode> {
        serde_json::from_slice(&self.json()).map_err(|_| ErrorCode::Malformed)
    }
}
