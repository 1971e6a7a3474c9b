//! What a run is like: numbers that follow from its seed. Small bounds, so that they are met often.

use std::sync::Arc;

use rallypoint::{
    auth::{AdminRights, DuplicatePolicy, Grant, IcePolicy, Pattern, RoomGrant},
    room::RoomSettings,
    session::{
        Bounds,
        limits::{Rate, Rates},
    },
};
use rallypoint_proof::seed::Seed;
use rallypoint_protocol::{PeerId, RoomName, UserName, Verb, Verbs};

/// The handle of the only room.
pub(crate) const ROOM: u32 = 1;

/// The numbers of one run; times are milliseconds, sizes bytes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) guests: usize,
    /// How long accidents happen. After it everybody may come back, and everything must arrive.
    pub(crate) stormy_ms: u64,
    /// Between two accidents of one link, on average.
    pub(crate) accident_ms: u64,
    /// Between two deeds of one guest, on average.
    pub(crate) deed_ms: u64,
    pub(crate) grace_ms: u64,
    pub(crate) budget: usize,
    pub(crate) stalled_ms: u64,
    pub(crate) ping_ms: u64,
    pub(crate) ping_missed: usize,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) settings: Arc<RoomSettings>,
}

impl Plan {
    pub(crate) fn of(seed: &mut Seed) -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        let hasty = seed.percent(30);
        let rates = Rates {
            requests: if hasty { rate(5.0, 10.0) } else { rate(60.0, 120.0) },
            moves: if seed.percent(30) { rate(30.0, 60.0) } else { rate(400.0, 600.0) },
            bytes: if seed.percent(20) { rate(20_000.0, 40_000.0) } else { rate(500_000.0, 1_000_000.0) },
        };
        // Joins and leaves are gathered from three members on, in some of the runs.
        let gather_above = *seed.pick(&[100, 100, 3]);
        let settings = RoomSettings {
            history_events: *seed.pick(&[8, 40, 256]),
            history_bytes: *seed.pick(&[4000, 262_144]),
            gather_above,
            gather_until: gather_above - 1,
            gather_ms: 500,
            typing_ms: 1000,
            ..RoomSettings::default()
        };
        Self {
            guests: 3 + seed.index(4),
            stormy_ms: 25_000,
            accident_ms: *seed.pick(&[2500, 5000, 12_000]),
            deed_ms: *seed.pick(&[60, 150, 300]),
            grace_ms: *seed.pick(&[1500, 4000, 8000]),
            budget: *seed.pick(&[6000, 30_000, 262_144]),
            stalled_ms: 2500,
            ping_ms: *seed.pick(&[700, 1500]),
            ping_missed: 1 + seed.index(3),
            bounds: Arc::new(Bounds { rooms: 2, rates }),
            settings: Arc::new(settings),
        }
    }
}

/// The only room.
pub(crate) fn room() -> RoomName {
    RoomName::new("arena").expect("a good name")
}

/// The peer of session `n`: not random, so that a run can be had again.
pub(crate) fn peer(n: usize) -> PeerId {
    PeerId::parse(&format!("00000000-0000-4000-8000-{n:012x}")).expect("a good id")
}

/// A token that allows everything.
pub(crate) fn grant(guest: usize) -> Arc<Grant> {
    let everywhere = RoomGrant { pattern: Pattern::All, role: None, verbs: Verbs::of(&Verb::ALL) };
    Arc::new(Grant {
        user: UserName::new(&format!("guest-{guest}")).expect("a good name"),
        name: None,
        info: None,
        rooms: Box::new([everywhere]),
        notify: Box::new([]),
        admin: AdminRights::NONE,
        expires_at_ms: 1e15,
        ice: IcePolicy::None,
        dup: DuplicatePolicy::Multi,
        generation: 0,
        lim: None,
    })
}
