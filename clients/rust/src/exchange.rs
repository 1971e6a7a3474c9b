//! Requests out, answers and events in, without a socket: ids, order of answers, rooms, counts.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use rallypoint_protocol::{
    Encoding, ErrorCode, Payload, PeerId, Request, RoomName, ServerMessage,
    event::Millis,
    moves::{ClientMove, Lane, ServerMove, is_move},
    request::JsonMove,
    server::{Failed, Moved},
};
use tokio::sync::oneshot;

use crate::{
    clock::Timing,
    error::Error,
    incoming::{Incoming, Move},
    rooms::Rooms,
};

/// Answers that a server may owe us. Only one that has stopped answering owes so many.
const PENDING_MAX: usize = 1024;

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Answer, Error>>;

/// Makes a request out of its id and the time at which it is written.
pub(crate) type Make = Box<dyn FnOnce(u64, Millis) -> Request + Send>;

/// An answer and when it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) message: ServerMessage,
    pub(crate) timing: Timing,
}

/// A move on its way out; handle and sequence number are settled when it is written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) room: RoomName,
    pub(crate) key: u16,
    pub(crate) seq: Option<u32>,
    pub(crate) lane: Lane,
    pub(crate) to: Option<Vec<u32>>,
    pub(crate) payload: Payload,
}

struct Pending {
    id: u64,
    sent: Millis,
    reply: Reply,
    /// The room that a good answer takes us out of.
    leaves: Option<RoomName>,
}

/// The state of one session as its client sees it.
pub(crate) struct Exchange {
    encoding: Encoding,
    me: PeerId,
    rooms: Arc<Mutex<Rooms>>,
    last_id: u64,
    pending: VecDeque<Pending>,
    /// Signals and reliable moves received, and how many of them are acknowledged.
    received: u64,
    acknowledged: u64,
    /// The error before, if it answered nothing: the reason, should a close follow.
    cause: Option<Box<Failed>>,
}

impl Exchange {
    pub(crate) fn new(encoding: Encoding, me: PeerId, rooms: Arc<Mutex<Rooms>>) -> Self {
        let (last_id, received, acknowledged) = (0, 0, 0);
        Self { encoding, me, rooms, last_id, pending: VecDeque::new(), received, acknowledged, cause: None }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(crate) fn take_cause(&mut self) -> Option<Box<Failed>> {
        self.cause.take()
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().expect("no holder of the rooms panics")
    }

    /// The frame of a request; the reply is sent when its answer has come.
    pub(crate) fn request(&mut self, make: Make, reply: Reply, now: Millis) -> Option<Vec<u8>> {
        if self.pending.len() == PENDING_MAX {
            _ = reply.send(Err(Error::Timeout));
            return None;
        }
        self.last_id += 1;
        let request = make(self.last_id, now);
        let leaves = if let Request::Leave { room, .. } = &request { Some(room.clone()) } else { None };
        self.pending.push_back(Pending { id: self.last_id, sent: now, reply, leaves });
        Some(request.encode(self.encoding))
    }

    /// The frame of a move; `None` when the room was left while the move was on its way here.
    pub(crate) fn outgoing(&mut self, outgoing: Outgoing) -> Option<Vec<u8>> {
        let Outgoing { room, key, seq, lane, to, payload } = outgoing;
        let (handle, seq) = self.rooms().next_move(&room, seq)?;
        Some(match self.encoding {
            Encoding::Json => {
                Request::Move(JsonMove { room, lane, key, seq: Some(seq), to, data: payload }).encode(self.encoding)
            }
            Encoding::MsgPack => {
                let payload = payload.msgpack();
                let mut frame = Vec::with_capacity(payload.len() + 32);
                ClientMove { lane, room: handle, key, seq, to, payload: &payload }.encode(&mut frame);
                frame
            }
        })
    }

    /// How many counted messages have not been acknowledged.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.received - self.acknowledged
    }

    /// The frame that acknowledges everything received so far.
    pub(crate) fn acknowledge(&mut self) -> Vec<u8> {
        self.acknowledged = self.received;
        Request::Ack { n: self.received }.encode(self.encoding)
    }

    /// Takes in a frame. Answers go to whoever asked; everything else is returned.
    pub(crate) fn take(&mut self, frame: &[u8], now: Millis) -> Result<Option<Incoming>, Error> {
        if self.encoding == Encoding::MsgPack && is_move(frame) {
            return self.take_move(frame);
        }
        let message = match ServerMessage::decode(self.encoding, frame) {
            Ok(message) => message,
            // A newer server may say things that this client does not know.
            Err(refused) if refused.code == ErrorCode::UnknownType => return Ok(None),
            Err(refused) => return Err(Error::undecodable(&refused)),
        };
        self.cause = None;
        match &message {
            ServerMessage::Joined(joined) => self.rooms().joined(&joined.room, joined.handle),
            ServerMessage::PeerLeft(left) if left.peer.peer == self.me => self.rooms().left(&left.room),
            ServerMessage::Error(failed) if failed.re.is_none() => self.cause = Some(Box::new(failed.clone())),
            ServerMessage::Signal(_) => self.received += 1,
            _ => {}
        }
        match message {
            ServerMessage::Moved(moved) => Ok(self.moved(moved)),
            message => match answers(&message) {
                Some(re) => self.settle(re, message, now),
                None => Ok(Some(Incoming::Message(message))),
            },
        }
    }

