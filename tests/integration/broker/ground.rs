//! An engine of a test's own, and nodes on it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rallypoint::{
    broker::{
        Broker, Ceilings, Change, Dedup, Engine, Log, Opened, Prefix, PublishError, Published, Subscriber, Unread,
    },
    node::NodeId,
    room::history::{Bounds, Publication},
};
use rallypoint_proof::redis::{Cluster, Redis};
use rallypoint_protocol::{Event, EventBody, Position, RoomName, event::Millis};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::guest::Guest;
use crate::support::{room, until, within};

/// What is written outlives the process, if not the machine.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "no"];

/// Before something that was not taken is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// An engine of a test's own.
pub(super) struct Ground {
    pub(super) servers: Servers,
    pub(super) ceilings: Ceilings,
}

/// What it runs on.
pub(super) enum Servers {
    /// Only the process of the test.
    None,
    /// One, and its folder.
    One(Box<Redis>, PathBuf),
    /// Some.
    Cluster(Cluster),
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Servers::One(_, folder) = &self.servers {
            _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A log that a test uses.
#[derive(Clone)]
pub(super) struct Sheet {
    pub(super) name: RoomName,
    pub(super) bounds: Bounds,
}

impl Sheet {
    /// One that keeps all that a test puts into it.
    pub(super) fn new(name: &str) -> Self {
        Self { name: room(name), bounds: Bounds { events: 100_000, bytes: 16 << 20, age_ms: 600_000 } }
    }

    /// One that keeps so many events.
    pub(super) fn short(name: &str, events: usize) -> Self {
        let sheet = Self::new(name);
        Self { bounds: Bounds { events, ..sheet.bounds }, ..sheet }
    }

    pub(super) fn log(&self) -> Log<'_> {
        Log { name: &self.name, bounds: self.bounds }
    }
}

impl Ground {
    fn on(servers: Servers) -> Self {
        Self { servers, ceilings: Ceilings { bytes: 64 << 20, logs: 1000 } }
    }

    pub(super) async fn memory() -> Self {
        Self::on(Servers::None)
    }

    pub(super) async fn redis() -> Self {
        let folder = std::env::temp_dir().join(format!("rallypoint-broker-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("a folder of its own");
        let path = folder.to_string_lossy();
        let options = [&DURABLE[..], &["--dir", &path]].concat();
        let redis = Redis::start_with(&options).await.expect("redis-server is installed");
        Self::on(Servers::One(Box::new(redis), folder))
    }

    pub(super) async fn cluster() -> Self {
        Self::on(Servers::Cluster(Cluster::start_with(3, &DURABLE).await.expect("redis-server is installed")))
    }

    /// Nodes that reach the engine, as many as it may have at most.
    pub(super) async fn nodes(&self, count: usize) -> Vec<Node> {
        let count = if matches!(self.servers, Servers::None) { 1 } else { count };
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(self.node().await);
        }
        nodes
    }

    /// A node that reaches the engine.
    pub(super) async fn node(&self) -> Node {
        let engine: Engine = match &self.servers {
            Servers::None => Engine::Memory,
            Servers::One(redis, _) => redis.url().parse().expect("an address"),
            Servers::Cluster(cluster) => cluster.url().parse().expect("an address"),
        };
        let (id, guest) = (NodeId::random(), Arc::new(Guest::default()));
        let subscriber: Arc<dyn Subscriber> = guest.clone();
        let broker = engine.start(&Prefix::default(), id, self.ceilings, Arc::downgrade(&subscriber));
        let mut node = Node { running: tokio::spawn(async {}), broker, guest, id };
        node.run();
        let nothing = Sheet::new("nothing");
        until("a node to reach its engine", async || {
            let read = node.broker.read(nothing.log(), Position::start(1), 1).await;
            (!matches!(read, Err(Unread::Unavailable))).then_some(())
        })
        .await;
        node
    }
}

/// A node; it is gone when it is dropped.
pub(super) struct Node {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) guest: Arc<Guest>,
    pub(super) id: NodeId,
    running: JoinHandle<()>,
}

impl Node {
    /// It reaches its engine from now on.
    pub(super) fn run(&mut self) {
        let broker = self.broker.clone();
        self.running = tokio::spawn(async move { broker.run().await });
    }

