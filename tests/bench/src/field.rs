//! The servers that are compared: how each is started, and how it is spoken to.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rallypoint::auth::{
    Claims, KeySource, Minter,
    claims::{Audience, RoomClaim},
};

use crate::{dialect::Dialect, engine::Engine, process::Process};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// This server, all checks on.
    Rallypoint,
    /// The same with two worker threads, one of them on the generator's processor.
    TwoWorkers,
    /// One write for each message and member.
    Floor,
    /// One write for each turn and member.
    Gather,
    /// Bun's own publish.
    Bun,
    /// The package `ws` on Node.js.
    Ws,
    /// The PeerJS server on Node.js.
    PeerJs,
    /// nginx with nchan.
    Nchan,
    /// Two of this server on one Redis.
    Nodes,
}

impl Peer {
    /// As it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rallypoint => "rallypoint",
            Self::TwoWorkers => "two workers",
            Self::Floor => "bare epoll",
            Self::Gather => "gathering epoll",
            Self::Bun => "Bun",
            Self::Ws => "Node ws",
            Self::PeerJs => "PeerJS",
            Self::Nchan => "nginx nchan",
            Self::Nodes => "two nodes",
        }
    }

    /// As it is spoken to.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Rallypoint | Self::TwoWorkers | Self::Nodes => Dialect::Rallypoint,
            Self::PeerJs => Dialect::PeerJs,
            Self::Floor | Self::Gather | Self::Bun | Self::Ws | Self::Nchan => Dialect::Plain,
        }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The folder with `rallypoint` and `floor`.
    pub binaries: PathBuf,
    /// `tests/bench/peers`, with its packages installed.
    pub peers: PathBuf,
    /// For configuration files.
    pub scratch: PathBuf,
}

impl Programs {
    /// Ours beside the program that runs, the others' in this folder.
    pub fn with_peers(peers: PathBuf) -> io::Result<Self> {
        let binaries = std::env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default();
        Ok(Self { binaries, peers, scratch: std::env::temp_dir() })
    }
}

/// A server that runs.
pub struct Server {
    /// Who it is.
    pub peer: Peer,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub process: Process,
    minter: Option<Minter>,
    site: Option<Site>,
}

/// What stands beside the first of several nodes, and ends after it.
pub struct Site {
    /// The second node.
    pub second: Box<Server>,
    /// What both are on.
    pub engine: Engine,
}

/// What rallypoint is told. Only ceilings differ from the defaults, which are made for guests, not for a generator that
/// plays all of them from a few addresses. The key is the benchmark's own, and every guest has a token of it.
pub const CONFIGURATION: &str = r#"pages = false

[log]
filter = "warn"

[auth]
audience = "bench"

[[auth.keys]]
algorithm = "HS256"
secret = "a secret of the benchmark, which is none"

[limits]
connections_per_ip = 100000
accepts_per_second = 1000000
accepts_burst = 1000000
accepts_per_second_per_ip = 1000000
accepts_burst_per_ip = 1000000
cpu_percent = 100
requests_per_second_per_ip = 1000000
requests_burst_per_ip = 1000000
requests_per_second = 100000
requests_burst = 100000
moves_per_second = 100000
moves_burst = 100000
bytes_per_second = 1000000000

[room]
members = 10000
"#;
const SECRET: &str = "a secret of the benchmark, which is none";

impl Server {
    /// Starts one on the first of these processors, or on all if it has a thread for each, and waits until it listens.
    pub fn start(peer: Peer, programs: &Programs, cores: &[usize]) -> io::Result<Self> {
        if peer != Peer::Nodes {
            return Self::start_on(peer, programs, cores, None);
        }
        let engine = Engine::start(&cores[..1])?;
        let [first, second] = [(); 2].map(|()| Self::start_on(peer, programs, cores, Some(&engine)));
        let (first, second) = (first?, Box::new(second?));
        for node in [&first, &*second] {
            node.until_ready()?;
        }
        Ok(Self { site: Some(Site { second, engine }), ..first })
    }

    fn start_on(peer: Peer, programs: &Programs, cores: &[usize], engine: Option<&Engine>) -> io::Result<Self> {
        let cores = if peer == Peer::TwoWorkers { cores } else { &cores[..1] };
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let own = |name: &str| Command::new(programs.binaries.join(name));
        let script = |runner: PathBuf, name: &str| {
            let mut command = Command::new(runner);
            command.arg(programs.peers.join(name)).arg(port.to_string());
            command
        };
        let modules = programs.peers.join("node_modules");
        let mut minter = None;
        let mut command = match peer {
            Peer::Rallypoint | Peer::TwoWorkers | Peer::Nodes => {
                let file = programs.scratch.join(format!("rallypoint-{port}.toml"));
                fs::write(&file, format!("listen = \"{address}\"\n{CONFIGURATION}"))?;
                let key = KeySource::Secret(SECRET.to_owned());
                minter = Some(Minter::new(&key).map_err(|error| io::Error::other(error.to_string()))?);
                let mut command = own("rallypoint");
                command.args(["serve", "--config"]).arg(file);
                if let Some(engine) = engine {
                    command.args(["--engine", &format!("redis://{}", engine.address)]);
                }
                command
            }
            Peer::Floor => {
                let mut command = own("floor");
                command.arg(port.to_string());
                command
            }
            Peer::Gather => {
                let mut command = own("floor");
                command.arg(port.to_string()).arg("gather");
                command
            }
            Peer::Bun => script(modules.join(".bin/bun"), "bun.js"),
            Peer::Ws => script("node".into(), "ws.mjs"),
            Peer::PeerJs => script("node".into(), "peerjs.mjs"),
            Peer::Nchan => {
                let file = programs.scratch.join(format!("nchan-{port}.conf"));
                let text = fs::read_to_string(programs.peers.join("nchan.conf"))?;
                let folder = programs.scratch.display().to_string();
                fs::write(&file, text.replace("@PORT@", &port.to_string()).replace("@FOLDER@", &folder))?;
                let mut command = Command::new("nginx");
                command.arg("-c").arg(file);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(&mut command, cores)?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            process.check()?;
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{} does not listen", peer.name())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { peer, address, process, minter, site: None })
    }

    /// The node reaches its engine.
    fn until_ready(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut socket = TcpStream::connect(self.address)?;
            socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            if answer.starts_with("HTTP/1.1 200 ") {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("a node does not reach its engine"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What stands beside it.
    pub fn site(&self) -> io::Result<&Site> {
        self.site.as_ref().ok_or_else(|| io::Error::other("one server is no site"))
    }

    /// A token for guest `n`, where tokens are asked for.
    pub fn token(&self, n: usize) -> String {
        let verbs = ["create", "join", "watch", "signal", "move", "chat", "publish", "presence", "history"];
        let claims = Claims {
            sub: format!("guest-{n}"),
            exp: 4e9,
            iss: Some("bench".to_owned()),
            aud: Audience(vec!["bench".to_owned()]),
            rooms: vec![RoomClaim { pattern: "*".to_owned(), role: None, verbs: verbs.map(str::to_owned).to_vec() }],
            ..Claims::default()
        };
        self.minter.as_ref().map(|minter| minter.mint(&claims)).unwrap_or_default()
    }
}
