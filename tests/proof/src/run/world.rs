//! What all clients of a run share: where to connect, what to record into, and what phase the run is in.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rallypoint_protocol::RoomName;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::notes::Directory;
use crate::{
    history::{ClientNo, Label, Recorder},
    seed::Seed,
};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everybody talks.
    Busy,
    /// Everybody says one last thing and is silent then.
    Last,
    /// Everybody goes.
    Over,
}

/// A room and how the record calls it.
#[derive(Clone, Debug)]
pub struct Room {
    /// Its name.
    pub name: RoomName,
    /// Its number in the record.
    pub log: crate::history::LogNo,
}

/// The shared part of a run.
#[derive(Debug)]
pub struct World {
    /// What is recorded.
    pub recorder: Recorder,
    /// Who is who.
    pub directory: Directory,
    /// Where clients connect: the proxies.
    pub doors: Vec<SocketAddr>,
    /// The seed of the run.
    pub seed: u64,
    /// The rooms.
    pub rooms: Vec<Room>,
    /// The phase.
    pub phase: watch::Receiver<Phase>,
}

impl World {
    /// A stream of chance of its own for a task of a client.
    pub fn seed(&self, client: ClientNo, task: u64) -> Seed {
        Seed::part(self.seed, (u64::from(client.0) << 8) + task)
    }

    /// The door of the how manieth client of a kind: those who share a room are spread over all doors.
    pub fn door(&self, n: usize) -> SocketAddr {
        self.doors[n / self.rooms.len() % self.doors.len()]
    }

    /// Whether there is still something to say.
    pub fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }

    /// Waits until the run has come to this phase.
    pub async fn reached(&self, phase: Phase) {
        // An error means that the run is gone, which is further than any phase.
        _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }
}

/// Numbers what a client sends.
#[derive(Debug)]
pub struct Labels {
    client: ClientNo,
    last: AtomicU32,
}

impl Labels {
    /// From 1.
    pub fn new(client: ClientNo) -> Self {
        Self { client, last: AtomicU32::new(0) }
    }

    /// The next.
    pub fn next(&self) -> Label {
        Label { client: self.client, number: self.last.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

/// Says when to act: every so often while the run is busy, and once more when everybody is to say a last thing.
#[derive(Debug)]
pub struct Pacer {
    world: Arc<World>,
    ticks: Interval,
    said_last: bool,
}

impl Pacer {
    /// Begins at a moment within the first period that the seed chooses.
    pub fn new(world: &Arc<World>, seed: &mut Seed, period: Duration) -> Self {
        let begin = Instant::now() + period.mul_f64(seed.below(1000) as f64 / 1000.0);
        let mut ticks = interval_at(begin, period);
        // Whoever was held up does not make up for it: the rate stays what it is.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { world: Arc::clone(world), ticks, said_last: false }
    }

    /// Waits for the next time to act; `false` after the last.
    pub async fn next(&mut self) -> bool {
        if self.world.is(Phase::Busy) {
            tokio::select! {
                _ = self.ticks.tick() => return true,
                () = self.world.reached(Phase::Last) => {}
            }
        }
        !std::mem::replace(&mut self.said_last, true) && self.world.is(Phase::Last)
    }
}
