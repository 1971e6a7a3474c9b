//! All clients of a run and the proxies that they go through: let in, and brought to an end at which everything must have
//! arrived. What they talk to is somebody else's: a server, or several.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rallypoint_protocol::{Position, RoomName};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    backend::{self, Backend},
    cast::{Cast, Scale},
    gauges::Gauges,
    http,
    notes::Directory,
    world::{Phase, Room, World},
};
use crate::{
    history::{ClientNo, History, LogNo, Recorder, Role, What, unix_ms},
    proxy::{Counts, Cut, Mix, Proxy},
};

/// Between two looks at a condition that announces itself to nobody.
pub const LOOK: Duration = Duration::from_millis(50);
/// How long the end may take: outstanding answers, then the last messages.
const SETTLE: Duration = Duration::from_secs(45);
/// Nothing new for so long: everything has arrived.
const SILENCE: Duration = Duration::from_millis(1500);

/// Everybody who takes part in a run.
pub struct Scene {
    /// One in front of each server; if that is gone it leads to the next.
    pub proxies: Vec<Proxy>,
    /// What the clients share.
    pub world: Arc<World>,
    /// How long a pulled cable stays so.
    hold: Duration,
    run: ClientNo,
    begin: Instant,
    phase: watch::Sender<Phase>,
    cast: Cast,
    noting: JoinHandle<()>,
}

impl Scene {
    /// Puts proxies in front of servers that run, and lets everybody in.
    pub async fn open(servers: &[SocketAddr], mix: Mix, seed: u64, scale: &Scale) -> io::Result<Self> {
        let recorder = Recorder::default();
        let run = recorder.client("run", Role::Run);
        recorder.put(run, What::Started { unix_ms: unix_ms() });
        let (phase, phases) = watch::channel(Phase::Busy);
        let rooms = (0..scale.rooms).map(|n| {
            let name = RoomName::new(&format!("room/{n}")).map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok(Room { log: recorder.log(name.as_str()), name })
        });
        let rooms = rooms.collect::<io::Result<_>>()?;
        // The proxies tell the world of their cuts, and the world knows the proxies' addresses.
        let (tell, mut told) = mpsc::unbounded_channel();
        let hold = mix.hold;
        let mut proxies = Vec::new();
        for at in 0..servers.len() {
            let mut targets = servers.to_vec();
            targets.rotate_left(at);
            let (mix, seed, tell) = (mix.clone(), seed.wrapping_add(at as u64), tell.clone());
            let plans = move |number| mix.plan(seed, number);
            proxies.push(Proxy::start(targets, plans, move |fault| _ = tell.send(fault)).await?);
        }
        let doors = proxies.iter().map(Proxy::address).collect();
        let world = Arc::new(World { recorder, directory: Directory::default(), doors, seed, rooms, phase: phases });
        let own = Arc::clone(&world);
        let noting = tokio::spawn(async move {
            while let Some(fault) = told.recv().await {
                let cut = match fault.cut {
                    Cut::Rst => "rst",
                    Cut::Fin => "fin",
                    Cut::HalfOpen { .. } => "half-open",
                };
                own.recorder.put(run, What::Fault { connection: fault.connection, cut });
            }
        });
        let server = *servers.first().ok_or(io::ErrorKind::InvalidInput)?;
        let cast = Cast::enter(&world, server, scale).await?;
        Ok(Self { proxies, world, hold, run, begin: Instant::now(), phase, cast, noting })
    }

    /// How long ago everybody was let in.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// All that follow logs: who, and which.
    pub fn observers(&self) -> &[(ClientNo, Vec<LogNo>)] {
        &self.cast.observers
    }

    /// Whether everybody has seen where each log stands that they follow.
    pub fn is_everybody_in(&self) -> bool {
        let stands = |who, log| self.world.recorder.position(who, log).is_some();
        self.observers().iter().all(|(who, logs)| logs.iter().all(|&log| stands(*who, log)))
    }

