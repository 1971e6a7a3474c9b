//! The attacks on tokens that the verifier must survive, as tables.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::auth::{
    AdminRight, KeyConfig,
    keys::Secret,
    pem::testing::{Pair, pair_for},
};

const NOW: f64 = 1_800_000_000_000.0;
const SECRET: &str = "a secret that is long enough for HS256";

fn config(keys: Vec<KeyConfig>) -> AuthConfig {
    AuthConfig { audience: Some("game".into()), keys, ..AuthConfig::default() }
}

fn secret_key(issuer: Option<&str>, kid: Option<&str>, secret: &str) -> KeyConfig {
    KeyConfig { issuer: issuer.map(Into::into), kid: kid.map(Into::into), ..KeyConfig::of_secret(secret) }
}

fn public_key(algorithm: Algorithm, public: &str) -> KeyConfig {
    KeyConfig { algorithm, secret: None, public_key: Some(public.into()), ..KeyConfig::of_secret("") }
}

fn verifier(keys: Vec<KeyConfig>) -> Verifier {
    Verifier::new(&config(keys)).unwrap()
}

fn claims(changes: Value) -> Value {
    let mut claims = json!({"sub": "ada", "iss": "accounts", "aud": "game", "exp": 1_800_000_060});
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(key),
            value => claims.as_object_mut().unwrap().insert(key.clone(), value.clone()),
        };
    }
    claims
}

/// A token with any header, signed with HMAC whatever the header says.
fn forge(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn token(changes: Value) -> String {
    forge(&json!({"alg": "HS256"}), &claims(changes), SECRET.as_bytes())
}

fn outcome(verifier: &Verifier, token: &str) -> Result<(), ErrorCode> {
    verifier.verify(token, NOW).map(|_| ())
}

const INVALID: Result<(), ErrorCode> = Err(ErrorCode::TokenInvalid);

#[test]
fn a_good_token_becomes_a_grant() {
    let verifier = verifier(vec![KeyConfig::of_secret(SECRET)]);
    let grant = verifier.verify(&token(json!({"rooms": [{"r": "*", "do": ["join"]}]})), NOW).unwrap();
    assert_eq!(grant.user.as_str(), "ada");
    assert_eq!(grant.expires_at_ms, 1_800_000_060_000.0);
    assert_eq!(grant.rooms.len(), 1);
}

#[test]
fn headers_do_not_choose_the_algorithm() {
    let shared = verifier(vec![KeyConfig::of_secret(SECRET)]);
    let good = claims(json!({}));
    let sign = |header: Value, secret: &str| forge(&header, &good, secret.as_bytes());
    for alg in ["none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA", "", "hs256"] {
        assert_eq!(outcome(&shared, &sign(json!({"alg": alg}), SECRET)), INVALID, "{alg}");
    }
    let unsigned = sign(json!({"alg": "none"}), SECRET);
    let (message, _) = unsigned.rsplit_once('.').unwrap();
    assert_eq!(outcome(&shared, &format!("{message}.")), INVALID);
    assert_eq!(outcome(&shared, message), INVALID);
    let pairs =
        [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].map(|algorithm| (algorithm, pair_for(algorithm)));
    for (algorithm, Pair { public, .. }) in &pairs {
        let verifier = verifier(vec![public_key(*algorithm, public)]);
        // The public key as an HMAC secret: with and without PEM armour.
        let bare: String = public.lines().filter(|line| !line.starts_with('-')).collect();
        for secret in [public.as_str(), public.trim_end(), &bare] {
            for alg in ["HS256", algorithm.name()] {
                assert_eq!(outcome(&verifier, &sign(json!({"alg": alg}), secret)), INVALID, "{alg} for {algorithm}");
            }
        }
        for (signer, Pair { private, .. }) in &pairs {
            let minter = Minter::new(&KeySource::PrivatePem(private.clone())).unwrap();
            let signed = minter.mint(&serde_json::from_value(good.clone()).unwrap());
            let expected = if signer == algorithm { Ok(()) } else { INVALID };
            assert_eq!(outcome(&verifier, &signed), expected, "{signer} for {algorithm}");
            assert_eq!(outcome(&shared, &signed), INVALID);
        }
    }
}

#[test]
fn headers_that_point_to_keys_are_not_followed() {
    let verifier = verifier(vec![KeyConfig::of_secret(SECRET)]);
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("attacker's own secret, long enough!")});
    let header = json!({"alg": "HS256", "jwk": jwk, "jku": "https://evil.example", "x5u": "https://evil.example"});
    let sign = |header: &Value, secret: &str| forge(header, &claims(json!({})), secret.as_bytes());
    assert_eq!(outcome(&verifier, &sign(&header, "attacker's own secret, long enough!")), INVALID);
    assert_eq!(outcome(&verifier, &sign(&header, SECRET)), Ok(()));
    for crit in [json!(["b64"]), json!([]), json!("exp")] {
        assert_eq!(outcome(&verifier, &sign(&json!({"alg": "HS256", "crit": crit}), SECRET)), INVALID);
    }
}

