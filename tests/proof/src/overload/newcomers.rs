//! The crowd: guests that come at a rate, each to one door, and note what they were told. It is a process of its own, which
//! the others' scheduler puts behind those who measure.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rallypoint_protocol::Encoding;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::run::wire::{Heard, Wire, connect, upgrade};

/// What a newcomer does who was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Habit {
    /// Stays and does nothing. It comes to any of the doors.
    Stay,
    /// Goes again. It comes to any of the doors.
    Leave,
    /// Says so many long words in a room of its own, and stays.
    Talk(usize),
    /// Moves in a room for so many.
    Play(usize),
}

/// What a crowd is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Where the server listens.
    pub door: SocketAddr,
    /// Tokens, used in turn.
    pub tokens: Vec<String>,
    /// The number of the first, unlike that of any other.
    pub first: usize,
    /// How many come.
    pub count: usize,
    /// How many of them in a second.
    pub per_second: f64,
    /// What they do.
    pub habit: Habit,
}

/// How often each thing was told.
pub type Told = BTreeMap<String, u64>;

/// Bytes of a long word: `limits.text` is 4096.
const WORD: usize = 4000;
/// Between two moves of a player.
const STEP: Duration = Duration::from_millis(50);

/// The life of the other process: reads its order, sends everybody, says so, waits until it is told to go, and says what
/// they were told.
pub async fn live() -> io::Result<()> {
    let order: Order = serde_json::from_str(&first_line()?)?;
    let told = Arc::new(Mutex::new(Told::new()));
    let mut crowd = JoinSet::new();
    let mut steps = interval(Duration::from_secs_f64(1.0 / order.per_second));
    // Who comes late comes together with the next, so that as many come as were ordered.
    steps.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let order = Arc::new(order);
    for number in order.first..order.first + order.count {
        steps.tick().await;
        let (order, told) = (order.clone(), told.clone());
        crowd.spawn(async move {
            let note =
                |what: String| *told.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
            match come(&order, number, &note).await {
                Ok(()) => {}
                Err(error) => note(format!("failed: {error}")),
            }
        });
    }
    println!("offered");
    let gone = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
    gone.await.map_err(io::Error::other)??;
    crowd.shutdown().await;
    let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

fn first_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

/// One newcomer, at the door that its number stands for.
async fn come(order: &Order, number: usize, note: &impl Fn(String)) -> io::Result<()> {
    let token = &order.tokens[number % order.tokens.len()];
    let bearer = format!("authorization: Bearer {token}\r\n");
    let page = || {
        let origin = format!("origin: http://localhost:{}\r\n", order.door.port());
        origin + &upgrade(Encoding::Json).replace("protocol: ", &format!("protocol: bearer.{token}, "))
    };
    let (path, lines) = match (order.habit, number % 4) {
        (Habit::Stay | Habit::Leave, 0) => ("/v1/events?room=crowd", bearer),
        (Habit::Stay | Habit::Leave, 1) => ("/v1/poll?room=crowd", bearer),
        (_, 2) => ("/v1/ws", page()),
        _ => ("/v1/ws", bearer + &upgrade(Encoding::Json)),
    };
    let socket = connect(order.door, Ipv4Addr::LOCALHOST, None).await?;
    let (head, mut wire) = Wire::begin(socket, path, &lines, Encoding::Json).await?;
    if !matches!(head.status, 101 | 200) {
        note(refusal(u64::from(head.status), head.retry_after));
        return Ok(());
    }
    if head.status == 101 && !greeted(&mut wire, note).await? {
        return Ok(());
    }
    note("in".to_owned());
    match order.habit {
        Habit::Leave => Ok(()),
        Habit::Stay => {
            // Held, and read by nobody; the server writes next to nothing.
            let _open = wire;
            std::future::pending().await
        }
        Habit::Talk(words) => talk(&mut wire, number, words).await,
        Habit::Play(members) => play(&mut wire, number / members).await,
    }
}

fn refusal(what: u64, after: Option<u64>) -> String {
    format!("{what} {}", if after.is_some_and(|after| after > 0) { "with a time" } else { "WITHOUT A TIME" })
}

/// Whether the first word is a welcome.
async fn greeted(wire: &mut Wire, note: &impl Fn(String)) -> io::Result<bool> {
    let mut after = None;
    loop {
        match wire.hear().await? {
            Heard::Said(message) if message["type"] == "connected" => return Ok(true),
            Heard::Said(message) if message["type"] == "error" => after = message["retry_after"].as_u64(),
            Heard::Closed(code) => {
                note(refusal(u64::from(code), after));
                return Ok(false);
            }
            Heard::Gone => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

async fn talk(wire: &mut Wire, number: usize, words: usize) -> io::Result<()> {
    let room = format!("talk/{number}");
    wire.join(1, &room).await?;
    let text = "x".repeat(WORD);
    for id in 2..words as u64 + 2 {
        wire.say(&json!({ "type": "message", "id": id, "room": room, "text": text })).await?;
        // A server whose memory is full takes no more words, and says so.
        if !taken(wire).await? {
            break;
        }
    }
    listen(wire).await
}

async fn taken(wire: &mut Wire) -> io::Result<bool> {
    loop {
        let heard = wire.hear().await?;
        stays(&heard)?;
        match heard {
            Heard::Said(message) if message["type"] == "ok" => return Ok(true),
            Heard::Said(message) if message["type"] == "error" => {
                let is_full = message["code"] == 904 && message["retry_after"].is_u64();
                return if is_full { Ok(false) } else { Err(io::Error::other(message.to_string())) };
            }
            _ => {}
        }
    }
}

async fn play(wire: &mut Wire, room: usize) -> io::Result<()> {
    let room = format!("crowd/{room}");
    wire.join(1, &room).await?;
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            heard = wire.hear() => stays(&heard?)?,
            _ = steps.tick() => wire.say(&json!({ "type": "move", "room": room, "data": { "x": 1 } })).await?,
        }
    }
}

async fn listen(wire: &mut Wire) -> io::Result<()> {
    loop {
        stays(&wire.hear().await?)?;
    }
}

/// Whoever was let in is sent away by nobody.
fn stays(heard: &Heard) -> io::Result<()> {
    match heard {
        Heard::Closed(code) => Err(io::Error::other(format!("closed {code} when it was in"))),
        Heard::Gone => Err(io::Error::other("cut off when it was in")),
        _ => Ok(()),
    }
}
