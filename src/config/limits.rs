//! The node's limits: the sections `[limits]` and `[user]`. Everything that a guest can make the
//! server hold, or wait for, has its number here.

use serde::Deserialize;

use crate::room::settings::settings;

settings! {
    /// Limits of the node, of a connection and of a session. Sizes are bytes, times milliseconds.
    Limits {
        /// A WebSocket frame or message from a client, and the body of a POST.
        frame: usize = 65_536, 1024..=1_048_576;
        /// The payload of a move.
        move_payload: usize = 4096, 64..=1_048_576;
        /// The text of a chat message or notification.
        text: usize = 4096, 64..=65_536;
        /// The data of an offer, answer or candidate.
        signal: usize = 65_536, 1024..=1_048_576;
        /// How deep JSON and MessagePack may nest.
        json_depth: usize = 16, 4..=64;
        /// Rooms that a session may be in, and that a subscription may name. A `resume` names at most 64.
        rooms_per_session: usize = 16, 1..=64;
        /// Rooms on this node.
        rooms: usize = 100_000, 1..=10_000_000;
        /// Bytes that may wait to be sent to one connection.
        outbound_budget: usize = 262_144, 16_384..=67_108_864;
        /// How long a connection may take nothing while something waits for it.
        stalled_ms: u64 = 10_000, 1000..=300_000;
        /// From the opening of a WebSocket to its `auth` or `resume`.
        auth_deadline_ms: u64 = 5000, 500..=60_000;
        /// From the opening of a connection to a complete request head, and from there to the end of
        /// its body; also the idle time between requests.
        header_deadline_ms: u64 = 10_000, 1000..=120_000;
        /// Between native pings.
        ping_interval_ms: u64 = 15_000, 1000..=300_000;
        /// Pings without an answer after which a connection is dead.
        ping_missed: usize = 2, 1..=10;
        /// Between heartbeats of an event stream.
        sse_heartbeat_ms: u64 = 15_000, 1000..=300_000;
        /// How long a poll is held when it does not say.
        poll_wait_ms: u64 = 25_000, 0..=300_000;
        /// How long a poll may be held.
        poll_wait_max_ms: u64 = 50_000, 0..=300_000;
        /// Requests per second of a session, on average.
        requests_per_second: f64 = 60.0, 1..=100_000;
        /// Requests of a session at once.
        requests_burst: f64 = 120.0, 1..=1_000_000;
        /// Moves per second of a session, on average.
        moves_per_second: f64 = 120.0, 1..=100_000;
        /// Moves of a session at once.
        moves_burst: f64 = 240.0, 1..=1_000_000;
        /// Bytes per second from a session, on average.
        bytes_per_second: f64 = 524_288.0, 1024..=1_073_741_824;
        /// Connections that this node accepts per second, on average.
        accepts_per_second: f64 = 2000.0, 1..=1_000_000;
        /// Connections that this node accepts at once.
        accepts_burst: f64 = 4000.0, 1..=1_000_000;
        /// Connections from one address per second, on average.
        accepts_per_second_per_ip: f64 = 200.0, 1..=1_000_000;
        /// Connections from one address at once.
        accepts_burst_per_ip: f64 = 1000.0, 1..=1_000_000;
        /// HTTP requests from one address per second, on average.
        requests_per_second_per_ip: f64 = 1000.0, 1..=1_000_000;
        /// HTTP requests from one address at once.
        requests_burst_per_ip: f64 = 2000.0, 1..=1_000_000;
        /// HTTP requests with tokens of one user per second, on average; tokens with an admin right
        /// are not counted.
        requests_per_second_per_user: f64 = 200.0, 1..=1_000_000;
        /// HTTP requests with tokens of one user at once.
        requests_burst_per_user: f64 = 400.0, 1..=1_000_000;
        /// `GET /v1/ice-servers` with tokens of one user per second, on average.
        ice_requests_per_second_per_user: f64 = 1.0, 1..=1_000_000;
        /// `GET /v1/ice-servers` with tokens of one user at once.
        ice_requests_burst_per_user: f64 = 30.0, 1..=1_000_000;
        /// Connections to this node; the limit on open files may lower it.
        connections: usize = 100_000, 1..=10_000_000;
        /// Connections from one address.
        connections_per_ip: usize = 1000, 1..=10_000_000;
        /// Connections of one user.
        connections_per_user: usize = 16, 1..=100_000;
        /// Resident memory from nearly which on no new guest is taken on; 0: nine tenths of what the machine, or the
        /// control group that the server runs in, has.
        memory: usize = 0, 0..=1_099_511_627_776;
        /// Per cent of the processors from which on no new guest is taken on; 100: however busy they are.
        cpu_percent: u64 = 90, 10..=100;
        /// Tickets that this node keeps.
        tickets: usize = 100_000, 1..=10_000_000;
        /// Tickets of one user; a new one takes the place of the one that was used least recently.
        tickets_per_user: usize = 64, 1..=1_000_000;
        /// From the issue of a ticket to its first use.
        ticket_first_use_ms: u64 = 30_000, 1000..=600_000;
        /// Bytes of all event logs on this node.
        log_bytes: usize = 268_435_456, 1_048_576..=1_099_511_627_776;
        /// How long connections are given to leave when the server stops.
        drain_ms: u64 = 20_000, 0..=600_000;
        /// From the expiry of a token to the end of its session.
        expiry_grace_ms: u64 = 25_000, 0..=600_000;
        /// How long a lost session is kept for its return; 0: not at all.
        resume_grace_ms: u64 = 10_000, 0..=600_000;
        /// Lost sessions of one user that are kept.
        lost_per_user: usize = 2, 1..=100_000;
        /// Lost sessions that this node keeps.
        lost: usize = 20_000, 1..=10_000_000;
        /// The data of a notification, as JSON.
        notification_data: usize = 16_384, 0..=1_048_576;
        /// Streams that trace a room, on this node.
        traces: usize = 16, 1..=1000;
        /// Streams that trace one room.
        traces_per_room: usize = 4, 1..=100;
        /// Frames that may wait to be told to one of them; more are skipped.
        trace_queue: usize = 1024, 16..=65_536;
        /// Members that one move may name.
        move_receivers: usize = 64, 1..=1024;
        /// Bytes that the kernel may hold unsent for one connection (TCP_NOTSENT_LOWAT).
        unsent_mark: usize = 16_384, 1024..=16_777_216;
    }
}

settings! {
    /// What is kept of a user's notifications.
    UserSettings {
        /// Notifications kept.
        history_events: usize = 64, 0..=65_536;
        /// How long one is kept, in milliseconds.
        history_ms: u64 = 3_600_000, 0..=604_800_000;
    }
}
