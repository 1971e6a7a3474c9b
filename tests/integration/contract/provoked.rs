//! Every code of every operation, asked for.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Operation, dev, everybody, operations, path};
use crate::support::{Answer, Ask, Node, Wire, pass, until};

const NOBODY: &str = "5b0d4a8e-6c1f-4d3a-9e27-0f1a2b3c4d5e";

/// Where a request goes, and with what.
struct Knock<'a> {
    operation: &'a Operation,
    room: &'a str,
    user: &'a str,
    peer: &'a str,
    query: String,
    kind: &'a str,
    origin: &'a str,
    body: Vec<u8>,
}

impl<'a> Knock<'a> {
    /// What would be granted to somebody who may.
    fn of(operation: &'a Operation) -> Self {
        let body = match &*operation.path {
            "/v1/rooms/{room}/events" => json!({ "kind": "score", "data": 1 }),
            "/v1/users/{user}/notifications" => json!({ "message": "hi" }),
            "/v1/tickets" => json!({ "for": "events" }),
            "/dev/token" => json!({ "user": "ada" }),
            path => {
                assert_ne!(operation.method, "POST", "this test must learn what {path} takes");
                json!(null)
            }
        };
        let body = if body.is_null() { vec![] } else { body.to_string().into_bytes() };
        let origin = if operation.path == "/dev/token" { "http://localhost:3000" } else { "" };
        let (room, user, peer, query, kind) = ("lobby", "bob", NOBODY, String::new(), "application/json");
        Self { operation, room, user, peer, query, kind, origin, body }
    }

    fn body(self, body: &str) -> Self {
        Self { body: body.into(), ..self }
    }

    fn query(self, query: impl Into<String>) -> Self {
        Self { query: query.into(), ..self }
    }

    /// Without a token.
    fn ask(&self) -> Ask {
        let Self { operation, room, user, peer, query, kind, origin, body } = self;
        let mark = if query.is_empty() { "" } else { "?" };
        let ask = Ask::new(&operation.method, &format!("{}{mark}{query}", path(&operation.path, room, user, peer)));
        let ask = if operation.path == "/v1/ws" { ask.upgrade("rallypoint.v1.json") } else { ask };
        let ask = if origin.is_empty() { ask } else { ask.header("origin", origin) };
        if body.is_empty() { ask } else { ask.header("content-type", kind).body(body.clone()) }
    }

    /// By somebody who may do everything.
    fn granted(&self) -> Ask {
        if self.operation.is_open { self.ask() } else { self.ask().pass(&everybody()) }
    }
}

