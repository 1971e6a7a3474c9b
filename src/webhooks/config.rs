//! Webhooks as they are configured: where events go, which, how long they may wait. A wrong entry names its key.

use std::path::PathBuf;

use http::Uri;
use rallypoint_protocol::RoomName;
use serde::Deserialize;
use thiserror::Error;

use super::sign::SigningKey;
use crate::{
    auth::{Pattern, Secret, keys::KeyError, pattern::BadPattern},
    outbound::OutboundError,
};

/// What a receiver may be told of, as the configuration and the wire call it.
pub const EVENTS: [&str; 3] = ["peer-joined", "peer-left", "room-empty"];

/// One entry of `[[webhooks]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where events are sent.
    pub url: String,
    /// What logs and metrics call it; the host of the address when left out.
    pub name: Option<String>,
    /// What deliveries are signed with.
    pub secret: Option<Secret>,
    /// A file with that secret.
    pub secret_file: Option<PathBuf>,
    /// Some of [`EVENTS`]; all of them when left out.
    #[serde(default = "all_events")]
    pub events: Vec<String>,
    /// Patterns of rooms; all rooms when left out.
    #[serde(default = "all_rooms")]
    pub rooms: Vec<String>,
    /// Events that may wait.
    #[serde(default = "queue_events")]
    pub queue_events: usize,
    /// Bytes that they may have together.
    #[serde(default = "queue_bytes")]
    pub queue_bytes: usize,
    /// Deliveries that may be on their way at a time.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
    /// From a failure to the next try, in milliseconds; twice as long after each further one.
    #[serde(default = "retry_ms")]
    pub retry_ms: u64,
    /// The longest pause between two tries, in milliseconds.
    #[serde(default = "retry_max_ms")]
    pub retry_max_ms: u64,
    /// How old an event may become while it is tried, in milliseconds.
    #[serde(default = "give_up_ms")]
    pub give_up_ms: u64,
}

fn all_events() -> Vec<String> {
    EVENTS.map(str::to_owned).into()
}

fn all_rooms() -> Vec<String> {
    vec!["*".to_owned()]
}

fn queue_events() -> usize {
    10_000
}

fn queue_bytes() -> usize {
    16 * 1024 * 1024
}

fn concurrency() -> usize {
    8
}

fn retry_ms() -> u64 {
    1000
}

fn retry_max_ms() -> u64 {
    60_000
}

fn give_up_ms() -> u64 {
    86_400_000
}

impl WebhookConfig {
    /// The numbers of an entry and what they may be.
    pub const RANGES: &'static [(&'static str, std::ops::RangeInclusive<u64>)] = &[
        ("queue_events", 1..=1_000_000),
        ("queue_bytes", 4096..=1_073_741_824),
        ("concurrency", 1..=256),
        ("retry_ms", 10..=3_600_000),
        ("retry_max_ms", 10..=3_600_000),
        ("give_up_ms", 1000..=604_800_000),
    ];

    /// Whether what is sent can be read on the way.
    pub(crate) fn is_in_the_clear(&self) -> bool {
        self.url.starts_with("http:")
    }

    /// What is wrong with the entry: with which key of it, and why.
    pub(crate) fn problem(&self) -> Option<(&'static str, WebhookError)> {
        Target::new(self).err().map(|error| (error.key(), error))
    }

    /// What it is called, if its address can be read.
    pub(crate) fn called(&self) -> Option<String> {
        self.name.clone().or_else(|| Some(self.url.parse::<Uri>().ok()?.authority()?.to_string()))
    }
}

/// Why a webhook cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum WebhookError {
    #[error("is no address; write \"https://game.example/hooks/rallypoint\"")]
    NoAddress,
    #[error("must not hold a user or a password; deliveries are signed instead")]
    Credentials,
    #[error("1 to 64 letters, digits and . : _ - are possible")]
    BadName,
    #[error("`secret` or `secret_file` is missing; it is \"whsec_\" and the output of `openssl rand -base64 32`")]
    NoSecret,
    #[error("is \"whsec_\" and 24 to 64 bytes in base64; `openssl rand -base64 32` makes them")]
    BadSecret,
    #[error("{0}")]
    Secret(KeyError),
    #[error("`{0}` is not possible; allowed is peer-joined or peer-left or room-empty")]
    NoEvent(String),
    #[error("names at least one")]
    Nothing(&'static str),
    #[error("{0}")]
    Rooms(#[from] BadPattern),
    #[error("names beginning user/ are not rooms")]
    Reserved,
    #[error("must be at least `retry_ms`")]
    Pauses,
    #[error("{0}")]
    Outbound(#[from] OutboundError),
}

impl WebhookError {
    fn key(&self) -> &'static str {
        match self {
            Self::NoAddress | Self::Credentials | Self::Outbound(_) => "url",
            Self::BadName => "name",
            Self::NoSecret | Self::BadSecret | Self::Secret(_) => "secret",
            Self::NoEvent(_) => "events",
            Self::Nothing(key) => key,
            Self::Rooms(_) | Self::Reserved => "rooms",
            Self::Pauses => "retry_max_ms",
        }
    }
}

/// Where a hook's events go, and which they are.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) uri: Uri,
    pub(super) key: SigningKey,
    events: Vec<&'static str>,
    rooms: Vec<Pattern>,
}

