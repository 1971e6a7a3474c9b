//! Nodes on a cluster of engines lose one part after the other while everybody talks, and what everybody saw is checked.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use rallypoint_proof::{
    check::check,
    history::{History, What},
    options::{concluded, seed},
    run::{
        server::more_descriptors,
        site::{ENGINE_IS_BACK, NODES, Site, Strike, scale},
    },
};

/// Three nodes on a Redis Cluster of three masters and three replicas, rooms of eight whose members are on all nodes.
/// A master is killed, a node is killed, a node is frozen for 10 s, slots move. What everybody saw is recorded and checked:
/// resets are allowed, silent gaps are not. How long each took to recover is printed.
#[derive(Debug, Parser)]
struct Options {
    /// The server's binary
    #[arg(long, default_value = "target/release/rallypoint")]
    server: PathBuf,
    /// Rooms of eight
    #[arg(long, default_value_t = 100, value_parser = |text: &str| text.parse().map(|rooms: usize| rooms.max(2)))]
    rooms: usize,
    /// How often all that is done is done
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Kill all of the engine, too, as the last: it is away for so many seconds, and comes back with nothing
    #[arg(long, default_value_t = 0)]
    outage: u64,
    /// The same seed gives the same traffic, not the same timing [default: of the time]
    #[arg(long, default_value = "", hide_default_value = true, value_parser = seed)]
    seed: u64,
    /// Where a history that breaks a promise is left
    #[arg(long, default_value = "target")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let folder = options.out.join(format!("chaos-{}", options.seed));
    let outcome = run(&options, &folder).await;
    concluded("chaos", options.seed, &folder, outcome)
}

async fn run(options: &Options, folder: &Path) -> io::Result<bool> {
    println!("chaos: {NODES} nodes, {} rooms of eight, seed {}", options.rooms, options.seed);
    more_descriptors()?;
    fs::create_dir_all(folder)?;
    let outage = Duration::from_secs(options.outage);
    let mut site = Site::open(&options.server, folder.to_owned(), options.seed, &scale(options.rooms), outage).await?;
    let mut recoveries = Vec::new();
    let strikes = std::iter::repeat_n(Strike::PARTS, options.rounds).flatten();
    for strike in strikes.chain((options.outage > 0).then_some(Strike::KillEngine)) {
        recoveries.push(site.strike(strike).await?);
    }
    let history = site.close().await?;
    let report = check(&history);
    let (signals, moves) = went_on(&history);
    if options.outage > 0 {
        println!("  without an engine {signals} signals and {moves} moves went on between members of one node");
    }
    if report.found > 0 {
        report.leave(folder, &history)?;
    }
    recoveries.iter().for_each(|recovery| println!("  {recovery}"));
    println!("chaos: {}; {} violations {:?}, seed {}", report.tally, report.found, report.kinds, options.seed);
    Ok(report.found == 0 && (options.outage == 0 || signals.min(moves) > 0))
}

/// Signals and moves that arrived while there was no engine.
fn went_on(history: &History) -> (usize, usize) {
    let (mut signals, mut moves, mut is_away) = (0, 0, false);
    for record in &history.records {
        match record.what {
            What::Struck { what, .. } if what == Strike::KillEngine.name() => is_away = true,
            What::Struck { what: ENGINE_IS_BACK, .. } => is_away = false,
            What::Signal { .. } if is_away => signals += 1,
            What::Moved { .. } if is_away => moves += 1,
            _ => {}
        }
    }
    (signals, moves)
}
