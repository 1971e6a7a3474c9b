//! The one place where a running history grows.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rallypoint_protocol::{PeerId, Position};

use super::{Came, ClientNo, History, LogNo, PeerNo, Role, What, Why};

/// Takes records from all clients of a run.
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    history: History,
    /// Where each view stands, for a run that waits for it.
    views: HashMap<(ClientNo, LogNo), Position>,
    /// Who has lost its connection and is on its way back.
    away: HashSet<ClientNo>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { begin: Instant::now(), inner: Mutex::default() }
    }
}

/// The time of day in Unix milliseconds.
pub fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0
}

impl Recorder {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the history panics")
    }

    /// A new client.
    pub fn client(&self, name: &str, role: Role) -> ClientNo {
        self.inner().history.client(name, role)
    }

    /// The log of this name.
    pub fn log(&self, name: &str) -> LogNo {
        self.inner().history.logs.no(name.as_bytes())
    }

    /// Notes something.
    pub fn put(&self, client: ClientNo, what: What) {
        let mut inner = self.inner();
        match what {
            What::Stands { log, position, .. } => _ = inner.views.insert((client, log), position),
            What::Away => _ = inner.away.insert(client),
            What::Opened { .. } | What::Left | What::Stopped { .. } => _ = inner.away.remove(&client),
            _ => {}
        }
        let at = u32::try_from(self.begin.elapsed().as_millis()).unwrap_or(u32::MAX);
        inner.history.put(at, client, what);
    }

    /// Notes an event with these bytes.
    pub fn event(&self, client: ClientNo, log: LogNo, position: Position, bytes: &[u8]) {
        let mut inner = self.inner();
        let content = inner.history.contents.no(bytes);
        inner.views.insert((client, log), position);
        let at = u32::try_from(self.begin.elapsed().as_millis()).unwrap_or(u32::MAX);
        inner.history.put(at, client, What::Event { log, position, content });
    }

    /// Notes where a view stands.
    pub fn stands(&self, client: ClientNo, log: LogNo, position: Position, why: Why) {
        self.put(client, What::Stands { log, position, why });
    }

    /// Notes a session and how it began.
    pub fn opened(&self, client: ClientNo, peer: PeerId, came: Came, time: f64) {
        let peer: PeerNo = self.inner().history.peers.no(peer.to_string().as_bytes());
        self.put(client, What::Opened { peer: Some(peer), came, time });
    }

    /// Where a client's view of a log stands.
    pub fn position(&self, client: ClientNo, log: LogNo) -> Option<Position> {
        self.inner().views.get(&(client, log)).copied()
    }

    /// Whether everybody is connected.
    pub fn is_nobody_away(&self) -> bool {
        self.inner().away.is_empty()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.inner().history.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the history out; what is noted later is lost.
    pub fn take(&self) -> History {
        std::mem::take(&mut self.inner().history)
    }
}
