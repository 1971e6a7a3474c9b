//! The keys that sign and check tokens, read from the configuration and the command line.
//! [`Verifier`](super::Verifier) and [`Minter`](super::Minter) are made of them.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::Deserialize;

use super::pem::{self, KeyKind, RSA_MAX, RSA_MIN};

/// The secret that `--dev` accepts and `rallypoint token` signs with by default. Everybody knows
/// it; a configuration that names it outside `--dev` is refused.
pub const DEVELOPMENT_SECRET: &str = "rallypoint-development-secret-known-to-everybody-never-use-it-in-production";
/// The `kid` of tokens signed with [`DEVELOPMENT_SECRET`], so that they find their key beside
/// configured ones.
pub const DEVELOPMENT_KID: &str = "development";
/// Shortest HS256 secret, in bytes: as long as the hash (RFC 7518 section 3.2).
pub const SECRET_MIN: usize = 32;

/// How a key signs. The names are the JWA's (RFC 7518 section 3.1, RFC 8037 section 3.1). With all but
/// the first the server needs the public key only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA with PKCS #1 v1.5 padding and SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA with the curve P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// What a configuration may name.
    pub const NAMES: &'static [&'static str] = &["HS256", "RS256", "ES256", "EdDSA"];

    /// The name in the header of a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn jwa(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    /// The key it needs, in words.
    fn needs(self) -> &'static str {
        match self {
            Self::Hs256 => "a secret",
            Self::Rs256 => "an RSA key",
            Self::Es256 => "a key of the curve P-256 (prime256v1)",
            Self::EdDsa => "an Ed25519 key",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that must not end up in a log.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Whose tokens are accepted: one entry of `[[auth.keys]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The key's name in token headers; required when an issuer has several keys. A key without one
    /// takes whatever name a token gives.
    pub kid: Option<String>,
    /// The `iss` whose tokens this key checks; without it, tokens of every issuer not named
    /// by another key. A token without `iss` is accepted in `--dev` only.
    pub issuer: Option<String>,
    /// The one algorithm that tokens of this key use, whatever their header says.
    pub algorithm: Algorithm,
    /// HS256: the secret, at least [`SECRET_MIN`] bytes.
    pub secret: Option<Secret>,
    /// HS256: a file with the secret; line ends at its end do not count.
    pub secret_file: Option<PathBuf>,
    /// All but HS256: the public key, PEM (SubjectPublicKeyInfo, `-----BEGIN PUBLIC KEY-----`).
    pub public_key: Option<String>,
    /// All but HS256: a file with the public key.
    pub public_key_file: Option<PathBuf>,
}

impl KeyConfig {
    /// An entry that accepts tokens signed with this secret.
    pub fn of_secret(secret: &str) -> Self {
        Self {
            kid: None,
            issuer: None,
            algorithm: Algorithm::Hs256,
            secret: Some(Secret(secret.to_owned())),
            secret_file: None,
            public_key: None,
            public_key_file: None,
        }
    }

    /// Reads and checks the key.
    pub fn decoding_key(&self) -> Result<DecodingKey, KeyError> {
        let (secret, public) = (self.secret.as_ref().map(|secret| secret.0.as_str()), self.public_key.as_deref());
        match self.algorithm {
            Algorithm::Hs256 if public.is_some() || self.public_key_file.is_some() => Err(KeyError::PublicWithHs256),
            Algorithm::Hs256 => {
                let secret = one_of(secret, self.secret_file.as_deref())?.ok_or(KeyError::NoSecret)?;
                check_secret(&secret)?;
                if secret == DEVELOPMENT_SECRET {
                    return Err(KeyError::DevelopmentSecret);
                }
                Ok(DecodingKey::from_secret(secret.as_bytes()))
            }
            algorithm if secret.is_some() || self.secret_file.is_some() => Err(KeyError::SecretWithPublic(algorithm)),
            algorithm => {
                let file = self.public_key_file.as_deref();
                pem::public_key(algorithm, &one_of(public, file)?.ok_or(KeyError::NoPublicKey(algorithm))?)
            }
        }
    }
}

/// A secret or key that is given as text or in a file.
pub(crate) fn one_of(text: Option<&str>, file: Option<&Path>) -> Result<Option<String>, KeyError> {
    match (text, file) {
        (Some(_), Some(_)) => Err(KeyError::Both),
        (Some(text), None) => Ok(Some(text.to_owned())),
        (None, Some(file)) => read(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(file: &Path) -> Result<String, KeyError> {
    let mut text = fs::read_to_string(file)
        .map_err(|error| KeyError::Unreadable { file: file.to_owned(), error: error.kind() })?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// A PEM key as an HS256 secret is the classic confusion: a *public* key would then sign.
pub(super) fn check_secret(secret: &str) -> Result<(), KeyError> {
    match secret.len() {
        _ if pem::is_pem(secret) => Err(KeyError::PemAsSecret),
        len if len < SECRET_MIN => Err(KeyError::Short(len)),
        _ => Ok(()),
    }
}

/// What `rallypoint token` and `/dev/token` sign with.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// [`DEVELOPMENT_SECRET`].
    Development,
    /// HS256 with this secret.
    Secret(String),
    /// This private key, PEM (PKCS #8, `-----BEGIN PRIVATE KEY-----`); its kind says the algorithm.
    PrivatePem(String),
}

impl KeySource {
    /// The key in this text: a private key if it is PEM, otherwise a secret.
    pub fn of_text(text: &str) -> Self {
        if pem::is_pem(text) { Self::PrivatePem(text.to_owned()) } else { Self::Secret(text.to_owned()) }
    }

    /// The key in this file.
    pub fn of_file(file: &Path) -> Result<Self, KeyError> {
        read(file).map(|text| Self::of_text(&text))
    }

    /// The key to sign with and its algorithm.
    pub(super) fn encoding_key(&self) -> Result<(Algorithm, EncodingKey), KeyError> {
        let secret = match self {
            Self::Development => DEVELOPMENT_SECRET,
            Self::Secret(secret) => secret,
            Self::PrivatePem(text) => return pem::private_key(text),
        };
        check_secret(secret)?;
        Ok((Algorithm::Hs256, EncodingKey::from_secret(secret.as_bytes())))
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "Development",
            Self::Secret(_) => "Secret",
            Self::PrivatePem(_) => "PrivatePem",
        })
    }
}

/// Why a key cannot be used. Never holds any part of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum KeyError {
    #[error("HS256 needs `secret` or `secret_file`")]
    NoSecret,
    #[error("{0} needs `public_key` or `public_key_file`")]
    NoPublicKey(Algorithm),
    #[error("the key is given twice: keep either the text or the file")]
    Both,
    #[error("HS256 signs with a secret; `public_key` and `public_key_file` belong to RS256, ES256 and EdDSA")]
    PublicWithHs256,
    #[error("{0} is checked with a public key; `secret` and `secret_file` belong to HS256")]
    SecretWithPublic(Algorithm),
    #[error("cannot read {file}: {error}", file = file.display())]
    Unreadable { file: PathBuf, error: io::ErrorKind },
    #[error("the secret has {0} bytes, at least {SECRET_MIN} are required; `openssl rand -base64 48` makes a good one")]
    Short(usize),
    #[error(
        "the secret looks like a PEM key; an HS256 secret is random text, a PEM public key belongs to RS256, ES256 or EdDSA"
    )]
    PemAsSecret,
    #[error("this is the development secret, which everybody knows; `openssl rand -base64 48` makes one of your own")]
    DevelopmentSecret,
    #[error("this is a private key; the server needs the public one (`openssl pkey -in private.pem -pubout`)")]
    PrivateForPublic,
    #[error(
        "not a public key in PEM (`-----BEGIN PUBLIC KEY-----`); \
         `openssl pkey -in private.pem -pubout` writes one, `openssl x509 -pubkey -noout` takes it from a certificate"
    )]
    NotPublic,
    #[error("{algorithm} needs {needs}, this is {found}", needs = algorithm.needs())]
    WrongKind { algorithm: Algorithm, found: KeyKind },
    #[error("the RSA key has {0} bits; possible are {RSA_MIN} to {RSA_MAX}")]
    RsaSize(usize),
    #[error("several keys in one text; give each a [[auth.keys]] and a `kid` of its own")]
    SeveralKeys,
    #[error("this is a public key; tokens are signed with the private one")]
    PublicForPrivate,
    #[error(
        "the private key is encrypted or in an old form; \
         `openssl pkey -in old.pem -out private.pem` writes it as `-----BEGIN PRIVATE KEY-----`"
    )]
    NotPkcs8,
    #[error("tokens are signed with an RSA key (RS256), a P-256 key (ES256) or an Ed25519 key (EdDSA), this is {0}")]
    NoUse(KeyKind),
    #[error("not a private key in PEM (`-----BEGIN PRIVATE KEY-----`, from `openssl genpkey -algorithm ed25519`)")]
    NotPrivate,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::pem::testing::pair_for;

    fn key(algorithm: Algorithm) -> KeyConfig {
        KeyConfig { algorithm, secret: None, ..KeyConfig::of_secret("") }
    }

    fn hs256(secret: &str) -> Result<(), KeyError> {
        KeyConfig::of_secret(secret).decoding_key().map(|_| ())
    }

    #[test]
    fn weak_and_confused_secrets_are_refused() {
        assert_eq!(hs256(&"x".repeat(32)), Ok(()));
        assert_eq!(hs256(&"x".repeat(31)), Err(KeyError::Short(31)));
        let pair = pair_for(Algorithm::EdDsa);
        assert_eq!(hs256(&pair.public), Err(KeyError::PemAsSecret));
        assert_eq!(hs256(&format!("\n {}", pair.private)), Err(KeyError::PemAsSecret));
        assert_eq!(hs256(DEVELOPMENT_SECRET), Err(KeyError::DevelopmentSecret));
    }

    #[test]
    fn messages_say_what_is_wrong_and_what_would_be_right() {
        let wrong = KeyError::WrongKind { algorithm: Algorithm::Es256, found: KeyKind::Rsa };
        for (error, expected) in [
            (wrong, "ES256 needs a key of the curve P-256 (prime256v1), this is an RSA key (RS256)"),
            (KeyError::RsaSize(1024), "the RSA key has 1024 bits; possible are 2048 to 8192"),
            (KeyError::NoPublicKey(Algorithm::Rs256), "RS256 needs `public_key` or `public_key_file`"),
        ] {
            assert_eq!(error.to_string(), expected);
        }
        let names: Vec<_> =
            [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].map(Algorithm::name).into();
        assert_eq!(names, Algorithm::NAMES);
    }

    #[test]
    fn a_key_comes_from_exactly_one_place() {
        let secret = || Some(Secret("x".repeat(40)));
        let file = || Some(PathBuf::from("/nowhere/at/all"));
        let (hs256, eddsa) = (key(Algorithm::Hs256), key(Algorithm::EdDsa));
        let table = [
            (hs256.clone(), KeyError::NoSecret),
            (eddsa.clone(), KeyError::NoPublicKey(Algorithm::EdDsa)),
            (KeyConfig { secret: secret(), secret_file: file(), ..hs256.clone() }, KeyError::Both),
            (KeyConfig { secret: secret(), public_key_file: file(), ..hs256.clone() }, KeyError::PublicWithHs256),
            (KeyConfig { secret: secret(), ..eddsa }, KeyError::SecretWithPublic(Algorithm::EdDsa)),
            (KeyConfig { secret_file: file(), ..key(Algorithm::Rs256) }, KeyError::SecretWithPublic(Algorithm::Rs256)),
            (
                KeyConfig { secret_file: file(), ..hs256 },
                KeyError::Unreadable { file: file().unwrap_or_default(), error: io::ErrorKind::NotFound },
            ),
        ];
        for (key, expected) in table {
            assert_eq!(key.decoding_key().err(), Some(expected), "{key:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let shown = format!("{:?} {:?}", KeyConfig::of_secret("hush-hush"), KeySource::of_text("hush-hush"));
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_secret_file_may_end_with_a_newline() {
        let file = std::env::temp_dir().join(format!("rallypoint-keys-test-{}", std::process::id()));
        fs::write(&file, format!("{}\r\n", "x".repeat(32))).unwrap();
        let source = KeySource::of_file(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(source, Ok(KeySource::Secret("x".repeat(32))));
    }
}
