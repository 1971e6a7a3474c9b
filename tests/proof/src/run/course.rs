//! The course of a run: busy clients behind a proxy that cuts, a server that is started anew now and then, and an end
//! at which everything must have arrived.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rallypoint_protocol::RoomName;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    backend::{self, Backend},
    cast::{Cast, Scale},
    http,
    server::{Server, Setup},
    world::{Phase, Room, World},
};
use crate::{
    history::{ClientNo, History, LogNo, Recorder, Role, What, unix_ms},
    proxy::{Counts, Cut, Mix, Proxy},
};

/// Between two looks at a condition that announces itself to nobody.
const LOOK: Duration = Duration::from_millis(50);
/// Between two lines of progress.
const TELL: Duration = Duration::from_secs(5);
/// Without a single cut for so long, nothing is going on any more.
const STUCK: Duration = Duration::from_secs(60);
/// How long the end may take: outstanding answers, then the last messages.
const SETTLE: Duration = Duration::from_secs(45);
/// Nothing new for so long: everything has arrived.
const SILENCE: Duration = Duration::from_millis(1500);

/// What differs from the server's defaults. Pings are frequent, so that a cable that was pulled is noticed within the
/// three seconds for which the proxy holds it; everybody comes from one address and talks more than people do.
pub const SETTINGS: &[(&str, &str)] = &[
    ("RALLYPOINT_LIMITS__PING_INTERVAL_MS", "1000"),
    ("RALLYPOINT_LIMITS__SSE_HEARTBEAT_MS", "1000"),
    ("RALLYPOINT_LIMITS__CONNECTIONS_PER_IP", "20000"),
    ("RALLYPOINT_LIMITS__CONNECTIONS_PER_USER", "64"),
    ("RALLYPOINT_LIMITS__REQUESTS_PER_SECOND", "1000"),
    ("RALLYPOINT_LIMITS__REQUESTS_BURST", "2000"),
    ("RALLYPOINT_LIMITS__MOVES_PER_SECOND", "1000"),
    ("RALLYPOINT_LIMITS__MOVES_BURST", "2000"),
    ("RALLYPOINT_LIMITS__DRAIN_MS", "3000"),
    ("RALLYPOINT_LOG__FILTER", "warn"),
];

