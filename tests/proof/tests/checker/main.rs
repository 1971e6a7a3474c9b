//! The checker against histories that are correct, and against the same with one thing wrong.

mod model;
mod mutate;

use model::Model;
use proptest::prelude::*;
use rallypoint_proof::{
    check::{Report, check},
    history::History,
    seed::Seed,
};

/// Long enough for losses, resets and a few restarts.
const STEPS: usize = 4000;

fn told(report: &Report, history: &History) -> String {
    let told: Vec<_> = report.violations.iter().take(4).map(|violation| violation.tell(history)).collect();
    format!("{} violations\n{}", report.found, told.join("\n"))
}

#[test]
fn correct_histories_are_clean_and_hold_everything() {
    for seed in 0..20 {
        let history = Model::history(seed, STEPS);
        let report = check(&history);
        assert!(report.found == 0, "seed {seed}: {}", told(&report, &history));
    }
    // What is not in a history cannot be checked in it.
    let tally = check(&Model::history(1, 10 * STEPS)).tally;
    let counts = [
        tally.events,
        tally.distinct,
        tally.published,
        tally.unknown,
        tally.signals,
        tally.reliable,
        tally.latest,
        tally.resumed,
        tally.restored,
        tally.new,
        tally.restarts,
        tally.resets.len(),
        tally.refused.len(),
    ];
    assert!(counts.iter().all(|&count| count > 0), "{tally}");
    assert!(tally.unwatched * 20 < tally.published, "{tally}");
}

#[test]
fn every_mutation_is_found_by_its_name() {
    for &(name, kind, mutate) in mutate::ALL {
        let mut found = 0;
        for seed in 0..20 {
            let mut history = Model::history(seed, STEPS);
            if mutate(&mut history, &mut Seed::new(seed)) {
                let report = check(&history);
                assert!(report.kinds().contains(&kind), "{name}, seed {seed}: {}", told(&report, &history));
                found += 1;
            }
        }
        assert!(found >= 10, "{name}: there was a place for it in {found} of 20 histories only");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_correct_history_is_clean_and_any_mutation_is_found(seed: u64, steps in 500..STEPS, which in 0..mutate::ALL.len()) {
        let mut history = Model::history(seed, steps);
        let report = check(&history);
        prop_assert!(report.found == 0, "{}", told(&report, &history));
        let (name, kind, mutate) = mutate::ALL[which];
        // A short history may have no place for it.
        if mutate(&mut history, &mut Seed::new(seed)) {
            let report = check(&history);
            prop_assert!(report.kinds().contains(&kind), "{name}: {}", told(&report, &history));
        }
    }
}
