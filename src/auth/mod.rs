//! Who comes in and what they may do: tokens become grants here. The session and the HTTP routes
//! ask a [`Grant`]; nothing behind them sees a token.

pub mod claims;
pub mod credentials;
pub mod jwks;
pub mod jwt;
pub mod keys;
pub mod origin;
pub mod pattern;
pub mod pem;
pub mod resume;

use std::path::PathBuf;

use rallypoint_protocol::{RoomName, UserName, Verb, Verbs, convert::check_json_depth, id::USER_PREFIX};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use claims::{Claims, DuplicatePolicy, IcePolicy, Limit};
pub use credentials::{CredentialRules, Door, Presented};
pub use jwks::JwksConfig;
pub use jwt::{AuthConfigError, Minter, Refusal, Verifier};
pub use keys::{DEVELOPMENT_SECRET, KeyConfig, KeySource, Secret};
pub use origin::OriginRules;
pub use pattern::Pattern;
pub use resume::{ResumeKey, ResumeToken};

/// Most entries in one list of a token (rooms, verbs of a room, notify patterns, admin rights).
pub const LIST_MAX: usize = 32;
/// Longest display name, in bytes.
pub const NAME_MAX: usize = 128;
/// Longest role label, in bytes.
pub const ROLE_MAX: usize = 64;
/// Largest `info`, in bytes of compact JSON.
pub const INFO_MAX: usize = 1024;
/// Deepest `info`. It stands in messages, and what their readers accept is bounded as well.
pub const INFO_DEPTH_MAX: usize = 16;

/// How credentials are accepted and checked: the section `[auth]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The cookie that may carry a token.
    pub cookie: String,
    /// Whether `?token=` is accepted outside `--dev`.
    pub query_token: bool,
    /// How far other clocks may be off, in milliseconds.
    pub leeway_ms: u64,
    /// Whether requests without an `Origin` header (everything but browsers) are let in.
    pub allow_no_origin: bool,
    /// The audience that a token must name; required outside `--dev`.
    pub audience: Option<String>,
    /// The audience that a token must name in addition for its `admin` claim to count.
    pub admin_audience: String,
    /// What resume tokens are signed with. Without it the secrets of `keys` stand behind them, and
    /// without such a random one that ends with the process.
    pub resume_secret: Option<Secret>,
    /// A file with that secret.
    pub resume_secret_file: Option<PathBuf>,
    /// Whose tokens are accepted.
    pub keys: Vec<KeyConfig>,
    /// Where others keep keys of theirs.
    pub jwks: Vec<JwksConfig>,
    /// A copy of the top-level `dev`, so that one value tells everything about credentials.
    #[serde(skip)]
    pub dev: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            cookie: "rallypoint_token".into(),
            query_token: false,
            leeway_ms: 30_000,
            allow_no_origin: true,
            audience: None,
            admin_audience: "rallypoint-admin".into(),
            resume_secret: None,
            resume_secret_file: None,
            keys: Vec::new(),
            jwks: Vec::new(),
            dev: false,
        }
    }
}

/// What a verified token allows. It holds no part of the token itself, so it may be logged.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The user, `sub`.
    pub user: UserName,
    /// The name that others see.
    pub name: Option<Box<str>>,
    /// What else others see: compact JSON, at most [`INFO_MAX`] bytes.
    pub info: Option<Box<RawValue>>,
    /// Rights in rooms; several entries may speak of one room.
    pub rooms: Box<[RoomGrant]>,
    /// Users who may be notified.
    pub notify: Box<[Pattern]>,
    /// Rights over the whole server.
    pub admin: AdminRights,
    /// When the token ends, in Unix milliseconds, without leeway.
    pub expires_at_ms: f64,
    /// Which ICE servers to give out.
    pub ice: IcePolicy,
    /// What a second connection of the user does.
    pub dup: DuplicatePolicy,
    /// The user's generation.
    pub generation: u64,
    /// Limits of this token, where it has any; the smaller of it and the server's holds.
    pub lim: Option<Box<Limit>>,
}

/// Verbs granted in the rooms of one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomGrant {
    /// The rooms.
    pub pattern: Pattern,
    /// A label without power.
    pub role: Option<Box<str>>,
    /// What may be done there.
    pub verbs: Verbs,
}

impl Grant {
    /// A user who may do nothing, for tests to add to.
    #[cfg(test)]
    pub(crate) fn nobody(user: UserName) -> Self {
        let claims = Claims { sub: user.as_str().to_owned(), exp: 1e9, ..Claims::default() };
        Self::from_claims(claims, false).expect("the claims are well formed")
    }

