//! A WebSocket handshake with a first message right behind it, by hand, to see what a door says to it.

use std::net::SocketAddr;

use rallypoint_protocol::Encoding;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, tcp::OwnedReadHalf},
};

use super::{Answer, Ask};

/// What came of it.
#[derive(Debug)]
pub(crate) enum Knock {
    /// No upgrade.
    Answered(Answer),
    /// Let in: the message `connected` came first. The session has been ended again.
    Connected,
    /// Upgraded and closed: the code of the error before the close, if one came, and the close.
    Closed { error: Option<u64>, close: u16 },
    /// Ended without a close frame.
    Gone,
}

impl Ask {
    /// Sends this handshake and a first message. Without subprotocols of its own it offers the one of the encoding.
    pub(crate) async fn knock(self, encoding: Encoding, first: &Value, address: SocketAddr) -> Knock {
        let (opcode, payload) = match encoding {
            Encoding::Json => (TEXT, first.to_string().into_bytes()),
            Encoding::MsgPack => (BINARY, rmp_serde::to_vec_named(first).expect("JSON has a MessagePack form")),
        };
        let socket = TcpStream::connect(address).await.expect("the server listens");
        let (read, mut write) = socket.into_split();
        let handshake = if self.has("upgrade") { self } else { self.upgrade(encoding.subprotocol()) };
        let handshake = handshake.body(frame(opcode, &payload));
        write.write_all(&handshake.written(address)).await.expect("the request is small");
        let mut read = BufReader::new(read);
        let answer = Answer::read_head(&mut read).await;
        if answer.status != 101 {
            return Knock::Answered(answer.with_body(&mut read).await);
        }
        let mut error = None;
        while let Some((opcode, payload)) = next(&mut read).await {
            let message: Value = match opcode {
                CLOSE => return Knock::Closed { error, close: u16::from_be_bytes([payload[0], payload[1]]) },
                TEXT => serde_json::from_slice(&payload).expect("text frames are JSON"),
                BINARY => rmp_serde::from_slice(&payload).expect("a control message is a map"),
                _ => continue,
            };
            if message["type"] == "connected" {
                _ = write.write_all(&frame(CLOSE, &1000_u16.to_be_bytes())).await;
                while next(&mut read).await.is_some() {}
                return Knock::Connected;
            }
            error = error.or(message["code"].as_u64());
        }
        Knock::Gone
    }
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// A frame of a client (RFC 6455 section 5.2), masked with zeros, which changes nothing.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("first messages are small");
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(len) {
        Ok(len) if len < 126 => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The next frame of the server: its opcode and its payload. `None` at the end.
async fn next(read: &mut BufReader<OwnedReadHalf>) -> Option<(u8, Vec<u8>)> {
    let opcode = read.read_u8().await.ok()? & 0x0f;
    let len = match read.read_u8().await.ok()? {
        126 => read.read_u16().await.ok()?,
        127 => panic!("nothing that long is sent at first"),
        len => u16::from(len),
    };
    let mut payload = vec![0; usize::from(len)];
    read.read_exact(&mut payload).await.ok()?;
    Some((opcode, payload))
}
