//! The task that owns the socket, and the one state machine of a connection: open, away, open again, ended.
//!
//! It never waits for one thing alone. A full queue of events stops the reading and a blocked
//! socket stops the taking of commands, each without stopping the other.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rallypoint_protocol::code::Action;
use tokio::{
    sync::{Semaphore, oneshot},
    time::Instant,
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::{
    away::{Away, Doing, Done, Verdict},
    backoff::Backoff,
    connect::{Socket, content, dial, message},
    error::{Ended, Error},
    handles::{Command, Control, Handles},
    incoming::{Inbox, Incoming},
    open::{Happened, Open},
    options::Options,
    session::Session,
    token::NoToken,
};

/// Bytes of commands that go out in one write, if so many wait.
const BATCH: usize = 64 * 1024;
/// A connection that held for so long was good: the next loss has nothing to do with the last.
const HELD: Duration = Duration::from_secs(5);

/// Where the connection stands. The end is no state: the loop is left with an [`Ended`].
enum State {
    Open(Box<Open>),
    Away(Away),
}

/// Whether the loop goes on.
type Course = Result<(), Ended>;

pub(crate) struct Driver {
    state: State,
    session: Session,
    handles: Handles,
    options: Arc<Options>,
    backoff: Backoff,
    /// Who waits for the end, once a close has been said.
    closing: Vec<oneshot::Sender<Result<(), Error>>>,
    /// The reason, for whoever asks after the end.
    ended: Arc<OnceLock<Ended>>,
    /// Places for reliable moves; whoever waits for one hears of the end by it.
    places: Arc<Semaphore>,
}

impl Driver {
    pub(crate) fn new(
        socket: Socket,
        session: Session,
        handles: Handles,
        options: Arc<Options>,
        ended: Arc<OnceLock<Ended>>,
        places: Arc<Semaphore>,
    ) -> Self {
        let state = State::Open(Box::new(Open::new(socket, session.heartbeat())));
        let backoff = Backoff::new(options.seed);
        Self { state, session, handles, options, backoff, closing: Vec::new(), ended, places }
    }

    pub(crate) async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        let Self { state, session, mut handles, closing, ended, places, .. } = self;
        // First, so that whoever is woken by what is dropped below finds the reason.
        _ = ended.set(end.clone());
        for reply in closing {
            _ = reply.send(if end.code.is_some() { Ok(()) } else { Err(end.clone().into()) });
        }
        handles.hang_up();
        places.close();
        drop((state, session));
        let Ended { code, reason, .. } = end;
        handles.finish(Incoming::Closed { code, reason }).await;
    }

    /// One turn of the loop: what is due goes out, then whatever happens first is dealt with.
    async fn turn(&mut self) -> Course {
        if matches!(&self.state, State::Open(open) if !open.wire.is_busy()) {
            self.write(BATCH);
        }
        match &mut self.state {
            State::Open(open) => {
                let happened = open.step(&mut self.session, &mut self.handles, !self.closing.is_empty()).await;
                self.happened(happened).await?;
            }
            State::Away(away) => tokio::select! {
                done = away.step() => self.done(done)?,
                command = self.handles.next(true) => {
                    if let Some(command) = command {
                        self.perform(command)?;
                    }
                }
            },
        }
        self.handles.deliver();
        if self.handles.control() == Control::GiveUp {
            return Err(Ended::broken("the server did not answer the close"));
        }
        if self.handles.is_alone() {
            return self.hang_up().await;
        }
        Ok(())
    }

    async fn happened(&mut self, happened: Happened) -> Course {
        match happened {
            Happened::Command(first) => self.perform_all(first)?,
            Happened::Frame(frame) => {
                if let Err(error) = self.take(&frame) {
                    return self.refuse(Ended::broken(error.to_string())).await;
                }
            }
            Happened::Lost(ended) => self.lose(ended).await?,
            Happened::Garbled(ended) => return self.refuse(ended).await,
            Happened::Fetched(Ok(token)) => self.session.renew(token, Instant::now()),
            Happened::Fetched(Err(NoToken::Later(_))) => self.session.access().postpone(Instant::now()),
            Happened::Fetched(Err(NoToken::Never(_))) => self.session.access().rest(),
            Happened::Look => {}
        }
        Ok(())
    }

    /// What came of the last step on the way back.
    fn done(&mut self, done: Done) -> Course {
        let now = Instant::now();
        match done {
            Done::Rested if self.session.access().is_stale(now) => {
                if let State::Away(away) = &mut self.state {
                    away.begin(Doing::Fetching(self.session.access().fetch()));
                }
            }
            Done::Rested => self.dial(now),
            Done::Fetched(Ok(token)) => {
                self.session.access().renewed(token, now);
                self.dial(now);
            }
            Done::Fetched(Err(none)) => self.fail(Verdict::of_attempt(none.into()))?,
            Done::Dialed(Ok(dialed)) => {
                let (socket, connected) = *dialed;
                self.backoff.arrived();
                self.session.back(connected, now, self.handles.inbox());
                self.state = State::Open(Box::new(Open::new(socket, self.session.heartbeat())));
            }
            Done::Dialed(Err(error)) => self.fail(Verdict::of_attempt(error))?,
            Done::TooLate(ended) => return Err(ended),
        }
        Ok(())
    }

    fn dial(&mut self, now: Instant) {
        if let State::Away(away) = &mut self.state {
            let (options, way) = (Arc::clone(&self.options), self.session.way(now));
            let patience = away.patience(options.timeout);
            away.begin(Doing::Dialing(Box::pin(async move { dial(&options, way, patience).await })));
        }
    }

    fn fail(&mut self, verdict: Verdict) -> Course {
        let (rest, ended) = self.judge(verdict)?;
        if let State::Away(away) = &mut self.state {
            away.failed(ended, rest);
        }
        Ok(())
    }

    /// When to try next, unless this is the end.
    fn judge(&mut self, verdict: Verdict) -> Result<(Instant, Ended), Ended> {
        let Verdict { action, told, ended } = verdict;
        match action {
            Action::Resume => {}
            Action::Refresh if self.session.access().refuse() => {}
            Action::Rejoin => self.session.forget(),
            Action::Wait => {
                if told.is_none() {
                    self.backoff.slow_down();
                }
            }
            Action::Refresh | Action::Stop => return Err(ended),
        }
        Ok((Instant::now() + self.backoff.next(told), ended))
    }

    /// The socket is gone: the client goes away and comes back by itself, or the connection has ended.
    async fn lose(&mut self, ended: Ended) -> Course {
        let State::Open(open) = &self.state else { return Ok(()) };
        if open.age() >= HELD {
            self.backoff.begin_anew();
        }
        let closed_by_server = ended.code.is_some();
        let cause = self.session.take_cause().filter(|_| closed_by_server);
        let mut verdict = Verdict::of_loss(Ended { cause, ..ended });
        verdict.told = verdict.told.or(self.session.take_after());
        let stays = self.options.resume && self.closing.is_empty();
        let judged = if stays { self.judge(verdict) } else { Err(verdict.ended) };
        let (rest, ended) = match (judged, &mut self.state) {
            (Ok(judged), _) => judged,
            (Err(ended), State::Open(open)) if closed_by_server => {
                open.wire.wind_down(true).await;
                return Err(ended);
            }
            (Err(ended), _) => return Err(ended),
        };
        self.session.lost();
        let Ended { code, reason, .. } = ended.clone();
        let away = Away::new(Instant::now(), self.options.give_up_after, ended, rest);
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Away(away))
            && closed_by_server
        {
            let mut wire = open.wire;
            // The answer to the close, in its own time.
            tokio::spawn(async move { wire.wind_down(true).await });
        }
        self.handles.inbox().push_back(Incoming::Away { code, reason });
        Ok(())
    }

    /// The server is left: it said what cannot be understood.
    async fn refuse(&mut self, ended: Ended) -> Course {
        if let State::Open(open) = &mut self.state {
            open.say_close(CloseCode::Protocol, "");
            open.wire.wind_down(false).await;
        }
        Err(ended)
    }

    /// Nobody is left to speak for.
    async fn hang_up(&mut self) -> Course {
        while let Some(command) = self.handles.next_now() {
            self.perform(command)?;
            self.write(usize::MAX);
        }
        if let State::Open(open) = &mut self.state {
            open.wire.flush().await;
        }
        Err(Ended::broken("dropped by this end"))
    }

    /// Writes what is due, to about this size. After a goodbye nothing more is said.
    fn write(&mut self, most: usize) -> usize {
        let mut size = 0;
        if let State::Open(open) = &mut self.state
            && self.closing.is_empty()
        {
            let now = Instant::now();
            while size < most
                && let Some(frame) = self.session.next(now)
            {
                size += frame.len();
                open.wire.put(message(self.session.encoding(), frame));
            }
        }
        size
    }

    /// Carries out a command and those that wait behind it, so that they share a write.
    fn perform_all(&mut self, first: Command) -> Course {
        let mut size = self.perform(first)?;
        while size < BATCH
            && let Some(command) = self.handles.next_now()
        {
            size += self.perform(command)?;
        }
        Ok(())
    }

    /// Carries out a command, and writes at once what comes of it: the next one must not overtake it.
    fn perform(&mut self, command: Command) -> Result<usize, Ended> {
        let frame = match command {
            Command::Request { make, reply } => {
                self.session.ask(make, reply);
                return Ok(self.write(BATCH));
            }
            Command::Move(outgoing) => {
                self.session.push(outgoing);
                return Ok(self.write(BATCH));
            }
            Command::Notice(request) => {
                let encoding = self.session.encoding();
                message(encoding, request.encode(encoding))
            }
            Command::Raw(frame) => frame,
            Command::Close(reply) => {
                self.closing.push(reply);
                let State::Open(open) = &mut self.state else {
                    let code = Some(CloseCode::Normal.into());
                    return Err(Ended { code, ..Ended::broken("closed by this end while the connection was lost") });
                };
                open.say_close(CloseCode::Normal, "bye");
                return Ok(0);
            }
        };
        // Hints, and frames of tests, are of no use later.
        let State::Open(open) = &mut self.state else { return Ok(0) };
        let size = frame.len();
        open.wire.put(frame);
        Ok(size)
    }

    fn take(&mut self, frame: &Message) -> Result<(), Error> {
        let Some(bytes) = content(self.session.encoding(), frame)? else { return Ok(()) };
        // A goodbye does not wait for a reader that sleeps.
        if !self.closing.is_empty() && !self.handles.has_delivered() {
            return self.session.take(bytes, Instant::now(), &mut Inbox::new());
        }
        self.session.take(bytes, Instant::now(), self.handles.inbox())
    }
}
