//! Lines, their rates, and what does not get into them.

use rallypoint_protocol::{RoomName, UserName};
use serde_json::{Value, json};

use super::*;

/// An audit log in a file of its own.
struct Bench {
    audit: Arc<Audit>,
    file: PathBuf,
}

impl Bench {
    fn new(refusals_per_second: u64, lines_per_second: u64) -> Self {
        let file = std::env::temp_dir().join(format!("rallypoint-audit-{}.jsonl", uuid::Uuid::new_v4()));
        let config = AuditConfig { to: AuditTo::File, file: Some(file.clone()), refusals_per_second, lines_per_second };
        let audit = Audit::new(&config, &Arc::new(Metrics::new())).unwrap().unwrap();
        Self { audit, file }
    }

    /// All lines, at the end.
    fn lines(&self, now: Millis) -> Vec<Value> {
        self.audit.close(now);
        let text = std::fs::read_to_string(&self.file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.file);
    }
}

fn caller(origin: Option<&str>) -> Caller {
    Caller::new(Some([203, 0, 113, 7].into()), origin, &Method::POST, "/v1/rooms/{room}/events")
}

#[test]
fn a_line_says_what_happened_and_who_did_it() {
    let bench = Bench::new(20, 2000);
    let (room, user) = (RoomName::new("match/7").unwrap(), UserName::new("ada").unwrap());
    let peer = PeerId::parse("5b0d4a8e-0000-4000-8000-000000000000").unwrap();
    let caller = Arc::new(caller(Some("https://app.example")));
    let now = Millis(1000.5);
    bench.audit.refused(now, ErrorCode::TokenMissing, &caller);
    bench.audit.keep(now, What::SessionOpened { peer }, peer, &user, Some(&caller));
    bench.audit.of_peer(now, What::PeerJoined { room: &room, peer }, peer, None);
    bench.audit.forget(peer);
    bench.audit.of_peer(now, What::PeerLeft { room: &room, peer, reason: LeaveReason::Left }, peer, None);
    bench.audit.turned_away(now, ErrorCode::TooManyConnections, "::ffff:203.0.113.9".parse().unwrap());
    let who = json!({ "address": "203.0.113.7", "origin": "https://app.example" });
    let with = |mut line: Value, who: &Value, user: bool| {
        line.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
        line["time"] = 1000.5.into();
        if user {
            line["user"] = "ada".into();
        }
        line
    };
    let expected = [
        with(
            json!({ "event": "refused", "code": 700, "name": "token-missing",
                "route": "POST /v1/rooms/{room}/events" }),
            &who,
            false,
        ),
        with(json!({ "event": "session-opened", "peer": peer }), &who, true),
        with(json!({ "event": "peer-joined", "room": "match/7", "peer": peer }), &who, true),
        with(json!({ "event": "peer-left", "room": "match/7", "peer": peer, "reason": "left" }), &json!({}), false),
        with(
            json!({ "event": "refused", "code": 903, "name": "too-many-connections" }),
            &json!({ "address": "203.0.113.9" }),
            false,
        ),
    ];
    assert_eq!(bench.lines(now), expected);
}

#[test]
fn a_flood_of_refusals_is_thinned_by_code_and_counted() {
    let bench = Bench::new(3, 5);
    let caller = caller(None);
    let refuse = |ms, code| bench.audit.refused(Millis(ms), code, &caller);
    for n in 0..1000 {
        refuse(f64::from(n) / 10.0, ErrorCode::RateLimited);
    }
    refuse(200.0, ErrorCode::TokenInvalid);
    for n in 0..7 {
        let room = RoomName::new("lobby").unwrap();
        let peer = PeerId::random();
        bench.audit.of_peer(Millis(f64::from(n)), What::PeerJoined { room: &room, peer }, peer, None);
    }
    refuse(1000.0, ErrorCode::RateLimited);
    let told: Vec<_> = bench.lines(Millis(1001.0));
    let told: Vec<_> =
        told.iter().map(|line| (line["event"].as_str().unwrap(), &line["code"], &line["lines"])).collect();
    let refused = |code| ("refused", code, &Value::Null);
    let (limited, invalid, count, rest) = (json!(900), json!(701), json!(997), json!(2));
    let joined = ("peer-joined", &Value::Null, &Value::Null);
    let mut expected = vec![refused(&limited); 3];
    expected.push(refused(&invalid));
    expected.extend([joined; 5]);
    expected.extend([("left-out", &limited, &count), refused(&limited), ("left-out", &Value::Null, &rest)]);
    assert_eq!(told, expected);
}

#[test]
fn only_what_is_an_origin_is_told_as_one() {
    for good in ["https://app.example", "http://localhost:3000", "http://[::1]:3000", "null", "capacitor://localhost"] {
        assert_eq!(&*shown(good), good);
    }
    let long = format!("https://{}", "x".repeat(100));
    for bad in
        ["", "https://app.example/?token=a.b.c", "https://a:b@app.example", "https://app.example/a", "é://x", &long]
    {
        assert_eq!(&*shown(bad), "unreadable", "{bad}");
    }
}

#[test]
fn a_method_is_told_only_if_it_is_one() {
    let method = Method::from_bytes(b"eyJhbGciOiJIUzI1NiJ9.e30.sig").unwrap();
    assert_eq!(Caller::new(None, None, &method, "/v1/ws").method, "another method");
    assert_eq!(Caller::new(None, None, &Method::DELETE, "/v1/ws").method, "DELETE");
}
