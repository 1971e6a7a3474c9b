//! What a WebSocket brings, as records.

use rallypoint_protocol::{Event, EventBody, PeerId, Position, ServerMessage, event::Entry};

use crate::history::{ClientNo, Label, LogNo, Recorder, What, Why};

/// A message that is an event of a log: which log (`None`: the user's own), where, and its bytes as the log keeps them.
pub fn event_of(message: &ServerMessage) -> Option<(Option<&str>, Position, Vec<u8>)> {
    let (room, position, time, from, body) = match message {
        ServerMessage::PeerJoined(joined) => {
            // The log keeps no `order`: it is the sequence number of the event itself.
            let peer = Entry { order: None, ..joined.peer.clone() };
            (Some(&joined.room), joined.position, joined.time, None, EventBody::PeerJoined { peer })
        }
        ServerMessage::PeerLeft(left) => {
            let body = EventBody::PeerLeft { peer: left.peer.clone(), reason: left.reason };
            (Some(&left.room), left.position, left.time, None, body)
        }
        ServerMessage::Message(said) => {
            let body = EventBody::Message { text: said.text.clone() };
            (Some(&said.room), said.position, said.time, said.from.clone(), body)
        }
        ServerMessage::Event(event) => {
            let body = EventBody::App { kind: event.kind.clone(), data: event.data.clone() };
            (Some(&event.room), event.position, event.time, event.from.clone(), body)
        }
        ServerMessage::Presence(event) => {
            let body = EventBody::Presence(event.presence.clone());
            (Some(&event.room), event.position, event.time, None, body)
        }
        ServerMessage::NodeDown(event) => {
            let body = EventBody::NodeDown(event.down.clone());
            (Some(&event.room), event.position, event.time, None, body)
        }
        ServerMessage::Notification(told) => {
            let body = EventBody::Notification { message: told.message.clone(), data: told.data.clone() };
            (None, told.position, told.time, None, body)
        }
        _ => return None,
    };
    Some((room.map(|room| room.as_str()), position, Event { time, from, body }.to_bytes()))
}

/// The label that a signal carries.
pub fn label_of(data: &rallypoint_protocol::Payload) -> Option<Label> {
    data.read::<serde_json::Value>().ok()?["label"].as_str()?.parse().ok()
}

/// Notes a message if it is an event, a signal or a reset.
pub fn note(recorder: &Recorder, client: ClientNo, own: LogNo, message: &ServerMessage) {
    if let Some((room, position, bytes)) = event_of(message) {
        let log = room.map_or(own, |room| recorder.log(room));
        recorder.event(client, log, position, &bytes);
    }
    match message {
        ServerMessage::Signal(signal) => {
            if let Some(label) = label_of(&signal.data) {
                recorder.put(client, What::Signal { room: recorder.log(signal.room.as_str()), label });
            }
        }
        ServerMessage::Reset(reset) => {
            let log = recorder.log(reset.room.as_str());
            recorder.stands(client, log, reset.position, Why::Reset(reset.reason));
        }
        _ => {}
    }
}

/// Who is who now: the peers of the members of a run, by their number in the run.
#[derive(Debug, Default)]
pub struct Directory(std::sync::Mutex<std::collections::HashMap<ClientNo, PeerId>>);

impl Directory {
    /// A member has this peer id from now on.
    pub fn set(&self, client: ClientNo, peer: PeerId) {
        self.0.lock().expect("no holder of the directory panics").insert(client, peer);
    }

    /// The peer id of a member.
    pub fn get(&self, client: ClientNo) -> Option<PeerId> {
        self.0.lock().expect("no holder of the directory panics").get(&client).copied()
    }
}

#[cfg(test)]
mod tests {
    use rallypoint_protocol::{
        Encoding, From, Kind, RoomName, UserName,
        event::{Gone, LeaveReason, Millis},
    };
    use serde_json::value::RawValue;

    use super::*;

    /// Whatever a server makes of an event for a WebSocket, in either encoding, the bytes of its log come back.
    #[test]
    fn a_message_gives_back_the_bytes_of_the_log() {
        let (room, peer, user) = (RoomName::new("match/7").unwrap(), PeerId::random(), UserName::new("ada").unwrap());
        let entry = Entry {
            peer,
            handle: Some(3),
            user: user.clone(),
            name: Some("Ada".into()),
            info: None,
            state: None,
            order: None,
            rtt: None,
            polite: None,
            offers: None,
        };
        let gone = Gone { peer, handle: Some(3), user: user.clone(), name: None };
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let data = raw(r#"{"label":"c1-2","half":0.5,"list":[null,true,-3],"text":"„ü“"}"#);
        let bodies = [
            EventBody::PeerJoined { peer: entry },
            EventBody::PeerLeft { peer: gone, reason: LeaveReason::Lost },
            EventBody::Message { text: "c1-2 says \"hi\"".into() },
            EventBody::App { kind: Kind::new("score").unwrap(), data },
            EventBody::Notification { message: "c1-2".into(), data: Some(raw("{\"n\":1}")) },
        ];
        for body in bodies {
            let from = matches!(body, EventBody::Message { .. } | EventBody::App { .. });
            let from = from.then(|| From { peer: Some(peer), user: user.clone(), name: Some("Ada".into()) });
            let event = Event { time: Millis(1_795_379_820_123.25), from, body };
            let (bytes, position) = (event.to_bytes(), Position::start(9).next(&event.to_bytes()));
            for encoding in [Encoding::Json, Encoding::MsgPack] {
                let frame = event.to_message(&room, position, Some((1, peer)), |_| Some(3)).encode(encoding);
                let message = ServerMessage::decode(encoding, &frame).unwrap();
                let (log, at, got) = event_of(&message).unwrap();
                assert_eq!(String::from_utf8(got), String::from_utf8(bytes.clone()), "{encoding:?}");
                let own = matches!(event.body, EventBody::Notification { .. });
                assert_eq!((log, at), ((!own).then_some("match/7"), position));
            }
        }
    }
}
