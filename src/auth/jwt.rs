//! JSON web tokens (RFC 7519): [`Verifier`] turns one into a grant for the doors, [`Minter`] makes
//! one for `rallypoint token` and `/dev/token`.
//!
//! What a token says about itself never chooses how it is checked: `iss` and `kid` only pick one
//! of the configured keys, and that key brings its algorithm.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use rallypoint_protocol::{ErrorCode, codec::Refused};
use serde::Deserialize;

use super::{
    AuthConfig, Claims, Grant, KeySource,
    jwks::{KeySet, SourceError},
    keys::{Algorithm, DEVELOPMENT_KID, DEVELOPMENT_SECRET, KeyError},
};
use crate::metrics::Metrics;

/// Longest token that is looked at, in bytes.
pub const TOKEN_MAX: usize = 8 * 1024;
/// The last second of the year 9999. An `exp` beyond it is one given in milliseconds by mistake,
/// which would be good for 50 000 years.
const LATEST_SECOND: f64 = 253_402_300_799.0;

/// Checks tokens against the configured keys.
pub struct Verifier {
    keys: Vec<Arc<Key>>,
    /// Keys that others keep; for each issuer one set at most.
    sets: Vec<Arc<KeySet>>,
    /// Goes up whenever a set has other keys.
    changes: AtomicU64,
    /// The key of [`DEVELOPMENT_SECRET`], in `--dev` only.
    development: Option<Arc<Key>>,
    audience: Option<String>,
    admin_audience: String,
    leeway_ms: f64,
    dev: bool,
}

/// One (issuer, `kid`, algorithm, key).
pub(super) struct Key {
    issuer: Option<String>,
    kid: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("issuer", &self.issuer).field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Key {
    /// The name that tokens call it by.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn new(issuer: Option<String>, kid: Option<String>, algorithm: Algorithm, key: DecodingKey) -> Self {
        let mut validation = Validation::new(algorithm.jwa());
        // The library reads the system's clock; times and audience are checked below instead.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims = HashSet::new();
        Self { issuer, kid, key, validation }
    }
}

/// Why a token is not accepted: the code is for the client, the reason for the server's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    /// [`ErrorCode::TokenInvalid`] or [`ErrorCode::TokenExpired`].
    pub code: ErrorCode,
    /// What is wrong; holds nothing of the token.
    pub reason: Cow<'static, str>,
}

impl From<Refusal> for Refused {
    fn from(Refusal { code, reason }: Refusal) -> Self {
        Self::new(code, reason)
    }
}

const fn invalid(reason: &'static str) -> Refusal {
    Refusal { code: ErrorCode::TokenInvalid, reason: Cow::Borrowed(reason) }
}

/// Which claim is missing, or what is expected where; not what stands there.
fn malformed(error: &serde_json::Error) -> Refusal {
    let error = error.to_string();
    let what = match error.rsplit_once(", expected ") {
        Some((_, expected)) => format!(": expected {expected}"),
        None if error.starts_with("missing field `") => format!(": {error}"),
        None => String::new(),
    };
    Refusal { code: ErrorCode::TokenInvalid, reason: format!("a claim is missing or malformed{what}").into() }
}

impl Verifier {
    /// Reads the keys; fails when one is unusable or the set of them is ambiguous, and outside
    /// `--dev` when there is no key or no audience.
    pub fn new(config: &AuthConfig) -> Result<Self, AuthConfigError> {
        if !config.dev && config.keys.is_empty() && config.jwks.is_empty() {
            return Err(AuthConfigError::NoKey);
        }
        if !config.dev && config.audience.is_none() {
            return Err(AuthConfigError::NoAudience);
        }
        let mut keys: Vec<Arc<Key>> = Vec::with_capacity(config.keys.len());
        for (index, key) in config.keys.iter().enumerate() {
            let decoding_key = key.decoding_key().map_err(|error| AuthConfigError::Key { index, error })?;
            if [&key.kid, &key.issuer].into_iter().any(|name| name.as_deref() == Some("")) {
                return Err(AuthConfigError::EmptyName { index });
            }
            if key.kid.as_deref() == Some(DEVELOPMENT_KID) {
                return Err(AuthConfigError::ReservedKid { index });
            }
            for other in keys.iter().filter(|other| other.issuer == key.issuer) {
                if other.kid.is_none() || key.kid.is_none() || other.kid == key.kid {
                    return Err(AuthConfigError::Ambiguous { index });
                }
            }
            keys.push(Arc::new(Key::new(key.issuer.clone(), key.kid.clone(), key.algorithm, decoding_key)));
        }
        let mut sets: Vec<Arc<KeySet>> = Vec::with_capacity(config.jwks.len());
        for (index, set) in config.jwks.iter().enumerate() {
            let alone = sets.iter().all(|other| other.issuer() != set.issuer.as_ref())
                && keys.iter().all(|key| key.issuer != set.issuer || key.kid.is_some());
            if !alone {
                return Err(AuthConfigError::SetAmbiguous { index });
            }
            sets.push(Arc::new(KeySet::new(set).map_err(|error| AuthConfigError::Set { index, error })?));
        }
        let development = config.dev.then(|| {
            let key = DecodingKey::from_secret(DEVELOPMENT_SECRET.as_bytes());
            Arc::new(Key::new(None, Some(DEVELOPMENT_KID.to_owned()), Algorithm::Hs256, key))
        });
        Ok(Self {
            keys,
            sets,
            changes: AtomicU64::new(0),
            development,
            audience: config.audience.clone(),
            admin_audience: config.admin_audience.clone(),
            leeway_ms: config.leeway_ms as f64,
            dev: config.dev,
        })
    }

