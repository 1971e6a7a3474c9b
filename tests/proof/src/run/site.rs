//! Several nodes on a cluster of engines, and what is done to them while everybody talks.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use super::{
    backend::Backend,
    cast::Scale,
    course,
    http::{self, Request},
    play::Pace,
    scene::{LOOK, Scene},
    server::{Server, Setup},
};
use crate::{
    history::{History, Role, What},
    proxy::Mix,
    redis::Cluster,
};

/// Masters of the engine, each with a replica.
const MASTERS: usize = 3;
/// Nodes.
pub const NODES: usize = 3;
/// How long a frozen node takes nothing.
const FROZEN: Duration = Duration::from_secs(10);
/// Slots that are moved.
const SLOTS: u32 = 1500;
/// How long everybody may take to come in at the beginning.
const ENTER_WITHIN: Duration = Duration::from_secs(120);
/// How long it may take until all is well again.
const RECOVERED_WITHIN: Duration = Duration::from_secs(90);
/// All has been well for so long: it stays so. Longer than a node's lease, behind which others are told of its end.
const CALM: Duration = Duration::from_secs(8);
/// How long it may take until an event is refused that no engine takes.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// What is recorded when an engine that was killed is started again.
pub const ENGINE_IS_BACK: &str = "engine started";
/// How long a question about the state of a node may take.
const ANSWER: Duration = Duration::from_secs(2);

/// What differs from the server's defaults beside the [settings of a history](course::SETTINGS): all come from one address.
const SETTINGS: &[(&str, &str)] = &[
    ("RALLYPOINT_LIMITS__ACCEPTS_PER_SECOND_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__ACCEPTS_BURST_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__REQUESTS_PER_SECOND_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__REQUESTS_BURST_PER_IP", "20000"),
];

/// So many rooms with eight members each, spectators and back ends; everybody talks now and then.
pub fn scale(rooms: usize) -> Scale {
    Scale {
        rooms,
        members: 8 * rooms,
        rooms_each: 1,
        watchers: 12,
        streams: 12,
        polls: 6,
        pause: Duration::from_millis(500),
        backends: 4,
        pace: Pace {
            moves: Duration::from_secs(2),
            signals: Duration::from_secs(3),
            talk: Duration::from_secs(5),
            stroll: Some(Duration::from_secs(60)),
        },
        posts: Duration::from_millis(200),
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// A master of the engine is killed; its replica takes over.
    KillMaster,
    /// A node is killed.
    KillNode,
    /// A node is frozen for longer than its lease.
    FreezeNode,
    /// Slots move from one master to another.
    MoveSlots,
    /// All of the engine is killed, and comes back with nothing.
    KillEngine,
}

impl Strike {
    /// Those that leave the rest as it is, in the order in which they come.
    pub const PARTS: [Self; 4] = [Self::KillMaster, Self::KillNode, Self::FreezeNode, Self::MoveSlots];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillMaster => "master killed",
            Self::KillNode => "node killed",
            Self::FreezeNode => "node frozen",
            Self::MoveSlots => "slots moved",
            Self::KillEngine => "engine killed",
        }
    }

    fn is_of_members(self) -> bool {
        matches!(self, Self::KillNode | Self::FreezeNode | Self::KillEngine)
    }
}

/// How long it took after a strike until all was well again.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    /// After what.
    pub strike: Strike,
    /// Until what was published into every room right after it was accepted, through every door.
    pub published: Duration,
    /// Until the last one who had lost its connection was back.
    pub back: Duration,
    /// Until every node that runs was ready to take guests.
    pub ready: Duration,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [published, back, ready] = [self.published, self.back, self.ready].map(|time| time.as_secs_f64());
        let name = self.strike.name();
        write!(
            f,
            "{name}: published in every room after {published:.1} s, everybody back after {back:.1} s, all nodes ready after {ready:.1} s"
        )
    }
}

/// A node, as it is started.
struct Node {
    setup: Setup,
    /// `None` while it is killed.
    server: Option<Server>,
}

/// Nodes, their engine, and everybody who talks to them.
pub struct Site {
    engine: Cluster,
    nodes: Vec<Node>,
    scene: Scene,
    token: String,
    strikes: usize,
    without_engine: Duration,
}

