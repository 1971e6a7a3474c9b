//! The socket and its one flag: whether anything written still has to go out.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message, error::ProtocolError};

use crate::connect::Socket;

/// How long the last frames may take after both sides have said close.
const WIND_DOWN: Duration = Duration::from_secs(2);

/// What a turn at the socket brought.
pub(crate) enum Turn {
    /// Everything written has left.
    Flushed,
    /// A frame.
    Frame(Message),
    /// Nothing will come any more.
    Over,
    /// Nothing good will come any more.
    Broken(tungstenite::Error),
}

pub(crate) struct Wire {
    socket: Socket,
    unsent: bool,
    /// Why nothing can be written any more. Reading goes on: the server's close frame may wait.
    broken: Option<String>,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        // What the handshake left behind, a pong for instance, goes out with the first turn.
        Self { socket, unsent: true, broken: None }
    }

    /// Whether the next frame should wait until the last ones have left.
    pub(crate) fn is_busy(&self) -> bool {
        self.unsent || self.broken.is_some()
    }

    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Takes a frame for sending. tungstenite queues it whether or not the socket is ready.
    pub(crate) fn put(&mut self, message: Message) {
        self.unsent = true;
        match self.socket.start_send_unpin(message) {
            // After a close nothing more is said; whoever waits for an answer hears of the end.
            Ok(()) | Err(tungstenite::Error::Protocol(ProtocolError::SendAfterClosing)) => {}
            Err(error) => self.broken = Some(error.to_string()),
        }
    }

    /// Sends what waits and, if asked to, reads a frame: whichever is possible first. Safe to
    /// cancel, since all state is in the socket.
    pub(crate) async fn turn(&mut self, read: bool) -> Turn {
        poll_fn(|cx| self.poll_turn(cx, read)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Turn> {
        if self.unsent
            && let Poll::Ready(flushed) = self.socket.poll_flush_unpin(cx)
        {
            self.unsent = false;
            if let Err(error) = flushed {
                self.broken = Some(error.to_string());
            }
            return Poll::Ready(Turn::Flushed);
        }
        if !read {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(self.socket.poll_next_unpin(cx)) {
            Some(Ok(frame)) => {
                // tungstenite answers pings and closes with the next call; nobody knows when that is.
                self.unsent |= matches!(frame, Message::Ping(_) | Message::Close(_));
                Turn::Frame(frame)
            }
            Some(Err(error)) => Turn::Broken(error),
            None => Turn::Over,
        })
    }

    /// Goes on until both closes have been said. Which side hangs up first is then of no matter.
    pub(crate) async fn wind_down(&mut self, mut peer_closed: bool) {
        let over = async {
            while self.unsent || !peer_closed {
                match self.turn(true).await {
                    Turn::Frame(Message::Close(_)) => peer_closed = true,
                    Turn::Over | Turn::Broken(_) => break,
                    _ => {}
                }
            }
        };
        _ = timeout(WIND_DOWN, over).await;
    }

    /// Sends what waits, within reason.
    pub(crate) async fn flush(&mut self) {
        _ = timeout(WIND_DOWN, self.socket.flush()).await;
    }
}
