//! Above the rates: refused for a while, then sent away, and each counted under the limit that it went over.

use std::{io, sync::Arc};

use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use super::ground::{Ground, Report, ending};
use crate::{run::wire::frame, ws::op};

/// Attackers of each kind.
const MANY: usize = 24;
/// Messages of each: what the rate lets through at once, the 500 refusals that are endured, and enough beyond.
const MESSAGES: u64 = 3000;
/// Refusals that are endured.
const ENDURED: f64 = 500.0;
/// The largest payload of a move is a little more. So many of them are more bytes than moves for the rates.
const BIG: usize = 4000;

/// Chat.
pub async fn messages(ground: Arc<Ground>) -> io::Result<Report> {
    let chat = |room: &str, id| said(&json!({ "type": "message", "id": id, "room": room, "text": "x" }));
    flood(&ground, "requests_per_second", chat).await
}

/// Moves.
pub async fn moves(ground: Arc<Ground>) -> io::Result<Report> {
    let step = |room: &str, seq| said(&json!({ "type": "move", "room": room, "seq": seq, "data": 1 }));
    flood(&ground, "moves_per_second", step).await
}

/// Moves to a room that the sender is not in.
pub async fn astray(ground: Arc<Ground>) -> io::Result<Report> {
    let step = said(&json!({ "type": "move", "room": "elsewhere", "data": 1 }));
    flood(&ground, "moves_per_second", move |_, _| step.clone()).await
}

/// The message `ping`.
pub async fn pings(ground: Arc<Ground>) -> io::Result<Report> {
    flood(&ground, "requests_per_second", |_, _| said(&json!({ "type": "ping" }))).await
}

/// Ping frames.
pub async fn native_pings(ground: Arc<Ground>) -> io::Result<Report> {
    flood(&ground, "requests_per_second", |_, _| frame(op::PING, b"ping")).await
}

/// Pong frames that nobody asked for.
pub async fn native_pongs(ground: Arc<Ground>) -> io::Result<Report> {
    flood(&ground, "requests_per_second", |_, _| frame(op::PONG, b"pong")).await
}

/// Frames that nobody can read count as well.
pub async fn rubbish(ground: Arc<Ground>) -> io::Result<Report> {
    flood(&ground, "requests_per_second", |_, _| said(&json!({ "type": "rubbish" }))).await
}

/// Few messages, but large ones.
pub async fn bytes(ground: Arc<Ground>) -> io::Result<Report> {
    let data = "x".repeat(BIG);
    let step = move |room: &str, _| said(&json!({ "type": "move", "room": room, "seq": 1, "data": data }));
    flood(&ground, "bytes_per_second", step).await
}

fn said(message: &Value) -> Vec<u8> {
    frame(op::TEXT, message.to_string().as_bytes())
}

async fn flood(
    ground: &Arc<Ground>,
    limit: &str,
    frame: impl Fn(&str, u64) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> io::Result<Report> {
    let before = ground.limited(limit).await?;
    let report = ground
        .many(MANY, |ground, number| {
            let frame = frame.clone();
            async move {
                let mut wire = ground.enter(number, Encoding::Json).await?;
                let room = format!("flood/{number}");
                wire.join(1, &room).await?;
                for id in 2..MESSAGES + 2 {
                    // The server stops reading and closes, which the kernel tells whoever goes on.
                    if wire.write(&frame(&room, id)).await.is_err() {
                        break;
                    }
                }
                ending(&mut wire).await
            }
        })
        .await;
    // Whoever still writes when the server closes may lose the close frame to a reset; the counter knows.
    let report = report.only(&["900, closed 4302", "closed 4302", "gone without a close frame"]);
    report.limited(ground, limit, before, MANY as f64 * ENDURED).await
}
