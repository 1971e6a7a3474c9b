//! The state of the node and its machine as Server-Sent Events, for operators.
//!
//! One task measures once a second while somebody reads, and all readers are given the same bytes. Whoever is slow goes
//! on with the newest.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use rallypoint_protocol::{codec::Refused, event::Millis};
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    sse::{RETRY_MS, block},
    telling::{Telling, Told, Visit},
};
use crate::{
    auth::Grant,
    ceilings::Place,
    histogram::Counts,
    hub::Hub,
    machine::{Machine, Reading, round},
    metrics::{Metrics, Transport},
};

/// Between two measurements.
const EVERY: Duration = Duration::from_secs(1);
/// Round trips are told of so many seconds: in each a connection is pinged only now and then.
const TRIPS_OF: usize = 15;

/// What operators can follow.
pub struct Status {
    hub: Arc<Hub>,
    /// The last events; empty before the first, and while nobody reads.
    newest: watch::Sender<Bytes>,
    sampler: Mutex<Option<JoinHandle<()>>>,
}

impl Status {
    /// Nobody reads yet, and nothing is measured.
    pub fn new(hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self { hub, newest: watch::Sender::default(), sampler: Mutex::default() })
    }

    /// A reader; without a grant it is one of those whom nobody asked for a token.
    pub(crate) fn open(self: &Arc<Self>, grant: Option<&Grant>, seat: Option<Arc<Place>>) -> Result<Reader, Refused> {
        let visit = Visit::begin(&self.hub, grant, Transport::Status, seat)?;
        let mut sampler = self.sampler.lock();
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        if sampler.as_ref().is_none_or(JoinHandle::is_finished) {
            *sampler = Some(tokio::spawn(self.clone().measure()));
        }
        Ok(Reader { newest, visit, _status: self.clone() })
    }

    /// Measures as long as somebody reads.
    async fn measure(self: Arc<Self>) {
        let mut machine = on_a_thread_that_may_wait(Machine::new).await;
        let mut before = Counters::of(self.hub.metrics());
        let mut trips = VecDeque::from([self.hub.metrics().trips.counts()]);
        let mut last = Instant::now();
        let mut due = last + EVERY;
        loop {
            tokio::select! {
                biased;
                () = self.newest.closed() => {
                    if self.rest() {
                        return;
                    }
                    continue;
                }
                () = sleep_until(due) => {}
            }
            let now = Instant::now();
            let (lag, seconds) = (now - due, (now - last).as_secs_f64());
            let hub = self.hub.clone();
            let (asked, reading) = on_a_thread_that_may_wait(move || {
                hub.observe();
                let reading = machine.read(seconds);
                (machine, reading)
            })
            .await;
            machine = asked;
            let after = Counters::of(self.hub.metrics());
            trips.push_back(self.hub.metrics().trips.counts());
            let recent = trips[trips.len() - 1].since(&trips[0]);
            if trips.len() > TRIPS_OF {
                trips.pop_front();
            }
            self.newest.send_replace(self.events(&reading, &after.since(&before), seconds, &recent, lag));
            before = after;
            last = now;
            due += EVERY;
            if due <= now {
                // What was missed is not made up for.
                due = now + EVERY;
            }
        }
    }

    /// Whether nobody reads any more: then nothing is measured either, until somebody comes.
    fn rest(&self) -> bool {
        let mut sampler = self.sampler.lock();
        let alone = self.newest.receiver_count() == 0;
        if alone {
            self.newest.send_replace(Bytes::new());
            *sampler = None;
        }
        alone
    }

    /// One event of each name.
    fn events(&self, reading: &Reading, counted: &Counters, seconds: f64, trips: &Counts, lag: Duration) -> Bytes {
        let (metrics, time) = (self.hub.metrics(), self.hub.now());
        let open = |transport| metrics.open(transport).get();
        #[expect(clippy::cast_precision_loss, reason = "what is counted in a second")]
        let rate = |count: u64| round(count as f64 / seconds);
        let mut rtt = json!({ "count": trips.total() });
        for (name, share) in [("p50", 0.5), ("p95", 0.95), ("max", 1.0)] {
            if let Some(ms) = trips.quantile(share) {
                rtt[name] = round(ms).into();
            }
        }
        let mut out = Vec::with_capacity(1024);
        tell(&mut out, "cpu", time, &reading.cpu);
        tell(&mut out, "memory", time, &reading.memory);
        tell(&mut out, "disk", time, &reading.disk);
        let connections = json!({
            "websocket": open(Transport::WebSocket), "events": open(Transport::Sse), "poll": open(Transport::Poll),
            "status": open(Transport::Status), "sessions": metrics.sessions.get(),
            "lost": metrics.sessions_lost.get(), "most": metrics.connections_max.get(),
        });
        tell(&mut out, "connections", time, &connections);
        let rooms = json!({
            "rooms": metrics.rooms.get(), "members": metrics.members.get(),
            "spectators": metrics.spectators.get(), "log_bytes": metrics.log_bytes.get(),
        });
        tell(&mut out, "rooms", time, &rooms);
        let traffic = json!({
            "received": { "frames": rate(counted.frames_received), "bytes": rate(counted.bytes_received) },
            "sent": { "frames": rate(counted.frames_sent), "bytes": rate(counted.bytes_sent) },
            "moves": rate(counted.moves), "events": rate(counted.events), "signals": rate(counted.signals),
        });
        tell(&mut out, "traffic", time, &traffic);
        tell(&mut out, "latency", time, &json!({ "rtt": rtt, "lag": round(lag.as_secs_f64() * 1000.0) }));
        out.into()
    }
}

