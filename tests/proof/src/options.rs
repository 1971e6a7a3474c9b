//! What several of the programs read from their command lines.

use std::num::ParseIntError;

use crate::history::unix_ms;

/// A seed. An empty one is as good as none, and is of the time: `make history SEED=`.
pub fn seed(text: &str) -> Result<u64, ParseIntError> {
    if text.is_empty() { Ok(unix_ms() as u64) } else { text.parse() }
}
