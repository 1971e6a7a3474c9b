//! What is measured with whom, and what must come of it.

use std::io;

use crate::{
    field::{Peer, Server},
    work::{
        Figures,
        fanout::{FanOut, Pace},
        feeds::{self, Feed, Feeds},
        negotiate::Negotiate,
        nodes,
        rooms::{self, Rooms},
        small,
    },
};

/// A workload with those who do it.
pub struct Line {
    /// As it is called in tables and by `--only`.
    pub name: &'static str,
    /// Who does it, rallypoint first. Bounds are on the first, and nothing is measured without it.
    pub peers: &'static [Peer],
    /// Does it once.
    pub run: fn(&Server, Length) -> io::Result<Figures>,
    /// The figures that tables show.
    pub shows: &'static [&'static str],
    /// What must hold.
    pub bounds: &'static [Bound],
}

/// How long runs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// To see whether it works.
    Quick,
    /// To be published.
    Full,
}

impl Length {
    fn ns(self) -> u64 {
        match self {
            Self::Quick => 600_000_000,
            Self::Full => 3_000_000_000,
        }
    }

    fn of(self, quick: usize, full: usize) -> usize {
        if self == Self::Quick { quick } else { full }
    }
}

/// What a figure of rallypoint must be.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Which figure.
    pub figure: &'static str,
    /// Against whom; nobody is against the number itself.
    pub against: Option<Peer>,
    /// At least or at most so much.
    pub must: Must,
    /// What it ought to be.
    pub aim: Must,
}

/// A side of a bound.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
}

const fn against(peer: Peer, figure: &'static str, must: Must, aim: Must) -> Bound {
    Bound { figure, against: Some(peer), must, aim }
}

const fn itself(figure: &'static str, must: Must, aim: Must) -> Bound {
    Bound { figure, against: None, must, aim }
}

use Must::{AtLeast, AtMost};

const RELAYS: &[Peer] = &[Peer::Rallypoint, Peer::Floor, Peer::Gather, Peer::Bun, Peer::Ws];
const SPECTATORS: &[Peer] = &[Peer::Rallypoint, Peer::Floor, Peer::Bun, Peer::Nchan];
const THREE: &[Peer] = &[Peer::Rallypoint, Peer::Floor, Peer::Bun];

