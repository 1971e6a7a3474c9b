//! What one sleeping player does to the others: runs without and with a stall in turns, so that
//! whatever else the machine does falls on both, and their p99 compared pair by pair.

use crate::{options::Options, report::Report};

/// How much the others' p99 may rise.
const RATIO_MAX: f64 = 1.5;
/// The sleeper may get one in so many of the moves that were offered while it slept.
const SHARE_MIN: u64 = 10;

/// Runs all pairs and says how they went.
pub(crate) async fn run(options: &Options, stall: f64) -> Result<bool, String> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let mut good = true;
    for round in 1..=options.rounds {
        for (stall, p99s) in [(None, &mut without), (Some(stall), &mut with)] {
            let report = crate::run(&Options { stall, ..options.clone() }).await?;
            println!("{report}\n");
            let latest = report.latest.as_ref().ok_or("no latest moves were sent")?;
            p99s.push(latest.latency.p99_ms);
            good &= report.ok && sleeper_is_spared(&report);
        }
        println!(
            "round {round} of {}: p99 of the others {:?} ms without, {:?} ms with the stall",
            options.rounds, without, with
        );
    }
    // Of two neighbours, so that a machine that becomes busier half-way does not count.
    let ratio = median(with.iter().zip(&without).map(|(with, without)| with / without).collect());
    let (without, with) = (median(without), median(with));
    good &= ratio <= RATIO_MAX;
    let word = if good { "OK" } else { "FAILED" };
    println!(
        "arena: {word} p99 of the others x {ratio:.2} (median of pairs, at most {RATIO_MAX}); medians {without:.2} ms \
         without, {with:.2} ms with the stall"
    );
    Ok(good)
}

/// Whether the player that slept, if one did, was not flooded with what is over.
fn sleeper_is_spared(report: &Report) -> bool {
    report.stall.as_ref().is_none_or(|stall| stall.received * SHARE_MIN <= stall.offered)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert!((median(vec![3.0, 9.0, 1.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 9.0, 1.0, 2.0]) - 3.0).abs() < f64::EPSILON);
    }
}
