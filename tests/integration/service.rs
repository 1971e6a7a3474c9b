//! The server's own program as a service: what it tells who started it, and what signals do.

use std::{path::PathBuf, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixDatagram,
    process::{Child, Command},
};

use crate::support::within;

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

#[tokio::test]
async fn a_service_manager_is_told_and_heard() {
    let manager = Manager::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_rallypoint"))
        .args(["serve", "--dev", "--listen", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", &manager.path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("the first line", lines.next_line()).await.unwrap().unwrap();
    assert!(line.contains("listens on http://127.0.0.1:"), "{line}");
    assert_eq!(manager.told().await, "READY=1");
    // There is no certificate to look at, and no reason to end.
    send(&child, Signal::HUP);
    send(&child, Signal::TERM);
    assert_eq!(manager.told().await, "STOPPING=1");
    assert!(within("the end", child.wait()).await.unwrap().success());
}
