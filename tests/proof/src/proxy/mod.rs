//! A TCP proxy that does to connections what networks do: delays, throttles, cuts, pulls the cable, sends twice.
//!
//! It stands in front of one server, or of some of which it takes the first that is there, as a balancer does. What happens to connection number n
//! follows from the seed and n alone ([`Mix::plan`]), so a run can be had again as far as the clients connect in the
//! same order. It reads nothing of what it carries but the heads of HTTP requests that may be doubled.

pub mod bridge;
mod copy;
mod pipe;
pub mod plan;
mod tap;

use std::{
    fmt,
    iter::Sum,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

pub use self::plan::{Accident, Cut, Duplicate, Mix, Plan, Way};
use self::{
    pipe::{End, Pipe},
    tap::Tap,
};
use crate::seed::Seed;

/// How long the ends of an orderly cut are read on, so that the kernel does not turn it into a reset.
const LINGER: Duration = Duration::from_secs(1);

/// A cut that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number of the connection, from 0.
    pub connection: u64,
    /// Whether it was the direction towards the server that had passed its bytes.
    pub up: bool,
    /// How it was cut.
    pub cut: Cut,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the proxy has done.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            fn plus(self, other: Self) -> Self {
                Self { $($name: self.$name + other.$name,)* }
            }
        }

        #[derive(Debug, Default)]
        struct Counters {
            $($name: AtomicU64,)*
        }

        impl Counters {
            fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Connections taken.
    connections,
    /// Connections that the server did not take.
    refused,
    /// Cuts by a reset.
    rst,
    /// Cuts by an orderly end.
    fin,
    /// Half-open connections, counted when nothing passes any more.
    half_open,
    /// Cuts of all three kinds that fell into the direction towards the server.
    cut_up,
    /// Connections with a delay.
    delayed,
    /// Connections that were throttled.
    throttled,
    /// Requests answered to a copy beside the original.
    doubled_beside,
    /// Requests answered to a copy before the original.
    doubled_before,
}

impl Counts {
    /// Cuts of any kind.
    pub fn cuts(&self) -> u64 {
        self.rst + self.fin + self.half_open
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::plus)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doubled = self.doubled_beside + self.doubled_before;
        write!(
            f,
            "{} cuts ({} reset, {} ended, {} half-open; {} on the way up), {} doubled requests, {} connections, {} refused",
            self.cuts(),
            self.rst,
            self.fin,
            self.half_open,
            self.cut_up,
            doubled,
            self.connections,
            self.refused
        )
    }
}

struct Shared {
    targets: Vec<SocketAddr>,
    plans: Box<dyn Fn(u64) -> Plan + Send + Sync>,
    armed: AtomicBool,
    counters: Counters,
    told: Box<dyn Fn(Fault) + Send + Sync>,
}

impl Shared {
    /// A connection to the first that takes it.
    async fn connect(&self) -> Option<TcpStream> {
        for &target in &self.targets {
            if let Ok(server) = TcpStream::connect(target).await {
                return Some(server);
            }
        }
        None
    }

    fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    fn tell(&self, fault: Fault) {
        let counter = match fault.cut {
            Cut::Rst => &self.counters.rst,
            Cut::Fin => &self.counters.fin,
            Cut::HalfOpen { .. } => &self.counters.half_open,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.counters.cut_up.fetch_add(u64::from(fault.up), Ordering::Relaxed);
        (self.told)(fault);
    }
}

/// A running proxy. Dropping it drops its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of loopback and carries connections to the first of `targets` that takes them. `plans` says what happens to each, by
    /// its number from 0; for the sequence of a seed that is `move |number| mix.plan(seed, number)`. Whenever a
    /// connection is cut, `told` hears of it before either side can.
    pub async fn start(
        targets: Vec<SocketAddr>,
        plans: impl Fn(u64) -> Plan + Send + Sync + 'static,
        told: impl Fn(Fault) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (plans, told) = (Box::new(plans), Box::new(told));
        let shared = Arc::new(Shared { targets, plans, armed: true.into(), counters: Counters::default(), told });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Turns cuts and doubled requests on or off, for connections that are open too. A cut whose byte goes by while
    /// they are off never happens; a half-open connection that is held already is held to its end.
    pub fn arm(&self, armed: bool) {
        self.shared.armed.store(armed, Ordering::Relaxed);
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let number = shared.counters.connections.fetch_add(1, Ordering::Relaxed);
                    let plan = (shared.plans)(number);
                    connections.spawn(carry(client, number, plan, Arc::clone(&shared)));
                }
                // Out of descriptors, most likely: those that end give some back.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut client: TcpStream, number: u64, plan: Plan, shared: Arc<Shared>) {
    let Some(mut server) = shared.connect().await else {
        shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        reset(client);
        return;
    };
    _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ways = [&plan.up, &plan.down];
    let delayed = ways.iter().any(|way| !way.delay.is_zero() || !way.jitter.is_zero());
    shared.counters.delayed.fetch_add(u64::from(delayed), Ordering::Relaxed);
    let throttled = ways.iter().any(|way| way.throttle.is_some());
    shared.counters.throttled.fetch_add(u64::from(throttled), Ordering::Relaxed);

    match relay(&mut client, &mut server, &plan, &shared).await {
        Parted::Over => {}
        Parted::Broken => {
            reset(client);
            reset(server);
        }
        Parted::Cut { up } => {
            let Some(Accident { cut, .. }) = plan.accident else { return };
            shared.tell(Fault { connection: number, up, cut });
            match cut {
                Cut::Fin => _ = tokio::join!(end(client), end(server)),
                Cut::Rst => {
                    reset(client);
                    reset(server);
                }
                Cut::HalfOpen { hold } => {
                    // Nobody reads here, so whatever either side does in the meantime stays unknown to the other.
                    sleep(hold).await;
                    reset(client);
                    reset(server);
                }
            }
        }
    }
}

enum Parted {
    Over,
    Broken,
    Cut { up: bool },
}

/// Carries both directions until both are over, one breaks, or the cut is due in one.
async fn relay(client: &mut TcpStream, server: &mut TcpStream, plan: &Plan, shared: &Arc<Shared>) -> Parted {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let pipe = |from, to, way: &Way, cut_at, jitter, duplicate: Option<Duplicate>| {
        let doubled = duplicate.map(|duplicate| (Tap::default(), duplicate));
        let (way, shared) = (way.clone(), Arc::clone(shared));
        Pipe { from, to, way, jitter, cut_at, doubled, shared }.run()
    };
    let (up_at, down_at) = plan.accident.map_or((None, None), |accident| (accident.up_at, accident.down_at));
    let jitter = |way| Seed::part(plan.jitter_seed, way);
    let up = pipe(from_client, to_server, &plan.up, up_at, jitter(0), plan.duplicate);
    let down = pipe(from_server, to_client, &plan.down, down_at, jitter(1), None);
    tokio::pin!(up, down);
    let (mut up_over, mut down_over) = (false, false);
    while !(up_over && down_over) {
        let (end, is_up) = tokio::select! {
            end = &mut up, if !up_over => (end, true),
            end = &mut down, if !down_over => (end, false),
        };
        match end {
            End::Over if is_up => up_over = true,
            End::Over => down_over = true,
            End::Broken => return Parted::Broken,
            End::Due => return Parted::Cut { up: is_up },
        }
    }
    Parted::Over
}

/// Drops a socket so that the other side gets a reset.
fn reset(socket: TcpStream) {
    _ = socket.set_zero_linger();
}

/// Drops a socket so that the other side sees the end of the stream, and everything sent before it.
async fn end(mut socket: TcpStream) {
    let drain = async {
        socket.shutdown().await?;
        let mut buffer = [0; 4096];
        while socket.read(&mut buffer).await? > 0 {}
        std::io::Result::Ok(())
    };
    _ = timeout(LINGER, drain).await;
}
