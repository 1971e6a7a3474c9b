//! The course of a history: busy clients behind a proxy that cuts, and a server that is started anew now and then.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{cast::Scale, scene::LOOK, server::Setup, stage::Stage};
use crate::{
    history::History,
    proxy::{Counts, Mix},
};

/// Between two lines of progress.
const TELL: Duration = Duration::from_secs(5);
/// Without a single cut for so long, nothing is going on any more.
const STUCK: Duration = Duration::from_secs(60);

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
    /// Whether the server speaks TLS.
    pub tls: bool,
    /// Where the server's log and files go.
    pub folder: PathBuf,
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

impl Course {
    /// Runs it. An error means that it could not be run; what the server did wrong is in the history.
    pub async fn run(self) -> io::Result<Done> {
        let mut setup = Setup::new(&self.server, SETTINGS, self.folder.join("server.log"))?;
        if self.tls {
            setup = setup.over_tls(&self.folder)?;
        }
        let mut stage = Stage::open(setup, MIX, self.seed, &self.scale).await?;
        self.drive(&mut stage).await?;
        let (counts, took) = (stage.scene.counts(), stage.scene.elapsed());
        Ok(Done { history: stage.close().await?, counts, took })
    }

    /// Until there were enough cuts.
    async fn drive(&self, stage: &mut Stage) -> io::Result<()> {
        let restarts = self.cuts.saturating_sub(1) / self.every.max(1);
        let (mut restarted, mut told) = (0, Instant::now());
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let cuts = stage.scene.counts().cuts();
            if cuts >= self.cuts {
                return Ok(());
            }
            if cuts != last {
                (last, since) = (cuts, Instant::now());
            }
            if since.elapsed() > STUCK {
                return Err(io::Error::other(format!("stuck after {cuts} cuts: {}", stage.scene.counts())));
            }
            if restarted < restarts && cuts >= (restarted + 1) * self.every {
                restarted += 1;
                restart(stage, restarted == restarts.div_ceil(2)).await?;
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                stage.scene.tell("cutting");
            }
            sleep(LOOK).await;
        }
    }
}

async fn restart(stage: &mut Stage, killed: bool) -> io::Result<()> {
    let begin = Instant::now();
    let how = if killed {
        stage.kill().await?;
        "killed".to_owned()
    } else {
        let (status, took) = stage.stop().await?;
        if !status.success() {
            return Err(io::Error::other(format!("the server ended with {status} on SIGTERM")));
        }
        format!("ended in {} ms", took.as_millis())
    };
    stage.start().await?;
    stage.scene.tell(&format!("restart, {how}, back after {} ms", begin.elapsed().as_millis()));
    Ok(())
}
