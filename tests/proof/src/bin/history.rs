//! Plays a history with thousands of faults and proves that the server kept its promises.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use rallypoint_proof::{
    check::{Report, check},
    history::{History, unix_ms},
    run::{
        cast::Scale,
        course::{Course, Done, SETTINGS},
    },
};

const HELP: &str = "\
Clients of every kind talk through a proxy that cuts their connections; the server is restarted in between. What they
saw is recorded and checked: nothing lost, doubled, reordered or silently skipped.

  --server PATH   the server's binary [target/release/rallypoint]
  --n N           cuts [300]
  --seed S        [of the time]; the same seed gives the same plans and the same traffic, not the same timing
  --every E       cuts between two restarts [N / 20, at least 100]
  --small         one room and few clients: a history that a person can read
  --out DIR       where a history that breaks a promise is left [target]
";

struct Options {
    server: PathBuf,
    cuts: u64,
    seed: u64,
    every: Option<u64>,
    small: bool,
    out: PathBuf,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (server, out) = (PathBuf::from("target/release/rallypoint"), PathBuf::from("target"));
        let mut options = Self { server, cuts: 300, seed: unix_ms() as u64, every: None, small: false, out };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text} is not a whole number"));
            match name.as_str() {
                "--server" => options.server = value()?.into(),
                "--n" => options.cuts = number(value()?)?,
                // An empty one is as good as none: `make history SEED=`.
                "--seed" => match value()?.as_str() {
                    "" => {}
                    text => options.seed = number(text.to_owned())?,
                },
                "--every" => options.every = Some(number(value()?)?),
                "--small" => options.small = true,
                "--out" => options.out = value()?.into(),
                "--help" | "-h" => return Err(String::new()),
                other => return Err(format!("there is no option {other}")),
            }
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
    let folder = options.out.join(format!("history-{}", options.seed));
    match run(&options, &folder).await {
        Ok(true) => {
            // What is of use only to understand a failure.
            _ = fs::remove_dir_all(&folder);
            ExitCode::SUCCESS
        }
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("history: {error}; seed {}; see {}", options.seed, folder.display());
            ExitCode::FAILURE
        }
    }
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
        log: folder.join("server.log"),
    };
    let Done { history, counts, took } = course.run().await?;
    let begin = Instant::now();
    let report = check(&history);
    println!("checked {} records in {:.1} s", history.records.len(), begin.elapsed().as_secs_f64());
    println!("{counts}");
    if report.found > 0 {
        leave(folder, &history, &report)?;
    }
    println!(
        "history: {}; {} violations {:?}; {:.0} s, seed {}",
        report.tally,
        report.found,
        report.kinds(),
        took.as_secs_f64(),
        options.seed
    );
    Ok(report.found == 0)
}

/// Leaves what is needed to understand the violations: what they are, and all that their clients and the run went
/// through, as lines of JSON.
fn leave(folder: &Path, history: &History, report: &Report) -> io::Result<()> {
    let mut told = BufWriter::new(File::create(folder.join("violations.txt"))?);
    for violation in &report.violations {
        writeln!(told, "{}", violation.tell(history))?;
    }
    for violation in report.violations.iter().take(5) {
        println!("{}", violation.tell(history));
    }
    let mut clients: Vec<_> = report.violations.iter().filter_map(|violation| violation.client).collect();
    clients.sort_unstable();
    clients.dedup();
    let run = history.clients.find(b"run");
    for client in clients.into_iter().take(20) {
        let path = folder.join(format!("{}.jsonl", history.client_name(client)));
        let mut out = BufWriter::new(File::create(path)?);
        history.dump(&mut out, |_, own, _| own == client || Some(own) == run)?;
    }
    println!("{} violations are in {}", report.found, folder.display());
    Ok(())
}
