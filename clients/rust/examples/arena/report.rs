//! The figures of one run, for people and as JSON.

use std::fmt;

use rallypoint_client::protocol::moves::Lane;
use serde::Serialize;

use crate::{
    check::{Fault, label},
    histogram::Histogram,
    options::Options,
    plan::Plan,
    player::{Seen, Sent},
};

/// Faults that are spelled out; a broken server has thousands of the same kind.
const FAULTS_SHOWN: usize = 20;

/// Times in milliseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Times {
    p50_ms: f64,
    pub(crate) p99_ms: f64,
    max_ms: f64,
}

impl From<&Histogram> for Times {
    fn from(histogram: &Histogram) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let ms = |us: u64| us as f64 / 1000.0;
        Self { p50_ms: ms(histogram.quantile(500)), p99_ms: ms(histogram.quantile(990)), max_ms: ms(histogram.max()) }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", self.p50_ms, self.p99_ms, self.max_ms)
    }
}

/// One lane as its receivers saw it, without a player that stalled.
#[derive(Debug, Serialize)]
pub(crate) struct LaneFigures {
    /// Moves that should be received: sent moves times receivers.
    offered: u64,
    received: u64,
    /// Latest moves that gave way to newer ones.
    replaced: u64,
    /// From the time a move was due until its receiver's application had it.
    pub(crate) latency: Times,
}

/// The player that stalled.
#[derive(Debug, Serialize)]
pub(crate) struct StallFigures {
    seconds: f64,
    /// Moves sent to it while it did not read, and how many of those it got.
    pub(crate) offered: u64,
    pub(crate) received: u64,
    ended_on_newest: bool,
    latency: Times,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    players: usize,
    rate: u32,
    seconds: u32,
    size: usize,
    encoding: &'static str,
    room: String,
    sent: u64,
    /// Whether the lanes are those of the others than player 0.
    without_first: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latest: Option<LaneFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reliable: Option<LaneFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stall: Option<StallFigures>,
    /// How late moves were handed to the client, which is part of every latency.
    late: Times,
    fault_count: usize,
    faults: Vec<String>,
}

impl Report {
    /// The report of a run that could not begin.
    pub(crate) fn failed(why: String) -> Self {
        Self { fault_count: 1, faults: vec![why], ..Self::default() }
    }

    pub(crate) fn new(options: &Options, plan: &Plan, room: &str, sent: Vec<Sent>, seen: Vec<Seen>) -> Self {
        let mut report = Self {
            players: options.players,
            rate: options.rate,
            seconds: options.seconds,
            size: options.size,
            encoding: options.encoding.subprotocol(),
            room: room.to_owned(),
            sent: sent.iter().map(|sent| sent.moves).sum(),
            ..Self::default()
        };
        let mut late = Histogram::default();
        sent.iter().for_each(|sent| late.merge(&sent.late));
        report.late = Times::from(&late);

        let stalled = plan.stall.as_ref().map(|_| &seen[0]);
        // Runs that are compared leave player 0 out, whether it stalled or not.
        let others = options.compare_stall.is_some() || stalled.is_some();
        let steady = if others { &seen[1..] } else { &seen[..] };
        let offered = |lane| plan.moves(lane) as u64 * (options.players as u64 - 1);
        let lane = |lane| {
            let mut latency = Histogram::default();
            let of = |seen| -> &Histogram { histogram(seen, lane) };
            steady.iter().for_each(|seen| latency.merge(of(seen)));
            let offered = offered(lane) * steady.len() as u64;
            let received = steady.iter().map(|seen| seen.check.seen(lane)).sum();
            let replaced = if lane == Lane::Latest { offered.saturating_sub(received) } else { 0 };
            (offered > 0).then(|| LaneFigures { offered, received, replaced, latency: Times::from(&latency) })
        };
        report.latest = lane(Lane::Latest);
        report.reliable = lane(Lane::Reliable);
        report.stall = stalled.zip(plan.stall.as_ref()).map(|(seen, stall)| StallFigures {
            seconds: options.stall.unwrap_or_default(),
            offered: plan.ticks().iter().filter(|tick| tick.player != 0 && stall.contains(&tick.at)).count() as u64,
            received: seen.while_stalled,
            ended_on_newest: seen.check.ended_on_newest(),
            latency: Times::from(&seen.latest),
        });
        report.without_first = others;

        for (player, sent) in sent.into_iter().enumerate() {
            report.faults.extend(sent.failed.map(|why| format!("player {player} cannot send: {why}")));
        }
        for (player, seen) in seen.into_iter().enumerate() {
            let named = |what: String| format!("player {player}: {what}");
            report.faults.extend(seen.troubles.into_iter().map(named));
            report.faults.extend(seen.check.verdict().iter().map(Fault::to_string).map(named));
        }
        report.fault_count = report.faults.len();
        report.faults.truncate(FAULTS_SHOWN);
        report.ok = report.fault_count == 0;
        report
    }
}

fn histogram(seen: &Seen, lane: Lane) -> &Histogram {
    match lane {
        Lane::Latest => &seen.latest,
        Lane::Reliable => &seen.reliable,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { players, rate, seconds, size, encoding, room, .. } = self;
        if !room.is_empty() {
            writeln!(
                f,
                "{players} players in {room}, {rate} moves/s on each lane for {seconds} s, {size} B, {encoding}"
            )?;
            writeln!(f, "handed over late: {}", self.late)?;
        }
        for (lane, figures) in [(Lane::Latest, &self.latest), (Lane::Reliable, &self.reliable)] {
            let Some(LaneFigures { offered, received, replaced, latency }) = figures else { continue };
            let others = if self.without_first { " (without player 0)" } else { "" };
            writeln!(f, "{}{others}: {latency}; {received} of {offered} received, {replaced} replaced", label(lane))?;
        }
        if let Some(StallFigures { seconds, offered, received, ended_on_newest, latency }) = &self.stall {
            let newest = if *ended_on_newest { "ended on the newest" } else { "did not end on the newest" };
            writeln!(
                f,
                "player 0 slept {seconds} s: {received} of {offered} moves of that time received, {newest}; {latency}"
            )?;
        }
        for fault in &self.faults {
            writeln!(f, "fault: {fault}")?;
        }
        match self.faults.first() {
            None => {
                let received: u64 =
                    [&self.latest, &self.reliable].into_iter().flatten().map(|lane| lane.received).sum();
                write!(f, "arena: OK {} moves sent, {received} received", self.sent)
            }
            Some(first) => write!(f, "arena: FAILED: {first} ({} faults)", self.fault_count),
        }
    }
}
