//! One run of the stalled members: a server of its own, rooms that talk, and what was seen in them.

mod guest;
mod seen;

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};

use crate::{
    hostile::pair::Latency,
    run::{
        gauges::{Gauges, resident},
        server::Setup,
    },
};
use guest::Guest;
pub use seen::Seen;

/// `limits.outbound_budget`, which is the default here.
const BUDGET: usize = 262_144;
/// `limits.unsent_mark`, by which the server bounds what the kernel holds unsent for a socket.
const UNSENT: usize = 16_384;
/// What else a session that is closed as slow may cost the server's process until it is gone: its outbox's entries, the
/// answers and messages kept for a resume, and what the allocator rounds up to.
const BESIDES: usize = 32 * 1024;
/// What two runs of one server differ by though nothing is different.
const NOISE: usize = 4 << 20;
/// Everybody comes from one address, and 1000 of them in a moment.
const SETTINGS: &[(&str, &str)] = &[
    ("RALLYPOINT_LIMITS__CONNECTIONS_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__ACCEPTS_BURST_PER_IP", "20000"),
    ("RALLYPOINT_LOG__FILTER", "warn"),
];
/// How long the last events and the ends of the stalled may take: the stalled time, the grace, and more.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long it talks.
    pub time: Duration,
    /// Rooms.
    pub rooms: usize,
    /// Members of a room, the stalled among them.
    pub clients: usize,
    /// How many of them stop reading.
    pub stalled: usize,
    /// Events a second in each room.
    pub rate: usize,
    /// Bytes of an event.
    pub bytes: usize,
}

impl Plan {
    /// By how much the stalled may make the server's memory grow. Events are shared: those that wait for one of a room
    /// wait for all, so this is what the specification allows and far more than what is needed.
    pub fn bound(&self) -> f64 {
        // The last frame may be beyond the budget, since what waits already decides.
        let each = BUDGET + self.bytes * 2 + BESIDES;
        (self.rooms * self.stalled * each + NOISE) as f64
    }

    fn events(&self) -> u64 {
        self.time.as_secs() * self.rate as u64 * self.rooms as u64
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// From sending to the arrival at each who reads.
    pub latency: Latency,
    /// Resident bytes of the server, the most that was seen.
    pub memory_peak: f64,
    /// What is wrong.
    pub wrong: Vec<String>,
    told: String,
}

impl Run {
    /// All of it in words.
    pub fn line(&self) -> String {
        format!(
            "p50 {:.2} ms, p99 {:.2} ms of {} arrivals; memory at most {:.1} MiB; {}",
            self.latency.p50,
            self.latency.p99,
            self.latency.count,
            self.memory_peak / 1048576.0,
            self.told
        )
    }
}

/// Runs it with a server of its own.
pub async fn run(binary: &Path, plan: &Plan, log: &Path) -> io::Result<Run> {
    let setup = Setup::new(binary, SETTINGS, log.to_owned())?;
    let mut server = setup.start().await?;
    let pid = server.pid().ok_or(io::ErrorKind::NotFound)?;
    let seen = Arc::new(Seen::default());
    let mut guests = JoinSet::new();
    let mut entered = Vec::new();
    for room in 0..plan.rooms {
        for place in 0..plan.clients {
            entered.push(Guest::enter(setup.address, plan, room, place).await?);
        }
    }
    // All are in before anybody talks, so that everybody owes everybody the same.
    seen.begin(Instant::now() + Duration::from_secs(1));
    for guest in entered {
        guests.spawn(guest.stay(Arc::clone(&seen), *plan));
    }
    let (memory_peak, drained) = watch(setup.address, pid, plan, &seen).await?;
    let gauges = Gauges::read(setup.address).await?;
    seen.over.store(true, Ordering::Relaxed);
    let mut wrong = seen.wrong();
    let (stalled, healthy) = (plan.rooms * plan.stalled, plan.rooms * (plan.clients - plan.stalled));
    let (arrived, expected) =
        (seen.arrived.load(Ordering::Relaxed), plan.events() * healthy as u64 / plan.rooms as u64);
    let mut must = |good: bool, why: String| {
        if !good {
            wrong.push(why)
        }
    };
    must(drained, "the stalled, or the last events, did not come to their end in time".to_owned());
    must(arrived == expected, format!("{arrived} events arrived of {expected}"));
    let left = seen.slow.load(Ordering::Relaxed);
    let told = (stalled * (plan.clients - plan.stalled)) as u64;
    must(left == told, format!("{left} times somebody saw a slow one leave, in place of {told}"));
    let (slow, budget, time) = (
        gauges.of("closes_total{code=\"4002\"}"),
        gauges.of("limited_total{limit=\"outbound_budget\"}"),
        gauges.of("limited_total{limit=\"stalled_ms\"}"),
    );
    must(slow == stalled as f64, format!("{slow} closes 4002 of {stalled}"));
    must(budget + time >= stalled as f64, format!("budget {budget} and stalled {time} were counted for {stalled}"));
    let waited = gauges.of("outbox_bytes_max");
    must(waited <= (BUDGET + plan.bytes * 2) as f64, format!("{waited} bytes waited for one"));
    let present = gauges.of("sessions");
    must(present == healthy as f64, format!("{present} sessions in the end in place of {healthy}"));
    let lag = seen.lag();
    let told = format!(
        "{stalled} stalled: {slow} closed 4002 ({budget} by budget, {time} by time), seen {left} times; at most {waited} \
         bytes waited (budget {BUDGET}, kernel {UNSENT}); generator's lag p50 {:.2} ms, p99 {:.2} ms",
        lag.p50, lag.p99
    );
    guests.shutdown().await;
    let (status, _) = server.stop().await?;
    if !status.success() {
        wrong.push(format!("the server ended with {status}"));
    }
    Ok(Run { latency: seen.latency(), memory_peak, wrong, told })
}

/// Looks at the memory until everything has come to its end: the most, and whether it did.
async fn watch(address: SocketAddr, pid: u32, plan: &Plan, seen: &Seen) -> io::Result<(f64, bool)> {
    let healthy = plan.rooms * (plan.clients - plan.stalled);
    let mut looks = interval(LOOK);
    let (mut most, end) = (0.0_f64, Instant::now() + plan.time + ENDS_WITHIN);
    let all = plan.events() * (plan.clients - plan.stalled) as u64;
    while Instant::now() < end {
        looks.tick().await;
        most = most.max(resident(pid)?);
        if seen.arrived.load(Ordering::Relaxed) >= all {
            let gone = Gauges::read(address).await?.of("sessions") <= healthy as f64;
            let told = (plan.rooms * plan.stalled * (plan.clients - plan.stalled)) as u64;
            if gone && seen.slow.load(Ordering::Relaxed) >= told {
                return Ok((most, true));
            }
            sleep(LOOK).await;
        }
    }
    Ok((most, false))
}
