//! More guests than a server takes on: a crowd fills it up to a ceiling, and three times as many come after it. Pairs that
//! were there before must notice nothing, and newcomers must be told when to come again.

pub mod newcomers;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use crate::{
    hostile::pair::{Latency, Pair},
    run::{
        gauges::{Gauges, resident},
        http,
        server::Setup,
    },
};
use newcomers::{Habit, Order, Told};

/// Pairs that are there before; each moves 50 times a second.
const PAIRS: usize = 10;
/// Users that newcomers come as.
const USERS: usize = 8;
/// How long anything may take that has no other bound.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Everybody comes from one address and as few users; what they leave in rooms is soon forgotten.
const SETTINGS: &[(&str, &str)] = &[
    ("RALLYPOINT_LIMITS__CONNECTIONS_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__CONNECTIONS_PER_USER", "20000"),
    ("RALLYPOINT_LIMITS__ACCEPTS_PER_SECOND_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__ACCEPTS_BURST_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__REQUESTS_PER_SECOND_PER_USER", "20000"),
    ("RALLYPOINT_LIMITS__REQUESTS_BURST_PER_USER", "20000"),
    ("RALLYPOINT_ROOM__HISTORY_MS", "1500"),
    ("RALLYPOINT_LIMITS__RESUME_GRACE_MS", "500"),
    ("RALLYPOINT_LOG__FILTER", "warn"),
];

/// A ceiling, and who comes to it.
#[derive(Clone, Copy, Debug)]
pub struct Wave {
    /// The ceiling, as the configuration calls it.
    pub limit: &'static str,
    /// The server's settings.
    pub settings: &'static [(&'static str, &'static str)],
    /// What newcomers do.
    pub habit: Habit,
    /// How many fill it, and how many a second.
    pub fill: (usize, f64),
    /// How many come after them, and how many a second.
    pub wave: (usize, f64),
    /// What a newcomer may be told in place of a welcome.
    pub told: &'static [&'static str],
    /// Whether it stays reached by those who are in.
    pub stays: bool,
}

/// `limits.memory` of the wave of that name.
const MEMORY: f64 = 100.0 * 1024.0 * 1024.0;

/// All of them.
pub const WAVES: &[Wave] = &[
    Wave {
        limit: "connections",
        settings: &[("RALLYPOINT_LIMITS__CONNECTIONS", "600")],
        habit: Habit::Stay,
        fill: (900, 150.0),
        wave: (1800, 180.0),
        told: &["503 with a time"],
        stays: true,
    },
    Wave {
        limit: "accepts_per_second",
        settings: &[("RALLYPOINT_LIMITS__ACCEPTS_PER_SECOND", "200"), ("RALLYPOINT_LIMITS__ACCEPTS_BURST", "200")],
        habit: Habit::Leave,
        fill: (1800, 180.0),
        wave: (6000, 600.0),
        told: &["503 with a time"],
        stays: false,
    },
    Wave {
        limit: "memory",
        settings: &[
            ("RALLYPOINT_LIMITS__MEMORY", "104857600"),
            ("RALLYPOINT_LIMITS__LOG_BYTES", "1073741824"),
            ("RALLYPOINT_ROOM__HISTORY_MS", "45000"),
        ],
        habit: Habit::Talk(50),
        fill: (600, 60.0),
        wave: (1800, 180.0),
        told: &["503 with a time", "4300 with a time"],
        stays: true,
    },
    Wave {
        limit: "cpu_percent",
        settings: &[("RALLYPOINT_LIMITS__CPU_PERCENT", "15")],
        habit: Habit::Play(50),
        fill: (400, 40.0),
        wave: (1200, 120.0),
        told: &["503 with a time", "4300 with a time"],
        stays: false,
    },
];

/// What came of a wave.
#[derive(Debug)]
pub struct Run {
    /// The pairs while the ceiling was reached and nobody knocked.
    pub calm: Latency,
    /// The same while three times as many knocked.
    pub busy: Latency,
    /// What newcomers were told.
    pub told: Told,
    /// What is wrong.
    pub wrong: Vec<String>,
    /// Resident bytes of the server, the most that was seen.
    pub memory_peak: f64,
    /// From the end of the wave until everything was as before it.
    pub back_after: Duration,
}

