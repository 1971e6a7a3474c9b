//! Control messages of clients in both encodings. What is read can be written again and is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rallypoint_fuzz::within;
use rallypoint_protocol::{Encoding, ErrorCode, Request, codec::Refused, request::Limits};

fn decode(encoding: Encoding, frame: &[u8]) -> Result<Request, Refused> {
    // A MessagePack map is judged as the JSON that it converts to, which can be many times as long.
    within(16 * 1024 + 64 * frame.len(), || Request::decode(encoding, frame, &Limits::default()))
}

fn reads_back(encoding: Encoding, frame: &[u8]) -> Request {
    decode(encoding, frame).unwrap_or_else(|refused| panic!("our own message is refused: {refused:?}"))
}

/// What the server says about a message never repeats it; names of fields are all it takes over.
fn check_words(refused: &Refused) {
    assert!(refused.message.len() <= 120 && refused.message.is_ascii(), "{refused:?}");
    assert!(!refused.message.chars().any(char::is_control), "{refused:?}");
}

fuzz_target!(|data: &[u8]| {
    let [choice, frame @ ..] = data else { return };
    let (encoding, other) = match choice & 1 {
        0 => (Encoding::Json, Encoding::MsgPack),
        _ => (Encoding::MsgPack, Encoding::Json),
    };
    let request = match decode(encoding, frame) {
        Ok(request) => request,
        Err(refused) => return check_words(&refused),
    };
    let written = request.encode(encoding);
    let again = reads_back(encoding, &written);
    // A map that looks like a timestamp becomes one in MessagePack, by the rules; then it stays.
    let told = format!("{request:?}");
    let unsettled = encoding == Encoding::MsgPack && told.contains(r#"\"$ext\":[-1,"#);
    if !unsettled {
        assert_eq!(format!("{again:?}"), told);
        assert_eq!(again.encode(encoding), written);
    }
    // A member of the other encoding may have to be told. Sizes differ between the two, and two
    // messages have no counterpart: a move is no map in MessagePack, and the `t` of a ping, which
    // nobody else is told, may be an integer that is a text there.
    if !matches!(request, Request::Move(_) | Request::Ping { .. }) {
        let converted = request.encode(other);
        match decode(other, &converted) {
            Ok(same) => assert_eq!(same.name(), request.name()),
            Err(refused) => assert!(matches!(refused.code, ErrorCode::TooBig | ErrorCode::TooDeep), "{refused:?}"),
        }
    }
});
