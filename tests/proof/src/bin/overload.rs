//! Offers a server three times what it takes on, at each of its ceilings, and looks at what those who were there before
//! notice, at what newcomers are told, and at what is left afterwards.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::Parser;
use rallypoint_proof::{
    options::ended,
    overload::{Run, WAVES, Wave, newcomers, run as one_run},
    run::server::descriptors,
};

/// The most that the p99 of those who were there may be, in parts of that at the ceiling without a wave.
const SLOWER: f64 = 1.5;
/// The part of a wave that is enough to see what is told.
const QUICK: f64 = 0.4;
const DESCRIPTORS: u64 = 20_000;

/// Ceilings of connections, accepts, memory and processor, one after the other, each with a server of its own: filled, and
/// then three times as many come. Pairs that move through the server must not notice; newcomers get 503, 429, 4300 or
/// 4301 with a time; afterwards there is room again.
#[derive(Debug, Parser)]
struct Options {
    /// The server's binary
    #[arg(long, default_value = "target/release/rallypoint")]
    server: PathBuf,
    /// The ceilings whose names have this word
    #[arg(long, default_value = "", value_parser = word_of_a_ceiling)]
    only: String,
    /// Rounds; what counts is the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// One round of smaller waves, where nothing is asked about time
    #[arg(long)]
    quick: bool,
    /// What this program calls itself for: the crowd
    #[arg(long, hide = true)]
    newcomers: bool,
}

fn word_of_a_ceiling(word: &str) -> Result<String, &'static str> {
    let known = WAVES.iter().any(|wave| wave.limit.contains(word));
    known
        .then(|| word.to_owned())
        .ok_or("no ceiling has it in its name: connections, accepts_per_second, memory, cpu_percent")
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if options.newcomers {
        return ended("newcomers", newcomers::live().await.map(|()| true));
    }
    ended("overload", run(&options).await)
}

async fn run(options: &Options) -> io::Result<bool> {
    descriptors(DESCRIPTORS)?;
    let log = std::env::temp_dir().join(format!("rallypoint-overload-{}.log", std::process::id()));
    let (rounds, share) = if options.quick { (1, QUICK) } else { (options.rounds, 1.0) };
    let mut bad = 0;
    for wave in WAVES.iter().filter(|wave| wave.limit.contains(&options.only)) {
        println!("limits.{}", wave.limit);
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let run = one_run(&options.server, wave, share, &log).await?;
            let ratio = run.busy.p99 / run.calm.p99;
            tell(wave, &run, ratio);
            ratios.push(ratio);
            bad += run.wrong.len();
        }
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        let is_slow = !options.quick && median > SLOWER;
        bad += usize::from(is_slow);
        let judged = if options.quick { "not judged" } else { "at most 1.5" };
        println!(
            "  p99 {median:.2} times the calm one (median of {ratios:.2?}, {judged}){}",
            if is_slow { " WRONG" } else { "" }
        );
    }
    let panics = fs::read_to_string(&log)?.matches("panicked").count();
    let good = bad == 0 && panics == 0;
    println!("overload: {bad} violations, {panics} panics; {}", if good { "good" } else { "NOT GOOD" });
    if good {
        _ = fs::remove_file(log);
    }
    Ok(good)
}

fn tell(wave: &Wave, run: &Run, ratio: f64) {
    println!(
        "  calm p50 {:.2} p99 {:.2} ms, in the wave p50 {:.2} p99 {:.2} ms ({ratio:.2}); {}; at most {:.1} MiB; as before \
         after {:.1} s",
        run.calm.p50,
        run.calm.p99,
        run.busy.p50,
        run.busy.p99,
        run.told.iter().map(|(what, times)| format!("{times} {what}")).collect::<Vec<_>>().join(", "),
        run.memory_peak / 1048576.0,
        run.back_after.as_secs_f64(),
    );
    run.wrong.iter().for_each(|why| println!("  WRONG at limits.{}: {why}", wave.limit));
}
