//! The port speaks TLS: WebSockets, both versions of HTTP, and a certificate that is replaced under everybody.

use std::{net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rallypoint::config::Config;
use rallypoint_proof::certificate::{Identity, connector, server_name};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::support::{Node, Pass, pass, until, within};

const HTTP1: &[&[u8]] = &[b"http/1.1"];
const HTTP2: &[&[u8]] = &[b"h2"];

/// A folder with a certificate and its key, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn with(identity: &Identity) -> Self {
        let name = format!("rallypoint-tls-test-{}", uuid::Uuid::new_v4());
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir(&folder.0).unwrap();
        identity.put(&folder.0).unwrap();
        folder
    }

    /// A server that shows what is in the folder, and looks at it all the time.
    async fn serve(&self, change: impl FnOnce(&mut Config)) -> Node {
        let [certificate, key] = Identity::files(&self.0);
        Node::with(|config| {
            config.tls.certificate_file = Some(certificate);
            config.tls.key_file = Some(key);
            config.tls.reload_ms = 100;
            change(config);
        })
        .await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn connect(address: SocketAddr, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    within("a handshake of TLS", connector.connect(server_name(), socket)).await
}

/// The certificate that a new connection sees.
async fn shown(address: SocketAddr, connector: &TlsConnector) -> Option<Vec<u8>> {
    let stream = connect(address, connector).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

/// One request over HTTP/1.1: the whole answer.
async fn get(node: &Node, connector: &TlsConnector, path: &str) -> String {
    let mut stream = connect(node.address, connector).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer over TLS", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// A guest with a WebSocket over TLS.
struct Guest {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    id: u64,
}

impl Guest {
    async fn enter(node: &Node, connector: &TlsConnector, pass: &Pass) -> Self {
        let stream = connect(node.address, connector).await.unwrap();
        let mut request = "wss://localhost/v1/ws".into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "rallypoint.v1.json".parse().unwrap());
        let (socket, _) = within("a handshake", client_async(request, stream)).await.unwrap();
        let mut guest = Self { socket, id: 0 };
        guest.say(json!({ "type": "auth", "token": pass.mint() })).await;
        guest.said("connected").await;
        guest
    }

    async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn ask(&mut self, mut request: Value) {
        self.id += 1;
        request["id"] = self.id.into();
        self.say(request).await;
    }

    /// The next message of this type.
    async fn said(&mut self, kind: &str) -> Value {
        loop {
            let frame = within("a frame over TLS", self.socket.next()).await.expect("the socket goes on").unwrap();
            if let Message::Text(text) = frame {
                let said: Value = serde_json::from_str(&text).unwrap();
                if said["type"] == kind {
                    return said;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_talk_over_tls_and_a_slow_one_hears_all_of_it() {
    let identity = Identity::new().unwrap();
    let folder = Folder::with(&identity);
    let node = folder
        .serve(|config| {
            config.limits.requests_per_second = 1000.0;
            config.limits.requests_burst = 2000.0;
            config.limits.bytes_per_second = 10_000_000.0;
            config.limits.outbound_budget = 4 * 1024 * 1024;
        })
        .await;
    let connector = connector(&[&identity], HTTP1).unwrap();
    let mut ada = Guest::enter(&node, &connector, &pass("ada").player("*")).await;
    let mut bob = Guest::enter(&node, &connector, &pass("bob").player("*")).await;
    for guest in [&mut ada, &mut bob] {
        guest.ask(json!({ "type": "join", "room": "lobby" })).await;
        guest.said("joined").await;
    }
    // Far more than kernel and TLS hold for a reader that does not read.
    let text = "x".repeat(4000);
    for n in 0..700 {
        ada.ask(json!({ "type": "message", "room": "lobby", "text": format!("{n} {text}") })).await;
        ada.said("ok").await;
    }
    for n in 0..700 {
        let message = bob.said("message").await;
        assert_eq!(message["text"].as_str().unwrap().split_once(' ').unwrap().0, n.to_string());
    }
    // The server's pings are answered by the library while it reads; its close is orderly.
    let bye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    ada.socket.close(Some(bye)).await.unwrap();
    while let Some(frame) = within("the end", ada.socket.next()).await {
        frame.expect("the end is a close frame and a goodbye of TLS");
    }
    assert_eq!(bob.said("peer-left").await["reason"], "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_streams_and_more_go_over_one_connection_of_http2() {
    let identity = Identity::new().unwrap();
    let folder = Folder::with(&identity);
    let node = folder.serve(|_| {}).await;
    let stream = connect(node.address, &connector(&[&identity], &[b"h2", b"http/1.1"]).unwrap()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let carrying = tokio::spawn(connection);
    let request = |method: &str, path: &str, pass: &Pass| {
        let builder = hyper::Request::builder().method(method).uri(format!("https://localhost{path}"));
        builder.header("authorization", format!("Bearer {}", pass.mint()))
    };
    let spectator = pass("eve").spectator("*");
    let mut bodies = Vec::new();
    for _ in 0..10 {
        let asked = request("GET", "/v1/events?room=lobby", &spectator).body(Empty::<Bytes>::new()).unwrap();
        let answer = within("a stream", send.send_request(asked)).await.unwrap();
        assert_eq!(answer.status(), 200);
        bodies.push(answer.into_body());
    }
    let host = pass("host").verbs("*", ["publish", "chat"]);
    let answer = node_post(&node, &identity, &host).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    for mut body in bodies {
        let mut seen = Vec::new();
        within("the event", async {
            while !String::from_utf8_lossy(&seen).contains("event: goal") {
                seen.extend(body.frame().await.expect("the stream goes on").unwrap().into_data().unwrap());
            }
        })
        .await;
    }
    assert_eq!(node.hub.metrics().sockets.get(), 1, "ten streams and one socket");
    drop(send);
    carrying.abort();
}

/// `POST /v1/rooms/lobby/events` over HTTP/1.1.
async fn node_post(node: &Node, identity: &Identity, pass: &Pass) -> String {
    let mut stream = connect(node.address, &connector(&[identity], HTTP1).unwrap()).await.unwrap();
    let body = json!({ "kind": "goal", "data": 1 }).to_string();
    let request = format!(
        "POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        pass.mint(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer over TLS", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// Acceptance: nobody is dropped, new ones see the new certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_under_a_thousand_guests() {
    const GUESTS: usize = 1000;
    let [old, new] = [Identity::new().unwrap(), Identity::new().unwrap()];
    let folder = Folder::with(&old);
    let node = folder
        .serve(|config| {
            config.limits.connections_per_ip = 2 * GUESTS;
            config.limits.accepts_per_second_per_ip = 100_000.0;
            config.limits.accepts_burst_per_ip = 100_000.0;
            config.limits.requests_per_second_per_ip = 100_000.0;
            config.limits.requests_burst_per_ip = 100_000.0;
        })
        .await;
    let trusting = connector(&[&old, &new], HTTP1).unwrap();
    let mut guests = Vec::with_capacity(GUESTS);
    for n in 0..GUESTS {
        guests.push(Guest::enter(&node, &trusting, &pass(&format!("u{n}")).player("*")).await);
    }
    assert_eq!(shown(node.address, &trusting).await.as_deref(), Some(&*old.der));

    new.put(&folder.0).unwrap();
    until("the new certificate", async || {
        (shown(node.address, &trusting).await.as_deref() == Some(&*new.der)).then_some(())
    })
    .await;
    // Who comes back after the change need trust only the new one.
    let trusting_new = connector(&[&new], HTTP1).unwrap();
    assert!(get(&node, &trusting_new, "/healthz").await.starts_with("HTTP/1.1 200 "));
    for guest in &mut guests {
        guest.ask(json!({ "type": "ping" })).await;
        guest.said("pong").await;
    }
    assert_eq!(node.hub.metrics().sessions.get(), GUESTS as i64);

    // A half of a pair is of no use: what was there goes on, and it is counted.
    std::fs::write(&Identity::files(&folder.0)[1], &old.key).unwrap();
    let refused = "rallypoint_tls_certificate_loads_total{outcome=\"refused\"}";
    until("the refusal", async || node.hub.metrics().render().contains(refused).then_some(())).await;
    assert!(get(&node, &trusting_new, "/healthz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_something_else_is_told_or_let_go() {
    let identity = Identity::new().unwrap();
    let folder = Folder::with(&identity);
    let node = folder.serve(|config| config.limits.header_deadline_ms = 500).await;
    let mut plain = TcpStream::connect(node.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer in the clear", plain.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");

    let mut silent = TcpStream::connect(node.address).await.unwrap();
    let mut nothing = Vec::new();
    within("the end of a silent connection", silent.read_to_end(&mut nothing)).await.unwrap();
    assert_eq!(nothing, b"");
    let mut garbage = TcpStream::connect(node.address).await.unwrap();
    // A ClientHello with nothing in it.
    garbage.write_all(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00").await.unwrap();
    within("the end of a broken handshake", garbage.read_to_end(&mut nothing)).await.ok();
    // A handshake in the clear, one that never came, one that was none; each leaves nothing behind.
    until("the sockets' end", async || (node.hub.metrics().sockets.get() == 0).then_some(())).await;
    let metrics = node.hub.metrics().render();
    assert!(metrics.contains("rallypoint_tls_handshakes_failed_total 2"), "{metrics}");
    assert!(metrics.contains("rallypoint_limited_total{limit=\"header_deadline_ms\"} 1"), "{metrics}");
    let connector = connector(&[&identity], HTTP2).unwrap();
    assert!(shown(node.address, &connector).await.is_some());
}
