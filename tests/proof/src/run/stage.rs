//! Server, proxy and clients, put together: opened, restarted in between, and brought to an end at which everything
//! must have arrived.

use std::{
    io,
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rallypoint_protocol::RoomName;
use tokio::{
    process::Command,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{interval, sleep, timeout},
};

use super::{
    backend::{self, Backend},
    cast::{Cast, Scale},
    gauges::Gauges,
    http,
    notes::Directory,
    server::{Server, Setup},
    world::{Phase, Room, World},
};
use crate::{
    certificate::connector,
    history::{ClientNo, History, LogNo, Recorder, Role, What, unix_ms},
    proxy::{Cut, Mix, Proxy, bridge::Bridge},
};

/// Between two looks at a condition that announces itself to nobody.
pub const LOOK: Duration = Duration::from_millis(50);
/// How long the end may take: outstanding answers, then the last messages.
const SETTLE: Duration = Duration::from_secs(45);
/// Between two knocks at a service that is being replaced.
const KNOCK: Duration = Duration::from_millis(1);
/// How long the replacement of a service may take.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
/// Nothing new for so long: everything has arrived.
const SILENCE: Duration = Duration::from_millis(1500);

/// Everything that takes part in a run.
pub struct Stage {
    /// How the server is started.
    pub setup: Setup,
    /// The server that runs.
    pub server: Server,
    /// What stands in front of it when it speaks TLS.
    bridge: Option<Bridge>,
    /// What stands in front of that.
    pub proxy: Proxy,
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

impl Stage {
    /// Starts the server, puts the proxy in front of it, and lets everybody in.
    pub async fn open(setup: Setup, mix: Mix, seed: u64, scale: &Scale) -> io::Result<Self> {
        let recorder = Recorder::default();
        let run = recorder.client("run", Role::Run);
        let server = setup.start().await?;
        recorder.put(run, What::Started { unix_ms: unix_ms() });
        let (phase, phases) = watch::channel(Phase::Busy);
        let rooms = (0..scale.rooms).map(|n| {
            let name = RoomName::new(&format!("room/{n}")).map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok(Room { log: recorder.log(name.as_str()), name })
        });
        let rooms = rooms.collect::<io::Result<_>>()?;
        // The proxy tells the world of its cuts, and the world knows the proxy's address.
        let (tell, mut told) = mpsc::unbounded_channel();
        let (hold, tell) = (mix.hold, move |fault| _ = tell.send(fault));
        let bridge = match &setup.identity {
            Some(identity) => Some(Bridge::start(setup.address, connector(&[identity], &[b"http/1.1"])?).await?),
            None => None,
        };
        let server_at = bridge.as_ref().map_or(setup.address, Bridge::address);
        let proxy = Proxy::start(server_at, move |number| mix.plan(seed, number), tell).await?;
        let (directory, door) = (Directory::default(), proxy.address());
        let world = Arc::new(World { recorder, directory, door, seed, rooms, phase: phases });
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
        let cast = Cast::enter(&world, server_at, scale).await?;
        Ok(Self { setup, server, bridge, proxy, world, hold, run, begin: Instant::now(), phase, cast, noting })
    }

    /// Where the server is reached without the proxy.
    fn address(&self) -> SocketAddr {
        self.bridge.as_ref().map_or(self.setup.address, Bridge::address)
    }

    /// How long ago everybody was let in.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// All that follow logs: who, and which.
    pub fn observers(&self) -> &[(ClientNo, Vec<LogNo>)] {
        &self.cast.observers
    }

    fn put(&self, what: What) {
        self.world.recorder.put(self.run, what);
    }

    /// Prints a line of progress.
    pub fn tell(&self, what: &str) {
        let (counts, records) = (self.proxy.counts(), self.world.recorder.len());
        println!("{:6.1} s  {what}: {counts}; {records} records", self.elapsed().as_secs_f64());
    }

    /// Ends the server at once.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.put(What::Stopping { killed: true });
        self.server.kill().await?;
        self.put(What::Ended { unix_ms: unix_ms() });
        Ok(())
    }

    /// Asks the server to end, and waits for that: its status, and how long it took.
    pub async fn stop(&mut self) -> io::Result<(ExitStatus, Duration)> {
        self.put(What::Stopping { killed: false });
        let ended = self.server.stop().await?;
        self.put(What::Ended { unix_ms: unix_ms() });
        Ok(ended)
    }

    /// Starts the server again, on the same address.
    pub async fn start(&mut self) -> io::Result<()> {
        self.server = self.setup.start().await?;
        self.put(What::Started { unix_ms: unix_ms() });
        Ok(())
    }

    /// Has a shell command replace a service that runs, and waits for its end: its status, and for how long nobody was let
    /// in.
    pub async fn replace(&mut self, command: &str) -> io::Result<(ExitStatus, Duration)> {
        self.put(What::Stopping { killed: false });
        let mut child = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        // From the first to the last connection that is refused no client can be let in either, so that the records stand
        // in the right order.
        let mut ticks = interval(KNOCK);
        let (mut ended, mut status) = (None, None);
        let deadline = Instant::now() + REPLACED_WITHIN;
        loop {
            ticks.tick().await;
            match (ended, self.setup.knock().is_ok()) {
                (None, false) => {
                    ended = Some(Instant::now());
                    self.put(What::Ended { unix_ms: unix_ms() });
                }
                (Some(ended), true) => {
                    self.put(What::Started { unix_ms: unix_ms() });
                    let closed = ended.elapsed();
                    let status = match status {
                        Some(status) => status,
                        None => timeout(REPLACED_WITHIN, child.wait()).await.map_err(|_| io::ErrorKind::TimedOut)??,
                    };
                    return Ok((status, closed));
                }
                _ => {}
            }
            status = status.or(child.try_wait()?);
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("the service was not replaced: {command:?} {status:?}")));
            }
        }
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
    pub async fn close(mut self) -> io::Result<History> {
        self.proxy.arm(false);
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
        while Gauges::read(self.address()).await?.of("sessions_lost") > 0.0 && Instant::now() < deadline {
            sleep(LOOK).await;
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
        self.phase.send_replace(Phase::Over);
        let gone = async { while listening.join_next().await.is_some() {} };
        if timeout(SETTLE, gone).await.is_err() {
            self.tell("somebody does not go");
        }
        self.noting.abort();
        self.server.stop().await?;
        Ok(self.world.recorder.take())
    }

    /// Where every log stands, asked of the server itself. A user's own log tells it with one more notification.
    async fn heads(&self, users: &[(String, LogNo)]) -> io::Result<Vec<(LogNo, rallypoint_protocol::Position)>> {
        let address = self.address();
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
