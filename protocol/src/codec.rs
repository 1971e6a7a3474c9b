//! Between bytes and messages, for both encodings: envelope, `type`, opaque `data`.
//!
//! A control message is one JSON object; its MessagePack form is the same map. So there is one description of its
//! fields, and `data` of signals is spliced in untouched.

use std::borrow::Cow;

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::value::RawValue;

use crate::{
    code::ErrorCode,
    convert,
    id::RoomName,
    msgpack::{Head, Reader},
    pack,
    payload::Payload,
    unpack::{self, Field},
};

/// What serde's error text begins with when a name is misspelled.
pub(crate) const BAD_NAME: &str = "bad name";
/// What serde's error text begins with when a position cannot be read.
pub(crate) const BAD_POSITION: &str = "bad position";

/// How a connection writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Text frames, subprotocol `rallypoint.v1.json`.
    Json,
    /// Binary frames, subprotocol `rallypoint.v1.msgpack`.
    MsgPack,
}

impl Encoding {
    /// The encoding of a subprotocol.
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        match name {
            crate::SUBPROTOCOL_JSON => Some(Self::Json),
            crate::SUBPROTOCOL_MSGPACK => Some(Self::MsgPack),
            _ => None,
        }
    }

    /// The subprotocol of an encoding.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => crate::SUBPROTOCOL_JSON,
            Self::MsgPack => crate::SUBPROTOCOL_MSGPACK,
        }
    }
}

/// A message that was refused: what to answer, and to which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The request's id, where one could be read.
    pub re: Option<u64>,
    /// The numbered reason.
    pub code: ErrorCode,
    /// The same in words, for people; never echoes what the client sent.
    pub message: Cow<'static, str>,
    /// The room it was about, where one could be read.
    pub room: Option<RoomName>,
    /// In how many milliseconds it might not be refused; `None` where waiting does not help.
    pub retry_after: Option<u64>,
}

impl Refused {
    /// A refusal that answers no request in particular.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { re: None, code, message: message.into(), room: None, retry_after: code.retry_after_ms() }
    }

    /// The same refusal, by somebody who knows better how long to wait.
    #[must_use]
    pub fn for_now(self, retry_after: u64) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// The same refusal as the answer to a request.
    #[must_use]
    pub fn about(mut self, re: Option<u64>, room: Option<&RoomName>) -> Self {
        self.re = self.re.or(re);
        self.room = self.room.or_else(|| room.cloned());
        self
    }
}

/// Where there is nothing better to say, what the code means.
impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        let mut meaning = code.meaning().trim_end_matches('.').to_owned();
        if let Some(first) = meaning.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        Self::new(code, meaning)
    }
}

/// A message taken apart.
#[derive(Debug)]
pub(crate) enum Parts<'a> {
    /// The whole object, as it came.
    Json(&'a [u8]),
    /// A map, as it came.
    MsgPack {
        /// Its fields without `data`.
        fields: Vec<Field<'a>>,
        data: Option<&'a [u8]>,
        /// Its `type`, unless something about the envelope is wrong.
        kind: Option<&'a str>,
    },
}

/// The keys of [`Envelope`].
const ENVELOPE: [&str; 3] = ["type", "id", "room"];

