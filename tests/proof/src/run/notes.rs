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
