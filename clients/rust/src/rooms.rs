//! The rooms this session is in: what binary moves need to know of them.

use std::collections::HashMap;

use rallypoint_protocol::RoomName;

/// Names, handles and the last sequence number sent, by room.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    by_name: HashMap<RoomName, Room>,
    by_handle: HashMap<u32, RoomName>,
}

#[derive(Debug)]
struct Room {
    handle: u32,
    last_seq: u32,
}

impl Rooms {
    pub(crate) fn joined(&mut self, name: &RoomName, handle: u32) {
        self.left(name);
        self.by_name.insert(name.clone(), Room { handle, last_seq: 0 });
        self.by_handle.insert(handle, name.clone());
    }

    pub(crate) fn left(&mut self, name: &RoomName) {
        if let Some(room) = self.by_name.remove(name) {
            self.by_handle.remove(&room.handle);
        }
    }

    pub(crate) fn handle(&self, name: &RoomName) -> Option<u32> {
        self.by_name.get(name).map(|room| room.handle)
    }

    pub(crate) fn name(&self, handle: u32) -> Option<&RoomName> {
        self.by_handle.get(&handle)
    }

    /// The room's handle and the sequence number for the next move: the one given, else one above
    /// the last. The server drops a move that does not rise, so the last one is remembered in
    /// both cases.
    pub(crate) fn next_move(&mut self, name: &RoomName, seq: Option<u32>) -> Option<(u32, u32)> {
        let room = self.by_name.get_mut(name)?;
        let seq = seq.unwrap_or_else(|| room.last_seq.saturating_add(1));
        room.last_seq = room.last_seq.max(seq);
        Some((room.handle, seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_rise_past_those_given() {
        let room = RoomName::new("match/7").unwrap();
        let mut rooms = Rooms::default();
        assert_eq!(rooms.next_move(&room, None), None);
        rooms.joined(&room, 4);
        assert_eq!(rooms.next_move(&room, None), Some((4, 1)));
        assert_eq!(rooms.next_move(&room, Some(40)), Some((4, 40)));
        assert_eq!(rooms.next_move(&room, Some(7)), Some((4, 7)));
        assert_eq!(rooms.next_move(&room, None), Some((4, 41)));
    }

    #[test]
    fn a_room_joined_again_has_a_new_handle_only() {
        let room = RoomName::new("a").unwrap();
        let mut rooms = Rooms::default();
        rooms.joined(&room, 1);
        rooms.joined(&room, 2);
        assert_eq!((rooms.name(1), rooms.name(2)), (None, Some(&room)));
        rooms.left(&room);
        assert_eq!((rooms.handle(&room), rooms.name(2)), (None, None));
    }
}
