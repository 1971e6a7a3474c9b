//! Frames that are nested too deeply, which a session outlives, and frames that are one byte too long, which it does not.

use std::{io, sync::Arc};

use rallypoint_protocol::Encoding;

use super::ground::{Ground, Report, ending};
use crate::{
    run::wire::{Heard, Wire},
    ws::op,
};

/// Attackers of each kind.
const MANY: usize = 50;
/// How deep, in a frame that is as long as it may be.
const DEPTH: usize = 65_000;
/// `limits.frame`.
const FRAME: usize = 65_536;

/// Tens of thousands of lists inside each other, in both encodings, as a message, as a payload, and in a binary move.
pub async fn deep(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground
        .many(MANY, async |ground, number| {
            let encoding = [Encoding::Json, Encoding::MsgPack][number % 2];
            let mut wire = ground.enter(number, encoding).await?;
            let frames: &[Vec<u8>] = &match encoding {
                Encoding::Json => [
                    "[".repeat(DEPTH).into_bytes(),
                    br#"{"a":"#.repeat(DEPTH / 5),
                    [br#"{"type":"move","room":"a","data":"#.as_slice(), &b"[".repeat(DEPTH)].concat(),
                ],
                Encoding::MsgPack => [
                    // A map with a key and then lists; maps of maps; a latest move whose payload is lists.
                    [&[0x81, 0xa1, b'a'], vec![0x91; DEPTH].as_slice()].concat(),
                    [0x81, 0xa1, b'a'].repeat(DEPTH / 3),
                    [&[0x95, 1, 1, 0, 1], vec![0x91; DEPTH].as_slice()].concat(),
                ],
            };
            wire.send(kind(encoding), &frames[number / 2 % frames.len()]).await?;
            let code = wire.said("error").await?["code"].to_string();
            Ok(format!("{code}, {}", alive(&mut wire, encoding).await?))
        })
        .await;
    // A payload may be judged by its size before its depth matters.
    Ok(report.only(&["604, alive", "603, alive"]))
}

/// One byte more than `limits.frame`, in one frame and in two pieces.
pub async fn too_long(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground
        .many(MANY, async |ground, number| {
            let encoding = [Encoding::Json, Encoding::MsgPack][number % 2];
            let mut wire = ground.enter(number, encoding).await?;
            let bytes = vec![b'x'; FRAME + 1];
            if number % 4 < 2 {
                wire.send(kind(encoding), &bytes).await?;
            } else {
                // The first piece is not the last (its highest bit), the second continues it.
                let mut first = crate::run::wire::frame(kind(encoding), &bytes[..FRAME]);
                first[0] &= 0x7f;
                wire.write(&first).await?;
                wire.send(0, &bytes[FRAME..]).await?;
            }
            ending(&mut wire).await
        })
        .await;
    Ok(report.exactly("603, closed 4413", MANY as u64))
}

fn kind(encoding: Encoding) -> u8 {
    if encoding == Encoding::Json { op::TEXT } else { op::BINARY }
}

/// Whether a message is still answered.
async fn alive(wire: &mut Wire, encoding: Encoding) -> io::Result<String> {
    let ping = rallypoint_protocol::Request::Ping { id: Some(1), t: None };
    wire.send(kind(encoding), &ping.encode(encoding)).await?;
    loop {
        match wire.hear().await? {
            Heard::Said(message) if message["type"] == "pong" => return Ok("alive".to_owned()),
            Heard::Closed(code) => return Ok(format!("closed {code}")),
            Heard::Gone => return Ok("gone".to_owned()),
            _ => {}
        }
    }
}
