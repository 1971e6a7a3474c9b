//! The way to the engine: one server, or a cluster of them. A command that was not answered may have been carried out;
//! whoever sends it is told.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, ProtocolVersion, PushInfo, RedisError, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use thiserror::Error;
use tokio::sync::Notify;

use crate::broker::Unavailable;

/// How long an answer may take. The library gives up after half a second by itself, and much was carried out then.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two attempts to connect, at first and at most.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Commands that may wait for their answers.
const PIPELINE: usize = 4096;

/// Where an engine is: one URL of a server, or those of some nodes of a cluster, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Vec<String>);

/// An address that cannot be read; it may hold a password, so it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is no engine; write memory, redis://host:6379, rediss://host:6379 or nodes of a cluster with commas between")]
pub struct BadAddress;

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let urls: Vec<_> = text.split(',').map(|url| url.trim().to_owned()).collect();
        let is_good = |url: &String| redis::parse_redis_url(url).is_some_and(|url| url.scheme().starts_with("redis"));
        if urls.iter().all(is_good) { Ok(Self(urls)) } else { Err(BadAddress) }
    }
}

/// Without user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, url) in self.0.iter().enumerate() {
            let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
            let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
            write!(f, "{}{scheme}://{place}", if n > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not carried out.
    Refused,
    /// Nobody knows.
    Unknown,
    /// The script is not known to the server.
    NoScript,
    /// A transaction was not carried out: perhaps its slot lies elsewhere, which the library does not take from that.
    Aborted,
}

impl From<Failure> for Unavailable {
    fn from(_: Failure) -> Self {
        Self
    }
}

impl From<&RedisError> for Failure {
    fn from(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Self::NoScript,
            ErrorKind::Server(ServerErrorKind::ExecAbort) => Self::Aborted,
            // Whatever a server answers, it answers instead of doing it.
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::Client | ErrorKind::ClusterConnectionNotFound => {
                Self::Refused
            }
            _ if error.is_connection_refusal() => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

/// Who is handed what a connection hears.
type Hear = Arc<dyn Fn(PushInfo) + Send + Sync>;

#[derive(Clone)]
enum Way {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection for commands.
#[derive(Clone)]
pub(super) struct Link(Way);

impl Link {
    /// Connects; a server that is part of a cluster is asked for the rest of it.
    async fn open(address: &Address) -> Result<Self, RedisError> {
        Self::connect(address, None).await
    }

    /// A connection that hands over what it hears.
    pub(super) async fn listening(
        address: &Address,
        hear: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        Self::connect(address, Some(Arc::new(hear))).await
    }

    async fn connect(Address(urls): &Address, hear: Option<Hear>) -> Result<Self, RedisError> {
        let sender = |hear: Hear| {
            move |push| {
                hear(push);
                Ok::<_, std::convert::Infallible>(())
            }
        };
        // Any of several will do to find the others, and the first may be the one that is gone.
        if let [url] = &urls[..] {
            let mut config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(ANSWER))
                .set_response_timeout(Some(ANSWER))
                .set_pipeline_buffer_size(PIPELINE);
            if let Some(hear) = hear.clone() {
                config = config.set_push_sender(sender(hear));
            }
            let mut one = Client::open(with_resp3(url)?)?.get_multiplexed_async_connection_with_config(&config).await?;
            let told: String = redis::cmd("INFO").arg("cluster").query_async(&mut one).await?;
            if !told.contains("cluster_enabled:1") {
                return Ok(Self(Way::One(one)));
            }
        }
        let urls = urls.iter().map(|url| with_resp3(url)).collect::<Result<Vec<_>, _>>()?;
        let mut cluster = ClusterClient::builder(urls)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(ANSWER)
            .response_timeout(ANSWER)
            .max_retry_wait(1000);
        if let Some(hear) = hear {
            cluster = cluster.push_sender(sender(hear));
        }
        Ok(Self(Way::Cluster(cluster.build()?.get_async_connection().await?)))
    }

    /// Listens to a channel; returns when the engine has confirmed it.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), RedisError> {
        match self.0.clone() {
            Way::One(mut one) => redis::cmd("SSUBSCRIBE").arg(channel).exec_async(&mut one).await,
            Way::Cluster(mut cluster) => cluster.ssubscribe(channel).await,
        }
    }

    /// Listens to it no more.
    pub(super) async fn unsubscribe(&self, channel: &str) -> Result<(), RedisError> {
        match self.0.clone() {
            Way::One(mut one) => redis::cmd("SUNSUBSCRIBE").arg(channel).exec_async(&mut one).await,
            Way::Cluster(mut cluster) => cluster.sunsubscribe(channel).await,
        }
    }

    /// Sends commands that concern one slot, all at once, and returns their answers. One that was refused fails them all.
    async fn ask(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        // Of a transaction only the last answer counts, which holds all others.
        let (skipped, count) = if commands.is_transaction() { (commands.len() + 1, 1) } else { (0, commands.len()) };
        let answered = match self.0.clone() {
            Way::One(mut one) => one.req_packed_commands(commands, skipped, count).await,
            Way::Cluster(mut cluster) => cluster.req_packed_commands(commands, skipped, count).await,
        };
        let failed = |error: RedisError| {
            tracing::debug!(%error, "the engine did not do it");
            Failure::from(&error)
        };
        let mut answers: Vec<_> =
            answered.and_then(|answers| answers.into_iter().map(Value::extract_error).collect()).map_err(failed)?;
        match answers.pop() {
            Some(Value::Array(all)) if commands.is_transaction() => Ok(all),
            last => {
                answers.extend(last);
                Ok(answers)
            }
        }
    }
}

/// The way for commands, which is opened again whenever it is lost.
pub(super) struct Line {
    address: Address,
    link: Mutex<Option<Link>>,
    /// There is none, or it does not answer.
    is_lost: Notify,
}

impl Line {
    pub(super) fn new(address: Address) -> Self {
        Self { address, link: Mutex::default(), is_lost: Notify::new() }
    }

