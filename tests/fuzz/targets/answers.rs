//! Control messages of the server, as clients read them in both encodings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rallypoint_fuzz::within;
use rallypoint_protocol::{Encoding, ServerMessage};

fuzz_target!(|data: &[u8]| {
    let [choice, frame @ ..] = data else { return };
    let encoding = if choice & 1 == 0 { Encoding::Json } else { Encoding::MsgPack };
    let decode = |frame: &[u8]| within(16 * 1024 + 128 * frame.len(), || ServerMessage::decode(encoding, frame));
    let Ok(message) = decode(frame) else { return };
    let written = message.encode(encoding);
    let again = decode(&written).unwrap_or_else(|refused| panic!("our own message is refused: {refused:?}"));
    assert_eq!(again.name(), message.name());
    // Times are written to the microsecond, so a first reading may lose something; a second may not.
    let settled = again.encode(encoding);
    let third = decode(&settled).unwrap_or_else(|refused| panic!("our own message is refused: {refused:?}"));
    assert_eq!(third.encode(encoding), settled);
});
