//! Proves from a [`History`] that the server kept its promises, or says where it did not.
//!
//! The rules are those of `protocol/README.md`, sections 7, 8 and 11. Each pass looks at one promise:
//!
//! | Pass | What it proves |
//! |---|---|
//! | `views` | every log as seen by each client has no hole, nothing twice, nothing backwards, and the tags agree |
//! | `published` | what was acknowledged is in the log where it was said to be, and nothing is in a log twice |
//! | `signals` | each acknowledged signal arrived once, in its sender's order |
//! | `moves` | reliable moves arrived once and in order; latest ones never went backwards, and the last one came |
//! | `presence` | nobody saw a member leave whose session came back |
//! | `ends` | everybody reached the head of every log, every question was answered, nobody was sent away |
//!
//! A loss is excused only by what the protocol allows it by: an explicit `reset`, a session that came back with
//! `resumed: false`, a new session, a restart of the server. When a message was lost between two that arrived, no
//! later excuse counts: the lanes are in order, so it was skipped before.

mod content;
mod ends;
mod moves;
mod presence;
mod published;
mod report;
mod signals;
mod spans;
mod views;

pub use self::report::{Kind, Report, Tally, Violation};
use self::{content::Contents, report::Findings, spans::Spans};
use crate::history::History;

/// Looks at a whole history. Pure: the same history always gives the same report.
pub fn check(history: &History) -> Report {
    let mut findings = Findings::new(history);
    let contents = Contents::read(history);
    let spans = Spans::of(history, &contents);
    let logs = views::check(&mut findings, &contents);
    published::check(&mut findings, &logs, &contents);
    signals::check(&mut findings, &spans);
    moves::check(&mut findings, &spans);
    presence::check(&mut findings, &logs, &contents, &spans);
    ends::check(&mut findings);
    findings.report()
}
