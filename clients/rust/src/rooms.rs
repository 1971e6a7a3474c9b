//! The rooms of this session: what moves need to know of them, and what a resume says of them.

use std::collections::{BTreeMap, HashMap};

use rallypoint_protocol::{Position, RoomName, request::RESUMED_ROOMS_MAX};

/// The rooms that this session is in or watches.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    by_name: HashMap<RoomName, Room>,
    by_handle: HashMap<u32, RoomName>,
}

#[derive(Debug)]
struct Room {
    part: Part,
    position: Position,
    last_seq: u32,
    /// Where the server first showed the room on the present socket. What came since then came live.
    shown: Option<Position>,
}

/// What we are in a room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// A member; the handle is unknown between a resume that lost something and the room's `joined`.
    Member(Option<u32>),
    /// A spectator, with the rate of `state` that was asked for.
    Watcher(Option<f64>),
}

/// Where a `joined` or `watching` says that its room stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    pub(crate) position: Position,
    /// It came with all that was missed up to there.
    pub(crate) caught_up: bool,
}

impl Picture {
    /// Where we stand after it. If something is missing a `reset` follows, and until that is here we stand where we
    /// stood: were the socket lost in between, the next resume would otherwise pass over the gap in silence.
    fn standing(self, before: Option<&Room>) -> Position {
        before.filter(|_| !self.caught_up).map_or(self.position, |room| room.position)
    }

    fn shown(self, before: Option<&Room>) -> Option<Position> {
        before.and_then(|room| room.shown).or(Some(self.position))
    }
}

impl Rooms {
    pub(crate) fn joined(&mut self, name: &RoomName, handle: u32, picture: Picture) {
        let before = self.left(name);
        // The server drops moves that do not rise, also after a resume, so the count goes on.
        let last_seq = before.as_ref().map_or(0, |room| room.last_seq);
        let (position, shown) = (picture.standing(before.as_ref()), picture.shown(before.as_ref()));
        let part = Part::Member(Some(handle));
        self.by_name.insert(name.clone(), Room { part, position, last_seq, shown });
        self.by_handle.insert(handle, name.clone());
    }

    pub(crate) fn watching(&mut self, name: &RoomName, picture: Picture) {
        let before = self.left(name);
        let (position, shown) = (picture.standing(before.as_ref()), picture.shown(before.as_ref()));
        let part = match before {
            Some(Room { part: Part::Watcher(rate), .. }) => Part::Watcher(rate),
            _ => Part::Watcher(None),
        };
        self.by_name.insert(name.clone(), Room { part, position, last_seq: 0, shown });
    }

    /// How often the room's `state` was asked for; the answer does not repeat it.
    pub(crate) fn rate(&mut self, name: &RoomName, rate: Option<f64>) {
        if let Some(Room { part: Part::Watcher(known), .. }) = self.by_name.get_mut(name) {
            *known = rate;
        }
    }

    pub(crate) fn leave(&mut self, name: &RoomName) {
        self.left(name);
    }

    fn left(&mut self, name: &RoomName) -> Option<Room> {
        let room = self.by_name.remove(name)?;
        if let Part::Member(Some(handle)) = room.part {
            self.by_handle.remove(&handle);
        }
        Some(room)
    }

    /// The log has come to here.
    pub(crate) fn at(&mut self, name: &RoomName, position: Position) {
        if let Some(room) = self.by_name.get_mut(name) {
            room.position = position;
        }
    }

    pub(crate) fn part(&self, name: &RoomName) -> Option<Part> {
        self.by_name.get(name).map(|room| room.part)
    }

