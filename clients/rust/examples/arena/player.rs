//! One player: a connection, a task that sends what the schedule says, and a task that receives,
//! checks and measures.

use std::time::Duration;

use rallypoint_client::{
    Client, Credential, Events, Incoming, Move, Options as Connection,
    protocol::{Payload, RoomName, ServerMessage, moves::Lane},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::sleep_until};

use crate::{
    check::Check,
    histogram::Histogram,
    options::Options,
    plan::{Plan, Tick},
};

/// How long after the last move was due everything must have arrived.
const DRAIN: Duration = Duration::from_secs(5);
/// Receive buffer of the player that stalls: a large one would hide the stall from the server.
const STALLED_BUFFER: u32 = 16 * 1024;

/// What a move carries.
#[derive(Debug, Serialize, Deserialize)]
struct Shot<'a> {
    /// When it was due, microseconds from the beginning.
    t: u64,
    /// Its number on its lane.
    n: u32,
    /// Filled up to the size asked for.
    p: &'a str,
}

/// A member of the room, not yet playing.
pub(crate) struct Player {
    client: Client,
    events: Events,
    room: RoomName,
    pub(crate) handle: u32,
}

/// What one sender did.
pub(crate) struct Sent {
    pub(crate) moves: u64,
    /// How late the moves were handed over, microseconds: the share of this program.
    pub(crate) late: Histogram,
    pub(crate) failed: Option<String>,
}

/// What one receiver saw.
pub(crate) struct Seen {
    pub(crate) check: Check,
    pub(crate) latest: Histogram,
    pub(crate) reliable: Histogram,
    /// Latest moves received that were sent during the stall.
    pub(crate) while_stalled: u64,
    /// What went wrong beside the moves themselves.
    pub(crate) troubles: Vec<String>,
}

impl Player {
    pub(crate) async fn enter(options: &Options, index: usize, token: String, room: &RoomName) -> Result<Self, String> {
        let connection = Connection {
            encoding: options.encoding,
            credential: Credential::FirstMessage,
            receive_buffer: (options.stall.is_some() && index == 0).then_some(STALLED_BUFFER),
            ..Connection::new(&options.url, token)
        };
        let (client, events) =
            Client::connect(connection).await.map_err(|error| format!("player {index} cannot connect: {error}"))?;
        let joined =
            client.join(room, None).await.map_err(|error| format!("player {index} cannot join {room}: {error}"))?;
        let handle = joined.you.handle.ok_or_else(|| format!("player {index} has no handle"))?;
        Ok(Self { client, events, room: room.clone(), handle })
    }

    /// Stops reading for the time of the stall.
    pub(crate) fn stall(&self, plan: &Plan) {
        let Some(stall) = plan.stall.clone() else { return };
        let (client, plan) = (self.client.clone(), plan.clone());
        tokio::spawn(async move {
            sleep_until(plan.moment(stall.start).into()).await;
            client.pause_reading();
            sleep_until(plan.moment(stall.end).into()).await;
            client.resume_reading();
        });
    }

    /// Sends each move as its tick comes.
    pub(crate) fn send(
        &self,
        plan: &Plan,
        size: usize,
        mut ticks: mpsc::Receiver<Tick>,
    ) -> impl Future<Output = Sent> + Send + 'static {
        let (client, room, plan) = (self.client.clone(), self.room.clone(), plan.clone());
        async move {
            let mut sent = Sent { moves: 0, late: Histogram::default(), failed: None };
            while let Some(Tick { at: t, lane, n, .. }) = ticks.recv().await {
                let padding = "x".repeat(padding(size, t, n));
                let (shot, key) = (Shot { t, n, p: &padding }, u16::from(lane == Lane::Reliable));
                if let Err(error) = client.send_move(&room, key, None, &shot, lane, None).await {
                    sent.failed = Some(error.to_string());
                    break;
                }
                sent.late.add(plan.now().saturating_sub(t));
                sent.moves += 1;
            }
            sent
        }
    }

    /// Receives until everything has come, or until it should have.
    pub(crate) async fn receive(self, plan: Plan, senders: Vec<u32>, last: u64) -> Seen {
        let Self { client, mut events, .. } = self;
        let mut seen = Seen {
            check: Check::new(senders, plan.moves(Lane::Latest), plan.moves(Lane::Reliable)),
            latest: Histogram::default(),
            reliable: Histogram::default(),
            while_stalled: 0,
            troubles: Vec::new(),
        };
        let deadline = plan.moment(last) + DRAIN;
        while !seen.check.is_complete() {
            tokio::select! {
                incoming = events.recv() => match incoming {
                    Some(incoming) => seen.take(&plan, &incoming),
                    None => return seen,
                },
                () = sleep_until(deadline.into()) => return seen,
            }
        }
        // Everything is here. What still comes would be one too many: one round trip shows it.
        if let Err(error) = client.ping().await {
            seen.troubles.push(error.to_string());
        }
        while let Some(incoming) = events.try_recv() {
            seen.take(&plan, &incoming);
        }
        seen
    }
}

impl Seen {
    fn take(&mut self, plan: &Plan, incoming: &Incoming) {
        match incoming {
            Incoming::Move(Move { from, lane, payload, .. }) => {
                let now = plan.now();
                let Some(Shot { t, n, .. }) = read(payload) else {
                    return self.troubles.push(format!("a move of member {from} came changed"));
                };
                let latencies = if *lane == Lane::Latest { &mut self.latest } else { &mut self.reliable };
                latencies.add(now.saturating_sub(t));
                self.while_stalled += u64::from(plan.stall.as_ref().is_some_and(|stall| stall.contains(&t)));
                self.check.saw(*from, *lane, n);
            }
            // The client would come back by itself, but a run with a loss in it measures something else.
            Incoming::Away { code, reason } => self.troubles.push(format!("lost: {code:?} {reason}")),
            Incoming::Closed { code, reason } => self.troubles.push(format!("closed: {code:?} {reason}")),
            Incoming::Message(ServerMessage::Error(error)) => {
                let count = error.count.unwrap_or(1);
                self.troubles.push(format!("{count} times error {} {}", error.code, error.message));
            }
            _ => {}
        }
    }
}

fn read(payload: &Payload) -> Option<Shot<'_>> {
    match payload {
        Payload::Json(text) => serde_json::from_slice(text).ok(),
        Payload::MsgPack(bytes) => rmp_serde::from_slice(bytes).ok(),
    }
}

/// How much padding makes a payload `size` bytes of MessagePack; text has a head of 1, 2 or 3 bytes.
fn padding(size: usize, t: u64, n: u32) -> usize {
    let bare = rmp_serde::to_vec_named(&Shot { t, n, p: "" }).map_or(0, |bytes| bytes.len());
    let room = size.saturating_sub(bare);
    match room {
        0..=31 => room,
        32..=256 => room - 1,
        _ => room - 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_size_asked_for() {
        for size in [24, 48, 60, 200, 300, 4096] {
            let (t, n) = (12_345_678, 70_000);
            let shot = Shot { t, n, p: &"x".repeat(padding(size, t, n)) };
            let bytes = rmp_serde::to_vec_named(&shot).unwrap();
            assert!(size - bytes.len() <= 1, "{size} {}", bytes.len());
            let payload = Payload::MsgPack(bytes.into());
            assert_eq!(read(&payload).map(|shot| (shot.t, shot.n)), Some((t, n)));
        }
    }
}
