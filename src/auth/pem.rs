//! Keys in PEM (RFC 7468): which kind of key a text holds, and the key in the form that signs and
//! checks. [`keys`](super::keys) hands its texts over.
//!
//! The kind is read from the key's own algorithm identifier before anything is done with it, so that
//! a key of the wrong kind is told at start and not by every token that fails.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::keys::{Algorithm, KeyError};

/// Shortest RSA modulus, in bits (RFC 7518 section 3.3).
pub const RSA_MIN: usize = 2048;
/// Longest RSA modulus, in bits: a longer one makes every check slow.
pub const RSA_MAX: usize = 8192;

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, for RS256.
    Rsa,
    /// Elliptic curve P-256, for ES256.
    P256,
    /// Ed25519, for EdDSA.
    Ed25519,
    /// Elliptic curve, but none that is of use here.
    OtherCurve,
    /// Something else: DSA, Ed448, RSA limited to PSS …
    Other,
}

impl KeyKind {
    /// The kind with this AlgorithmIdentifier (RFC 5280 section 4.1.1.2), given as the content of its
    /// SEQUENCE.
    fn of(identifier: &[u8]) -> Self {
        /// rsaEncryption; NULL follows (RFC 3279 section 2.3.1).
        const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
        /// id-ecPublicKey; the name of the curve follows (RFC 5480 section 2.1.1).
        const EC: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
        const SECP256R1: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
        /// id-Ed25519; nothing follows (RFC 8410 section 3).
        const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
        if identifier.starts_with(RSA) {
            return Self::Rsa;
        }
        match identifier.strip_prefix(EC) {
            Some(SECP256R1) => Self::P256,
            Some(_) => Self::OtherCurve,
            None if identifier == ED25519 => Self::Ed25519,
            None => Self::Other,
        }
    }

    /// The algorithm that keys of this kind sign with.
    pub fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Rsa => Some(Algorithm::Rs256),
            Self::P256 => Some(Algorithm::Es256),
            Self::Ed25519 => Some(Algorithm::EdDsa),
            Self::OtherCurve | Self::Other => None,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "an RSA key (RS256)",
            Self::P256 => "a P-256 key (ES256)",
            Self::Ed25519 => "an Ed25519 key (EdDSA)",
            Self::OtherCurve => "a key of another elliptic curve",
            Self::Other => "a key of another kind",
        })
    }
}

/// Whether the text is in PEM at all.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}

/// The public key (SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7) in this text, for this algorithm.
pub(super) fn public_key(algorithm: Algorithm, text: &str) -> Result<DecodingKey, KeyError> {
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyError::PrivateForPublic);
    }
    let der = block(text, "PUBLIC KEY")?.ok_or(KeyError::NotPublic)?;
    let (kind, key) = spki(&der).ok_or(KeyError::NotPublic)?;
    if kind.algorithm() != Some(algorithm) {
        return Err(KeyError::WrongKind { algorithm, found: kind });
    }
    let check: (&'static dyn VerificationAlgorithm, _) = match kind {
        KeyKind::Rsa => {
            check_modulus(modulus(key, false).ok_or(KeyError::NotPublic)?)?;
            (&RSA_PKCS1_2048_8192_SHA256, DecodingKey::from_rsa_der(key))
        }
        KeyKind::P256 => (&ECDSA_P256_SHA256_FIXED, DecodingKey::from_ec_der(key)),
        _ => (&ED25519, DecodingKey::from_ed_der(key)),
    };
    // A point that is not on the curve, for one: such a key would refuse every token.
    ParsedPublicKey::new(check.0, key).map_err(|_| KeyError::NotPublic)?;
    Ok(check.1)
}

