//! A Redis of a test's own: on a free port of loopback, without files, gone with the value.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);
/// Somebody may take the port between the look and the start.
const TRIES: usize = 5;

/// A running server.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    options: Vec<String>,
    child: Child,
}

impl Redis {
    /// Starts one.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with these options.
    pub async fn start_with(options: &[&str]) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::try_start(options).await {
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => {}
                started => return started,
            }
        }
    }

    async fn try_start(options: &[&str]) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Self::start_at(address, options.iter().map(ToString::to_string).collect()).await
    }

    async fn start_at(address: SocketAddr, options: Vec<String>) -> io::Result<Self> {
        let port = address.port().to_string();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
            .args(&options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut server = Self { address, options, child };
        let until = Instant::now() + PATIENCE;
        while server.say("PING").await.ok().as_deref() != Some("+PONG") {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("redis-server ended with {status}")));
            }
            if Instant::now() > until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "redis-server does not answer"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(server)
    }

    /// Ends it as a crash would.
    pub async fn stop(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Starts it again where it was, killed if it still runs. It has what its options let it keep.
    pub async fn start_again(&mut self) -> io::Result<()> {
        if self.child.id().is_some() {
            self.stop().await?;
        }
        *self = Self::start_at(self.address, self.options.clone()).await?;
        Ok(())
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
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Ok(kill_process(id.ok_or(io::ErrorKind::NotFound)?, signal)?)
    }

    /// Its address, as `--engine` takes it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// On which port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it answers to a command, as `redis-cli` shows it.
    pub async fn ask(&self, command: &[&str]) -> io::Result<String> {
        let port = self.address.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command).stdin(Stdio::null()).output().await?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Says one line to it on a connection of its own, and returns the first line of the answer.
    pub async fn say(&self, command: &str) -> io::Result<String> {
        let mut socket = TcpStream::connect(self.address).await?;
        socket.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') {
            if socket.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let line = answer.split(|&byte| byte == b'\r').next().unwrap_or_default();
        Ok(String::from_utf8_lossy(line).into_owned())
    }
}

/// Some of them as one cluster. The folder holds what they know of each other.
#[derive(Debug)]
pub struct Cluster {
    /// Each of the first ones has its share of the slots, in this order; those behind them are replicas.
    pub servers: Vec<Redis>,
    folder: std::path::PathBuf,
}

impl Cluster {
    /// Starts so many, and waits until they are one cluster.
    pub async fn start(count: usize) -> io::Result<Self> {
        Self::start_with(count, &[]).await
    }

    /// Starts them with these options.
    pub async fn start_with(count: usize, options: &[&str]) -> io::Result<Self> {
        Self::start_replicated(count, 0, options).await
    }

    /// Starts so many masters with so many replicas each.
    pub async fn start_replicated(masters: usize, replicas: usize, options: &[&str]) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("rallypoint-cluster-{}-{}", std::process::id(), nonce()));
        std::fs::create_dir_all(&folder)?;
        let mut cluster = Self { servers: Vec::new(), folder };
        for n in 0..masters * (1 + replicas) {
            // The bus of a cluster has a port of its own, 10 000 above by default: often out of range.
            let bus = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port().to_string();
            let folder = cluster.folder.join(n.to_string());
            std::fs::create_dir(&folder)?;
            let folder = folder.to_string_lossy();
            let own = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--dir", &folder];
            let hasty = ["--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"];
            let server = Redis::start_with(&[&own[..], &hasty, options].concat()).await?;
            cluster.servers.push(server);
        }
        let addresses = cluster.servers.iter().map(|server| server.address.to_string());
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .await?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stdout).into_owned()));
        }
        let until = Instant::now() + PATIENCE;
        // A replica that has nothing yet cannot take over.
        while !cluster.is_whole(0, replicas).await? {
            if Instant::now() > until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the cluster does not become whole"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(cluster)
    }

    /// Which of the servers are masters by their own word.
    pub async fn masters(&self) -> io::Result<Vec<usize>> {
        let mut masters = Vec::new();
        for (n, server) in self.servers.iter().enumerate() {
            if server.ask(&["ROLE"]).await?.starts_with("master") {
                masters.push(n);
            }
        }
        Ok(masters)
    }

    /// Whether all slots have somebody, and every master so many replicas that have all it has, as a server sees it.
    pub async fn is_whole(&self, seen_by: usize, replicas: usize) -> io::Result<bool> {
        let info = self.servers[seen_by].ask(&["CLUSTER", "INFO"]).await?;
        if !info.contains("cluster_state:ok") {
            return Ok(false);
        }
        for n in self.masters().await? {
            let told = self.servers[n].ask(&["INFO", "replication"]).await?;
            if told.matches("state=online").count() < replicas {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves slots from one to another, with all that is in them.
    pub async fn move_slots(&self, from: usize, to: usize, slots: u32) -> io::Result<()> {
        let id = async |server: &Redis| Ok::<_, io::Error>(server.ask(&["CLUSTER", "MYID"]).await?);
        let (from, to) = (id(&self.servers[from]).await?, id(&self.servers[to]).await?);
        let moved = Command::new("redis-cli")
            .args(["--cluster", "reshard", &self.servers[0].address.to_string(), "--cluster-from", &from])
            .args(["--cluster-to", &to, "--cluster-slots", &slots.to_string(), "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .await?;
        if moved.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&moved.stdout).into_owned()))
    }

    /// The address of the whole by one of them, as `--engine` takes it.
    pub fn url(&self) -> String {
        self.servers[0].url()
    }

    /// The addresses of all, as `--engine` takes them.
    pub fn urls(&self) -> String {
        self.servers.iter().map(Redis::url).collect::<Vec<_>>().join(",")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.clear();
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn nonce() -> u32 {
    static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
