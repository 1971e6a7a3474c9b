//! Members that stop reading, in rooms where much is said: what the server keeps for them, what the others notice, and how
//! it ends for them.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{fs, io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, builder::RangedU64ValueParser};
use rallypoint_proof::{
    options::ended,
    run::server::descriptors,
    stalled::{Plan, Run, run as one_run},
};

/// The most that the p99 of those who read may be, in parts of that of the run before it without stalled members.
const SLOWER: f64 = 1.5;
const DESCRIPTORS: u64 = 20_000;

/// Rooms in which much is said, once without and once with members that stop reading, in pairs one after the other. What
/// is said are events (`publish` of 2000 bytes): nothing may be left out of them, so a member that stops must be closed.
#[derive(Debug, Parser)]
struct Options {
    /// The server's binary
    #[arg(long, default_value = "target/release/rallypoint")]
    server: PathBuf,
    /// How long each run talks, seconds
    #[arg(long, default_value_t = 60, value_parser = at_least(1))]
    seconds: usize,
    /// Rooms
    #[arg(long, default_value_t = 20, value_parser = at_least(1))]
    rooms: usize,
    /// Members of each room that read
    #[arg(long, default_value_t = 50, value_parser = at_least(2))]
    clients: usize,
    /// Members of each room that stop reading, besides these
    #[arg(long, default_value_t = 5, value_parser = at_least(1))]
    stalled: usize,
    /// Events a second in each room, by senders in turn
    #[arg(long, default_value_t = 20, value_parser = at_least(1))]
    rate: usize,
    /// Bytes of an event's data
    #[arg(long, default_value_t = 2000, value_parser = at_least(1))]
    bytes: usize,
    /// Pairs of runs
    #[arg(long, default_value_t = 3, value_parser = at_least(1))]
    pairs: usize,
}

fn at_least(least: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=100_000)
}

impl Options {
    /// A run with so many members of each room that stop reading.
    fn plan(&self, stalled: usize) -> Plan {
        let Self { rooms, clients, rate, bytes, .. } = *self;
        let time = Duration::from_secs(self.seconds as u64);
        Plan { time, rooms, clients: clients + stalled, stalled, rate, bytes }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    ended("stalled", run(&options).await)
}

async fn run(options: &Options) -> io::Result<bool> {
    descriptors(DESCRIPTORS)?;
    let log = std::env::temp_dir().join(format!("rallypoint-stalled-{}.log", std::process::id()));
    let (mut ratios, mut wrong) = (Vec::new(), 0);
    for pair in 0..options.pairs {
        let calm = one(options, &options.plan(0), &log).await?;
        let plan = options.plan(options.stalled);
        let with = one(options, &plan, &log).await?;
        let more = with.memory_peak - calm.memory_peak;
        let bound = plan.bound();
        let ratio = with.latency.p99 / calm.latency.p99;
        ratios.push(ratio);
        for run in [&calm, &with] {
            run.wrong.iter().for_each(|why| println!("  WRONG: {why}"));
            wrong += run.wrong.len();
        }
        println!(
            "  pair {}: p99 {:.2} ms and {:.2} ms, {ratio:.2} times; memory {:+.1} MiB of at most {:.1} MiB",
            pair + 1,
            calm.latency.p99,
            with.latency.p99,
            more / 1048576.0,
            bound / 1048576.0
        );
        if more > bound {
            println!("  WRONG: more memory than the bound");
            wrong += 1;
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::INFINITY);
    let good = wrong == 0 && median <= SLOWER;
    println!(
        "stalled: {} rooms of {} readers, {} stalled besides; {} violations; p99 {median:.2} times that without (median of {:.2?}, \
         at most {SLOWER}); {}",
        options.rooms,
        options.clients,
        options.stalled,
        wrong,
        ratios,
        if good { "good" } else { "NOT GOOD" }
    );
    if good {
        _ = fs::remove_file(log);
    }
    Ok(good)
}

async fn one(options: &Options, plan: &Plan, log: &std::path::Path) -> io::Result<Run> {
    let run = one_run(&options.server, plan, log).await?;
    println!("  {}", run.line());
    Ok(run)
}
