//! The server from outside: real sockets, every door, one test binary.

mod agreement;
mod crowd;
mod drain;
mod house;
mod ice;
mod moves;
mod pages;
mod refusals;
mod resume;
mod spectators;
mod status;
mod support;