    /// Where it leads to.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends commands that concern one slot, all at once, and returns their answers. One that was refused fails them all.
    pub(super) async fn ask(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let Some(link) = self.link.lock().clone() else { return Err(Failure::Refused) };
        let answered = link.ask(commands).await;
        // The library finds its way in a cluster by itself.
        if matches!((&answered, &link.0), (Err(Failure::Unknown), Way::One(_))) {
            self.is_lost.notify_one();
        }
        answered
    }

    /// Connects, and connects anew whenever there was no answer; ends when it is dropped.
    pub(super) async fn keep(&self) {
        let mut waits = Waits::default();
        loop {
            match Link::open(&self.address).await {
                Ok(link) => {
                    *self.link.lock() = Some(link);
                    waits = Waits::default();
                    self.is_lost.notified().await;
                    tracing::warn!("the engine did not answer; connecting anew");
                }
                Err(error) => {
                    *self.link.lock() = None;
                    waits.complain(&error);
                    waits.wait().await;
                }
            }
        }
    }
}

/// Between two attempts to connect, longer and longer.
#[derive(Default)]
pub(super) struct Waits {
    failed: u32,
}

impl Waits {
    /// Tells why, the first time of a row.
    pub(super) fn complain(&self, error: &RedisError) {
        match self.failed {
            0 => tracing::warn!(%error, "the engine is not reached; trying on"),
            _ => tracing::debug!(%error, "the engine is still not reached"),
        }
    }

    /// Waits until the next attempt.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep((FIRST_WAIT * 2_u32.pow(self.failed)).min(LONGEST_WAIT)).await;
        self.failed = (self.failed + 1).min(8);
    }
}

fn with_resp3(url: &str) -> Result<redis::ConnectionInfo, RedisError> {
    let info: redis::ConnectionInfo = redis::IntoConnectionInfo::into_connection_info(url)?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_url_or_several() {
        for good in ["redis://localhost", "rediss://user:secret@h:1/2", "redis://a:1, redis://b:2"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        let secret: Address = "rediss://user:secret@h:1/2,redis://b:2".parse().unwrap();
        assert_eq!(secret.to_string(), "rediss://h:1/2,redis://b:2");
        for bad in ["", "localhost:6379", "http://a", "redis://a,", "redis://a,http://b"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
