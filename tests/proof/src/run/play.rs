//! What a member does: signals, moves on both lanes, chat and events, and now and then it leaves a room.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use rallypoint_client::Error;
use rallypoint_protocol::{Kind, moves::Lane, request::SignalKind};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    adapter::Member,
    world::{Pacer, Phase, Room},
};
use crate::{
    history::{ClientNo, Outcome, What},
    seed::Seed,
};

/// How often a member does what, on average.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two rounds of moves, one on each lane.
    pub moves: Duration,
    /// Between two rounds of signals, one to three of them.
    pub signals: Duration,
    /// Between two things it says or publishes.
    pub talk: Duration,
    /// Between two times at which it leaves a room and comes back, if it does.
    pub stroll: Option<Duration>,
}

/// Starts everything that the member does by itself. The tasks end after the last thing has been said and answered.
pub fn start(tasks: &mut JoinSet<()>, member: &Arc<Member>, pace: Pace, others: impl Fn(&Room) -> Vec<ClientNo>) {
    let peers: Vec<_> = member.rooms.iter().map(|room| (room.clone(), others(room))).collect();
    let begin = |task, period| {
        let mut seed = member.world.seed(member.no, task);
        let pacer = Pacer::new(&member.world, &mut seed, period);
        (Arc::clone(member), seed, pacer)
    };
    let (own, mut seed, mut pacer) = begin(1, pace.moves);
    tasks.spawn(async move {
        let mut seqs = vec![0; own.rooms.len()];
        while pacer.next().await {
            moves(&own, &mut seed, &mut seqs).await;
        }
    });
    let (own, mut seed, mut pacer) = begin(2, pace.signals);
    tasks.spawn(async move {
        while pacer.next().await {
            signals(&own, &mut seed, &peers).await;
        }
    });
    let (own, mut seed, mut pacer) = begin(3, pace.talk);
    tasks.spawn(async move {
        while pacer.next().await {
            talk(&own, &mut seed).await;
        }
    });
    let Some(stroll) = pace.stroll else { return };
    let (own, mut seed, mut pacer) = begin(4, stroll);
    tasks.spawn(async move {
        while pacer.next().await {
            // Everybody is there at the end. Whoever has not come in yet is on the way: that would be two joins at once, and
            // two views of the room in the record.
            let room = seed.pick(&own.rooms);
            if own.world.is(Phase::Busy) && own.is_in(room) {
                own.leave(room).await;
                own.join(room).await;
            }
        }
    });
}

async fn moves(member: &Member, seed: &mut Seed, seqs: &mut [u32]) {
    // At the end in every room, so that for each there is a newest move.
    let last = member.world.is(Phase::Last);
    let picked = seed.index(member.rooms.len());
    for (at, room) in member.rooms.iter().enumerate().filter(|&(at, _)| last || at == picked) {
        for lane in [Lane::Reliable, Lane::Latest] {
            if !member.is_in(room) {
                continue;
            }
            let Some(client) = member.client().await else { return };
            let key = if lane == Lane::Latest { seed.below(3) as u16 } else { 0 };
            seqs[at] += 1;
            let (log, seq) = (room.log, seqs[at]);
            let payload = json!({ "from": member.no.0, "x": seed.below(1000), "y": -7 });
            member.world.recorder.put(member.no, What::Moves { room: log, lane, key, seq });
            if client.send_move(&room.name, key, Some(seq), &payload, lane, None).await.is_err() {
                member.world.recorder.put(member.no, What::Unmoved { room: log, seq });
            }
        }
    }
}

async fn signals(member: &Member, seed: &mut Seed, peers: &[(Room, Vec<ClientNo>)]) {
    let Some((room, others)) = peers.get(seed.index(peers.len())).filter(|(_, others)| !others.is_empty()) else {
        return;
    };
    let Some(client) = member.client().await.filter(|_| member.is_in(room)) else { return };
    let kinds = [SignalKind::Offer, SignalKind::Answer, SignalKind::IceCandidate];
    let batch: Vec<_> = (0..1 + seed.below(3)).map(|_| (*seed.pick(others), *seed.pick(&kinds))).collect();
    // Polled in order, and so sent in order.
    let sent = batch.into_iter().filter_map(|(to, kind)| {
        let peer = member.world.directory.get(to)?;
        let label = member.labels.next();
        let (client, data) = (client.clone(), json!({ "label": label.to_string(), "sdp": "v=0" }));
        Some(async move {
            member.world.recorder.put(member.no, What::Signals { room: room.log, to, label });
            let outcome = match client.signal(&room.name, peer, kind, &data).await {
                Ok(()) => Outcome::Done(None),
                Err(error) => unanswered(&error),
            };
            member.world.recorder.put(member.no, What::Answered { label, outcome });
        })
    });
    join_all(sent).await;
}

async fn talk(member: &Member, seed: &mut Seed) {
    let room = seed.pick(&member.rooms);
    let Some(client) = member.client().await.filter(|_| member.is_in(room)) else { return };
    let (label, chat) = (member.labels.next(), seed.percent(50));
    member.world.recorder.put(member.no, What::Publishes { log: room.log, label });
    let placed = if chat {
        client.say(&room.name, format!("{label} says „hello“ \u{2028} \"{}\"", seed.below(100))).await
    } else {
        let kind = Kind::new("score").expect("a good kind");
        let data = json!({ "label": label.to_string(), "red": seed.below(100), "half": 0.5, "list": [null, true, -3] });
        client.publish(&room.name, &kind, &data).await
    };
    let outcome = placed.map_or_else(|error| unanswered(&error), |position| Outcome::Done(Some(position)));
    member.world.recorder.put(member.no, What::Answered { label, outcome });
}

fn unanswered(error: &Error) -> Outcome {
    match error {
        Error::Refused(failed) => Outcome::Refused(failed.code.number()),
        _ => Outcome::Unknown,
    }
}
