//! Bounds: rates let through their burst and what time gives, no more and no less; an outbox holds its budget.

use rallypoint::session::{
    Refusal, Verdict,
    limits::{Rate, Rates as Limits},
    outbox::Outbox,
};
use rallypoint_protocol::ErrorCode;
use std::collections::BTreeMap;

use super::Findings;
use crate::wire::{Down, Latest};

/// Sums of fractions differ in their last digits.
const DUST: f64 = 1e-6;
/// The largest frame that a guest can cause, aside from what it is owed.
const FRAME_MAX: usize = 33_000;

/// How much of a rate is used up: the most that any time up to now had above what it gives.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    units: f64,
    at: u64,
}

impl Used {
    fn now(&mut self, now: u64, rate: Rate) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "minutes")]
        let given = (now - self.at) as f64 * rate.per_second / 1000.0;
        *self = Self { units: (self.units - given).max(0.0), at: now };
        self.units
    }
}

/// Requests, moves and bytes of every session.
#[derive(Debug)]
pub(crate) struct Rates {
    findings: Findings,
    limits: Limits,
    used: BTreeMap<(usize, &'static str), Used>,
}

impl Rates {
    pub(super) fn new(findings: &Findings, limits: Limits) -> Self {
        Self { findings: findings.clone(), limits, used: BTreeMap::new() }
    }

    /// A request was let through, or not. One that came again is answered whether it was in haste or not.
    pub(crate) fn request(&mut self, place: usize, len: usize, now: u64, verdict: &Result<Verdict, Refusal>) {
        let again = matches!(verdict, Ok(Verdict::Again(_)));
        self.judge(place, ("requests_per_second", self.limits.requests), len, now, verdict.as_ref().err(), again);
    }

    /// A move was let through, or not. One to a room without a seat is told so whether it was in haste or not.
    pub(crate) fn step(&mut self, place: usize, len: usize, now: u64, refusal: Option<&Refusal>) {
        self.judge(
            place,
            ("moves_per_second", self.limits.moves),
            len,
            now,
            refusal,
            refusal.is_some_and(|refusal| refusal.refused.code == ErrorCode::NotJoined),
        );
    }

    fn judge(
        &mut self,
        place: usize,
        (name, rate): (&'static str, Rate),
        len: usize,
        now: u64,
        refusal: Option<&Refusal>,
        regardless: bool,
    ) {
        let too_fast = refusal.filter(|refusal| refusal.refused.code == ErrorCode::RateLimited);
        let limit = too_fast.and_then(|refusal| refusal.limit);
        #[expect(clippy::cast_precision_loss, reason = "frames are bounded")]
        let bytes = len as f64;
        // Bytes come first, and are used up even if the other rate refuses.
        for (name, rate, units) in [("bytes_per_second", self.limits.bytes, bytes), (name, rate, 1.0)] {
            let used = self.used.entry((place, name)).or_default();
            let would_be = used.now(now, rate) + units;
            if limit == Some(name) {
                self.findings.seen("too fast");
                self.findings.expect(would_be > rate.burst - DUST, || {
                    format!("session {place} is refused for {name} with {would_be} of {}", rate.burst)
                });
                return;
            }
            if regardless && would_be > rate.burst {
                return;
            }
            used.units = would_be;
            self.findings.expect(would_be <= rate.burst + DUST, || {
                format!("session {place} is let through with {would_be} of {} for {name}", rate.burst)
            });
        }
        self.findings.expect(too_fast.is_none(), || format!("session {place} is refused for {limit:?}"));
    }
}

/// What waits for guests.
#[derive(Debug)]
pub(crate) struct Outboxes {
    findings: Findings,
    budget: usize,
}

/// Bytes that wait, and the whole latest moves among them that a newer one may replace: those behind the last picture.
fn waiting(outbox: &Outbox) -> (usize, Vec<Latest>) {
    let mut latest = Vec::new();
    for frame in outbox.waiting().skip(1) {
        match Down::decode(frame) {
            Some((Down::Latest(one), _)) => latest.push(one),
            Some((Down::Picture { .. }, _)) => latest.clear(),
            _ => {}
        }
    }
    (outbox.waiting().map(<[u8]>::len).sum(), latest)
}

impl Outboxes {
    pub(super) fn new(findings: &Findings, budget: usize) -> Self {
        Self { findings: findings.clone(), budget }
    }

    /// Something waits for a guest whose kernel takes no more; `owed` bytes of it do not count.
    pub(crate) fn held(&self, at: usize, outbox: &Outbox, owed: usize) {
        self.findings.seen("blocked");
        let (bytes, latest) = waiting(outbox);
        let most = self.budget + owed + FRAME_MAX;
        self.findings.expect(bytes <= most, || format!("connection {at}: {bytes} bytes wait, {most} may"));
        let mut slots: Vec<_> = latest.iter().map(|latest| (latest.from, latest.key)).collect();
        slots.sort_unstable();
        let doubled = slots.windows(2).find(|pair| pair[0] == pair[1]);
        self.findings.expect(doubled.is_none(), || format!("connection {at}: two latest moves of {doubled:?} wait"));
    }

    /// A guest is called slow: so much must really wait for it.
    pub(crate) fn slow(&self, at: usize, outbox: &Outbox) {
        self.findings.seen("slow");
        let (bytes, _) = waiting(outbox);
        self.findings.expect(bytes > self.budget, || {
            format!("connection {at} is called slow with {bytes} of {} bytes", self.budget)
        });
    }
}
