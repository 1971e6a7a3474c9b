//! The normal pair: one moves, the other sees it. Whatever is done to the server, they must notice little of it.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rallypoint_protocol::Encoding;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::run::{
    http,
    wire::{Heard, Wire, connect},
};

/// Between two moves.
const STEP: Duration = Duration::from_millis(20);
/// How long a move may be on its way before it counts as lost.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Course {
    sent: VecDeque<(u64, Instant)>,
    /// Milliseconds from a move's sending to its arrival.
    latencies: Vec<f64>,
    arrived: u64,
    /// What went wrong.
    broken: Option<String>,
}

/// Two guests in one room, on connections of their own.
#[derive(Debug)]
pub struct Pair {
    course: Arc<Mutex<Course>>,
    tasks: [JoinHandle<()>; 2],
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// Half are below.
    pub p50: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// How many were measured.
    pub count: usize,
}

impl Latency {
    /// Of measurements in any order.
    pub fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |part: f64| all.get(((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1)));
        Self { p50: at(0.5).copied().unwrap_or(0.0), p99: at(0.99).copied().unwrap_or(0.0), count: all.len() }
    }
}

impl Pair {
    /// Connects both of the pair with this number and begins to move.
    pub async fn start(door: SocketAddr, number: usize) -> io::Result<Self> {
        let room = format!("normal/{number}");
        let course = Arc::new(Mutex::new(Course::default()));
        let mut wires = Vec::new();
        for user in ["ada", "bob"] {
            let token = http::token(door, &format!("{user}-{number}")).await?;
            let socket = connect(door, Ipv4Addr::LOCALHOST, None).await?;
            let mut wire = Wire::open(socket, Some(&token), Encoding::Json).await?;
            wire.said("connected").await?;
            wire.join(1, &room).await?;
            wires.push(wire);
        }
        let (Some(bob), Some(ada)) = (wires.pop(), wires.pop()) else { return Err(io::ErrorKind::NotFound.into()) };
        let tasks = [tokio::spawn(guard(course.clone(), moves(ada, room, course.clone()))), {
            tokio::spawn(guard(course.clone(), sees(bob, course.clone())))
        }];
        Ok(Self { course, tasks })
    }

    /// What was measured since the last call; waits until every move sent so far has arrived.
    pub async fn measured(&self) -> Result<Latency, String> {
        self.latencies().await.map(Latency::of)
    }

    /// The same, one by one.
    pub async fn latencies(&self) -> Result<Vec<f64>, String> {
        let begin = Instant::now();
        let last = lock(&self.course).sent.back().map(|&(seq, _)| seq);
        loop {
            {
                let mut course = lock(&self.course);
                if let Some(why) = &course.broken {
                    return Err(format!("the normal pair is broken: {why}"));
                }
                if last.is_none_or(|last| course.arrived >= last) {
                    return Ok(std::mem::take(&mut course.latencies));
                }
            }
            if begin.elapsed() > ARRIVES_WITHIN {
                return Err("a move of the normal pair does not arrive".to_owned());
            }
            sleep(STEP).await;
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(course: &Mutex<Course>) -> std::sync::MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn guard(course: Arc<Mutex<Course>>, run: impl Future<Output = io::Result<()>>) {
    if let Err(error) = run.await {
        lock(&course).broken = Some(error.to_string());
    }
}

async fn moves(mut wire: Wire, room: String, course: Arc<Mutex<Course>>) -> io::Result<()> {
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seq = 0;
    loop {
        tokio::select! {
            heard = wire.hear() => still(&heard?)?,
            _ = steps.tick() => {
                seq += 1;
                lock(&course).sent.push_back((seq, Instant::now()));
                let step = json!({ "type": "move", "room": room, "seq": seq, "reliable": true, "data": { "x": seq } });
                wire.say(&step).await?;
            }
        }
    }
}

async fn sees(mut wire: Wire, course: Arc<Mutex<Course>>) -> io::Result<()> {
    loop {
        let heard = wire.hear().await?;
        still(&heard)?;
        let Heard::Said(message) = heard else { continue };
        let Some(seq) = message["seq"].as_u64().filter(|_| message["type"] == "move") else { continue };
        {
            let mut course = lock(&course);
            match course.sent.pop_front() {
                Some((expected, at)) if expected == seq => course.latencies.push(at.elapsed().as_secs_f64() * 1000.0),
                other => return Err(io::Error::other(format!("move {seq} arrived in place of {other:?}"))),
            }
            course.arrived = seq;
        }
        if seq % 16 == 0 {
            wire.say(&json!({ "type": "ack", "n": seq })).await?;
        }
    }
}

fn still(heard: &Heard) -> io::Result<()> {
    match heard {
        Heard::Closed(code) => Err(io::Error::other(format!("closed {code}"))),
        Heard::Gone => Err(io::Error::other("the connection ended")),
        Heard::Said(message) if message["type"] == "error" => Err(io::Error::other(message.to_string())),
        _ => Ok(()),
    }
}
