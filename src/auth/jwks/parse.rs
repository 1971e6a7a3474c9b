//! A set of keys in JSON (RFC 7517 section 5), as far as its keys check signatures here.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::{KEYS_MAX, SourceError};
use crate::auth::{
    jwt::Key,
    keys::Algorithm,
    pem::{RSA_MAX, RSA_MIN},
};

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The members that are read; whatever else a key has is of no meaning here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set for tokens of this issuer. Keys of other kinds and for other uses are left out, as section 5 has
/// it; a set that holds none for us is an error, since it would refuse everybody.
pub(super) fn keys(text: &[u8], issuer: Option<&String>) -> Result<Vec<Key>, SourceError> {
    let set: Set = serde_json::from_slice(text).map_err(|_| SourceError::NoSet)?;
    let mut keys: Vec<Key> = Vec::new();
    for value in set.keys.into_iter().take(KEYS_MAX) {
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        let Some((algorithm, key)) = jwk.key() else {
            tracing::debug!(kid = jwk.kid, kty = jwk.kty, "a key of the set is of no use here");
            continue;
        };
        // The first of a name counts.
        if !keys.iter().any(|known| known.kid() == jwk.kid.as_deref()) {
            keys.push(Key::new(issuer.cloned(), jwk.kid, algorithm, key));
        }
    }
    if keys.is_empty() { Err(SourceError::NoKey) } else { Ok(keys) }
}

impl Jwk {
    fn key(&self) -> Option<(Algorithm, DecodingKey)> {
        let is = |member: &Option<String>, expected: &str| member.as_deref().is_none_or(|text| text == expected);
        let checks = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !is(&self.purpose, "sig") || !checks {
            return None;
        }
        let (algorithm, key) = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => (Algorithm::Rs256, self.rsa()?),
            ("EC", Some("P-256")) => (Algorithm::Es256, self.p256()?),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, self.ed25519()?),
            _ => return None,
        };
        // RFC 9864 gives EdDSA with this curve a name of its own.
        let named = is(&self.alg, algorithm.name()) || (algorithm == Algorithm::EdDsa && is(&self.alg, "Ed25519"));
        named.then_some((algorithm, key))
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let (n, e) = (self.n.as_deref()?, self.e.as_deref()?);
        let modulus = decoded(n)?;
        let first = modulus.iter().position(|&byte| byte != 0)?;
        let bits = (modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize;
        if !(RSA_MIN..=RSA_MAX).contains(&bits) {
            return None;
        }
        DecodingKey::from_rsa_components(n, e).ok()
    }

    fn p256(&self) -> Option<DecodingKey> {
        let (x, y) = (self.x.as_deref()?, self.y.as_deref()?);
        // An uncompressed point (SEC 1, section 2.3.3).
        let point = [vec![4], decoded(x)?, decoded(y)?].concat();
        is_key(&ECDSA_P256_SHA256_FIXED, &point)?;
        DecodingKey::from_ec_components(x, y).ok()
    }

    fn ed25519(&self) -> Option<DecodingKey> {
        let x = self.x.as_deref()?;
        is_key(&ED25519, &decoded(x)?)?;
        DecodingKey::from_ed_components(x).ok()
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A point that is not on the curve would refuse every token.
fn is_key(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Option<()> {
    ParsedPublicKey::new(algorithm, key).ok().map(|_| ())
}
