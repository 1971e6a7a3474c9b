//! Members that stop reading, in rooms where much is said: what the server keeps for them, what the others notice, and how
//! it ends for them.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{fs, io, path::PathBuf, process::ExitCode, time::Duration};

use rallypoint_proof::{
    run::server::descriptors,
    stalled::{Plan, Run, run as one_run},
};

const HELP: &str = "\
Rooms in which much is said, once without and once with members that stop reading, in pairs one after the other. What is
said are events (`publish` of 2000 bytes): nothing may be left out of them, so a member that stops must be closed.

  --server PATH   the server's binary [target/release/rallypoint]
  --seconds S     how long each run talks [60]
  --rooms N       rooms [20]
  --clients N     members of each room that read [50]
  --stalled N     members of each room that stop reading, besides these [5]
  --rate N        events a second in each room, by senders in turn [20]
  --bytes N       bytes of an event's data [2000]
  --pairs N       pairs of runs [3]
";

/// The most that the p99 of those who read may be, in parts of that of the run before it without stalled members.
const SLOWER: f64 = 1.5;
const DESCRIPTORS: u64 = 20_000;

struct Options {
    server: PathBuf,
    plan: Plan,
    stalled: usize,
    pairs: usize,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let plan = Plan { time: Duration::from_secs(60), rooms: 20, clients: 50, stalled: 0, rate: 20, bytes: 2000 };
        let mut options = Self { server: "target/release/rallypoint".into(), plan, stalled: 5, pairs: 3 };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
            let number = |text: String| {
                let number = text.parse::<usize>().ok().filter(|number| (1..=100_000).contains(number));
                number.ok_or_else(|| format!("{text} is not a whole number from 1 to 100000"))
            };
            match name.as_str() {
                "--server" => options.server = value()?.into(),
                "--seconds" => options.plan.time = Duration::from_secs(number(value()?)? as u64),
                "--rooms" => options.plan.rooms = number(value()?)?,
                "--clients" => options.plan.clients = number(value()?)?,
                "--stalled" => options.stalled = number(value()?)?,
                "--rate" => options.plan.rate = number(value()?)?,
                "--bytes" => options.plan.bytes = number(value()?)?,
                "--pairs" => options.pairs = number(value()?)?,
                "--help" | "-h" => return Err(String::new()),
                other => return Err(format!("there is no option {other}")),
            }
        }
        if options.plan.clients < 2 {
            return Err("at least two of a room must read".to_owned());
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) if why.is_empty() => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("stalled: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> io::Result<bool> {
    descriptors(DESCRIPTORS)?;
    let log = std::env::temp_dir().join(format!("rallypoint-stalled-{}.log", std::process::id()));
    let (mut ratios, mut wrong) = (Vec::new(), 0);
    for pair in 0..options.pairs {
        let calm = one(options, &options.plan, &log).await?;
        let clients = options.plan.clients + options.stalled;
        let plan = Plan { clients, stalled: options.stalled, ..options.plan };
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
        options.plan.rooms,
        options.plan.clients,
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