#[test]
fn kid_and_issuer_pick_the_key() {
    let other = "another secret that is long enough too";
    let two = verifier(vec![secret_key(None, Some("a"), SECRET), secret_key(None, Some("b"), other)]);
    let one = verifier(vec![secret_key(None, Some("a"), SECRET)]);
    let unnamed = verifier(vec![secret_key(None, None, SECRET)]);
    let issuers = verifier(vec![secret_key(Some("x"), None, SECRET), secret_key(None, None, other)]);
    let named = verifier(vec![secret_key(Some("x"), None, SECRET)]);
    let sign = |kid: Option<&str>, iss: Option<&str>, secret: &str| {
        let header = kid.map_or(json!({"alg": "HS256"}), |kid| json!({"alg": "HS256", "kid": kid}));
        forge(&header, &claims(json!({ "iss": iss.unwrap_or("accounts") })), secret.as_bytes())
    };
    let table = [
        ("right kid", &two, sign(Some("b"), None, other), true),
        ("the other's kid", &two, sign(Some("a"), None, other), false),
        ("unknown kid", &two, sign(Some("c"), None, SECRET), false),
        ("no kid, two keys", &two, sign(None, None, SECRET), false),
        ("no kid, one key", &one, sign(None, None, SECRET), true),
        ("wrong kid, one key", &one, sign(Some("b"), None, SECRET), false),
        ("any kid, unnamed key", &unnamed, sign(Some("2026"), None, SECRET), true),
        ("the development kid", &unnamed, sign(Some(DEVELOPMENT_KID), None, DEVELOPMENT_SECRET), false),
        ("issuer with its key", &issuers, sign(None, Some("x"), SECRET), true),
        ("issuer with another's key", &issuers, sign(None, Some("x"), other), false),
        ("unnamed issuer", &issuers, sign(None, Some("y"), other), true),
        ("unnamed issuer with x's key", &issuers, sign(None, Some("y"), SECRET), false),
        ("unknown issuer, all named", &named, sign(None, Some("y"), SECRET), false),
    ];
    for (what, verifier, token, good) in table {
        assert_eq!(outcome(verifier, &token).is_ok(), good, "{what}");
    }
}

#[test]
fn an_issuer_is_named_except_in_development() {
    let table = [
        (json!({"iss": "anybody"}), true),
        (json!({"iss": null}), false),
        (json!({"iss": ""}), false),
        (json!({"iss": 7}), false),
        (json!({"iss": ["accounts"]}), false),
    ];
    for (changes, good) in table {
        let token = token(changes.clone());
        let any = verifier(vec![KeyConfig::of_secret(SECRET)]);
        assert_eq!(outcome(&any, &token).is_ok(), good, "{changes}");
        let named = verifier(vec![secret_key(Some("x"), None, SECRET)]);
        assert_eq!(outcome(&named, &token), INVALID, "{changes}");
        let dev = Verifier::new(&AuthConfig { dev: true, ..config(vec![KeyConfig::of_secret(SECRET)]) }).unwrap();
        let whole = changes["iss"].is_string() || changes["iss"].is_null();
        assert_eq!(outcome(&dev, &token).is_ok(), whole, "{changes}");
    }
}