    /// It does nothing more, and nobody is told.
    pub(super) fn stop(&self) {
        self.running.abort();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An event that says something.
pub(super) fn event(text: &str) -> Box<[u8]> {
    bytes(EventBody::Message { text: text.into() })
}

/// What a log stores of an event.
pub(super) fn bytes(body: EventBody) -> Box<[u8]> {
    Event { time: Millis(1.0), from: None, body }.to_bytes().into()
}

/// What an event says, or what it is.
pub(super) fn text(publication: &Publication) -> String {
    match publication.event().body {
        EventBody::Message { text } => text.into(),
        _ => format!("{} {}", publication.kind(), publication.position.seq),
    }
}

impl Node {
    /// Opens a log for a room of this node.
    pub(super) async fn open(&self, sheet: &Sheet) -> Opened {
        self.guest.prepare(sheet);
        let opened = until("a log to open", async || self.broker.open(sheet.log()).await.ok()).await;
        self.guest.load(&sheet.name, opened.clone());
        opened
    }

    /// The room is gone.
    pub(super) fn close(&self, sheet: &Sheet) {
        self.guest.leave(&sheet.name);
        self.broker.close(&sheet.name);
    }

    /// Follows a user's log from where it stands.
    pub(super) async fn follow(&self, sheet: &Sheet) -> Position {
        self.guest.prepare(sheet);
        self.broker.follow(sheet.log());
        let head = self.head(sheet).await;
        self.guest.stand(&sheet.name, head);
        head
    }

    /// Where a log stands.
    pub(super) async fn head(&self, sheet: &Sheet) -> Position {
        until("the head of a log", async || self.broker.ends(sheet.log()).await.ok()).await.head
    }

    /// Puts an event into a log, however often that has to be tried.
    pub(super) async fn say(&self, sheet: &Sheet, text: &str) -> Published {
        self.say_as(sheet, text, text).await
    }

    /// Like [`say`](Self::say), with another key than the text.
    pub(super) async fn say_as(&self, sheet: &Sheet, text: &str, key: &str) -> Published {
        self.put(sheet, &event(text), key, None).await
    }

    /// Puts an event into a log that may change the roster, however often that has to be tried.
    pub(super) async fn put(&self, sheet: &Sheet, event: &[u8], key: &str, change: Option<Change<'_>>) -> Published {
        within("an event to be stored", async {
            loop {
                match self.broker.publish(sheet.log(), event.into(), Some(Dedup(key.into())), change).await {
                    Ok(published) => return published,
                    Err(PublishError::Rejected(code)) => panic!("rejected: {code}"),
                    Err(PublishError::Ambiguous | PublishError::Overloaded) => tokio::time::sleep(AGAIN).await,
                }
            }
        })
        .await
    }

    /// Changes the roster of a room, however often that has to be tried.
    pub(super) async fn change(&self, sheet: &Sheet, change: Change<'_>) {
        until("a roster to change", async || self.broker.change(sheet.log(), change).await.ok()).await;
    }

    /// The numbers of the events after a position, or why there would be a gap.
    pub(super) async fn read(&self, sheet: &Sheet, after: Position) -> Result<Vec<u64>, Unread> {
        let read = until("an answer", async || match self.broker.read(sheet.log(), after, 100_000).await {
            Err(Unread::Unavailable) => None,
            read => Some(read),
        });
        Ok(read.await?.iter().map(|publication| publication.position.seq).collect())
    }
}

/// Waits until all nodes stand where the log stands, and returns what it says: the same everywhere, and nothing twice.
pub(super) async fn agree(nodes: &[Node], sheet: &Sheet) -> Vec<String> {
    let stand = async || {
        let ends = nodes[0].broker.ends(sheet.log()).await.ok()?;
        let kept = nodes[0].broker.read(sheet.log(), ends.edge, 100_000).await.ok()?;
        let all_there = nodes.iter().all(|node| node.guest.head(&sheet.name) == Some(ends.head));
        (all_there && kept.last().is_none_or(|last| last.position == ends.head)).then_some(kept)
    };
    let watch = Watch(nodes, sheet);
    let kept = until("all nodes to stand at the head of the log", stand).await;
    drop(watch);
    let same = |here: &[Arc<Publication>]| {
        here.iter().zip(&kept).all(|(a, b)| (a.position, &a.bytes) == (b.position, &b.bytes))
    };
    for node in nodes {
        let told = node.guest.events(&sheet.name);
        // What the engine lost, guests may still have.
        let from = told.len().checked_sub(kept.len()).expect("nothing that is kept was missed");
        assert!(same(&told[from..]), "{} was told something else", node.id);
    }
    let texts: Vec<_> = kept.iter().map(|publication| text(publication)).collect();
    let once: std::collections::BTreeSet<_> = texts.iter().collect();
    assert_eq!(once.len(), texts.len(), "something was stored twice: {texts:?}");
    texts
}

/// Says where everybody stands when a test gives up.
struct Watch<'a>(&'a [Node], &'a Sheet);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|node| eprintln!("{}: {}", node.id, node.guest.describe(&self.1.name)));
        }
    }
}
