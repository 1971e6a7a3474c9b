//! A server in this process, on a port of its own, for one test.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rallypoint::{
    config::{Config, KeyConfig},
    hub::Hub,
    server::Server,
};
use rallypoint_client::{Client, Events, Options};
use rallypoint_protocol::Encoding;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
};

use super::{
    Answer, Ask, PATIENCE, Pass, pass,
    pass::{ADMIN_AUDIENCE, AUDIENCE, SECRET},
    until, within,
};

/// The one web page that may come.
pub(crate) const ORIGIN: &str = "https://app.example";

/// A running server. It ends when this is dropped; [`Node::stop`] waits for that.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) hub: Arc<Hub>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    apart: Apart,
}

/// The threads of a node that can be killed; most share those of their test.
#[derive(Default)]
struct Apart(Option<Runtime>);

impl Drop for Apart {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// What is open on a server, by the name in `/metrics` without `rallypoint_`.
pub(crate) type Gauges = BTreeMap<String, i64>;

impl Node {
    /// A server with the defaults of the spec.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server whose configuration was changed, without the ranges that a file must keep.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = usual();
        change(&mut config);
        let server = Server::bind(config).await.expect("the configuration is good");
        let (address, hub) = (server.address(), server.hub().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.run(async move { _ = stopped.await }));
        Self { address, hub, stop: Some(stop), serving, apart: Apart::default() }
    }

    /// A server on threads of its own.
    pub(crate) async fn apart(change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let threads = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        let mut node = threads.spawn(Self::with(change)).await.expect("the configuration is good");
        node.apart = Apart(Some(threads));
        node
    }

    /// A server on threads of its own is gone in the middle of whatever it does.
    pub(crate) fn kill(self) {
        assert!(self.apart.0.is_some(), "it has no threads of its own");
    }

    /// A server that listens, and accepts nobody.
    pub(crate) async fn asleep() -> Server {
        Server::bind(usual()).await.expect("the configuration is good")
    }

    /// Asks the server to end, and waits for it.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        within("the end of the server", self.serving).await.expect("the server ends without a panic");
    }

    /// The base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How to connect with this token.
    pub(crate) fn options(&self, pass: &Pass, encoding: Encoding) -> Options {
        self.options_with(pass.mint(), encoding)
    }

    /// How to connect with this text as the token.
    pub(crate) fn options_with(&self, token: impl Into<String>, encoding: Encoding) -> Options {
        Options { encoding, timeout: PATIENCE, resume: false, ..Options::new(self.url(), token) }
    }

    /// A session.
    pub(crate) async fn connect(&self, pass: &Pass, encoding: Encoding) -> (Client, Events) {
        Client::connect(self.options(pass, encoding)).await.expect("the token opens the door")
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str, pass: &Pass) -> Answer {
        self.send(Ask::new("GET", path).pass(pass)).await
    }

    /// `POST` with a JSON body.
    pub(crate) async fn post(&self, path: &str, pass: &Pass, body: &serde_json::Value) -> Answer {
        self.send(Ask::new("POST", path).pass(pass).json(body)).await
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, path: &str, pass: &Pass) -> Answer {
        self.send(Ask::new("DELETE", path).pass(pass)).await
    }

    /// Any request.
    pub(crate) async fn send(&self, ask: Ask) -> Answer {
        within("an answer over HTTP", ask.send(self.address)).await
    }

    /// Any request whose answer has no end: only the head of the answer is read.
    pub(crate) async fn open(&self, ask: Ask) -> Answer {
        within("the head of an answer", ask.begin(self.address)).await.0
    }

    /// All series of `/metrics`, by name and labels, without the prefix `rallypoint_`.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let answer = self.get("/metrics", &pass("operator").admin("metrics")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let number = |(name, value): (&str, &str)| {
            let name = name.strip_prefix("rallypoint_").unwrap_or(name);
            Some((name.to_owned(), value.parse().ok()?))
        };
        series.filter_map(number).collect()
    }

    /// What is open right now. The scrape's own socket is among `sockets`, and always just one.
    pub(crate) async fn gauges(&self) -> Gauges {
        let metrics = self.metrics().await;
        let mut gauges = Gauges::new();
        for name in ["sockets", "sessions", "rooms", "members", "spectators"] {
            gauges.insert(name.to_owned(), *metrics.get(name).unwrap_or_else(|| panic!("no gauge {name}")) as i64);
        }
        for transport in ["websocket", "sse", "poll", "status", "trace"] {
            let name = format!("connections{{transport=\"{transport}\"}}");
            gauges.insert(transport.to_owned(), metrics.get(&name).copied().unwrap_or_default() as i64);
        }
        gauges
    }

    /// What is open on a server that nobody uses but the scrape itself.
    pub(crate) fn idle() -> Gauges {
        let names = ["sockets", "sessions", "rooms", "members", "spectators"];
        names
            .into_iter()
            .chain(["websocket", "sse", "poll", "status", "trace"])
            .map(|name| (name.to_owned(), i64::from(name == "sockets")))
            .collect()
    }

    /// Waits until nothing is open any more.
    pub(crate) async fn emptied(&self) {
        self.settled(&Self::idle()).await;
    }

    /// Waits until exactly this is open.
    pub(crate) async fn settled(&self, expected: &Gauges) {
        let mut last = Gauges::new();
        let look = async || {
            last = self.gauges().await;
            (last == *expected).then_some(())
        };
        if tokio::time::timeout(PATIENCE / 2, until("gauges", look)).await.is_err() {
            panic!("the gauges stay at {last:?}, expected {expected:?}");
        }
    }
}

/// What the test servers are started with.
fn usual() -> Config {
    let mut config = Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        origins: vec![ORIGIN.to_owned()],
        ..Config::default()
    };
    config.auth.audience = Some(AUDIENCE.to_owned());
    config.auth.admin_audience = ADMIN_AUDIENCE.to_owned();
    config.auth.keys = vec![KeyConfig::of_secret(SECRET)];
    config.limits.drain_ms = 1000;
    // All tests of this program are one process to a server.
    config.limits.cpu_percent = 100;
    config
}
