//! The audit log: who came, went, was refused and did something to others, as JSON lines for those who keep such records.
//!
//! A line is made of what is named here and of nothing else: no token, no payload, no query. Whoever tells one only puts it
//! into a bounded buffer; a thread of its own writes it.

mod writer;

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use dashmap::DashMap;
use http::Method;
use parking_lot::Mutex;
use rallypoint_protocol::{
    ErrorCode, Kind, PeerId, Position, RoomName, UserName,
    event::{LeaveReason, Millis},
};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::writer::{Sink, Writer};
use crate::{
    log::{self, Verdict},
    metrics::Metrics,
};

/// The section `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Where lines go.
    pub to: AuditTo,
    /// The file, for [`AuditTo::File`].
    pub file: Option<PathBuf>,
    /// Refusals with the same code that are written per second.
    pub refusals_per_second: u64,
    /// All other lines that are written per second.
    pub lines_per_second: u64,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { to: AuditTo::Off, file: None, refusals_per_second: 20, lines_per_second: 2000 }
    }
}

/// Where lines of the audit log go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditTo {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, at its end.
    File,
}

impl AuditTo {
    /// What a configuration may name.
    pub const NAMES: &'static [&'static str] = &["off", "stdout", "stderr", "file"];
}

/// Why there can be no audit log.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum AuditError {
    #[error("is missing: `to = \"file\"` needs it")]
    NoFile,
    #[error("is used with `to = \"file\"` only")]
    UselessFile,
    #[error("the folder of {file} is not there", file = file.display())]
    NoFolder { file: PathBuf },
    #[error("cannot open {file}: {error}", file = file.display())]
    Unwritable { file: PathBuf, error: io::Error },
    #[error("cannot begin: {0}")]
    Unstarted(io::Error),
}

impl AuditConfig {
    /// What is wrong with `file`.
    pub(crate) fn problem(&self) -> Option<AuditError> {
        match (&self.file, self.to) {
            (None, AuditTo::File) => Some(AuditError::NoFile),
            (Some(_), to) if to != AuditTo::File => Some(AuditError::UselessFile),
            (Some(file), _) => {
                let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
                let missing = folder.is_some_and(|folder| !folder.is_dir());
                missing.then(|| AuditError::NoFolder { file: file.clone() })
            }
            (None, _) => None,
        }
    }
}

/// Who asks for something: made once for a request, and kept with the WebSocket that comes of it.
#[derive(Debug)]
pub struct Caller {
    address: Option<IpAddr>,
    origin: Option<Box<str>>,
    method: &'static str,
    route: &'static str,
    /// Known once a token was good.
    user: OnceLock<UserName>,
}

/// Characters of an Origin that are told.
const ORIGIN_SHOWN: usize = 100;

impl Caller {
    /// `route` is how the specification calls it, without what stands in place of its names.
    pub(crate) fn new(address: Option<IpAddr>, origin: Option<&str>, method: &Method, route: &'static str) -> Self {
        let known = [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS, Method::HEAD, Method::PUT];
        // Somebody may call a method whatever they like.
        let method = match known.iter().position(|known| known == method) {
            Some(at) => ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "PUT"][at],
            None => "another method",
        };
        Self { address, origin: origin.map(shown), method, route, user: OnceLock::new() }
    }

    /// The token was good, and is this user's.
    pub(crate) fn is(&self, user: &UserName) {
        _ = self.user.set(user.clone());
    }

    fn who(&self) -> Who<'_> {
        Who { user: self.user.get(), address: self.address, origin: self.origin.as_deref() }
    }
}

/// An Origin as a browser writes it has a scheme, a host and a port; whatever else somebody writes is not told.
fn shown(origin: &str) -> Box<str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:/[]".contains(&byte);
    let is_origin = origin.split_once("://").is_some_and(|(_, host)| !host.contains('/'));
    let tells = origin == "null" || (is_origin && origin.len() <= ORIGIN_SHOWN && origin.bytes().all(is_plain));
    if tells { origin.into() } else { "unreadable".into() }
}

/// What happened. A session is called by its peer, under which everybody else knows it.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum What<'a> {
    SessionOpened {
        peer: PeerId,
    },
    /// Its socket is gone, and it may come back.
    SessionLost {
        peer: PeerId,
        code: u16,
    },
    SessionResumed {
        peer: PeerId,
        outcome: &'static str,
    },
    SessionEnded {
        peer: PeerId,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        reason: LeaveReason,
    },
    PeerJoined {
        room: &'a RoomName,
        peer: PeerId,
    },
    PeerLeft {
        room: &'a RoomName,
        peer: PeerId,
        reason: LeaveReason,
    },
    MemberKicked {
        room: &'a RoomName,
        peer: PeerId,
    },
    UserKicked {
        to: &'a UserName,
        #[serde(skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
        closed: usize,
    },
    Published {
        room: &'a RoomName,
        kind: &'a Kind,
        position: Position,
    },
    Notified {
        to: &'a UserName,
        sent: usize,
        position: Position,
    },
    Refused {
        code: ErrorCode,
        name: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        route: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a RoomName>,
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<PeerId>,
    },
    /// Lines like the next one that were above their rate.
    LeftOut {
        lines: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<ErrorCode>,
    },
    /// Lines that the buffer had no place for.
    Dropped {
        dropped: u64,
    },
}

