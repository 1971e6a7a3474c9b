//! Before there is a session: whoever sends nothing, little or far too much of a head or a body, must be gone after the
//! deadline, and must not be let in.

use std::{io, sync::Arc, time::Duration};

use rallypoint_protocol::Encoding;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::ground::{Ground, Report, ending};
use crate::run::wire::Wire;

/// Attackers of each kind.
const MANY: usize = 300;
/// Between two bytes of whoever is slow.
const DRIP: Duration = Duration::from_millis(100);
/// The preface of HTTP/2 (RFC 9113 section 3.4), and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A byte of the head now and then.
pub async fn slow_heads(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground
        .many(MANY, async |ground, number| {
            let socket = ground.knock(number).await?;
            drip(socket, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ").await
        })
        .await;
    Ok(report.only(&["closed", "408"]))
}

/// The whole head, and then a byte of the body now and then. `/dev/token` reads a body without asking for a token.
pub async fn slow_bodies(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground
        .many(MANY, async |ground, number| {
            let head = "POST /dev/token HTTP/1.1\r\nhost: 127.0.0.1\r\norigin: http://localhost:3000\r\n\
                        content-type: application/json\r\ncontent-length: 60000\r\n\r\n{";
            let head = head.replace("3000", &ground.door.port().to_string());
            drip(ground.knock(number).await?, head.as_bytes()).await
        })
        .await;
    Ok(report.only(&["400, 600"]))
}

/// Sends `first`, then a byte now and then until the server has enough.
async fn drip(mut socket: TcpStream, first: &[u8]) -> io::Result<String> {
    let mut answer = Vec::new();
    socket.write_all(first).await?;
    loop {
        tokio::select! {
            read = socket.read_buf(&mut answer) => match read {
                Ok(length) if length > 0 => {}
                _ => return Ok(told(&answer)),
            },
            () = sleep(DRIP) => if socket.write_all(b"a").await.is_err() {
                _ = socket.read_to_end(&mut answer).await;
                return Ok(told(&answer));
            },
        }
    }
}

/// Nothing at all, or no more than the beginning of HTTP/2.
pub async fn silent_sockets(ground: Arc<Ground>) -> io::Result<Report> {
    let before = ground.limited("header_deadline_ms").await?;
    let report = ground
        .many(MANY, async |ground, number| {
            let mut socket = ground.knock(number).await?;
            let words = [b"".as_slice(), b"PRI * HTTP/2.0", PREFACE][number % 3];
            socket.write_all(words).await?;
            // HTTP/2 begins and ends with frames of its own, which are no answer.
            _ = socket.read_to_end(&mut Vec::new()).await;
            Ok("closed".to_owned())
        })
        .await;
    report.exactly("closed", MANY as u64).limited(&ground, "header_deadline_ms", before, MANY as f64 * 0.6).await
}

/// A WebSocket on which nobody says who they are.
pub async fn silent_websockets(ground: Arc<Ground>) -> io::Result<Report> {
    let before = ground.limited("auth_deadline_ms").await?;
    let report = ground
        .many(MANY, async |ground, number| {
            let mut wire = Wire::open(ground.knock(number).await?, None, Encoding::Json).await?;
            ending(&mut wire).await
        })
        .await;
    let report = report.exactly("707, closed 4303", MANY as u64);
    report.limited(&ground, "auth_deadline_ms", before, MANY as f64).await
}

/// Heads with a thousand lines, with one line of 64 KiB, and with a path of 64 KiB.
pub async fn header_floods(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground
        .many(MANY, async |ground, number| {
            let head = match number % 3 {
                0 => (0..1000)
                    .map(|line| format!("x-{line}: 1\r\n"))
                    .fold("GET /healthz HTTP/1.1\r\n".to_owned(), |a, b| a + &b),
                1 => format!("GET /healthz HTTP/1.1\r\nx-long: {}\r\n", "x".repeat(65_536)),
                _ => format!("GET /{} HTTP/1.1\r\n", "x".repeat(65_536)),
            };
            let answer = exchange(&ground, number, &(head + "host: 127.0.0.1\r\n\r\n")).await?;
            Ok(told(&answer))
        })
        .await;
    // The rest of the head may still be on its way when the server closes, which resets the connection.
    Ok(report.only(&["431", "414", "closed"]))
}

/// Sends a request whose answer ends with the connection, and reads it as far as it comes.
pub(super) async fn exchange(ground: &Ground, number: usize, request: &str) -> io::Result<Vec<u8>> {
    let mut socket = ground.knock(number).await?;
    _ = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    _ = socket.read_to_end(&mut answer).await;
    Ok(answer)
}

/// The status of an answer, and the number of its problem.
pub(super) fn told(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let Some(status) = text.split(' ').nth(1).filter(|_| text.starts_with("HTTP/1.1 ")) else {
        return if answer.is_empty() { "closed".to_owned() } else { "no HTTP".to_owned() };
    };
    let number: String = match text.split_once("\"code\":") {
        Some((_, rest)) => rest.chars().take_while(char::is_ascii_digit).collect(),
        None => return status.to_owned(),
    };
    format!("{status}, {number}")
}
