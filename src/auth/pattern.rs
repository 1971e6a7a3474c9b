//! Which names a grant or a room rule speaks of: one name, a branch, or all. Grants and the
//! configuration both use it.

use std::fmt;

use rallypoint_protocol::{
    RoomName, UserName,
    id::{NAME_MAX, USER_PREFIX},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An exact name, a branch (`match/*`: everything below `match/`, at any depth, but not `match`
/// itself) or `*`.
///
/// Asked about a room, no pattern ever matches the reserved `user/…`, however it is written.
#[derive(Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This name only.
    Exact(Box<str>),
    /// Every name that begins with this text, which ends in `/`.
    Below(Box<str>),
    /// Every name.
    All,
}

/// The text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern is a name of at most 128 bytes of A-Z a-z 0-9 . _ ~ : @ / -, or ends in /*, or is *")]
pub struct BadPattern;

impl Pattern {
    /// Reads a pattern of at most 128 bytes.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        if text == "*" {
            return Ok(Self::All);
        }
        let branch = text.strip_suffix("/*");
        if text.len() > NAME_MAX || RoomName::new(branch.unwrap_or(text)).is_err() {
            return Err(BadPattern);
        }
        Ok(match branch {
            Some(_) => Self::Below(text[..text.len() - 1].into()),
            None => Self::Exact(text.into()),
        })
    }

    /// Whether the pattern covers this room; never true of a user's log.
    pub fn covers_room(&self, room: &RoomName) -> bool {
        !room.is_reserved() && self.covers(room.as_str())
    }

    /// Whether the pattern covers this user, as an addressee of notifications.
    pub fn covers_user(&self, user: &UserName) -> bool {
        self.covers(user.as_str())
    }

    /// Whether it covers every name that the other one covers.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::All) | (Self::Exact(_), Self::Below(_)) => false,
            (Self::Exact(one), Self::Exact(other)) => one == other,
            (Self::Below(branch), Self::Exact(other) | Self::Below(other)) => other.starts_with(&**branch),
        }
    }

    /// Whether the pattern can only mean users' logs, which makes it useless for rooms.
    pub fn is_reserved(&self) -> bool {
        matches!(self, Self::Exact(text) | Self::Below(text) if text.starts_with(USER_PREFIX))
    }

    fn covers(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            // A valid name has no empty segment, so something always follows the slash.
            Self::Below(prefix) => name.starts_with(&**prefix),
            Self::All => true,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::All => f.write_str("*"),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_say() {
        let table = [
            ("lobby", "lobby", true),
            ("lobby", "lobby/1", false),
            ("match/*", "match/7", true),
            ("match/*", "match/7/chat", true),
            ("match/*", "match", false),
            ("match/*", "matches/7", false),
            ("a/b/*", "a/b/c", true),
            ("a/b/*", "a/c", false),
            ("*", "anything/at/all", true),
            ("*", "user/ada", false),
            ("user/*", "user/ada", false),
            ("user/ada", "user/ada", false),
            ("users/*", "users/ada", true),
        ];
        for (pattern, room, expected) in table {
            let pattern = Pattern::new(pattern).unwrap();
            assert_eq!(pattern.covers_room(&RoomName::new(room).unwrap()), expected, "{pattern} {room}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for bad in ["", "/*", "a*", "a/*/b", "*/a", "**", "a//*", "a b", "../*", "a/ *", "a\n", &"x".repeat(129)] {
            assert_eq!(Pattern::new(bad), Err(BadPattern), "{bad}");
        }
        assert!(Pattern::new(&format!("{}/*", "x".repeat(127))).is_err());
        assert!(Pattern::new(&format!("{}/*", "x".repeat(126))).is_ok());
    }

    #[test]
    fn a_pattern_reads_back_as_it_was_written() {
        for text in ["*", "lobby", "match/*"] {
            assert_eq!(Pattern::new(text).unwrap().to_string(), text);
        }
        assert!(Pattern::new("user/*").unwrap().is_reserved());
        assert!(!Pattern::new("users/*").unwrap().is_reserved());
    }
}