/// What happens to connections: a cut every few seconds, now and then a pulled cable, some of them slow.
pub const MIX: Mix = Mix {
    cut: 98,
    early: 10,
    early_bytes: 2500,
    mean_up: 14_000,
    mean_down: 90_000,
    half_open: 12,
    hold: Duration::from_secs(3),
    fin: 30,
    delayed: 20,
    delay: Duration::from_millis(15),
    throttled: 3,
    throttle: 30_000,
    doubled: 40,
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Course {
    /// The server's binary.
    pub server: PathBuf,
    /// Cuts until the end.
    pub cuts: u64,
    /// Cuts between two restarts of the server; the one in the middle is a SIGKILL.
    pub every: u64,
    /// From which all chance is drawn.
    pub seed: u64,
    /// Who takes part.
    pub scale: Scale,
    /// Where the server's log goes.
    pub log: PathBuf,
}

/// What a run leaves behind.
#[derive(Debug)]
pub struct Done {
    /// All that happened.
    pub history: History,
    /// What the proxy did.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
}

struct Run {
    course: Course,
    setup: Setup,
    server: Server,
    proxy: Proxy,
    world: Arc<World>,
    run: ClientNo,
    begin: Instant,
}

impl Course {
    /// Runs it. An error means that it could not be run; what the server did wrong is in the history.
    pub async fn run(self) -> io::Result<Done> {
        let setup = Setup::new(&self.server, SETTINGS, self.log.clone())?;
        let recorder = Recorder::default();
        let run = recorder.client("run", Role::Run);
        let server = setup.start().await?;
        recorder.put(run, What::Started { unix_ms: unix_ms() });
        let (phase, phases) = watch::channel(Phase::Busy);
        let seed = self.seed;
        let rooms = (0..self.scale.rooms).map(|n| {
            let name = RoomName::new(&format!("room/{n}")).map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok(Room { log: recorder.log(name.as_str()), name })
        });
        let rooms = rooms.collect::<io::Result<_>>()?;
        // The proxy tells the world of its cuts, and the world knows the proxy's address.
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |fault| _ = tell.send(fault);
        let proxy = Proxy::start(setup.address, move |number| MIX.plan(seed, number), tell).await?;
        let directory = super::notes::Directory::default();
        let door = proxy.address();
        let world = Arc::new(World { recorder, directory, door, seed, rooms, phase: phases });
        let noting = Arc::clone(&world);
        let noted = tokio::spawn(async move {
            while let Some(fault) = told.recv().await {
                let cut = match fault.cut {
                    Cut::Rst => "rst",
                    Cut::Fin => "fin",
                    Cut::HalfOpen { .. } => "half-open",
                };
                noting.recorder.put(run, What::Fault { connection: fault.connection, cut });
            }
        });
        let cast = Cast::enter(&world, setup.address, &self.scale).await?;
        let mut run = Run { course: self, setup, server, proxy, world, run, begin: Instant::now() };
        let driven = run.drive().await;
        let done = match driven {
            Ok(()) => run.finish(cast, &phase).await,
            Err(error) => Err(error),
        };
        noted.abort();
        let _ = run.server.stop().await;
        let counts = run.proxy.counts();
        done?;
        Ok(Done { history: run.world.recorder.take(), counts, took: run.begin.elapsed() })
    }
}

impl Run {
    fn put(&self, what: What) {
        self.world.recorder.put(self.run, what);
    }

    fn tell(&self, what: &str) {
        let (counts, records) = (self.proxy.counts(), self.world.recorder.len());
        println!("{:6.1} s  {what}: {counts}; {records} records", self.begin.elapsed().as_secs_f64());
    }

    /// Until there were enough cuts.
    async fn drive(&mut self) -> io::Result<()> {
        let restarts = self.course.cuts.saturating_sub(1) / self.course.every.max(1);
        let (mut restarted, mut told) = (0, Instant::now());
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let cuts = self.proxy.counts().cuts();
            if cuts >= self.course.cuts {
                return Ok(());
            }
            if cuts != last {
                (last, since) = (cuts, Instant::now());
            }
            if since.elapsed() > STUCK {
                return Err(io::Error::other(format!("stuck after {cuts} cuts: {}", self.proxy.counts())));
            }
            if restarted < restarts && cuts >= (restarted + 1) * self.course.every {
                restarted += 1;
                self.restart(restarted == restarts.div_ceil(2)).await?;
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                self.tell("cutting");
            }
            sleep(LOOK).await;
        }
    }

    async fn restart(&mut self, killed: bool) -> io::Result<()> {
        self.put(What::Stopping { killed });
        let (setup, begin) = (self.setup.clone(), Instant::now());
        let how = if killed {
            self.server.kill().await?;
            "killed".to_owned()
        } else {
            let (status, took) = self.server.stop().await?;
            if !status.success() {
                return Err(io::Error::other(format!("the server ended with {status} on SIGTERM")));
            }
            format!("ended in {} ms", took.as_millis())
        };
        self.put(What::Ended { unix_ms: unix_ms() });
        self.server = setup.start().await?;
        self.put(What::Started { unix_ms: unix_ms() });
        self.tell(&format!("restart, {how}, back after {} ms", begin.elapsed().as_millis()));
        Ok(())
    }

    /// Faults off, the last words, and then everybody must know everything.
    async fn finish(&mut self, cast: Cast, phase: &watch::Sender<Phase>) -> io::Result<()> {
        self.proxy.arm(false);
        self.put(What::Quiet);
        self.tell("quiet");
        // The cables that are pulled now stay so for a while; then everybody is back.
        sleep(MIX.hold + LOOK).await;
        phase.send_replace(Phase::Last);
        let Cast { mut talking, mut listening, users, observers } = cast;
        let spoken = async { while talking.join_next().await.is_some() {} };
        if timeout(SETTLE, spoken).await.is_err() {
            self.tell("somebody waits for an answer");
            talking.abort_all();
        }
        let heads = self.heads(&users).await?;
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
        phase.send_replace(Phase::Over);
        let gone = async { while listening.join_next().await.is_some() {} };
        if timeout(SETTLE, gone).await.is_err() {
            self.tell("somebody does not go");
        }
        Ok(())
    }

    async fn until(&self, patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !condition() {
            if Instant::now() > deadline {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }

    /// Where every log stands, asked of the server itself. A user's own log tells it with one more notification.
    async fn heads(&self, users: &[(String, LogNo)]) -> io::Result<Vec<(LogNo, rallypoint_protocol::Position)>> {
        let address = self.setup.address;
        let token = http::token(address, "referee").await?;
        let mut heads = Vec::new();
        for room in &self.world.rooms {
            heads.push((room.log, backend::head(address, &token, &room.name).await?));
        }
        let mut referee = Backend::new(&self.world, self.run, token, Vec::new());
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
