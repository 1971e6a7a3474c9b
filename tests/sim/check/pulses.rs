//! The pulse: who answers no ping is dead after as many as were agreed, and nobody is before.

use std::collections::BTreeMap;

use rallypoint::session::pulse::Due;

use super::Findings;
use crate::plan::Plan;

/// A ping: its bytes, when the kernel had it, and when its answer came.
type Ping = ([u8; 8], u64, Option<u64>);

/// The pings of every connection.
#[derive(Debug)]
pub(crate) struct Pulses {
    findings: Findings,
    pings: BTreeMap<usize, Vec<Ping>>,
}

impl Pulses {
    pub(super) fn new(findings: &Findings) -> Self {
        Self { findings: findings.clone(), pings: BTreeMap::new() }
    }

    pub(crate) fn sent(&mut self, at: usize, payload: [u8; 8], now: u64) {
        self.pings.entry(at).or_default().push((payload, now, None));
    }

    pub(crate) fn pong(&mut self, at: usize, payload: [u8; 8], now: u64) {
        let pings = self.pings.entry(at).or_default();
        // An answer that comes after the next ping is late, and counts for nothing.
        if let Some(last) = pings.last_mut().filter(|last| last.0 == payload) {
            last.2 = Some(now);
        }
    }

    /// A connection's pulse was felt. `answers`: it is quick and nothing happened to it.
    pub(crate) fn due(&mut self, at: usize, due: Due, now: u64, answers: bool, plan: &Plan) {
        let pings = self.pings.entry(at).or_default();
        let unanswered = pings.iter().rev().take_while(|(.., answered)| answered.is_none()).count();
        let first = pings.get(pings.len() - unanswered).map_or(now, |ping| ping.1);
        match due {
            Due::Wait(_) => {}
            Due::Ping => self.findings.expect(unanswered < plan.ping_missed, || {
                format!("connection {at} has not answered {unanswered} pings and is not dead")
            }),
            Due::Dead => {
                self.findings.seen("dead");
                let late = now - first >= plan.ping_ms * plan.ping_missed as u64;
                self.findings.expect(!answers && late && unanswered >= plan.ping_missed, || {
                    format!("connection {at} is dead too early: {unanswered} pings, it answers: {answers}")
                });
            }
        }
    }
}