/// Who did it, as far as that is known.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Who<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a UserName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Millis,
    #[serde(flatten)]
    what: What<'a>,
    #[serde(flatten)]
    who: Who<'a>,
}

fn written(time: Millis, what: What<'_>, who: Who<'_>) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Line { time, what, who }).expect("our own values always have a JSON form");
    line.push(b'\n');
    line
}

/// The audit log of a node.
pub struct Audit {
    writer: Writer,
    metrics: Arc<Metrics>,
    /// From whom the sessions are that are open or may come back.
    callers: DashMap<PeerId, Arc<Caller>>,
    /// Rates, by the code of a refusal; 0 is of all other lines.
    rates: Mutex<FxHashMap<u16, log::Kind>>,
    refusals_per_second: u64,
    lines_per_second: u64,
}

impl Audit {
    /// From the configuration; nothing where it is off.
    pub(crate) fn new(config: &AuditConfig, metrics: &Arc<Metrics>) -> Result<Option<Arc<Self>>, AuditError> {
        if let Some(problem) = config.problem() {
            return Err(problem);
        }
        let Some(sink) = Sink::open(config)? else { return Ok(None) };
        let writer = Writer::start(sink, metrics.clone()).map_err(AuditError::Unstarted)?;
        Ok(Some(Arc::new(Self {
            writer,
            metrics: metrics.clone(),
            callers: DashMap::new(),
            rates: Mutex::default(),
            refusals_per_second: config.refusals_per_second,
            lines_per_second: config.lines_per_second,
        })))
    }

    /// Tells of something that a request did.
    pub(crate) fn tell(&self, now: Millis, what: What<'_>, caller: &Caller) {
        self.write(now, what, caller.who());
    }

    /// Tells of a session that is new or has a new socket, and keeps from whom it is.
    pub(crate) fn keep(
        &self,
        now: Millis,
        what: What<'_>,
        peer: PeerId,
        user: &UserName,
        caller: Option<&Arc<Caller>>,
    ) {
        if let Some(caller) = caller {
            caller.is(user);
            self.callers.insert(peer, caller.clone());
        }
        self.of_peer(now, what, peer, Some(user));
    }

    /// Tells of something that has to do with a session.
    pub(crate) fn of_peer(&self, now: Millis, what: What<'_>, peer: PeerId, user: Option<&UserName>) {
        let caller = self.callers.get(&peer).map(|caller| caller.value().clone());
        let who = caller.as_ref().map(|caller| caller.who()).unwrap_or_default();
        self.write(now, what, Who { user: user.or(who.user), ..who });
    }

    /// A session is over, and nothing will be told of it any more.
    pub(crate) fn forget(&self, peer: PeerId) {
        self.callers.remove(&peer);
    }

    /// Tells that a request was refused.
    pub(crate) fn refused(&self, now: Millis, code: ErrorCode, caller: &Caller) {
        let route = Some(format!("{} {}", caller.method, caller.route));
        self.tell(now, What::Refused { code, name: code.name(), route, message: None, room: None, peer: None }, caller);
    }

    /// Tells that a connection was refused before it could say anything.
    pub(crate) fn turned_away(&self, now: Millis, code: ErrorCode, address: IpAddr) {
        let what = What::Refused { code, name: code.name(), route: None, message: None, room: None, peer: None };
        self.write(now, what, Who { address: Some(address.to_canonical()), ..Who::default() });
    }

    fn write(&self, now: Millis, what: What<'_>, who: Who<'_>) {
        let (code, rate) = match &what {
            What::Refused { code, .. } => (Some(*code), self.refusals_per_second),
            _ => (None, self.lines_per_second),
        };
        let key = code.map_or(0, ErrorCode::number);
        let verdict = self.rates.lock().entry(key).or_default().judge(now.whole() / 1000, rate);
        match verdict {
            Verdict::LeaveOut => return self.metrics.audit("left-out", 1),
            Verdict::WriteAfter(lines) => self.put(written(now, What::LeftOut { lines, code }, Who::default())),
            Verdict::Write => {}
        }
        self.put(written(now, what, who));
    }

    fn put(&self, line: Vec<u8>) {
        if !self.writer.put(&line) {
            self.metrics.audit("dropped", 1);
        }
    }

    /// The file may have been moved away: lines go on into one of its name.
    pub(crate) fn reopen(&self) {
        self.writer.reopen();
    }

    /// Writes what is left, and ends. May wait for a moment.
    pub(crate) fn close(&self, now: Millis) {
        let rates = std::mem::take(&mut *self.rates.lock());
        for (code, rate) in rates.into_iter().filter(|(_, rate)| rate.left_out() > 0) {
            let what = What::LeftOut { lines: rate.left_out(), code: ErrorCode::from_number(code) };
            self.put(written(now, what, Who::default()));
        }
        self.writer.close();
    }
}

#[cfg(test)]
mod tests;
