//! Verbs and the one table that says which verb a message or route needs.

use std::fmt;

/// What a token may allow in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Verb {
    /// Join a room that has no members yet.
    Create = 1,
    /// Become a member.
    Join = 1 << 1,
    /// Follow the events and the state without being a member.
    Watch = 1 << 2,
    /// Exchange offers, answers and candidates.
    Signal = 1 << 3,
    /// Send moves.
    Move = 1 << 4,
    /// Say something; typing is part of it.
    Chat = 1 << 5,
    /// Publish application events.
    Publish = 1 << 6,
    /// Read the roster page by page.
    Presence = 1 << 7,
    /// Read events that are older than the head.
    History = 1 << 8,
    /// Remove a member.
    Kick = 1 << 9,
}

impl Verb {
    /// Every verb, in the order of the spec.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Join,
        Self::Watch,
        Self::Signal,
        Self::Move,
        Self::Chat,
        Self::Publish,
        Self::Presence,
        Self::History,
        Self::Kick,
    ];

    /// The verb as a token spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Join => "join",
            Self::Watch => "watch",
            Self::Signal => "signal",
            Self::Move => "move",
            Self::Chat => "chat",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
            Self::Kick => "kick",
        }
    }

    /// The verb with this spelling, if there is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == text)
    }
}

/// A set of verbs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Verbs(u16);

impl Verbs {
    /// No verb.
    pub const NONE: Self = Self(0);

    /// The set of these verbs.
    pub fn of(verbs: &[Verb]) -> Self {
        verbs.iter().fold(Self::NONE, |set, &verb| set.with(verb))
    }

    /// This set and one verb more.
    #[must_use]
    pub fn with(self, verb: Verb) -> Self {
        Self(self.0 | verb as u16)
    }

    /// What either set holds.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the verb is in the set.
    pub fn has(self, verb: Verb) -> bool {
        self.0 & verb as u16 != 0
    }

    /// The verbs in the set, in the order of the spec.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |&verb| self.has(verb))
    }
}

impl fmt::Debug for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Verb::name)).finish()
    }
}

/// The usual bundles of verbs; a role has no power of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Joins, calls, plays and chats.
    Player,
    /// Watches.
    Spectator,
    /// A player who may also publish and kick.
    Host,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Player, Self::Spectator, Self::Host];

    /// The label in the token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Player => "player",
            Self::Spectator => "spectator",
            Self::Host => "host",
        }
    }

    /// The role with this label, if there is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == text)
    }

    /// The verbs that `rallypoint token --role` writes for it.
    pub fn verbs(self) -> Verbs {
        use Verb::{Chat, Create, History, Join, Kick, Move, Presence, Publish, Signal, Watch};
        let player = Verbs::of(&[Create, Join, Watch, Signal, Move, Chat, Presence, History]);
        match self {
            Self::Player => player,
            Self::Spectator => Verbs::of(&[Watch, History]),
            Self::Host => player.with(Publish).with(Kick),
        }
    }
}

/// One row of the rights table: a message or route and the verb it needs in the room it names.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The message type, or `METHOD /route`.
    pub name: &'static str,
    /// The verb it needs, if any.
    pub verb: Option<Verb>,
    /// Whether only a member may send it.
    pub member: bool,
}

const fn rule(name: &'static str, verb: Option<Verb>, member: bool) -> Rule {
    Rule { name, verb, member }
}

/// The rights table. The session and the HTTP routes look up here, and nowhere else, what a
/// request needs; the tests and the table in `protocol/README.md` are checked against it.
pub const RULES: &[Rule] = &[
    rule("auth", None, false),
    rule("resume", None, false),
    rule("refresh", None, false),
    rule("ping", None, false),
    rule("ack", None, false),
    rule("join", Some(Verb::Join), false),
    rule("leave", None, true),
    rule("offer", Some(Verb::Signal), true),
    rule("answer", Some(Verb::Signal), true),
    rule("ice-candidate", Some(Verb::Signal), true),
    rule("message", Some(Verb::Chat), true),
    rule("typing", Some(Verb::Chat), true),
    rule("publish", Some(Verb::Publish), true),
    rule("update", Some(Verb::Join), true),
    rule("members", Some(Verb::Presence), true),
    rule("move", Some(Verb::Move), true),
    rule("watch", Some(Verb::Watch), false),
    rule("unwatch", None, false),
    rule("GET /v1/events", Some(Verb::Watch), false),
    rule("GET /v1/poll", Some(Verb::Watch), false),
    rule("POST /v1/rooms/{room}/events", Some(Verb::Publish), false),
    rule("GET /v1/rooms/{room}", Some(Verb::Watch), false),
    rule("GET /v1/rooms/{room}/members", Some(Verb::Presence), false),
    rule("GET /v1/rooms/{room}/trace", None, false),
    rule("DELETE /v1/rooms/{room}/members/{peer}", Some(Verb::Kick), false),
    rule("GET /v1/ice-servers", Some(Verb::Signal), false),
];

/// The row for a message type or route.
///
/// # Panics
/// When the table has no such row: every caller names a literal of the table.
pub fn rule_of(name: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.name == name).expect("the rights table names every message and route")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_read_back_what_they_write() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.name()), Some(verb));
        }
        assert_eq!(Verb::parse("fly"), None);
    }

    #[test]
    fn a_spectator_only_reads() {
        let names: Vec<_> = Role::Spectator.verbs().iter().map(Verb::name).collect();
        assert_eq!(names, ["watch", "history"]);
        assert!(Role::Host.verbs().has(Verb::Kick));
        assert!(!Role::Player.verbs().has(Verb::Publish));
    }
}