/// The private key (PKCS #8, RFC 5958) in this text, and the algorithm it signs with.
pub(super) fn private_key(text: &str) -> Result<(Algorithm, EncodingKey), KeyError> {
    let Some(der) = block(text, "PRIVATE KEY")? else {
        return Err(match text {
            text if text.contains("PRIVATE KEY-----") => KeyError::NotPkcs8,
            text if text.contains("PUBLIC KEY-----") => KeyError::PublicForPrivate,
            _ => KeyError::NotPrivate,
        });
    };
    let (kind, key) = pkcs8(&der).ok_or(KeyError::NotPrivate)?;
    let algorithm = kind.algorithm().ok_or(KeyError::NoUse(kind))?;
    let key = match kind {
        KeyKind::Rsa => {
            check_modulus(modulus(key, true).ok_or(KeyError::NotPrivate)?)?;
            EncodingKey::from_rsa_der(key)
        }
        KeyKind::P256 => EncodingKey::from_ec_der(&der),
        _ => EncodingKey::from_ed_der(&der),
    };
    Ok((algorithm, key))
}

fn check_modulus(bits: usize) -> Result<(), KeyError> {
    if (RSA_MIN..=RSA_MAX).contains(&bits) { Ok(()) } else { Err(KeyError::RsaSize(bits)) }
}

