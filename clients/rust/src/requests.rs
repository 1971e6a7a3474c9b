//! Requests and their answers: ids, the order of answers, and what a lost socket leaves open.

use std::collections::VecDeque;

use rallypoint_protocol::{Encoding, Request, RoomName, ServerMessage, event::Millis};
use tokio::sync::oneshot;

use crate::{clock::Timing, error::Error};

/// Requests without an answer at a time. The server keeps so many answers, so all of them can be repeated.
pub(crate) const UNANSWERED_MOST: usize = 64;

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

/// Who wants to know.
#[derive(Debug)]
pub(crate) enum Asker {
    Caller(Reply),
    /// The client itself: to join rooms again, to renew its token.
    Client,
    /// The client itself, to see that a socket has shown everything; of no use on the next one.
    Look,
}

impl Asker {
    fn is_caller(&self) -> bool {
        matches!(self, Self::Caller(_))
    }

    fn is_look(&self) -> bool {
        matches!(self, Self::Look)
    }

    fn has_given_up(&self) -> bool {
        matches!(self, Self::Caller(reply) if reply.is_closed())
    }
}

struct Waiting {
    make: Make,
    asker: Asker,
}

/// A request that was written and has no answer yet.
pub(crate) struct Sent {
    id: u64,
    pub(crate) request: Request,
    pub(crate) asker: Asker,
    /// When it was written first; a repetition does not change it.
    pub(crate) sent: Millis,
    /// The moves that its answer proves.
    pub(crate) mark: u64,
}

/// The requests of one session.
pub(crate) struct Requests {
    encoding: Encoding,
    last_id: u64,
    sent: VecDeque<Sent>,
    /// How many of `sent`, from the front, have been written to the present socket.
    written: usize,
    waiting: VecDeque<Waiting>,
    waiting_most: usize,
}

impl Requests {
    pub(crate) fn new(encoding: Encoding, waiting_most: usize) -> Self {
        Self { encoding, last_id: 0, sent: VecDeque::new(), written: 0, waiting: VecDeque::new(), waiting_most }
    }

    /// Takes a request of a caller. It goes out with [`Requests::next`], in its turn.
    pub(crate) fn ask(&mut self, make: Make, reply: Reply) {
        if self.waiting.len() >= self.waiting_most {
            self.waiting.retain(|waiting| !waiting.asker.has_given_up());
        }
        if self.waiting.len() >= self.waiting_most {
            _ = reply.send(Err(Error::Busy));
        } else {
            self.waiting.push_back(Waiting { make, asker: Asker::Caller(reply) });
        }
    }

    /// Takes a request of the client itself, to go out before everything that callers wait for.
    pub(crate) fn ask_first(&mut self, make: Make, asker: Asker) {
        let behind = self.waiting.iter().take_while(|waiting| !waiting.asker.is_caller()).count();
        self.waiting.insert(behind, Waiting { make, asker });
    }

    /// The next frame for the present socket: repetitions first, then what waits, as far as the bound allows.
    pub(crate) fn next(&mut self, now: Millis, mark: u64) -> Option<Vec<u8>> {
        if let Some(again) = self.sent.get_mut(self.written) {
            (again.mark, self.written) = (mark, self.written + 1);
            return Some(again.request.encode(self.encoding));
        }
        while self.sent.len() < UNANSWERED_MOST {
            let Waiting { make, asker } = self.waiting.pop_front()?;
            if asker.has_given_up() {
                continue;
            }
            self.last_id += 1;
            let request = make(self.last_id, now);
            let frame = request.encode(self.encoding);
            self.sent.push_back(Sent { id: self.last_id, request, asker, sent: now, mark });
            self.written += 1;
            return Some(frame);
        }
        None
    }

    /// The request that this answers; `None` if it is none of ours, but one that was sent as a raw frame.
    pub(crate) fn settle(&mut self, re: u64) -> Result<Option<Sent>, Error> {
        match self.sent.front() {
            Some(first) if first.id == re && self.written > 0 => {}
            _ if self.sent.iter().all(|sent| sent.id != re) => return Ok(None),
            _ => return Err(Error::Protocol(format!("the answer to {re} came before earlier ones"))),
        }
        self.written -= 1;
        Ok(self.sent.pop_front())
    }

    /// Whether a request to go out of this room waits for its answer.
    pub(crate) fn is_leaving(&self, name: &RoomName) -> bool {
        let leaves = |request: &Request| matches!(request, Request::Leave { room, .. } | Request::Unwatch { room, .. } if room == name);
        self.sent.iter().any(|sent| leaves(&sent.request))
    }

    /// Whether a caller waits for the answer to a request to come into this room.
    pub(crate) fn is_entering(&self, name: &RoomName) -> bool {
        let enters = |request: &Request| matches!(request, Request::Join { room, .. } | Request::Watch { room, .. } if room == name);
        self.sent.iter().any(|sent| sent.asker.is_caller() && enters(&sent.request))
    }

    /// The socket is lost; the next one gets everything that has no answer.
    pub(crate) fn lost(&mut self) {
        self.written = 0;
        self.sent.retain(|sent| !sent.asker.is_look());
        self.waiting.retain(|waiting| !waiting.asker.is_look());
    }

    /// The session is lost: nobody knows what became of the requests without an answer.
    pub(crate) fn fail(&mut self) {
        self.written = 0;
        for sent in self.sent.drain(..) {
            if let Asker::Caller(reply) = sent.asker {
                _ = reply.send(Err(Error::Lost));
            }
        }
        self.waiting.retain(|waiting| waiting.asker.is_caller());
    }
}

