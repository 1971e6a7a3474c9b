//! How long a message takes to a server and back, in the clear and over TLS, each in turn in one run. Nothing is asked about
//! time; every message has to come back.

use std::{io, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use rallypoint_proof::{
    certificate::{connector, server_name},
    hostile::pair::Latency,
    options::ended,
    run::{
        http,
        server::Setup,
        wire::{Wire, connect},
    },
};
use rallypoint_protocol::Encoding;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

/// Messages in a turn, and turns. The first turn of each is not counted.
const MESSAGES: usize = 200;
const TURNS: usize = 20;

/// Measures the round trip of the message `ping` with two servers of its own, one of which speaks TLS.
#[derive(Debug, Parser)]
struct Options {
    /// The server's binary
    #[arg(long, default_value = "target/release/rallypoint")]
    server: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    ended("echo", run(&options).await.map(|()| true))
}

async fn run(options: &Options) -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("rallypoint-echo-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let measured = measure(options, &folder).await;
    std::fs::remove_dir_all(&folder)?;
    let [clear, tls] = measured?.map(Latency::of);
    println!(
        "echo: {} messages each; in the clear p50 {:.1} us, p99 {:.1} us; over TLS p50 {:.1} us, p99 {:.1} us; {:.2} times \
         at p50",
        clear.count,
        clear.p50,
        clear.p99,
        tls.p50,
        tls.p99,
        tls.p50 / clear.p50
    );
    Ok(())
}

async fn measure(options: &Options, folder: &std::path::Path) -> io::Result<[Vec<f64>; 2]> {
    let log = folder.join("log");
    let settings = [
        ("RALLYPOINT_LIMITS__REQUESTS_PER_SECOND", "100000"),
        ("RALLYPOINT_LIMITS__REQUESTS_BURST", "100000"),
        ("RALLYPOINT_LOG__FILTER", "warn"),
    ];
    let clear = Setup::new(&options.server, &settings, log.clone())?;
    let secured = Setup::new(&options.server, &settings, log)?.over_tls(folder)?;
    let (mut one, mut other) = (clear.start().await?, secured.start().await?);
    // Both take the tokens of development.
    let token = http::token(clear.address, "ada").await?;
    let open = |address| connect(address, std::net::Ipv4Addr::LOCALHOST, None);
    let mut plain = Wire::open(open(clear.address).await?, Some(&token), Encoding::Json).await?;
    let identity = secured.identity.as_deref().ok_or(io::ErrorKind::NotFound)?;
    let connector = connector(&[identity], &[b"http/1.1"])?;
    let socket = connector.connect(server_name(), open(secured.address).await?).await?;
    let mut tls = Wire::open(socket, Some(&token), Encoding::Json).await?;
    plain.said("connected").await?;
    tls.said("connected").await?;
    let mut measured = [Vec::new(), Vec::new()];
    for turn in 0..=TURNS {
        let trips = [trips(&mut plain).await?, trips(&mut tls).await?];
        if turn > 0 {
            measured.iter_mut().zip(trips).for_each(|(all, some)| all.extend(some));
        }
    }
    one.stop().await?;
    other.stop().await?;
    Ok(measured)
}

/// Microseconds, of one message after the other.
async fn trips<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> io::Result<Vec<f64>> {
    let mut trips = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        let begin = Instant::now();
        wire.say(&json!({ "type": "ping" })).await?;
        wire.said("pong").await?;
        trips.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    Ok(trips)
}
