//! A simulated connection: bytes to the guest through a window, whole messages to the server, each late by the latency;
//! it can stall, be cut at any byte, or go on in silence for ends that do not know that it is dead.

use rallypoint_proof::seed::Seed;
use std::collections::VecDeque;

use crate::wire::Up;

/// One connection of one guest, from its opening to its end.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) guest: usize,
    latency: u64,
    /// Bytes a millisecond towards the guest.
    speed: usize,
    /// Bytes that may be on their way to the guest; the kernel takes no more.
    window: usize,
    on_the_way: usize,
    down: VecDeque<(u64, Vec<u8>)>,
    up: VecDeque<(u64, Up)>,
    /// When the last byte and the last message that were sent arrive.
    arrivals: (u64, u64),
    stalled_until: u64,
    /// Nothing that is sent arrives any more.
    torn: bool,
    /// Something happened to it, so that its end is nobody's fault.
    disturbed: bool,
    /// The guest has given it up.
    pub(crate) left: bool,
}

impl Link {
    pub(crate) fn new(guest: usize, seed: &mut Seed) -> Self {
        Self {
            guest,
            latency: 1 + seed.below(150),
            speed: *seed.pick(&[20, 200, 10_000]),
            window: *seed.pick(&[3000, 16_000, 120_000]),
            on_the_way: 0,
            down: VecDeque::new(),
            up: VecDeque::new(),
            arrivals: (0, 0),
            stalled_until: 0,
            torn: false,
            disturbed: false,
            left: false,
        }
    }

    /// Whether a ping must be answered within `ms`, as long as nothing happens.
    pub(crate) fn answers_within(&self, ms: u64) -> bool {
        !self.disturbed && 2 * self.latency + ((self.window / self.speed) as u64) < ms
    }

    /// The kernel takes some of these bytes, and tells when they arrive; `None` when it takes nothing.
    pub(crate) fn write(&mut self, now: u64, waiting: &[u8], seed: &mut Seed) -> Option<(usize, Option<u64>)> {
        let mut taken = waiting.len().min(self.window - self.on_the_way);
        if taken == 0 {
            return None;
        }
        if seed.percent(15) {
            taken = 1 + seed.index(taken);
        }
        self.on_the_way += taken;
        if self.torn {
            return Some((taken, None));
        }
        let ready = self.arrivals.0.max(self.stalled_until).max(now + self.latency);
        let at = ready + (taken / self.speed) as u64;
        self.arrivals.0 = at;
        self.down.push_back((at, waiting[..taken].to_vec()));
        Some((taken, Some(at)))
    }

    /// What arrives at the guest at this moment.
    pub(crate) fn arrive_down(&mut self, now: u64) -> Option<Vec<u8>> {
        let (_, bytes) = self.down.pop_front_if(|(at, _)| *at <= now)?;
        self.on_the_way -= bytes.len();
        Some(bytes)
    }

    /// The guest says something; tells when it arrives, if it does.
    pub(crate) fn say(&mut self, now: u64, message: Up) -> Option<u64> {
        if self.torn {
            return None;
        }
        let at = self.arrivals.1.max(self.stalled_until).max(now + self.latency);
        self.arrivals.1 = at;
        self.up.push_back((at, message));
        Some(at)
    }

    /// What arrives at the server at this moment.
    pub(crate) fn arrive_up(&mut self, now: u64) -> Option<Up> {
        self.up.pop_front_if(|(at, _)| *at <= now).map(|(_, message)| message)
    }

    /// Nothing that is sent from now on arrives before `until`.
    pub(crate) fn stall(&mut self, until: u64) {
        self.stalled_until = until;
        self.disturbed = true;
    }

    /// It is torn at a byte: of what is on its way some still arrives, and nothing behind it.
    pub(crate) fn tear(&mut self, seed: &mut Seed) {
        let mut left = seed.index(self.down.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + 1);
        for (_, bytes) in &mut self.down {
            bytes.truncate(left);
            left -= bytes.len();
        }
        self.down.retain(|(_, bytes)| !bytes.is_empty());
        let messages = seed.index(self.up.len() + 1);
        self.up.truncate(messages);
        (self.torn, self.disturbed) = (true, true);
    }

    /// One end closes it: what is on its way arrives, and nothing after it.
    pub(crate) fn close(&mut self) {
        self.torn = true;
    }

    /// When the ends would notice that nothing comes any more: the guest, and the server.
    pub(crate) fn noticed(&self, now: u64) -> (u64, u64) {
        let after = |last: Option<u64>| last.unwrap_or(0).max(now) + self.latency;
        (after(self.down.back().map(|(at, _)| *at)), after(self.up.back().map(|(at, _)| *at)))
    }
}
