//! What the server asks of others over HTTP. Answers are bounded in size and time, and nobody is followed elsewhere: a
//! redirect is an answer like any other.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use thiserror::Error;
use tokio::time::Instant;
use tokio_rustls::rustls::crypto::aws_lc_rs;

/// How long an answer may take, from the connection to its last byte.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);

/// What is read of an answer whose body says nothing to us, so that the connection can be used again.
const UNREAD_MAX: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OutboundError {
    #[error(
        "this machine trusts no authority that could vouch for a server ({0}); Debian's package is `ca-certificates`"
    )]
    NoRoots(String),
    #[error("no answer: {0}")]
    Unreachable(String),
    #[error("no whole answer within 10 s")]
    Late,
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Outbound {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Outbound {
    /// Trusts whom the machine trusts.
    pub(crate) fn new() -> Result<Self, OutboundError> {
        let roots = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(aws_lc_rs::default_provider())
            .map_err(|error| OutboundError::NoRoots(error.to_string()))?;
        let connector = roots.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client })
    }

    /// Sends a request and reads the whole answer, `max` bytes at most.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        max: usize,
    ) -> Result<Response<Bytes>, OutboundError> {
        let exchange = async {
            let (head, body) = self.begin(request).await?.into_parts();
            let whole = Limited::new(body, max).collect().await.map_err(|error| {
                match error.downcast::<LengthLimitError>() {
                    Ok(_) => OutboundError::TooLong(max),
                    Err(error) => OutboundError::Unreachable(told(&*error)),
                }
            })?;
            Ok(Response::from_parts(head, whole.to_bytes()))
        };
        tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| OutboundError::Late)?
    }

    /// Sends a request whose answer is in its head. Its body is of no interest, however long or late.
    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap), OutboundError> {
        let begin = Instant::now();
        let begun = tokio::time::timeout_at(begin + DEADLINE, self.begin(request)).await;
        let (head, body) = begun.map_err(|_| OutboundError::Late)??.into_parts();
        _ = tokio::time::timeout_at(begin + DEADLINE, Limited::new(body, UNREAD_MAX).collect()).await;
        Ok((head.status, head.headers))
    }

    async fn begin(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, OutboundError> {
        self.client.request(request).await.map_err(|error| OutboundError::Unreachable(told(&error)))
    }
}

/// An error and what it came from: the first alone says only that a request failed.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
