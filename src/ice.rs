//! STUN and TURN servers for clients: what is configured of them, and credentials that end, made for each user as
//! draft-uberti-behave-turn-rest-00 section 2.2 describes. The hub gives them out.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use rallypoint_protocol::{UserName, Verb, event::Millis, server::IceServer};
use serde::{Deserialize, Serialize};

use crate::auth::{Grant, IcePolicy, Secret};

/// How long a credential is good when the configuration does not say, in milliseconds.
const TTL_MS: u64 = 3_600_000;
/// Whoever has a credential can look for the secret behind it at home.
const SECRET_MIN: usize = 16;

/// One entry of `[[ice]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceConfig {
    /// `stun:` and `turn:` addresses.
    pub urls: Vec<String>,
    /// For TURN, the same for everybody.
    pub username: Option<String>,
    /// For TURN, the same for everybody.
    pub credential: Option<Secret>,
    /// In place of both: what the TURN server and this one make credentials of (coturn's `static-auth-secret`).
    pub secret: Option<Secret>,
    /// How long such a credential is good, in milliseconds.
    pub ttl_ms: Option<u64>,
}

impl IceConfig {
    /// What is wrong with the entry: with which key of it, if it is one, and why.
    pub(crate) fn problem(&self) -> Option<(Option<&'static str>, String)> {
        let scheme = |url: &str| url.split_once(':').map(|(scheme, _)| scheme.to_owned()).unwrap_or_default();
        let schemes: Vec<_> = self.urls.iter().map(|url| scheme(url)).collect();
        if schemes.is_empty() || !schemes.iter().all(|s| ["stun", "stuns", "turn", "turns"].contains(&s.as_str())) {
            let message = "every address begins with stun:, stuns:, turn: or turns:, and there is at least one";
            return Some((Some("urls"), message.to_owned()));
        }
        let turn = schemes.iter().any(|scheme| scheme.starts_with("turn"));
        let fixed = [self.username.is_some(), self.credential.is_some()];
        let (key, message) = match &self.secret {
            Some(_) if fixed.contains(&true) => ("secret", "stands in place of `username` and `credential`".to_owned()),
            Some(_) if !turn => ("secret", "is for turn: and turns: addresses".to_owned()),
            Some(Secret(secret)) if secret.len() < SECRET_MIN => {
                ("secret", format!("has {} bytes; it needs at least {SECRET_MIN}", secret.len()))
            }
            None if self.ttl_ms.is_some() => {
                ("ttl_ms", "is how long a credential made with `secret` is good".to_owned())
            }
            None if turn && fixed.contains(&false) => {
                return Some((None, "turn needs `secret`, or `username` and `credential`".to_owned()));
            }
            _ => return None,
        };
        Some((Some(key), message))
    }
}

/// What a user is given.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Given {
    /// The servers.
    pub(crate) ice_servers: Vec<IceServer>,
    /// When the first of their credentials ends, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Millis>,
}

/// All servers, ready to be given out.
pub(crate) struct Ice(Box<[Server]>);

struct Server {
    /// Complete, unless it has a mint.
    server: IceServer,
    /// TURN only.
    relays: bool,
    mint: Option<Mint>,
}

impl Ice {
    /// Out of the configuration.
    pub(crate) fn new(config: &[IceConfig]) -> Self {
        let server = |IceConfig { urls, username, credential, secret, ttl_ms }: &IceConfig| Server {
            relays: urls.iter().all(|url| url.starts_with("turn")),
            server: IceServer {
                urls: urls.clone(),
                username: username.clone(),
                credential: credential.as_ref().map(|Secret(credential)| credential.clone()),
            },
            mint: secret.as_ref().map(|secret| Mint::new(secret, ttl_ms.unwrap_or(TTL_MS))),
        };
        Self(config.iter().map(server).collect())
    }