#[derive(Deserialize)]
struct DataOnly<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> Parts<'a> {
    /// Takes a frame apart after checking depth, and in MessagePack everything else.
    pub(crate) fn of(encoding: Encoding, frame: &'a [u8], depth_max: usize) -> Result<Self, ErrorCode> {
        match encoding {
            Encoding::Json => {
                convert::check_json_depth(frame, depth_max)?;
                // serde reads structs from lists too; a message is a map.
                if frame.trim_ascii_start().starts_with(b"[") {
                    return Err(ErrorCode::Malformed);
                }
                Ok(Self::Json(frame))
            }
            Encoding::MsgPack => Self::of_map(frame, depth_max),
        }
    }

    fn of_map(frame: &'a [u8], depth_max: usize) -> Result<Self, ErrorCode> {
        // One pass over what is in order. What is not is judged as a whole first, whatever comes first in it.
        Self::of_checked_map(frame, depth_max)
            .or_else(|error| crate::msgpack::check_single(frame, depth_max).and(Err(error)))
    }

    fn of_checked_map(frame: &'a [u8], depth_max: usize) -> Result<Self, ErrorCode> {
        let mut reader = Reader::new(frame);
        let Head::Map(count) = reader.head()? else { return Err(ErrorCode::Malformed) };
        // What is announced reserves nothing.
        let mut fields = Vec::with_capacity(8.min(count));
        let (mut data, mut kind) = (None, None);
        let (mut met, mut is_repeated) = ([false; ENVELOPE.len()], false);
        for _ in 0..count {
            let Head::Text(len) = reader.head()? else { return Err(ErrorCode::Malformed) };
            let key = reader.text(len)?;
            let value = reader.skip(depth_max.saturating_sub(1))?;
            if key == "data" {
                if data.replace(value).is_some() {
                    return Err(ErrorCode::Malformed);
                }
                continue;
            }
            if let Some(at) = ENVELOPE.iter().position(|name| *name == key) {
                is_repeated |= std::mem::replace(&mut met[at], true);
                kind = if at == 0 { text_of(value) } else { kind };
            }
            fields.push((key, value));
        }
        if !reader.rest().is_empty() {
            return Err(ErrorCode::TrailingBytes);
        }
        Ok(Self::MsgPack { fields, data, kind: kind.filter(|_| !is_repeated) })
    }

    /// The `type`.
    pub(crate) fn kind(&self) -> Result<Cow<'_, str>, Refused> {
        match self {
            Self::MsgPack { kind: Some(kind), .. } => Ok(Cow::Borrowed(kind)),
            _ => self.envelope().map(|envelope| envelope.kind),
        }
    }

    /// The refusal of the message, with whatever of its envelope can be read.
    pub(crate) fn refused(&self, refused: Refused) -> Refused {
        match self.envelope() {
            Ok(envelope) => refused.about(envelope.id, envelope.room.as_ref()),
            Err(_) => refused,
        }
    }

    fn envelope(&self) -> Result<Envelope<'_>, Refused> {
        match self {
            Self::Json(_) => {
                let Raw { kind, id, room } = self.read()?;
                let (id, room) = (id.map(RawValue::get), room.map(RawValue::get));
                let id = id.and_then(|id| serde_json::from_str(id).ok());
                let room = room.and_then(|room| serde_json::from_str(room).ok());
                Ok(Envelope { kind, id, room }.safe())
            }
            Self::MsgPack { fields, .. } => {
                let Checked { kind, .. } = self.read()?;
                let field = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
                let id = field("id").and_then(|id| unpack::value(id).ok());
                let room = field("room").and_then(|room| unpack::value(room).ok());
                Ok(Envelope { kind, id, room }.safe())
            }
        }
    }

    /// Reads the fields; the error says what was wrong with them.
    pub(crate) fn read<'b, T: Deserialize<'b>>(&'b self) -> Result<T, Refused> {
        let read = match self {
            Self::Json(json) => serde_json::from_slice(json),
            Self::MsgPack { fields, .. } => unpack::read(fields.iter().copied()),
        };
        read.map_err(|error| refusal(&error))
    }

    /// The opaque value, in the encoding it came in.
    pub(crate) fn data(&self) -> Result<Payload, Refused> {
        if let Self::MsgPack { data: Some(data), .. } = self {
            return Ok(Payload::MsgPack(data.to_vec().into()));
        }
        let DataOnly { data } = self.read()?;
        convert::check_json_values(data.get())?;
        Ok(Payload::from_raw_json(data))
    }

    /// Reads the fields, `data` among them: for messages whose `data` is JSON anyway.
    pub(crate) fn read_whole<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        let Self::MsgPack { fields, data, .. } = self else { return self.read() };
        let fields = fields.iter().copied().chain(data.map(|data| ("data", data)));
        unpack::read(fields).map_err(|error| refusal(&error))
    }
}

/// A MessagePack text, if the value is one.
fn text_of(value: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(value);
    match reader.head() {
        Ok(Head::Text(len)) => reader.text(len).ok(),
        _ => None,
    }
}

/// Maps serde's words to our numbers. The text names fields and types, never values of the client.
fn refusal(error: &serde_json::Error) -> Refused {
    let text = error.to_string();
    let at = text.rfind(" at line ").unwrap_or(text.len());
    let words = text[..at].to_owned();
    let code = match error.classify() {
        serde_json::error::Category::Data if words.starts_with(BAD_NAME) => ErrorCode::BadName,
        serde_json::error::Category::Data if words.starts_with(BAD_POSITION) => ErrorCode::BadPosition,
        serde_json::error::Category::Syntax if words.starts_with("trailing characters") => ErrorCode::TrailingBytes,
        serde_json::error::Category::Syntax if words.starts_with("number out of range") => ErrorCode::BadValue,
        _ => ErrorCode::Malformed,
    };
    let echoes = words.contains("invalid type") || words.contains("invalid value");
    Refused::new(code, if echoes { "a field has the wrong type".to_owned() } else { words })
}

