//! Values: conversion rules, positions, tags, cursors, feed objects.

use rallypoint_protocol::{
    Cursor, Event, Position, RoomName, convert, event,
    position::{LogKey, Tag},
};
use serde_json::Value;

use crate::{Faults, bytes_of, hex, load, plain, text_of};

#[test]
fn conversion_rules() {
    let mut faults = Faults::default();
    for vector in load("convert.json") {
        let refused = vector["refused"].as_u64();
        let mut out = Vec::new();
        let result = if text_of(&vector, "direction") == "to-json" {
            convert::to_json(&bytes_of(&vector, "msgpack"), 64, &mut out).map(|()| {
                let json: Value = serde_json::from_slice(&out).unwrap();
                let same = match vector["json_text"].as_str() {
                    Some(text) => plain(&json) == plain(&serde_json::from_str(text).unwrap()),
                    None => plain(&json) == plain(&vector["json"]),
                };
                (refused.is_some() || same, json.to_string())
            })
        } else {
            let text = vector["json_text"].as_str().map_or_else(|| vector["json"].to_string(), str::to_owned);
            convert::from_json(text.as_bytes(), &mut out)
                .map(|()| (refused.is_some() || hex(&out) == text_of(&vector, "msgpack"), hex(&out)))
        };
        match result {
            Ok((same, got)) => faults.check(&vector, same && refused.is_none(), || format!("gives {got}")),
            Err(code) => {
                faults.check(&vector, refused == Some(code.number().into()), || format!("refused with {code}"))
            }
        }
    }
    faults.none();
}

#[test]
fn positions_tags_and_cursors() {
    let mut faults = Faults::default();
    for vector in load("positions.json") {
        let valid = vector["valid"] == true;
        match text_of(&vector, "kind") {
            "position" => match Position::parse(text_of(&vector, "text")) {
                Ok(position) => {
                    let same = position.to_string() == text_of(&vector, "text");
                    faults.check(&vector, valid && same, || format!("reads as {position}"));
                }
                Err(code) => faults.check(&vector, !valid && vector["code"] == code.number(), || code.to_string()),
            },
            "cursor" => match Cursor::parse(text_of(&vector, "text")) {
                Ok(cursor) => {
                    let same = cursor.to_string() == text_of(&vector, "text");
                    faults.check(&vector, valid && same, || format!("reads as {cursor}"));
                    check_logs(&mut faults, &vector, &cursor);
                }
                Err(code) => faults.check(&vector, !valid && vector["code"] == code.number(), || code.to_string()),
            },
            _ => {
                let epoch = u64::from_str_radix(text_of(&vector, "epoch"), 16).unwrap();
                let mut position = Position::start(epoch);
                for step in vector["events"].as_array().unwrap() {
                    position = position.next(step["event"].as_str().unwrap().as_bytes());
                    faults.check(&vector, step["position"] == position.to_string(), || position.to_string());
                }
            }
        }
    }
    faults.none();
}

fn check_logs(faults: &mut Faults, vector: &Value, cursor: &Cursor) {
    let Some(logs) = vector["logs"].as_array() else { return };
    for log in logs {
        let (Some(name), Some(position)) = (log["log"].as_str(), log["position"].as_str()) else { continue };
        // Users' logs are longer than a room may be named; their key is of the whole name.
        let Ok(name) = RoomName::new(name) else { continue };
        let found = cursor.get(LogKey::of(&name)).map(|position| position.to_string());
        faults.check(vector, found.as_deref() == Some(position), || format!("{name} at {found:?}"));
    }
}

#[test]
fn feeds() {
    let mut faults = Faults::default();
    for vector in load("feeds.json") {
        let bytes = text_of(&vector, "event").as_bytes();
        let decoded = Event::from_bytes(bytes);
        match &decoded {
            Err(code) => faults.check(&vector, false, || format!("not readable: {code}")),
            Ok(event) => {
                let written = String::from_utf8(event.to_bytes()).unwrap();
                faults.check(&vector, written.as_bytes() == bytes, || format!("writes {written}"));
            }
        }
        let position = Position::parse(text_of(&vector, "position")).unwrap();
        let room = text_of(&vector, "room");
        let name = match room.strip_prefix("user/") {
            Some(user) => RoomName::of_user(&rallypoint_protocol::UserName::new(user).unwrap()),
            None => RoomName::new(room).unwrap(),
        };
        let object = event::feed_object(&name, position, bytes);
        let json: Value = serde_json::from_slice(&object).unwrap();
        faults.check(&vector, plain(&json) == plain(&vector["feed"]), || json.to_string());
        faults.check(&vector, !object.contains(&b'\n'), || "a line break would end the data line".to_owned());
        let mut cursor = Cursor::new();
        cursor.set(LogKey::of(&name), position);
        faults.check(&vector, cursor.to_string() == text_of(&vector, "cursor"), || cursor.to_string());
        let lines: Vec<_> = vector["sse"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let kind = decoded.map(|event| event.kind().to_owned()).unwrap_or_default();
        let expected = [
            format!("event: {kind}"),
            format!("data: {}", String::from_utf8(object).unwrap()),
            format!("id: {cursor}"),
        ];
        faults.check(&vector, lines.iter().filter(|line| !line.is_empty()).eq(expected.iter()), || expected.join("\n"));
    }
    faults.none();
}

#[test]
fn the_first_tag_is_zeros() {
    assert_eq!(Tag::default().to_string(), "00000000");
}
