//! The server from outside: real sockets, every door, one test binary.

mod agreement;
mod refusals;
mod spectators;
#[allow(dead_code, unused_imports, reason = "shared by modules that come one by one")]
mod support;
