//! Instruments that prove what the server promises to those who lose their sockets.
//!
//! - [`proxy`] stands in front of a server and cuts, stalls, delays and duplicates by a plan;
//! - [`history`] records what every client sent and saw;
//! - [`check`] proves from such a record that nothing was lost, doubled, reordered or silently skipped;
//! - [`hostile`] are attacks, each with what it must be answered;
//! - [`overload`] are crowds of newcomers at each ceiling of a server, and those who were there before;
//! - [`stalled`] are members that stop reading, and those who share a room with them;
//! - [`certificate`] makes certificates, and clients that trust them;
//! - [`redis`] is an engine that a test has for itself;
//! - [`ws`] is the framing of WebSockets, for all who speak it without a library;
//! - [`run`] holds what the programs share: the server as a process, and the clients that are recorded.
//!
//! The proxy and the checker know nothing of each other: the checker finds a fault of the server whoever caused it.

pub mod certificate;
pub mod check;
pub mod history;
pub mod hostile;
pub mod options;
pub mod overload;
pub mod proxy;
pub mod redis;
pub mod run;
pub mod seed;
pub mod stalled;
pub mod ws;