    /// Records something that the run itself did.
    pub fn put(&self, what: What) {
        self.world.recorder.put(self.run, what);
    }

    /// What the proxies have done so far, all together.
    pub fn counts(&self) -> Counts {
        self.proxies.iter().map(Proxy::counts).sum()
    }

    /// Prints a line of progress.
    pub fn tell(&self, what: &str) {
        let (counts, records) = (self.counts(), self.world.recorder.len());
        println!("{:6.1} s  {what}: {counts}; {records} records", self.elapsed().as_secs_f64());
    }

    /// Waits for a condition; whether it came to be.
    pub async fn until(&self, patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !condition() {
            if Instant::now() > deadline {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }

    /// Faults off, the last words, and then everybody must know everything. Leaves the history.
    pub async fn close(mut self, servers: &[SocketAddr]) -> io::Result<History> {
        self.proxies.iter().for_each(|proxy| proxy.arm(false));
        self.put(What::Quiet);
        self.tell("quiet");
        // The cables that are pulled now stay so for a while; then everybody comes back.
        sleep(self.hold + LOOK).await;
        if !self.until(SETTLE, || self.world.recorder.is_nobody_away()).await {
            self.tell("somebody does not come back");
        }
        self.phase.send_replace(Phase::Last);
        let Cast { mut talking, mut listening, users, observers } = std::mem::take(&mut self.cast);
        let spoken = async { while talking.join_next().await.is_some() {} };
        if timeout(SETTLE, spoken).await.is_err() {
            self.tell("somebody waits for an answer");
            talking.abort_all();
        }
        // Whoever was cut before it had a resume token left a session behind, which leaves its rooms later.
        let deadline = Instant::now() + SETTLE;
        for &server in servers {
            while Gauges::read(server).await?.of("sessions_lost") > 0.0 && Instant::now() < deadline {
                sleep(LOOK).await;
            }
        }
        let server = *servers.first().ok_or(io::ErrorKind::InvalidInput)?;
        let heads = self.heads(server, &users).await?;
        let there = |who: ClientNo, log: LogNo| {
            let head = heads.iter().find(|(own, _)| *own == log).map(|&(_, head)| head);
            head.is_none_or(|head| self.world.recorder.position(who, log) == Some(head))
        };
        let everybody = || observers.iter().all(|(who, logs)| logs.iter().all(|&log| there(*who, log)));
        if !self.until(SETTLE, everybody).await {
            self.tell("somebody stays behind");
        }
        let mut last = (self.world.recorder.len(), Instant::now());
        let silent = || {
            let records = self.world.recorder.len();
            if records != last.0 {
                last = (records, Instant::now());
            }
            last.1.elapsed() >= SILENCE
        };
        self.until(SETTLE, silent).await;
        self.phase.send_replace(Phase::Over);
        let gone = async { while listening.join_next().await.is_some() {} };
        if timeout(SETTLE, gone).await.is_err() {
            self.tell("somebody does not go");
        }
        self.noting.abort();
        Ok(self.world.recorder.take())
    }

    /// Where every log stands, asked of a server itself. A user's own log tells it with one more notification.
    async fn heads(&self, server: SocketAddr, users: &[(String, LogNo)]) -> io::Result<Vec<(LogNo, Position)>> {
        let token = http::token(server, "referee").await?;
        let mut heads = Vec::new();
        for room in &self.world.rooms {
            heads.push((room.log, backend::head(server, &token, &room.name).await?));
        }
        let mut referee = Backend::new(&self.world, self.run, 0, token, Vec::new());
        for (user, log) in users {
            let position = referee.notify(user, *log).await;
            heads.push((*log, position.ok_or_else(|| io::Error::other(format!("{user} cannot be notified")))?));
        }
        for &(log, position) in &heads {
            self.put(What::Head { log, position });
        }
        Ok(heads)
    }
}
