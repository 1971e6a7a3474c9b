//! The two numbered tables: what went wrong with a message, and why a connection ended.
//!
//! Both are public contract; `protocol/README.md` prints them and a test compares.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal, $http:literal, $retry:literal;)*) => {
        /// Why a request was refused. The number is on the wire; the hundreds tell the family:
        /// 6xx the message, 7xx credentials and rights, 8xx the state of things, 9xx limits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[doc = $doc])* $name = $code,)* }

        impl ErrorCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name that stands beside the number on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim(),)* }
            }

            /// The HTTP status that carries this error (RFC 9110 section 15).
            pub fn http_status(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }

            /// Whether the same request may succeed later without being changed.
            pub fn may_retry(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }

            /// The code with this number, if there is one.
            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// Not JSON or MessagePack, not a map, or a field is missing or of the wrong type.
    Malformed = 600, "malformed", 400, false;
    /// The `type` is not one that a client may send here.
    UnknownType = 601, "unknown-type", 400, false;
    /// A room, user, kind or peer id is not spelled as the spec allows.
    BadName = 602, "bad-name", 400, false;
    /// The frame, body or a field is larger than its limit.
    TooBig = 603, "too-big", 413, false;
    /// Nested deeper than the limit.
    TooDeep = 604, "too-deep", 400, false;
    /// Bytes follow the one value that a frame holds.
    TrailingBytes = 605, "trailing-bytes", 400, false;
    /// A position or cursor cannot be read.
    BadPosition = 606, "bad-position", 400, false;
    /// A request id went down and its answer is no longer kept.
    BadId = 607, "bad-id", 400, false;
    /// A field has the right type but a value that is not allowed.
    BadValue = 608, "bad-value", 400, false;
    /// A text frame on the MessagePack subprotocol or a binary one on JSON.
    WrongEncoding = 609, "wrong-encoding", 400, false;
    /// A body that is not `application/json`.
    UnsupportedMediaType = 610, "unsupported-media-type", 415, false;
    /// The event kind belongs to the server.
    ReservedKind = 611, "reserved-kind", 400, false;

    /// No credential was given.
    TokenMissing = 700, "token-missing", 401, false;
    /// The token cannot be accepted: signature, algorithm, key, issuer, audience or claims.
    TokenInvalid = 701, "token-invalid", 401, false;
    /// The token was good once; get a new one.
    TokenExpired = 702, "token-expired", 401, false;
    /// Two different credentials in one request.
    TwoCredentials = 703, "two-credentials", 400, false;
    /// The Origin is not on the list.
    OriginRefused = 704, "origin-refused", 403, false;
    /// The token does not grant the verb that this needs.
    Forbidden = 705, "forbidden", 403, false;
    /// Names beginning `user/` belong to the server.
    ReservedName = 706, "reserved-name", 403, false;
    /// No `auth` arrived within the deadline.
    AuthTimeout = 707, "auth-timeout", 408, true;
    /// `auth` on a connection that has a session.
    AlreadyAuthenticated = 708, "already-authenticated", 400, false;
    /// This way of presenting a token is not accepted here.
    CredentialNotAccepted = 709, "credential-not-accepted", 401, false;
    /// The user has another session, and the token says that this is one too many.
    DuplicateRefused = 710, "duplicate-refused", 409, false;
    /// The ticket does not open this door: it has ended, was used, or was made for something else.
    TicketRefused = 711, "ticket-refused", 401, false;

    /// No such route.
    NotFound = 800, "not-found", 404, false;
    /// The route exists, not for this method.
    MethodNotAllowed = 801, "method-not-allowed", 405, false;
    /// The room does not exist and the token may not create it.
    RoomUnknown = 802, "room-unknown", 404, true;
    /// Join the room first.
    NotJoined = 803, "not-joined", 409, false;
    /// The session is a member or watcher of the room already.
    AlreadyJoined = 804, "already-joined", 409, false;
    /// The addressee is not a member of the room.
    PeerUnknown = 805, "peer-unknown", 404, false;
    /// The server does not know this session.
    SessionUnknown = 806, "session-unknown", 404, false;

    /// Too many requests, moves or bytes; wait `retry_after`.
    RateLimited = 900, "rate-limited", 429, true;
    /// The room has as many members as it may.
    RoomFull = 901, "room-full", 429, true;
    /// The session is in as many rooms as it may, or the subscription names too many.
    TooManyRooms = 902, "too-many-rooms", 429, false;
    /// The address or the user has as many connections as it may.
    TooManyConnections = 903, "too-many-connections", 429, true;
    /// The server cannot take this on now.
    Overloaded = 904, "overloaded", 503, true;
    /// The server is going away.
    ShuttingDown = 905, "shutting-down", 503, true;
    /// A bug in the server.
    Internal = 999, "internal", 500, true;
}