/// A request of this operation that is refused with this code.
fn refused(operation: &Operation, code: u64) -> Option<Ask> {
    let knock = Knock::of(operation);
    let by_room = operation.path.contains("{room}");
    let by_query = matches!(&*operation.path, "/v1/events" | "/v1/poll");
    let by_body = operation.path == "/v1/tickets";
    let rooms = |rooms: Value| json!({ "for": "poll", "rooms": rooms }).to_string();
    let token = |token: &str| knock.ask().bearer(token);
    let ask = match code {
        600 if operation.path == "/v1/ws" => Ask::new("GET", "/v1/ws"),
        600 => knock.body("{").granted(),
        602 if by_body => knock.body(&rooms(json!(["a b"]))).granted(),
        602 if by_query => knock.query("room=a%20b").granted(),
        602 if by_room => Knock { room: "a b", ..knock }.granted(),
        602 if operation.path.contains("{user}") => Knock { user: "a b", ..knock }.granted(),
        602 => knock.query("after=a%20b").granted(),
        603 => knock.query("a&".repeat(65)).granted(),
        604 => knock.body(&format!("{}{}", "[".repeat(20), "]".repeat(20))).granted(),
        605 => {
            let body = [&knock.body[..], b" x"].concat();
            Knock { body, ..knock }.granted()
        }
        606 => knock.query("after=x").granted(),
        608 if operation.path == "/dev/token" => knock.body(r#"{"user":"a b"}"#).granted(),
        608 if by_body => knock.body(r#"{"for":"x"}"#).granted(),
        608 if operation.method == "POST" => knock.granted().header("idempotency-key", "a b"),
        608 => knock.query("limit=x&state=x&gen=x").granted(),
        610 => Knock { kind: "text/plain", ..knock }.granted(),
        611 => knock.body(r#"{"kind":"peer-x","data":1}"#).granted(),
        700 => knock.ask(),
        701 => token("x"),
        702 => token(&everybody().expires_in(-3600.0).mint()),
        703 => token(&everybody().mint()).bearer("x"),
        704 => Knock { origin: "https://evil.test", ..knock }.granted(),
        705 if by_body => knock.body(&rooms(json!(["lobby"]))).ask().pass(&pass("ada")),
        705 if by_query => knock.query("room=lobby").ask().pass(&pass("ada")),
        705 => knock.ask().pass(&pass("ada")),
        706 if by_body => knock.body(&rooms(json!(["user/bob"]))).granted(),
        706 if by_query => knock.query("room=user/bob").granted(),
        706 => Knock { room: "user/bob", ..knock }.granted(),
        709 => knock.query("token=x").ask(),
        711 if by_body => knock.body(r#"{"for":"poll","ticket":"x"}"#).granted(),
        711 => knock.query("ticket=x").ask(),
        802 => Knock { room: "nowhere", ..knock }.granted(),
        805 => Knock { room: "hall", ..knock }.granted(),
        902 if by_body => knock.body(&rooms((0..17).map(|n| format!("r{n}")).collect())).granted(),
        902 => knock.query((0..17).map(|n| format!("room=r{n}&")).collect::<String>()).granted(),
        _ => return None,
    };
    Some(ask)
}

fn check(operation: &Operation, code: u64, answer: &Answer) {
    let name = operation.name();
    if operation.method == "HEAD" {
        let known = rallypoint_protocol::ErrorCode::from_number(u16::try_from(code).unwrap()).unwrap();
        return assert_eq!(answer.status, known.http_status(), "{name}: {code}");
    }
    assert!(answer.status >= 400, "{name} is not refused with {code}: {} {}", answer.status, answer.text());
    assert_eq!(answer.json()["code"], code, "{name}: {}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_every_operation_can_be_had() {
    let (node, dev) = (Node::start().await, dev().await);
    let mut bob = Wire::connect(&node, &pass("bob").host("*"), rallypoint_protocol::Encoding::Json).await;
    bob.granted(json!({ "type": "join", "room": "hall" })).await;
    let busy = Node::with(|config| {
        (config.limits.requests_per_second_per_ip, config.limits.requests_burst_per_ip) = (0.001, 1.0);
    });
    let crowded = Node::with(|config| config.limits.connections_per_ip = 1);
    let hurried = Node::with(|config| (config.limits.accepts_per_second, config.limits.accepts_burst) = (0.001, 1.0));
    let (busy, crowded, hurried) = (busy.await, crowded.await, hurried.await);
    let guest = TcpStream::connect(crowded.address).await.unwrap();
    until("the guest to be there", async || {
        let full = crowded.send(Ask::new("GET", "/healthz")).await;
        (full.status == 429).then_some(())
    })
    .await;
    for first in [&busy, &hurried] {
        first.send(Ask::new("GET", "/healthz")).await;
    }
    let mut seen = 0;
    for operation in operations() {
        for &code in &operation.problems {
            let knock = Knock::of(&operation);
            let answer = match code {
                // Only where it is not open to everybody.
                800 if operation.path == "/dev/token" => node.send(knock.ask()).await,
                900 => busy.send(knock.granted()).await,
                903 => crowded.send(knock.granted()).await,
                904 => hurried.send(knock.granted()).await,
                // A server that goes away is next.
                905 => continue,
                _ => {
                    let ask = refused(&operation, code);
                    let ask =
                        ask.unwrap_or_else(|| panic!("this test must learn how {} comes to {code}", operation.name()));
                    let node = if operation.path == "/dev/token" { &dev } else { &node };
                    node.send(ask).await
                }
            };
            check(&operation, code, &answer);
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen}");
    drop(guest);
    bob.bye().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_says_so_where_the_document_has_it() {
    let node = Node::start().await;
    let held = node.send(Ask::new("GET", "/v1/poll?after=0").pass(&everybody()));
    let drain = async {
        until("the poll to wait", async || {
            let metrics = node.hub.metrics().render();
            metrics.contains("connections{transport=\"poll\"} 1").then_some(())
        })
        .await;
        node.hub.drain().await;
    };
    let (held, ()) = tokio::join!(held, drain);
    held.refused(905);
    let has = |operation: &Operation| operation.problems.contains(&905) && operation.path != "/v1/poll";
    for operation in operations().iter().filter(|operation| has(operation)) {
        check(operation, 905, &node.send(Knock::of(operation).granted()).await);
    }
    // The others are answered as ever, until the end.
    for operation in operations().iter().filter(|operation| !operation.problems.contains(&905)) {
        if operation.path != "/v1/events" {
            let answer = node.send(Knock::of(operation).granted()).await;
            assert_ne!(answer.status, 503, "{}: {}", operation.name(), answer.text());
        }
    }
    node.stop().await;
}
