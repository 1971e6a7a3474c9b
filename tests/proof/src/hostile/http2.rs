//! HTTP without an end: streams of HTTP/2 that are reset as soon as they begin (CVE-2023-44487), and answers that nobody
//! reads.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::ground::{Ground, Report};
use crate::run::wire::connect;

/// Attackers of each kind.
const MANY: usize = 24;
/// Streams of each that resets them.
const STREAMS: u32 = 10_000;
/// Requests written at once by who reads no answer.
const PIPELINE: usize = 50;
/// What its kernel takes; the least it grants is a little more.
const SMALL: u32 = 4096;

/// Types of frames: RFC 9113 section 6.
mod kind {
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
}
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_OF_STREAM_AND_HEADERS: u8 = 5;
/// `GET http://…/` by the static table: RFC 7541 appendix A.
const GET: [u8; 3] = [0x82, 0x84, 0x86];
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// As much as a window can be.
const WINDOW: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Ids of a client's streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

/// Requests that are withdrawn at once. The server may end it, or put up with it; it must not keep them.
pub async fn resets(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground
        .many(MANY, async |ground, number| {
            let mut socket = ground.knock(number).await?;
            socket.write_all(&[PREFACE, &frame(kind::SETTINGS, 0, 0, b"")].concat()).await?;
            for stream in streams(STREAMS) {
                let request = frame(kind::HEADERS, END_OF_STREAM_AND_HEADERS, stream, &GET);
                let reset = frame(kind::RST_STREAM, 0, stream, &CANCEL);
                if socket.write_all(&[request, reset].concat()).await.is_err() {
                    break;
                }
            }
            _ = socket.write_all(&frame(kind::PING, 0, 0, b"goes on?")).await;
            Ok(last_word(&mut socket).await)
        })
        .await;
    Ok(report.only(&["goaway 11", "closed", "answered"]))
}

/// Reads until the server answers a ping or has enough.
async fn last_word(socket: &mut TcpStream) -> String {
    loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).await.is_err() {
            return "closed".to_owned();
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if socket.read_exact(&mut payload).await.is_err() {
            return "closed".to_owned();
        }
        match head[3] {
            // The error code: RFC 9113 section 7. ENHANCE_YOUR_CALM is 11.
            kind::GOAWAY => return format!("goaway {}", payload.get(7).copied().unwrap_or_default()),
            kind::PING if payload == b"goes on?" => return "answered".to_owned(),
            _ => {}
        }
    }
}

/// Requests for the largest answer there is without a token, by who reads none of it. After `ping_interval_ms` times
/// `ping_missed` and one without a byte taken it is somebody who is gone.
pub async fn unread_answers(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground
        .many(MANY, async |ground, number| {
            let mut socket = connect(ground.door, ground.from(number), Some(SMALL)).await?;
            if number % 2 == 0 {
                let request = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".repeat(PIPELINE);
                while socket.write_all(&request).await.is_ok() {}
            } else {
                // SETTINGS_INITIAL_WINDOW_SIZE is 4.
                let settings = frame(kind::SETTINGS, 0, 0, &[&[0, 4], &WINDOW[..]].concat());
                let window = frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]);
                socket.write_all(&[PREFACE, &settings, &window].concat()).await?;
                for stream in streams(PIPELINE as u32) {
                    socket.write_all(&frame(kind::HEADERS, END_OF_STREAM_AND_HEADERS, stream, &GET)).await?;
                }
                while socket.write_all(&frame(kind::PING, 0, 0, b"goes on?")).await.is_ok() {}
            }
            Ok("closed".to_owned())
        })
        .await;
    Ok(report.exactly("closed", MANY as u64))
}
