//! The task's side of the handles: what they ask for, what they say holds, and what they are told.

use rallypoint_protocol::Request;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot, watch,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    error::Error,
    incoming::{Inbox, Incoming},
    moves::Outgoing,
    requests::{Make, Reply},
};

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
pub(crate) struct Handles {
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Incoming>,
    control: watch::Receiver<Control>,
    /// What did not fit into the queue of events; nothing is read from the socket while it waits.
    inbox: Inbox,
    /// The last `Client` is gone.
    mute: bool,
    /// The `Events` are gone.
    unheard: bool,
}

impl Handles {
    pub(crate) fn new(
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Incoming>,
        control: watch::Receiver<Control>,
    ) -> Self {
        Self { commands, events, control, inbox: Inbox::new(), mute: false, unheard: false }
    }

    /// Waits until a handle says something; `None` when that is no command. Safe to cancel.
    pub(crate) async fn next(&mut self, take_commands: bool) -> Option<Command> {
        let Self { commands, events, control, inbox, mute, unheard } = self;
        tokio::select! {
            Some(command) = commands.recv(), if take_commands => return Some(command),
            permit = events.reserve(), if !inbox.is_empty() => match (permit, inbox.pop_front()) {
                (Ok(permit), Some(first)) => permit.send(first),
                _ => *unheard = true,
            },
            () = events.closed(), if !*unheard => *unheard = true,
            changed = control.changed(), if !*mute => *mute = changed.is_err(),
        }
        self.deliver();
        None
    }

    /// A command that waits behind the one just taken, so that both share a write.
    pub(crate) fn next_now(&mut self) -> Option<Command> {
        self.commands.try_recv().ok()
    }

    pub(crate) fn control(&self) -> Control {
        *self.control.borrow()
    }

    /// Whether nobody is left.
    pub(crate) fn is_alone(&self) -> bool {
        self.mute && self.unheard
    }

    /// Whether everything that came has found its place.
    pub(crate) fn has_delivered(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Where the next things for the application go; [`Handles::deliver`] sends them on.
    pub(crate) fn inbox(&mut self) -> &mut Inbox {
        &mut self.inbox
    }

    /// Hands over what fits.
    pub(crate) fn deliver(&mut self) {
        while !self.unheard
            && let Some(first) = self.inbox.pop_front()
        {
            match self.events.try_send(first) {
                Ok(()) => {}
                Err(TrySendError::Full(first)) => return self.inbox.push_front(first),
                Err(TrySendError::Closed(_)) => self.unheard = true,
            }
        }
        if self.unheard {
            self.inbox.clear();
        }
    }

    /// No more commands: whoever sends one hears that the connection has ended.
    pub(crate) fn hang_up(&mut self) {
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
    }

    /// Hands over everything that is left, however long that takes.
    pub(crate) async fn finish(mut self, last: Incoming) {
        self.inbox.push_back(last);
        for incoming in self.inbox {
            if self.events.send(incoming).await.is_err() {
                return;
            }
        }
    }
}
