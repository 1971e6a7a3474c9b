//! Stands for the hub and its connections: one room, its sessions, and their ways out, made of the same parts and by the
//! same rules as `src/hub`, on one thread and without locks. It decides nothing that a part of the crate can decide.

mod room;

use bytes::Bytes;
use rallypoint::{
    room::{Room, history::History},
    session::{
        Refusal, Session, Verdict,
        answers::Answer,
        kept::{Kept, Tokens},
        outbox::Outbox,
        pulse::{Due, Pulse},
    },
};
use rallypoint_protocol::{ErrorCode, EventBody, Position, Request, event::LeaveReason};

use crate::{
    check::Ledger,
    clock::millis,
    plan::{Plan, ROOM, grant, peer, room},
    wire::{Down, Latest, Up},
};

/// Where a session's guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Here(usize),
    Lost(u64),
    Ended,
}

/// A session and its way out.
#[derive(Debug)]
pub(crate) struct Place {
    session: Session<()>,
    pub(crate) standing: Standing,
    kept: Kept,
    tokens: Tokens,
    /// How often it began to count anew.
    pub(crate) life: u64,
}

/// The server's end of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    place: Option<usize>,
    pub(crate) outbox: Outbox,
    pub(crate) blocked: Option<u64>,
    pub(crate) closing: bool,
    pub(crate) pulse: Pulse,
    /// A ping that is not with the kernel yet.
    ping: Option<[u8; 8]>,
    heard: bool,
    pub(crate) gone: bool,
    /// Bytes that were owed since all was written last.
    pub(crate) owed: usize,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Hub {
    plan: Plan,
    pub(crate) now: u64,
    pub(crate) room: Room,
    pub(crate) places: Vec<Place>,
    pub(crate) sockets: Vec<Socket>,
    losses: u64,
    pings: u64,
}

impl Hub {
    pub(crate) fn new(plan: &Plan) -> Self {
        let history = History::new(Position::start(7), plan.settings.bounds());
        let room = Room::new(room(), plan.settings.clone(), history);
        Self { plan: plan.clone(), now: 0, room, places: vec![], sockets: vec![], losses: 0, pings: 0 }
    }

    /// A connection was opened.
    pub(crate) fn open(&mut self) {
        let pulse = Pulse::new(self.plan.ping_ms, self.plan.ping_missed, millis(self.now));
        self.sockets.push(Socket {
            place: None,
            outbox: Outbox::default(),
            blocked: None,
            closing: false,
            pulse,
            ping: None,
            heard: false,
            gone: false,
            owed: 0,
        });
    }

    /// A guest said something.
    pub(crate) fn hear(&mut self, at: usize, message: Up, ledger: &mut Ledger) {
        let socket = &mut self.sockets[at];
        if socket.gone || socket.closing {
            return;
        }
        let Some(place) = socket.place else {
            return match message {
                Up::Auth => self.enter(at, ledger),
                Up::Resume { session, token, received, position } => {
                    self.resume(at, (session, token), received, position, ledger);
                }
                _ => ledger.fail("a guest spoke before it had a session"),
            };
        };
        if !std::mem::replace(&mut socket.heard, true) && self.places[place].standing == Standing::Here(at) {
            self.places[place].tokens.confirm();
        }
        match message {
            Up::Auth | Up::Resume { .. } => ledger.fail("a second session on one socket"),
            Up::Ask { request, len, unique } => self.perform(place, &request, len, unique, ledger),
            Up::Move { lane, key, seq, len, unique, to } => {
                let result = self.places[place].session.handle_move(ROOM, len, millis(self.now)).map(drop);
                ledger.rates.step(place, len, self.now, result.as_ref().err());
                match result {
                    Ok(()) => self.relay(place, (lane, key, seq), len, unique, to, ledger),
                    Err(_) => ledger.moves.refused(unique),
                }
            }
            Up::Ack(n) => {
                let good = self.places[place].kept.ack(n).is_ok();
                ledger.counted.ack(place, self.places[place].life, n);
                ledger.expect(good, || format!("session {place}: an honest ack of {n} is refused"));
            }
            Up::Pong(payload) => {
                let socket = &mut self.sockets[at];
                if socket.ping.take_if(|ping| payload == *ping).is_some() {
                    ledger.pulses.sent(at, payload, self.now);
                    socket.pulse.answered_early();
                } else {
                    socket.pulse.pong(&payload, millis(self.now));
                }
                ledger.pulses.pong(at, payload, self.now);
            }
        }
    }

