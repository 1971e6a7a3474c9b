//! The server as a process: started, asked to end, killed.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::certificate::Identity;

/// The variables for the two files of [`Identity::files`].
const FILES: [&str; 2] = ["RALLYPOINT_TLS__CERTIFICATE_FILE", "RALLYPOINT_TLS__KEY_FILE"];
/// How long the server may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets this process open as many sockets as it is allowed to.
pub fn more_descriptors() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Lets this process, and every server that it starts, open so many sockets at most.
pub fn descriptors(most: u64) -> io::Result<()> {
    let allowed = getrlimit(Resource::Nofile).maximum.map_or(most, |maximum| maximum.min(most));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: Some(allowed) })?)
}

/// How to start the server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary; `None` if somebody else starts it.
    pub binary: Option<PathBuf>,
    /// Where it listens; the same in every life.
    pub address: SocketAddr,
    /// Settings that differ from the defaults, as environment variables.
    pub settings: Vec<(&'static str, String)>,
    /// What it shows to whoever connects, if it is to speak TLS.
    pub identity: Option<Arc<Identity>>,
    /// Where its log goes.
    pub log: PathBuf,
}

impl Setup {
    /// For a port of loopback that is free now.
    pub fn new(binary: &Path, settings: &[(&'static str, &str)], log: PathBuf) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let settings = settings.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        Ok(Self { binary: Some(binary.to_owned()), address, settings, identity: None, log })
    }

    /// For a server that runs already, and that somebody else replaces: a service.
    pub fn of_service(address: SocketAddr) -> Self {
        Self { binary: None, address, settings: Vec::new(), identity: None, log: PathBuf::new() }
    }

    /// The same, over TLS, with a new certificate in this folder.
    pub fn over_tls(mut self, folder: &Path) -> io::Result<Self> {
        let identity = Identity::new()?;
        identity.put(folder)?;
        for (variable, file) in FILES.into_iter().zip(Identity::files(folder)) {
            let file = file.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
            self.settings.push((variable, file.to_owned()));
        }
        self.identity = Some(Arc::new(identity));
        Ok(self)
    }

    /// Starts the server and waits until it listens.
    pub async fn start(&self) -> io::Result<Server> {
        let Some(binary) = &self.binary else {
            self.knock().map_err(|error| io::Error::other(format!("no service at {}: {error}", self.address)))?;
            return Ok(Server { child: None });
        };
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut child = Command::new(binary)
            .args(["serve", "--dev", "--listen", &self.address.to_string()])
            .envs(self.settings.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", binary.display())))?;
        let mut line = String::new();
        if let Some(stdout) = &mut child.stdout {
            // Unbuffered beyond this line: the server writes nothing more there.
            timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line))
                .await
                .map_err(|_| io::ErrorKind::TimedOut)??;
        }
        if !line.contains("listens on") {
            return Err(io::Error::other(format!("the server does not start; see {}", self.log.display())));
        }
        Ok(Server { child: Some(child) })
    }

    /// Whether it takes connections.
    pub fn knock(&self) -> io::Result<()> {
        std::net::TcpStream::connect(self.address).map(drop)
    }
}

/// A running server. If it is a process of ours it is killed when this is dropped; a service is left alone.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
}

impl Server {
    /// The number of its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// Asks it to end (SIGTERM) and waits for that: its exit status, and how long it took.
    pub async fn stop(&mut self) -> io::Result<(ExitStatus, Duration)> {
        let begin = Instant::now();
        if self.child.is_some() {
            self.signal(Signal::TERM)?;
        }
        let Some(child) = &mut self.child else { return Ok((ExitStatus::default(), Duration::ZERO)) };
        let status = timeout(PATIENCE, child.wait()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok((status, begin.elapsed()))
    }

    /// It takes bytes and does nothing with them, until it may [go on](Self::go_on).
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// It does what it was sent meanwhile.
    pub fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(kill_process(pid.ok_or(io::ErrorKind::NotFound)?, signal)?)
    }

    /// Ends it at once (SIGKILL).
    pub async fn kill(&mut self) -> io::Result<()> {
        match &mut self.child {
            Some(child) => child.kill().await,
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
