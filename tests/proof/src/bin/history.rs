//! Plays a history with thousands of faults and proves that the server kept its promises.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use rallypoint_proof::{
    check::check,
    options::{concluded, seed},
    run::{
        cast::Scale,
        course::{Course, Done, SETTINGS},
    },
};

/// Clients of every kind talk through a proxy that cuts their connections; the server is restarted in between. What they
/// saw is recorded and checked: nothing lost, doubled, reordered or silently skipped.
#[derive(Debug, Parser)]
struct Options {
    /// The server's binary
    #[arg(long, default_value = "target/release/rallypoint")]
    server: PathBuf,
    /// Cuts
    #[arg(long = "n", value_name = "N", default_value_t = 300)]
    cuts: u64,
    /// The same seed gives the same plans and the same traffic, not the same timing [default: of the time]
    #[arg(long, default_value = "", hide_default_value = true, value_parser = seed)]
    seed: u64,
    /// Cuts between two restarts [default: N / 20, at least 100]
    #[arg(long)]
    every: Option<u64>,
    /// One room and few clients: a history that a person can read
    #[arg(long)]
    small: bool,
    /// Between the proxy and the server TLS is spoken
    #[arg(long)]
    tls: bool,
    /// Where a history that breaks a promise is left
    #[arg(long, default_value = "target")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let folder = options.out.join(format!("history-{}", options.seed));
    let outcome = run(&options, &folder).await;
    concluded("history", options.seed, &folder, outcome)
}

async fn run(options: &Options, folder: &Path) -> io::Result<bool> {
    println!("history: {} cuts, seed {}", options.cuts, options.seed);
    for (key, value) in SETTINGS {
        println!("  {key}={value}");
    }
    fs::create_dir_all(folder)?;
    let course = Course {
        server: options.server.clone(),
        cuts: options.cuts,
        every: options.every.unwrap_or((options.cuts / 20).max(100)),
        seed: options.seed,
        scale: if options.small { Scale::SMALL } else { Scale::FULL },
        tls: options.tls,
        folder: folder.to_owned(),
    };
    let Done { history, counts, took } = course.run().await?;
    let begin = Instant::now();
    let report = check(&history);
    println!("checked {} records in {:.1} s", history.records.len(), begin.elapsed().as_secs_f64());
    println!("{counts}");
    if report.found > 0 {
        report.leave(folder, &history)?;
    }
    println!(
        "history: {}; {} violations {:?}; {:.0} s, seed {}",
        report.tally,
        report.found,
        report.kinds,
        took.as_secs_f64(),
        options.seed
    );
    Ok(report.found == 0)
}
