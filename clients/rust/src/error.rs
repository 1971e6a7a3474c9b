//! What can go wrong between a program and the server, as one enum.

use std::io;

use rallypoint_protocol::{ErrorCode, RoomName, code::Action, codec::Refused, server::Failed};
use serde::Deserialize;
use tokio_tungstenite::tungstenite;

use crate::{connect::is_loss, token::NoToken};

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused this request; the session goes on.
    #[error("refused: {} {}: {}", .0.code.number(), .0.name, .0.message)]
    Refused(Failed),
    /// The connection has ended for good, at once or after the client stopped coming back.
    #[error("closed: {} {reason}", code.map_or_else(|| "without a code".to_owned(), |code| code.to_string()))]
    Closed {
        /// The number in the close frame, 1005 if it held none; `None` when there was no close frame.
        code: Option<u16>,
        /// The text in the close frame, or what broke.
        reason: String,
        /// The fatal `error` that came before the close, where there was one.
        cause: Option<Box<Failed>>,
    },
    /// The server answered the WebSocket handshake with something else than 101.
    #[error("handshake refused: HTTP {status}{}", problem.as_ref().map_or_else(String::new, |why| format!(": {why}")))]
    Handshake {
        /// The HTTP status.
        status: u16,
        /// The problem document, if one came and could be read.
        problem: Option<Problem>,
    },
    /// The server sent something that the protocol does not allow.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The session was lost while this request had no answer, and the client is in a new one: nobody
    /// knows whether the request was carried out.
    #[error("the session was lost before the answer came; it is unknown whether this was done")]
    Lost,
    /// [`Options::waiting`](crate::Options::waiting) requests wait already. This one was not sent.
    #[error("too many requests wait")]
    Busy,
    /// There is no access token to connect with.
    #[error(transparent)]
    Token(#[from] NoToken),
    /// No answer within [`Options::timeout`](crate::Options::timeout).
    #[error("no answer in time")]
    Timeout,
    /// The URL, a header or the token cannot be used.
    #[error("bad option: {0}")]
    Options(String),
    /// A value has no form in the encoding of this connection, or is too large for any frame.
    #[error("cannot be encoded: {0}")]
    Encode(String),
    /// A move for a room that this session is not in.
    #[error("not in room {0}")]
    NotJoined(RoomName),
    /// The operating system's word for it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// The numbered reason, if the server gave one in whatever way.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(failed) => Some(failed.code),
            Self::Closed { cause, .. } => cause.as_ref().map(|failed| failed.code),
            Self::Handshake { problem, .. } => {
                problem.as_ref().and_then(|problem| ErrorCode::from_number(problem.code))
            }
            _ => None,
        }
    }

    /// The number of the close frame, if there was one.
    pub fn close_code(&self) -> Option<u16> {
        match self {
            Self::Closed { code, .. } => *code,
            _ => None,
        }
    }

    /// What to do after the connection ended this way; `None` while it has not ended.
    pub fn action(&self) -> Option<Action> {
        match self {
            // 1006 is what a connection that broke off is called where a number is needed.
            Self::Closed { code, .. } => Some(Action::of_number(code.unwrap_or(1006))),
            _ => None,
        }
    }

    pub(crate) fn undecodable(refused: &Refused) -> Self {
        Self::Protocol(format!("a message cannot be read: {}", refused.message))
    }

    /// What a failed handshake means; the rest of an error response may still be on its way, so
    /// the problem is only there if it came with the head.
    pub(crate) fn of_handshake(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::Handshake {
                status: response.status().as_u16(),
                problem: response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok()),
            },
            tungstenite::Error::Io(error) => Self::Io(error),
            lost if is_loss(&lost) => Ended::broken(lost.to_string()).into(),
            other => Self::Protocol(other.to_string()),
        }
    }
}

/// An error over HTTP (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The error's name.
    pub title: String,
    /// The HTTP status once more.
    pub status: u16,
    /// The error's number, as in [`ErrorCode`].
    pub code: u16,
    /// One sentence for a developer.
    #[serde(default)]
    pub detail: String,
    /// Milliseconds after which to try again.
    #[serde(default)]
    pub retry_after: Option<u64>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.title, self.detail)
    }
}

/// How a connection ended, kept for everybody who asks afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<u16>,
    pub(crate) reason: String,
    pub(crate) cause: Option<Box<Failed>>,
}

impl Ended {
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self { code: None, reason: reason.into(), cause: None }
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error {
            Error::Closed { code, reason, cause } => Self { code, reason, cause },
            other => Self::broken(other.to_string()),
        }
    }
}

impl From<Ended> for Error {
    fn from(Ended { code, reason, cause }: Ended) -> Self {
        Self::Closed { code, reason, cause }
    }
}