    /// Keeps the key sets up to date; runs for as long as the server.
    pub(crate) async fn follow(self: Arc<Self>, metrics: Arc<Metrics>) {
        let mut following = tokio::task::JoinSet::new();
        for set in &self.sets {
            let (set, own, metrics) = (set.clone(), self.clone(), metrics.clone());
            following.spawn(async move {
                set.follow(&metrics, || _ = own.changes.fetch_add(1, Ordering::Release)).await;
            });
        }
        while let Some(ended) = following.join_next().await {
            tracing::error!(?ended, "a key set is kept up to date no more");
        }
    }

    /// Whether there is any key at all: sets may not have been fetched yet.
    pub fn has_keys(&self) -> bool {
        self.development.is_some() || !self.keys.is_empty() || self.sets.iter().any(|set| !set.keys().is_empty())
    }

    /// How often keys have changed: what was good before a change need not be good after it.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Waits for the key that a token names, if it is in none of the sets and may have come since.
    pub async fn prepare(&self, token: &str) {
        if self.sets.is_empty() || token.len() > TOKEN_MAX {
            return;
        }
        let Ok(header) = jsonwebtoken::decode_header(token) else { return };
        if let Ok(issuer) = self.issuer_of(token)
            && self.key_for(issuer.as_ref(), header.kid.as_deref()).is_err()
            && let Some(set) = self.sets.iter().find(|set| set.issuer() == issuer.as_ref())
        {
            set.renewed().await;
        }
    }

    /// What the token allows at `now_ms` (Unix milliseconds). [`ErrorCode::TokenExpired`] when
    /// nothing but its age is wrong, otherwise [`ErrorCode::TokenInvalid`].
    pub fn verify(&self, token: &str, now_ms: f64) -> Result<Grant, ErrorCode> {
        self.check(token, now_ms).map_err(|refusal| refusal.code)
    }

    /// [`verify`](Self::verify) with the reason, for whoever has to find out what is wrong.
    pub fn check(&self, token: &str, now_ms: f64) -> Result<Grant, Refusal> {
        if token.len() > TOKEN_MAX {
            return Err(invalid("longer than 8 KiB"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid("not a JWT with a known algorithm"))?;
        // RFC 7515 section 4.1.11: an extension that is not understood must refuse the token, and
        // none is. `jku`, `jwk` and `x5u` are simply never read.
        if header.crit.is_some() {
            return Err(invalid("has a `crit` header"));
        }
        let issuer = self.issuer_of(token)?;
        let key = self.key_for(issuer.as_ref(), header.kid.as_deref())?;
        if !key.validation.algorithms.contains(&header.alg) {
            return Err(invalid("signed with another algorithm than its key's"));
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => invalid("the signature does not match"),
                jsonwebtoken::errors::ErrorKind::Json(error) => malformed(error),
                _ => invalid("a claim is missing or malformed"),
            })?
            .claims;
        self.check_claims(claims, now_ms)
    }

    /// The issuer of a token, if any key is for it alone. The claims are not verified yet: `iss` is taken as a question,
    /// the signature answers it.
    fn issuer_of(&self, token: &str) -> Result<Option<String>, Refusal> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: Option<String>,
        }
        let known = || {
            let of_keys = self.keys.iter().filter_map(|key| key.issuer.as_ref());
            of_keys.chain(self.sets.iter().filter_map(|set| set.issuer()))
        };
        if known().next().is_none() {
            return Ok(None);
        }
        let claims: Issuer = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| invalid("a claim is missing or malformed"))?;
        Ok(claims.iss.filter(|iss| known().any(|issuer| issuer == iss)))
    }

    /// The one key that must have signed a token of this issuer.
    fn key_for(&self, issuer: Option<&String>, kid: Option<&str>) -> Result<Arc<Key>, Refusal> {
        if let Some(development) = &self.development
            && (kid == Some(DEVELOPMENT_KID) || self.keys.is_empty() && self.sets.is_empty() && kid.is_none())
        {
            return Ok(development.clone());
        }
        let fetched = self.sets.iter().find(|set| set.issuer() == issuer).map(|set| set.keys()).unwrap_or_default();
        let mut keys = self.keys.iter().filter(|key| key.issuer.as_ref() == issuer).chain(&*fetched);
        let key = match kid {
            // A key without a name is its issuer's only one and takes any.
            Some(kid) => keys.find(|key| key.kid.as_deref().is_none_or(|own| own == kid)),
            None => match (keys.next(), keys.next()) {
                (only, None) => only,
                _ => return Err(invalid("has no `kid`, and its issuer has several keys")),
            },
        };
        key.cloned().ok_or(invalid("no key for its `iss` and `kid`"))
    }

    fn check_claims(&self, claims: Claims, now_ms: f64) -> Result<Grant, Refusal> {
        // A key without an issuer takes the tokens of any, but not of nobody: whoever reads a log or
        // adds a second issuer later must be able to tell whose a token was.
        if !self.dev && claims.iss.as_deref().is_none_or(str::is_empty) {
            return Err(invalid("has no `iss`"));
        }
        if let Some(audience) = self.audience.as_deref().filter(|_| !self.dev)
            && !claims.aud.includes(audience)
        {
            return Err(invalid("`aud` does not name this server's audience"));
        }
        let latest = (now_ms + self.leeway_ms) / 1000.0;
        if claims.nbf.into_iter().chain(claims.iat).any(|begin| begin > latest) {
            return Err(invalid("`nbf` or `iat` lies in the future; they count seconds, not milliseconds"));
        }
        if !(0.0..=LATEST_SECOND).contains(&claims.exp) {
            return Err(invalid("`exp` is out of range; it counts seconds, not milliseconds"));
        }
        let admin = self.dev || claims.aud.includes(&self.admin_audience);
        let grant = Grant::from_claims(claims, admin).map_err(invalid)?;
        // Last, so that "expired" means that a fresh token of the same kind would do.
        self.check_time(&grant, now_ms)?;
        Ok(grant)
    }

    /// Whether what a good token allows still holds at `now_ms`.
    pub fn check_time(&self, grant: &Grant, now_ms: f64) -> Result<(), Refusal> {
        if now_ms >= grant.expires_at_ms + self.leeway_ms {
            return Err(Refusal { code: ErrorCode::TokenExpired, reason: Cow::Borrowed("expired") });
        }
        Ok(())
    }
}

