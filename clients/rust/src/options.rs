//! How to connect: where to, as whom, in which encoding, and the bounds of this end.

use std::{fmt, time::Duration};

use rallypoint_protocol::{Encoding, Position};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::{
    error::Error,
    token::{NoToken, Token},
};

/// Where the token travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// In the message `auth`, after the handshake. The token is in no log of a proxy.
    #[default]
    FirstMessage,
    /// In the header `Authorization: Bearer`.
    Header,
    /// As an offered subprotocol `bearer.<token>`.
    Subprotocol,
    /// In the query parameter `token`, where the server allows that.
    Query,
    /// Nowhere: something else speaks for this client, such as a cookie in [`Options::headers`].
    None,
}

impl Credential {
    pub(crate) fn is_in_handshake(self) -> bool {
        matches!(self, Self::Header | Self::Subprotocol | Self::Query)
    }
}

/// How to connect. Start from [`Options::new`] and change what differs:
///
/// ```
/// use rallypoint_client::{Credential, Options};
///
/// let options = Options { credential: Credential::Header, ..Options::new("ws://127.0.0.1:3000/v1/ws", "token") };
/// ```
#[derive(Clone)]
pub struct Options {
    /// `ws://host:port/v1/ws`, or the server's base `http://host:port`. TLS is not built in: in
    /// front of a `wss` server a local proxy is needed.
    pub url: String,
    /// The access token, a JWT, or where to get it.
    pub token: Token,
    /// How messages are written; [`Encoding::MsgPack`] unless told otherwise.
    pub encoding: Encoding,
    /// Where the token travels.
    pub credential: Credential,
    /// The header `Origin`. Native programs have none; set it to be treated like a browser.
    pub origin: Option<String>,
    /// More headers of the handshake, such as `Cookie`. A socket that resumes a session is opened
    /// without `Cookie` and `Authorization`, and without a `token` in the query of the URL.
    pub headers: Vec<(String, String)>,
    /// The position in the user's own log up to which everything is known. Travels in `auth`, so
    /// only with [`Credential::FirstMessage`].
    pub notifications_since: Option<Position>,
    /// How long to wait: for the connection until `connected`, and for each answer. 10 s. An attempt to
    /// come back may take as long at most; the first one 3 s.
    pub timeout: Duration,
    /// How many incoming messages may wait for [`Events::recv`](crate::Events::recv). When so many wait,
    /// the client stops reading the socket until one is taken; nothing is dropped. 1024.
    pub queue: usize,
    /// Size of the kernel's receive buffer (`SO_RCVBUF`), bytes; the system decides when `None`.
    /// A small one makes a slow reader felt by the server sooner.
    pub receive_buffer: Option<u32>,
    /// Whether the client comes back by itself when the connection is lost. If not, a loss is the end. `true`.
    pub resume: bool,
    /// How long to try to come back before a loss is the end. For ever, when `None`.
    pub give_up_after: Option<Duration>,
    /// How many requests may wait to be sent: while the connection is lost, and while 64 have no
    /// answer yet. One more is [`Error::Busy`]. 256.
    pub waiting: usize,
    /// Fixes the random waits before attempts to come back, for tests.
    pub seed: Option<u64>,
}

impl Options {
    /// MessagePack, the token in the first message, everything else at its default.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: Token::Fixed(token.into()),
            encoding: Encoding::MsgPack,
            credential: Credential::default(),
            origin: None,
            headers: Vec::new(),
            notifications_since: None,
            timeout: Duration::from_secs(10),
            queue: 1024,
            receive_buffer: None,
            resume: true,
            give_up_after: None,
            waiting: 256,
            seed: None,
        }
    }

    /// Like [`Options::new`], with a function that gets the token, so that the client can renew it
    /// by itself; see [`Token::source`].
    pub fn with_source<F, R>(url: impl Into<String>, fetch: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, NoToken>> + Send + 'static,
    {
        Self { token: Token::source(fetch), ..Self::new(url, "") }
    }

    /// Where to connect, with this token; without one, nothing in the query stands for one.
    pub(crate) fn target(&self, token: Option<&str>) -> Result<Target, Error> {
        let bad = |why: &str| Error::Options(why.to_owned());
        let uri: Uri = self.url.parse().map_err(|_| bad("the URL cannot be read"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("the URL has no host"))?;
        let path = uri.path().trim_end_matches('/');
        let path = match uri.scheme_str() {
            Some("ws") if !path.is_empty() => path.to_owned(),
            Some("ws" | "http") => format!("{path}/v1/ws"),
            Some("wss" | "https") => return Err(bad("TLS is not built in")),
            _ => return Err(bad("the URL begins with ws:// or http://")),
        };
        let port = uri.port_u16().unwrap_or(80);
        let given = uri.query().into_iter().flat_map(|query| query.split('&'));
        let given = given.filter(|pair| token.is_some() || !pair.starts_with("token=")).map(str::to_owned);
        let added = token.filter(|_| self.credential == Credential::Query);
        let query: Vec<_> = given.chain(added.map(|token| format!("token={}", escape(token)))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let uri = format!("ws://{host}:{port}{path}{query}");
        let uri = uri.parse().map_err(|_| bad("the URL cannot be used"))?;
        // A literal IPv6 address stands in brackets in a URL, and without them in a lookup.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Target { host, port, uri })
    }
}

/// Percent-encodes everything but the unreserved characters (RFC 3986 section 2.3).
fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// What the URL says, taken apart.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) uri: Uri,
}

impl fmt::Debug for Options {
    /// Says everything but the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &self.url)
            .field("encoding", &self.encoding)
            .field("credential", &self.credential)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_bases_lead_to_the_same_place() {
        for (url, uri) in [
            ("ws://127.0.0.1:3000/v1/ws", "ws://127.0.0.1:3000/v1/ws"),
            ("http://127.0.0.1:3000", "ws://127.0.0.1:3000/v1/ws"),
            ("ws://localhost/", "ws://localhost:80/v1/ws"),
            ("http://example.org/rally/", "ws://example.org:80/rally/v1/ws"),
            ("ws://[::1]:9/x?a=b", "ws://[::1]:9/x?a=b"),
        ] {
            let target = Options::new(url, "").target(Some("")).unwrap();
            assert_eq!(target.uri.to_string(), uri);
            assert!(!target.host.contains('['));
        }
        for url in ["", "localhost:3000", "wss://example.org/v1/ws", "ftp://x", "ws://"] {
            assert!(matches!(Options::new(url, "").target(Some("")), Err(Error::Options(_))), "{url}");
        }
    }

    #[test]
    fn the_token_shows_in_the_query_only_when_asked() {
        let mut options = Options::new("http://h?x=y", "a.b+c");
        let query = |options: &Options, token| options.target(token).unwrap().uri.query().map(str::to_owned);
        assert_eq!(query(&options, Some("a.b+c")).as_deref(), Some("x=y"));
        options.credential = Credential::Query;
        assert_eq!(query(&options, Some("a.b+c")).as_deref(), Some("x=y&token=a.b%2Bc"));
        assert_eq!(query(&options, None).as_deref(), Some("x=y"));
        options.url = "http://h?token=old&x=y".to_owned();
        assert_eq!(query(&options, None).as_deref(), Some("x=y"));
        assert!(!format!("{options:?}").contains("a.b"));
    }
}
