//! What the server counts, in the OpenMetrics text that `/metrics` serves.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use rallypoint_protocol::{CloseCode, ErrorCode, moves::Lane};

use crate::{histogram::Histogram, machine};

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A WebSocket.
    WebSocket,
    /// An event stream.
    Sse,
    /// A poll that is being answered.
    Poll,
    /// A stream of the node's state.
    Status,
    /// A stream that traces a room.
    Trace,
}

/// A label set of one transport.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

/// A label set of one number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Code {
    /// The error or close code.
    pub code: u16,
}

/// A label set of one lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

/// A label set of one word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// Of a line of the audit log `written`, `dropped` or `left-out`; of a resume `resumed`, `reset`, `revived`, `moved` or `refused`; of a certificate `taken` or `refused`; of a key
    /// set `taken`, `same` or `failed`.
    pub outcome: &'static str,
}

/// A label set of one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabel {
    hook: String,
}

/// A label set of what became of the events of one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookOutcome {
    hook: String,
    outcome: &'static str,
}

/// A label set of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabel {
    /// Its key in the configuration, without the section.
    pub limit: &'static str,
}

/// All counters and gauges of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Registry,
    /// Open connections by transport.
    connections: [Gauge; 5],
    /// TCP connections, whatever they carry.
    pub sockets: Gauge,
    /// TCP connections that there may be.
    pub connections_max: Gauge,
    /// When the certificate ends, Unix seconds; 0 without TLS.
    pub certificate_expires: Gauge,
    /// Certificates read anew, by outcome.
    certificate_loads: Family<Outcome, Counter>,
    /// Key sets asked for, by outcome.
    key_sets: Family<Outcome, Counter>,
    /// Lines of the audit log, by outcome.
    audit: Family<Outcome, Counter>,
    /// Events for webhooks by what became of them, how many wait, and for how long the oldest has.
    webhooks: Family<HookOutcome, Counter>,
    webhooks_queued: Family<HookLabel, Gauge>,
    webhooks_oldest: Family<HookLabel, Gauge<f64, AtomicU64>>,
    /// Handshakes of TLS that failed.
    pub tls_failed: Counter,
    /// Whether new guests are refused, by the limit that is reached.
    shedding: Family<LimitLabel, Gauge>,
    /// Resident memory of the process.
    pub resident_bytes: Gauge,
    /// How much of it there may be.
    pub resident_bytes_max: Gauge,
    /// Share of the processors that the process keeps busy.
    pub cpu_busy: Gauge<f64, AtomicU64>,
    /// Sessions.
    pub sessions: Gauge,
    /// Sessions whose socket is lost and that may come back.
    pub sessions_lost: Gauge,
    /// Tickets that this node keeps.
    pub tickets: Gauge,
    /// Attempts to take a lost session up again.
    pub resumes: Family<Outcome, Counter>,
    /// Rooms on this node.
    pub rooms: Gauge,
    /// Members of all rooms.
    pub members: Gauge,
    /// Spectators of all rooms.
    pub spectators: Gauge,
    /// Offers, answers and candidates relayed.
    pub signals: Counter,
    /// Moves taken, by lane.
    moves: [Counter; 2],
    /// Latest moves that took the place of an older one in an outbox.
    pub moves_replaced: Counter,
    /// Moves dropped for an old sequence number.
    pub moves_stale: Counter,
    /// The most bytes that ever waited for one connection whose socket was full.
    pub outbox_bytes_max: Gauge,
    /// Events that logs took.
    pub events: Counter,
    /// Notifications published.
    pub notifications: Counter,
    /// Requests and messages refused.
    pub refused: Family<Code, Counter>,
    /// What limits held back.
    pub limited: Family<LimitLabel, Counter>,
    /// WebSockets closed by the server.
    pub closes: Family<Code, Counter>,
    /// Frames read from WebSockets.
    pub frames_received: Counter,
    /// Bytes read from WebSockets.
    pub bytes_received: Counter,
    /// Frames written to WebSockets.
    pub frames_sent: Counter,
    /// Bytes written to WebSockets.
    pub bytes_sent: Counter,
    /// Bytes that all event logs hold.
    pub log_bytes: Gauge,
    /// Round trips of native pings.
    pub trips: Histogram,
    /// Seconds for which the process kept a processor busy.
    worked: Counter<f64, AtomicU64>,
    /// Unix time at which the process started, seconds.
    pub started: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Counters at zero, registered under `rallypoint_`.
    pub fn new() -> Self {
        let mut m = Self::default();
        let mut registry = Registry::with_prefix("rallypoint");
        let connections = Family::<TransportLabel, Gauge>::default();
        m.connections = ["websocket", "sse", "poll", "status", "trace"]
            .map(|transport| connections.get_or_create_owned(&TransportLabel { transport }));
        registry.register("connections", "Open connections by transport", connections);
        registry.register("sockets", "Open TCP connections", m.sockets.clone());
        registry.register("connections_max", "TCP connections that there may be", m.connections_max.clone());
        let expires = m.certificate_expires.clone();
        registry.register("tls_certificate_expires_seconds", "Unix time at which the certificate ends, or 0", expires);
        let loads = m.certificate_loads.clone();
        registry.register("tls_certificate_loads", "Certificates read anew, by outcome", loads);
        registry.register("tls_handshakes_failed", "Handshakes of TLS that failed", m.tls_failed.clone());
        registry.register("jwks_fetches", "Key sets asked for, by outcome", m.key_sets.clone());
        registry.register("shedding", "Whether new guests are refused, by the limit's key", m.shedding.clone());
        registry.register("resident_bytes", "Resident memory of the process", m.resident_bytes.clone());
        registry.register("resident_bytes_max", "Resident memory that there may be", m.resident_bytes_max.clone());
        registry.register("cpu_busy", "Share of the processors that the process keeps busy", m.cpu_busy.clone());
        registry.register("audit_lines", "Lines of the audit log, by what became of them", m.audit.clone());
        registry.register("webhooks", "Events for webhooks, by what became of them", m.webhooks.clone());
        registry.register("webhooks_queued", "Events that wait for a webhook", m.webhooks_queued.clone());
        let oldest = m.webhooks_oldest.clone();
        registry.register("webhooks_oldest_seconds", "How long the oldest event for a webhook has waited", oldest);
        registry.register("sessions", "Sessions", m.sessions.clone());
        registry.register("sessions_lost", "Sessions that wait for their client", m.sessions_lost.clone());
        registry.register("tickets", "Tickets that this node keeps", m.tickets.clone());
        registry.register("resumes", "Attempts to take a session up again, by outcome", m.resumes.clone());
        registry.register("rooms", "Rooms on this node", m.rooms.clone());
        registry.register("members", "Members of all rooms", m.members.clone());
        registry.register("spectators", "Spectators of all rooms", m.spectators.clone());
        registry.register("signals", "Offers, answers and candidates relayed", m.signals.clone());
        let moves = Family::<LaneLabel, Counter>::default();
        m.moves = ["latest", "reliable"].map(|lane| moves.get_or_create_owned(&LaneLabel { lane }));
        registry.register("moves", "Moves taken, by lane", moves);
        registry.register("moves_replaced", "Queued latest moves replaced by newer ones", m.moves_replaced.clone());
        registry.register("moves_stale", "Moves dropped for an old sequence number", m.moves_stale.clone());
        registry.register("outbox_bytes_max", "Most bytes that waited for one full socket", m.outbox_bytes_max.clone());
        registry.register("events", "Events that logs took", m.events.clone());
        registry.register("notifications", "Notifications published", m.notifications.clone());
        registry.register("refused", "Requests and messages refused, by error code", m.refused.clone());
        registry.register("limited", "What limits held back, by the limit's key", m.limited.clone());
        registry.register("closes", "WebSockets closed by the server, by close code", m.closes.clone());
        registry.register("frames_received", "Messages read from WebSockets", m.frames_received.clone());
        registry.register("bytes_received", "Bytes read from WebSockets", m.bytes_received.clone());
        registry.register("frames_sent", "Messages, pings and pongs written to WebSockets", m.frames_sent.clone());
        registry.register("bytes_sent", "Bytes written to WebSockets", m.bytes_sent.clone());
        registry.register("log_bytes", "Bytes that all event logs hold", m.log_bytes.clone());
        let unit = Unit::Seconds;
        registry.register_with_unit("latency", "Round trips of pings to WebSockets", unit, m.trips.clone());
        registry.register("cpu_seconds", "Processor time of the process", m.worked.clone());
        registry.register("start_time_seconds", "Unix time at which the process started", m.started.clone());
        m.registry = registry;
        m
    }

    /// Notes how many bytes wait for a connection whose socket is full.
    pub fn waits(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.outbox_bytes_max.inner().fetch_max(bytes, Ordering::Relaxed);
    }

    /// Counts a move. There are far more of them than of anything else.
    pub fn moved(&self, lane: Lane) {
        self.moves[usize::from(lane == Lane::Reliable)].inc();
    }

    /// How many moves were taken.
    pub fn moves_taken(&self) -> u64 {
        self.moves.iter().map(|lane| lane.get()).sum()
    }

    /// Counts a refusal.
    pub fn refuse(&self, code: ErrorCode) {
        self.refused.get_or_create(&Code { code: code.number() }).inc();
    }

    /// Counts what a limit held back.
    pub fn limited(&self, limit: &'static str) {
        self.limited.get_or_create(&LimitLabel { limit }).inc();
    }

    /// Notes whether a limit has new guests refused.
    pub fn shedding(&self, limit: &'static str, is_reached: bool) {
        self.shedding.get_or_create(&LimitLabel { limit }).set(is_reached.into());
    }

    /// Counts a certificate read anew.
    pub fn certificate_loads(&self, outcome: &'static str) {
        self.certificate_loads.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a key set that was asked for.
    pub fn key_sets(&self, outcome: &'static str) {
        self.key_sets.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts lines of the audit log.
    pub fn audit(&self, outcome: &'static str, count: u64) {
        self.audit.get_or_create(&Outcome { outcome }).inc_by(count);
    }

    /// Counts events of a webhook.
    pub fn webhooks(&self, hook: &str, outcome: &'static str, count: u64) {
        self.webhooks.get_or_create(&HookOutcome { hook: hook.to_owned(), outcome }).inc_by(count);
    }

    /// Notes how many events wait for a webhook, and how long the oldest has, in seconds.
    pub fn webhooks_wait(&self, hook: &str, queued: usize, oldest: f64) {
        let label = HookLabel { hook: hook.to_owned() };
        self.webhooks_queued.get_or_create(&label).set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.webhooks_oldest.get_or_create(&label).set(oldest);
    }

    /// Counts a close.
    pub fn closed(&self, code: CloseCode) {
        self.closes.get_or_create(&Code { code: code.number() }).inc();
    }

    /// The gauge of open connections of a transport.
    pub fn open(&self, transport: Transport) -> Gauge {
        self.connections[transport as usize].clone()
    }

    /// OpenMetrics text.
    pub fn render(&self) -> String {
        if let Some(seconds) = machine::worked() {
            self.worked.inner().store(seconds.to_bits(), Ordering::Relaxed);
        }
        let mut out = String::new();
        encode(&mut out, &self.registry).expect("writing to a string cannot fail");
        out
    }
}
