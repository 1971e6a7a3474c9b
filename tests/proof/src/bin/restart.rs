//! Restarts the server under load and looks at how everybody comes back: all of them, in time, as the same peers, and
//! not all in one moment.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{ExitCode, ExitStatus},
    time::{Duration, Instant},
};

use clap::Parser;
use rallypoint_proof::{
    check::check,
    history::{History, Role, What, unix_ms},
    options::{ended, seed},
    proxy::Mix,
    run::{
        cast::Scale,
        play::Pace,
        server::{Setup, more_descriptors},
        stage::Stage,
    },
};
use tokio::time::{MissedTickBehavior, interval};

/// The server's settings that differ from the defaults: everybody comes from one address. What the node takes from all
/// addresses together is the default.
const SETTINGS: &[(&str, &str)] = &[
    ("RALLYPOINT_LIMITS__CONNECTIONS_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__ACCEPTS_PER_SECOND_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__ACCEPTS_BURST_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__REQUESTS_PER_SECOND_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__REQUESTS_BURST_PER_IP", "20000"),
    ("RALLYPOINT_LOG__FILTER", "warn"),
];
/// Members of a room.
const ROOM: usize = 10;
/// The server's drain time, and a little more.
const END_WITHIN: Duration = Duration::from_secs(21);
/// One bar in the list of knocks.
const STEP: Duration = Duration::from_millis(100);
/// How long everybody may take to come in at the beginning.
const ENTER_WITHIN: Duration = Duration::from_secs(120);

/// Fills a server, asks it to end (SIGTERM), starts it again on the same address, and looks at who comes back, when, and
/// as whom. How often clients knock is listed for each second. With `--service` somebody else does both.
#[derive(Debug, Parser)]
struct Options {
    /// The server's binary
    #[arg(long, default_value = "target/release/rallypoint")]
    server: PathBuf,
    /// A service that runs at this address, in development mode, in place of a server of our own
    #[arg(long, value_name = "ADDRESS:PORT", requires = "replace")]
    service: Option<SocketAddr>,
    /// The shell command that replaces the service
    #[arg(long, value_name = "COMMAND", requires = "service")]
    replace: Option<String>,
    /// WebSockets of members, ten in a room; at least 2
    #[arg(long, default_value_t = 1500, value_parser = |text: &str| text.parse().map(|sockets: usize| sockets.max(2)))]
    sockets: usize,
    /// Event streams
    #[arg(long, default_value_t = 300)]
    streams: usize,
    /// Long polls
    #[arg(long, default_value_t = 200)]
    polls: usize,
    /// Seconds after the new start within which everybody is back
    #[arg(long, default_value_t = 10)]
    within: u64,
    /// What all plans follow from [default: of the time]
    #[arg(long, default_value = "", hide_default_value = true, value_parser = seed)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    ended("restart", run(&options).await)
}

fn scale(options: &Options) -> Scale {
    // Little talk, so that a second measures coming back and not the talking.
    let pace = Pace {
        moves: Duration::from_secs(10),
        signals: Duration::from_secs(15),
        talk: Duration::from_secs(20),
        stroll: None,
    };
    Scale {
        rooms: options.sockets.div_ceil(ROOM),
        members: options.sockets,
        rooms_each: 1,
        watchers: 0,
        streams: options.streams,
        polls: options.polls,
        // What a stream tells a browser in `retry`.
        pause: Duration::from_secs(2),
        backends: 2,
        pace,
        posts: Duration::from_millis(100),
    }
}

async fn run(options: &Options) -> io::Result<bool> {
    more_descriptors()?;
    let log = std::env::temp_dir().join(format!("rallypoint-restart-{}.log", std::process::id()));
    let setup = match options.service {
        Some(address) => Setup::of_service(address),
        None => Setup::new(&options.server, SETTINGS, log.clone())?,
    };
    let mut stage = Stage::open(setup, Mix::default(), options.seed, &scale(options)).await?;
    if !stage.scene.until(ENTER_WITHIN, || stage.scene.is_everybody_in()).await {
        return Err(io::Error::other("not everybody came in"));
    }
    stage.scene.tell("everybody is in");
    let (status, took) = match &options.replace {
        Some(command) => {
            let (status, closed) = stage.replace(command).await?;
            println!("replaced: {status}; the port was closed for {} ms", closed.as_millis());
            (status, closed)
        }
        None => restart(&mut stage).await?,
    };
    knocks(&stage, options.within).await;
    let ended_well = status.success() && took <= END_WITHIN;
    let history = stage.close().await?;
    let back = Back::of(&history, options.within);
    println!("{back}");
    let report = check(&history);
    for violation in report.violations.iter().take(5) {
        println!("{}", violation.tell(&history));
    }
    let good = ended_well && back.is_good() && report.found == 0;
    println!(
        "restart: {} WebSockets, {} streams, {} polls, ended in {} ms; {}; {} violations {:?}; {}, seed {}",
        options.sockets,
        options.streams,
        options.polls,
        took.as_millis(),
        back.line(),
        report.found,
        report.kinds,
        if good { "good" } else { "NOT GOOD" },
        options.seed
    );
    if good {
        _ = fs::remove_file(log);
    }
    Ok(good)
}

