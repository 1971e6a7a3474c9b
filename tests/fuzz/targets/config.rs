//! Variables of the environment as settings. Whatever they hold, the answer is a configuration or a
//! list of problems that names each of them and gives no secret away.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rallypoint::config::{Overrides, load};
use rallypoint_fuzz::within;

/// Stands in a secret and nowhere else: the fuzzer learns it from our comparison and would write it into other settings.
const SECRET: &str = "correct horse battery staple 0123456789";

fuzz_target!(|text: &str| {
    let variables = text.lines().filter(|line| !line.contains(SECRET)).filter_map(|line| line.split_once('='));
    // What is in a file of this machine is no part of the input.
    let variables = variables.filter(|(name, _)| !name.to_ascii_uppercase().contains("FILE"));
    let secret = ("AUTH__KEYS__0__SECRET", SECRET);
    let variables = variables.filter(|(name, value)| *name != secret.0 && !value.contains("_file")).chain([secret]);
    let variables = variables.map(|(name, value)| (format!("RALLYPOINT_{name}"), value.to_owned()));
    let loaded = within(1 << 20, || load(None, variables, Overrides::default()));
    match loaded {
        Ok(config) => assert_eq!(config.auth.keys.len().min(1), 1, "the key was read"),
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                assert!(!problem.key.is_empty() || problem.place.is_some(), "schema and types disagree: {problem}");
                assert!(!problem.message.contains(SECRET), "{problem}");
            }
        }
    }
});
