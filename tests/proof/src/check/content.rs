//! What the bytes of events say, read once for each.

use rallypoint_protocol::{Event, EventBody, event::LeaveReason};
use serde_json::Value;

use crate::history::{ContentNo, History, Label, PeerNo};

/// What an event is to the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Something that a client of the run published.
    Labelled(Label),
    /// A member came; `None`: a peer that no client of the run ever was.
    Joined(Option<PeerNo>),
    /// A member went.
    Left(Option<PeerNo>, LeaveReason),
    /// All members of a node went with it.
    NodeDown,
    /// Nothing of the run's own.
    Other,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    /// When it was ordered, by the server's clock, Unix milliseconds.
    pub(super) time: f64,
    pub(super) body: Body,
}

pub(super) struct Contents(Vec<Content>);

impl Contents {
    pub(super) fn read(history: &History) -> Self {
        Self(history.contents.iter().map(|(_, bytes)| read(history, bytes)).collect())
    }

    pub(super) fn of(&self, content: ContentNo) -> Content {
        self.0[content.0 as usize]
    }
}

fn read(history: &History, bytes: &[u8]) -> Content {
    let Ok(event) = Event::from_bytes(bytes) else { return Content { time: 0.0, body: Body::Other } };
    let labelled = |text: &str| text.parse().map_or(Body::Other, Body::Labelled);
    let peer = |peer: rallypoint_protocol::PeerId| history.peers.find(peer.to_string().as_bytes());
    let body = match &event.body {
        EventBody::PeerJoined { peer: entry } => Body::Joined(peer(entry.peer)),
        EventBody::PeerLeft { peer: gone, reason } => Body::Left(peer(gone.peer), *reason),
        EventBody::Message { text } => labelled(text),
        EventBody::Notification { message, .. } => labelled(message),
        EventBody::App { data, .. } => {
            let data: Value = serde_json::from_str(data.get()).unwrap_or_default();
            labelled(data["label"].as_str().unwrap_or_default())
        }
        EventBody::NodeDown(_) => Body::NodeDown,
        EventBody::Presence(_) => Body::Other,
    };
    Content { time: event.time.0, body }
}
