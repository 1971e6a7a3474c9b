//! Three transports, one session: each carries frames in and out and decides nothing.

pub mod poll;
pub(crate) mod socket;
pub mod sse;
pub mod status;
pub(crate) mod telling;
pub(crate) mod tls;
pub(crate) mod trace;
pub mod ws;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::ReadBuf,
    net::TcpStream,
    time::{Instant, Sleep},
};

use crate::hub::link::Carrier;

/// Counts an open connection for as long as it is open, however it ends.
struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Writes all of it. A reader that takes nothing for so long is gone, or as good as gone.
pub(crate) async fn send(socket: &TcpStream, mut bytes: &[u8], stalled: Duration) -> bool {
    while !bytes.is_empty() {
        match Carrier::try_write(socket, bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Rare, and large beside the rest.
                let writable = Box::pin(tokio::time::timeout(stalled, socket.writable()));
                if !matches!(writable.await, Ok(Ok(()))) {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}

/// Hears whether the other end is still there.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    deaf: bool,
}

impl Ear {
    /// Ready when the other end has gone. What it says in place of listening stays unread, and from then on only a
    /// write can tell.
    pub(crate) fn poll_gone(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        if self.deaf {
            return Poll::Pending;
        }
        match ready!(socket.poll_peek(cx, &mut ReadBuf::new(&mut [0]))) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => {
                self.deaf = true;
                Poll::Pending
            }
        }
    }
}

/// Ready at `due`. A sleep that ends earlier is set anew only when it does: whoever nearly always has something to do
/// before it is due leaves the timer alone.
pub(crate) fn poll_alarm(mut sleep: Pin<&mut Sleep>, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        ready!(sleep.as_mut().poll(cx));
        if due <= sleep.deadline() {
            return Poll::Ready(());
        }
        sleep.as_mut().reset(due);
    }
}