async fn on_a_thread_that_may_wait<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(ask).await.expect("measuring does not panic, and is waited for")
}

/// Appends an event, with its time.
fn tell(out: &mut Vec<u8>, name: &str, time: Millis, of: &impl Serialize) {
    #[derive(Serialize)]
    struct Timed<'a, T> {
        time: Millis,
        #[serde(flatten)]
        of: &'a T,
    }
    block(out, name, &serde_json::to_string(&Timed { time, of }).expect("numbers under names have a JSON form"));
}

/// What only ever grows, at some moment, or how much it grew.
struct Counters {
    frames_received: u64,
    bytes_received: u64,
    frames_sent: u64,
    bytes_sent: u64,
    moves: u64,
    events: u64,
    signals: u64,
}

impl Counters {
    fn of(metrics: &Metrics) -> Self {
        Self {
            frames_received: metrics.frames_received.get(),
            bytes_received: metrics.bytes_received.get(),
            frames_sent: metrics.frames_sent.get(),
            bytes_sent: metrics.bytes_sent.get(),
            moves: metrics.moves_taken(),
            events: metrics.events.get(),
            signals: metrics.signals.get(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            frames_received: self.frames_received - before.frames_received,
            bytes_received: self.bytes_received - before.bytes_received,
            frames_sent: self.frames_sent - before.frames_sent,
            bytes_sent: self.bytes_sent - before.bytes_sent,
            moves: self.moves - before.moves,
            events: self.events - before.events,
            signals: self.signals - before.signals,
        }
    }
}

/// One who reads.
pub(crate) struct Reader {
    newest: watch::Receiver<Bytes>,
    visit: Visit,
    /// Has the sender of `newest`.
    _status: Arc<Status>,
}

impl Telling for Reader {
    fn greeting(&self) -> Vec<u8> {
        format!("retry: {RETRY_MS}\n\n").into_bytes()
    }

    async fn next(&mut self) -> Told {
        let told = async {
            while self.newest.changed().await.is_ok() {
                let newest = self.newest.borrow_and_update().clone();
                if !newest.is_empty() {
                    return newest;
                }
            }
            // Its sender is here as long as this is.
            std::future::pending().await
        };
        let code = tokio::select! {
            biased;
            code = self.visit.ended() => code,
            told = told => return Told::Events(told),
        };
        self.visit.farewell(code)
    }

    fn stalled(&self) -> Duration {
        self.visit.stalled()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, pin::pin};

    use futures_util::StreamExt;
    use rallypoint_protocol::ErrorCode;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{
        auth::ResumeKey,
        ceilings::Ceilings,
        config::Config,
        transport::telling::{serve, stream},
    };

    fn status() -> Arc<Status> {
        let mut config = Config::default();
        config.limits.stalled_ms = 200;
        let resume_key = ResumeKey::new(&config.auth).unwrap();
        Status::new(Hub::new(Arc::new(config), Arc::new(Metrics::new()), resume_key))
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let looks = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looks)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }

    async fn told(reader: &mut Reader) -> Bytes {
        match reader.next().await {
            Told::Events(events) => events,
            Told::End(end) => panic!("{}", String::from_utf8_lossy(&end)),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_measured_while_nobody_reads() {
        let status = status();
        let measures = || status.sampler.lock().is_some();
        assert!(!measures());
        for _ in 0..2 {
            let (mut first, mut second) = (status.open(None, None).unwrap(), status.open(None, None).unwrap());
            assert!(measures());
            let events = told(&mut first).await;
            assert!(events.starts_with(b"event: cpu\ndata: {\"time\":"), "{events:?}");
            let late = status.open(None, None).unwrap();
            assert!(late.newest.has_changed().unwrap(), "who comes late need not wait");
            drop((first, late));
            assert_eq!(told(&mut second).await, events);
            drop(second);
            until("the end of the measuring", || !measures()).await;
            assert!(status.newest.borrow().is_empty(), "who comes next would be told what was");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_is_let_in_by_a_server_that_goes_away() {
        let status = status();
        let mut early = status.open(None, None).unwrap();
        status.hub.drain().await;
        assert_eq!(status.open(None, None).err().map(|refused| refused.code), Some(ErrorCode::ShuttingDown));
        loop {
            if let Told::End(end) = early.next().await {
                break assert!(end.starts_with(b"retry: "));
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_who_takes_nothing_is_let_go_on_both_roads() {
        let status = status();
        let readers = || status.hub.metrics().open(Transport::Status).get();
        // Far more than the kernel holds.
        let much = || _ = status.newest.send_replace(vec![b'x'; 1 << 20].into());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, from) = listener.accept().await.unwrap();
        let ceilings = Arc::new(Ceilings::new(status.hub.limits(), status.hub.metrics().clone(), status.hub.now()));
        let place = ceilings.enter(Some(from.ip()), status.hub.now()).unwrap_or_else(|away| panic!("{away:?}"));
        tokio::spawn(serve(socket, b"head".to_vec(), status.open(None, Some(place)).unwrap()));
        let mut body = pin!(stream(status.open(None, None).unwrap()));
        assert_eq!(readers(), 2);
        until("both to be let go", || {
            much();
            readers() == 0
        })
        .await;
        ceilings.emptied().await;
        // What had been handed over before is still there.
        assert_eq!(body.next().await.unwrap().unwrap(), "retry: 2000\n\n");
        drop(client);
    }
}