/// Why the section `[auth]` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum AuthConfigError {
    #[error(
        "no key to check tokens with: add [[auth.keys]] with algorithm = \"HS256\" and secret_file = \"…\", \
         or [[auth.jwks]] with the url of a key set, \
         or set RALLYPOINT_AUTH__KEYS__0__ALGORITHM and RALLYPOINT_AUTH__KEYS__0__SECRET; \
         to try things out, start with --dev"
    )]
    NoKey,
    #[error(
        "no audience: set audience = \"…\" in [auth] or RALLYPOINT_AUTH__AUDIENCE to the `aud` of your tokens, \
         so that a token made for another service is no key to this one; to try things out, start with --dev"
    )]
    NoAudience,
    #[error("{error}")]
    Key { index: usize, error: KeyError },
    #[error("`kid` and `issuer` must not be empty; leave them out instead")]
    EmptyName { index: usize },
    #[error("the kid `{DEVELOPMENT_KID}` is reserved for the key of --dev")]
    ReservedKid { index: usize },
    #[error("several keys of one issuer: each needs a `kid` of its own")]
    Ambiguous { index: usize },
    #[error("{error}")]
    Set { index: usize, error: SourceError },
    #[error("an issuer has one key set, and keys beside it only with a `kid`")]
    SetAmbiguous { index: usize },
}

impl AuthConfigError {
    /// Where in the configuration it belongs, `auth.keys[0]`.
    pub fn place(&self) -> String {
        match self {
            Self::NoKey => "auth.keys".to_owned(),
            Self::NoAudience => "auth.audience".to_owned(),
            Self::Key { index, .. }
            | Self::EmptyName { index }
            | Self::ReservedKid { index }
            | Self::Ambiguous { index } => format!("auth.keys[{index}]"),
            Self::Set { index, .. } | Self::SetAmbiguous { index } => format!("auth.jwks[{index}]"),
        }
    }
}

/// Makes tokens.
pub struct Minter {
    key: EncodingKey,
    header: Header,
}

impl Minter {
    /// Reads the key and proves that it signs. The development key writes its own `kid`.
    pub fn new(source: &KeySource) -> Result<Self, KeyError> {
        let (algorithm, key) = source.encoding_key()?;
        let mut header = Header::new(algorithm.jwa());
        if *source == KeySource::Development {
            header.kid = Some(DEVELOPMENT_KID.to_owned());
        }
        jsonwebtoken::encode(&header, &Claims::default(), &key).map_err(|_| KeyError::NotPrivate)?;
        Ok(Self { key, header })
    }

    /// Writes this `kid` into every token.
    #[must_use]
    pub fn with_kid(mut self, kid: &str) -> Self {
        self.header.kid = Some(kid.to_owned());
        self
    }

    /// A token with these claims.
    pub fn mint(&self, claims: &Claims) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.key).expect("claims are JSON and the key signed in `new`")
    }
}

#[cfg(test)]
mod tests;