    fn take_move(&mut self, frame: &[u8]) -> Result<Option<Incoming>, Error> {
        let ServerMove { lane, room: room_handle, from, key, seq, time, payload } = ServerMove::parse(frame)
            .map_err(|code| Error::Protocol(format!("a move cannot be read: {}", code.name())))?;
        self.received += u64::from(lane == Lane::Reliable);
        // Of a room that was just left, perhaps: there is nobody to whom it means anything.
        let Some(room) = self.rooms().name(room_handle).cloned() else { return Ok(None) };
        // A copy: a slice would keep the whole block alive that the socket was read into.
        let payload = Payload::MsgPack(bytes::Bytes::copy_from_slice(payload));
        Ok(Some(Incoming::Move(Move { room, room_handle, from, key, seq, time, lane, payload })))
    }

    fn moved(&mut self, moved: Moved) -> Option<Incoming> {
        let Moved { room, from, key, seq, time, reliable, data: payload } = moved;
        let lane = if reliable { Lane::Reliable } else { Lane::Latest };
        self.received += u64::from(reliable);
        let room_handle = self.rooms().handle(&room)?;
        Some(Incoming::Move(Move { room, room_handle, from, key, seq, time, lane, payload }))
    }

    fn settle(&mut self, re: u64, message: ServerMessage, now: Millis) -> Result<Option<Incoming>, Error> {
        match self.pending.front() {
            Some(first) if first.id == re => {}
            // Not one of ours: a request that was sent as a raw frame.
            _ if self.pending.iter().all(|pending| pending.id != re) => return Ok(Some(Incoming::Message(message))),
            _ => return Err(Error::Protocol(format!("the answer to {re} came before earlier ones"))),
        }
        if let Some(Pending { sent, reply, leaves, .. }) = self.pending.pop_front() {
            if let (ServerMessage::Ok(_), Some(room)) = (&message, leaves) {
                self.rooms().left(&room);
            }
            // Whoever asked may have stopped waiting.
            _ = reply.send(Ok(Answer { message, timing: Timing { sent, arrived: now } }));
        }
        Ok(None)
    }
}

