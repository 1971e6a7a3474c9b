//! The server from outside: real sockets, every door, one test binary.

mod agreement;
mod audit;
mod broker;
mod contract;
mod crowd;
mod documents;
mod drain;
mod house;
mod ice;
mod jwks;
mod manual;
mod moves;
mod nodes;
mod overload;
mod pages;
mod proxies;
mod refusals;
mod resume;
mod service;
mod spectators;
mod status;
mod support;
mod tickets;
mod tls;
mod trace;
mod webhooks;
