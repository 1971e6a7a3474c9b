//! A rallypoint client for native programs: one session over as many sockets as it takes, a handle to send
//! with, a stream of what arrives.
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod access;
mod away;
mod backoff;
mod client;
mod clock;
mod connect;
mod counted;
mod driver;
mod error;
mod handles;
mod incoming;
mod moves;
mod open;
mod options;
mod requests;
mod rooms;
mod session;
mod token;
mod wire;

pub use client::{Client, Pong};
pub use connect::{Socket, handshake};
pub use error::{Error, Problem};
pub use incoming::{Events, Incoming, Move, missed_events};
pub use options::{Credential, Options};
pub use rallypoint_protocol as protocol;
pub use token::{NoToken, Token};
pub use tokio_tungstenite::tungstenite;