/// The id of the request that a message answers.
fn answers(message: &ServerMessage) -> Option<u64> {
    match message {
        ServerMessage::Ok(done) => Some(done.re),
        ServerMessage::Error(failed) => failed.re,
        ServerMessage::Joined(joined) => joined.re,
        ServerMessage::Watching(watching) => watching.re,
        ServerMessage::Members(members) => Some(members.re),
        ServerMessage::Pong(pong) => pong.re,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rallypoint_protocol::{
        Position, UserName,
        event::Entry,
        request::SignalKind,
        server::{Done, Joined, Signal},
    };
    use serde_json::Value;

    use super::*;

    const NOW: Millis = Millis(1000.0);

    fn room() -> RoomName {
        RoomName::new("match/7").unwrap()
    }

    fn exchange(encoding: Encoding) -> Exchange {
        Exchange::new(encoding, PeerId::random(), Arc::default())
    }

    /// Makes a request and returns its id and where its answer will be.
    fn ask(exchange: &mut Exchange) -> (u64, oneshot::Receiver<Result<Answer, Error>>) {
        let (reply, answer) = oneshot::channel();
        let make: Make = Box::new(|id, _| Request::Leave { id, room: room() });
        exchange.request(make, reply, NOW).unwrap();
        (exchange.last_id, answer)
    }

    fn take(exchange: &mut Exchange, message: &ServerMessage) -> Result<Option<Incoming>, Error> {
        let frame = message.encode(exchange.encoding);
        exchange.take(&frame, NOW.after(7))
    }

    fn ok(re: u64) -> ServerMessage {
        ServerMessage::Ok(Done { re, position: None })
    }

    fn join(exchange: &mut Exchange, handle: u32) {
        let you = Entry {
            peer: exchange.me,
            handle: Some(1),
            user: UserName::new("ada").unwrap(),
            name: None,
            info: None,
            state: None,
            order: Some(1),
            rtt: None,
            polite: None,
            offers: None,
        };
        let (room, position) = (room(), Position::start(1));
        let (members, state, missed) = (Vec::new(), Vec::new(), None);
        let joined =
            Joined { re: Some(0), room, handle, you, members, count: 1, spectators: 0, position, state, missed };
        assert!(matches!(take(exchange, &ServerMessage::Joined(joined)), Ok(Some(Incoming::Message(_)))));
    }

    #[test]
    fn answers_find_whoever_asked_and_nobody_else() {
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            let mut exchange = exchange(encoding);
            let (first, mut answer) = ask(&mut exchange);
            assert!(matches!(take(&mut exchange, &ok(900)), Ok(Some(Incoming::Message(ServerMessage::Ok(_))))));
            assert!(answer.try_recv().is_err());
            assert!(matches!(take(&mut exchange, &ok(first)), Ok(None)));
            let answer = answer.try_recv().unwrap().unwrap();
            assert_eq!((answer.timing.sent, answer.timing.arrived), (NOW, NOW.after(7)));
        }
    }

    #[test]
    fn an_answer_out_of_order_is_a_fault_of_the_server() {
        let mut exchange = exchange(Encoding::Json);
        let (_first, _) = ask(&mut exchange);
        let (second, _) = ask(&mut exchange);
        assert!(matches!(take(&mut exchange, &ok(second)), Err(Error::Protocol(_))));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_still_the_next() {
        let mut exchange = exchange(Encoding::Json);
        let (first, given_up) = ask(&mut exchange);
        drop(given_up);
        let (second, mut answer) = ask(&mut exchange);
        assert!(matches!(take(&mut exchange, &ok(first)), Ok(None)));
        assert!(matches!(take(&mut exchange, &ok(second)), Ok(None)));
        assert!(answer.try_recv().is_ok());
    }

    #[test]
    fn answers_owed_are_bounded() {
        let mut exchange = exchange(Encoding::Json);
        let asked: Vec<_> = (0..PENDING_MAX).map(|_| ask(&mut exchange)).collect();
        let (reply, mut answer) = oneshot::channel();
        assert!(exchange.request(Box::new(|id, _| Request::Ping { id: Some(id), t: None }), reply, NOW).is_none());
        assert!(matches!(answer.try_recv(), Ok(Err(Error::Timeout))));
        assert_eq!(asked.len(), PENDING_MAX);
    }

    #[test]
    fn signals_and_reliable_moves_are_counted() {
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            let mut exchange = exchange(encoding);
            join(&mut exchange, 4);
            let data = Payload::json_of(&Value::Null).unwrap();
            let signal = Signal { kind: SignalKind::IceCandidate, room: room(), from: PeerId::random(), data };
            take(&mut exchange, &ServerMessage::Signal(signal)).unwrap();
            for lane in [Lane::Reliable, Lane::Latest] {
                let frame = match encoding {
                    Encoding::Json => ServerMessage::Moved(Moved {
                        room: room(),
                        from: 2,
                        key: 3,
                        seq: 5,
                        time: 6,
                        reliable: lane == Lane::Reliable,
                        data: Payload::MsgPack(vec![7].into()),
                    })
                    .encode(encoding),
                    Encoding::MsgPack => {
                        let mut frame = Vec::new();
                        ServerMove { lane, room: 4, from: 2, key: 3, seq: 5, time: 6, payload: &[7] }
                            .encode(&mut frame);
                        frame
                    }
                };
                let Ok(Some(Incoming::Move(got))) = exchange.take(&frame, NOW) else { panic!("no move") };
                assert_eq!((got.room, got.room_handle, got.from, got.key, got.seq), (room(), 4, 2, 3, 5));
                assert_eq!((got.lane, got.payload.read::<u8>()), (lane, Ok(7)));
            }
            assert_eq!(exchange.unacknowledged(), 2);
            exchange.acknowledge();
            assert_eq!(exchange.unacknowledged(), 0);
        }
    }

    #[test]
    fn moves_stop_with_the_room() {
        let mut exchange = exchange(Encoding::MsgPack);
        let shot = |seq| {
            let payload = Payload::MsgPack(vec![0xc0].into());
            Outgoing { room: room(), key: 0, seq, lane: Lane::Latest, to: None, payload }
        };
        assert_eq!(exchange.outgoing(shot(None)), None);
        join(&mut exchange, 7);
        assert_eq!(exchange.outgoing(shot(Some(42))), Some(vec![0x95, 1, 7, 0, 42, 0xc0]));
        assert_eq!(exchange.outgoing(shot(None)), Some(vec![0x95, 1, 7, 0, 43, 0xc0]));
        let (id, _answer) = ask(&mut exchange);
        take(&mut exchange, &ok(id)).unwrap();
        assert_eq!(exchange.outgoing(shot(None)), None);
    }

    #[test]
    fn what_a_newer_server_says_is_passed_over() {
        let mut exchange = exchange(Encoding::Json);
        assert!(matches!(exchange.take(br#"{"type":"weather","sun":true}"#, NOW), Ok(None)));
        assert!(matches!(exchange.take(br#"{"type":"typing"}"#, NOW), Err(Error::Protocol(_))));
        assert!(matches!(exchange.take(b"\xff", NOW), Err(Error::Protocol(_))));
    }
}
