//! A rallypoint client for native programs: one connection, a handle to send with, a stream of what arrives.
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod client;
mod clock;
mod connect;
mod driver;
mod error;
mod exchange;
mod incoming;
mod options;
mod rooms;
mod wire;

pub use client::{Client, Pong};
pub use connect::{Socket, handshake};
pub use error::{Error, Problem};
pub use incoming::{Events, Incoming, Move, missed_events};
pub use options::{Credential, Options};
pub use rallypoint_protocol as protocol;
pub use tokio_tungstenite::tungstenite;