    /// Gives claims their meaning; the reason when they have none. `admin` says whether the admin
    /// claim counts. Times and audience are the verifier's to check.
    fn from_claims(claims: Claims, admin: bool) -> Result<Self, &'static str> {
        let rooms = &claims.rooms;
        let lists = [rooms.len(), claims.notify.send.len(), claims.admin.len()];
        if lists.into_iter().chain(rooms.iter().map(|room| room.verbs.len())).any(|len| len > LIST_MAX) {
            return Err("a list in the token has more than 32 entries");
        }
        let label = |text: &str, max| text.len() <= max && !text.chars().any(char::is_control);
        if !claims.name.as_deref().is_none_or(|name| label(name, NAME_MAX)) {
            return Err("name is longer than 128 bytes or has control characters");
        }
        Ok(Self {
            user: UserName::new(&claims.sub)
                .ok()
                .filter(|user| !user.as_str().starts_with(USER_PREFIX))
                .ok_or("sub is not a user name, or begins with the reserved user/")?,
            // An empty name is what back ends write that have none.
            name: claims.name.filter(|name| !name.is_empty()).map(Into::into),
            info: claims.info.as_ref().map(compact).transpose()?,
            rooms: rooms
                .iter()
                .map(|room| {
                    if !room.role.as_deref().is_none_or(|role| label(role, ROLE_MAX)) {
                        return Err("a role is longer than 64 bytes or has control characters");
                    }
                    Ok(RoomGrant {
                        pattern: Pattern::new(&room.pattern).map_err(|_| "r of an entry in rooms is not a pattern")?,
                        role: room.role.as_deref().map(Into::into),
                        verbs: room.verbs.iter().filter_map(|word| Verb::parse(word)).fold(Verbs::NONE, Verbs::with),
                    })
                })
                .collect::<Result<_, _>>()?,
            notify: claims
                .notify
                .send
                .iter()
                .map(|text| Pattern::new(text).map_err(|_| "an entry in notify.send is not a pattern"))
                .collect::<Result<_, _>>()?,
            admin: if admin { AdminRights::of_words(&claims.admin) } else { AdminRights::NONE },
            expires_at_ms: claims.exp * 1000.0,
            ice: claims.ice,
            dup: claims.dup,
            generation: claims.generation,
            lim: (claims.lim != Limit::default()).then(|| Box::new(claims.lim)),
        })
    }

    /// Everything the token allows in this room: what any matching entry grants. Nothing in the
    /// reserved `user/…`.
    pub fn verbs(&self, room: &RoomName) -> Verbs {
        self.rooms
            .iter()
            .filter(|entry| entry.pattern.covers_room(room))
            .fold(Verbs::NONE, |verbs, entry| verbs.union(entry.verbs))
    }

    /// What a ticket carries of it: nothing but rights in rooms, in these only if any are named.
    pub(crate) fn of_ticket(&self, rooms: Option<&[RoomName]>) -> Self {
        let entry = |room: &RoomName| {
            let pattern = Pattern::new(room.as_str()).expect("every room's name is a pattern");
            RoomGrant { pattern, role: None, verbs: self.verbs(room) }
        };
        let rooms = rooms.map_or_else(|| self.rooms.clone(), |rooms| rooms.iter().map(entry).collect());
        Self { rooms, notify: Box::default(), admin: AdminRights::NONE, ..self.clone() }
    }

    /// Whether the token allows this in this room.
    pub fn allows(&self, room: &RoomName, verb: Verb) -> bool {
        self.verbs(room).has(verb)
    }

    /// Whether the token allows this in any room at all.
    pub fn allows_anywhere(&self, verb: Verb) -> bool {
        self.rooms.iter().any(|entry| !entry.pattern.is_reserved() && entry.verbs.has(verb))
    }

    /// Whether the token may notify this user; the admin right `notify` reaches everybody.
    pub fn may_notify(&self, user: &UserName) -> bool {
        self.has_admin(AdminRight::Notify) || self.notify.iter().any(|pattern| pattern.covers_user(user))
    }

    /// Whether the token has this right over the whole server.
    pub fn has_admin(&self, right: AdminRight) -> bool {
        self.admin.has(right)
    }
}