#[test]
fn times_are_compared_with_the_clock_given() {
    let verifier = verifier(vec![KeyConfig::of_secret(SECRET)]);
    let expired = Err(ErrorCode::TokenExpired);
    let table = [
        (json!({"exp": 1_800_000_000}), Ok(())),
        (json!({"exp": 1_799_999_970.5}), Ok(())),
        (json!({"exp": 1_799_999_970}), expired),
        (json!({"exp": 1}), expired),
        (json!({"exp": null}), INVALID),
        (json!({"exp": -1}), INVALID),
        (json!({"exp": "1800000060"}), INVALID),
        (json!({"exp": 1_800_000_060_000_u64}), INVALID),
        (json!({"nbf": 1_800_000_030}), Ok(())),
        (json!({"nbf": 1_800_000_031}), INVALID),
        (json!({"iat": 1_800_000_031}), INVALID),
        (json!({"iat": 1_700_000_000}), Ok(())),
        // Expired is said only when a fresh token of the same kind would do.
        (json!({"exp": 1, "aud": "other"}), INVALID),
        (json!({"exp": 1, "nbf": 1_800_000_031}), INVALID),
        (json!({"exp": 1, "sub": "a b"}), INVALID),
    ];
    for (changes, expected) in table {
        assert_eq!(outcome(&verifier, &token(changes.clone())), expected, "{changes}");
    }
    let mut forged = token(json!({"exp": 1}));
    forged.pop();
    assert_eq!(outcome(&verifier, &forged), INVALID);
}

#[test]
fn the_audience_must_be_ours() {
    let strict = verifier(vec![KeyConfig::of_secret(SECRET)]);
    let dev = Verifier::new(&AuthConfig { dev: true, ..config(vec![KeyConfig::of_secret(SECRET)]) }).unwrap();
    let table = [
        (json!({"aud": "game"}), true),
        (json!({"aud": ["other", "game"]}), true),
        (json!({"aud": "other"}), false),
        (json!({"aud": []}), false),
        (json!({"aud": null}), false),
    ];
    for (changes, good) in table {
        assert_eq!(outcome(&strict, &token(changes.clone())).is_ok(), good, "{changes}");
        assert_eq!(outcome(&dev, &token(changes.clone())), Ok(()), "{changes}");
    }
}

#[test]
fn admin_needs_the_admin_audience() {
    let keys = || vec![KeyConfig::of_secret(SECRET)];
    let strict = verifier(keys());
    let dev = Verifier::new(&AuthConfig { dev: true, ..config(keys()) }).unwrap();
    let plain = token(json!({"admin": ["kick"]}));
    let admin = token(json!({"admin": ["kick"], "aud": ["game", "rallypoint-admin"]}));
    let kick = |verifier: &Verifier, token| verifier.verify(token, NOW).unwrap().has_admin(AdminRight::Kick);
    assert!(!kick(&strict, &plain));
    assert!(kick(&strict, &admin));
    assert!(kick(&dev, &plain));
}

#[test]
fn the_development_secret_works_in_dev_only() {
    let mint = |source: &KeySource| {
        Minter::new(source).unwrap().mint(&serde_json::from_value(claims(json!({"aud": null}))).unwrap())
    };
    let development = mint(&KeySource::Development);
    let by_hand = mint(&KeySource::Secret(DEVELOPMENT_SECRET.into()));
    let alone = Verifier::new(&AuthConfig { dev: true, ..AuthConfig::default() }).unwrap();
    let beside = Verifier::new(&AuthConfig { dev: true, ..config(vec![KeyConfig::of_secret(SECRET)]) }).unwrap();
    assert_eq!(outcome(&alone, &development), Ok(()));
    assert_eq!(outcome(&alone, &by_hand), Ok(()));
    assert_eq!(outcome(&beside, &development), Ok(()));
    assert_eq!(outcome(&verifier(vec![KeyConfig::of_secret(SECRET)]), &development), INVALID);
}

