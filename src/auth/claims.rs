//! What is written in a token, word for word; [`jwt`](super::jwt) reads and writes it, and
//! [`Grant`](super::Grant) is what it means.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// The claims of a rallypoint token (RFC 7519 section 4.1, and ours).
///
/// Unknown claims are ignored, so other services may put theirs into the same token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// When the token ends, in Unix *seconds*.
    #[serde(serialize_with = "seconds")]
    pub exp: f64,
    /// From when the token is good, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "some_seconds")]
    pub nbf: Option<f64>,
    /// When the token was made, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "some_seconds")]
    pub iat: Option<f64>,
    /// Who made the token; selects the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom the token is for.
    #[serde(default, skip_serializing_if = "Audience::is_empty")]
    pub aud: Audience,
    /// The name that other members see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What else other members see, any JSON value of at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<serde_json::Value>,
    /// What the user may do in which rooms.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "named_list")]
    pub rooms: Vec<RoomClaim>,
    /// Whom the user may notify.
    #[serde(default, skip_serializing_if = "NotifyClaim::is_empty", deserialize_with = "named")]
    pub notify: NotifyClaim,
    /// Rights over the whole server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admin: Vec<String>,
    /// What happens when the user connects twice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dup: DuplicatePolicy,
    /// Limits below the server's own.
    #[serde(default, skip_serializing_if = "is_default", deserialize_with = "named")]
    pub lim: Limit,
    /// Which ICE servers the user is given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ice: IcePolicy,
    /// The user's generation; a resume token of another one is not accepted.
    #[serde(default, rename = "gen", skip_serializing_if = "is_default")]
    pub generation: u64,
}

/// One entry of the claim `rooms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomClaim {
    /// A room, a branch (`match/*`) or `*`.
    #[serde(rename = "r")]
    pub pattern: String,
    /// A label for people; it has no power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The verbs granted; those that this server does not know are ignored.
    #[serde(rename = "do")]
    pub verbs: Vec<String>,
}

/// The claim `notify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyClaim {
    /// Patterns of user names.
    #[serde(default)]
    pub send: Vec<String>,
}

impl NotifyClaim {
    fn is_empty(&self) -> bool {
        self.send.is_empty()
    }
}

/// The claim `aud`: one audience as text, or a list (RFC 7519 section 4.1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience(pub Vec<String>);

impl Audience {
    /// Whether the token is for this audience.
    pub fn includes(&self, audience: &str) -> bool {
        self.0.iter().any(|one| one == audience)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Audience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            list => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            One(String),
            List(Vec<String>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::One(one) => Self(vec![one]),
            Form::List(list) => Self(list),
        })
    }
}

/// The claim `dup`: what happens when a user who is connected connects again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicatePolicy {
    /// The newer connection stays, the older is closed (4410).
    Replace,
    /// The older connection stays, the newer is refused (4409).
    Reject,
    /// Both stay, up to the ceiling on connections per user.
    #[default]
    Multi,
}

/// The claim `ice`: which ICE servers the user is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IcePolicy {
    /// STUN and TURN.
    #[default]
    All,
    /// TURN only, so that peers do not learn each other's addresses.
    Relay,
    /// None.
    None,
}

/// The claim `lim`: limits of this token. The smaller of it and the server's limit holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Rooms that a session may be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rooms: Option<u32>,
    /// Requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Moves per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<u32>,
    /// Bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
}

/// A map, and nothing else. serde reads a struct from a list of its fields as well: `["*", null,
/// ["join"]]` would grant what nobody wrote down as a right.
struct Named<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OnlyMap(PhantomData)).map(Self)
    }
}

fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Named::deserialize(deserializer).map(|Named(value)| value)
}

fn named_list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::<Named<T>>::deserialize(deserializer)?;
    Ok(list.into_iter().map(|Named(value)| value).collect())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whole seconds are written without a fraction: some JWT libraries refuse `1763800000.0`.
fn seconds<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}

fn some_seconds<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => seconds(value, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_is_written() {
        let claims = Claims { sub: "ada".into(), exp: 1_763_800_000.0, ..Claims::default() };
        assert_eq!(serde_json::to_string(&claims).unwrap(), r#"{"sub":"ada","exp":1763800000}"#);
        let full = Claims {
            aud: Audience(vec!["a".into()]),
            rooms: vec![RoomClaim { pattern: "*".into(), role: None, verbs: vec!["join".into()] }],
            dup: DuplicatePolicy::Reject,
            generation: 3,
            ..claims
        };
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(
            text,
            r#"{"sub":"ada","exp":1763800000,"aud":"a","rooms":[{"r":"*","do":["join"]}],"dup":"reject","gen":3}"#
        );
        assert_eq!(serde_json::from_str::<Claims>(&text).unwrap(), full);
    }
}
