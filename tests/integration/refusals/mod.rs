//! What the doors refuse, with which number, and that a refusal leaves nothing behind.

mod bounds;
mod frames;
mod http;
mod matrix;
mod rates;
mod rights;
mod tokens;

use rallypoint_protocol::Encoding;
use serde_json::json;

use crate::support::{Node, Wire, pass};

/// The end of every test here: all gauges are back at their start, and the same process serves a normal guest.
async fn is_well(node: Node) {
    node.emptied().await;
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut guest = Wire::connect(&node, &pass("guest").player("*"), encoding).await;
        guest.granted(json!({ "type": "join", "room": "afterwards" })).await;
        let said = guest.granted(json!({ "type": "message", "room": "afterwards", "text": "all is well" })).await;
        let heard = guest.said("message").await;
        assert_eq!(heard["position"], said["position"]);
        guest.bye().await;
    }
    node.emptied().await;
    node.stop().await;
}