#[test]
fn junk_and_oversized_tokens_are_refused() {
    let verifier = verifier(vec![KeyConfig::of_secret(SECRET)]);
    for junk in ["", ".", "..", "...", "a.b.c", "a.b.c.d", "é.é.é", "bearer"] {
        assert_eq!(outcome(&verifier, junk), INVALID, "{junk}");
    }
    let pad = |len: usize| token(json!({ "other": "x".repeat(len) }));
    assert_eq!(outcome(&verifier, &pad(5900)), Ok(()));
    let long = pad(6200);
    assert!(long.len() > TOKEN_MAX);
    assert_eq!(outcome(&verifier, &long), INVALID);
    let twice = r#"{"sub":"ada","sub":"root","iss":"accounts","aud":"game","exp":1800000060}"#;
    let message = [r#"{"alg":"HS256"}"#, twice].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    assert_eq!(outcome(&verifier, &format!("{message}.{signature}")), INVALID);
}

#[test]
fn an_unusable_set_of_keys_is_refused() {
    let key = |issuer, kid| secret_key(issuer, kid, SECRET);
    let refused = |config: AuthConfig| Verifier::new(&config).err();
    let ambiguous = Some(AuthConfigError::Ambiguous { index: 1 });
    assert_eq!(refused(config(vec![])), Some(AuthConfigError::NoKey));
    assert_eq!(
        refused(AuthConfig { audience: None, ..config(vec![key(None, None)]) }),
        Some(AuthConfigError::NoAudience)
    );
    assert_eq!(refused(config(vec![key(None, None), key(None, Some("a"))])), ambiguous);
    assert_eq!(refused(config(vec![key(None, Some("a")), key(None, Some("a"))])), ambiguous);
    assert_eq!(refused(config(vec![key(None, Some("a")), key(Some("x"), Some("a"))])), None);
    assert_eq!(
        refused(config(vec![key(None, Some(DEVELOPMENT_KID))])),
        Some(AuthConfigError::ReservedKid { index: 0 })
    );
    for empty in [key(Some(""), Some("a")), key(Some("x"), Some(""))] {
        assert_eq!(refused(config(vec![key(None, None), empty])), Some(AuthConfigError::EmptyName { index: 1 }));
    }
    let short = KeyConfig { secret: Some(Secret("short".into())), ..key(None, None) };
    let expected = AuthConfigError::Key { index: 0, error: KeyError::Short(5) };
    assert_eq!(refused(config(vec![short])), Some(expected));
}

/// Whoever signs their first tokens wants to know which claim it is; what stands in it is nobody's business.
#[test]
fn the_claim_that_is_wrong_is_named() {
    let verifier = verifier(vec![secret_key(None, None, SECRET)]);
    let reason = |changes| verifier.check(&token(changes), NOW).unwrap_err().reason;
    assert!(reason(json!({"exp": null})).contains("missing field `exp`"), "{}", reason(json!({"exp": null})));
    assert!(reason(json!({"rooms": [{"r": "call/7"}]})).contains("missing field `do`"));
    for secret in ["hush", "hush, expected hush"] {
        let wrong = reason(json!({"exp": secret}));
        assert!(wrong.contains("expected f64 at line 1") && !wrong.contains("hush"), "{wrong}");
        let wrong = reason(json!({"rooms": [secret]}));
        assert!(wrong.contains("expected a map at line 1") && !wrong.contains("hush"), "{wrong}");
    }
    assert!(reason(json!({"iat": 1.8e12})).contains("seconds, not milliseconds"));
}