impl Sent {
    /// Tells whoever asked, who may have stopped waiting.
    pub(crate) fn reply(self, message: ServerMessage, arrived: Millis) {
        if let Asker::Caller(reply) = self.asker {
            _ = reply.send(Ok(Answer { message, timing: Timing { sent: self.sent, arrived } }));
        }
    }
}

#[cfg(test)]
mod tests {
    use rallypoint_protocol::request::Limits;

    use super::*;

    const NOW: Millis = Millis(1000.0);

    fn requests() -> Requests {
        Requests::new(Encoding::Json, 100)
    }

    fn ping() -> Make {
        Box::new(|id, _| Request::Ping { id: Some(id), t: None })
    }

    fn ask(requests: &mut Requests) -> oneshot::Receiver<Result<Answer, Error>> {
        let (reply, answer) = oneshot::channel();
        requests.ask(ping(), reply);
        answer
    }

    /// The ids of everything that goes out now.
    fn written(requests: &mut Requests) -> Vec<u64> {
        let frames = std::iter::from_fn(|| requests.next(NOW, 0));
        let id = |frame: Vec<u8>| Request::decode(Encoding::Json, &frame, &Limits::default()).unwrap().id().unwrap();
        frames.map(id).collect()
    }

    #[test]
    fn an_answer_out_of_order_is_a_fault_of_the_server() {
        let mut requests = requests();
        let _answers = [ask(&mut requests), ask(&mut requests)];
        assert_eq!(written(&mut requests), [1, 2]);
        assert!(matches!(requests.settle(900), Ok(None)));
        assert!(matches!(requests.settle(2), Err(Error::Protocol(_))));
        assert!(matches!(requests.settle(1), Ok(Some(_))));
        assert!(matches!(requests.settle(2), Ok(Some(_))));
    }

    #[test]
    fn never_more_are_unanswered_than_the_server_keeps_answers() {
        let mut requests = requests();
        let _answers: Vec<_> = (0..70).map(|_| ask(&mut requests)).collect();
        assert_eq!(written(&mut requests), Vec::from_iter(1..=64));
        requests.settle(1).unwrap();
        requests.settle(2).unwrap();
        assert_eq!(written(&mut requests), [65, 66]);
        // Again after a loss: all 64 of them, then nothing until one is answered.
        requests.lost();
        assert_eq!(written(&mut requests), Vec::from_iter(3..=66));
        assert!(written(&mut requests).is_empty());
    }

    #[test]
    fn an_answer_to_what_was_not_yet_repeated_is_a_fault() {
        let mut requests = requests();
        let _answer = ask(&mut requests);
        written(&mut requests);
        requests.lost();
        assert!(matches!(requests.settle(1), Err(Error::Protocol(_))));
    }

    #[test]
    fn what_waits_is_bounded_by_those_who_still_wait() {
        let mut requests = Requests::new(Encoding::Json, 2);
        let (first, _second) = (ask(&mut requests), ask(&mut requests));
        assert!(matches!(ask(&mut requests).try_recv(), Ok(Err(Error::Busy))));
        drop(first);
        let mut third = ask(&mut requests);
        assert!(third.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    }

    #[test]
    fn what_nobody_waits_for_is_not_begun_but_repeated_once_begun() {
        let mut requests = requests();
        let (begun, never) = (ask(&mut requests), ask(&mut requests));
        drop(never);
        requests.next(NOW, 0);
        drop(begun);
        requests.lost();
        let _third = ask(&mut requests);
        assert_eq!(written(&mut requests), [1, 2]);
        assert!(requests.settle(1).unwrap().is_some() && requests.settle(2).unwrap().is_some());
    }

    #[test]
    fn the_clients_own_go_first_in_their_order() {
        let mut requests = requests();
        let _answer = ask(&mut requests);
        let refresh = |token: &'static str| -> Make { Box::new(|id, _| Request::Refresh { id, token: token.into() }) };
        requests.ask_first(refresh("a"), Asker::Client);
        requests.ask_first(refresh("b"), Asker::Client);
        let tokens: Vec<_> = std::iter::from_fn(|| {
            requests.next(NOW, 0)?;
            let Request::Refresh { token, .. } = &requests.sent.back()?.request else { return None };
            Some(token.clone())
        })
        .collect();
        assert_eq!(tokens, ["a", "b"]);
    }

    #[test]
    fn with_the_session_the_unanswered_are_lost_and_the_waiting_are_not() {
        let mut requests = requests();
        let mut unanswered = ask(&mut requests);
        written(&mut requests);
        let mut waiting = ask(&mut requests);
        requests.ask_first(ping(), Asker::Client);
        requests.lost();
        requests.fail();
        assert!(matches!(unanswered.try_recv(), Ok(Err(Error::Lost))));
        assert!(waiting.try_recv().is_err());
        assert_eq!(written(&mut requests), [2]);
        assert!(matches!(requests.settle(1), Ok(None)));
    }

    #[test]
    fn the_clients_own_look_around_is_not_repeated() {
        let mut requests = requests();
        requests.ask_first(ping(), Asker::Look);
        let _answer = ask(&mut requests);
        assert_eq!(written(&mut requests), [1, 2]);
        requests.ask_first(ping(), Asker::Look);
        requests.lost();
        assert_eq!(written(&mut requests), [2]);
        assert!(matches!(requests.settle(2), Ok(Some(_))));
    }

    #[test]
    fn a_repetition_has_a_mark_of_its_own_socket() {
        let mut requests = requests();
        let _answer = ask(&mut requests);
        requests.next(NOW, 7);
        requests.lost();
        requests.next(NOW.after(9), 3);
        let sent = requests.settle(1).unwrap().unwrap();
        assert_eq!((sent.mark, sent.sent), (3, NOW));
    }
}
