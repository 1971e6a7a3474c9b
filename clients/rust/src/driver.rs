//! The task that owns the socket: the only place where frames are written and read.
//!
//! It never waits for one thing alone. A full queue of events stops the reading and a blocked
//! socket stops the taking of commands, each without stopping the other.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rallypoint_protocol::Request;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    clock::Clock,
    connect::{Socket, closed, content, message},
    error::{Ended, Error},
    exchange::{Exchange, Make, Outgoing, Reply},
    incoming::Incoming,
    wire::{Turn, Wire},
};

/// Counted messages after which an `ack` is sent at once.
const ACK_EVERY: u64 = 32;
/// The longest time that a counted message waits for its `ack`.
const ACK_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of commands that go out in one write, if so many wait.
const BATCH: usize = 64 * 1024;

/// What the handles ask of the task.
pub(crate) enum Command {
    Request { make: Make, reply: Reply },
    Notice(Request),
    Move(Outgoing),
    Raw(Message),
    Close(oneshot::Sender<Result<(), Error>>),
}

/// What holds until the handles say otherwise; unlike a command it never waits in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Read,
    Pause,
    /// The server did not answer a close in time: end without it.
    GiveUp,
}

/// The task's ends of the channels to the handles.
pub(crate) struct Ends {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Sender<Incoming>,
    pub(crate) control: watch::Receiver<Control>,
    pub(crate) ended: Arc<OnceLock<Ended>>,
}

/// What happened next.
enum Step {
    Command(Command),
    Turn(Turn),
    /// The last handle is gone.
    Mute,
    /// The receiver of events is gone.
    Unheard,
    /// Something changed that the loop looks at by itself.
    Look,
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

pub(crate) struct Driver {
    wire: Wire,
    exchange: Exchange,
    ends: Ends,
    clock: Clock,
    /// What did not fit into the queue of events; nothing is read while it waits.
    held: Option<Incoming>,
    ack_by: Option<Instant>,
    /// Who waits for the end, once a close has been said.
    closing: Vec<oneshot::Sender<Result<(), Error>>>,
    mute: bool,
    unheard: bool,
}

impl Driver {
    pub(crate) fn new(socket: Socket, exchange: Exchange, ends: Ends, clock: Clock) -> Self {
        let (wire, closing) = (Wire::new(socket), Vec::new());
        Self { wire, exchange, ends, clock, held: None, ack_by: None, closing, mute: false, unheard: false }
    }

    pub(crate) async fn run(mut self) {
        let end = self.until_end().await;
        let Self { wire, exchange, ends, held, closing, .. } = self;
        let Ends { commands, events, ended, .. } = ends;
        // First, so that whoever is woken by what is dropped below finds the reason.
        _ = ended.set(end.clone());
        for reply in closing {
            _ = reply.send(if end.code.is_some() { Ok(()) } else { Err(end.clone().into()) });
        }
        drop((wire, exchange, commands));
        let Ended { code, reason, .. } = end;
        for last in held.into_iter().chain([Incoming::Closed { code, reason }]) {
            _ = events.send(last).await;
        }
    }

    async fn until_end(&mut self) -> Ended {
        loop {
            self.acknowledge();
            match self.step().await {
                Step::Command(command) => self.perform_all(command),
                Step::Turn(turn) => {
                    if let Some(ended) = self.turned(turn).await {
                        return ended;
                    }
                }
                Step::Mute => self.mute = true,
                Step::Unheard => self.unheard = true,
                Step::Look => {}
            }
            if self.control() == Control::GiveUp {
                return Ended::broken("the server did not answer the close");
            }
            if self.unheard {
                self.held = None;
            }
            if self.mute && self.unheard {
                while let Ok(command) = self.ends.commands.try_recv() {
                    self.perform_all(command);
                }
                self.wire.flush().await;
                return Ended::broken("dropped by this end");
            }
        }
    }

