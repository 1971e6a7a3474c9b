//! What every client of a run sent and saw, in the order in which it happened.
//!
//! A [`History`] is a list that only grows. All clients of a run live in one process and note what they do *before*
//! they send it and what they see *after* it came, through one lock; so the place in the list is a true order: if one
//! record stands before another, what it tells of began before the other's ended. The [checker](crate::check) uses
//! nothing else of time, but for the server's own times inside of what it sent.

mod dump;
mod recorder;
mod table;

use std::{fmt, str::FromStr};

use rallypoint_protocol::{Position, moves::Lane, server::ResetReason};

pub use self::{
    recorder::{Recorder, unix_ms},
    table::{ClientNo, ContentNo, LogNo, PeerNo, Table},
};

/// What a client is, and so what is promised to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The run itself: it starts and stops the server, and knows when faults are off.
    Run,
    /// A member of rooms.
    Member,
    /// A spectator on a WebSocket.
    Watcher,
    /// An event stream.
    Stream,
    /// A long poll.
    Poll,
    /// A back end, which only posts.
    Backend,
}

impl Role {
    /// The role as the names of clients begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Member => "member",
            Self::Watcher => "watcher",
            Self::Stream => "stream",
            Self::Poll => "poll",
            Self::Backend => "backend",
        }
    }
}

/// The name of one thing that was sent: an event, a notification, a signal. It travels in what is sent, as `c3-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// Who sent it.
    pub client: ClientNo,
    /// The how manieth of this client, over all that it sends.
    pub number: u32,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}-{}", self.client.0, self.number)
    }
}

impl FromStr for Label {
    type Err = ();

    /// Reads the first word of a text.
    fn from_str(text: &str) -> Result<Self, ()> {
        let word = text.split(' ').next().unwrap_or_default();
        let (client, number) = word.strip_prefix('c').and_then(|rest| rest.split_once('-')).ok_or(())?;
        Ok(Self { client: ClientNo(client.parse().map_err(drop)?), number: number.parse().map_err(drop)? })
    }
}

/// How a connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Came {
    /// As something new: a session that did not exist before.
    New,
    /// Where the last one ended, with nothing lost.
    Resumed,
    /// As the same session, of which something is lost: `resumed: false`.
    Restored,
    /// As the same peer in a session of another node, or of another life of the server: its rooms go on from where they
    /// stood, or say that they do not.
    Moved,
}

/// Why a view of a log stands where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is new: `joined`, `watching` or the first cursor, with nothing before it.
    New,
    /// It goes on: `joined` or `watching` after the events that were missed.
    Caught,
    /// An explicit `reset`.
    Reset(ResetReason),
}

