//! Requests: each carried out at most once; whoever repeats one of the last 64 gets the same answer, whoever repeats an
//! older one is told so.

use std::collections::{BTreeMap, BTreeSet};

use rallypoint::session::{Refusal, Verdict, answers::Answer};
use rallypoint_protocol::ErrorCode;

use super::Findings;

/// How many answers the specification promises.
const KEPT: usize = 64;

#[derive(Debug)]
pub(crate) struct Answers {
    findings: Findings,
    /// The ids of a session, in order.
    ids: BTreeMap<usize, Vec<u64>>,
    carried: BTreeSet<(usize, u64)>,
    given: BTreeMap<(usize, u64), (u64, u64)>,
}

impl Answers {
    pub(super) fn new(findings: &Findings) -> Self {
        let (ids, carried, given) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { findings: findings.clone(), ids, carried, given }
    }

    /// The session judged a request.
    pub(crate) fn judged(&mut self, place: usize, id: u64, verdict: &Result<Verdict, Refusal>) {
        let ids = self.ids.entry(place).or_default();
        if ids.last().is_none_or(|last| *last < id) {
            ids.push(id);
            self.findings.expect(!matches!(verdict, Ok(Verdict::Again(_))), || {
                format!("session {place}: request {id} is new and was judged {verdict:?}")
            });
            return;
        }
        let kept = ids.iter().rev().take(KEPT).any(|kept| *kept == id);
        let code = verdict.as_ref().err().map(|refusal| refusal.refused.code);
        let good = match verdict {
            Ok(Verdict::Again(Answer::Pending)) => false,
            // Only a view is made anew; `carried` watches the rest.
            Ok(_) => kept,
            // Of an answer that was given `given` does not let it make another.
            Err(_) if code == Some(ErrorCode::RateLimited) => true,
            Err(_) => code == Some(ErrorCode::BadId) && !kept,
        };
        self.findings.seen(if kept { "repeated request" } else { "forgotten request" });
        self.findings.expect(good, || {
            format!("session {place}: request {id} came again, its answer is kept: {kept}, and was judged {verdict:?}")
        });
    }

    /// A request is carried out.
    pub(crate) fn carried(&mut self, place: usize, id: u64) {
        let first = self.carried.insert((place, id));
        self.findings.expect(first, || format!("session {place}: request {id} is carried out twice"));
    }

    /// The server answers.
    pub(crate) fn given(&mut self, place: usize, id: u64, code: u64, seq: u64) {
        let kept = self.ids.get(&place).is_some_and(|ids| ids.iter().rev().take(KEPT).any(|kept| *kept == id));
        if kept {
            let first = *self.given.entry((place, id)).or_insert((code, seq));
            self.findings.expect(first == (code, seq), || {
                format!("session {place}: request {id} was answered {first:?}, and now {:?}", (code, seq))
            });
        }
    }

    /// A guest that waited for an answer got it.
    pub(crate) fn heard(&self, place: usize, id: u64, code: u64, seq: u64) {
        let given = self.given.get(&(place, id)).copied().unwrap_or((0, 0));
        self.findings.expect(given == (code, seq), || {
            format!("session {place}: request {id} was answered {given:?}, and {:?} came", (code, seq))
        });
    }
}
