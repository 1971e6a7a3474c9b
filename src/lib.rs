//! rallypoint: a WebRTC signaling and game-state relay. One binary, one port.
//!
//! The parts and how they hang together are told in `ARCHITECTURE.md`; the wire is specified in
//! `protocol/README.md`. Layers call downwards only:
//!
//! ```text
//! main -> server -> http -> transport -> hub -> { session, room, broker } -> protocol
//! ```

pub mod audit;
pub mod auth;
pub mod broker;
pub mod ceilings;
pub mod command;
pub mod config;
pub mod frame;
mod hangup;
pub mod histogram;
pub mod http;
pub mod hub;
pub mod ice;
mod load;
pub mod log;
mod machine;
pub mod metrics;
pub mod node;
mod outbound;
pub mod pace;
pub mod proxies;
pub mod room;
pub mod server;
pub mod session;
pub mod tls;
pub mod transport;
pub mod webhooks;
