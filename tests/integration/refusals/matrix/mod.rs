//! The matrix: tokens, origins and credentials against every door, one row each. Written by hand are the tokens
//! ([`tokens`], which are [`signing`] and [`claims`]) and the ways to show them ([`places`]); what the rights table knows is made from it ([`rights`]).
//!
//! Each row says what must come of it, and all rows are tried before the test fails, so that one mistake in the
//! server shows everything it opens.

mod claims;
mod door;
mod keys;
mod places;
mod rights;
mod signing;
mod tokens;

use door::Outcome;

use super::is_well;

/// Counts rows and what was tried, and keeps what went wrong.
#[derive(Default)]
struct Tally {
    rows: usize,
    tries: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn row(&mut self) {
        self.rows += 1;
    }

    /// One attempt. `expected` is the number of the refusal, `None` for somebody who must be let in.
    fn tried(&mut self, what: &str, outcome: Outcome, expected: Option<u16>) {
        self.tries += 1;
        let shown = |code: Option<u16>| code.map_or("let in".to_owned(), |code| code.to_string());
        match outcome {
            Ok(code) if code == expected => {}
            Ok(code) => self.wrong.push(format!("{what}: {}, expected {}", shown(code), shown(expected))),
            Err(contradiction) => self.wrong.push(format!("{what}: {contradiction}")),
        }
    }

    /// All went as it should, and there were at least so many rows.
    fn end(self, of: &str, at_least: usize) {
        let Self { rows, tries, wrong } = self;
        println!("{rows} rows of {of}, tried in {tries} ways");
        assert!(rows >= at_least, "only {rows} rows of {of}");
        assert!(wrong.is_empty(), "{} of {tries} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}