/// The bytes of the one block with this label; `None` if there is none, or it is damaged.
fn block(text: &str, label: &str) -> Result<Option<Vec<u8>>, KeyError> {
    let begin = format!("-----BEGIN {label}-----");
    let Some((_, rest)) = text.split_once(&begin) else { return Ok(None) };
    // Taking the first of several would leave the others unused without a word.
    if rest.contains(&begin) {
        return Err(KeyError::SeveralKeys);
    }
    let Some((body, _)) = rest.split_once(&format!("-----END {label}-----")) else { return Ok(None) };
    let body: String = body.split_ascii_whitespace().collect();
    Ok(STANDARD.decode(body).ok())
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Takes the element with this tag off the front and returns its content (DER, X.690 section 10.1).
/// Lengths have at most two bytes: 64 KiB are more than any key has.
fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (len.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    *input = rest;
    (found == tag).then_some(content)
}

/// `SEQUENCE { AlgorithmIdentifier, BIT STRING }`
fn spki(mut der: &[u8]) -> Option<(KeyKind, &[u8])> {
    let mut info = take(&mut der, SEQUENCE)?;
    let kind = KeyKind::of(take(&mut info, SEQUENCE)?);
    // The first byte of a bit string counts the bits to leave out at its end.
    let key = take(&mut info, BIT_STRING)?.strip_prefix(&[0])?;
    (der.is_empty() && info.is_empty()).then_some((kind, key))
}

/// `SEQUENCE { INTEGER, AlgorithmIdentifier, OCTET STRING, … }`
fn pkcs8(mut der: &[u8]) -> Option<(KeyKind, &[u8])> {
    let mut info = take(&mut der, SEQUENCE)?;
    take(&mut info, INTEGER)?;
    let kind = KeyKind::of(take(&mut info, SEQUENCE)?);
    let key = take(&mut info, OCTET_STRING)?;
    der.is_empty().then_some((kind, key))
}

/// The length of the modulus in bits: the first number of a public RSA key, the second of a private
/// one, which begins with its version (RFC 8017, appendix A.1).
fn modulus(mut key: &[u8], private: bool) -> Option<usize> {
    let mut numbers = take(&mut key, SEQUENCE)?;
    if private {
        take(&mut numbers, INTEGER)?;
    }
    let modulus = take(&mut numbers, INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// Key pairs for tests: made anew by every run.
#[cfg(test)]
pub(crate) mod testing {
    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
        rsa::KeySize,
        signature::{
            ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
        },
    };

    use super::*;

    /// A private and a public key in PEM.
    pub(crate) struct Pair {
        pub(crate) private: String,
        pub(crate) public: String,
    }

    pub(crate) fn pem(label: &str, der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    fn pair(private: &[u8], public: &impl AsDer<PublicKeyX509Der<'static>>) -> Pair {
        Pair { private: pem("PRIVATE KEY", private), public: pem("PUBLIC KEY", public.as_der().unwrap().as_ref()) }
    }

    pub(crate) fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Pair {
        let key = EcdsaKeyPair::generate(algorithm).unwrap();
        pair(key.to_pkcs8v1().unwrap().as_ref(), key.public_key())
    }

    /// A new public key as JSON (RFC 7517), by this name.
    pub(crate) fn jwk(algorithm: Algorithm, kid: &str) -> serde_json::Value {
        let encoded = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let der = block(&pair_for(algorithm).public, "PUBLIC KEY").unwrap().unwrap();
        let (_, key) = spki(&der).unwrap();
        match algorithm {
            Algorithm::Hs256 => panic!("a secret is no public key"),
            Algorithm::Rs256 => {
                let (mut key, mut numbers) = (key, [&[][..]; 2]);
                let mut sequence = take(&mut key, SEQUENCE).unwrap();
                numbers.fill_with(|| take(&mut sequence, INTEGER).unwrap());
                // DER writes a zero before a number whose first bit is set; a JWK must not (RFC 7518 section 6.3.1.1).
                let [n, e] = numbers.map(|number| encoded(number.strip_prefix(&[0]).unwrap_or(number)));
                serde_json::json!({ "kty": "RSA", "kid": kid, "n": n, "e": e })
            }
            Algorithm::Es256 => {
                let (x, y) = key.strip_prefix(&[4]).unwrap().split_at(32);
                serde_json::json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": encoded(x), "y": encoded(y) })
            }
            Algorithm::EdDsa => serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encoded(key) }),
        }
    }

    /// A pair that signs with this algorithm.
    pub(crate) fn pair_for(algorithm: Algorithm) -> Pair {
        match algorithm {
            Algorithm::Hs256 => panic!("a secret has no two halves"),
            Algorithm::Rs256 => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
                pair(private.as_ref(), key.public_key())
            }
            Algorithm::Es256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::EdDsa => {
                let key = Ed25519KeyPair::generate().unwrap();
                pair(key.to_pkcs8v1().unwrap().as_ref(), key.public_key())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING};

    use super::{
        testing::{Pair, ec, pair_for, pem},
        *,
    };

    /// `openssl genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:1024 | openssl pkey -pubout`
    const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDVw3h8UjeEMwR86krrpWscgUrO\n\
        ZtfupUGJMJWqk/cEpJBbhQtDVuXSlg/SQM4y9/sEJer6mU4B9g+5kCNNLgyUaGbs\n\
        jZu+2dDCNnc9NcbGAQxoftFttFQBLbmhttYnIRABIGiULV4dwfHeatMfAqCEDRqF\n\
        FuoQDErYXHA+vN6OPwIDAQAB\n\
        -----END PUBLIC KEY-----";
    /// `openssl genpkey -algorithm rsa-pss -pkeyopt rsa_keygen_bits:2048 | openssl pkey -pubout`
    const RSA_PSS: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBAKDELe3J+nExWdtXu6JCPgAx\n\
        6+vcGJIed7hfIlmcYrBLpUit5G33S3kXV6ZFNvgv++BQsSt+A8oUIdUDqyxTziv5\n\
        ai1p8eDuOH8R1EtLUe8Lhd9ez9oEWghW1ApIlJpZmJp5hRISeN9wJRuuh3BD7Vyt\n\
        fcPbn4f8jZ/oKVCCL4haaqgBx4cDpHyAnqgrR5UpCU41ncDfcknpZCb8IttzwFbM\n\
        e7aGRQu23j3S1CsEsLJKnWW8u8XqW0hUMv4CD8jYz+Y185vcJ7UqpZyBq5YxAplg\n\
        xfIz65yeWPrp1INavPtjI0vVYdOcmlTyOR05uDO9iT2ULUBSD9H6IRc2QmK/FDsC\n\
        AwEAAQ==\n\
        -----END PUBLIC KEY-----";

    const ASYMMETRIC: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

    fn public(algorithm: Algorithm, text: &str) -> Result<(), KeyError> {
        public_key(algorithm, text).map(|_| ())
    }

    fn private(text: &str) -> Result<Algorithm, KeyError> {
        private_key(text).map(|(algorithm, _)| algorithm)
    }

    fn private_kind(text: &str) -> KeyKind {
        pkcs8(&block(text, "PRIVATE KEY").unwrap().unwrap()).unwrap().0
    }

    #[test]
    fn each_algorithm_takes_its_own_kind_of_key_only() {
        for own in ASYMMETRIC {
            let Pair { private: secret, public: shared } = pair_for(own);
            assert_eq!(private(&secret), Ok(own));
            for algorithm in ASYMMETRIC {
                let found = private_kind(&secret);
                let expected = if algorithm == own { Ok(()) } else { Err(KeyError::WrongKind { algorithm, found }) };
                assert_eq!(public(algorithm, &shared), expected, "{algorithm} {own}");
                assert_eq!(public(algorithm, &secret), Err(KeyError::PrivateForPublic));
            }
            assert_eq!(private(&shared), Err(KeyError::PublicForPrivate));
            // With text around it, as `openssl pkey -text` writes it, and with the line ends of another system.
            assert_eq!(public(own, &format!("a key\n{}", shared.replace('\n', "\r\n"))), Ok(()));
        }
    }

    #[test]
    fn other_curves_are_told_from_ours() {
        for algorithm in [&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P256K1_SHA256_ASN1_SIGNING] {
            let Pair { private: secret, public: shared } = ec(algorithm);
            let found = KeyKind::OtherCurve;
            let algorithm = Algorithm::Es256;
            assert_eq!(public(algorithm, &shared), Err(KeyError::WrongKind { algorithm, found }));
            assert_eq!(private(&secret), Err(KeyError::NoUse(found)));
        }
    }

    #[test]
    fn weak_and_limited_rsa_keys_are_refused() {
        let algorithm = Algorithm::Rs256;
        assert_eq!(public(algorithm, RSA_1024), Err(KeyError::RsaSize(1024)));
        assert_eq!(public(algorithm, RSA_PSS), Err(KeyError::WrongKind { algorithm, found: KeyKind::Other }));
        // The length is that of the number, whatever stands before it.
        for (bits, number) in [(8, vec![2, 1, 0xff]), (9, vec![2, 2, 1, 0]), (16, vec![2, 4, 0, 0, 0x80, 0])] {
            let key = [&[SEQUENCE, number.len() as u8], &number[..]].concat();
            assert_eq!(modulus(&key, false), Some(bits));
        }
        assert_eq!(modulus(&[SEQUENCE, 2, INTEGER, 0], false), None);
        for (bits, good) in [(2047, false), (2048, true), (8192, true), (8193, false)] {
            assert_eq!(check_modulus(bits).is_ok(), good, "{bits}");
        }
    }

    #[test]
    fn damaged_texts_are_no_keys() {
        for own in ASYMMETRIC {
            let Pair { private: secret, public: shared } = pair_for(own);
            let body = |text: &str, label| block(text, label).unwrap().unwrap();
            let (public_der, private_der) = (body(&shared, "PUBLIC KEY"), body(&secret, "PRIVATE KEY"));
            for len in 0..public_der.len() {
                assert_eq!(public(own, &pem("PUBLIC KEY", &public_der[..len])), Err(KeyError::NotPublic), "{len}");
            }
            for len in 0..private_der.len() {
                assert!(private(&pem("PRIVATE KEY", &private_der[..len])).is_err(), "{len}");
            }
            let more = [&public_der[..], &[0]].concat();
            assert_eq!(public(own, &pem("PUBLIC KEY", &more)), Err(KeyError::NotPublic));
            assert_eq!(public(own, &shared.replace("-----END", "-----FIN")), Err(KeyError::NotPublic));
            assert_eq!(public(own, &shared.replacen('M', "?", 1)), Err(KeyError::NotPublic));
            assert_eq!(public(own, &shared.replace("PUBLIC KEY", "CERTIFICATE")), Err(KeyError::NotPublic));
            assert_eq!(public(own, &shared.repeat(2)), Err(KeyError::SeveralKeys));
            assert_eq!(private(&secret.repeat(2)), Err(KeyError::SeveralKeys));
        }
        let mut off_the_curve = block(&pair_for(Algorithm::Es256).public, "PUBLIC KEY").unwrap().unwrap();
        *off_the_curve.last_mut().unwrap() ^= 1;
        assert_eq!(public(Algorithm::Es256, &pem("PUBLIC KEY", &off_the_curve)), Err(KeyError::NotPublic));
        for other in ["EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            assert_eq!(private(&pem(other, b"whatever")), Err(KeyError::NotPkcs8));
        }
        assert_eq!(private("-----BEGIN NOTHING-----"), Err(KeyError::NotPrivate));
    }
}
