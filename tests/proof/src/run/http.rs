//! HTTP/1.1 over one connection, as far as the server speaks it: an answer with a length, or a stream in chunks.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// The longest line of a head.
const LINE_MAX: u64 = 16 * 1024;

/// Percent-encodes a name into one path segment or query value.
pub fn encoded(name: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    head: String,
    body: String,
}

impl Request {
    /// `GET` of a path.
    pub fn get(path: &str) -> Self {
        Self { head: format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"), body: String::new() }
    }

    /// `POST` of JSON to a path.
    pub fn post(path: &str, body: &Value) -> Self {
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
        );
        Self { head, body }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    /// With an access token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the connection may be used again.
    pub reusable: bool,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Length(usize),
    Chunked,
    ToTheEnd,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    socket: BufReader<TcpStream>,
    shape: Shape,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket: BufReader::new(socket), shape: Shape::Length(0) })
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: &Request, patience: Duration) -> io::Result<Answer> {
        let exchange = async {
            let (status, reusable) = self.begin(request).await?;
            let mut body = Vec::new();
            while let Some(part) = self.next().await? {
                body.extend(part);
            }
            Ok(Answer { status, body, reusable })
        };
        timeout(patience, exchange).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    }

    /// Sends a request and reads the head of the answer: the status, and whether the connection may be used again after
    /// the body.
    pub async fn begin(&mut self, request: &Request) -> io::Result<(u16, bool)> {
        let bytes = format!("{}\r\n{}", request.head, request.body);
        self.socket.get_mut().write_all(bytes.as_bytes()).await?;
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(ErrorKind::InvalidData)?;
        self.shape = Shape::ToTheEnd;
        let mut reusable = true;
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => {
                    self.shape = Shape::Length(value.parse().map_err(|_| ErrorKind::InvalidData)?)
                }
                ("transfer-encoding", "chunked") => self.shape = Shape::Chunked,
                ("connection", "close") => reusable = false,
                _ => {}
            }
        }
        Ok((status, reusable && !matches!(self.shape, Shape::ToTheEnd)))
    }

    /// The next piece of the body; `None` after the last. A body that breaks off is an error.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.shape {
            Shape::Length(0) => Ok(None),
            Shape::Length(length) => {
                let mut body = vec![0; length];
                self.socket.read_exact(&mut body).await?;
                self.shape = Shape::Length(0);
                Ok(Some(body))
            }
            Shape::Chunked => {
                let line = self.line().await?;
                let length = usize::from_str_radix(&line, 16).map_err(|_| ErrorKind::InvalidData)?;
                let mut chunk = vec![0; length];
                self.socket.read_exact(&mut chunk).await?;
                self.line().await?;
                Ok((length > 0).then_some(chunk))
            }
            Shape::ToTheEnd => {
                let mut part = vec![0; 8192];
                let length = self.socket.read(&mut part).await?;
                part.truncate(length);
                Ok((length > 0).then_some(part))
            }
        }
    }

    /// A line without its end.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.socket).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        if line.pop() != Some(b'\n') {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        String::from_utf8(line)
            .map(|line| line.trim_end_matches('\r').to_owned())
            .map_err(|_| ErrorKind::InvalidData.into())
    }
}

/// Asks once, over a connection of its own.
pub async fn once(address: SocketAddr, request: &Request, patience: Duration) -> io::Result<Answer> {
    timeout(patience, async { Connection::open(address).await?.ask(request, patience).await })
        .await
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// A token of a server that runs with `--dev`: every verb in every room, and whom to notify.
pub async fn token(address: SocketAddr, user: &str) -> io::Result<String> {
    let verbs = rallypoint_protocol::Verb::ALL.map(rallypoint_protocol::Verb::name);
    let wish = json!({
        "user": user, "rooms": [{ "r": "*", "do": verbs }], "notify": { "send": ["*"] }, "ttl": 86_400,
    });
    let request = Request::post("/dev/token", &wish).header("origin", &format!("http://localhost:{}", address.port()));
    let answer = once(address, &request, Duration::from_secs(10)).await?;
    let body = answer.json();
    let token = body["token"].as_str().map(str::to_owned);
    token.ok_or_else(|| io::Error::other(format!("no token for {user}: {} {body}", answer.status)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A peer that reads one request for each answer and then closes.
    async fn peer(answers: Vec<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut buffer = [0; 4096];
                let length = socket.read(&mut buffer).await.unwrap();
                assert!(buffer[..length].starts_with(b"GET /x HTTP/1.1\r\n"));
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn answers_end_where_they_say() {
        let address = peer(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n2\r\nde\r\n0\r\n\r\n",
            "HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nf",
        ])
        .await;
        let mut connection = Connection::open(address).await.unwrap();
        for (status, body, reusable) in [(200, "ab", true), (201, "cde", true), (503, "f", false)] {
            let answer = connection.ask(&Request::get("/x"), PATIENCE).await.unwrap();
            assert_eq!((answer.status, answer.body, answer.reusable), (status, body.into(), reusable));
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_none() {
        for cut in ["", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"] {
            let address = peer(vec![cut]).await;
            assert!(once(address, &Request::get("/x"), PATIENCE).await.is_err(), "{cut}");
        }
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
        assert!(once(peer(vec![chunked]).await, &Request::get("/x"), PATIENCE).await.is_err());
    }

    #[test]
    fn names_become_one_segment() {
        assert_eq!(encoded("match/7:ü~"), "match%2F7%3A%C3%BC~");
    }
}