    /// Waits for whatever comes first. Every branch may be dropped half-way without losing anything.
    async fn step(&mut self) -> Step {
        let paused = self.control() == Control::Pause && self.wire.broken().is_none();
        let read = self.is_closing() || self.held.is_none() && !paused;
        let busy = self.wire.is_busy();
        let ack_by = self.ack_by.filter(|_| !busy);
        let Self { wire, ends: Ends { commands, events, control, .. }, held, mute, unheard, .. } = self;
        tokio::select! {
            Some(command) = commands.recv(), if !busy => Step::Command(command),
            turn = wire.turn(read) => Step::Turn(turn),
            permit = events.reserve(), if held.is_some() => match (permit, held.take()) {
                (Ok(permit), Some(held)) => {
                    permit.send(held);
                    Step::Look
                }
                _ => Step::Unheard,
            },
            () = events.closed(), if !*unheard => Step::Unheard,
            changed = control.changed(), if !*mute => if changed.is_ok() { Step::Look } else { Step::Mute },
            () = until(ack_by) => Step::Look,
        }
    }

    fn control(&self) -> Control {
        *self.ends.control.borrow()
    }

    fn is_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    fn acknowledge(&mut self) {
        let unacknowledged = self.exchange.unacknowledged();
        if unacknowledged == 0 {
            self.ack_by = None;
            return;
        }
        let by = *self.ack_by.get_or_insert_with(|| Instant::now() + ACK_WITHIN);
        if !self.wire.is_busy() && (unacknowledged >= ACK_EVERY || by <= Instant::now()) {
            self.ack_by = None;
            let ack = self.exchange.acknowledge();
            self.put(ack);
        }
    }

    fn put(&mut self, frame: Vec<u8>) -> usize {
        let size = frame.len();
        self.wire.put(message(self.exchange.encoding(), frame));
        size
    }

    /// Carries out a command and those that wait behind it, so that they share a write.
    fn perform_all(&mut self, first: Command) {
        let mut size = self.perform(first);
        while size < BATCH
            && let Ok(command) = self.ends.commands.try_recv()
        {
            size += self.perform(command);
        }
    }

    fn perform(&mut self, command: Command) -> usize {
        let frame = match command {
            Command::Request { make, reply } => self.exchange.request(make, reply, self.clock.now()),
            Command::Notice(request) => Some(request.encode(self.exchange.encoding())),
            Command::Move(outgoing) => self.exchange.outgoing(outgoing),
            Command::Raw(message) => {
                let size = message.len();
                self.wire.put(message);
                return size;
            }
            Command::Close(reply) => {
                self.closing.push(reply);
                self.say_close(CloseCode::Normal, "bye");
                None
            }
        };
        frame.map_or(0, |frame| self.put(frame))
    }

    fn say_close(&mut self, code: CloseCode, reason: &'static str) {
        self.wire.put(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
    }

    /// Takes in what the socket brought; `Some` when that was the last of it.
    async fn turned(&mut self, turn: Turn) -> Option<Ended> {
        let ended = match turn {
            Turn::Flushed => return None,
            Turn::Frame(Message::Close(frame)) => Ended { cause: self.exchange.take_cause(), ..closed(frame) },
            Turn::Frame(frame) => {
                let error = self.take(&frame).err()?;
                self.say_close(CloseCode::Protocol, "");
                Ended::broken(error.to_string())
            }
            Turn::Over | Turn::Broken(tungstenite::Error::Io(_)) if self.wire.broken().is_some() => {
                return self.wire.broken().map(Ended::broken);
            }
            Turn::Over => return Some(Ended::broken("the connection broke off")),
            Turn::Broken(error @ (tungstenite::Error::Capacity(_) | tungstenite::Error::Utf8(_))) => {
                self.say_close(CloseCode::Protocol, "");
                Ended::broken(error.to_string())
            }
            Turn::Broken(error) => return Some(Ended::broken(error.to_string())),
        };
        self.wire.wind_down(ended.code.is_some()).await;
        Some(ended)
    }

    fn take(&mut self, frame: &Message) -> Result<(), Error> {
        let Some(bytes) = content(self.exchange.encoding(), frame)? else { return Ok(()) };
        let Some(incoming) = self.exchange.take(bytes, self.clock.now())? else { return Ok(()) };
        if self.unheard || self.is_closing() && self.held.is_some() {
            return Ok(());
        }
        match self.ends.events.try_send(incoming) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(incoming)) => self.held = Some(incoming),
            Err(mpsc::error::TrySendError::Closed(_)) => self.unheard = true,
        }
        Ok(())
    }
}
