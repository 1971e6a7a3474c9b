//! Measures the transports of rallypoint beside each other: `compare --help`.

use std::{fmt::Write, io, path::PathBuf, process::ExitCode};

use clap::Parser;
use rallypoint_bench::{
    chart::{Bar, Panel, digits, draw},
    field::{Peer, Programs, Server},
    options::{Processors, leave},
    process::pin,
    stats::median,
    work::{
        Figures,
        compare::{Compare, MESSAGES_PER_SECOND},
        spectator::Transport,
    },
};
use serde_json::json;

/// Has the same messages heard over short poll, long poll, server-sent events and WebSocket, and compares what each costs
/// and how long it takes. Fails unless every spectator hears every message once and in order.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  compare\n  compare --quick\n  compare --runs 5 --out docs/images")]
struct Options {
    /// 100 spectators, 20 messages and one run: to see whether everything works
    #[arg(long)]
    quick: bool,
    /// How often each transport is measured; the table has medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// A folder for the table, the picture and the figures: transports.md, transports.svg, transports.json
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    processors: Processors,
}

/// What each transport came to.
type Results = [(Transport, Figures)];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let programs = Programs::with_peers(PathBuf::new())?;
    let (spectators, messages, runs) = if options.quick { (100, 20, 1) } else { (1000, 100, options.runs) };
    pin(&[options.processors.own_core])?;
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); Transport::ALL.len()];
    for run in 0..usize::from(runs) {
        for place in 0..Transport::ALL.len() {
            // Another one begins each time, so that nobody always comes after the same neighbour.
            let which = (place + run) % Transport::ALL.len();
            let transport = Transport::ALL[which];
            let server = Server::start(Peer::Rallypoint, &programs, &[options.processors.server_core])?;
            let figures = Compare { transport, spectators, messages }.run(&server);
            let named = |error| io::Error::other(format!("{}: {error}", transport.name()));
            all[which].push(figures.map_err(named)?);
        }
    }
    let results: Vec<_> = Transport::ALL.into_iter().zip(all.iter().map(|runs| medians(runs))).collect();
    let what = format!(
        "{messages} messages, {MESSAGES_PER_SECOND} a second, to {} spectators; {}",
        digits(spectators as f64),
        if runs == 1 { "one run".to_owned() } else { format!("medians of {runs} runs") }
    );
    let table = table(&results);
    println!("{what}\n\n{table}");
    for (transport, figures) in &results {
        let load = figures["generator load"];
        if load > 0.9 {
            println!(
                "{}: the generator was {:.0} % busy, its latencies are upper bounds",
                transport.name(),
                load * 100.0
            );
        }
    }
    if let Some(folder) = &options.out {
        let figures: serde_json::Map<_, _> =
            results.iter().map(|(transport, figures)| (transport.name().to_owned(), json!(figures))).collect();
        let json = json!({ "spectators": spectators, "messages": messages, "runs": runs, "transports": figures });
        leave(folder, "transports", &table, &picture(&what, &results), &json)?;
    }
    Ok(())
}

fn medians(runs: &[Figures]) -> Figures {
    let names = runs.iter().flat_map(Figures::keys);
    names.map(|&name| (name, median(&runs.iter().map(|figures| figures[name]).collect::<Vec<_>>()))).collect()
}

/// A table in Markdown.
fn table(results: &Results) -> String {
    let mut out =
        "| Transport | Requests | Beyond the payload | Latency: min | avg | p99 | max | Server CPU | Memory per \
                   1 000 connections |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
    for (transport, figures) in results {
        let of = |name| digits(figures[name]);
        writeln!(
            out,
            "| {} | {} | {} MiB | {} ms | {} ms | {} ms | {} ms | {} ms | {} KiB |",
            transport.name(),
            of("requests"),
            digits(figures["overhead bytes"] / 1_048_576.0),
            of("min ms"),
            of("avg ms"),
            of("p99 ms"),
            of("max ms"),
            of("cpu ms"),
            of("memory KiB")
        )
        .expect("a string takes everything");
    }
    out
}

/// The least of each measure is marked.
fn picture(what: &str, results: &Results) -> String {
    let panel = |title: &str, note: &str, unit: &str, value: &dyn Fn(&Figures) -> f64| {
        let least = results.iter().map(|(_, figures)| value(figures)).fold(f64::INFINITY, f64::min);
        let bars = results.iter().map(|(transport, figures)| {
            let value = value(figures);
            Bar { name: transport.name().to_owned(), value, is_marked: value <= least }
        });
        Panel { title: title.to_owned(), note: note.to_owned(), unit: unit.to_owned(), bars: bars.collect() }
    };
    let panels = [
        panel("Requests", "of all spectators", "", &|figures| figures["requests"]),
        panel("Bytes beyond the payload", "both ways", "MiB", &|figures| figures["overhead bytes"] / 1_048_576.0),
        panel("Latency, average", "from when it was due", "ms", &|figures| figures["avg ms"]),
        panel("Latency of the slowest hundredth", "the 99th percentile", "ms", &|figures| figures["p99 ms"]),
        panel("Processor time of the server", "for all messages", "ms", &|figures| figures["cpu ms"]),
        panel("Memory of the server", "for 1 000 connections", "KiB", &|figures| figures["memory KiB"]),
    ];
    let description = "Requests, bytes beyond the payload, latency, processor time and memory over short poll, long poll, \
                       server-sent events and WebSocket; less is better, and the least is marked.";
    draw("Four transports compared; less is better", what, description, &panels)
}
