//! The second copy of a request: sent over a connection of its own, its answer read and thrown away.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{Shared, plan::Duplicate};

/// How long the answer may take; the request it is a copy of waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Sends a copy, before or beside the original.
pub(super) async fn send(shared: &Arc<Shared>, request: Vec<u8>, duplicate: Duplicate) {
    let own = Arc::clone(shared);
    let sent = async move {
        let exchange = timeout(ANSWER_WITHIN, exchange(&own, &request));
        if exchange.await.is_ok_and(|answered| answered.is_ok()) {
            let counter = match duplicate {
                Duplicate::Beside => &own.counters.doubled_beside,
                Duplicate::Before => &own.counters.doubled_before,
            };
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    match duplicate {
        Duplicate::Before => sent.await,
        Duplicate::Beside => _ = tokio::spawn(sent),
    }
}

/// Sends the request and reads one answer, whose end is known from its head or is the end of the connection.
async fn exchange(shared: &Shared, request: &[u8]) -> std::io::Result<()> {
    let mut socket = shared.connect().await.ok_or(std::io::ErrorKind::ConnectionRefused)?;
    socket.set_nodelay(true)?;
    socket.write_all(request).await?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&answer) {
        let len = socket.read(&mut buffer).await?;
        if len == 0 {
            return if answer.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
        }
        answer.extend_from_slice(&buffer[..len]);
    }
    Ok(())
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|text| text.trim().parse::<usize>().ok()).is_some_and(|length| answer.len() >= end + 4 + length)
}
