//! Open: a socket with a session on it, and everything that may happen next there.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    clock::until,
    connect::{Socket, closed, is_loss},
    error::Ended,
    handles::{Command, Control, Handles},
    session::Session,
    token::NoToken,
    wire::{Turn, Wire},
};

/// Heartbeats without any frame after which the connection counts as lost.
const HEARTBEATS: u32 = 3;

pub(crate) struct Open {
    pub(crate) wire: Wire,
    since: Instant,
    silence: Silence,
    /// The next access token, on its way.
    fetching: Option<BoxFuture<'static, Result<String, NoToken>>>,
}

/// How long nothing has been heard of the server.
#[derive(Debug)]
struct Silence {
    /// How long nothing may come; `None` if the server sends no pings.
    patience: Option<Duration>,
    /// When the last frame came, or the reading began; `None` while nothing is read.
    since: Option<Instant>,
}

impl Silence {
    fn new(heartbeat: Duration) -> Self {
        Self { patience: heartbeat.checked_mul(HEARTBEATS).filter(|patience| !patience.is_zero()), since: None }
    }

    /// When the connection counts as lost. While nobody listens, silence says nothing about the server.
    fn ends(&mut self, listening: bool, now: Instant) -> Option<Instant> {
        self.since = if listening { self.since.or(Some(now)) } else { None };
        self.since.zip(self.patience).and_then(|(since, patience)| since.checked_add(patience))
    }

    fn broken(&mut self) {
        self.since = None;
    }
}

/// What happened next.
pub(crate) enum Happened {
    Command(Command),
    Frame(Message),
    /// The socket is gone, or was closed by the server.
    Lost(Ended),
    /// What came cannot be understood.
    Garbled(Ended),
    Fetched(Result<String, NoToken>),
    /// Something changed that the loop looks at by itself.
    Look,
}

impl Open {
    pub(crate) fn new(socket: Socket, heartbeat: Duration) -> Self {
        Self { wire: Wire::new(socket), since: Instant::now(), silence: Silence::new(heartbeat), fetching: None }
    }

    /// How long the connection has held.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    pub(crate) fn say_close(&mut self, code: CloseCode, reason: &'static str) {
        self.wire.put(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
    }

    /// Waits for whatever comes first. Every branch may be dropped half-way without losing anything.
    pub(crate) async fn step(&mut self, session: &mut Session, handles: &mut Handles, closing: bool) -> Happened {
        let paused = handles.control() == Control::Pause && self.wire.broken().is_none();
        let read = closing || handles.has_delivered() && !paused;
        let busy = self.wire.is_busy();
        // After a goodbye nothing is due any more.
        let due_by = session.due_by().filter(|_| !busy && !closing);
        let silent_by = self.silence.ends(read, Instant::now());
        let renew_at = session.access().renew_at().filter(|_| self.fetching.is_none() && !closing);
        let Self { wire, fetching, .. } = self;
        let fetched = async {
            match fetching {
                Some(fetch) => fetch.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = handles.next(!busy) => command.map_or(Happened::Look, Happened::Command),
            turn = wire.turn(read) => self.turned(turn),
            fetched = fetched => {
                self.fetching = None;
                Happened::Fetched(fetched)
            }
            () = until(renew_at) => {
                self.fetching = Some(session.access().fetch());
                Happened::Look
            }
            () = until(due_by) => Happened::Look,
            // This end may have slept as well, with frames at the door.
            () = until(silent_by) => match wire.turn(read).now_or_never() {
                Some(turn) => self.turned(turn),
                None => Happened::Lost(Ended::broken("nothing was heard for three heartbeats")),
            },
        }
    }

    fn turned(&mut self, turn: Turn) -> Happened {
        match turn {
            Turn::Flushed => Happened::Look,
            Turn::Frame(Message::Close(frame)) => Happened::Lost(closed(frame)),
            Turn::Frame(frame) => {
                self.silence.broken();
                Happened::Frame(frame)
            }
            Turn::Over => Happened::Lost(self.broken_off("the connection broke off")),
            Turn::Broken(error) if is_loss(&error) => Happened::Lost(self.broken_off(&error.to_string())),
            Turn::Broken(error) => Happened::Garbled(Ended::broken(error.to_string())),
        }
    }

    /// What broke first says more than what broke last.
    fn broken_off(&self, now: &str) -> Ended {
        Ended::broken(self.wire.broken().unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_lost_when_three_heartbeats_passed_in_vain() {
        let (beat, begin) = (Duration::from_secs(15), Instant::now());
        let mut silence = Silence::new(beat);
        assert_eq!(silence.ends(true, begin), Some(begin + 3 * beat));
        assert_eq!(silence.ends(true, begin + beat), Some(begin + 3 * beat));
        silence.broken();
        assert_eq!(silence.ends(true, begin + 2 * beat), Some(begin + 5 * beat));
        assert_eq!(silence.ends(false, begin + 4 * beat), None);
        assert_eq!(silence.ends(true, begin + 9 * beat), Some(begin + 12 * beat));
        assert_eq!(Silence::new(Duration::ZERO).ends(true, begin), None);
        assert_eq!(Silence::new(Duration::MAX).ends(true, begin), None);
    }
}
