//! The keys of the matrix, made anew by every run: one issuer with a key for each algorithm, one with a single key,
//! and one whose key has no name. Tokens are put together and signed here by hand, so that they can be as wrong as a
//! row needs them, and so that the server's own library does not have the last word about itself.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaEncoding,
        RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rallypoint::{
    auth::keys::{Algorithm, Secret},
    config::{Config, KeyConfig},
};
use serde_json::{Value, json};

use crate::support::{AUDIENCE, ISSUER, SECRET};

/// Has four keys: `hs`, `rs`, `es` and `ed`.
pub(super) const MANY: &str = "https://many.test";
/// The secret of [`MANY`], which makes its tokens with it as well.
pub(super) const SHARED: &[u8] = b"a secret of an issuer with several keys, one of each kind";
/// Has one key, `only`, for ES256.
pub(super) const ONE: &str = "https://one.test";

pub(super) struct Keys {
    pub(super) rs: RsaKeyPair,
    pub(super) es: EcdsaKeyPair,
    pub(super) ed: Ed25519KeyPair,
    pub(super) one: EcdsaKeyPair,
}

/// A public key.
pub(super) struct Public {
    pub(super) kid: &'static str,
    /// As SubjectPublicKeyInfo.
    pub(super) der: Vec<u8>,
    /// Without a word about its kind: an RSAPublicKey, a point, 32 bytes.
    pub(super) bare: Vec<u8>,
}

/// What makes the signature of a token.
#[derive(Clone, Copy)]
pub(super) enum Signer<'a> {
    Hmac(hmac::Algorithm, &'a [u8]),
    Rsa(&'a RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(&'a EcdsaKeyPair),
    Ed(&'a Ed25519KeyPair),
    /// These bytes.
    Bytes(&'a [u8]),
}

impl Signer<'_> {
    fn sign(self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Hmac(algorithm, secret) => hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec(),
            Self::Rsa(key, padding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, message, &mut signature).expect("the key is large enough");
                signature
            }
            Self::Ecdsa(key) => key.sign(&random, message).expect("the key signs").as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

pub(super) fn hs256(secret: &[u8]) -> Signer<'_> {
    Signer::Hmac(hmac::HMAC_SHA256, secret)
}

pub(super) fn part(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with this header and payload (RFC 7515 section 7.1), whatever they are.
pub(super) fn jws(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, signer: Signer<'_>) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let signature = part(signer.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

pub(super) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is past 1970").as_secs()
}

/// The claims of a good token with these put in place of its own; `null` takes one out.
pub(super) fn claims(changes: Value) -> String {
    let mut claims = json!({
        "sub": "ada", "iss": MANY, "aud": AUDIENCE, "exp": now() + 3600,
        "rooms": [{ "r": "*", "do": ["watch", "publish"] }],
    });
    let fields = claims.as_object_mut().expect("a map");
    for (name, value) in changes.as_object().expect("a map") {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

/// The claims of a good token where this one is written so. What serde would not write can be said here.
pub(super) fn claim_as(name: &str, text: &str) -> String {
    let others = claims(json!({ name: null }));
    format!(r#"{},"{name}":{text}}}"#, others.strip_suffix('}').expect("a map"))
}

pub(super) fn header(alg: &str, kid: &str) -> String {
    json!({ "alg": alg, "typ": "JWT", "kid": kid }).to_string()
}

impl Keys {
    pub(super) fn generate() -> Self {
        let p256 = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("randomness");
        Self {
            rs: RsaKeyPair::generate(KeySize::Rsa2048).expect("randomness"),
            es: p256(),
            ed: Ed25519KeyPair::generate().expect("randomness"),
            one: p256(),
        }
    }

    /// Name of the algorithm, `kid` and key of each key of [`MANY`].
    pub(super) fn all(&self) -> [(&'static str, &'static str, Signer<'_>); 4] {
        [
            ("HS256", "hs", hs256(SHARED)),
            ("RS256", "rs", Signer::Rsa(&self.rs, &RSA_PKCS1_SHA256)),
            ("ES256", "es", Signer::Ecdsa(&self.es)),
            ("EdDSA", "ed", Signer::Ed(&self.ed)),
        ]
    }

    /// What everybody may know of [`MANY`].
    pub(super) fn public(&self) -> [Public; 3] {
        fn public(kid: &'static str, key: &(impl AsDer<PublicKeyX509Der<'static>> + AsRef<[u8]>)) -> Public {
            Public { kid, der: spki(key), bare: key.as_ref().to_vec() }
        }
        [public("rs", self.rs.public_key()), public("es", self.es.public_key()), public("ed", self.ed.public_key())]
    }

    /// A token of [`MANY`], signed as it should be.
    pub(super) fn token(&self, payload: impl AsRef<[u8]>) -> String {
        self.headed(header("HS256", "hs"), payload)
    }

    /// A token with this header, signed with the secret of [`MANY`].
    pub(super) fn headed(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        jws(header, payload, hs256(SHARED))
    }

    /// What the server is told.
    pub(super) fn configure(&self, config: &mut Config) {
        let key = |issuer: &str, kid: &str, algorithm| KeyConfig {
            kid: Some(kid.to_owned()),
            issuer: Some(issuer.to_owned()),
            algorithm,
            secret: None,
            ..KeyConfig::of_secret("")
        };
        let [rs, es, ed] = self.public().map(|public| Some(pem(&public.der)));
        let secret = Some(Secret(String::from_utf8(SHARED.to_vec()).expect("the secret is text")));
        config.auth.keys = vec![
            KeyConfig { secret, ..key(MANY, "hs", Algorithm::Hs256) },
            KeyConfig { public_key: rs, ..key(MANY, "rs", Algorithm::Rs256) },
            KeyConfig { public_key: es, ..key(MANY, "es", Algorithm::Es256) },
            KeyConfig { public_key: ed, ..key(MANY, "ed", Algorithm::EdDsa) },
            KeyConfig { public_key: Some(pem(&spki(self.one.public_key()))), ..key(ONE, "only", Algorithm::Es256) },
            KeyConfig { issuer: Some(ISSUER.to_owned()), ..KeyConfig::of_secret(SECRET) },
        ];
        // Wide apart, so that a slow machine does not run out of a token's time in the middle of its rows.
        config.auth.leeway_ms = LEEWAY * 1000;
        config.limits.expiry_grace_ms = 600_000;
    }
}

/// Tolerance of the servers here, in seconds.
pub(super) const LEEWAY: u64 = 120;

fn spki(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Vec<u8> {
    key.as_der().expect("a public key has this form").as_ref().to_vec()
}

pub(super) fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64")).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}