/// Runs a wave against a server of its own, at this share of its size.
pub async fn run(binary: &Path, wave: &Wave, share: f64, log: &Path) -> io::Result<Run> {
    let operator = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut setup = Setup::new(binary, SETTINGS, log.to_owned())?;
    setup.settings.extend(wave.settings.iter().map(|&(key, value)| (key, value.to_owned())));
    setup.settings.push(("RALLYPOINT_METRICS_LISTEN", operator.to_string()));
    let mut server = setup.start().await?;
    let pid = server.pid().ok_or(io::ErrorKind::NotFound)?;
    let mut tokens = Vec::new();
    for user in 0..USERS {
        tokens.push(http::token(setup.address, &format!("new-{user}")).await?);
    }
    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        pairs.push(Pair::start(setup.address, number).await?);
    }
    let before = Gauges::read(operator).await?;
    let parts = |(count, per_second): (usize, f64)| ((count as f64 * share) as usize, per_second);
    let order = |first, (count, per_second)| Order {
        door: setup.address,
        tokens: tokens.clone(),
        first,
        count,
        per_second,
        habit: wave.habit,
    };
    let mut wrong = Vec::new();
    let mut peak = Peak { pid, most: 0.0 };

    // As many as fit, and a few more: what is calm is a server at its ceiling.
    let (fill, crowd) = (wave.fill, parts(wave.wave));
    measured(&pairs).await.map_err(io::Error::other)?;
    let mut fillers = Crowd::send(&order(0, fill)).await?;
    if wave.stays || wave.limit == "cpu_percent" {
        peak.during(fillers.offered()).await?;
        if !reached(operator, wave.limit, &mut peak).await? {
            wrong.push(format!("limits.{} was not reached", wave.limit));
        }
        measured(&pairs).await.map_err(io::Error::other)?;
        peak.during(sleep(Duration::from_secs_f64(crowd.0 as f64 / crowd.1))).await;
    } else {
        peak.during(fillers.offered()).await?;
    }
    let calm = measured(&pairs).await.map_err(io::Error::other)?;

    let mut newcomers = Crowd::send(&order(fill.0, crowd)).await?;
    peak.during(newcomers.offered()).await?;
    let busy = measured(&pairs).await.map_err(io::Error::other)?;
    let (over, begin) = (Gauges::read(operator).await?, Instant::now());
    let limited = format!("limited_total{{limit=\"{}\"}}", wave.limit);
    if over.of(&limited) == 0.0 {
        wrong.push(format!("{limited} was not counted"));
    }
    let (told, filled) = (peak.during(newcomers.leave()).await?, peak.during(fillers.leave()).await?);
    let refused: u64 = told.iter().filter(|(what, _)| *what != "in").map(|(_, times)| times).sum();
    if refused * 2 < crowd.0 as u64 {
        wrong.push(format!("only {refused} of {} newcomers were refused", crowd.0));
    }
    for (what, times) in told.iter().chain(&filled) {
        if what != "in" && !wave.told.contains(&what.as_str()) {
            wrong.push(format!("{times} times: {what}"));
        }
    }
    // And then everything is as it was, and there is room again.
    let mut back = false;
    while !back && begin.elapsed() < PATIENCE * 2 {
        let now = Gauges::read(operator).await?;
        let as_before =
            ["sessions", "rooms", "members", "spectators"].iter().all(|name| now.of(name) <= before.of(name));
        back = as_before && now.of(&format!("shedding{{limit=\"{}\"}}", wave.limit)) == 0.0;
        peak.during(sleep(LOOK)).await;
    }
    if !back {
        wrong.push(format!("not as before after {:.0} s", begin.elapsed().as_secs_f64()));
    }
    let back_after = begin.elapsed();
    let mut late = Crowd::send(&order(fill.0 + crowd.0, (4, 4.0))).await?;
    late.offered().await?;
    sleep(LOOK).await;
    let welcome = late.leave().await?;
    if welcome.get("in") != Some(&4) || welcome.len() > 1 {
        wrong.push(format!("afterwards newcomers were told {welcome:?}"));
    }
    measured(&pairs).await.map_err(io::Error::other)?;
    drop(pairs);
    if wave.limit == "memory" && peak.most > MEMORY {
        wrong.push(format!("{:.1} MiB were resident", peak.most / 1048576.0));
    }
    let (status, _) = server.stop().await?;
    if !status.success() {
        wrong.push(format!("the server ended with {status}"));
    }
    Ok(Run { calm, busy, told, wrong, memory_peak: peak.most, back_after })
}

/// All pairs together, since the last time.
async fn measured(pairs: &[Pair]) -> Result<Latency, String> {
    let mut all = Vec::new();
    for pair in pairs {
        all.extend(pair.latencies().await?);
    }
    Ok(Latency::of(all))
}

/// Waits until a limit has held somebody back.
async fn reached(operator: SocketAddr, limit: &str, peak: &mut Peak) -> io::Result<bool> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if Gauges::read(operator).await?.of(&format!("limited_total{{limit=\"{limit}\"}}")) > 0.0 {
            return Ok(true);
        }
        peak.during(sleep(LOOK)).await;
    }
    Ok(false)
}

/// Looks at the server's memory while something goes on.
struct Peak {
    pid: u32,
    most: f64,
}

impl Peak {
    async fn during<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            self.most = self.most.max(resident(self.pid).unwrap_or_default());
            tokio::select! {
                done = what.as_mut() => return done,
                () = sleep(LOOK) => {}
            }
        }
    }
}

/// The other process, from this side.
struct Crowd {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    async fn send(order: &Order) -> io::Result<Self> {
        // Those who measure, and the server, come first.
        let mut child = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe()?)
            .arg("--newcomers")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (orders, out) = (child.stdin.take(), child.stdout.take());
        let (mut orders, out) = orders.zip(out).ok_or(io::ErrorKind::BrokenPipe)?;
        orders.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes()).await?;
        Ok(Self { child, orders: Some(orders), lines: BufReader::new(out).lines() })
    }

    /// Waits until all have come.
    async fn offered(&mut self) -> io::Result<()> {
        let line = timeout(PATIENCE * 2, self.lines.next_line()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if line.as_deref() == Some("offered") { Ok(()) } else { Err(io::Error::other(format!("newcomers: {line:?}"))) }
    }

    /// Sends all of them away; what they were told.
    async fn leave(mut self) -> io::Result<Told> {
        drop(self.orders.take());
        let line = timeout(PATIENCE, self.lines.next_line()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        timeout(PATIENCE, self.child.wait()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(serde_json::from_str(&line.unwrap_or_default())?)
    }
}
