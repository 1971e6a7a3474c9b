//! What the server bears: near a ceiling of memory or processor no new guest is taken on, so that those who are here
//! notice nothing. Lost sessions and feeds that come back are not new. If memory grows all the same, by what guests say,
//! logs take no more.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use rallypoint_protocol::{ErrorCode, codec::Refused};
use rustix::{
    param::page_size,
    time::{ClockId, clock_gettime},
};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::{config::Limits, metrics::Metrics};

/// Between two measurements.
const EVERY: Duration = Duration::from_millis(250);
/// So many of them tell how busy the processors are: a moment's work is no overload.
const BUSY_OF: usize = 4;
/// Somebody who is refused is told to come back after so many milliseconds, and as many more at most: all at once they
/// would be the next wave.
const WAIT_MS: u64 = 1000;
const WAIT_SPREAD_MS: u64 = 4000;

/// What can run out, in the order of the bits that say so.
const CEILINGS: [&str; 2] = ["memory", "cpu_percent"];
/// Set where the whole of the memory is used.
const FULL: u8 = 1 << CEILINGS.len();

/// Whether new guests are taken on.
pub(crate) struct Load {
    ceilings: Ceilings,
    /// A bit for each ceiling that is near, and [`FULL`].
    reached: AtomicU8,
    metrics: Arc<Metrics>,
}

/// Bytes, and a share of all processors.
#[derive(Clone, Copy, Debug)]
struct Ceilings {
    memory: f64,
    busy: f64,
}

impl Load {
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let memory = if limits.memory == 0 { nine_tenths_of_all() } else { limits.memory as u64 };
        metrics.resident_bytes_max.set(i64::try_from(memory).unwrap_or(i64::MAX));
        CEILINGS.into_iter().for_each(|limit| metrics.shedding(limit, false));
        #[expect(clippy::cast_precision_loss, reason = "to within some bytes")]
        let (memory, busy) = (memory as f64, limits.cpu_percent as f64 / 100.0);
        let busy = if limits.cpu_percent == 100 { f64::INFINITY } else { busy };
        Self { ceilings: Ceilings { memory, busy }, reached: AtomicU8::new(0), metrics }
    }

    /// Lets a new guest in, or tells when to try again.
    pub(crate) fn admit(&self) -> Result<(), Refused> {
        let reached = self.reached.load(Ordering::Relaxed);
        if reached == 0 {
            return Ok(());
        }
        let limit = CEILINGS[reached.trailing_zeros() as usize % CEILINGS.len()];
        Err(self.refuse(limit, "no new guest"))
    }

    /// Lets something into a log that a guest says, or tells when to try again.
    pub(crate) fn take_event(&self) -> Result<(), Refused> {
        match self.reached.load(Ordering::Relaxed) & FULL {
            0 => Ok(()),
            _ => Err(self.refuse("memory", "no new event")),
        }
    }

    fn refuse(&self, limit: &'static str, what: &str) -> Refused {
        self.metrics.limited(limit);
        let wait = WAIT_MS + Uuid::new_v4().as_u64_pair().1 % WAIT_SPREAD_MS;
        Refused::new(ErrorCode::Overloaded, format!("{what} for now: limits.{limit}")).for_now(wait)
    }

    /// Measures for as long as the server runs.
    pub(crate) async fn follow(&self) {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut judge = Judge::new(self.ceilings);
        let mut ticks = tokio::time::interval(EVERY);
        // After a tick that came late, two at once would measure nothing.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut worked) = (Instant::now(), cpu_seconds());
        loop {
            ticks.tick().await;
            let (now, works) = (Instant::now(), cpu_seconds());
            let Some(busy) = busy(works - worked, now - last, processors) else { continue };
            (last, worked) = (now, works);
            self.take(judge.judge(resident(), busy), judge.busy());
        }
    }

    fn take(&self, Verdict { reached, full, memory }: Verdict, busy: f64) {
        self.metrics.cpu_busy.set(busy);
        self.metrics.resident_bytes.set(i64::try_from(memory).unwrap_or(i64::MAX));
        let bits = reached.iter().rev().fold(u8::from(full), |bits, &is| bits << 1 | u8::from(is));
        let before = self.reached.swap(bits, Ordering::Relaxed);
        for (bit, limit) in CEILINGS.into_iter().enumerate() {
            let (was, is) = (before >> bit & 1 == 1, reached[bit]);
            if was != is {
                self.metrics.shedding(limit, is);
                let busy = format!("{busy:.2}");
                if is {
                    tracing::warn!(limit, memory, busy, "no new guests for now");
                } else {
                    tracing::info!(limit, memory, busy, "new guests are taken on again");
                }
            }
        }
    }
}

/// Decides by what was measured.
struct Judge {
    ceilings: Ceilings,
    busy: VecDeque<f64>,
    reached: [bool; 2],
    full: bool,
}

struct Verdict {
    /// In the order of [`CEILINGS`].
    reached: [bool; 2],
    full: bool,
    memory: u64,
}

impl Judge {
    fn new(ceilings: Ceilings) -> Self {
        Self { ceilings, busy: VecDeque::with_capacity(BUSY_OF), reached: [false; 2], full: false }
    }

    /// How busy the processors were lately.
    #[expect(clippy::cast_precision_loss, reason = "there are four")]
    fn busy(&self) -> f64 {
        self.busy.iter().sum::<f64>() / BUSY_OF as f64
    }

