//! `protocol/openapi.json` against a server: each path has exactly the methods that stand there, and each code that an
//! operation lists is one that the server can be made to answer. That it answers no other is asked by all tests, since all
//! they hear is put to the document (`support/contract.rs`).

mod provoked;

use rallypoint_contract::{
    Documents,
    operations::{Operation, Operations},
};
use serde_json::json;

use crate::support::{Ask, Node, Pass, encoded, pass};

/// A server that has a key to make tokens for everybody.
async fn dev() -> Node {
    Node::with(|config| (config.dev, config.auth.dev) = (true, true)).await
}

fn operations() -> Vec<Operation> {
    let all = Operations::of(&Documents::read()).all;
    all.into_iter().filter(|operation| !operation.is_page).collect()
}

/// A path with something in place of its variables.
fn path(template: &str, room: &str, user: &str, peer: &str) -> String {
    template.replace("{room}", &encoded(room)).replace("{user}", &encoded(user)).replace("{peer}", peer)
}

/// Who may do everything.
fn everybody() -> Pass {
    let admin = rallypoint::auth::AdminRight::ALL.iter();
    admin.fold(pass("ada").host("*").notify("*"), |pass, right| pass.admin(right.name()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_has_exactly_its_methods() {
    let node = dev().await;
    let operations = operations();
    let nobody = "5b0d4a8e-6c1f-4d3a-9e27-0f1a2b3c4d5e";
    let mut refused = 0;
    for operation in &operations {
        let target = path(&operation.path, "lobby", "bob", nobody);
        let has =
            |method: &str| operations.iter().any(|other| (&*other.method, &other.path) == (method, &operation.path));
        // The document's methods are compared where every answer is.
        let preflight = node.send(Ask::new("OPTIONS", &target)).await;
        assert_eq!(preflight.status, 204, "{target}: {}", preflight.text());
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"] {
            if has(method) {
                continue;
            }
            refused += 1;
            let answer = node.send(Ask::new(method, &target).pass(&everybody())).await;
            assert_eq!(answer.status, 405, "{method} {target}: {}", answer.text());
        }
        // With all that it asks for, or without: it is there.
        let answer = node.send(Ask::new(&operation.method, &target).header("origin", "https://evil.test")).await;
        assert_eq!(answer.status, 403, "{} {target}", operation.method);
    }
    assert!(refused > 80, "{refused}");
    for nowhere in ["/v1", "/v1/", "/v1/ws/", "/v1/rooms/a/b/c", "/v2/rooms", "/dev", "/metrics/x"] {
        node.send(Ask::new("GET", nowhere)).await.refused(800);
    }
    // A page of ours is told so, and may read it.
    let listed = node.send(Ask::new("GET", "/v1/nothing").header("origin", "http://localhost:3000")).await;
    listed.refused(800);
    assert_eq!(listed.header("access-control-allow-origin"), Some("http://localhost:3000"));
    node.stop().await;
}

/// As everywhere, `null` in an optional field is as good as leaving it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_for_a_token_may_have_nulls() {
    let node = dev().await;
    let wish = json!({ "user": "ada", "name": null, "rooms": null, "notify": null, "admin": null, "ttl": null });
    let ask = Ask::new("POST", "/dev/token").header("origin", "http://localhost:3000").json(&wish);
    node.send(ask).await.expect(201);
    node.stop().await;
}

#[test]
fn webhooks_are_sent_what_the_schema_has() {
    let documents = Documents::read();
    let told = documents.get("schema/webhook.json")["oneOf"].as_array().expect("a list");
    let told: Vec<_> = told.iter().filter_map(|event| event["$ref"].as_str()?.rsplit('/').next()).collect();
    assert_eq!(told, [&rallypoint::webhooks::EVENTS[..], &["lost"]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_and_nothing_else() {
    let node = Node::start().await;
    let home = node.send(Ask::new("GET", "/")).await;
    assert_eq!(home.status, 200);
    let tag = home.header("etag").expect("a tag");
    assert_eq!(node.send(Ask::new("GET", "/").header("if-none-match", tag)).await.status, 304);
    assert_eq!(node.send(Ask::new("HEAD", "/")).await.status, 200);
    assert_eq!(node.send(Ask::new("OPTIONS", "/")).await.status, 204);
    assert_eq!(node.send(Ask::new("POST", "/").json(&json!({}))).await.header("allow"), Some("GET, HEAD"));
    node.send(Ask::new("GET", "/nothing")).await.refused(800);
    node.stop().await;
    let node = Node::with(|config| config.pages = false).await;
    node.send(Ask::new("GET", "/")).await.refused(800);
    node.stop().await;
}