/// Appends `{"type": kind, …fields, "data": data}` as JSON; `fields` must be a struct.
fn write_json<T: Serialize>(kind: &str, fields: &T, data: Option<&Payload>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    let begin = out.len();
    serde_json::to_writer(&mut *out, fields).expect("our own messages always have a JSON form");
    if out[begin..] == *b"{}" {
        out.remove(begin);
    } else {
        out[begin] = b',';
    }
    if let Some(data) = data {
        out.pop();
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(&data.json());
        out.push(b'}');
    }
}

/// A message in the encoding asked for, with `data` spliced in at the end if given.
pub(crate) fn encode<T: Serialize>(encoding: Encoding, kind: &str, fields: &T, data: Option<&Payload>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(encoding, kind, fields, data, &mut out);
    out
}

/// Appends a message.
pub(crate) fn encode_into<T: Serialize>(
    encoding: Encoding,
    kind: &str,
    fields: &T,
    data: Option<&Payload>,
    out: &mut Vec<u8>,
) {
    out.reserve(128 + data.map_or(0, Payload::len));
    match encoding {
        Encoding::Json => write_json(kind, fields, data, out),
        Encoding::MsgPack => pack::write(kind, fields, data.map(Payload::msgpack).as_deref(), out),
    }
}

/// The envelope of a message, with an id and a room that can be read or none.
struct Envelope<'a> {
    kind: Cow<'a, str>,
    id: Option<u64>,
    room: Option<RoomName>,
}

impl Envelope<'_> {
    /// Without an id that JSON does not keep exactly.
    fn safe(self) -> Self {
        Self { id: self.id.filter(|id| *id <= crate::SAFE_INTEGER_MAX), ..self }
    }
}

/// The envelope in JSON, each field once.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    room: Option<&'a RawValue>,
}

/// The envelope in MessagePack, each field once.
#[derive(Deserialize)]
struct Checked<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(default, rename = "room")]
    _room: Option<IgnoredAny>,
}

/// Reads the JSON body of an HTTP request, bounded in depth.
pub fn decode_body<T: DeserializeOwned>(text: &[u8], depth_max: usize) -> Result<T, Refused> {
    convert::check_json_depth(text, depth_max)?;
    serde_json::from_slice(text).map_err(|error| refusal(&error))
}

/// A foreign value that is fit to be kept: it has a MessagePack form, and no line breaks that would
/// end an SSE `data:` line.
pub fn keep(raw: Box<RawValue>) -> Result<Box<RawValue>, ErrorCode> {
    convert::check_json_values(raw.get())?;
    Ok(match convert::single_line(raw.get()) {
        Cow::Borrowed(_) => raw,
        Cow::Owned(text) => RawValue::from_string(text).expect("removing line breaks keeps JSON valid"),
    })
}

/// Reads JSON into a type, for small values kept as text.
pub fn read_json<T: DeserializeOwned>(raw: &RawValue) -> Result<T, ErrorCode> {
    serde_json::from_str(raw.get()).map_err(|_| ErrorCode::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Empty {}

    #[test]
    fn an_empty_message_is_still_an_object() {
        assert_eq!(encode(Encoding::Json, "bye", &Empty {}, None), b"{\"type\":\"bye\"}");
        assert_eq!(encode(Encoding::MsgPack, "bye", &Empty {}, None), b"\x81\xa4type\xa3bye");
    }

    #[test]
    fn data_is_spliced_untouched() {
        // 0xcc 0x05 is 5 in a longer form than needed; forwarding must not shorten it.
        let data = Payload::MsgPack(vec![0xcc, 5].into());
        assert_eq!(encode(Encoding::MsgPack, "x", &Empty {}, Some(&data)), b"\x82\xa4type\xa1x\xa4data\xcc\x05");
        assert_eq!(encode(Encoding::Json, "x", &Empty {}, Some(&data)), b"{\"type\":\"x\",\"data\":5}");
    }
}
