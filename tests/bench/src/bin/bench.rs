//! Runs the workloads side by side and compares: `bench --help`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    io,
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use rallypoint_bench::{
    chart::{Bar, Panel, digits, draw},
    field::{CONFIGURATION, Peer, Programs, Server},
    options::{Processors, leave},
    plan::{Bound, LINES, Length, Line, Must},
    process::pin,
    stats::{Ratio, median, ratio},
    work::Figures,
};
use serde_json::json;

/// Measures rallypoint against the field on this machine.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  bench --quick\n  bench --pairs 7 --only fan-out\n  bench --only ping --with bun\n  bench --alone --only idle"
)]
struct Options {
    /// Short runs and one pair: to see whether everything works. Bounds are shown and not judged
    #[arg(long)]
    quick: bool,
    /// How often each workload is run on each server
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    pairs: u16,
    /// Only workloads with this in their name
    #[arg(long, default_value = "")]
    only: String,
    /// Only this server beside rallypoint, by a part of its name; may be repeated
    #[arg(long)]
    with: Vec<String>,
    /// Nobody beside rallypoint: only bounds on its own figures are looked at
    #[arg(long, conflicts_with = "with")]
    alone: bool,
    /// A folder for the tables, the picture and all figures: field.md, field.svg, field.json
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    processors: Processors,
    /// The folder of the other servers' programs, with their packages installed
    #[arg(long, default_value = "tests/bench/peers")]
    peers: PathBuf,
}

impl Options {
    fn pairs(&self) -> u16 {
        if self.quick { 1 } else { self.pairs }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<bool> {
    let programs = Programs::with_peers(options.peers.clone())?;
    pin(&[options.processors.own_core])?;
    println!("rallypoint runs with this configuration:\n\n{CONFIGURATION}");
    let mut outcomes = Vec::new();
    for line in LINES.iter().filter(|line| line.name.contains(&options.only)) {
        println!("{}", line.name);
        let outcome = Outcome { line, runs: measure(line, options, &programs)? };
        outcome.peers().for_each(|peer| println!("  {}", outcome.row(peer)));
        outcome.verdicts().for_each(|verdict| println!("  {verdict}"));
        outcomes.push(outcome);
    }
    if let Some(folder) = &options.out {
        leave(folder, "field", &table(&outcomes), &picture(&outcomes, options), &figures(&outcomes, options))?;
        println!("{}: field.md, field.svg, field.json", folder.display());
    }
    Ok(options.quick || outcomes.iter().flat_map(Outcome::verdicts).all(|verdict| verdict.holds))
}

/// Runs one workload on everybody, in turn and over again.
fn measure(line: &Line, options: &Options, programs: &Programs) -> io::Result<BTreeMap<Peer, Vec<Figures>>> {
    let length = if options.quick { Length::Quick } else { Length::Full };
    let Processors { server_core, own_core } = options.processors;
    let wanted = |peer: &Peer| {
        let everybody = options.with.is_empty() && !options.alone;
        *peer == line.peers[0]
            || everybody
            || options.with.iter().any(|part| peer.name().to_lowercase().contains(&part.to_lowercase()))
    };
    let peers: Vec<_> = line.peers.iter().copied().filter(wanted).collect();
    let mut runs: BTreeMap<Peer, Vec<Figures>> = BTreeMap::new();
    for pair in 0..options.pairs() {
        for place in 0..peers.len() {
            // Another one begins each time, so that nobody always comes after the same neighbour.
            let peer = peers[(place + usize::from(pair)) % peers.len()];
            let server = Server::start(peer, programs, &[server_core, own_core])?;
            let figures = (line.run)(&server, length);
            let figures =
                figures.map_err(|error| io::Error::other(format!("{}, {}: {error}", line.name, peer.name())))?;
            runs.entry(peer).or_default().push(figures);
        }
    }
    Ok(runs)
}

/// What a workload came to.
struct Outcome {
    line: &'static Line,
    runs: BTreeMap<Peer, Vec<Figures>>,
}

impl Outcome {
    fn peers(&self) -> impl Iterator<Item = Peer> {
        self.runs.keys().copied()
    }

    fn column(&self, peer: Peer, figure: &str) -> Vec<f64> {
        let of = |figures: &Figures| figures.get(figure).copied().unwrap_or(f64::NAN);
        self.runs.get(&peer).map(|runs| runs.iter().map(of).collect()).unwrap_or_default()
    }

    fn median(&self, peer: Peer, figure: &str) -> f64 {
        median(&self.column(peer, figure))
    }

    fn row(&self, peer: Peer) -> String {
        let shown = self.line.shows.iter().map(|figure| format!("{figure} {}", short(self.median(peer, figure))));
        let shown: Vec<_> = shown.collect();
        let load = self.median(peer, "generator load");
        let limit = if load > 0.9 { format!(" (the generator was {:.0} % busy)", load * 100.0) } else { String::new() };
        format!("{:<16} {}{limit}", peer.name(), shown.join(", "))
    }

    /// What became of the bounds; those against somebody who was not measured are left out.
    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let measured = |bound: &&Bound| bound.against.is_none_or(|peer| self.runs.contains_key(&peer));
        self.line.bounds.iter().filter(measured).map(|bound| {
            let ours = self.column(self.line.peers[0], bound.figure);
            let theirs = match bound.against {
                Some(peer) => self.column(peer, bound.figure),
                None => vec![1.0; ours.len()],
            };
            let of = ratio(&ours, &theirs);
            let holds = match bound.must {
                Must::AtLeast(limit) => of.high >= limit,
                Must::AtMost(limit) => of.low <= limit,
            };
            Verdict { bound: *bound, of, holds }
        })
    }
}

/// What became of a bound.
struct Verdict {
    bound: Bound,
    of: Ratio,
    holds: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bound, of, holds } = self;
        let whose = bound.against.map_or(String::new(), |peer| format!(" of {}", peer.name()));
        let (sign, limit) = match bound.must {
            Must::AtLeast(limit) => (">=", limit),
            Must::AtMost(limit) => ("<=", limit),
        };
        let (holds, figure) = (if *holds { "holds " } else { "MISSED" }, bound.figure);
        let (median, low, high) = (short(of.median), short(of.low), short(of.high));
        write!(f, "{holds} {figure}{whose}: {median} [{low} to {high}], must be {sign} {}", short(limit))
    }
}

