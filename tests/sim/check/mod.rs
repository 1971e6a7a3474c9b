//! What must hold, checked from what was sent and what came, without asking the parts of the crate that are tested.
//! The first breach ends a run.

mod answers;
mod bounds;
mod events;
mod lanes;
mod pulses;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use rallypoint::room::RoomSettings;
use rallypoint_protocol::Position;

use self::pulses::Pulses;
pub(crate) use self::{
    answers::Answers, bounds::Outboxes, bounds::Rates, events::Events, lanes::Counted, lanes::Moves,
};

/// Breaches, and how often what was seen; shared by all that check.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    breaches: Rc<RefCell<Vec<String>>>,
    seen: Rc<RefCell<BTreeMap<&'static str, u64>>>,
}

impl Findings {
    fn fail(&self, what: impl Into<String>) {
        self.breaches.borrow_mut().push(what.into());
    }

    fn expect(&self, good: bool, otherwise: impl FnOnce() -> String) {
        if !good {
            self.fail(otherwise());
        }
    }

    fn seen(&self, what: &'static str) {
        *self.seen.borrow_mut().entry(what).or_default() += 1;
    }
}

/// All promises of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    findings: Findings,
    pub(crate) events: Events,
    pub(crate) counted: Counted,
    pub(crate) moves: Moves,
    pub(crate) answers: Answers,
    pub(crate) rates: Rates,
    pub(crate) outboxes: Outboxes,
    pub(crate) pulses: Pulses,
}

impl Ledger {
    pub(crate) fn new(plan: &crate::plan::Plan) -> Self {
        let findings = Findings::default();
        Self {
            events: Events::new(&findings),
            counted: Counted::new(&findings),
            moves: Moves::new(&findings),
            answers: Answers::new(&findings),
            rates: Rates::new(&findings, plan.bounds.rates),
            outboxes: Outboxes::new(&findings, plan.budget),
            pulses: Pulses::new(&findings),
            findings,
        }
    }

    /// The first promise that was broken.
    pub(crate) fn breach(&self) -> Option<String> {
        self.findings.breaches.borrow().first().cloned()
    }

    /// How often what happened, so that no run proves nothing.
    pub(crate) fn seen(&self) -> BTreeMap<&'static str, u64> {
        self.findings.seen.borrow().clone()
    }

    pub(crate) fn note(&self, what: &'static str) {
        self.findings.seen(what);
    }

    pub(crate) fn fail(&self, what: &str) {
        self.findings.fail(what);
    }

    pub(crate) fn expect(&self, good: bool, otherwise: impl FnOnce() -> String) {
        self.findings.expect(good, otherwise);
    }

    /// The server owes a session a counted message. `reaches` tells whether what it keeps reaches back to a count.
    pub(crate) fn owe(&mut self, place: usize, life: u64, unique: u64, len: usize, reaches: impl Fn(u64) -> bool) {
        self.counted.owe(place, life, unique, len);
        let edge = self.counted.edge(place, life);
        let kept = reaches(edge) && (edge == 0 || !reaches(edge - 1));
        self.expect(kept, || format!("session {place}: counted messages after {edge} are kept, and no others"));
    }

    /// The server took a session up again: nothing may be called lost that is not, and the other way about.
    pub(crate) fn resumed(
        &mut self,
        place: usize,
        life: u64,
        received: u64,
        since: Option<Position>,
        resumed: bool,
        settings: &RoomSettings,
    ) {
        let counted = received >= self.counted.edge(place, life);
        let events = since.is_none_or(|since| self.events.reach(since, settings));
        self.note(if resumed { "resumed" } else { "reset" });
        self.expect(resumed == (counted && events), || {
            format!("session {place}: resumed is {resumed}, counted messages reach: {counted}, events reach: {events}")
        });
    }
}