impl Target {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, WebhookError> {
        let uri: Uri = config.url.parse().map_err(|_| WebhookError::NoAddress)?;
        let authority = uri.authority().ok_or(WebhookError::NoAddress)?;
        if !matches!(uri.scheme_str(), Some("https" | "http")) || authority.host().is_empty() {
            return Err(WebhookError::NoAddress);
        }
        if authority.as_str().contains('@') {
            return Err(WebhookError::Credentials);
        }
        let name = config.called().ok_or(WebhookError::NoAddress)?;
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b".:_-[]".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(in_name) {
            return Err(WebhookError::BadName);
        }
        let key = SigningKey::new(config.secret.as_ref(), config.secret_file.as_deref())?;
        let event = |name: &String| {
            let known = EVENTS.into_iter().find(|known| known == name);
            known.ok_or_else(|| WebhookError::NoEvent(name.escape_debug().to_string()))
        };
        let events = config.events.iter().map(event).collect::<Result<Vec<_>, _>>()?;
        let rooms = config.rooms.iter().map(|text| Pattern::new(text)).collect::<Result<Vec<_>, _>>()?;
        if let Some(key) = [("events", events.is_empty()), ("rooms", rooms.is_empty())].iter().find(|(_, none)| *none) {
            return Err(WebhookError::Nothing(key.0));
        }
        if rooms.iter().any(Pattern::is_reserved) {
            return Err(WebhookError::Reserved);
        }
        if config.retry_max_ms < config.retry_ms {
            return Err(WebhookError::Pauses);
        }
        Ok(Self { name, uri, key, events, rooms })
    }

    pub(super) fn wants(&self, event: &str, room: &RoomName) -> bool {
        self.events.contains(&event) && self.rooms.iter().any(|pattern| pattern.covers_room(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut WebhookConfig)) -> WebhookConfig {
        let text = "url = 'https://game.example/hook'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'";
        let mut config: WebhookConfig = toml::from_str(text).unwrap();
        change(&mut config);
        config
    }

    #[test]
    fn a_hook_wants_what_it_was_asked_to() {
        let all = Target::new(&config(|_| {})).unwrap();
        let some = Target::new(&config(|config| {
            config.events = vec!["room-empty".to_owned()];
            config.rooms = vec!["match/*".to_owned(), "lobby".to_owned()];
        }))
        .unwrap();
        for (event, room, wanted) in [
            ("room-empty", "match/7", true),
            ("room-empty", "lobby", true),
            ("room-empty", "lobby/1", false),
            ("peer-left", "match/7", false),
        ] {
            let room = RoomName::new(room).unwrap();
            assert!(all.wants(event, &room));
            assert_eq!(some.wants(event, &room), wanted, "{event} {room}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        type Change<'a> = &'a dyn Fn(&mut WebhookConfig);
        let table: [(Change<'_>, Option<&str>); 15] = [
            (&|_| {}, None),
            (&|config| config.url = "http://receiver:8080/".into(), None),
            (&|config| config.url = "https://[::1]:8080/".into(), None),
            (&|config| config.url = "game.example/hook".into(), Some("url")),
            (&|config| config.url = "ftp://game.example/hook".into(), Some("url")),
            (&|config| config.url = "https://me:secret@game.example/hook".into(), Some("url")),
            (&|config| config.name = Some("two words".into()), Some("name")),
            (&|config| config.secret = None, Some("secret")),
            (&|config| config.secret = Some(Secret("whsec_c2hvcnQ=".into())), Some("secret")),
            (&|config| config.secret_file = Some("nowhere".into()), Some("secret")),
            (&|config| config.events = vec!["peer-lost".into()], Some("events")),
            (&|config| config.events.clear(), Some("events")),
            (&|config| config.rooms = vec!["a*".into()], Some("rooms")),
            (&|config| config.rooms = vec!["user/*".into()], Some("rooms")),
            (&|config| config.retry_max_ms = 999, Some("retry_max_ms")),
        ];
        for (n, (change, key)) in table.into_iter().enumerate() {
            let problem = config(change).problem();
            assert_eq!(problem.as_ref().map(|(key, _)| *key), key, "{n}: {problem:?}");
            assert!(!format!("{problem:?}").contains("c2hvcnQ"), "{problem:?}");
        }
    }
}
