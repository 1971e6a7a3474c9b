//! Keys that somebody else keeps: rotated while guests are here, gone for a while, asked for by tokens that nobody knows.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rallypoint::{
    auth::{JwksConfig, KeySource, jwt::Minter},
    config::Config,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::support::{Answer, Ask, ISSUER, Node, Pass, Seen, Wire, pass, until, within};

/// A key by its name: what signs, and what is published of it.
struct Signer {
    minter: Minter,
    jwk: Value,
}

impl Signer {
    fn new(kid: &str) -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let private = STANDARD.encode(key.to_pkcs8v1().unwrap().as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n");
        let minter = Minter::new(&KeySource::PrivatePem(pem)).unwrap().with_kid(kid);
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        Self { minter, jwk: json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": x }) }
    }

    fn mint(&self, pass: &Pass) -> String {
        self.minter.mint(&pass.0)
    }
}

/// Who publishes keys.
struct Endpoint {
    address: SocketAddr,
    set: Mutex<String>,
    down: AtomicBool,
    /// Requests, those among them that had a tag, and those of them that were told that nothing is new.
    asked: AtomicUsize,
    not_modified: AtomicUsize,
}

impl Endpoint {
    async fn start(keys: &[&Signer]) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            set: Mutex::default(),
            down: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            not_modified: AtomicUsize::new(0),
        });
        endpoint.publish(keys);
        let own = endpoint.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(own.clone().answer(socket));
            }
        });
        endpoint
    }

    fn publish(&self, keys: &[&Signer]) {
        let keys: Vec<_> = keys.iter().map(|key| &key.jwk).collect();
        *self.set.lock().unwrap() = json!({ "keys": keys }).to_string();
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    async fn answer(self: Arc<Self>, socket: TcpStream) {
        let mut socket = BufReader::new(socket);
        loop {
            let (mut line, mut tag) = (String::new(), None);
            while line != "\r\n" {
                line.clear();
                if socket.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                if let Some(shown) = line.to_ascii_lowercase().strip_prefix("if-none-match:") {
                    tag = Some(shown.trim().to_owned());
                }
            }
            self.asked.fetch_add(1, Relaxed);
            let set = self.set.lock().unwrap().clone();
            let own = format!("\"{}\"", set.len() + set.bytes().map(usize::from).sum::<usize>());
            let answer = if self.down.load(Relaxed) {
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else if tag.as_deref() == Some(&own) {
                self.not_modified.fetch_add(1, Relaxed);
                format!("HTTP/1.1 304 Not Modified\r\netag: {own}\r\n\r\n")
            } else {
                format!("HTTP/1.1 200 OK\r\netag: {own}\r\ncontent-length: {}\r\n\r\n{set}", set.len())
            };
            if socket.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// A server whose tokens these keys check.
    async fn node(&self, refresh_ms: u64, min_refresh_ms: u64) -> Node {
        let url = Some(format!("http://{}/keys", self.address));
        let set = JwksConfig { issuer: Some(ISSUER.to_owned()), url, file: None, refresh_ms, min_refresh_ms };
        Node::with(|config: &mut Config| {
            config.auth.keys.clear();
            config.auth.jwks = vec![set];
        })
        .await
    }
}

async fn poll(node: &Node, token: &str) -> Answer {
    node.send(Ask::new("GET", "/v1/poll?room=lobby&wait=0").bearer(token)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_while_guests_are_here() {
    let [old, new] = ["2026-11", "2026-12"].map(Signer::new);
    let endpoint = Endpoint::start(&[&old]).await;
    let node = endpoint.node(600_000, 100).await;
    let ada = pass("ada").player("*");
    // The first one may have come before the set was fetched, and is let in all the same.
    let mut wire = Wire::anonymous(&node, rallypoint_protocol::Encoding::Json).await;
    wire.say(json!({ "type": "auth", "token": old.mint(&ada) })).await;
    wire.said("connected").await;
    wire.granted(json!({ "type": "join", "room": "lobby" })).await;
    // A connection that has shown a good token once need not have it checked again, as long as the keys are the same.
    let socket = within("a connection", TcpStream::connect(node.address)).await.unwrap();
    let mut kept = BufReader::new(socket);
    let mut again = async || {
        let ask =
            Ask::new("GET", "/v1/poll?room=lobby&wait=0").bearer(&old.mint(&ada)).header("connection", "keep-alive");
        kept.write_all(&ask.written(node.address)).await.unwrap();
        within("an answer", async { Answer::read_head(&mut kept).await.with_body(&mut kept).await }).await
    };
    again().await.expect(200);
    again().await.expect(200);

    endpoint.publish(&[&old, &new]);
    until("the new key", async || (poll(&node, &new.mint(&ada)).await.status == 200).then_some(())).await;
    poll(&node, &old.mint(&ada)).await.expect(200);

    endpoint.publish(&[&new]);
    // Nothing asks for the set now but a name that it does not have.
    let nobody = Signer::new("nobody");
    until("the end of the old key", async || {
        poll(&node, &nobody.mint(&ada)).await.refused(701);
        (poll(&node, &old.mint(&ada)).await.status == 401).then_some(())
    })
    .await;
    again().await.refused(701);
    poll(&node, &new.mint(&ada)).await.expect(200);
    // Whoever is here stays, and goes on with a token of the new key.
    wire.granted(json!({ "type": "message", "room": "lobby", "text": "still here" })).await;
    wire.granted(json!({ "type": "refresh", "token": new.mint(&ada) })).await;
    wire.refused(json!({ "type": "refresh", "token": old.mint(&ada) }), 701).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_are_one_fetch_in_an_interval() {
    let [known, nobody] = ["known", "nobody"].map(Signer::new);
    let endpoint = Endpoint::start(&[&known]).await;
    let node = endpoint.node(600_000, 600_000).await;
    let eve = pass("eve").spectator("*");
    until("the set", async || (poll(&node, &known.mint(&eve)).await.status == 200).then_some(())).await;
    for _ in 0..50 {
        poll(&node, &nobody.mint(&eve)).await.refused(701);
        // The right name, and another key behind it.
        let forged = Signer::new("known");
        poll(&node, &forged.mint(&eve)).await.refused(701);
    }
    assert_eq!(endpoint.asked(), 1);
    for encoding in [rallypoint_protocol::Encoding::Json, rallypoint_protocol::Encoding::MsgPack] {
        let mut wire = Wire::anonymous(&node, encoding).await;
        wire.say(json!({ "type": "auth", "token": nobody.mint(&eve) })).await;
        wire.complaint(701).await;
        assert!(matches!(wire.next_end().await, Seen::Closed(4401, _)));
    }
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_away_takes_nobody_along() {
    let [old, new] = ["old", "new"].map(Signer::new);
    let endpoint = Endpoint::start(&[&old]).await;
    endpoint.down.store(true, Relaxed);
    let node = endpoint.node(100, 50).await;
    let eve = pass("eve").spectator("*");
    node.send(Ask::new("GET", "/readyz")).await.refused(904);
    node.send(Ask::new("GET", "/healthz")).await;
    poll(&node, &old.mint(&eve)).await.refused(701);
    endpoint.down.store(false, Relaxed);
    until("the server to be ready", async || (node.send(Ask::new("GET", "/readyz")).await.status == 200).then_some(()))
        .await;
    poll(&node, &old.mint(&eve)).await.expect(200);
    // What has not changed is not sent again.
    until("an answer without a set", async || (endpoint.not_modified.load(Relaxed) > 2).then_some(())).await;
    poll(&node, &old.mint(&eve)).await.expect(200);
    endpoint.down.store(true, Relaxed);
    let asked = endpoint.asked();
    until("more fetches", async || (endpoint.asked() > asked + 3).then_some(())).await;
    poll(&node, &old.mint(&eve)).await.expect(200);
    endpoint.publish(&[&new]);
    endpoint.down.store(false, Relaxed);
    until("the new key", async || (poll(&node, &new.mint(&eve)).await.status == 200).then_some(())).await;
    let metrics = node.hub.metrics().render();
    for outcome in ["taken", "same", "failed"] {
        assert!(metrics.contains(&format!("rallypoint_jwks_fetches_total{{outcome=\"{outcome}\"}}")), "{metrics}");
    }
}
