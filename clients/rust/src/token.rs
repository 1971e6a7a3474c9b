//! The access token: fixed, or from a source that can be asked again.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::BoxFuture;
use rallypoint_protocol::event::Millis;
use serde::Deserialize;

/// What a token source says when it has no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// Not now; the client asks again after a while.
    #[error("no token for now: {0}")]
    Later(String),
    /// There will be none any more, as after a logout; the client stops when it needs one.
    #[error("no token any more: {0}")]
    Never(String),
}

type Fetch = dyn Fn() -> BoxFuture<'static, Result<String, NoToken>> + Send + Sync;

/// The access token of a client, a JWT.
#[derive(Clone)]
pub enum Token {
    /// This one. When it has expired the client ends, unless [`Client::refresh`](crate::Client::refresh) brought
    /// another before.
    Fixed(String),
    /// Asked for a token to connect with, before the present one expires, and when the server wants
    /// a fresh one. See [`Token::source`].
    Source(Arc<Fetch>),
}

impl Token {
    /// A token from a function, such as a call to the application's own back end.
    ///
    /// It may be called at any time and more than once, and the future may be dropped half-way. It
    /// has [`Options::timeout`](crate::Options::timeout) to answer; one that takes longer is asked again.
    pub fn source<F, R>(fetch: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, NoToken>> + Send + 'static,
    {
        Self::Source(Arc::new(move || Box::pin(fetch())))
    }

    pub(crate) async fn get(&self) -> Result<String, NoToken> {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::Source(fetch) => fetch().await,
        }
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self::Fixed(token)
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Self::Fixed(token.to_owned())
    }
}

impl fmt::Debug for Token {
    /// Says what kind it is, never the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Fixed(_)) { "Fixed" } else { "Source" })
    }
}

/// When a JWT expires by its claim `exp` (RFC 7519 section 4.1.4). Not verified: the server does that, this
/// end only wants to know when to ask for the next one. `None` for text that is no JWT or never expires.
pub(crate) fn expiry(jwt: &str) -> Option<Millis> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok().map(|Claims { exp }| Millis(exp * 1000.0))
}

/// A token without a signature that expires at this Unix time in seconds.
#[cfg(test)]
pub(crate) fn expiring(exp: u64) -> String {
    format!("e30.{}.", URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"ada\",\"exp\":{exp}}}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_is_read_where_there_is_one() {
        assert_eq!(expiry(&expiring(1_900_000_000)), Some(Millis(1_900_000_000_000.0)));
        for other in ["", "the-token", "a.b.c", "a.!!.c", "e30.e30."] {
            assert_eq!(expiry(other), None, "{other}");
        }
    }

    #[test]
    fn a_token_does_not_show() {
        let (fixed, source) = (Token::from("secret"), Token::source(|| async { Ok("secret".to_owned()) }));
        assert_eq!(format!("{fixed:?} {source:?}"), "Fixed Source");
    }
}
