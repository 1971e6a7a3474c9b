//! Which nodes are alive. Each holds a lease on the engine and renews it; whose lease has run out is dead, for all others
//! and for itself: it goes on as another node.
//!
//! Nobody is declared dead by a node that has not held its own lease without a break for as long as a lease lasts: when the
//! engine itself was away, everybody's lease has run out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;
use redis::Value;
use tokio::{sync::watch, time::Instant};

use super::{
    Redis,
    log::{Script, text},
};
use crate::{broker::Unavailable, node::NodeId};

/// How long a node counts as alive after it said so.
const LEASE: Duration = Duration::from_secs(6);
/// How often it says so.
const RENEWED: Duration = Duration::from_secs(2);
/// An engine that takes longer to answer may have been away.
const PROMPT: Duration = Duration::from_secs(1);
/// Before a renewal that was not answered is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// Another lease has run out this long after it should have.
const MARGIN: Duration = Duration::from_millis(5);
/// How long the dead are remembered: far longer than anything of theirs is kept.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Nodes in rosters without a lease that are told to the engine at once.
const MISSING_MAX: usize = 64;

/// Earlier names of this node that are remembered: events that bear them may still be read.
const FORMER_MAX: usize = 64;

/// What is known of the nodes.
pub(super) struct Nodes {
    script: Script,
    known: Mutex<Known>,
    /// Whether this node has a lease.
    holds: watch::Sender<bool>,
}

struct Known {
    own: NodeId,
    /// What it was before it was found dead.
    former: Vec<NodeId>,
    alive: BTreeSet<NodeId>,
    dead: BTreeSet<NodeId>,
    /// Nodes in rosters that are neither, and since when.
    missing: BTreeMap<NodeId, Option<Instant>>,
    steadiness: Steadiness,
    /// When the lease of this node runs out, by its own clock.
    until: Option<Instant>,
}

/// Since when the lease was renewed in time, each time.
#[derive(Clone, Copy, Default)]
struct Steadiness {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Steadiness {
    /// It was renewed by a request of this moment, answered at that.
    fn renewed(&mut self, asked: Instant, answered: Instant) {
        let is_in_time =
            self.last.is_some_and(|last| asked.duration_since(last) < LEASE) && answered.duration_since(asked) < PROMPT;
        if !is_in_time {
            self.since = Some(asked);
        }
        self.last = Some(asked);
    }

    /// It was not.
    fn broken(&mut self) {
        *self = Self::default();
    }

    fn is_steady(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= LEASE)
    }
}

/// What the engine says to a node that is alive.
struct Told {
    /// When the next of the other leases runs out.
    next: Option<Duration>,
    alive: BTreeSet<NodeId>,
    dead: BTreeSet<NodeId>,
}

impl Nodes {
    pub(super) fn new(own: NodeId) -> Self {
        let known = Known {
            own,
            former: Vec::new(),
            alive: BTreeSet::new(),
            dead: BTreeSet::new(),
            missing: BTreeMap::new(),
            steadiness: Steadiness::default(),
            until: None,
        };
        Self {
            script: Script::new(include_str!("lease.lua")),
            known: Mutex::new(known),
            holds: watch::Sender::default(),
        }
    }

    /// Which node this is.
    pub(super) fn own(&self) -> NodeId {
        self.known.lock().own
    }

    /// The other node that this is; `None` if it is this one, or was.
    pub(super) fn other(&self, node: NodeId) -> Option<NodeId> {
        let known = self.known.lock();
        (node != known.own && !known.former.contains(&node)).then_some(node)
    }

    /// Whether it is known to be dead.
    pub(super) fn is_dead(&self, node: NodeId) -> bool {
        self.known.lock().dead.contains(&node)
    }

    /// Whether this node has a lease.
    pub(super) fn is_held(&self) -> bool {
        *self.holds.borrow()
    }