    /// What a token is given: nothing without the verb `signal`, and by the claim `ice`.
    pub(crate) fn given(&self, grant: &Grant, now: Millis) -> Given {
        let mut given = Given::default();
        if !grant.allows_anywhere(Verb::Signal) || grant.ice == IcePolicy::None {
            return given;
        }
        for Server { server, mint, .. } in self.0.iter().filter(|one| one.relays || grant.ice == IcePolicy::All) {
            let mut server = server.clone();
            if let Some(mint) = mint {
                let end = mint.end(now);
                let (username, credential) = mint.credential(&grant.user, end);
                (server.username, server.credential) = (Some(username), Some(credential));
                given.expires = given.expires.into_iter().chain([end]).min_by(|a, b| a.0.total_cmp(&b.0));
            }
            given.ice_servers.push(server);
        }
        given
    }
}

/// What makes credentials for one TURN server.
struct Mint {
    key: hmac::Key,
    ttl_ms: u64,
}

impl Mint {
    fn new(Secret(secret): &Secret, ttl_ms: u64) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()), ttl_ms }
    }

    /// When a credential that is made now ends: at a whole second.
    fn end(&self, now: Millis) -> Millis {
        Millis((now.after(self.ttl_ms).0 / 1000.0).floor() * 1000.0)
    }

    /// Username and password. The user may have colons in it: what counts is the first one, before which there are only
    /// digits.
    fn credential(&self, user: &UserName, end: Millis) -> (String, String) {
        let username = format!("{}:{user}", end.whole() / 1000);
        let credential = STANDARD.encode(hmac::sign(&self.key, username.as_bytes()));
        (username, credential)
    }
}

#[cfg(test)]
mod tests {
    use rallypoint_protocol::Verbs;

    use super::*;
    use crate::auth::{Pattern, RoomGrant};

    const SECRET: &str = "a TURN secret of the unit tests";

    /// `printf %s 1795383420:alice | openssl dgst -sha1 -hmac "$SECRET" -binary | base64`, and the same for the other.
    #[test]
    fn credentials_are_those_of_another_implementation() {
        let mint = Mint::new(&Secret(SECRET.to_owned()), 60_000);
        let end = mint.end(Millis(1_795_383_360_999.9));
        assert_eq!(end, Millis(1_795_383_420_000.0));
        for (user, username, credential) in [
            ("alice", "1795383420:alice", "U8bctPbcuKb/xU1DvLRsXIbm/6w="),
            ("team/ada:2", "1795383420:team/ada:2", "vOgILzKV9v3DrNwevLzDoV2VRKI="),
        ] {
            let made = mint.credential(&UserName::new(user).unwrap(), end);
            assert_eq!(made, (username.to_owned(), credential.to_owned()));
        }
    }

    #[test]
    fn the_credential_that_ends_first_says_when() {
        let entry = |urls: &str, secret: Option<&str>, ttl_ms| IceConfig {
            urls: vec![urls.to_owned()],
            username: None,
            credential: None,
            secret: secret.map(|secret| Secret(secret.to_owned())),
            ttl_ms,
        };
        let mut grant = Grant::nobody(UserName::new("ada").unwrap());
        let servers = [
            entry("stun:a", None, None),
            entry("turn:b", Some(SECRET), None),
            entry("turn:c", Some(SECRET), Some(60_000)),
        ];
        let ice = Ice::new(&servers);
        assert!(ice.given(&grant, Millis(0.0)).ice_servers.is_empty(), "without the verb");
        grant.rooms = Box::new([RoomGrant { pattern: Pattern::All, role: None, verbs: Verbs::of(&[Verb::Signal]) }]);
        let given = ice.given(&grant, Millis(1500.0));
        assert_eq!((given.ice_servers.len(), given.expires), (3, Some(Millis(61_000.0))));
        assert_eq!(Ice::new(&servers[..2]).given(&grant, Millis(1500.0)).expires, Some(Millis(3_601_000.0)));
        assert_eq!(Ice::new(&servers[..1]).given(&grant, Millis(1500.0)).expires, None);
    }

    #[test]
    fn no_secret_prints() {
        let text = format!(
            "{:?}",
            IceConfig {
                urls: vec![],
                username: None,
                credential: Some(Secret("hush".to_owned())),
                secret: Some(Secret("hush".to_owned())),
                ttl_ms: None,
            }
        );
        assert!(text.contains("secret") && !text.contains("hush"), "{text}");
    }
}
