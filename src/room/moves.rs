//! The latest move of every member and key, so that whoever comes late sees the state at once.

use rallypoint_protocol::{PeerId, payload::Payload};
use rustc_hash::FxHashMap;

/// A kept move.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// Whose.
    pub peer: PeerId,
    /// The sender's number on this node.
    pub from: u32,
    /// The sender's key.
    pub key: u16,
    /// The sender's sequence number.
    pub seq: u32,
    /// When, Unix milliseconds.
    pub time: u64,
    /// What.
    pub payload: Payload,
}

/// All kept moves of a room, bounded in bytes and in keys per member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moves {
    /// By member handle; a member has few keys, so a list is enough.
    kept: FxHashMap<u32, Vec<Latest>>,
    bytes: usize,
    version: u64,
}

impl Moves {
    /// Rises with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The kept moves, ordered by member and key.
    pub fn sorted(&self) -> Vec<&Latest> {
        let mut all: Vec<_> = self.kept.values().flatten().collect();
        all.sort_unstable_by_key(|latest| (latest.from, latest.key));
        all
    }

    /// Keeps a move in place of the one it follows. What does not fit the bounds is not kept, and
    /// neither is its predecessor, since an old move would pass for the newest.
    pub fn keep(&mut self, latest: Latest, keys_max: usize, bytes_max: usize) {
        self.version += 1;
        let of_member = self.kept.entry(latest.from).or_default();
        let gives_way = match of_member.iter().position(|kept| kept.key == latest.key) {
            None if of_member.len() >= keys_max => {
                of_member.iter().enumerate().min_by_key(|(_, kept)| kept.seq).map(|(at, _)| at)
            }
            same_key => same_key,
        };
        if let Some(at) = gives_way {
            self.bytes -= of_member.swap_remove(at).payload.len();
        }
        if self.bytes + latest.payload.len() <= bytes_max {
            self.bytes += latest.payload.len();
            of_member.push(latest);
        }
    }

    /// Whether a move of this member and key is kept that is as new.
    pub fn has(&self, from: u32, key: u16, seq: u32) -> bool {
        self.kept.get(&from).is_some_and(|kept| kept.iter().any(|latest| latest.key == key && latest.seq >= seq))
    }

    /// Forgets a member that left.
    pub fn forget(&mut self, from: u32) {
        if let Some(of_member) = self.kept.remove(&from) {
            self.bytes -= of_member.iter().map(|kept| kept.payload.len()).sum::<usize>();
            self.version += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(from: u32, key: u16, seq: u32, size: usize) -> Latest {
        let payload = Payload::MsgPack(vec![0; size].into());
        Latest { peer: PeerId::random(), from, key, seq, time: 0, payload }
    }

    fn kept(moves: &Moves) -> Vec<(u32, u16, u32)> {
        moves.sorted().into_iter().map(|l| (l.from, l.key, l.seq)).collect()
    }

    #[test]
    fn the_newest_of_each_key_stays() {
        let mut moves = Moves::default();
        for (from, key, seq) in [(1, 0, 1), (1, 0, 2), (2, 0, 1), (1, 1, 3)] {
            moves.keep(latest(from, key, seq, 1), 16, 100);
        }
        assert_eq!(kept(&moves), [(1, 0, 2), (1, 1, 3), (2, 0, 1)]);
        moves.forget(1);
        assert_eq!(kept(&moves), [(2, 0, 1)]);
        assert_eq!(moves.bytes, 1);
    }

    #[test]
    fn a_move_that_does_not_fit_takes_its_predecessor_with_it() {
        let mut moves = Moves::default();
        moves.keep(latest(1, 0, 1, 5), 16, 10);
        moves.keep(latest(2, 0, 1, 5), 16, 10);
        moves.keep(latest(1, 0, 2, 6), 16, 10);
        assert_eq!(kept(&moves), [(2, 0, 1)]);
        assert_eq!(moves.bytes, 5);
    }

    #[test]
    fn a_member_keeps_so_many_keys() {
        let mut moves = Moves::default();
        for key in 0..4 {
            moves.keep(latest(1, key, u32::from(key), 1), 2, 100);
        }
        assert_eq!(kept(&moves), [(1, 2, 2), (1, 3, 3)]);
    }
}
