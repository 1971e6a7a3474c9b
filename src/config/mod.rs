//! Everything that can be set, with its default. `main` loads it once, from a file, the
//! environment and the flags; every other module is handed its part.
//!
//! Sections that belong to one module are defined there ([`AuthConfig`], [`RoomSettings`]);
//! `rallypoint.example.toml` explains every key, and a test holds it to the defaults here.

mod limits;
mod load;
mod schema;
mod source;

use std::net::SocketAddr;

use rallypoint_protocol::RoomName;
use serde::Deserialize;

pub use self::{
    limits::{Limits, UserSettings},
    load::{ConfigError, Overrides, Problem, environment, load},
};
pub use crate::{
    audit::{AuditConfig, AuditTo},
    auth::{AuthConfig, KeyConfig, Pattern},
    broker::{Engine, Prefix},
    ice::IceConfig,
    proxies::ForwardedHeader,
    room::settings::RoomSettings,
    tls::TlsConfig,
    webhooks::WebhookConfig,
};

/// The configuration of a server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// For trying things out: the development secret opens the door, `/dev/token` exists.
    pub dev: bool,
    /// Allows `dev` on an address that others can reach.
    pub dev_insecure: bool,
    /// A second address for `/metrics` without a token; loopback only.
    pub metrics_listen: Option<SocketAddr>,
    /// Whether the demo pages are served at `/`.
    pub pages: bool,
    /// Where the logs of rooms and users are.
    pub engine: Engine,
    /// What keys and channels of the engine begin with.
    pub engine_prefix: Prefix,
    /// The certificate of the port.
    pub tls: TlsConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Where it is written who came, went and was refused.
    pub audit: AuditConfig,
    /// Web pages that may talk to this server, see [`OriginRules`](crate::auth::OriginRules).
    pub origins: Vec<String>,
    /// Proxies that may say whom they speak for: addresses and networks, see [`Proxies`](crate::proxies::Proxies).
    pub trusted_proxies: Vec<String>,
    /// Where they say it.
    pub forwarded_header: ForwardedHeader,
    /// Credentials and keys.
    pub auth: AuthConfig,
    /// Limits of the node, of a connection and of a session.
    pub limits: Limits,
    /// Settings of every room that no rule covers.
    pub room: RoomSettings,
    /// Settings of some rooms; the first rule that covers a room is its own.
    pub rooms: Vec<RoomRule>,
    /// What is kept of users' notifications.
    pub user: UserSettings,
    /// STUN and TURN servers for clients.
    pub ice: Vec<IceConfig>,
    /// Who is told of joins and leaves.
    pub webhooks: Vec<WebhookConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            dev: false,
            dev_insecure: false,
            metrics_listen: None,
            pages: true,
            engine: Engine::default(),
            engine_prefix: Prefix::default(),
            tls: TlsConfig::default(),
            log: LogConfig::default(),
            audit: AuditConfig::default(),
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            auth: AuthConfig::default(),
            limits: Limits::default(),
            room: RoomSettings::default(),
            rooms: Vec::new(),
            user: UserSettings::default(),
            ice: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}

impl Config {
    /// The settings of a room: those of the first `[[rooms]]` rule that covers it, else `[room]`.
    pub fn settings_for(&self, room: &RoomName) -> RoomSettings {
        self.rooms.iter().find(|rule| rule.pattern.covers_room(room)).map_or(self.room, |rule| rule.settings)
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Which messages, as `tracing` filters them: `info`, `warn,rallypoint=debug`.
    pub filter: String,
    /// How often one kind of line is written per second; guests must not be able to fill a disk.
    pub lines_per_second: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned(), lines_per_second: 20 }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// One `[[rooms]]` rule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RoomRule {
    /// The rooms, written `match` in the file.
    #[serde(rename = "match")]
    pub pattern: Pattern,
    /// Their settings: `[room]` with the rule's own keys put in.
    pub settings: RoomSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_covers_a_room_wins() {
        let rule = |pattern: &str, members| RoomRule {
            pattern: Pattern::new(pattern).unwrap(),
            settings: RoomSettings { members, ..RoomSettings::default() },
        };
        let rules = vec![rule("match/7", 7), rule("match/*", 8), rule("*", 9)];
        let config = Config { rooms: rules, ..Config::default() };
        for (room, members) in [("match/7", 7), ("match/8", 8), ("lobby", 9), ("user/ada", 1000)] {
            assert_eq!(config.settings_for(&RoomName::new(room).unwrap()).members, members, "{room}");
        }
    }
}
