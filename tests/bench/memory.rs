//! What an idle WebSocket costs: starts the release binary, opens connections that authenticate and
//! join a room of ten, waits until the process is quiet, and prints its growth per connection.
//!
//! `cargo bench --bench memory [-- CONNECTIONS]`; exit code 1 above the aim. Connections are spread
//! over several client addresses and closed with RST, so that no ports are left waiting.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use rallypoint::auth::{Claims, KeySource, Minter, claims::RoomClaim};
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};

/// Unless the command line says otherwise.
const CONNECTIONS: usize = 5000;
const ROOM_SIZE: usize = 10;
/// Opened and closed before the first look, so that what is made once is not charged to guests.
const WARM_UP: usize = 32;
/// Connections that open at the same time.
const OPENERS: usize = 8;
/// Client addresses: 127.0.0.1 and its neighbours.
const ADDRESSES: usize = 16;
/// What a connection may cost, in bytes.
const AIM: usize = 3 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(CONNECTIONS);
    let server = Server::start();
    drop(open_all(&server, "warm", WARM_UP));
    server.wait_for_members(0);
    let before = server.quiet_rss();
    let sockets = open_all(&server, "guest", wanted);
    server.wait_for_members(wanted);
    let after = server.quiet_rss();
    let each = after.saturating_sub(before) / wanted;
    drop(sockets);
    server.wait_for_members(0);
    println!(
        "memory: {wanted} idle WebSockets, one room each ({ROOM_SIZE} in a room): {} KiB -> {} KiB, {each} bytes per \
         connection (aim {AIM}); {} KiB after they left",
        before / 1024,
        after / 1024,
        server.quiet_rss() / 1024
    );
    if each <= AIM { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The server as a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rallypoint"))
            .args(["serve", "--dev", "--listen", "127.0.0.1:0"])
            .env("RALLYPOINT_LIMITS__CONNECTIONS_PER_IP", "20000")
            // The guests never answer: the first ping is the only one they are asked.
            .env("RALLYPOINT_LIMITS__PING_INTERVAL_MS", "300000")
            .env("RALLYPOINT_LOG__FILTER", "warn")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("the output was asked for");
        BufReader::new(stdout).read_line(&mut line).expect("the server says where it listens");
        let address = line.split_once("http://").map(|(_, rest)| rest.trim().trim_end_matches('/'));
        let address = address.and_then(|text| text.parse().ok()).expect("an address stands in its first line");
        Self { child, address }
    }

    /// Resident bytes. `smaps_rollup` counts pages; `statm` is a per-processor estimate.
    fn rss(&self) -> usize {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(path).expect("the server runs");
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("Rss is in it");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("Rss is a number");
        kib * 1024
    }

    /// Processor time used, in ticks: fields 14 and 15 of `stat`, counted behind the name.
    fn ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(path).expect("the server runs");
        let (_, fields) = text.rsplit_once(") ").expect("stat has a name in brackets");
        fields.split(' ').skip(11).take(2).map(|word| word.parse::<u64>().expect("stat has numbers")).sum()
    }

    /// Resident bytes once the process has done nothing for a while; the first pings go out a second
    /// after the opening, so a while is longer than that.
    fn quiet_rss(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut quiet = 0;
        let mut last = (self.ticks(), self.rss());
        while quiet < 6 {
            assert!(Instant::now() < deadline, "the server does not become quiet");
            std::thread::sleep(Duration::from_millis(250));
            let now = (self.ticks(), self.rss());
            quiet = if now.0 <= last.0 + 1 && now.1 == last.1 { quiet + 1 } else { 0 };
            last = now;
        }
        last.1
    }

    fn wait_for_members(&self, wanted: usize) {
        let deadline = Instant::now() + PATIENCE;
        let line = format!("\nrallypoint_members {wanted}\n");
        while !self.metrics().contains(&line) {
            assert!(Instant::now() < deadline, "there are never {wanted} members");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.address).expect("the server listens");
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        socket.write_all(request.as_bytes()).expect("the server reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("the server answers");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Opens `count` connections, several at a time.
fn open_all(server: &Server, prefix: &str, count: usize) -> Vec<TcpStream> {
    let minter = Minter::new(&KeySource::Development).expect("the development key can be used");
    std::thread::scope(|scope| {
        let opener = |first: usize| {
            let minter = &minter;
            scope.spawn(move || {
                let own = (first..count).step_by(OPENERS);
                own.map(|n| open(server.address, minter, prefix, n).expect("a guest comes in")).collect::<Vec<_>>()
            })
        };
        let openers: Vec<_> = (0..OPENERS).map(opener).collect();
        openers.into_iter().flat_map(|opener| opener.join().expect("no guest was turned away")).collect()
    })
}

/// One guest: upgrade with the token in the handshake, join, read up to `joined`.
fn open(server: SocketAddr, minter: &Minter, prefix: &str, n: usize) -> io::Result<TcpStream> {
    let (room, user) = (format!("{prefix}/{}", n / ROOM_SIZE), format!("{prefix}-{n}"));
    let verbs = ["create", "join", "signal", "move", "chat", "presence", "history"].map(str::to_owned).to_vec();
    let claims = Claims {
        sub: user.clone(),
        name: Some(user),
        exp: 4e9,
        rooms: vec![RoomClaim { pattern: format!("{prefix}/*"), role: Some("player".to_owned()), verbs }],
        ..Claims::default()
    };
    let token = minter.mint(&claims);
    let own = Ipv4Addr::new(127, 0, 0, u8::try_from(n % ADDRESSES + 1).unwrap_or(1));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(own, 0)).into())?;
    socket.connect(&server.into())?;
    let mut socket = TcpStream::from(socket);
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nhost: {server}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         sec-websocket-protocol: rallypoint.v1.json\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
    }
    let join = json!({ "type": "join", "id": 1, "room": room }).to_string();
    // A masked text frame (RFC 6455 section 5.2); a mask of zeros leaves the text as it is.
    let length = u8::try_from(join.len()).expect("a short request");
    socket.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], join.as_bytes()].concat())?;
    loop {
        let frame = read_frame(&mut socket)?;
        if frame.starts_with(br#"{"type":"joined""#) {
            return Ok(socket);
        }
        if frame.starts_with(br#"{"type":"error""#) {
            return Err(io::Error::other(String::from_utf8_lossy(&frame).into_owned()));
        }
    }
}

fn read_frame(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 2];
    socket.read_exact(&mut head)?;
    let len = match head[1] {
        126 => {
            let mut more = [0; 2];
            socket.read_exact(&mut more)?;
            usize::from(u16::from_be_bytes(more))
        }
        127 => return Err(io::Error::other("a frame that is far too long")),
        len => usize::from(len),
    };
    let mut frame = vec![0; len];
    socket.read_exact(&mut frame)?;
    Ok(frame)
}
