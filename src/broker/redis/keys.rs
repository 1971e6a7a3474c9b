//! What the engine calls its keys and channels, and where in a cluster they lie.
//!
//! A log belongs to one of 256 partitions, by its name. All that concerns it bears the partition's hash tag, so that one
//! script may touch all of it, and the tags were chosen so that the partitions are spread evenly over the slots of a
//! Redis Cluster (Redis Cluster specification, "Hash tags").

use std::sync::LazyLock;

use rallypoint_protocol::{RoomName, position::LogKey};

use crate::{broker::Prefix, node::NodeId};

/// Parts that logs are divided into. Fixed: nodes of one cluster must agree.
pub(super) const PARTITIONS: usize = 256;
/// Slots of a Redis Cluster.
const SLOTS: usize = 16_384;

/// The tag of each partition: the shortest whose slot lies in the partition's share of the slots.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tags = vec![String::new(); PARTITIONS];
    let mut vacant = PARTITIONS;
    for candidate in (0_u32..).map(|n| format!("{n:x}")) {
        let tag = &mut tags[slot_of(candidate.as_bytes()) / (SLOTS / PARTITIONS)];
        if tag.is_empty() {
            *tag = candidate;
            vacant -= 1;
        }
        if vacant == 0 {
            break;
        }
    }
    tags
});

fn slot_of(tag: &[u8]) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(tag)) % SLOTS
}

/// One of the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Partition(u8);

impl Partition {
    /// That of a log.
    pub(super) fn of(log: &RoomName) -> Self {
        Self(LogKey::of(log).first())
    }

    /// All of them.
    #[cfg(test)]
    fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// Which.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    fn tag(self) -> &'static str {
        &TAGS[usize::from(self.0)]
    }
}

/// The names that one deployment uses.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: Prefix,
}

impl Names {
    /// With this before all of them.
    pub(super) fn new(prefix: &Prefix) -> Self {
        Self { prefix: prefix.clone() }
    }

    fn name(&self, what: &str, partition: Partition, rest: &str) -> String {
        format!("{}:{{{}}}:{what}{rest}", self.prefix, partition.tag())
    }

    /// Where a log stands.
    pub(super) fn meta(&self, log: &RoomName) -> String {
        self.name("m:", Partition::of(log), log.as_str())
    }

    /// The events of a log.
    pub(super) fn events(&self, log: &RoomName) -> String {
        self.name("e:", Partition::of(log), log.as_str())
    }

    /// Who is in a room on one node.
    pub(super) fn roster(&self, room: &RoomName, node: NodeId) -> String {
        format!("{}{node}", self.rosters(room))
    }

    /// What the names of the rosters of a room begin with.
    pub(super) fn rosters(&self, room: &RoomName) -> String {
        self.name("r:", Partition::of(room), &format!("{room} "))
    }

    /// The nodes that have members in a room.
    pub(super) fn nodes(&self, room: &RoomName) -> String {
        self.name("n:", Partition::of(room), room.as_str())
    }

    /// Since when a partition has been there: an engine that lost everything does not know.
    pub(super) fn since(&self, log: &RoomName) -> String {
        self.name("s", Partition::of(log), "")
    }

    /// Until when which nodes are alive, and those that are dead.
    pub(super) fn leases(&self) -> [String; 2] {
        ["l", "x"].map(|what| format!("{}:{{nodes}}:{what}", self.prefix))
    }

    /// How many logs have begun in a partition by an event.
    pub(super) fn births(&self, log: &RoomName) -> String {
        self.name("b", Partition::of(log), "")
    }

    /// What a publication is known by that may be tried again. Names of logs have no blanks.
    pub(super) fn publisher(&self, log: &RoomName, key: &str) -> String {
        self.name("d:", Partition::of(log), &format!("{log} {key}"))
    }

    /// Where a log's events are heard: that of a user's log on the channel of its partition, which all of them share.
    pub(super) fn channel(&self, log: &RoomName) -> String {
        match log.user() {
            Some(_) => self.users(Partition::of(log)),
            None => self.name("c:", Partition::of(log), log.as_str()),
        }
    }

    /// Where a node hears what is for it alone.
    pub(super) fn node(&self, node: NodeId) -> String {
        format!("{}:b:{node}", self.prefix)
    }

    /// The node that hears a channel alone; none if it is that of a log or partition.
    pub(super) fn node_of(&self, channel: &str) -> Option<NodeId> {
        channel.strip_prefix(&*self.prefix.0)?.strip_prefix(":b:")?.parse().ok()
    }

    /// The log whose events are heard on a channel; none if it is that of a partition.
    pub(super) fn log_of<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&*self.prefix.0)?.split_once("}:c:").map(|(_, log)| log)
    }

    /// Where the events of all users' logs of a partition are heard.
    pub(super) fn users(&self, partition: Partition) -> String {
        self.name("u", partition, "")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn partitions_are_spread_evenly_over_the_slots() {
        let slots: Vec<_> = Partition::all().map(|partition| slot_of(partition.tag().as_bytes())).collect();
        for (partition, slot) in slots.iter().enumerate() {
            assert_eq!(slot / 64, partition);
        }
        // Redis says so: CLUSTER KEYSLOT 123456789.
        assert_eq!(slot_of(b"123456789"), 12_739);
        // Nodes of different versions must agree on these.
        assert_eq!([0, 1, 255].map(|n| Partition(n).tag()), ["2b7", "14", "2ad"]);
    }

    #[test]
    fn whatever_concerns_a_log_lies_in_one_slot() {
        let names = Names::new(&Prefix::default());
        let log = RoomName::new("match/7").unwrap();
        let all = [
            names.meta(&log),
            names.events(&log),
            names.publisher(&log, "ada k"),
            names.nodes(&log),
            names.roster(&log, NodeId::random()),
            names.channel(&log),
            names.since(&log),
            names.births(&log),
        ];
        let tags: HashSet<_> = all.iter().map(|name| name.split(['{', '}']).nth(1).unwrap()).collect();
        assert_eq!(tags.len(), 1, "{all:?}");
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 8);
        assert_eq!(names.log_of(&names.channel(&log)), Some("match/7"));
        let own = RoomName::new("user/ada").unwrap();
        assert_eq!(names.log_of(&names.channel(&own)), None);
        let node = NodeId::random();
        assert_eq!((names.node_of(&names.node(node)), names.node_of(&names.channel(&log))), (Some(node), None));
        assert_eq!(names.channel(&own), names.users(Partition::of(&own)));
    }
}