impl ErrorCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// After how many milliseconds to try again when nobody knows it better; `None` where waiting
    /// does not help.
    pub fn retry_after_ms(self) -> Option<u64> {
        match self {
            Self::RoomFull => Some(2000),
            Self::TooManyConnections | Self::Overloaded | Self::ShuttingDown | Self::Internal => Some(1000),
            _ => None,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

impl std::error::Error for ErrorCode {}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.number())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Newer servers may have newer codes; their hundred tells what to do about them.
        let number = u16::deserialize(deserializer)?;
        Self::from_number(number)
            .or(match number {
                600..=699 => Some(Self::Malformed),
                700..=799 => Some(Self::Forbidden),
                800..=899 => Some(Self::NotFound),
                900..=999 => Some(Self::Internal),
                _ => None,
            })
            .ok_or_else(|| serde::de::Error::custom("not an error code"))
    }
}

/// What a client does after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reconnect and resume the session.
    Resume,
    /// Get a new token, then resume.
    Refresh,
    /// Connect anew and join the rooms again.
    Rejoin,
    /// Come back after a while.
    Wait,
    /// Do not come back by yourself.
    Stop,
}

impl Action {
    /// The word in the spec's table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Refresh => "refresh",
            Self::Rejoin => "rejoin",
            Self::Wait => "wait",
            Self::Stop => "stop",
        }
    }

    /// What the class of a close code asks for; unknown codes of 4000-4999 follow their class,
    /// all others (1006 among them) are a lost socket.
    pub fn of_number(number: u16) -> Self {
        match number {
            1000 | 1002 | 1007 => Self::Stop,
            4100..=4199 => Self::Refresh,
            4200..=4299 => Self::Rejoin,
            4300..=4399 => Self::Wait,
            4400..=4999 => Self::Stop,
            _ => Self::Resume,
        }
    }
}

macro_rules! close_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a WebSocket was closed (RFC 6455 section 7.4); tells a client what to do next.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum CloseCode { $($(#[doc = $doc])* $name = $code,)* }

        impl CloseCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name that begins the close reason.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim(),)* }
            }

            /// The code with this number, if there is one.
            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

close_codes! {
    /// The client said goodbye; its session has ended.
    Bye = 1000, "bye";
    /// The page or the server goes away.
    GoingAway = 1001, "going-away";
    /// Frames that break RFC 6455.
    ProtocolError = 1002, "protocol-error";
    /// Text that is not UTF-8.
    BadText = 1007, "bad-text";
    /// The server restarts.
    Shutdown = 4000, "shutdown";
    /// Native pings went unanswered.
    NoPong = 4001, "no-pong";
    /// More was waiting for this client than its budget allows.
    SlowConsumer = 4002, "slow-consumer";
    /// The client fell too far behind a log.
    Lagged = 4003, "lagged";
    /// The token expired and was not refreshed.
    TokenExpired = 4100, "token-expired";
    /// The session to be resumed is not known.
    SessionUnknown = 4200, "session-unknown";
    /// The session was given up to make room.
    Evicted = 4201, "evicted";
    /// The node takes no more on.
    Overloaded = 4300, "overloaded";
    /// A ceiling on connections is reached.
    TooManyConnections = 4301, "too-many-connections";
    /// Kept sending above its rate.
    Rate = 4302, "rate";
    /// No `auth` within the deadline.
    AuthTimeout = 4303, "auth-timeout";
    /// The first message was not `auth` or `resume`.
    BadRequest = 4400, "bad-request";
    /// The token is not accepted.
    BadToken = 4401, "bad-token";
    /// Not allowed, or kicked.
    Forbidden = 4403, "forbidden";
    /// Another session of the user exists and the token says reject.
    DuplicateRefused = 4409, "duplicate-refused";
    /// A newer socket took this session over.
    Replaced = 4410, "replaced";
    /// A frame larger than the limit.
    TooBig = 4413, "too-big";
}

impl CloseCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// What a client does after it.
    pub fn action(self) -> Action {
        Action::of_number(self.number())
    }

    /// The close that follows when a connection is refused with this error.
    pub fn of_error(error: ErrorCode) -> Self {
        match error {
            ErrorCode::TokenExpired => Self::TokenExpired,
            ErrorCode::TokenMissing
            | ErrorCode::TokenInvalid
            | ErrorCode::CredentialNotAccepted
            | ErrorCode::TwoCredentials
            | ErrorCode::TicketRefused => Self::BadToken,
            ErrorCode::DuplicateRefused => Self::DuplicateRefused,
            ErrorCode::AuthTimeout => Self::AuthTimeout,
            ErrorCode::SessionUnknown => Self::SessionUnknown,
            ErrorCode::TooManyConnections => Self::TooManyConnections,
            ErrorCode::RateLimited => Self::Rate,
            ErrorCode::Overloaded | ErrorCode::Internal => Self::Overloaded,
            ErrorCode::ShuttingDown => Self::Shutdown,
            ErrorCode::TooBig => Self::TooBig,
            ErrorCode::OriginRefused | ErrorCode::Forbidden | ErrorCode::ReservedName => Self::Forbidden,
            _ => Self::BadRequest,
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}