impl Site {
    /// Starts the engine and the nodes, and lets everybody in. When the engine is killed it is away for so long.
    pub async fn open(
        binary: &Path,
        folder: PathBuf,
        seed: u64,
        scale: &Scale,
        without_engine: Duration,
    ) -> io::Result<Self> {
        let engine = Cluster::start_replicated(MASTERS, 1, &[]).await?;
        let mut nodes = Vec::new();
        for n in 0..NODES {
            let settings = [course::SETTINGS, SETTINGS].concat();
            let mut setup = Setup::new(binary, &settings, folder.join(format!("node-{n}.log")))?;
            setup.settings.push(("RALLYPOINT_ENGINE", engine.urls()));
            let server = Some(setup.start().await?);
            nodes.push(Node { setup, server });
        }
        let addresses: Vec<_> = nodes.iter().map(|node| node.setup.address).collect();
        let until = Instant::now() + RECOVERED_WITHIN;
        while !are_ready(&addresses).await {
            if Instant::now() > until {
                return Err(io::Error::other("the nodes do not become ready"));
            }
            sleep(LOOK).await;
        }
        let scene = Scene::open(&addresses, Mix::default(), seed, scale).await?;
        let token = http::token(addresses[0], "prober").await?;
        let site = Self { engine, nodes, scene, token, strikes: 0, without_engine };
        if !site.scene.until(ENTER_WITHIN, || site.scene.is_everybody_in()).await {
            return Err(io::Error::other("not everybody came in"));
        }
        site.scene.tell("everybody is in");
        Ok(site)
    }

    /// Strikes, and waits until all is well again.
    pub async fn strike(&mut self, strike: Strike) -> io::Result<Recovery> {
        self.strikes += 1;
        let (what, of_members) = (strike.name(), strike.is_of_members());
        self.scene.put(What::Struck { what, of_members });
        self.scene.tell(what);
        let begin = Instant::now();
        let struck = self.strikes % NODES;
        let master = *self.engine.masters().await?.first().ok_or(io::ErrorKind::NotFound)?;
        match strike {
            Strike::KillMaster => self.engine.servers[master].stop().await?,
            Strike::KillNode => {
                if let Some(mut server) = self.nodes[struck].server.take() {
                    server.kill().await?;
                }
            }
            Strike::FreezeNode => self.server(struck)?.freeze()?,
            Strike::MoveSlots => {}
            Strike::KillEngine => self.be_without_engine(begin).await?,
        }
        let probes = self.probes(begin);
        match strike {
            Strike::FreezeNode => {
                sleep(FROZEN).await;
                self.server(struck)?.go_on()?;
            }
            Strike::MoveSlots => {
                let masters = self.engine.masters().await?;
                self.engine.move_slots(masters[0], masters[1], SLOTS).await?;
            }
            Strike::KillMaster | Strike::KillNode | Strike::KillEngine => {}
        }
        let (back, ready) = self.calm(begin).await?;
        let published = probes.join_all().await.into_iter().max().unwrap_or_default();
        match strike {
            Strike::KillMaster => self.engine.servers[master].start_again().await?,
            Strike::KillNode => self.nodes[struck].server = Some(self.nodes[struck].setup.start().await?),
            Strike::FreezeNode | Strike::MoveSlots | Strike::KillEngine => {}
        }
        let until = Instant::now() + RECOVERED_WITHIN;
        while !(self.engine.is_whole(master, 1).await? && are_ready(&self.addresses()).await) {
            if Instant::now() > until {
                return Err(io::Error::other(format!("{what}: it does not become whole again")));
            }
            sleep(LOOK).await;
        }
        self.calm(begin).await?;
        let recovery = Recovery { strike, published, back, ready };
        self.scene.tell(&recovery.to_string());
        Ok(recovery)
    }

    /// Ends it all. Leaves the history.
    pub async fn close(self) -> io::Result<History> {
        let addresses = self.addresses();
        let history = self.scene.close(&addresses).await?;
        for node in self.nodes {
            if let Some(mut server) = node.server {
                server.stop().await?;
            }
        }
        Ok(history)
    }