/// How asking ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It was carried out; events have a position.
    Done(Option<Position>),
    /// It was refused, with this number.
    Refused(u16),
    /// Nobody knows: the answer did not come, and will not be asked for again.
    Unknown,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// The server runs, since this moment (Unix milliseconds).
    Started {
        /// When.
        unix_ms: f64,
    },
    /// The server was asked to end, or killed.
    Stopping {
        /// Killed.
        killed: bool,
    },
    /// The server's process is gone, since this moment (Unix milliseconds).
    Ended {
        /// When.
        unix_ms: f64,
    },
    /// The proxy has cut a connection.
    Fault {
        /// Its number.
        connection: u64,
        /// By name: `rst`, `fin`, `half-open`.
        cut: &'static str,
    },
    /// The run has hurt what the server consists of: a node, the engine.
    Struck {
        /// What, by name.
        what: &'static str,
        /// Whether that may cost members of a node their place.
        of_members: bool,
    },
    /// Faults are off from here to the end.
    Quiet,
    /// At the end the log stands here, by the server's own word.
    Head {
        /// Which.
        log: LogNo,
        /// Where.
        position: Position,
    },
    /// A connection is there.
    Opened {
        /// Who the client is now; feeds have none.
        peer: Option<PeerNo>,
        /// How it began.
        came: Came,
        /// The server's time in `connected`, Unix milliseconds; 0 where it was not told.
        time: f64,
    },
    /// The client has noticed that its connection is gone.
    Away,
    /// The server told the client to stop.
    Stopped {
        /// The close code.
        code: u16,
    },
    /// The client has ended, by intent.
    Left,
    /// A view of a log stands here.
    Stands {
        /// Which.
        log: LogNo,
        /// Where.
        position: Position,
        /// Why.
        why: Why,
    },
    /// The client is about to give up its view: it leaves the room.
    Unfollows {
        /// Which.
        log: LogNo,
    },
    /// An event of a log came.
    Event {
        /// Which.
        log: LogNo,
        /// Where the log stands after it.
        position: Position,
        /// Its bytes, as the log keeps them.
        content: ContentNo,
    },
    /// The client is about to publish an event or a notification.
    Publishes {
        /// Into which log.
        log: LogNo,
        /// As what.
        label: Label,
    },
    /// The client is about to send a signal.
    Signals {
        /// Within which room.
        room: LogNo,
        /// To whom.
        to: ClientNo,
        /// As what.
        label: Label,
    },
    /// How publishing or signalling ended.
    Answered {
        /// What was sent.
        label: Label,
        /// How it ended.
        outcome: Outcome,
    },
    /// A signal came.
    Signal {
        /// Within which room.
        room: LogNo,
        /// Which, and so from whom.
        label: Label,
    },
    /// The client is about to send a move.
    Moves {
        /// In which room.
        room: LogNo,
        /// Its promise.
        lane: Lane,
        /// What it is about.
        key: u16,
        /// Rises over both lanes of the sender in this room for the whole run.
        seq: u32,
    },
    /// A move that never left: the client was refused by its own end.
    Unmoved {
        /// In which room.
        room: LogNo,
        /// Which.
        seq: u32,
    },
    /// A move came.
    Moved {
        /// In which room.
        room: LogNo,
        /// The sender, by what the move carries.
        from: ClientNo,
        /// The sender's handle, by what the server says.
        handle: u32,
        /// Its promise.
        lane: Lane,
        /// What it is about.
        key: u16,
        /// Which of its sender.
        seq: u32,
    },
}

/// Something that happened, when, and to whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Milliseconds since the run began; for readers.
    pub at: u32,
    /// Whom it happened to.
    pub client: ClientNo,
    /// What.
    pub what: What,
}

/// All that happened, in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The clients, by name.
    pub clients: Table<ClientNo>,
    /// What they are, in the same order.
    pub roles: Vec<Role>,
    /// The logs, by name: rooms, and `user/<sub>`.
    pub logs: Table<LogNo>,
    /// The peers, by id.
    pub peers: Table<PeerNo>,
    /// The bytes of events, each only once however many have seen it.
    pub contents: Table<ContentNo>,
    /// What happened.
    pub records: Vec<Record>,
}

impl History {
    /// A client of this name, which must be new.
    pub fn client(&mut self, name: &str, role: Role) -> ClientNo {
        let no = self.clients.no(name.as_bytes());
        assert_eq!(usize::from(no.0), self.roles.len(), "the client {name} is there already");
        self.roles.push(role);
        no
    }

    /// What a client is.
    pub fn role(&self, client: ClientNo) -> Role {
        self.roles[usize::from(client.0)]
    }

    /// A client's name.
    pub fn client_name(&self, client: ClientNo) -> String {
        self.clients.text(client)
    }

    /// A log's name.
    pub fn log_name(&self, log: LogNo) -> String {
        self.logs.text(log)
    }

    /// Notes something.
    pub fn put(&mut self, at: u32, client: ClientNo, what: What) {
        self.records.push(Record { at, client, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back_from_the_text_they_travel_in() {
        let label = Label { client: ClientNo(3), number: 17 };
        assert_eq!(label.to_string().parse(), Ok(label));
        assert_eq!("c3-17 and more".parse(), Ok(label));
        for other in ["", "c3", "3-17", "c3-", "hello c3-17", "c99999-1"] {
            assert_eq!(Label::from_str(other), Err(()), "{other}");
        }
    }

    #[test]
    fn a_record_is_small_since_there_are_millions() {
        assert!(size_of::<Record>() <= 56, "{}", size_of::<Record>());
    }
}