/// For documents.
fn table(outcomes: &[Outcome]) -> String {
    let mut out = String::from("| Workload | Server | Figures |\n|---|---|---|\n");
    for outcome in outcomes {
        for peer in outcome.peers() {
            let shown = outcome.line.shows.iter();
            let shown: Vec<_> =
                shown.map(|figure| format!("{} {figure}", digits(outcome.median(peer, figure)))).collect();
            _ = writeln!(out, "| {} | {} | {} |", outcome.line.name, peer.name(), shown.join(", "));
        }
    }
    out.push_str("\n| Workload | Bound |\n|---|---|\n");
    for outcome in outcomes {
        for verdict in outcome.verdicts() {
            _ = writeln!(out, "| {} | {verdict} |", outcome.line.name);
        }
    }
    out
}

/// A panel for each workload that somebody else does as well, with the first of its figures.
fn picture(outcomes: &[Outcome], options: &Options) -> String {
    let panel = |outcome: &Outcome| {
        let figure = *outcome.line.shows.first()?;
        let bar = |peer: Peer| Bar {
            name: peer.name().to_owned(),
            value: outcome.median(peer, figure),
            is_marked: peer == Peer::Rallypoint,
        };
        let bars: Vec<_> = outcome.peers().map(bar).collect();
        // Two workers are measured against one: what is at most for the one is at least for them.
        let of_ours = |bound: &&Bound| bound.figure == figure && bound.against != Some(Peer::TwoWorkers);
        let less_is_better =
            outcome.line.bounds.iter().filter(of_ours).any(|bound| matches!(bound.must, Must::AtMost(_)));
        let note = format!("{figure}, {} is better", if less_is_better { "less" } else { "more" });
        (bars.len() > 1).then(|| Panel { title: outcome.line.name.to_owned(), note, unit: String::new(), bars })
    };
    let panels: Vec<_> = outcomes.iter().filter_map(panel).collect();
    let note = format!("one processor for each server; medians of {} runs each, in turn", options.pairs());
    draw("rallypoint and the field", &note, "Bars for each workload and each server that does it.", &panels)
}

fn figures(outcomes: &[Outcome], options: &Options) -> serde_json::Value {
    let of_line = |outcome: &Outcome| {
        let peers: serde_json::Map<_, _> =
            outcome.runs.iter().map(|(peer, runs)| (peer.name().to_owned(), json!(runs))).collect();
        (outcome.line.name.to_owned(), json!(peers))
    };
    let lines: serde_json::Map<_, _> = outcomes.iter().map(of_line).collect();
    json!({ "quick": options.quick, "workloads": lines })
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
