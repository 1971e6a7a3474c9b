//! The server from outside: real sockets, every door, one test binary.

mod agreement;
mod refusals;
mod spectators;
mod support;