/// Written anew, so that the text has no white space outside strings: a raw newline in `info`
/// would end a line of an event stream.
fn compact(info: &serde_json::Value) -> Result<Box<RawValue>, &'static str> {
    let text = serde_json::value::to_raw_value(info).map_err(|_| "info cannot be written as JSON")?;
    if text.get().len() > INFO_MAX {
        return Err("info is larger than 1 KiB");
    }
    check_json_depth(text.get().as_bytes(), INFO_DEPTH_MAX).map_err(|_| "info is nested deeper than 16 levels")?;
    Ok(text)
}

/// A right over the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AdminRight {
    /// Read all rooms.
    Rooms = 1,
    /// Remove members and end sessions.
    Kick = 1 << 1,
    /// Read the metrics.
    Metrics = 1 << 2,
    /// Follow what a session does.
    Trace = 1 << 3,
    /// Read the server's status.
    Status = 1 << 4,
    /// Notify every user.
    Notify = 1 << 5,
}

impl AdminRight {
    /// Every right, in the order of the spec.
    pub const ALL: [Self; 6] = [Self::Rooms, Self::Kick, Self::Metrics, Self::Trace, Self::Status, Self::Notify];

    /// The right as a token spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Kick => "kick",
            Self::Metrics => "metrics",
            Self::Trace => "trace",
            Self::Status => "status",
            Self::Notify => "notify",
        }
    }
}

/// A set of rights over the whole server.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct AdminRights(u8);

impl AdminRights {
    /// No right.
    pub const NONE: Self = Self(0);

    /// The rights with these names; other words are ignored.
    fn of_words(words: &[String]) -> Self {
        let known = AdminRight::ALL.into_iter().filter(|right| words.iter().any(|word| word == right.name()));
        Self(known.fold(0, |set, right| set | right as u8))
    }

    /// Whether the right is in the set.
    pub fn has(self, right: AdminRight) -> bool {
        self.0 & right as u8 != 0
    }
}