/// Stops our own server and starts it again: how it ended, and how long that took.
async fn restart(stage: &mut Stage) -> io::Result<(ExitStatus, Duration)> {
    let stopped = unix_ms();
    let (status, took) = stage.stop().await?;
    println!("SIGTERM: {status}, after {} ms", took.as_millis());
    stage.start().await?;
    println!("started again {:.0} ms after SIGTERM", unix_ms() - stopped);
    Ok((status, took))
}

/// Lists how many connections came in each step, for as long as everybody has to come back.
async fn knocks(stage: &Stage, within: u64) {
    let begin = Instant::now();
    let mut ticks = interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut second, mut most) = (stage.scene.counts().connections, 0, 0);
    ticks.tick().await;
    println!("connections per second, and the most in {} ms:", STEP.as_millis());
    let mut out = io::stdout();
    for step in 1..=within * 10 {
        ticks.tick().await;
        let now = stage.scene.counts().connections;
        let new = now - last;
        last = now;
        second += new;
        most = most.max(new);
        if step % 10 == 0 {
            _ = writeln!(out, "  {:4.1} s  {second:5}  {most:5}", begin.elapsed().as_secs_f64());
            (second, most) = (0, 0);
        }
    }
}

/// Who came back after the last start, and when.
#[derive(Debug, Default)]
struct Back {
    /// Clients that follow something.
    all: usize,
    /// Milliseconds after the start at which each came.
    came: Vec<u32>,
    /// Members that came as somebody else.
    others: usize,
    within: u32,
}

impl Back {
    fn of(history: &History, within: u64) -> Self {
        // Between the end of one life and the record of the next nobody comes in, and whoever is quick may come before it.
        let last = |is: fn(&What) -> bool| history.records.iter().rposition(|record| is(&record.what)).unwrap_or(0);
        let started = last(|what| matches!(what, What::Ended { .. }));
        let begin = history.records.get(last(|what| matches!(what, What::Started { .. })));
        let begin = begin.map_or(0, |record| record.at);
        let within = u32::try_from(within * 1000).unwrap_or(u32::MAX);
        let mut back = Self { within, ..Self::default() };
        for (client, _) in history.clients.iter() {
            let feed = matches!(history.role(client), Role::Stream | Role::Poll);
            if !feed && history.role(client) != Role::Member {
                continue;
            }
            back.all += 1;
            let own =
                |from: usize, to: usize| history.records[from..to].iter().filter(move |record| record.client == client);
            let opened = |record: &&rallypoint_proof::history::Record| match record.what {
                What::Opened { peer, .. } => Some(peer),
                _ => None,
            };
            let before = own(0, started).rev().find_map(|record| opened(&record));
            let after = own(started, history.records.len())
                .find_map(|record| Some((record.at.saturating_sub(begin), opened(&record)?)));
            if let Some((at, peer)) = after {
                back.came.push(at);
                back.others += usize::from(!feed && before != Some(peer));
            }
        }
        back.came.sort_unstable();
        back
    }

    fn in_time(&self) -> usize {
        self.came.partition_point(|&at| at <= self.within)
    }

    fn is_good(&self) -> bool {
        self.in_time() == self.all && self.others == 0
    }

    fn line(&self) -> String {
        let of = |part: f64| self.came.get((self.came.len() as f64 * part) as usize).or(self.came.last()).copied();
        format!(
            "{} of {} back within {} ms, half of them after {} ms, the last after {} ms, {} as somebody else",
            self.in_time(),
            self.all,
            self.within,
            of(0.5).unwrap_or_default(),
            self.came.last().copied().unwrap_or_default(),
            self.others
        )
    }
}

impl std::fmt::Display for Back {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "back per second:")?;
        for second in 0..=self.came.last().copied().unwrap_or_default() / 1000 {
            let here = self.came.iter().filter(|&&at| at / 1000 == second).count();
            write!(f, " {here}")?;
        }
        Ok(())
    }
}