    fn enter(&mut self, at: usize, ledger: &mut Ledger) {
        let number = self.places.len();
        let session = Session::new(peer(number), grant(number), self.plan.bounds.clone(), millis(self.now));
        let mut tokens = Tokens::new();
        let token = tokens.issue();
        let standing = Standing::Here(at);
        self.places.push(Place { session, standing, kept: Kept::default(), tokens, life: 0 });
        self.sockets[at].place = Some(number);
        self.push(at, &Down::Connected { session: number, resumed: false, life: 0, token }, ledger);
    }

    fn resume(
        &mut self,
        at: usize,
        (number, token): (usize, u64),
        received: u64,
        since: Option<Position>,
        ledger: &mut Ledger,
    ) {
        let place = &self.places[number];
        if place.standing == Standing::Ended || !place.tokens.admit(token) {
            let ended = place.standing == Standing::Ended;
            ledger.expect(ended, || format!("session {number}: its guest's newest token is refused"));
            return self.close(at, 4200);
        }
        let seated = place.session.seat(&room()).is_some();
        let missed = since.filter(|_| seated).map(|since| self.room.since(since).map(Iterator::collect::<Vec<_>>));
        let missed = missed
            .transpose()
            .map(|missed| missed.map(|events| events.iter().map(|e| Bytes::copy_from_slice(&e.bytes)).collect()));
        let resumed = place.kept.after(received).is_some() && missed.is_ok();
        ledger.resumed(number, place.life, received, since.filter(|_| seated), resumed, &self.plan.settings);
        let picture = seated.then(|| self.picture(None, missed.unwrap_or(None).filter(|_| resumed)));
        let place = &mut self.places[number];
        let token = place.tokens.issue();
        let mut owed: Vec<_> = picture.iter().map(Down::encode).collect();
        if resumed {
            owed.extend(place.kept.after(received).into_iter().flatten());
            ledger.expect(place.kept.ack(received).is_ok(), || format!("session {number}: bad ack in a resume"));
            ledger.counted.ack(number, place.life, received);
        } else {
            if seated {
                owed.push(Down::Reset.encode());
            }
            place.kept = Kept::default();
            place.life += 1;
        }
        let life = place.life;
        let before = std::mem::replace(&mut place.standing, Standing::Here(at));
        self.sockets[at].place = Some(number);
        self.push(at, &Down::Connected { session: number, resumed, life, token }, ledger);
        self.sockets[at].owed = owed.iter().map(|frame| frame.len()).sum();
        owed.into_iter().for_each(|frame| self.sockets[at].outbox.push_owed(frame));
        if let Standing::Here(old) = before {
            self.close(old, 4410);
        }
    }

    fn picture(&self, re: Option<u64>, missed: Option<Vec<Bytes>>) -> Down {
        let latest = self.room.latest_moves();
        let state =
            latest.iter().map(|latest| Latest { from: latest.from, key: latest.key, seq: latest.seq }).collect();
        let members = self.room.members(None).map(|member| member.entry.peer).collect();
        Down::Picture { re, position: self.room.position(), missed, members, state }
    }

    fn perform(&mut self, place: usize, request: &Request, len: usize, unique: u64, ledger: &mut Ledger) {
        let verdict = self.places[place].session.handle(request, len, millis(self.now));
        ledger.rates.request(place, len, self.now, &verdict);
        let Some(id) = request.id() else { return };
        ledger.answers.judged(place, id, &verdict);
        let result = match verdict {
            Ok(Verdict::Again(Answer::Done(position))) => Ok(position),
            Ok(Verdict::Again(Answer::Refused(refused))) => Err(Refusal::from(*refused)),
            Ok(Verdict::Again(_)) => return,
            Ok(Verdict::Go) => {
                if matches!(request, Request::Join { .. }) {
                    return self.join(place, id, ledger);
                }
                if matches!(request, Request::Ping { .. }) {
                    self.places[place].session.answered(id, Answer::View);
                    return self.tell(place, &Down::Answer { id, code: 0, seq: 0 }, ledger);
                }
                ledger.answers.carried(place, id);
                let done = self.carry_out(place, request, len, unique, ledger).map_err(Refusal::from);
                if let Ok(position) = done {
                    self.places[place].session.answered(id, Answer::Done(position));
                }
                done
            }
            Err(refusal) => Err(refusal),
        };
        let (code, seq) = match result {
            Ok(position) => (0, position.map_or(0, |position| position.seq)),
            Err(Refusal { refused, closes, .. }) => {
                if closes && let Standing::Here(at) = self.places[place].standing {
                    return self.close(at, 4302);
                }
                let code = u64::from(refused.code.number());
                if refused.code != ErrorCode::BadId {
                    self.places[place].session.answered(id, Answer::Refused(Box::new(refused)));
                }
                (code, 0)
            }
        };
        ledger.answers.given(place, id, code, seq);
        self.tell(place, &Down::Answer { id, code, seq }, ledger);
    }

