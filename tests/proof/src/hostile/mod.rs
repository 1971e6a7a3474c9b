//! What hostile clients do to a server, one attack after the other, next to a normal pair. Each attack tells what it was
//! answered and demands what protocol/README.md says; afterwards the server must be as it was before.

pub mod doors;
pub mod feeds;
pub mod floods;
pub mod frames;
pub mod ground;
pub mod http2;
pub mod knocks;
pub mod pair;
pub mod rooms;
pub mod sockets;

use std::{io, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use ground::{Ground, Report};

/// An attack.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// Carries one round of it out.
    pub run: fn(Arc<Ground>) -> BoxFuture<'static, io::Result<Report>>,
}

macro_rules! attacks {
    ($($name:literal => $run:path,)*) => {
        /// All attacks, in the order in which they are carried out.
        pub const ATTACKS: &[Attack] = &[$(Attack { name: $name, run: |ground| Box::pin($run(ground)) },)*];
    };
}

attacks! {
    "a byte of the head now and then" => doors::slow_heads,
    "a byte of the body now and then" => doors::slow_bodies,
    "silent sockets" => doors::silent_sockets,
    "silent WebSockets" => doors::silent_websockets,
    "floods of headers" => doors::header_floods,
    "HTTP/2 streams that are reset at once" => http2::resets,
    "answers that nobody reads" => http2::unread_answers,
    "half-open sockets" => sockets::half_open,
    "a native ping inside a frame" => sockets::ping_inside_a_frame,
    "a flood of messages" => floods::messages,
    "a flood of moves" => floods::moves,
    "a flood of message pings" => floods::pings,
    "a flood of native pings" => floods::native_pings,
    "a flood of native pongs" => floods::native_pongs,
    "a flood of moves to another room" => floods::astray,
    "a flood of rubbish" => floods::rubbish,
    "a flood of bytes" => floods::bytes,
    "deep nesting" => frames::deep,
    "frames of 64 KiB + 1" => frames::too_long,
    "huge cursors" => feeds::huge_cursors,
    "thousands of room=" => feeds::many_rooms,
    "ghosts" => rooms::ghosts,
    "joins and leaves" => rooms::revolving_door,
    "a crowd in one room" => rooms::crowds,
    "too many rooms" => rooms::too_many,
    "full logs" => rooms::full_logs,
    "18000 connects" => knocks::bursts,
}

/// `room.members` of the server under attack.
pub const MEMBERS: usize = 250;
/// Its `limits.rooms`.
pub const ROOMS: usize = 1000;
/// Its `limits.log_bytes`.
pub const LOG_BYTES: usize = 4 << 20;
/// Its settings that differ from the defaults: short deadlines, so that the end of each attack is seen soon, and small
/// ceilings, so that they are reached. Rates and sizes are the defaults.
pub const SETTINGS: &[(&str, &str)] = &[
    ("RALLYPOINT_LIMITS__HEADER_DEADLINE_MS", "1000"),
    ("RALLYPOINT_LIMITS__AUTH_DEADLINE_MS", "1000"),
    ("RALLYPOINT_LIMITS__PING_INTERVAL_MS", "1000"),
    ("RALLYPOINT_LIMITS__STALLED_MS", "5000"),
    ("RALLYPOINT_LIMITS__RESUME_GRACE_MS", "1000"),
    ("RALLYPOINT_LIMITS__ROOMS", "1000"),
    ("RALLYPOINT_LIMITS__LOG_BYTES", "4194304"),
    ("RALLYPOINT_ROOM__MEMBERS", "250"),
    ("RALLYPOINT_ROOM__HISTORY_MS", "1500"),
    ("RALLYPOINT_LOG__FILTER", "warn"),
];
/// How long the server may take until it is as before: deadlines, grace and age of logs above, and the minute after which
/// nothing else happens to who is idle is not among them.
pub const SETTLES: Duration = Duration::from_secs(20);
