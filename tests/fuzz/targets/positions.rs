//! Positions, cursors and names: what is read is written the same, letter by letter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rallypoint::auth::Pattern;
use rallypoint_fuzz::within;
use rallypoint_protocol::{
    Cursor, Kind, PeerId, Position, RoomName, UserName,
    position::{CURSOR_TEXT_MAX, LogKey},
};

/// In JSON a text means what it means by itself.
fn in_json<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(text.into()).ok()
}

fuzz_target!(|text: &str| {
    if let Ok(position) = Position::parse(text) {
        assert_eq!(position.to_string(), text);
        let next = position.next(text.as_bytes());
        assert_eq!((next.epoch, next.seq), (position.epoch, position.seq + 1));
    }
    assert_eq!(in_json(text), Position::parse(text).ok());

    if let Ok(mut cursor) = within(CURSOR_TEXT_MAX * 4, || Cursor::parse(text)) {
        assert!(text.len() <= CURSOR_TEXT_MAX);
        assert_eq!(cursor.to_string(), text);
        let log = LogKey::of(&RoomName::new("lobby").expect("a good name"));
        let position = Position::start(7);
        cursor.set(log, position);
        assert_eq!(cursor.get(log), Some(position));
    }

    if let Ok(room) = RoomName::new(text) {
        assert_eq!(room.as_str(), text);
        let exact = Pattern::new(text).expect("a room's name is a pattern");
        assert_eq!(exact.covers_room(&room), !room.is_reserved());
    }
    assert_eq!(in_json(text), RoomName::new(text).ok());
    assert_eq!(RoomName::new(text).is_ok(), UserName::new(text).is_ok());
    assert_eq!(in_json(text), Kind::new(text).ok());
    if let Ok(peer) = PeerId::parse(text) {
        assert_eq!(peer.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(pattern) = Pattern::new(text) {
        assert_eq!(pattern.to_string(), text);
        assert_eq!(in_json(text), Some(pattern));
    }
});
