//! Guests come and go for a while, and nothing of them may stay behind: no session, no socket, no memory.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{
    fs, io,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use rallypoint_proof::{
    options::{ended, seed},
    proxy::{Mix, Proxy},
    run::{
        churn::Churn,
        gauges::{Gauges, resident, slope},
        http,
        server::{Setup, more_descriptors},
    },
    seed::Seed,
};
use rallypoint_protocol::RoomName;
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// The server's settings that differ from the defaults: everybody comes from one address.
const SETTINGS: &[(&str, &str)] = &[
    ("RALLYPOINT_LIMITS__CONNECTIONS_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__PING_INTERVAL_MS", "2000"),
    ("RALLYPOINT_LOG__FILTER", "warn"),
];
/// What happens to half of the connections. Few cables are pulled, and not for long: a socket whose handshake is held
/// has no session, and would never let the gauges add up.
const MIX: Mix = Mix {
    cut: 50,
    early: 5,
    early_bytes: 2500,
    mean_up: 12_000,
    mean_down: 120_000,
    half_open: 3,
    hold: Duration::from_secs(1),
    fin: 30,
    delayed: 10,
    delay: Duration::from_millis(10),
    throttled: 0,
    throttle: 0,
    doubled: 0,
};
/// Between two looks at the gauges.
const SCRAPE: Duration = Duration::from_secs(5);
/// A socket that is between its handshake and its first message has no session yet, and one whose session has ended may
/// still be closing: so the gauges must add up at some moment of so long.
const ADDS_UP_WITHIN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);
/// How long the last may take to be gone: the grace, and a little more.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// What the memory may grow in ten minutes, in parts of what it is.
const GROWTH: f64 = 0.01;
/// A run shorter than this says nothing about growth.
const GROWTH_FROM: Duration = Duration::from_secs(600);

/// A constant number of guests connect, join, move, are cut off, resume and leave. Every few seconds the server's gauges
/// must add up; over the second half its memory must not grow.
#[derive(Debug, Parser)]
struct Options {
    /// The server's binary
    #[arg(long, default_value = "target/release/rallypoint")]
    server: PathBuf,
    /// How long, minutes
    #[arg(long = "minutes", value_name = "MINUTES", default_value = "20", value_parser = minutes)]
    time: Duration,
    /// Guests at the same time, a third of them on raw sockets; at least 3
    #[arg(long, default_value_t = 300, value_parser = |text: &str| text.parse().map(|guests: usize| guests.max(3)))]
    guests: usize,
    /// What all plans follow from [default: of the time]
    #[arg(long, default_value = "", hide_default_value = true, value_parser = seed)]
    seed: u64,
}

fn minutes(text: &str) -> Result<Duration, &'static str> {
    let minutes = text.parse::<f64>().ok().filter(|minutes| (0.1..1e4).contains(minutes));
    minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes)).ok_or("minutes are 0.1 to 10000")
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    ended("soak", run(&options).await)
}

