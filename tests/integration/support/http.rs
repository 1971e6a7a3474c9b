//! HTTP/1.1 by hand over one socket per request, so that a request can be as wrong as a test needs it.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, tcp::OwnedReadHalf},
};

use super::{Pass, contract::judge_answer};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Percent-encodes a name into one path segment or query value.
pub(crate) fn encoded(name: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn pass(self, pass: &Pass) -> Self {
        self.bearer(&pass.mint())
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A WebSocket handshake (RFC 6455 section 4.1) that offers this list of subprotocols.
    pub(crate) fn upgrade(self, subprotocols: &str) -> Self {
        self.upgrade_without_offer().header("sec-websocket-protocol", subprotocols)
    }

    /// The same without the list, for a test that writes it line by line.
    pub(crate) fn upgrade_without_offer(self) -> Self {
        self.header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn send(self, address: SocketAddr) -> Answer {
        let (method, target) = self.line();
        let answer = self.send_elsewhere(address).await;
        judge_answer(&method, &target, &answer);
        answer
    }

    /// The same to a server that is not ours.
    pub(crate) async fn send_elsewhere(self, address: SocketAddr) -> Answer {
        let head_only = self.method == "HEAD";
        let (mut answer, mut body) = self.begin(address).await;
        if answer.status != 101 && !head_only {
            while let Some(part) = body.next().await {
                answer.body.extend(part);
            }
        }
        answer
    }

    /// Its method and what it asks for.
    pub(super) fn line(&self) -> (String, String) {
        (self.method.clone(), self.path.clone())
    }

    pub(crate) fn has(&self, wanted: &str) -> bool {
        self.headers.iter().any(|(name, _)| name == wanted)
    }

    /// The request as it goes over the wire. What follows an upgrade is no body and has no length.
    pub(crate) fn written(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {address}\r\n", self.method, self.path);
        if !self.has("connection") {
            head += "connection: close\r\n";
        }
        if (!self.body.is_empty() || self.method == "POST") && !self.has("upgrade") {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut request = format!("{head}\r\n").into_bytes();
        request.extend(&self.body);
        request
    }

    /// Sends it and reads the head of the answer; the body comes in pieces.
    pub(super) async fn begin(self, address: SocketAddr) -> (Answer, Body) {
        let socket = TcpStream::connect(address).await.expect("the server listens");
        let (read, mut write) = socket.into_split();
        let request = self.written(address);
        // The server may refuse without reading all of it.
        let writing = tokio::spawn(async move {
            _ = write.write_all(&request).await;
            write
        });
        let mut read = BufReader::new(read);
        let answer = Answer::read_head(&mut read).await;
        let chunked = answer.header("transfer-encoding") == Some("chunked");
        let left = answer.header("content-length").map(|len| len.parse().expect("a length"));
        (answer, Body { read, chunked, left, _writing: writing })
    }
}

/// The body of an answer as it comes in. Dropping it closes the connection.
pub(super) struct Body {
    read: BufReader<OwnedReadHalf>,
    chunked: bool,
    left: Option<usize>,
    /// Holds the writing half: dropped early, it would tell the server that we are gone.
    _writing: tokio::task::JoinHandle<tokio::net::tcp::OwnedWriteHalf>,
}

impl Body {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        if self.chunked {
            let len = usize::from_str_radix(&line(&mut self.read).await?, 16).expect("a chunk's length");
            let mut chunk = vec![0; len];
            self.read.read_exact(&mut chunk).await.ok()?;
            line(&mut self.read).await;
            return (len > 0).then_some(chunk);
        }
        let mut part = vec![0; self.left.unwrap_or(8192).min(8192)];
        let len = if part.is_empty() { 0 } else { self.read.read(&mut part).await.ok()? };
        part.truncate(len);
        self.left = self.left.map(|left| left - len);
        (len > 0).then_some(part)
    }
}

/// One line without its end; `None` when the connection has ended.
async fn line(read: &mut BufReader<impl AsyncRead + Unpin>) -> Option<String> {
    let mut line = String::new();
    let len = read.read_line(&mut line).await.ok()?;
    (len > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

/// An answer. Status 0 stands for a connection that was closed without one.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn read_head(read: &mut BufReader<impl AsyncRead + Unpin>) -> Self {
        let first = line(read).await.unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut headers = Vec::new();
        while let Some(line) = line(read).await.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("a header");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Self { status, headers, body: Vec::new() }
    }

    /// The answer with a body of the length that its head tells.
    pub(crate) async fn with_body(mut self, read: &mut BufReader<impl AsyncRead + Unpin>) -> Self {
        let len = self.header("content-length").map_or(0, |len| len.parse().expect("a length"));
        self.body = vec![0; len];
        read.read_exact(&mut self.body).await.expect("the body is as long as told");
        self
    }

    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text()))
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Checks that this is a problem document with a number, and the status that belongs to it.
    #[track_caller]
    pub(crate) fn refused(&self, code: u16) -> Value {
        let known = rallypoint_protocol::ErrorCode::from_number(code).expect("a code of the table");
        let problem = self.expect(known.http_status());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["title"], known.name());
        assert_eq!(problem["status"], self.status);
        assert!(problem["detail"].is_string(), "{problem}");
        problem
    }
}
