//! The server's connection code as an echo, for suites that test WebSocket implementations;
//! `make conformance` starts it. It listens on a free port of loopback, says where, and runs until
//! it is killed.
//!
//! The limits that it raises are listed in `tests/conformance/README.md`, each with its reason.

use std::net::{Ipv4Addr, SocketAddr};

use rallypoint::{config::Config, server::Server};

/// The largest message of the suite has 16 MiB.
const FRAME: usize = 64 << 20;
/// The suite sends a thousand messages before it reads the first.
const OUTBOUND: usize = 1 << 30;
/// Longer than any case takes. An echo authenticates nobody, so its deadline would end every case.
const AUTH_DEADLINE_MS: u64 = 3_600_000;

#[tokio::main]
async fn main() {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { listen, pages: false, ..Config::default() };
    // Without a key the server would not start; nobody shows this one a token.
    config.auth.dev = true;
    config.limits.frame = FRAME;
    config.limits.outbound_budget = OUTBOUND;
    config.limits.auth_deadline_ms = AUTH_DEADLINE_MS;
    let server = Server::bind(config).await.expect("a free port of loopback").echoing();
    println!("the echo listens on http://{}/", server.address());
    server.run(std::future::pending()).await;
}