impl std::fmt::Debug for AdminRights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = AdminRight::ALL.into_iter().filter(|&right| self.has(right)).map(AdminRight::name);
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(claims: serde_json::Value) -> Result<Grant, String> {
        let mut full = json!({"sub": "ada", "exp": 2_000_000_000});
        full.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let claims: Claims = serde_json::from_value(full).map_err(|error| error.to_string())?;
        Grant::from_claims(claims, true).map_err(str::to_owned)
    }

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn nested(depth: usize) -> serde_json::Value {
        (0..depth).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let grant = grant(json!({})).unwrap();
        assert_eq!(grant.verbs(&room("lobby")), Verbs::NONE);
        assert!(!grant.may_notify(&UserName::new("ada").unwrap()));
        assert_eq!(grant.admin, AdminRights::NONE);
        assert_eq!((grant.dup, grant.ice, grant.generation), (DuplicatePolicy::Multi, IcePolicy::All, 0));
    }

    #[test]
    fn matching_entries_add_up_and_unknown_verbs_are_ignored() {
        let grant = grant(json!({"rooms": [
            {"r": "match/*", "do": ["join", "fly"]},
            {"r": "match/7", "role": "host", "do": ["kick"]},
            {"r": "*", "do": ["watch"], "since": "later"},
        ]}))
        .unwrap();
        assert_eq!(grant.verbs(&room("match/7")), Verbs::of(&[Verb::Join, Verb::Kick, Verb::Watch]));
        assert_eq!(grant.verbs(&room("match/8")), Verbs::of(&[Verb::Join, Verb::Watch]));
        assert!(grant.allows(&room("lobby"), Verb::Watch) && !grant.allows(&room("lobby"), Verb::Join));
        assert!(grant.allows_anywhere(Verb::Kick) && !grant.allows_anywhere(Verb::Publish));
    }

    #[test]
    fn no_pattern_reaches_a_users_log() {
        let all: Vec<_> = Verb::ALL.into_iter().map(Verb::name).collect();
        for pattern in ["*", "user/*", "user/bob"] {
            let grant = grant(json!({"rooms": [{"r": pattern, "do": all}]})).unwrap();
            assert_eq!(grant.verbs(&room("user/bob")), Verbs::NONE, "{pattern}");
            assert_eq!(grant.verbs(&RoomName::of_user(&UserName::new("bob").unwrap())), Verbs::NONE, "{pattern}");
            assert_eq!(grant.allows_anywhere(Verb::Signal), pattern == "*", "{pattern}");
        }
    }

    #[test]
    fn malformed_claims_refuse_the_token() {
        let many = vec!["join"; LIST_MAX + 1];
        let rooms: Vec<_> = (0..=LIST_MAX).map(|n| json!({"r": format!("r{n}"), "do": []})).collect();
        let table = [
            json!({"sub": "a b"}),
            json!({"sub": 7}),
            json!({"sub": "user/ada"}),
            json!({"sub": "a/../b"}),
            json!({"exp": "2000000000"}),
            json!({"exp": null}),
            json!({"rooms": {"r": "*", "do": []}}),
            json!({"rooms": [{"r": "*"}]}),
            json!({"rooms": [{"do": ["join"]}]}),
            json!({"rooms": [{"r": "a*", "do": []}]}),
            json!({"rooms": [{"r": 7, "do": []}]}),
            json!({"rooms": [{"r": "*", "do": "join"}]}),
            json!({"rooms": [{"r": "*", "do": [1]}]}),
            json!({"rooms": [{"r": "*", "role": 1, "do": []}]}),
            json!({"rooms": [{"r": "*", "role": "x".repeat(65), "do": []}]}),
            json!({"rooms": [{"r": "*", "do": many}]}),
            json!({ "rooms": rooms }),
            json!({"notify": {"send": ["a*"]}}),
            json!({"notify": ["*"]}),
            json!({ "admin": many }),
            json!({"admin": "rooms"}),
            json!({"name": "x".repeat(129)}),
            json!({"name": "a\nb"}),
            json!({"name": 7}),
            json!({"info": "x".repeat(1023)}),
            json!({"info": nested(INFO_DEPTH_MAX + 1)}),
            json!({"dup": "both"}),
            json!({"ice": "turn"}),
            json!({"gen": -1}),
            json!({"gen": 1.5}),
            json!({"gen": "3"}),
            json!({"gen": 1e20}),
            json!({"dup": null}),
            json!({"dup": "Replace"}),
            json!({"lim": {"moves": "many"}}),
            json!({"lim": {"rooms": -1}}),
            json!({"lim": {"requests": 0.5}}),
            json!({"lim": {"bytes": 1e10}}),
            json!({"lim": 3}),
            // What serde would take for a map: the fields as a list.
            json!({"lim": [1, 2, 3, 4]}),
            json!({"rooms": [["*", null, ["join"]]]}),
            json!({"notify": [["*"]]}),
        ];
        for claims in table {
            assert!(grant(claims.clone()).is_err(), "{claims}");
        }
    }

    #[test]
    fn limits_duplicates_and_the_generation_are_kept() {
        let grant = grant(json!({
            "gen": 7, "dup": "replace",
            "lim": {"rooms": 1, "requests": 2, "moves": 3, "bytes": 4, "members": 5},
        }))
        .unwrap();
        let lim = Limit { rooms: Some(1), requests: Some(2), moves: Some(3), bytes: Some(4) };
        assert_eq!((grant.generation, grant.dup, grant.lim), (7, DuplicatePolicy::Replace, Some(Box::new(lim))));
        let some = super::Grant::from_claims(
            serde_json::from_value(json!({"sub": "ada", "exp": 1, "lim": {"moves": 9}})).unwrap(),
            false,
        );
        assert_eq!(some.unwrap().lim, Some(Box::new(Limit { moves: Some(9), ..Limit::default() })));
    }

    #[test]
    fn info_is_compact_and_name_is_kept() {
        let claims = "{\"sub\":\"ada\",\"exp\":2e9,\"name\":\"Ada L.\",\"info\":{ \"a\" :\n [1, \"x\\ny\"]}}";
        let grant = Grant::from_claims(serde_json::from_str(claims).unwrap(), false).unwrap();
        assert_eq!(grant.info.unwrap().get(), r#"{"a":[1,"x\ny"]}"#);
        assert_eq!(grant.name.as_deref(), Some("Ada L."));
        assert!(super::compact(&json!("x".repeat(1022))).is_ok());
        assert!(super::compact(&nested(INFO_DEPTH_MAX)).is_ok());
    }

    #[test]
    fn admin_words_and_notify_patterns() {
        let grant = grant(json!({"admin": ["kick", "fly"], "notify": {"send": ["team/*"]}})).unwrap();
        assert!(grant.has_admin(AdminRight::Kick) && !grant.has_admin(AdminRight::Rooms));
        assert!(grant.may_notify(&UserName::new("team/bob").unwrap()));
        assert!(!grant.may_notify(&UserName::new("bob").unwrap()));
        assert_eq!(format!("{:?}", grant.admin), r#"{"kick"}"#);
    }
}
