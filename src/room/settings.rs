//! The settings of a room: `[room]`, and what a `[[rooms]]` rule puts in its place. A room is given
//! its settings when it is made; `config` reads them.

use serde::Deserialize;

use super::history::Bounds;

/// Writes a struct of numbers, its defaults and the range of each, in one table: the three cannot
/// drift apart.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $key:ident: $type:ty = $default:literal, $range:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$about])* pub $key: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $name {
            /// Every key with the smallest and the largest value that a configuration may give it.
            pub const RANGES: &'static [(&'static str, std::ops::RangeInclusive<u64>)] =
                &[$((stringify!($key), $range),)*];
        }
    };
}
pub(crate) use settings;

settings! {
    /// What one room keeps and reports. Sizes are bytes, times milliseconds.
    RoomSettings {
        /// Members at the same time.
        members: usize = 1000, 1..=1_000_000;
        /// Events kept for those who come late or come back.
        history_events: usize = 256, 0..=65_536;
        /// Bytes of events kept.
        history_bytes: usize = 262_144, 0..=67_108_864;
        /// How long an event is kept.
        history_ms: u64 = 300_000, 0..=604_800_000;
        /// Bytes of latest moves kept for newcomers.
        state_bytes: usize = 65_536, 0..=16_777_216;
        /// Keys under which one member's latest moves are kept.
        state_keys: usize = 16, 0..=1024;
        /// Size of a member's public state.
        peer_state: usize = 512, 0..=4096;
        /// Moves go out at most this often, together; 0 sends each at once.
        tick_ms: u64 = 0, 0..=1000;
        /// How long "is typing" holds without a repeat.
        typing_ms: u64 = 6000, 1000..=60_000;
        /// How often latencies are reported.
        latency_ms: u64 = 5000, 1000..=600_000;
        /// Largest room in which latencies are reported; 0 turns the report off.
        latency_members: usize = 32, 0..=1000;
        /// Above this many members, joins and leaves are gathered into `presence` events.
        gather_above: usize = 100, 1..=1_000_000;
        /// Below this many members they are told one by one again; smaller than `gather_above`.
        gather_until: usize = 80, 0..=999_999;
        /// The shortest time between two `presence` events.
        gather_ms: u64 = 1000, 100..=60_000;
    }
}

impl RoomSettings {
    /// How much the room's log keeps.
    pub fn bounds(&self) -> Bounds {
        Bounds { events: self.history_events, bytes: self.history_bytes, age_ms: self.history_ms }
    }
}
