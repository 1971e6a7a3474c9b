//! A server and everybody who talks to it: opened, the server restarted in between, and closed.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    process::Command,
    time::{interval, timeout},
};

use super::{
    cast::Scale,
    scene::Scene,
    server::{Server, Setup},
};
use crate::{
    certificate::connector,
    history::{History, What, unix_ms},
    proxy::{Mix, bridge::Bridge},
};

/// Between two knocks at a service that is being replaced.
const KNOCK: Duration = Duration::from_millis(1);
/// How long the replacement of a service may take.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);

/// Everything that takes part in a run.
pub struct Stage {
    /// How the server is started.
    pub setup: Setup,
    /// The server that runs.
    pub server: Server,
    /// What stands in front of it when it speaks TLS.
    bridge: Option<Bridge>,
    /// Everybody else.
    pub scene: Scene,
}

impl Stage {
    /// Starts the server and lets everybody in.
    pub async fn open(setup: Setup, mix: Mix, seed: u64, scale: &Scale) -> io::Result<Self> {
        let server = setup.start().await?;
        let bridge = match &setup.identity {
            Some(identity) => Some(Bridge::start(setup.address, connector(&[identity], &[b"http/1.1"])?).await?),
            None => None,
        };
        let address = bridge.as_ref().map_or(setup.address, Bridge::address);
        let scene = Scene::open(&[address], mix, seed, scale).await?;
        Ok(Self { setup, server, bridge, scene })
    }

    /// Ends the server at once.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.scene.put(What::Stopping { killed: true });
        self.server.kill().await?;
        self.scene.put(What::Ended { unix_ms: unix_ms() });
        Ok(())
    }

    /// Asks the server to end, and waits for that: its status, and how long it took.
    pub async fn stop(&mut self) -> io::Result<(ExitStatus, Duration)> {
        self.scene.put(What::Stopping { killed: false });
        let ended = self.server.stop().await?;
        self.scene.put(What::Ended { unix_ms: unix_ms() });
        Ok(ended)
    }

    /// Starts the server again, on the same address.
    pub async fn start(&mut self) -> io::Result<()> {
        self.server = self.setup.start().await?;
        self.scene.put(What::Started { unix_ms: unix_ms() });
        Ok(())
    }

    /// Has a shell command replace a service that runs, and waits for its end: its status, and for how long nobody was let
    /// in.
    pub async fn replace(&mut self, command: &str) -> io::Result<(ExitStatus, Duration)> {
        self.scene.put(What::Stopping { killed: false });
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
                    self.scene.put(What::Ended { unix_ms: unix_ms() });
                }
                (Some(ended), true) => {
                    self.scene.put(What::Started { unix_ms: unix_ms() });
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

    /// Lets everybody come to an end, and stops the server. Leaves the history.
    pub async fn close(mut self) -> io::Result<History> {
        let address = self.bridge.as_ref().map_or(self.setup.address, Bridge::address);
        let history = self.scene.close(&[address]).await?;
        self.server.stop().await?;
        Ok(history)
    }
}