/// All of it, in the order in which it is run.
pub const LINES: &[Line] = &[
    Line {
        name: "fan-out, one in flight",
        peers: RELAYS,
        run: |server, length| fan_out(server, length, Pace::InFlight(1)),
        shows: &["deliveries/cpu-s", "p50 ms", "p99 ms"],
        bounds: &[
            against(Peer::Bun, "deliveries/cpu-s", AtLeast(0.95), AtLeast(1.0)),
            against(Peer::Floor, "deliveries/cpu-s", AtLeast(0.88), AtLeast(0.88)),
        ],
    },
    Line {
        name: "fan-out, 16 in flight",
        peers: RELAYS,
        run: |server, length| fan_out(server, length, Pace::InFlight(16)),
        shows: &["deliveries/cpu-s", "p50 ms", "p99 ms"],
        bounds: &[against(Peer::Bun, "deliveries/cpu-s", AtLeast(1.0), AtLeast(1.2))],
    },
    Line {
        name: "fan-out, 50 000 deliveries/s",
        peers: RELAYS,
        run: |server, length| fan_out(server, length, Pace::PerSecond(50.0)),
        shows: &["p50 ms", "p99 ms", "server load"],
        bounds: &[
            against(Peer::Bun, "p50 ms", AtMost(1.1), AtMost(1.0)),
            against(Peer::Bun, "p99 ms", AtMost(1.1), AtMost(1.0)),
        ],
    },
    Line {
        name: "100 rooms of 8, 20 moves/s each",
        peers: RELAYS,
        run: |server, length| {
            Rooms { rooms: 100, players: 8, rate: 20, bytes: 48, measured_ns: length.ns() }.run(server)
        },
        shows: &["deliveries/cpu-s", "p50 ms", "p99 ms", "server load"],
        bounds: &[
            against(Peer::Bun, "deliveries/cpu-s", AtLeast(1.0), AtLeast(1.1)),
            against(Peer::Bun, "p50 ms", AtMost(1.1), AtMost(1.1)),
        ],
    },
    Line {
        name: "rooms with p99 below 5 ms",
        peers: RELAYS,
        run: |server, length| {
            let work = Rooms { rooms: 100, players: 8, rate: 20, bytes: 48, measured_ns: length.ns() / 2 };
            rooms::most(server, work, 5.0)
        },
        shows: &["rooms", "server load"],
        bounds: &[against(Peer::Bun, "rooms", AtLeast(1.0), AtLeast(1.15))],
    },
    Line {
        name: "two worker threads",
        peers: &[Peer::Rallypoint, Peer::TwoWorkers],
        run: |server, length| fan_out(server, length, Pace::PerSecond(50.0)),
        shows: &["deliveries/cpu-s", "server load"],
        // Two must do 0.85 of what one does with a second of the processor: the same, seen from the other side.
        bounds: &[against(Peer::TwoWorkers, "deliveries/cpu-s", AtMost(1.0 / 0.85), AtMost(1.0 / 0.95))],
    },
    Line {
        name: "negotiations, 64 pairs",
        peers: &[Peer::Rallypoint, Peer::Bun, Peer::Ws, Peer::PeerJs],
        run: |server, length| Negotiate { pairs: 64, measured_ns: length.ns() }.run(server),
        shows: &["negotiations/cpu-s", "p50 ms", "p99 ms"],
        bounds: &[against(Peer::PeerJs, "negotiations/cpu-s", AtLeast(4.0), AtLeast(6.0))],
    },
    Line {
        name: "negotiations, one pair",
        peers: &[Peer::Rallypoint, Peer::Bun, Peer::Ws, Peer::PeerJs],
        run: |server, length| Negotiate { pairs: 1, measured_ns: length.ns() }.run(server),
        shows: &["p50 ms", "p99 ms"],
        bounds: &[against(Peer::Bun, "p50 ms", AtMost(1.15), AtMost(1.15))],
    },
    Line {
        name: "ping",
        peers: RELAYS,
        run: |server, length| small::pings(server, length.ns()),
        shows: &["p50 ms", "p99 ms"],
        bounds: &[against(Peer::Bun, "p50 ms", AtMost(1.1), AtMost(1.0))],
    },
    Line {
        name: "handshakes with a token",
        peers: THREE,
        run: |server, length| small::handshakes(server, length.of(2000, 10_000)),
        shows: &["handshakes/cpu-s"],
        bounds: &[itself("handshakes/cpu-s", AtLeast(20_000.0), AtLeast(30_000.0))],
    },
    Line {
        name: "5000 joins into one room",
        peers: &[Peer::Rallypoint],
        run: |server, length| small::joins(server, length.of(1000, 5000)),
        shows: &["cpu-s", "times a fifth"],
        bounds: &[itself("times a fifth", AtMost(6.0), AtMost(6.0))],
    },
    Line {
        name: "events to 5000 streams",
        peers: SPECTATORS,
        run: |server, length| {
            Feeds { feed: Feed::Events, spectators: length.of(1000, 5000), measured_ns: length.ns() }.run(server)
        },
        shows: &["deliveries/cpu-s", "p50 ms", "p99 ms"],
        bounds: &[
            against(Peer::Bun, "deliveries/cpu-s", AtLeast(1.0), AtLeast(1.3)),
            against(Peer::Nchan, "deliveries/cpu-s", AtLeast(1.5), AtLeast(1.5)),
        ],
    },
    Line {
        name: "wake-ups of 1000 polls",
        peers: SPECTATORS,
        run: |server, length| Feeds { feed: Feed::Poll, spectators: 1000, measured_ns: length.ns() }.run(server),
        shows: &["deliveries/cpu-s", "p50 ms", "p99 ms"],
        bounds: &[against(Peer::Bun, "deliveries/cpu-s", AtLeast(1.0), AtLeast(1.2))],
    },
    Line {
        name: "idle WebSockets",
        peers: THREE,
        run: |server, length| small::idle(server, length.of(1000, 10_000)),
        shows: &["bytes"],
        bounds: &[itself("bytes", AtMost(2560.0), AtMost(1536.0))],
    },
    Line {
        name: "idle event streams",
        peers: SPECTATORS,
        run: |server, length| feeds::idle(server, Feed::Events, length.of(1000, 10_000)),
        shows: &["bytes"],
        bounds: &[itself("bytes", AtMost(16_384.0), AtMost(5120.0))],
    },
    Line {
        name: "idle polls",
        // Bun answers each of these polls at once, since a message was said before; idle connections are not what is meant.
        peers: &[Peer::Rallypoint, Peer::Nchan],
        run: |server, length| feeds::idle(server, Feed::Poll, length.of(1000, 10_000)),
        shows: &["bytes"],
        bounds: &[itself("bytes", AtMost(16_384.0), AtMost(5120.0))],
    },
    Line {
        name: "two nodes, one event in flight",
        peers: &[Peer::Nodes],
        run: |server, length| nodes::events(server, length.ns()),
        shows: &["p50 ms", "p99 ms", "PUBLISH p50 ms", "times PUBLISH", "engine us/event"],
        // Four ways over loopback in place of two, a script, and a log that is kept.
        bounds: &[itself("times PUBLISH", AtMost(2.5), AtMost(2.5))],
    },
    Line {
        name: "two nodes, 100 events replayed",
        peers: &[Peer::Nodes],
        run: |server, length| nodes::replay(server, length.of(20, 200)),
        shows: &["p50 ms", "p99 ms", "engine us/replay"],
        bounds: &[itself("p50 ms", AtMost(1.0), AtMost(1.0))],
    },
];

fn fan_out(server: &Server, length: Length, pace: Pace) -> io::Result<Figures> {
    FanOut { receivers: 1000, bytes: 64, pace, measured_ns: length.ns() }.run(server)
}