    /// Guests are refused a little below the ceiling of memory, as some come in between two measurements; and until there
    /// is some room again, or every second guest would be refused.
    fn judge(&mut self, memory: u64, busy: f64) -> Verdict {
        if self.busy.len() == BUSY_OF {
            self.busy.pop_front();
        }
        self.busy.push_back(busy);
        let Ceilings { memory: most, busy: busiest } = self.ceilings;
        #[expect(clippy::cast_precision_loss, reason = "to within some bytes")]
        let shares = [memory as f64 / most, self.busy() / busiest];
        self.full = shares[0] >= if self.full { 0.95 } else { 1.0 };
        let bounds = [[0.90, 0.95], [0.90, 1.0]];
        for ((reached, share), [calm, full]) in self.reached.iter_mut().zip(shares).zip(bounds) {
            *reached = share >= if *reached { calm } else { full };
        }
        Verdict { reached: self.reached, full: self.full, memory }
    }
}

/// The share of the processors that so much of their time is in this while; none if it is too short to tell, as the one
/// before the first tick is.
#[expect(clippy::cast_precision_loss, reason = "a machine has few processors")]
fn busy(worked: f64, within: Duration, processors: usize) -> Option<f64> {
    (within >= EVERY / 2).then(|| (worked / within.as_secs_f64() / processors as f64).min(1.0))
}

/// Processor time that this process has used.
#[expect(clippy::cast_precision_loss, reason = "to within a microsecond")]
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Resident bytes of this process (proc(5), statm); 0 where that is not told.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default();
    pages * page_size() as u64
}

/// Of the memory of the machine, or the control group if that is less.
fn nine_tenths_of_all() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else { return u64::MAX };
    system.refresh_memory();
    let all = system.cgroup_limits().map_or(system.total_memory(), |group| group.total_memory);
    match all {
        0 => u64::MAX,
        all => all / 10 * 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn judge() -> Judge {
        Judge::new(Ceilings { memory: (100 * MIB) as f64, busy: 0.8 })
    }

    #[test]
    fn memory_is_refused_a_little_early_and_given_a_little_late() {
        let mut judge = judge();
        let mut at = |mib: u64| judge.judge(mib * MIB, 0.0).reached[0];
        assert_eq!([at(50), at(94), at(95), at(91), at(89), at(94)], [false, false, true, true, false, false]);
        let mut full = |mib: u64| judge.judge(mib * MIB, 0.0).full;
        assert_eq!([full(99), full(100), full(96), full(94), full(99)], [false, true, true, false, false]);
    }

    #[test]
    fn a_moments_work_is_no_overload() {
        let mut judge = judge();
        let mut at = |busy| judge.judge(0, busy).reached[1];
        assert_eq!([at(1.0), at(1.0), at(1.0)], [false; 3]);
        assert_eq!([at(1.0), at(0.5), at(0.5), at(0.5)], [true, true, true, false]);
    }

    /// A server that has just begun has worked all of the few microseconds before the first look.
    #[test]
    fn a_while_that_is_too_short_tells_nothing() {
        assert_eq!(busy(0.0001, Duration::from_micros(20), 2), None);
        assert_eq!(busy(0.25, EVERY, 2), Some(0.5));
        assert_eq!(busy(0.6, EVERY, 2), Some(1.0), "clocks differ a little");
    }

    #[test]
    fn a_new_guest_is_told_which_limit_and_when_to_try_again() {
        let metrics = Arc::new(Metrics::new());
        let limits = Limits { memory: (100 * MIB) as usize, ..Limits::default() };
        let load = Load::new(&limits, metrics.clone());
        let set = |reached| load.take(Verdict { reached, full: false, memory: 7 }, 0.5);
        assert_eq!(load.admit(), Ok(()));
        for (reached, limit) in [([true, false], "limits.memory"), ([false, true], "limits.cpu_percent")] {
            set(reached);
            let waits: Vec<_> = (0..20).map(|_| load.admit().unwrap_err()).collect();
            assert!(
                waits.iter().all(|refused| refused.code == ErrorCode::Overloaded && refused.message.contains(limit))
            );
            let waits: std::collections::BTreeSet<_> =
                waits.iter().map(|refused| refused.retry_after.unwrap()).collect();
            assert!(waits.len() > 10 && waits.iter().all(|wait| (1000..5000).contains(wait)), "{waits:?}");
        }
        set([true, true]);
        assert!(load.admit().unwrap_err().message.contains("limits.memory"));
        assert_eq!(load.take_event(), Ok(()));
        load.take(Verdict { reached: [true, false], full: true, memory: 7 }, 0.5);
        assert!(load.take_event().unwrap_err().message.contains("no new event for now: limits.memory"));
        set([false, false]);
        assert_eq!((load.admit(), load.take_event()), (Ok(()), Ok(())));
        assert_eq!((metrics.resident_bytes_max.get(), metrics.resident_bytes.get()), (100 << 20, 7));
    }

    #[test]
    fn the_process_is_measured() {
        let ballast = std::hint::black_box(vec![1_u8; 32 << 20]);
        // Whoever works is seen working, however little of the processor it is given.
        let before = cpu_seconds();
        while cpu_seconds() - before < 0.01 {}
        assert!(resident() > 32 << 20);
        assert!((1 << 20..u64::MAX).contains(&nine_tenths_of_all()));
        drop(ballast);
    }
}
