//! Names: rooms, users, event kinds and peer ids, checked once where they enter.
//!
//! A value of one of these types is always valid, so nothing behind the door checks again.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::code::ErrorCode;

/// Longest room or user name, in bytes.
pub const NAME_MAX: usize = 128;
/// Longest event kind, in bytes.
pub const KIND_MAX: usize = 64;
/// Prefix of the logs that belong to users; no client may name one.
pub const USER_PREFIX: &str = "user/";

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_MAX
        && text.bytes().all(|b| NAME_BYTES[usize::from(b)])
        && text.as_bytes().split(|b| *b == b'/').all(|segment| !matches!(segment, b"" | b"." | b".."))
}

/// The bytes that a name may have.
const NAME_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        allowed[at] = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b':' | b'@' | b'/' | b'-');
        at += 1;
    }
    allowed
};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it; [`ErrorCode::BadName`] when it is not allowed.
            pub fn new(text: &str) -> Result<Self, ErrorCode> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(ErrorCode::BadName) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::new(&text).map_err(|_| de::Error::custom(crate::codec::BAD_NAME))
            }
        }
    };
}

name!(
    /// A room: 1-128 bytes of `[A-Za-z0-9._~:@/-]`, no empty segment, no `.` or `..`.
    RoomName,
    is_name
);
name!(
    /// A user, the `sub` of a token; the same alphabet as a room.
    UserName,
    is_name
);
name!(
    /// What an application calls an event: `[a-z][a-z0-9._-]{0,63}`.
    Kind,
    |text| {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && text.len() <= KIND_MAX
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
    }
);

impl RoomName {
    /// The log that carries a user's notifications: `user/{sub}`.
    ///
    /// The longest user name makes a log name longer than [`NAME_MAX`]; that is fine, since no
    /// client can spell a name that begins so.
    pub fn of_user(user: &UserName) -> Self {
        Self([USER_PREFIX, user.as_str()].concat().into())
    }

    /// Whether the name lies in the space reserved for users' logs.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(USER_PREFIX)
    }

    /// The user whose log this is, if it is one.
    pub fn user(&self) -> Option<&str> {
        self.0.strip_prefix(USER_PREFIX)
    }
}

impl Kind {
    /// Whether the kind belongs to the server and may not be published by an application.
    pub fn is_reserved(&self) -> bool {
        matches!(
            self.as_str(),
            "connected" | "reset" | "state" | "error" | "open" | "heartbeat" | "presence" | "notification" | "message"
        ) || self.as_str().starts_with("peer-")
            || self.as_str().starts_with("node-")
    }
}

/// A session's public identity in rooms; the same over a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PeerId(pub Uuid);

impl PeerId {
    /// A fresh random id (UUID version 4, RFC 9562 section 5.4).
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads the hyphenated text form; [`ErrorCode::BadName`] for anything else.
    pub fn parse(text: &str) -> Result<Self, ErrorCode> {
        if text.len() != 36 {
            return Err(ErrorCode::BadName);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| ErrorCode::BadName)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Nodes write it to each other in bytes.
        if !deserializer.is_human_readable() {
            return Uuid::deserialize(deserializer).map(Self);
        }
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|_| de::Error::custom(crate::codec::BAD_NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names_follow_the_alphabet() {
        for good in ["a", "match/7f3a", "A.b_c~d:e@f-g", "..a", &"x".repeat(128)] {
            assert!(RoomName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a/", "/a", "a//b", "a/../b", ".", "a b", "é", "a\n", "a%2Fb", &"x".repeat(129)] {
            assert_eq!(RoomName::new(bad), Err(ErrorCode::BadName), "{bad}");
        }
    }

    #[test]
    fn user_logs_are_reserved() {
        let user = UserName::new("ada").unwrap();
        let log = RoomName::of_user(&user);
        assert!(log.is_reserved());
        assert_eq!(log.user(), Some("ada"));
        assert!(!RoomName::new("users/ada").unwrap().is_reserved());
    }

    #[test]
    fn kinds_of_the_server_are_reserved() {
        for kind in ["peer-joined", "node-down", "presence", "message", "heartbeat"] {
            assert!(Kind::new(kind).unwrap().is_reserved(), "{kind}");
        }
        assert!(!Kind::new("price.update-2").unwrap().is_reserved());
        for bad in ["", "Price", "1a", "a b", "a\n", &"k".repeat(65)] {
            assert!(Kind::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn peer_ids_are_hyphenated_uuids() {
        let id = PeerId::random();
        assert_eq!(PeerId::parse(&id.to_string()), Ok(id));
        for bad in ["", "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}", "6ba7b8109dad11d180b400c04fd430c8"] {
            assert!(PeerId::parse(bad).is_err(), "{bad}");
        }
    }
}
