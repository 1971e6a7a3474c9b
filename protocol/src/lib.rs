//! The rallypoint wire as types: what `protocol/README.md` says in words, for the server and for
//! every Rust client.
//!
//! Nothing here opens a socket, reads a clock or keeps state.
#![deny(missing_docs)]

pub mod code;
pub mod codec;
pub mod convert;
pub mod event;
pub mod id;
pub mod moves;
pub mod msgpack;
mod pack;
pub mod payload;
pub mod position;
pub mod request;
pub mod rights;
pub mod server;
mod unpack;

pub use code::{CloseCode, ErrorCode};
pub use codec::Encoding;
pub use event::{Event, EventBody, From};
pub use id::{Kind, PeerId, RoomName, UserName};
pub use payload::Payload;
pub use position::{Cursor, Position};
pub use request::Request;
pub use rights::{Verb, Verbs};
pub use server::ServerMessage;

/// The JSON subprotocol of the WebSocket (RFC 6455 section 1.9).
pub const SUBPROTOCOL_JSON: &str = "rallypoint.v1.json";
/// The MessagePack subprotocol of the WebSocket.
pub const SUBPROTOCOL_MSGPACK: &str = "rallypoint.v1.msgpack";
/// The largest frame a server sends, in bytes; clients set their limit to it.
pub const SERVER_FRAME_MAX: usize = 1 << 20;
/// The largest integer that every JSON implementation keeps exactly (2^53 - 1).
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
