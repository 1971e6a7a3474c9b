//! Fetching under a virtual clock, and what of a set is taken.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use serde_json::json;

use super::*;
use crate::auth::{keys::Algorithm, pem::testing};

const LEAST: Duration = Duration::from_secs(10);
const REFRESH: Duration = Duration::from_secs(300);

fn config() -> JwksConfig {
    let url = Some("http://localhost:1/keys".to_owned());
    let [refresh_ms, min_refresh_ms] = [REFRESH, LEAST].map(|time| u64::try_from(time.as_millis()).unwrap());
    JwksConfig { issuer: None, url, file: None, refresh_ms, min_refresh_ms }
}

/// A set with one key of this name.
fn one(kid: &str) -> Vec<Key> {
    let jwk = testing::jwk(Algorithm::EdDsa, kid);
    parse::keys(json!({ "keys": [jwk] }).to_string().as_bytes(), None).unwrap()
}

/// What an endpoint did, under a clock that only the test moves.
#[derive(Default)]
struct Endpoint {
    fetches: Mutex<Vec<Instant>>,
    down: std::sync::atomic::AtomicBool,
    kid: AtomicUsize,
}

impl Fetch for Arc<Endpoint> {
    async fn fetch(&mut self) -> Result<Fetched, SourceError> {
        self.fetches.lock().push(Instant::now());
        // The network takes its time.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if self.down.load(Relaxed) {
            return Err(SourceError::Status(503));
        }
        Ok(Fetched { keys: Some(one(&self.kid.load(Relaxed).to_string())), fresh_for: None })
    }
}

/// A set that is followed, and the endpoint that it comes from.
fn followed() -> (Arc<KeySet>, Arc<Endpoint>, Arc<Metrics>) {
    let (set, endpoint) = (Arc::new(KeySet::new(&config()).unwrap()), Arc::new(Endpoint::default()));
    let metrics = Arc::new(Metrics::new());
    let (own, from, counts) = (set.clone(), endpoint.clone(), metrics.clone());
    tokio::spawn(async move { own.follow_from(from, &counts, || {}).await });
    (set, endpoint, metrics)
}

fn kids(set: &KeySet) -> Vec<String> {
    set.keys().iter().map(|key| key.kid().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_set_is_fetched_at_start_and_again_when_it_is_old() {
    let (set, endpoint, _) = followed();
    set.renewed().await;
    assert_eq!(kids(&set), ["0"], "whoever comes first waits for the first fetch");
    endpoint.kid.store(1, Relaxed);
    tokio::time::sleep(REFRESH - LEAST).await;
    assert_eq!(kids(&set), ["0"]);
    tokio::time::sleep(2 * LEAST).await;
    assert_eq!(kids(&set), ["1"], "a key that is there no more is forgotten");
    assert_eq!(endpoint.fetches.lock().len(), 2);
}

/// Acceptance: at most one fetch in each interval, whatever tokens name.
#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_names_is_one_fetch_in_each_interval() {
    let (set, endpoint, _) = followed();
    set.renewed().await;
    let end = Instant::now() + Duration::from_secs(600);
    while Instant::now() < end {
        let all: Vec<_> = (0..100)
            .map(|_| {
                tokio::spawn({
                    let set = set.clone();
                    async move { set.renewed().await }
                })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let fetches = endpoint.fetches.lock();
    assert!(fetches.windows(2).all(|pair| pair[1] - pair[0] >= LEAST), "{fetches:?}");
    assert!((50..=61).contains(&fetches.len()), "{} fetches in ten minutes", fetches.len());
}

/// Acceptance: ten minutes without the endpoint.
#[tokio::test(start_paused = true)]
async fn keys_stay_while_the_endpoint_is_down_and_new_ones_come_when_it_is_back() {
    let (set, endpoint, metrics) = followed();
    set.renewed().await;
    endpoint.down.store(true, Relaxed);
    endpoint.kid.store(1, Relaxed);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(kids(&set), ["0"], "what was known goes on");
    let during: Vec<_> = endpoint.fetches.lock().clone();
    assert!(during.len() <= 8, "later and later: {during:?}");
    assert!(metrics.render().contains("rallypoint_jwks_fetches_total{outcome=\"failed\"}"));
    endpoint.down.store(false, Relaxed);
    let begin = Instant::now();
    set.renewed().await;
    assert_eq!(kids(&set), ["1"], "a token with the new key has it fetched at once");
    assert!(begin.elapsed() < Duration::from_secs(1));
    // Once more at once is not allowed, and nobody is held up for that.
    let begin = Instant::now();
    set.renewed().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[test]
fn what_an_answer_says_of_its_age_counts_within_bounds() {
    let mut schedule = Schedule::new(REFRESH, LEAST);
    let now = Instant::now();
    for (told, expected) in [(Some(60), 60), (Some(0), 10), (Some(86_400), 300), (None, 300)] {
        schedule.begin(now);
        schedule.end(now, Some(told.map(Duration::from_secs)));
        assert_eq!(schedule.due() - now, Duration::from_secs(expected), "{told:?}");
    }
    let waits: Vec<_> = (0..7)
        .map(|_| {
            schedule.begin(now);
            schedule.end(now, None);
            (schedule.due() - now).as_secs()
        })
        .collect();
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
}

#[test]
fn of_a_set_the_keys_are_taken_that_check_signatures_here() {
    let with = |kid: &str, change: serde_json::Value| {
        let mut jwk = testing::jwk(Algorithm::Es256, kid);
        jwk.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        jwk
    };
    let set = json!({ "more": 1, "keys": [
        testing::jwk(Algorithm::Rs256, "rsa"),
        testing::jwk(Algorithm::Es256, "ec"),
        testing::jwk(Algorithm::EdDsa, "ed"),
        testing::jwk(Algorithm::EdDsa, "ed"),
        with("told", json!({ "alg": "ES256", "use": "sig", "key_ops": ["verify"] })),
        // Not for us: another use, another algorithm, another curve, a point that is none, a secret, no key at all.
        with("enc", json!({ "use": "enc" })),
        with("ops", json!({ "key_ops": ["encrypt"] })),
        with("alg", json!({ "alg": "ES384" })),
        with("crv", json!({ "crv": "P-384" })),
        with("off", json!({ "y": testing::jwk(Algorithm::Es256, "")["x"] })),
        with("half", json!({ "y": null })),
        { "kty": "oct", "kid": "secret", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA" },
        { "kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB" },
        { "kid": "nothing" }, 7, null,
    ] });
    let keys = parse::keys(set.to_string().as_bytes(), None).unwrap();
    let kids: Vec<_> = keys.iter().map(|key| key.kid().unwrap()).collect();
    assert_eq!(kids, ["rsa", "ec", "ed", "told"]);
    for (text, error) in [
        ("", SourceError::NoSet),
        ("<html>", SourceError::NoSet),
        ("{}", SourceError::NoSet),
        ("[]", SourceError::NoSet),
        (r#"{"keys":[]}"#, SourceError::NoKey),
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, SourceError::NoKey),
    ] {
        assert_eq!(parse::keys(text.as_bytes(), None).err(), Some(error), "{text}");
    }
    let many: Vec<_> = (0..2 * KEYS_MAX).map(|n| with(&n.to_string(), json!({}))).collect();
    let taken = parse::keys(json!({ "keys": many }).to_string().as_bytes(), None).unwrap();
    assert_eq!(taken.iter().filter_map(Key::kid).collect::<HashSet<_>>().len(), KEYS_MAX);
}
