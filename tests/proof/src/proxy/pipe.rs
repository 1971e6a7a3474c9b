//! One direction of a connection: reads, holds back as long as the plan says, writes, and notices where the cut is due.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Shared, copy,
    plan::{Duplicate, Way},
    tap::{Piece, Tap},
};
use crate::seed::Seed;

/// Bytes on their way in one direction; when there are more, reading waits.
const QUEUE_MAX: usize = 256 * 1024;
/// A throttled direction is written in so many pieces a second.
const PIECES: u64 = 50;

/// Why a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The sender has said all, and all of it has been passed on.
    Over,
    /// One of the sockets broke.
    Broken,
    /// So many bytes have passed that the cut is due.
    Due,
}

/// One direction.
pub(super) struct Pipe<'a> {
    pub(super) from: ReadHalf<'a>,
    pub(super) to: WriteHalf<'a>,
    pub(super) way: Way,
    pub(super) jitter: Seed,
    /// The byte at which the connection is cut.
    pub(super) cut_at: Option<u64>,
    /// Finds the requests that are to be doubled.
    pub(super) doubled: Option<(Tap, Duplicate)>,
    pub(super) shared: Arc<Shared>,
}

impl Pipe<'_> {
    /// Carries bytes until the end, whichever it is.
    pub(super) async fn run(mut self) -> End {
        let mut buffer = vec![0; 16 * 1024];
        let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let (mut queued, mut over, mut passed) = (0, false, 0);
        loop {
            let due = queue.front().map(|&(due, _)| due);
            if due.is_none() && over {
                return if self.to.shutdown().await.is_ok() { End::Over } else { End::Broken };
            }
            tokio::select! {
                read = self.from.read(&mut buffer), if !over && queued < QUEUE_MAX => {
                    let Ok(len) = read else { return End::Broken };
                    over = len == 0;
                    let at = Instant::now() + self.way.delay + self.more();
                    // Jitter changes when something arrives, never in what order.
                    let at = queue.back().map_or(at, |&(last, _)| at.max(last));
                    for bytes in self.pieces(&buffer[..len]).await {
                        queued += bytes.len();
                        queue.push_back((at, bytes));
                    }
                }
                () = until(due), if due.is_some() => {
                    let Some((_, bytes)) = queue.pop_front() else { continue };
                    queued -= bytes.len();
                    if let Some(end) = self.write(&bytes, &mut passed).await {
                        return end;
                    }
                }
            }
        }
    }

    fn more(&mut self) -> Duration {
        let longest = u64::try_from(self.way.jitter.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.jitter.below(longest))
    }

    /// What goes on of the bytes that came in. Empty: the sender has said all.
    async fn pieces(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let Some((tap, duplicate)) = &mut self.doubled else { return vec![bytes.to_vec()] };
        if bytes.is_empty() {
            return vec![tap.rest()];
        }
        let mut passed = Vec::new();
        for piece in tap.push(bytes) {
            passed.push(match piece {
                Piece::Plain(bytes) => bytes,
                Piece::Request(request) => {
                    if self.shared.is_armed() {
                        copy::send(&self.shared, request.clone(), *duplicate).await;
                    }
                    request
                }
            });
        }
        passed
    }

    /// Passes bytes on, up to the cut.
    async fn write(&mut self, bytes: &[u8], passed: &mut u64) -> Option<End> {
        let left = self.cut_at.map(|at| at.saturating_sub(*passed));
        let cut = left.is_some_and(|left| left <= bytes.len() as u64) && self.shared.is_armed();
        if !cut && left.is_some_and(|left| left <= bytes.len() as u64) {
            // The place has gone by while faults were off.
            self.cut_at = None;
        }
        let bytes = if cut { &bytes[..left.unwrap_or(0) as usize] } else { bytes };
        if self.put(bytes).await.is_err() {
            return Some(End::Broken);
        }
        *passed += bytes.len() as u64;
        cut.then_some(End::Due)
    }

    async fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Some(rate) = self.way.throttle.filter(|&rate| rate > 0) else { return self.to.write_all(bytes).await };
        for piece in bytes.chunks(usize::try_from(rate / PIECES).unwrap_or(usize::MAX).max(1)) {
            self.to.write_all(piece).await?;
            sleep(Duration::from_secs(1).mul_f64(piece.len() as f64 / rate as f64)).await;
        }
        Ok(())
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
