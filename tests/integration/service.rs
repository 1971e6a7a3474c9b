//! The server's own program as a service: what it tells who started it, and what signals do.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::UnixDatagram,
    process::{Child, ChildStdout, Command},
};

use crate::support::{Ask, until, within};

/// What systemd would read.
struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("rallypoint-notify-{}", uuid::Uuid::new_v4()));
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { path, socket }
    }

    async fn told(&self) -> String {
        let mut told = [0; 256];
        let len = within("a word to the service manager", self.socket.recv(&mut told)).await.unwrap();
        String::from_utf8_lossy(&told[..len]).trim().to_owned()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap())).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The program with these settings, and where it listens.
async fn start(settings: &[(&str, &str)]) -> (Child, Lines<BufReader<ChildStdout>>, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rallypoint"))
        .args(["serve", "--dev", "--listen", "127.0.0.1:0"])
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("the first line", lines.next_line()).await.unwrap().unwrap();
    let (_, address) = line.split_once("listens on http://").unwrap_or_else(|| panic!("{line}"));
    (child, lines, address.trim_end_matches('/').parse().unwrap())
}

/// Has a line written about a refusal.
async fn be_refused(address: SocketAddr) {
    within("a refusal", Ask::new("GET", "/v1/rooms").send(address)).await.refused(700);
}

#[tokio::test]
async fn the_audit_log_goes_on_in_a_new_file() {
    let folder = std::env::temp_dir().join(format!("rallypoint-rotation-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let [file, moved] = ["audit.jsonl", "audit.jsonl.1"].map(|name| folder.join(name));
    let settings = [("RALLYPOINT_AUDIT__TO", "file"), ("RALLYPOINT_AUDIT__FILE", file.to_str().unwrap())];
    let (mut child, _lines, address) = start(&settings).await;
    let count = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().matches("token-missing").count();
    be_refused(address).await;
    until("a line", async || (count(&file) == 1).then_some(())).await;
    std::fs::rename(&file, &moved).unwrap();
    send(&child, Signal::HUP);
    until("a new file", async || file.exists().then_some(())).await;
    be_refused(address).await;
    until("a line in it", async || (count(&file) == 1).then_some(())).await;
    be_refused(address).await;
    send(&child, Signal::TERM);
    assert!(within("the end", child.wait()).await.unwrap().success());
    assert_eq!((count(&file), count(&moved)), (2, 1), "the last line is written before the end");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn the_audit_log_can_be_standard_output() {
    let (_child, mut lines, address) = start(&[("RALLYPOINT_AUDIT__TO", "stdout")]).await;
    be_refused(address).await;
    let line = within("a line", lines.next_line()).await.unwrap().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["event"], &line["code"], &line["address"]),
        (&"refused".into(), &700.into(), &"127.0.0.1".into())
    );
}

#[tokio::test]
async fn a_service_manager_is_told_and_heard() {
    let manager = Manager::new();
    let (mut child, _lines, _) = start(&[("NOTIFY_SOCKET", manager.path.to_str().unwrap())]).await;
    assert_eq!(manager.told().await, "READY=1");
    // There is no certificate to look at, and no reason to end.
    send(&child, Signal::HUP);
    send(&child, Signal::TERM);
    assert_eq!(manager.told().await, "STOPPING=1");
    assert!(within("the end", child.wait()).await.unwrap().success());
}
