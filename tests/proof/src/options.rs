//! What the programs share on their command lines: a seed to read, and how they end.

use std::{fs, io, num::ParseIntError, path::Path, process::ExitCode};

use crate::history::unix_ms;

/// A seed. An empty one is as good as none, and is of the time: `make history SEED=`.
pub fn seed(text: &str) -> Result<u64, ParseIntError> {
    if text.is_empty() { Ok(unix_ms() as u64) } else { text.parse() }
}

/// The end of a program that proves something: good only if it held (`true`). Whatever kept it from being looked at is told.
pub fn ended(name: &str, outcome: io::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Likewise for one that leaves in a folder what is of use only to understand a failure.
pub fn concluded(name: &str, seed: u64, folder: &Path, outcome: io::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => _ = fs::remove_dir_all(folder),
        Ok(false) => {}
        Err(_) => println!("seed {seed}; see {}", folder.display()),
    }
    ended(name, outcome)
}
