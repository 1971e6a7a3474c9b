//! Signals and moves: each once and in order across resumes, or an explicit new beginning; of latest moves the newest.

use std::collections::{BTreeMap, BTreeSet};

use rallypoint_protocol::moves::Lane;

use super::Findings;

/// What the specification lets a server keep: messages, and bytes.
const KEPT: (usize, usize) = (256, 256 * 1024);

/// The counted messages of one session between two beginnings.
#[derive(Debug, Default)]
struct Life {
    owed: Vec<(u64, usize)>,
    acked: u64,
    /// What is not kept any more.
    edge: u64,
    came: usize,
}

/// Counted messages, by session and life.
#[derive(Debug)]
pub(crate) struct Counted {
    findings: Findings,
    lives: BTreeMap<(usize, u64), Life>,
}

impl Counted {
    pub(super) fn new(findings: &Findings) -> Self {
        Self { findings: findings.clone(), lives: BTreeMap::new() }
    }

    fn life(&mut self, place: usize, life: u64) -> &mut Life {
        self.lives.entry((place, life)).or_default()
    }

    pub(super) fn owe(&mut self, place: usize, life: u64, unique: u64, len: usize) {
        let life = self.life(place, life);
        life.owed.push((unique, len));
        // The newest that fit, and the very newest whatever its size.
        let (mut edge, mut bytes) = (life.owed.len() - 1, len);
        while edge > 0 && life.owed.len() - edge < KEPT.0 && bytes + life.owed[edge - 1].1 <= KEPT.1 {
            edge -= 1;
            bytes += life.owed[edge].1;
        }
        let forgotten = edge as u64 > life.edge.max(life.acked);
        life.edge = life.edge.max(edge as u64).max(life.acked);
        if forgotten {
            self.findings.seen("kept message forgotten");
        }
    }

    /// From which count on everything is kept.
    pub(super) fn edge(&self, place: usize, life: u64) -> u64 {
        self.lives.get(&(place, life)).map_or(0, |life| life.edge)
    }

    /// The guest has the first `n`.
    pub(crate) fn ack(&mut self, place: usize, life: u64, n: u64) {
        let life = self.life(place, life);
        life.acked = n;
        life.edge = life.edge.max(n);
    }

    /// A counted message came.
    pub(crate) fn came(&mut self, place: usize, life: u64, unique: u64) {
        self.findings.seen("counted");
        let next = self.life(place, life);
        let owed = next.owed.get(next.came).map(|(owed, _)| *owed);
        next.came += 1;
        self.findings.expect(owed == Some(unique), || {
            format!("session {place}, life {life}: counted message {unique} came where {owed:?} was next")
        });
    }

    /// At the end nothing may be owed.
    pub(crate) fn settled(&mut self, place: usize, life: u64) {
        let Life { owed, came, .. } = self.life(place, life);
        let (owed, came) = (owed.len(), *came);
        self.findings.expect(owed == came, || format!("session {place}, life {life}: {came} of {owed} messages came"));
    }
}

/// The way of moves into the room, and the newest of each key.
#[derive(Debug)]
pub(crate) struct Moves {
    findings: Findings,
    /// Reliable moves that a guest sent in its present life, in order.
    sent: BTreeMap<usize, Vec<u64>>,
    taken: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    last: BTreeMap<(usize, u32), u32>,
    newest: BTreeMap<(u32, u16), u32>,
    handles: BTreeMap<usize, u32>,
}

impl Moves {
    pub(super) fn new(findings: &Findings) -> Self {
        Self {
            findings: findings.clone(),
            sent: BTreeMap::new(),
            taken: BTreeSet::new(),
            refused: BTreeSet::new(),
            last: BTreeMap::new(),
            newest: BTreeMap::new(),
            handles: BTreeMap::new(),
        }
    }

    /// A guest sends a reliable move for the first time.
    pub(crate) fn sent(&mut self, place: usize, unique: u64) {
        self.sent.entry(place).or_default().push(unique);
    }

    /// A guest was told that something is lost: it sends nothing again.
    pub(crate) fn begin_anew(&mut self, place: usize) {
        self.sent.remove(&place);
    }

    pub(crate) fn joined(&mut self, place: usize, handle: u32) {
        self.handles.insert(place, handle);
    }

    /// The room took a move.
    pub(crate) fn taken(&mut self, place: usize, from: u32, (lane, key, seq): (Lane, u16, u32), unique: u64) {
        let last = self.last.insert((place, from), seq);
        self.findings.expect(last.is_none_or(|last| last < seq), || format!("session {place}: {seq} after {last:?}"));
        self.findings.expect(self.handles.get(&place) == Some(&from), || format!("session {place} moves as {from}"));
        self.findings.expect(self.taken.insert(unique), || format!("session {place}: move {unique} is taken twice"));
        if lane == Lane::Latest {
            self.newest.insert((from, key), seq);
        }
    }

    /// The session refused a move.
    pub(crate) fn refused(&mut self, unique: u64) {
        self.refused.insert(unique);
    }

    /// The room dropped a move as one that it knows.
    pub(crate) fn stale(&self, place: usize, lane: Lane, unique: u64) {
        self.findings.seen("stale move");
        let known = lane == Lane::Latest || self.taken.contains(&unique) || self.refused.contains(&unique);
        self.findings.expect(known, || format!("session {place}: move {unique} is dropped and never came before"));
    }

    /// A member left.
    pub(crate) fn left(&mut self, handle: u32) {
        self.newest.retain(|(from, _), _| *from != handle);
    }

    /// A latest move came to a guest that knew `before` of its key.
    pub(crate) fn came(&self, guest: usize, before: Option<u32>, seq: u32) {
        self.findings.seen("latest");
        self.findings.expect(before.is_none_or(|before| before < seq), || {
            format!("guest {guest} got latest move {seq} after {before:?} of the same key")
        });
    }

    /// At the end: a member has the newest of all others, and the room has all it sent.
    pub(crate) fn settled(&self, place: usize, latest: &BTreeMap<(u32, u16), u32>) {
        let own = self.handles.get(&place);
        for (of, seq) in self.newest.iter().filter(|((from, _), _)| Some(from) != own) {
            let has = latest.get(of);
            self.findings.expect(has == Some(seq), || format!("session {place} has {has:?} of {of:?}, not {seq}"));
        }
        for unique in self.sent.get(&place).into_iter().flatten() {
            let arrived = self.taken.contains(unique) || self.refused.contains(unique);
            self.findings.expect(arrived, || format!("session {place}: its reliable move {unique} never arrived"));
        }
    }
}