    /// Whether the lease has not run out by this node's own clock: others may hold it for dead otherwise, whatever it knows.
    pub(super) fn is_sound(&self) -> bool {
        self.known.lock().until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this node has a lease, and knows who is dead.
    pub(super) async fn held(&self) {
        _ = self.holds.subscribe().wait_for(|holds| *holds).await;
    }

    /// Another node is named in a roster.
    pub(super) fn named(&self, node: NodeId) {
        let mut known = self.known.lock();
        let is_known = known.alive.contains(&node) || known.dead.contains(&node);
        if !is_known && known.missing.len() < MISSING_MAX {
            known.missing.entry(node).or_default();
        }
    }

    /// Takes in what the engine says. Returns those that have died since.
    fn take(&self, told: &Told, now: Instant) -> Vec<NodeId> {
        let mut known = self.known.lock();
        let died = told.dead.difference(&known.dead).copied().collect();
        known.until = Some(now + LEASE);
        known.alive.clone_from(&told.alive);
        known.dead.clone_from(&told.dead);
        known.missing.retain(|node, _| !told.alive.contains(node) && !told.dead.contains(node));
        known.missing.values_mut().for_each(|since| _ = since.get_or_insert(now));
        died
    }

    /// It is dead and goes on as another one. Returns who it was.
    fn reborn(&self) -> NodeId {
        let mut known = self.known.lock();
        let before = std::mem::replace(&mut known.own, NodeId::random());
        if known.former.len() >= FORMER_MAX {
            known.former.remove(0);
        }
        known.former.push(before);
        known.dead.insert(before);
        known.until = None;
        before
    }
}

impl Redis {
    /// Holds a lease for as long as it is polled.
    pub(super) async fn stay_alive(&self) {
        let mut is_new = true;
        self.ears.want(self.logs.names().node(self.nodes.own()));
        loop {
            let asked = Instant::now();
            let wait = match self.renew(is_new, asked).await {
                Ok(Some(told)) => {
                    is_new = false;
                    let died = self.nodes.take(&told, asked);
                    self.nodes.known.lock().steadiness.renewed(asked, Instant::now());
                    self.nodes.holds.send_replace(true);
                    died.iter().for_each(|&node| self.bus.forget(node));
                    if let Some(subscriber) = self.subscriber.upgrade() {
                        died.into_iter().for_each(|node| subscriber.died(node));
                    }
                    told.next.map_or(RENEWED, |next| RENEWED.min(next + MARGIN))
                }
                Ok(None) => {
                    is_new = true;
                    self.nodes.holds.send_replace(false);
                    let before = self.nodes.reborn();
                    self.bus.begin_anew();
                    self.ears.want(self.logs.names().node(self.nodes.own()));
                    self.ears.release(&self.logs.names().node(before));
                    tracing::warn!(node = %before, "the other nodes hold this one for dead; it goes on as {}", self.nodes.own());
                    if let Some(subscriber) = self.subscriber.upgrade() {
                        subscriber.reborn(before);
                    }
                    Duration::ZERO
                }
                Err(Unavailable) => {
                    self.nodes.known.lock().steadiness.broken();
                    AGAIN
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Says that this node is alive; `None` if it is dead.
    async fn renew(&self, is_new: bool, now: Instant) -> Result<Option<Told>, Unavailable> {
        let (own, may_declare, missing) = {
            let known = self.nodes.known.lock();
            let since = |(node, since): (&NodeId, &Option<Instant>)| {
                since.is_some_and(|since| now.duration_since(since) >= LEASE).then_some(*node)
            };
            let missing: Vec<_> = known.missing.iter().filter_map(since).collect();
            (known.own, known.steadiness.is_steady(now), missing)
        };
        let flag = |is: bool| u8::from(is).to_string();
        let mut arguments = vec![own.to_string(), LEASE.as_millis().to_string(), flag(is_new), flag(may_declare)];
        arguments.push(REMEMBERED.as_millis().to_string());
        arguments.extend(missing.iter().map(NodeId::to_string));
        let arguments: Vec<_> = arguments.into_iter().map(String::into_bytes).collect();
        let answer = self.logs.run(&self.nodes.script, &self.logs.names().leases(), &arguments).await?;
        told(&answer).ok_or(Unavailable)
    }
}

fn told(answer: &Value) -> Option<Option<Told>> {
    let Value::Array(parts) = answer else { return None };
    let nodes = |value: &Value| match value {
        Value::Array(nodes) => Some(nodes.iter().filter_map(|node| text(node)?.parse().ok()).collect()),
        _ => None,
    };
    match &parts[..] {
        [_] => Some(None),
        [_, Value::Int(next), alive, dead] => {
            let next = u64::try_from(*next).ok().map(Duration::from_millis);
            Some(Some(Told { next, alive: nodes(alive)?, dead: nodes(dead)? }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_without_a_lease_declares_nobody_dead_for_as_long_as_one_lasts() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut steadiness = Steadiness::default();
        for second in [0, 2, 4] {
            steadiness.renewed(at(second), at(second));
            assert!(!steadiness.is_steady(at(second)));
        }
        steadiness.renewed(at(6), at(6));
        assert!(steadiness.is_steady(at(6)));
        // Nobody answered for as long as a lease lasts, or one answer was late, or missing.
        steadiness.renewed(at(12), at(12));
        assert!(!steadiness.is_steady(at(17)));
        assert!(steadiness.is_steady(at(18)));
        steadiness.renewed(at(14), at(15));
        assert!(!steadiness.is_steady(at(19)));
        assert!(steadiness.is_steady(at(20)));
        steadiness.broken();
        steadiness.renewed(at(19), at(19));
        assert!(!steadiness.is_steady(at(24)));
    }
}