async fn run(options: &Options) -> io::Result<bool> {
    more_descriptors()?;
    let log = std::env::temp_dir().join(format!("rallypoint-soak-{}.log", std::process::id()));
    let setup = Setup::new(&options.server, SETTINGS, log.clone())?;
    let mut server = setup.start().await?;
    let pid = server.pid().ok_or(io::ErrorKind::NotFound)?;
    let seed = options.seed;
    let proxy = Proxy::start(vec![setup.address], move |number| MIX.plan(seed, number), |_| {}).await?;
    let (over, watched) = watch::channel(false);
    let rooms = (0..options.guests.div_ceil(10)).map(|n| RoomName::new(&format!("soak/{n}")));
    let rooms = rooms.collect::<Result<_, _>>().map_err(|_| io::ErrorKind::InvalidInput)?;
    let churn = Arc::new(Churn { door: proxy.address(), rooms, tally: Default::default(), over: watched });
    let mut guests = JoinSet::new();
    for n in 0..options.guests {
        let token = http::token(setup.address, &format!("guest-{n}")).await?;
        let (own, chance) = (Arc::clone(&churn), Seed::part(seed, n as u64));
        if n % 3 == 2 {
            guests.spawn(own.sockets(token, chance))
        } else {
            guests.spawn(own.clients(token, chance))
        };
    }
    println!("soak: {} guests for {:.1} min, seed {seed}", options.guests, options.time.as_secs_f64() / 60.0);

    let watching = Watching { address: setup.address, pid, begin: Instant::now() };
    let (mut memory, mut scrapes, mut wrong) = (Vec::new(), 0, Vec::new());
    while watching.begin.elapsed() < options.time {
        sleep(SCRAPE).await;
        scrapes += 1;
        memory.push((watching.begin.elapsed().as_secs_f64(), resident(pid)?));
        if let Err(why) = watching.adds_up().await? {
            println!("{why}");
            wrong.push(why);
        }
        if scrapes % 12 == 0 {
            watching.tell(&churn, &proxy).await?;
        }
    }
    over.send_replace(true);
    while guests.join_next().await.is_some() {}
    let left = watching.emptied().await?;

    let (growth, resident) = grown(&memory);
    let long_enough = options.time >= GROWTH_FROM;
    let good = wrong.is_empty() && left.is_none() && !(long_enough && growth > GROWTH);
    let (status, took) = server.stop().await?;
    println!("{}; {}", churn.tally.line(), proxy.counts());
    println!(
        "soak: {:.1} min, {} scrapes, {} that did not add up, left behind: {}; memory {:.1} MiB, {:+.2} % in 10 min of the \
         second half{}; {status} in {} ms; {}, seed {seed}",
        options.time.as_secs_f64() / 60.0,
        scrapes,
        wrong.len(),
        left.as_deref().unwrap_or("nothing"),
        resident / 1048576.0,
        growth * 100.0,
        if long_enough { "" } else { " (too short to judge)" },
        took.as_millis(),
        if good && status.success() { "good" } else { "NOT GOOD" },
    );
    if good {
        _ = fs::remove_file(log);
    }
    Ok(good && status.success())
}

/// Growth in ten minutes over the second half, in parts of the mean; and the mean.
fn grown(memory: &[(f64, f64)]) -> (f64, f64) {
    let half = &memory[memory.len() / 2..];
    let mean = half.iter().map(|point| point.1).sum::<f64>() / half.len().max(1) as f64;
    (slope(half) * 600.0 / mean.max(1.0), mean)
}

struct Watching {
    address: std::net::SocketAddr,
    pid: u32,
    begin: Instant,
}

impl Watching {
    /// Every session that is not in grace has one socket, and every socket one session.
    async fn adds_up(&self) -> io::Result<Result<(), String>> {
        let deadline = Instant::now() + ADDS_UP_WITHIN;
        loop {
            let gauges = Gauges::read(self.address).await?;
            if gauges.websockets() == gauges.present() {
                return Ok(Ok(()));
            }
            if Instant::now() > deadline {
                let (sockets, sessions, lost) =
                    (gauges.websockets(), gauges.of("sessions"), gauges.of("sessions_lost"));
                return Ok(Err(format!("{sockets} sockets, but {sessions} sessions of which {lost} are in grace")));
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until nobody is there; else what is left.
    async fn emptied(&self) -> io::Result<Option<String>> {
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let gauges = Gauges::read(self.address).await?;
            let left: Vec<_> = ["sessions", "sessions_lost", "members", "spectators"]
                .into_iter()
                .filter(|name| gauges.of(name) != 0.0)
                .map(|name| format!("{} {name}", gauges.of(name)))
                .collect();
            // The socket that asks is open.
            let sockets = gauges.of("sockets");
            if left.is_empty() && sockets <= 1.0 {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Ok(Some(format!("{}, {sockets} sockets", left.join(", "))));
            }
            sleep(LOOK).await;
        }
    }

    async fn tell(&self, churn: &Churn, proxy: &Proxy) -> io::Result<()> {
        let gauges = Gauges::read(self.address).await?;
        println!(
            "{:6.0} s  {:.1} MiB; {} sessions, {} in grace, {} members; {}; {} cuts",
            self.begin.elapsed().as_secs_f64(),
            resident(self.pid)? / 1048576.0,
            gauges.of("sessions"),
            gauges.of("sessions_lost"),
            gauges.of("members"),
            churn.tally.line(),
            proxy.counts().cuts()
        );
        Ok(())
    }
}
