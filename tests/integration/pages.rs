//! What is served to whoever opens the address of the server, whether its pages were built or not.

use crate::support::{Ask, Node, pass};

#[tokio::test(flavor = "multi_thread")]
async fn there_is_always_a_first_page() {
    let node = Node::start().await;
    let page = |method: &str| Ask::new(method, "/");
    let answer = node.send(page("GET")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(answer.text().contains("<title>") && answer.header("cache-control") == Some("no-cache"));
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let tag = answer.header("etag").expect("a tag");
    let known = node.send(page("GET").header("if-none-match", tag)).await;
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(tag)));
    let head = node.send(page("HEAD")).await;
    assert_eq!((head.status, head.header("etag")), (200, Some(tag)));
    node.send(page("POST")).await.refused(801);
    for path in ["/nothing", "/assets/", "/../Cargo.toml", "/index.html.gz"] {
        node.send(Ask::new("GET", path)).await.refused(800);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_can_be_switched_off() {
    let node = Node::with(|config| config.pages = false).await;
    for path in ["/", "/index.html"] {
        node.send(Ask::new("GET", path)).await.refused(800);
    }
    node.stop().await;
}

/// A browser asks for the scripts of a page with the page's own origin, whether `origins` lists it or not.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_themselves_are_open_to_all_and_their_doors_are_not() {
    let node = Node::start().await;
    let from =
        |path| Ask::new("GET", path).header("origin", "https://elsewhere.example").pass(&pass("ada").player("*"));
    let page = node.send(from("/")).await;
    assert_eq!((page.status, page.header("access-control-allow-origin")), (200, None));
    for door in ["/v1/poll?room=lobby", "/v1/events?room=lobby", "/v1/ws", "/v1/ice-servers"] {
        let problem = node.send(from(door)).await.refused(704);
        assert_eq!(problem["detail"], "`origins` does not list https://elsewhere.example", "{door}");
    }
    node.stop().await;
}
