//! Attacks a server, one attack after the other, and looks at what it answers, at what stays behind in it, and at what a
//! normal pair notices.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{
    fs, io,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use rallypoint_proof::{
    hostile::{
        ATTACKS, Attack, SETTINGS, SETTLES,
        ground::Ground,
        pair::{Latency, Pair},
    },
    options::ended,
    run::{
        gauges::{Gauges, resident},
        server::{Setup, descriptors},
    },
};
use tokio::time::sleep;

/// Descriptors of this process, and of the server.
const DESCRIPTORS: u64 = 20_000;
/// The pair alone, to compare with.
const CALM: Duration = Duration::from_secs(3);
/// Rounds of an attack at most.
const ROUNDS: usize = 4;
/// What a round may add to the server's memory. The first rounds do: allocators keep what they once had, for each thread
/// and each size. What leaks, leaks in every round; so it is enough if one round after the first adds less than
/// this: 3.5 KiB for each of 300 connections, 58 bytes for each of 18 000.
const ADDS: f64 = 1024.0 * 1024.0;
/// What must be as before. More would have stayed behind; there may be less, since logs age.
const GAUGES: &[&str] = &[
    "sockets",
    "connections{transport=\"websocket\"}",
    "connections{transport=\"sse\"}",
    "connections{transport=\"poll\"}",
    "sessions",
    "sessions_lost",
    "rooms",
    "members",
    "spectators",
    "log_bytes",
];

/// Carries out attacks against a server of its own, each at least twice. What the server answers must be what the
/// protocol says; its gauges must return to what they were; another round must add no memory; a normal pair must not be
/// disturbed.
#[derive(Debug, Parser)]
#[command(after_help = attacks())]
struct Options {
    /// The server's binary
    #[arg(long, default_value = "target/release/rallypoint")]
    server: PathBuf,
    /// The attacks whose names have this word
    #[arg(long, default_value = "", value_parser = word_of_an_attack)]
    only: String,
}

fn attacks() -> String {
    ATTACKS.iter().fold("The attacks:".to_owned(), |list, attack| list + "\n  " + attack.name)
}

fn word_of_an_attack(word: &str) -> Result<String, &'static str> {
    let known = ATTACKS.iter().any(|attack| attack.name.contains(word));
    known.then(|| word.to_owned()).ok_or("no attack has it in its name")
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    ended("hostile", run(&options).await)
}

async fn run(options: &Options) -> io::Result<bool> {
    descriptors(DESCRIPTORS)?;
    let begin = Instant::now();
    let log = std::env::temp_dir().join(format!("rallypoint-hostile-{}.log", std::process::id()));
    let setup = Setup::new(&options.server, SETTINGS, log.clone())?;
    let mut server = setup.start().await?;
    println!(
        "{DESCRIPTORS} descriptors; {}",
        SETTINGS.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    );
    let ground = Ground::new(setup.address).await?;
    let pair = Pair::start(setup.address, 0).await?;
    sleep(CALM).await;
    let calm = pair.measured().await.map_err(io::Error::other)?;
    println!("the pair alone: p50 {:.2} ms, p99 {:.2} ms of {} moves", calm.p50, calm.p99, calm.count);

    let watch = Watch { ground: &ground, pair: &pair, pid: server.pid().ok_or(io::ErrorKind::NotFound)?, calm };
    let (mut attacks, mut wrong, mut worst) = (0, Vec::new(), 1.0_f64);
    for attack in ATTACKS.iter().filter(|attack| attack.name.contains(&options.only)) {
        let (found, ratio) = watch.judge(attack).await?;
        attacks += 1;
        worst = worst.max(ratio);
        wrong.extend(found);
    }
    let panics = fs::read_to_string(&log)?.matches("panicked").count();
    drop(pair);
    let (status, took) = server.stop().await?;
    let good = wrong.is_empty() && panics == 0 && status.success();
    println!(
        "hostile: {attacks} attacks in {:.0} s, {} violations, {panics} panics, worst p99 of the normal pair {worst:.1} \
         times the calm one; {status} in {} ms; {}",
        begin.elapsed().as_secs_f64(),
        wrong.len(),
        took.as_millis(),
        if good { "good" } else { "NOT GOOD" }
    );
    if good {
        _ = fs::remove_file(log);
    }
    Ok(good)
}

struct Watch<'a> {
    ground: &'a std::sync::Arc<Ground>,
    pair: &'a Pair,
    pid: u32,
    calm: Latency,
}

impl Watch<'_> {
    /// Carries an attack out, round after round; what was wrong, and by how much the pair was slower.
    async fn judge(&self, attack: &Attack) -> io::Result<(Vec<String>, f64)> {
        let (mut wrong, mut worst, mut added) = (Vec::new(), 0.0_f64, Vec::new());
        let before = self.ground.gauges().await?;
        let mut memory = resident(self.pid)?;
        println!("{}", attack.name);
        for round in 0..ROUNDS {
            _ = self.pair.measured().await;
            let begin = Instant::now();
            let report = (attack.run)(self.ground.clone()).await?;
            let took = begin.elapsed();
            let latency = match self.pair.measured().await {
                Ok(latency) => latency,
                Err(why) => return Ok((told([why].into()), worst)),
            };
            wrong.extend(report.wrong.iter().cloned());
            wrong.extend(self.remains(&before).await?);
            let now = resident(self.pid)?;
            added.push(now - memory);
            memory = now;
            let ratio = latency.p99 / self.calm.p99;
            worst = worst.max(ratio);
            println!(
                "  {:5.1} s  p50 {:6.2} p99 {:7.2} ms ({:.1}, {ratio:.1} x calm)  {:6.1} MiB {:+.2}  {}",
                took.as_secs_f64(),
                latency.p50,
                latency.p99,
                latency.p50 / self.calm.p50,
                now / 1048576.0,
                added[round] / 1048576.0,
                report.line()
            );
            if !wrong.is_empty() || (round > 0 && added[round] < ADDS) {
                break;
            }
        }
        if added.len() == ROUNDS && added.iter().skip(1).all(|&added| added >= ADDS) {
            wrong.push(format!("{ROUNDS} rounds, and each added memory"));
        }
        Ok((told(wrong), worst))
    }

    /// Waits until the gauges are as before; else what is more.
    async fn remains(&self, before: &Gauges) -> io::Result<Vec<String>> {
        let more = |now: &Gauges| {
            let risen = GAUGES.iter().filter(|name| now.of(name) > before.of(name));
            risen.map(|name| format!("{name} was {} and is {}", before.of(name), now.of(name))).collect::<Vec<_>>()
        };
        if self.ground.until(SETTLES, |now| more(now).is_empty()).await? {
            return Ok(Vec::new());
        }
        Ok(more(&self.ground.gauges().await?))
    }
}

fn told(wrong: Vec<String>) -> Vec<String> {
    wrong.iter().for_each(|why| println!("  WRONG: {why}"));
    wrong
}
