//! Tokens: `pass("ada").player("match/*").mint()`.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rallypoint::auth::{
    Claims, KeySource,
    claims::{Audience, NotifyClaim, RoomClaim},
    jwt::Minter,
};
use rallypoint_protocol::rights::Role;

/// What the test servers accept.
pub(crate) const SECRET: &str = "a secret of the integration tests, known to nobody else";
/// A good secret of somebody else.
pub(crate) const FOREIGN_SECRET: &str = "a secret of another service, no less random than ours";
/// Who makes the tokens.
pub(crate) const ISSUER: &str = "https://accounts.test";
/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "rallypoint-tests";
pub(crate) const ADMIN_AUDIENCE: &str = "rallypoint-tests-admin";

/// Claims in the making.
#[derive(Clone, Debug)]
pub(crate) struct Pass(pub(crate) Claims);

/// A token for this user that is good for an hour and allows nothing yet.
pub(crate) fn pass(user: &str) -> Pass {
    let claims = Claims {
        sub: user.to_owned(),
        iss: Some(ISSUER.to_owned()),
        aud: Audience(vec![AUDIENCE.to_owned()]),
        ..Claims::default()
    };
    Pass(claims).expires_in(3600.0)
}

impl Pass {
    /// Verbs in the rooms of a pattern.
    pub(crate) fn verbs<'a>(mut self, pattern: &str, verbs: impl IntoIterator<Item = &'a str>) -> Self {
        let verbs = verbs.into_iter().map(str::to_owned).collect();
        self.0.rooms.push(RoomClaim { pattern: pattern.to_owned(), role: None, verbs });
        self
    }

    /// The usual verbs of a role.
    pub(crate) fn role(self, pattern: &str, role: Role) -> Self {
        self.verbs(pattern, role.verbs().iter().map(|verb| verb.name()))
    }

    /// Joins, calls, plays, chats.
    pub(crate) fn player(self, pattern: &str) -> Self {
        self.role(pattern, Role::Player)
    }

    /// Watches.
    pub(crate) fn spectator(self, pattern: &str) -> Self {
        self.role(pattern, Role::Spectator)
    }

    /// A player who may also publish and kick.
    pub(crate) fn host(self, pattern: &str) -> Self {
        self.role(pattern, Role::Host)
    }

    /// The name that others see.
    pub(crate) fn name(mut self, name: &str) -> Self {
        self.0.name = Some(name.to_owned());
        self
    }

    /// What else others see.
    pub(crate) fn info(mut self, info: serde_json::Value) -> Self {
        self.0.info = Some(info);
        self
    }

    /// Whom the user may notify.
    pub(crate) fn notify(mut self, pattern: &str) -> Self {
        let NotifyClaim { send } = &mut self.0.notify;
        send.push(pattern.to_owned());
        self
    }

    /// A right over the whole server.
    pub(crate) fn admin(mut self, right: &str) -> Self {
        if self.0.admin.is_empty() {
            self.0.aud.0.push(ADMIN_AUDIENCE.to_owned());
        }
        self.0.admin.push(right.to_owned());
        self
    }

    /// Ends so many seconds from now; negative: it has ended.
    pub(crate) fn expires_in(mut self, seconds: f64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs_f64();
        self.0.exp = now + seconds;
        self
    }

    /// The token.
    pub(crate) fn mint(&self) -> String {
        self.mint_with(SECRET)
    }

    /// The token, signed with another secret.
    pub(crate) fn mint_with(&self, secret: &str) -> String {
        Minter::new(&KeySource::Secret(secret.to_owned())).expect("the secret is long enough").mint(&self.0)
    }
}

/// A token that claims to need no signature (RFC 7519 section 6.1).
pub(crate) fn forged(pass: &Pass) -> String {
    let claims = serde_json::to_vec(&pass.0).expect("claims are JSON");
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#), URL_SAFE_NO_PAD.encode(claims))
}
