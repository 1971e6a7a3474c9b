//! Frames: what clients send, what the server sends, and what is refused.

use std::collections::BTreeSet;

use rallypoint_protocol::{
    Encoding, ErrorCode, Request, RoomName, ServerMessage,
    moves::{self, ClientMove, Lane, MoveLimits, ServerMove},
    payload::Payload,
    request::Limits,
    server::Moved,
};
use serde_json::Value;

use crate::{Faults, bytes_of, hex, load, plain, text_of};

/// Reads a client's frame as the server does; control messages come back as JSON.
fn read(encoding: Encoding, frame: &[u8]) -> Result<Value, ErrorCode> {
    if encoding == Encoding::MsgPack && moves::is_move(frame) {
        return ClientMove::parse(frame, MoveLimits::default()).map(|_| Value::Null);
    }
    let request = Request::decode(encoding, frame, &Limits::default()).map_err(|refused| refused.code)?;
    // Whatever was accepted must have a form in both encodings.
    request.encode(Encoding::MsgPack);
    Ok(serde_json::from_slice(&request.encode(Encoding::Json)).unwrap())
}

/// The fields of `wanted` that a decoded request keeps: unknown ones are ignored by design.
fn kept(wanted: &Value, got: &Value) -> Value {
    let Value::Object(fields) = wanted else { return wanted.clone() };
    let defaults = [("key", Value::from(0)), ("reliable", false.into()), ("limit", 100.into())];
    let is_default =
        |key: &str, value: &Value| defaults.iter().any(|(name, d)| *name == key && plain(d) == plain(value));
    let fields = fields.iter().filter(|(key, value)| {
        !is_default(key, value) && (!value.is_null() || *key == "data") && got.get(key.as_str()).is_some()
    });
    Value::Object(fields.map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[test]
fn client_messages() {
    let mut faults = Faults::default();
    let mut types = BTreeSet::new();
    for vector in load("client.json") {
        types.insert(text_of(&vector, "type").to_owned());
        let text = vector["text"].as_str().map_or_else(|| vector["json"].to_string(), str::to_owned);
        let mut frames = vec![(Encoding::Json, text.into_bytes())];
        if vector["msgpack"].is_string() {
            frames.push((Encoding::MsgPack, bytes_of(&vector, "msgpack")));
        }
        for (encoding, frame) in frames {
            match read(encoding, &frame) {
                Err(code) => faults.check(&vector, false, || format!("{encoding:?} refused with {code}")),
                Ok(got) => {
                    let wanted = kept(&vector["json"], &got);
                    faults.check(&vector, plain(&got) == plain(&wanted), || format!("{encoding:?} reads {got}"));
                }
            }
        }
    }
    let named = rallypoint_protocol::rights::RULES.iter().map(|rule| rule.name).filter(|name| !name.contains('/'));
    for name in named {
        assert!(types.contains(name), "no vector for `{name}`");
    }
    faults.none();
}

#[test]
fn server_messages() {
    let mut faults = Faults::default();
    let mut types = BTreeSet::new();
    for vector in load("server.json") {
        types.insert(text_of(&vector, "type").to_owned());
        let mut frames = vec![(Encoding::Json, vector["json"].to_string().into_bytes())];
        if vector["msgpack"].is_string() {
            frames.push((Encoding::MsgPack, bytes_of(&vector, "msgpack")));
        }
        for (encoding, frame) in frames {
            match ServerMessage::decode(encoding, &frame) {
                Err(refused) => faults.check(&vector, false, || format!("{encoding:?}: {}", refused.message)),
                Ok(message) => {
                    let json: Value = serde_json::from_slice(&message.encode(Encoding::Json)).unwrap();
                    faults.check(&vector, plain(&json) == plain(&vector["json"]), || format!("writes {json}"));
                    // The MessagePack form is the same map, read by whoever reads ours.
                    let packed = message.encode(Encoding::MsgPack);
                    let again = ServerMessage::decode(Encoding::MsgPack, &packed).map(|m| m.encode(Encoding::Json));
                    let again = again.map(|json| plain(&serde_json::from_slice(&json).unwrap()));
                    faults.check(&vector, again == Ok(plain(&json)), || format!("{encoding:?} round trip: {again:?}"));
                }
            }
        }
    }
    for name in ServerMessage::TYPES {
        assert!(types.contains(*name), "no vector for `{name}`");
    }
    faults.none();
}

#[test]
fn binary_moves() {
    let mut faults = Faults::default();
    for vector in load("moves.json") {
        let frame = bytes_of(&vector, "hex");
        let fields = &vector["fields"];
        let mut written = Vec::new();
        let parsed = match text_of(&vector, "direction") {
            "client" => ClientMove::parse(&frame, MoveLimits::default()).map(|step| {
                step.encode(&mut written);
                let to = step.to.map_or(Value::Null, Value::from);
                faults.check(&vector, to == fields["to"], || "receivers".to_owned());
                (step.lane, step.room, step.key, step.seq, step.payload.to_vec())
            }),
            _ => ServerMove::parse(&frame).map(|step| {
                step.encode(&mut written);
                faults.check(&vector, fields["from"] == step.from && fields["time"] == step.time, || "head".to_owned());
                check_json_form(&mut faults, &vector, &step);
                (step.lane, step.room, step.key, step.seq, step.payload.to_vec())
            }),
        };
        let (lane, room, key, seq, payload) = match parsed {
            Ok(parts) => parts,
            Err(code) => {
                faults.check(&vector, false, || format!("refused with {code}"));
                continue;
            }
        };
        let latest = lane == Lane::Latest;
        let same = latest == (fields["lane"] == "latest") && fields["room"] == room;
        faults.check(&vector, same && fields["key"] == key && fields["seq"] == seq, || "fields".to_owned());
        faults.check(&vector, hex(&payload) == text_of(&vector, "payload_hex"), || hex(&payload));
        let json: Value = serde_json::from_slice(&Payload::MsgPack(payload.into()).json()).unwrap();
        faults.check(&vector, plain(&json) == plain(&vector["payload_json"]), || format!("payload {json}"));
        let canonical = vector["canonical"] == true;
        faults.check(&vector, !canonical || hex(&written) == text_of(&vector, "hex"), || hex(&written));
    }
    faults.none();
}

/// What a JSON member gets in place of the binary frame.
fn check_json_form(faults: &mut Faults, vector: &Value, step: &ServerMove<'_>) {
    let Some(room) = vector["room_name"].as_str() else { return };
    let moved = Moved {
        room: RoomName::new(room).unwrap(),
        from: step.from,
        key: step.key,
        seq: step.seq,
        time: step.time,
        reliable: step.lane == Lane::Reliable,
        data: Payload::MsgPack(step.payload.to_vec().into()),
    };
    let json: Value = serde_json::from_slice(&ServerMessage::Moved(moved).encode(Encoding::Json)).unwrap();
    faults.check(vector, plain(&json) == plain(&vector["json"]), || format!("JSON form {json}"));
}

#[test]
fn invalid_frames() {
    let mut faults = Faults::default();
    let vectors = load("invalid.json");
    assert!(vectors.len() >= 30);
    for vector in vectors {
        let (encoding, frame) = match text_of(&vector, "encoding") {
            "json" => (Encoding::Json, text_of(&vector, "text").as_bytes().to_vec()),
            _ => (Encoding::MsgPack, bytes_of(&vector, "hex")),
        };
        let wanted = vector["code"].as_u64().unwrap();
        match read(encoding, &frame) {
            Ok(got) => faults.check(&vector, false, || format!("accepted as {got}, not refused with {wanted}")),
            Err(code) => {
                faults.check(&vector, u64::from(code.number()) == wanted, || format!("{code}, not {wanted}"));
                faults.check(
                    &vector,
                    vector["error_name"] == code.name() || u64::from(code.number()) != wanted,
                    || format!("named {}", vector["error_name"]),
                );
            }
        }
    }
    faults.none();
}
