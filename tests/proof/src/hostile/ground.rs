//! Where the attacks meet the server: addresses, tokens, gauges, and what an attack tells of itself.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use rallypoint_protocol::Encoding;
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::sleep};

use crate::run::{
    gauges::Gauges,
    http,
    wire::{Heard, Wire, connect},
};

/// Attackers come from so many addresses, 127.0.0.2 and up: the normal pair is at 127.0.0.1.
const ADDRESSES: usize = 16;
/// So many users; each may have `limits.connections_per_user` connections, 16.
const USERS: usize = 64;
/// How long any single attacker is waited for.
pub const PATIENCE: Duration = Duration::from_secs(25);
/// Connections that are being opened at the same time. The kernel drops what does not fit into the queue of the listener,
/// and tries it again after seconds: that would measure the kernel, and keep the load from the server.
const DOORWAY: usize = 64;
const LOOK: Duration = Duration::from_millis(50);

/// What all attacks share.
#[derive(Debug)]
pub struct Ground {
    /// Where the server listens.
    pub door: SocketAddr,
    /// Tokens of the attackers, each of another user.
    pub tokens: Vec<String>,
    /// The doorway: see [`DOORWAY`].
    doorway: Semaphore,
}

impl Ground {
    /// Makes the tokens.
    pub async fn new(door: SocketAddr) -> io::Result<Arc<Self>> {
        let mut tokens = Vec::new();
        for user in 0..USERS {
            tokens.push(http::token(door, &format!("mallory-{user}")).await?);
        }
        Ok(Arc::new(Self { door, tokens, doorway: Semaphore::new(DOORWAY) }))
    }

    /// The address of the attacker with this number.
    pub fn from(&self, number: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, 2 + (number % ADDRESSES) as u8)
    }

    /// The token of the attacker with this number.
    pub fn token(&self, number: usize) -> &str {
        &self.tokens[number % self.tokens.len()]
    }

    /// A connection of the attacker with this number.
    pub async fn knock(&self, number: usize) -> io::Result<TcpStream> {
        let _permit = self.doorway.acquire().await.map_err(io::Error::other)?;
        connect(self.door, self.from(number), None).await
    }

    /// A session of the attacker with this number.
    pub async fn enter(&self, number: usize, encoding: Encoding) -> io::Result<Wire> {
        let mut wire = Wire::open(self.knock(number).await?, Some(self.token(number)), encoding).await?;
        wire.said("connected").await?;
        Ok(wire)
    }

    /// The server's gauges. While too many knock at the door whoever asks for them must knock again.
    pub async fn gauges(&self) -> io::Result<Gauges> {
        let begin = Instant::now();
        loop {
            match Gauges::read(self.door).await {
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => sleep(LOOK).await,
                good => return good,
            }
        }
    }

    /// How often a limit held somebody back.
    pub async fn limited(&self, limit: &str) -> io::Result<f64> {
        Ok(self.gauges().await?.of(&format!("limited_total{{limit=\"{limit}\"}}")))
    }

    /// Waits until the gauges are `good`; in the end whether they are.
    pub async fn until(&self, patience: Duration, good: impl Fn(&Gauges) -> bool) -> io::Result<bool> {
        let begin = Instant::now();
        loop {
            if good(&self.gauges().await?) {
                return Ok(true);
            }
            if begin.elapsed() > patience {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
    }

    /// Runs `count` attackers at once and counts what each came to.
    pub async fn many<F, Fut>(self: &Arc<Self>, count: usize, one: F) -> Report
    where
        F: Fn(Arc<Self>, usize) -> Fut,
        Fut: Future<Output = io::Result<String>> + Send + 'static,
    {
        let mut attackers = JoinSet::new();
        for number in 0..count {
            let attack = one(Arc::clone(self), number);
            attackers.spawn(async move {
                match tokio::time::timeout(PATIENCE, attack).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(error)) => format!("failed: {error}"),
                    Err(_) => "still there".to_owned(),
                }
            });
        }
        let mut report = Report::default();
        while let Some(outcome) = attackers.join_next().await {
            report.saw(outcome.unwrap_or_else(|error| format!("panicked: {error}")), 1);
        }
        report
    }
}

/// What an attack saw, and what of it the specification does not allow.
#[derive(Debug, Default)]
pub struct Report {
    /// Outcomes by name.
    pub seen: BTreeMap<String, u64>,
    /// What is wrong, in words.
    pub wrong: Vec<String>,
}

impl Report {
    /// Notes an outcome.
    pub fn saw(&mut self, what: impl Into<String>, times: u64) {
        *self.seen.entry(what.into()).or_default() += times;
    }

    /// How often an outcome was seen.
    pub fn count(&self, what: &str) -> u64 {
        self.seen.get(what).copied().unwrap_or_default()
    }

    /// Demands that a condition holds.
    pub fn must(&mut self, good: bool, why: impl FnOnce() -> String) {
        if !good {
            self.wrong.push(why());
        }
    }

    /// Demands that an outcome was seen exactly so often.
    pub fn exactly(mut self, what: &str, times: u64) -> Self {
        let count = self.count(what);
        self.must(count == times, || format!("`{what}` {count} times in place of {times}"));
        self
    }

    /// Demands that nothing else was seen.
    pub fn only(mut self, allowed: &[&str]) -> Self {
        let others: Vec<_> =
            self.seen.keys().filter(|seen| !allowed.contains(&seen.as_str())).map(|seen| format!("`{seen}`")).collect();
        self.must(others.is_empty(), || format!("unexpected: {}", others.join(", ")));
        self
    }

    /// Demands that a limit was counted at least so often since `before`.
    pub async fn limited(mut self, ground: &Ground, limit: &str, before: f64, least: f64) -> io::Result<Self> {
        let rose = ground.limited(limit).await? - before;
        self.must(rose >= least, || format!("limited_total of {limit} rose by {rose}, less than {least}"));
        Ok(self)
    }

    /// Adds another attack's report.
    pub fn and(mut self, other: Self) -> Self {
        for (what, times) in other.seen {
            self.saw(what, times);
        }
        self.wrong.extend(other.wrong);
        self
    }

    /// What was seen, in one line.
    pub fn line(&self) -> String {
        self.seen.iter().map(|(what, times)| format!("{times} {what}")).collect::<Vec<_>>().join(", ")
    }
}

/// Reads to the end of a session: the last error's code if one came right before the close, and the close code.
pub async fn ending(wire: &mut Wire) -> io::Result<String> {
    let mut error = None;
    loop {
        match wire.hear().await? {
            Heard::Said(message) if message["type"] == "error" => error = message["code"].as_u64(),
            Heard::Closed(code) => {
                let error = error.map(|error| format!("{error}, ")).unwrap_or_default();
                return Ok(format!("{error}closed {code}"));
            }
            Heard::Gone => return Ok("gone without a close frame".to_owned()),
            _ => {}
        }
    }
}