    /// Kills all of the engine, looks at what the nodes do meanwhile, and starts it again.
    async fn be_without_engine(&mut self, begin: Instant) -> io::Result<()> {
        for server in &mut self.engine.servers {
            server.stop().await?;
        }
        let (addresses, mut slowest, mut turned) = (self.addresses(), Duration::ZERO, None);
        while begin.elapsed() < self.without_engine {
            for &node in &addresses {
                let answer = http::once(node, &Request::get("/healthz"), ANSWER).await?;
                if answer.status != 200 {
                    return Err(io::Error::other(format!("/healthz answers {} without an engine", answer.status)));
                }
                let (asked, path) = (Instant::now(), "/v1/rooms/room%2F0/events");
                let event = json!({ "kind": "score", "data": 0 });
                let answer = http::once(node, &Request::post(path, &event).bearer(&self.token), ANSWER).await?;
                let code = answer.json()["code"].as_u64();
                if (answer.status, code) != (503, Some(904)) {
                    return Err(io::Error::other(format!("{} {code:?} for an event without an engine", answer.status)));
                }
                slowest = slowest.max(asked.elapsed());
            }
            let is_ready = http::once(addresses[0], &Request::get("/readyz"), ANSWER).await?.status == 200;
            if !is_ready {
                turned.get_or_insert(begin.elapsed());
            }
            sleep(LOOK).await;
        }
        let Some(turned) = turned.filter(|_| slowest < REFUSED_WITHIN) else {
            return Err(io::Error::other(format!(
                "/readyz turned at {turned:?}, the slowest refusal took {slowest:?}"
            )));
        };
        println!(
            "  without an engine for {:.0} s: /healthz green, /readyz red after {:.1} s, publishes refused within {:.2} s",
            self.without_engine.as_secs_f64(),
            turned.as_secs_f64(),
            slowest.as_secs_f64()
        );
        self.scene.put(What::Struck { what: ENGINE_IS_BACK, of_members: false });
        for server in &mut self.engine.servers {
            server.start_again().await?;
        }
        Ok(())
    }

    fn server(&self, node: usize) -> io::Result<&Server> {
        Ok(self.nodes[node].server.as_ref().ok_or(io::ErrorKind::NotFound)?)
    }

    /// Of the nodes that run.
    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().filter(|node| node.server.is_some()).map(|node| node.setup.address).collect()
    }

    /// Publishes into every room, through one door after the other; how long after `begin` each was accepted.
    fn probes(&self, begin: Instant) -> JoinSet<Duration> {
        let mut probes = JoinSet::new();
        let world = &self.scene.world;
        for (n, room) in world.rooms.iter().cloned().enumerate() {
            let no = world.recorder.client(&format!("prober-{}-{n}", self.strikes), Role::Backend);
            let door = n * world.rooms.len();
            let mut prober = Backend::new(world, no, door, self.token.clone(), Vec::new());
            probes.spawn(async move {
                prober.publish(&room, false).await;
                begin.elapsed()
            });
        }
        probes
    }

    /// Waits until all has been well for a while: since when everybody was back, and all nodes ready.
    async fn calm(&self, begin: Instant) -> io::Result<(Duration, Duration)> {
        let (mut back, mut ready) = (Duration::ZERO, Duration::ZERO);
        let addresses = self.addresses();
        loop {
            let now = begin.elapsed();
            if !self.scene.world.recorder.is_nobody_away() {
                back = now;
            }
            if !are_ready(&addresses).await {
                ready = begin.elapsed();
            }
            if begin.elapsed() > back.max(ready) + CALM {
                return Ok((back, ready));
            }
            if back.max(ready) > RECOVERED_WITHIN {
                return Err(io::Error::other("it does not become calm"));
            }
            sleep(LOOK).await;
        }
    }
}

/// Whether all these nodes say that they take guests.
async fn are_ready(nodes: &[SocketAddr]) -> bool {
    for &node in nodes {
        if !http::once(node, &Request::get("/readyz"), ANSWER).await.is_ok_and(|answer| answer.status == 200) {
            return false;
        }
    }
    true
}