    pub(crate) fn is_member(&self, name: &RoomName) -> bool {
        matches!(self.part(name), Some(Part::Member(_)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn handle(&self, name: &RoomName) -> Option<u32> {
        if let Some(Part::Member(handle)) = self.part(name) { handle } else { None }
    }

    pub(crate) fn name(&self, handle: u32) -> Option<&RoomName> {
        self.by_handle.get(&handle)
    }

    /// The sequence number for the next move: the one given, else one above the last. The server
    /// drops a move that does not rise, so the last one is remembered in both cases.
    pub(crate) fn next_seq(&mut self, name: &RoomName, seq: Option<u32>) -> Option<u32> {
        let room = self.by_name.get_mut(name).filter(|room| matches!(room.part, Part::Member(_)))?;
        let seq = seq.unwrap_or_else(|| room.last_seq.saturating_add(1));
        room.last_seq = room.last_seq.max(seq);
        Some(seq)
    }

    /// The socket is lost: the next one has shown nothing yet.
    pub(crate) fn hide(&mut self) {
        self.by_name.values_mut().for_each(|room| room.shown = None);
    }

    /// The handles may be others now: moves wait for the rooms' `joined`.
    pub(crate) fn forget_handles(&mut self) {
        self.by_handle.clear();
        for room in self.by_name.values_mut() {
            if let Part::Member(handle) = &mut room.part {
                *handle = None;
            }
        }
    }

    pub(crate) fn is_hidden(&self, name: &RoomName) -> bool {
        self.by_name.get(name).is_some_and(|room| room.shown.is_none())
    }

    /// Where the server first showed a room on the present socket, if it has.
    pub(crate) fn shown_at(&self, name: &RoomName) -> Option<Position> {
        self.by_name.get(name)?.shown
    }

    /// Rooms that the present socket has not shown, by name.
    pub(crate) fn hidden(&self) -> Vec<RoomName> {
        let hidden = self.by_name.iter().filter(|(_, room)| room.shown.is_none());
        let mut names: Vec<_> = hidden.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// All rooms by name: what we are in them, and where they stand.
    pub(crate) fn all(&self) -> BTreeMap<RoomName, (Part, Position)> {
        self.by_name.iter().map(|(name, room)| (name.clone(), (room.part, room.position))).collect()
    }

    /// What `resume` says: where all rooms stand, and which of them are only watched.
    pub(crate) fn positions(&self) -> (BTreeMap<RoomName, Position>, Vec<RoomName>) {
        let rooms = || self.all().into_iter().take(RESUMED_ROOMS_MAX);
        let watched = rooms().filter(|(_, (part, _))| matches!(part, Part::Watcher(_)));
        (rooms().map(|(name, (_, position))| (name, position)).collect(), watched.map(|(name, _)| name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(seq: u64) -> Picture {
        Picture { position: position(seq), caught_up: true }
    }

    fn name(text: &str) -> RoomName {
        RoomName::new(text).unwrap()
    }

    fn position(seq: u64) -> Position {
        Position { seq, ..Position::start(1) }
    }

    #[test]
    fn sequence_numbers_rise_past_those_given_and_over_a_resume() {
        let room = name("match/7");
        let mut rooms = Rooms::default();
        assert_eq!(rooms.next_seq(&room, None), None);
        rooms.joined(&room, 4, whole(1));
        assert_eq!(rooms.next_seq(&room, None), Some(1));
        assert_eq!(rooms.next_seq(&room, Some(40)), Some(40));
        assert_eq!(rooms.next_seq(&room, Some(7)), Some(7));
        rooms.forget_handles();
        assert_eq!(rooms.next_seq(&room, None), Some(41));
        rooms.joined(&room, 9, whole(2));
        assert_eq!(rooms.next_seq(&room, None), Some(42));
        rooms.leave(&room);
        rooms.joined(&room, 10, whole(3));
        assert_eq!(rooms.next_seq(&room, None), Some(1));
    }

    #[test]
    fn a_picture_with_a_hole_moves_nothing_until_the_reset() {
        let room = name("a");
        let mut rooms = Rooms::default();
        let hole = |seq| Picture { caught_up: false, ..whole(seq) };
        rooms.joined(&room, 1, hole(3));
        assert_eq!(rooms.positions().0[&room], position(3), "nothing was known, so nothing is missing");
        rooms.joined(&room, 1, hole(9));
        assert_eq!(rooms.positions().0[&room], position(3));
        rooms.at(&room, position(9));
        assert_eq!(rooms.positions().0[&room], position(9));
    }

    #[test]
    fn a_room_joined_again_has_its_new_handle_only() {
        let room = name("a");
        let mut rooms = Rooms::default();
        rooms.joined(&room, 1, whole(0));
        rooms.joined(&room, 2, whole(0));
        assert_eq!((rooms.name(1), rooms.name(2)), (None, Some(&room)));
        rooms.forget_handles();
        assert_eq!((rooms.name(2), rooms.handle(&room), rooms.is_member(&room)), (None, None, true));
        rooms.joined(&room, 3, whole(0));
        assert_eq!((rooms.name(3), rooms.handle(&room)), (Some(&room), Some(3)));
        rooms.leave(&room);
        assert_eq!((rooms.handle(&room), rooms.name(3), rooms.is_empty()), (None, None, true));
    }

    #[test]
    fn a_resume_names_all_rooms_and_tells_the_watched_ones() {
        let mut rooms = Rooms::default();
        rooms.joined(&name("a"), 1, whole(1));
        rooms.watching(&name("b"), whole(2));
        rooms.rate(&name("b"), Some(5.0));
        rooms.at(&name("a"), position(7));
        rooms.at(&name("unknown"), position(9));
        let expected = [(name("a"), position(7)), (name("b"), position(2))];
        assert_eq!(rooms.positions(), (expected.into(), vec![name("b")]));
        // What `watching` does not repeat stays known.
        rooms.watching(&name("b"), whole(3));
        assert_eq!(rooms.part(&name("b")), Some(Part::Watcher(Some(5.0))));
        assert!(!rooms.is_member(&name("b")) && rooms.next_seq(&name("b"), None).is_none());
        (0..2 * RESUMED_ROOMS_MAX).for_each(|n| rooms.watching(&name(&format!("w/{n}")), whole(0)));
        let (positions, watched) = rooms.positions();
        assert_eq!((positions.len(), watched.len()), (RESUMED_ROOMS_MAX, RESUMED_ROOMS_MAX - 1));
    }

    #[test]
    fn a_new_socket_shows_each_room_again_or_not() {
        let mut rooms = Rooms::default();
        rooms.joined(&name("a"), 1, whole(0));
        rooms.watching(&name("b"), whole(0));
        assert_eq!(rooms.hidden(), []);
        rooms.hide();
        assert_eq!(rooms.hidden(), [name("a"), name("b")]);
        rooms.watching(&name("b"), whole(0));
        assert_eq!((rooms.hidden(), rooms.is_hidden(&name("b"))), (vec![name("a")], false));
        assert!(rooms.is_hidden(&name("a")) && !rooms.is_hidden(&name("c")));
        assert_eq!((rooms.shown_at(&name("a")), rooms.shown_at(&name("b"))), (None, Some(position(0))));
        rooms.watching(&name("b"), whole(7));
        assert_eq!(rooms.shown_at(&name("b")), Some(position(0)), "what came after it came live");
    }
}
