//! A member of a room that talks and reads, or that stops reading.

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rallypoint_protocol::Encoding;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{Plan, Seen};
use crate::run::{
    http,
    wire::{Heard, Wire, connect},
};

/// What the kernel of one who stops takes; it grants a little more.
const SMALL: u32 = 4096;
/// Who talks in a room, in turn: so each stays far below its rates.
const TALKERS: usize = 2;

/// A member that is in its room.
#[derive(Debug)]
pub(super) struct Guest {
    wire: Wire,
    room: String,
    /// Its place in the room; the last ones stop reading.
    place: usize,
}

impl Guest {
    /// Connects and joins.
    pub(super) async fn enter(door: SocketAddr, plan: &Plan, room: usize, place: usize) -> io::Result<Self> {
        let token = http::token(door, &format!("guest-{room}-{place}")).await?;
        let stops = place >= plan.clients - plan.stalled;
        let socket = connect(door, Ipv4Addr::LOCALHOST, stops.then_some(SMALL)).await?;
        let mut wire = Wire::open(socket, Some(&token), Encoding::Json).await?;
        wire.said("connected").await?;
        let room = format!("room/{room}");
        wire.join(0, &room).await?;
        Ok(Self { wire, room, place })
    }

    /// Talks and reads to the end, or keeps its socket open and does nothing.
    pub(super) async fn stay(self, seen: Arc<Seen>, plan: Plan) {
        if self.place >= plan.clients - plan.stalled {
            let _open = self.wire;
            return pending().await;
        }
        let name = format!("{} of {}", self.place, self.room);
        if let Err(error) = self.talk(&seen, &plan).await {
            seen.fail(format!("{name}: {error}"));
        }
    }

    async fn talk(mut self, seen: &Seen, plan: &Plan) -> io::Result<()> {
        let talkers = TALKERS.min(plan.clients - plan.stalled);
        let step = Duration::from_secs(1) / plan.rate as u32;
        let begin = Instant::from_std(seen.begins());
        let events = plan.time.as_secs() as usize * plan.rate;
        let mut mine = (0..events).filter(|event| self.place < talkers && event % talkers == self.place).peekable();
        let pad = "x".repeat(plan.bytes.saturating_sub(40));
        let mut id = 1_u64;
        loop {
            let due = mine.peek().map(|&event| begin + step * event as u32);
            tokio::select! {
                heard = self.wire.hear() => self.understand(heard?, seen)?,
                () = sleep_until(due.unwrap_or(begin)), if due.is_some() => {
                    mine.next();
                    let late = due.map(|due| due.elapsed().as_secs_f64() * 1000.0);
                    seen.lags(late.unwrap_or_default());
                    let data = json!({ "sent": seen.now(), "pad": pad });
                    let event =
                        json!({ "type": "publish", "id": id, "room": self.room, "kind": "talk", "data": data });
                    id += 1;
                    self.wire.say(&event).await?;
                }
            }
        }
    }

    fn understand(&self, heard: Heard, seen: &Seen) -> io::Result<()> {
        match heard {
            Heard::Said(message) if message["type"] == "event" => {
                let sent = message["data"]["sent"].as_u64().ok_or(io::ErrorKind::InvalidData)?;
                seen.arrive(sent);
            }
            Heard::Said(message) if message["type"] == "peer-left" => {
                if message["reason"] != "slow" {
                    return Err(io::Error::other(format!("somebody left: {message}")));
                }
                seen.slow.fetch_add(1, Ordering::Relaxed);
            }
            Heard::Said(message) if message["type"] == "error" => return Err(io::Error::other(message.to_string())),
            Heard::Closed(code) => return Err(io::Error::other(format!("closed {code}"))),
            Heard::Gone => return Err(io::Error::other("the connection ended")),
            _ => {}
        }
        Ok(())
    }
}