    fn carry_out(
        &mut self,
        place: usize,
        request: &Request,
        len: usize,
        unique: u64,
        ledger: &mut Ledger,
    ) -> Result<Option<Position>, ErrorCode> {
        let author = || Some(self.places[place].session.author());
        match request {
            Request::Leave { .. } => {
                self.leave(place, LeaveReason::Left, ledger);
                Ok(None)
            }
            Request::Message { text, .. } => {
                Ok(Some(self.publish(EventBody::Message { text: text.as_str().into() }, author(), None, ledger)))
            }
            Request::Publish { kind, data, .. } => {
                let body = EventBody::App { kind: kind.clone(), data: data.clone() };
                Ok(Some(self.publish(body, author(), None, ledger)))
            }
            Request::Signal { to, .. } => {
                let to = self.seats().find(|&(other, peer)| peer == *to && other != place);
                let (to, _) = to.ok_or(ErrorCode::PeerUnknown)?;
                self.push_counted(to, unique, len, ledger);
                Ok(None)
            }
            other => unreachable!("guests do not ask for {other:?}"),
        }
    }

    fn push_counted(&mut self, place: usize, unique: u64, size: usize, ledger: &mut Ledger) {
        let frame = Down::Counted { unique, size }.encode();
        let Place { kept, life, standing, .. } = &mut self.places[place];
        kept.push(frame.clone());
        ledger.owe(place, *life, unique, frame.len(), |received| kept.after(received).is_some());
        if let Standing::Here(at) = *standing {
            let budget = self.plan.budget;
            self.add(at, |outbox| outbox.push(frame, budget).is_ok(), ledger);
        }
    }

    /// Sends a message that must arrive, if the guest is here.
    fn tell(&mut self, place: usize, message: &Down, ledger: &mut Ledger) {
        if let Standing::Here(at) = self.places[place].standing {
            self.push(at, message, ledger);
        }
    }

    fn push(&mut self, at: usize, message: &Down, ledger: &mut Ledger) {
        let (frame, budget) = (message.encode(), self.plan.budget);
        self.add(at, |outbox| outbox.push(frame, budget).is_ok(), ledger);
    }

    fn add(&mut self, at: usize, push: impl FnOnce(&mut Outbox) -> bool, ledger: &mut Ledger) {
        let Socket { outbox, closing, gone, .. } = &mut self.sockets[at];
        if *closing || *gone {
            return;
        }
        if !push(outbox) {
            ledger.outboxes.slow(at, outbox);
            self.close(at, 4002);
        }
    }

    /// Closes a connection: what waits is dropped, and the close frame goes out.
    pub(crate) fn close(&mut self, at: usize, code: u64) {
        let socket = &mut self.sockets[at];
        if !socket.closing && !socket.gone {
            socket.closing = true;
            socket.outbox.abandon();
            _ = socket.outbox.push_control(Down::Close(code).encode());
        }
    }

    /// What is due on a connection; its pulse tells when to ask again. `answers`: nothing excuses its guest.
    pub(crate) fn beat(&mut self, at: usize, answers: bool, ledger: &mut Ledger) {
        let socket = &mut self.sockets[at];
        let due = socket.pulse.due(millis(self.now));
        ledger.pulses.due(at, due, self.now, answers, &self.plan);
        match due {
            Due::Wait(_) => {}
            Due::Ping => {
                self.pings += 1;
                let payload = self.pings.to_be_bytes();
                _ = socket.outbox.push_control(Down::Ping(payload).encode());
                socket.ping = Some(payload);
            }
            Due::Dead => self.close(at, 4001),
        }
    }

    /// The kernel has all that waited: the clock of a ping that was among it starts.
    pub(crate) fn flushed(&mut self, at: usize, ledger: &mut Ledger) {
        let socket = &mut self.sockets[at];
        if let Some(payload) = socket.ping.take() {
            socket.pulse.sent(payload, millis(self.now));
            ledger.pulses.sent(at, payload, self.now);
        }
    }

    /// A connection is gone. Tells whose session waits now, and since which loss.
    pub(crate) fn part(&mut self, at: usize) -> Option<(usize, u64)> {
        let socket = &mut self.sockets[at];
        (socket.gone, socket.outbox) = (true, Outbox::default());
        let number = socket.place?;
        let place = &mut self.places[number];
        (place.standing == Standing::Here(at)).then(|| {
            self.losses += 1;
            place.standing = Standing::Lost(self.losses);
            (number, self.losses)
        })
    }

    /// The grace of a loss is over.
    pub(crate) fn give_up(&mut self, place: usize, loss: u64, ledger: &mut Ledger) -> bool {
        let over = self.places[place].standing == Standing::Lost(loss);
        if over {
            self.places[place].standing = Standing::Ended;
            self.leave(place, LeaveReason::Lost, ledger);
        }
        over
    }
}
