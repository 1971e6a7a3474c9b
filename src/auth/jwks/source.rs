//! Where a key set comes from: an address or a file.

use std::{fs, io, net::IpAddr, path::PathBuf, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use thiserror::Error;

use super::{JwksConfig, SET_MAX, parse};
use crate::{
    auth::jwt::Key,
    outbound::{Outbound, OutboundError},
};

/// Why a key set cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum SourceError {
    #[error("a key set needs `url` or `file`, and only one of them")]
    NotOne,
    #[error("`issuer` must not be empty; leave it out instead")]
    EmptyIssuer,
    #[error("`url` is no address; write \"https://accounts.example/.well-known/jwks.json\"")]
    NoAddress,
    #[error(
        "`url` must begin with https://, or whoever is on the way can put in keys of their own; http:// is for this machine only"
    )]
    InTheClear,
    #[error("`min_refresh_ms` must be at most `refresh_ms`")]
    Intervals,
    #[error("{0}")]
    Outbound(#[from] OutboundError),
    #[error("the answer has the status {0}")]
    Status(u16),
    #[error("cannot read {file}: {error}", file = file.display())]
    Unreadable { file: PathBuf, error: io::ErrorKind },
    #[error("this is no key set: JSON with a list `keys` (RFC 7517 section 5)")]
    NoSet,
    #[error("no key of the set is of use: RSA from 2048 bits on (RS256), P-256 (ES256) or Ed25519 (EdDSA)")]
    NoKey,
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The keys, if they may be others than last time.
    pub(super) keys: Option<Vec<Key>>,
    /// How long they are good without asking again, if anything was said about that.
    pub(super) fresh_for: Option<Duration>,
}

/// Where a set comes from, and what it was last time.
#[derive(Clone)]
pub(super) struct Source {
    issuer: Option<String>,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Address(Box<Address>),
    File { path: PathBuf, last: Vec<u8> },
}

/// Whatever a set can be had from: a source, or in tests one that a virtual clock moves.
pub(super) trait Fetch: Send {
    /// Gets the set.
    fn fetch(&mut self) -> impl Future<Output = Result<Fetched, SourceError>> + Send;
}

impl Fetch for Source {
    fn fetch(&mut self) -> impl Future<Output = Result<Fetched, SourceError>> + Send {
        self.get()
    }
}

#[derive(Clone)]
struct Address {
    uri: Uri,
    client: Outbound,
    /// The `ETag` of the set as it was taken last.
    tag: Option<HeaderValue>,
}

impl Source {
    pub(super) fn new(config: &JwksConfig) -> Result<Self, SourceError> {
        if config.issuer.as_deref() == Some("") {
            return Err(SourceError::EmptyIssuer);
        }
        let place = match (&config.url, &config.file) {
            (Some(url), None) => {
                let uri: Uri = url.parse().map_err(|_| SourceError::NoAddress)?;
                let host = uri.host().ok_or(SourceError::NoAddress)?;
                let local = host == "localhost"
                    || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
                match uri.scheme_str() {
                    Some("https") => {}
                    Some("http") if local => {}
                    Some("http") => return Err(SourceError::InTheClear),
                    _ => return Err(SourceError::NoAddress),
                }
                Place::Address(Box::new(Address { uri, client: Outbound::new()?, tag: None }))
            }
            (None, Some(path)) => Place::File { path: path.clone(), last: Vec::new() },
            _ => return Err(SourceError::NotOne),
        };
        Ok(Self { issuer: config.issuer.clone(), place })
    }

    async fn get(&mut self) -> Result<Fetched, SourceError> {
        match &mut self.place {
            Place::File { .. } => self.read(),
            Place::Address(address) => {
                let Address { uri, client, tag } = &mut **address;
                let mut request = http::Request::get(uri.clone()).header(header::ACCEPT, "application/json");
                if let Some(tag) = &*tag {
                    request = request.header(header::IF_NONE_MATCH, tag);
                }
                let request = request.body(Default::default()).map_err(|_| SourceError::NoAddress)?;
                let answer = client.send(request, SET_MAX).await?;
                let fresh_for = fresh_for(answer.headers());
                match answer.status() {
                    StatusCode::NOT_MODIFIED if tag.is_some() => Ok(Fetched { keys: None, fresh_for }),
                    StatusCode::OK => {
                        let keys = parse::keys(answer.body(), self.issuer.as_ref())?;
                        *tag = answer.headers().get(header::ETAG).cloned();
                        Ok(Fetched { keys: Some(keys), fresh_for })
                    }
                    status => Err(SourceError::Status(status.as_u16())),
                }
            }
        }
    }

    /// Reads the file; nothing of an address.
    pub(super) fn read(&mut self) -> Result<Fetched, SourceError> {
        let Place::File { path, last } = &mut self.place else { return Ok(Fetched { keys: None, fresh_for: None }) };
        let text =
            fs::read(&*path).map_err(|error| SourceError::Unreadable { file: path.clone(), error: error.kind() })?;
        if text == *last {
            return Ok(Fetched { keys: None, fresh_for: None });
        }
        let keys = parse::keys(&text, self.issuer.as_ref())?;
        *last = text;
        Ok(Fetched { keys: Some(keys), fresh_for: None })
    }
}

/// How long an answer says that it is fresh (RFC 9111 section 5.2.2).
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let mut fresh = None;
    for directive in lines.flat_map(|line| line.split(',')).map(|directive| directive.trim().to_ascii_lowercase()) {
        if directive == "no-store" || directive == "no-cache" {
            return Some(Duration::ZERO);
        }
        let seconds = directive.strip_prefix("max-age=").map(|seconds| seconds.trim_matches('"'));
        fresh = fresh.or(seconds.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs));
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: Option<&str>, file: Option<&str>) -> Result<(), SourceError> {
        let config = JwksConfig {
            issuer: None,
            url: url.map(Into::into),
            file: file.map(Into::into),
            refresh_ms: 2000,
            min_refresh_ms: 1000,
        };
        Source::new(&config).map(|_| ())
    }

    #[test]
    fn a_set_comes_from_one_safe_place() {
        assert_eq!(source(None, None), Err(SourceError::NotOne));
        assert_eq!(source(Some("https://accounts.example/keys"), Some("keys.json")), Err(SourceError::NotOne));
        assert_eq!(source(None, Some("keys.json")), Ok(()));
        for good in
            ["https://accounts.example/keys", "http://localhost:8080/keys", "http://127.0.0.1", "http://[::1]:1/"]
        {
            assert_eq!(source(Some(good), None), Ok(()), "{good}");
        }
        assert_eq!(source(Some("http://accounts.example/keys"), None), Err(SourceError::InTheClear));
        for bad in ["", "accounts.example", "/keys", "ftp://accounts.example", "https://"] {
            assert_eq!(source(Some(bad), None), Err(SourceError::NoAddress), "{bad}");
        }
    }

    #[test]
    fn answers_say_how_long_they_are_fresh() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CACHE_CONTROL, line.parse().unwrap());
            }
            fresh_for(&headers).map(|fresh| fresh.as_secs())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["public, max-age=3600, must-revalidate"]), Some(3600));
        assert_eq!(of(&["public", "Max-Age=60"]), Some(60));
        assert_eq!(of(&["max-age=60, no-cache"]), Some(0));
        assert_eq!(of(&["max-age=soon"]), None);
    }
}
