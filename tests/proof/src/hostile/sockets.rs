//! Native frames: pings that are never answered, and one in the middle of a frame that the server has half written.

use std::{io, sync::Arc};

use rallypoint_protocol::Encoding;
use serde_json::json;

use super::ground::{Ground, Report, ending};
use crate::{
    run::wire::{Heard, Wire, connect},
    ws::op,
};

/// Half-open sockets.
const HALF_OPEN: usize = 300;
/// Readers that stop in the middle of a frame.
const READERS: usize = 16;
/// Large frames for each of them, below the outbound budget.
const LARGE: usize = 4;
/// Bytes of one.
const LARGE_BYTES: usize = 50_000;
/// What a reader's kernel takes; the least it grants is a little more.
const SMALL: u32 = 4096;

/// Sessions in a room that answer no native ping: closed, and after the grace gone from the room.
pub async fn half_open(ground: Arc<Ground>) -> io::Result<Report> {
    let before = ground.limited("ping_missed").await?;
    let report = ground
        .many(HALF_OPEN, async |ground, number| {
            let mut wire = ground.enter(number, Encoding::Json).await?;
            wire.join(1, &format!("half-open/{}", number % 20)).await?;
            wire.answers = false;
            ending(&mut wire).await
        })
        .await;
    report.exactly("closed 4001", HALF_OPEN as u64).limited(&ground, "ping_missed", before, HALF_OPEN as f64).await
}

/// A reader stops in the middle of a large frame, pings, and reads on: the frames must be whole, and the pong must stand
/// between two of them, ahead of those that still wait.
pub async fn ping_inside_a_frame(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground.many(READERS, async |ground, number| half_a_frame(&ground, number).await).await;
    Ok(report.exactly("whole frames, a pong between", READERS as u64))
}

async fn half_a_frame(ground: &Ground, number: usize) -> io::Result<String> {
    let room = format!("half-a-frame/{number}");
    let socket = connect(ground.door, ground.from(number), Some(SMALL)).await?;
    let mut reader = Wire::open(socket, Some(ground.token(number)), Encoding::Json).await?;
    reader.said("connected").await?;
    let joined = reader.join(1, &room).await?;
    let mut sender = ground.enter(number + 1, Encoding::Json).await?;
    sender.join(1, &room).await?;
    let data = "x".repeat(LARGE_BYTES);
    for id in 0..LARGE {
        let offer = json!({
            "type": "offer", "id": id + 2, "room": room, "to": joined["you"]["peer"], "data": data,
        });
        sender.say(&offer).await?;
        sender.said("ok").await?;
    }
    // All of it waits for the reader now, and its kernel has room for a part of the first. A message to the sender after
    // the ping shows that the server has read the ping: both come over the reader's socket, in order.
    reader.send(op::PING, b"between").await?;
    reader.say(&json!({ "type": "message", "id": 2, "room": room, "text": "pinged" })).await?;
    sender.said("message").await?;
    let (mut offers, mut before_pong) = (0, None);
    while offers < LARGE || before_pong.is_none() {
        match reader.hear().await? {
            Heard::Said(message) if message["type"] == "offer" => {
                if message["data"].as_str() != Some(&data) {
                    return Ok("an offer that is not whole".to_owned());
                }
                offers += 1;
            }
            Heard::Pong(payload) if payload == b"between" => before_pong = Some(offers),
            Heard::Said(_) | Heard::Ping => {}
            other => return Ok(format!("{other:?}")),
        }
    }
    let early = before_pong.is_some_and(|offers| offers < LARGE);
    Ok(if early { "whole frames, a pong between" } else { "the pong came last" }.to_owned())
}
