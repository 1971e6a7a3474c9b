//! One WebSocket: the task that owns the socket. It reads into a buffer that all connections of a
//! thread share, hands messages to the hub, and waits for whatever comes next: bytes, room to
//! write, a deadline.
//!
//! What it answers by itself (pong and close) goes to the outbox like everything else, since nothing but the outbox's
//! flush writes to the socket.

pub mod parser;

use std::{
    future::poll_fn,
    io,
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use rallypoint_protocol::{
    CloseCode, Encoding, ErrorCode, Position, Request, ServerMessage,
    code::Action,
    codec::Refused,
    event::{LeaveReason, Millis},
    moves::{self, ClientMove, MoveLimits},
    request,
    server::Failed,
};
use tokio::time::Sleep;

use self::parser::{Fault, Parser, Said};
use super::{Open, socket::Socket};
use crate::{
    audit::Caller,
    auth::{Grant, jwt::Verifier},
    ceilings::Place,
    frame,
    hub::{Hub, link::Link, requests::Errand, sessions::SessionCell, turn::Turn},
    metrics::{Metrics, Transport},
    session::pulse::{Due, Pulse},
};

/// Requests that may wait for the one before them before reading stops.
const BACKLOG_MAX: usize = 16;
/// A close frame without a code, and a socket that ended without one (RFC 6455 section 7.4.1).
const NO_CODE: u16 = 1005;
const NO_CLOSE: u16 = 1006;
/// How long a connection sleeps when nothing at all is due.
const IDLE_MS: u64 = 60_000;

/// What a connection needs besides its socket.
pub struct Setting {
    /// The shared state.
    pub hub: Arc<Hub>,
    /// Who checks tokens.
    pub verifier: Arc<Verifier>,
    /// Bounds of requests, made once from the configuration.
    pub limits: request::Limits,
    /// Messages go back as they came; see [`Server::echoing`](crate::server::Server::echoing).
    pub(crate) echo: bool,
}

impl Setting {
    /// From the configuration.
    pub fn new(hub: Arc<Hub>, verifier: Arc<Verifier>) -> Self {
        let told = hub.limits();
        let moves = MoveLimits { payload: told.move_payload, receivers: told.move_receivers, ..MoveLimits::default() };
        let limits = request::Limits {
            depth: told.json_depth,
            text: told.text,
            signal: told.signal,
            state: hub.config().room.peer_state,
            moves,
        };
        Self { hub, verifier, limits, echo: false }
    }

    /// [`verify`](Self::verify), after its key was fetched if that was missing.
    pub(crate) async fn admit(&self, token: &str) -> Result<Grant, Refused> {
        self.verifier.prepare(token).await;
        self.verify(token)
    }

    /// What an access token allows now.
    pub fn verify(&self, token: &str) -> Result<Grant, Refused> {
        self.hub.admit(self.verifier.check(token, self.hub.now().0)?)
    }
}

/// What was known about a connection when it was accepted.
#[derive(Debug)]
pub enum Opening {
    /// The handshake carried a good token.
    Granted(Box<Grant>),
    /// The first message must be `auth`.
    Asked,
    /// The handshake carried something that is not accepted, and the client can only read a close.
    Refused(Refused),
}

type Work = Pin<Box<dyn Future<Output = Option<Result<Arc<SessionCell>, Refused>>> + Send>>;

/// Where a connection stands.
enum Phase {
    /// Nobody yet; closed when the deadline passes.
    Waiting { until: Millis },
    /// The session is being made.
    Opening,
    /// A session, and until when its token carries it. `heard` once the client has said anything:
    /// it has what it was told first.
    Open { session: Arc<SessionCell>, until: Millis, heard: bool },
}

struct Busy {
    work: Work,
    /// Requests that came meanwhile.
    backlog: Vec<(Request, usize)>,
}

struct Connection {
    setting: Arc<Setting>,
    link: Arc<Link<Socket>>,
    parser: Parser,
    phase: Phase,
    /// What is being carried out, when it could not be at once.
    busy: Option<Box<Busy>>,
    pulse: Pulse,
    /// The session is new: its deadlines have to be set.
    opened: bool,
    ping: Option<[u8; 8]>,
    /// The client said goodbye or the socket ended.
    ended: Option<LeaveReason>,
    /// The code that the client closed with.
    said: Option<u16>,
    /// Given back with the connection.
    place: Option<Arc<Place>>,
}

/// Runs a connection to its end. `head` is what of the handshake's answer is not out yet, `early` what was read beyond
/// the handshake. `place` is given back with the connection.
///
/// The future is what an idle connection costs most, so this is no `async fn`, whose arguments
/// would be kept in it beside what is made of them.
pub(crate) fn run(
    socket: Socket,
    head: Vec<u8>,
    early: Bytes,
    encoding: Encoding,
    opening: Opening,
    setting: Arc<Setting>,
    place: Option<Arc<Place>>,
) -> impl Future<Output = ()> + Send {
    let hub = setting.hub.clone();
    let open = Open::new(hub.metrics().open(Transport::WebSocket));
    let link = hub.link(encoding, socket);
    let now = hub.now();
    let mut connection = Connection {
        link,
        parser: Parser::default(),
        phase: Phase::Waiting { until: now.after(hub.limits().auth_deadline_ms) },
        busy: None,
        pulse: pulse(&hub),
        opened: false,
        ping: None,
        ended: None,
        said: None,
        place,
        setting,
    };
    {
        let _turn = Turn::begin();
        if !head.is_empty() {
            connection.shared().begin_with(head);
        }
        match opening {
            Opening::Granted(grant) => connection.open(std::future::ready(Ok(*grant)), None),
            Opening::Asked => {}
            Opening::Refused(refused) => connection.fail(refused),
        }
        // It pins hyper's whole read buffer, so it must not live as long as the connection.
        connection.take_in(&mut Vec::from(early));
    }
    async move {
        connection.serve().await;
        // The end is rare and its future large: not a part of every connection's.
        Box::pin(connection.finish()).await;
        drop(open);
    }
}

/// Pings begin with the session; before there is one this only has its place.
fn pulse(hub: &Hub) -> Pulse {
    Pulse::new(hub.limits().ping_interval_ms, hub.limits().ping_missed, hub.now())
}

/// What woke the task.
enum Event {
    Readable,
    Writable,
    Worked(Option<Result<Arc<SessionCell>, Refused>>),
    /// The link is broken, or closed and nothing waits in it.
    Over,
    Deadline,
}

impl Connection {
    fn hub(&self) -> &Arc<Hub> {
        &self.setting.hub
    }

    /// The link as everybody else knows it.
    fn shared(&self) -> Arc<Link> {
        self.link.clone()
    }

    /// Who opened it, where somebody wants to know.
    fn caller(&self) -> Option<&Arc<Caller>> {
        self.place.as_ref()?.caller()
    }

    fn metrics(&self) -> &Metrics {
        self.setting.hub.metrics()
    }

    async fn serve(&mut self) {
        let mut sleep = pin!(tokio::time::sleep_until(self.deadline()));
        while self.ended.is_none() {
            match poll_fn(|cx| self.poll_event(cx, sleep.as_mut())).await {
                Event::Readable => self.read(),
                Event::Writable => {
                    self.link.flush_by_owner();
                    self.note_ping();
                }
                Event::Worked(done) => self.worked(done),
                Event::Over => break,
                Event::Deadline => {
                    self.on_deadline();
                    sleep.as_mut().reset(self.deadline());
                }
            }
            // A new session has earlier deadlines than a connection that waits for one.
            if std::mem::take(&mut self.opened) {
                sleep.as_mut().reset(self.deadline());
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<Event> {
        // The waker is registered before the link is looked at, so that no nudge falls between.
        self.link.owner().register(cx.waker());
        let standing = self.link.standing();
        if standing.broken || (standing.closing.is_some() && standing.drained) {
            return Poll::Ready(Event::Over);
        }
        if let Some(busy) = &mut self.busy {
            let _turn = Turn::begin();
            if let Poll::Ready(done) = busy.work.as_mut().poll(cx) {
                return Poll::Ready(Event::Worked(done));
            }
        }
        if standing.due {
            return Poll::Ready(Event::Writable);
        }
        if standing.blocked.is_some() {
            if self.link.carrier().poll_write_ready(cx).is_ready() {
                return Poll::Ready(Event::Writable);
            }
            let stalled = self.deadline();
            if stalled < sleep.deadline() {
                sleep.as_mut().reset(stalled);
            }
        }
        let has_room = self.busy.as_ref().is_none_or(|busy| busy.backlog.len() < BACKLOG_MAX);
        let listens = standing.closing.is_none() && has_room;
        if listens && self.link.carrier().poll_read_ready(cx).is_ready() {
            return Poll::Ready(Event::Readable);
        }
        sleep.poll(cx).map(|()| Event::Deadline)
    }

    /// When something is due even if nothing happens.
    fn deadline(&self) -> tokio::time::Instant {
        let standing = self.link.standing();
        let stalled = standing.blocked.map(|since| since.after(self.hub().limits().stalled_ms));
        let own = match &self.phase {
            // What closes has only its stall to wait for.
            _ if standing.closing.is_some() => None,
            Phase::Waiting { until } => Some(*until),
            Phase::Opening => None,
            Phase::Open { until, .. } if *until < self.pulse.peek() => Some(*until),
            Phase::Open { .. } => Some(self.pulse.peek()),
        };
        let later = self.hub().now().after(IDLE_MS);
        let next = stalled.into_iter().chain(own).fold(later, |a, b| if b < a { b } else { a });
        self.hub().clock().instant(next).into()
    }

    fn on_deadline(&mut self) {
        let now = self.hub().now();
        let standing = self.link.standing();
        let stalled_ms = self.hub().limits().stalled_ms;
        if standing.blocked.is_some_and(|since| since.after(stalled_ms) <= now) {
            // Whoever is on the way out already was closed for another reason.
            if standing.closing.is_none() {
                self.metrics().limited("stalled_ms");
                self.shared().close(CloseCode::SlowConsumer, "nothing could be written for too long");
            }
            // The kernel takes nothing, so the close frame will not get out either.
            self.ended = Some(LeaveReason::Slow);
            return;
        }
        if standing.closing.is_some() {
            return;
        }
        let grace_ms = self.hub().limits().expiry_grace_ms;
        match &mut self.phase {
            Phase::Waiting { until } if *until <= now => {
                self.metrics().limited("auth_deadline_ms");
                self.fail(ErrorCode::AuthTimeout.into());
            }
            Phase::Open { session, until, .. } => {
                // The token may have been refreshed since.
                *until = Millis(session.lock().grant().expires_at_ms).after(grace_ms);
                if *until <= now { self.fail(ErrorCode::TokenExpired.into()) } else { self.beat(now) }
            }
            _ => {}
        }
    }

    fn beat(&mut self, now: Millis) {
        match self.pulse.due(now) {
            Due::Wait(_) => {}
            Due::Dead => {
                self.metrics().limited("ping_missed");
                self.shared().close(CloseCode::NoPong, "");
                self.ended = Some(LeaveReason::Lost);
            }
            Due::Ping => {
                let mut payload = [0; 8];
                if getrandom::fill(&mut payload).is_err() {
                    return;
                }
                {
                    let _turn = Turn::begin();
                    self.shared().push_control(frame::ping(payload));
                }
                self.ping = Some(payload);
                self.note_ping();
            }
        }
    }

    /// Starts the clock of a ping once the flush that carried it is through.
    fn note_ping(&mut self) {
        let standing = self.link.standing();
        if standing.blocked.is_none()
            && !standing.due
            && let Some(payload) = self.ping.take()
        {
            self.pulse.sent(payload, self.hub().now());
        }
    }

    fn read(&mut self) {
        let link = self.link.clone();
        let read = link.carrier().read(|bytes| {
            if bytes.is_empty() {
                self.ended = self.ended.or(Some(LeaveReason::Lost));
            }
            self.metrics().bytes_received.inc_by(bytes.len() as u64);
            self.take_in(bytes);
        });
        if read.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            self.ended = self.ended.or(Some(LeaveReason::Lost));
        }
    }

    /// One turn: everything that the bytes cause is written when it ends.
    fn take_in(&mut self, bytes: &mut [u8]) {
        let _turn = Turn::begin();
        let max = self.hub().limits().frame;
        let mut parser = std::mem::take(&mut self.parser);
        let fed = parser.feed(bytes, max, |said| {
            self.hear(said);
            let goes_on = self.ended.is_none() && self.link.standing().closing.is_none();
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        self.parser = parser;
        if let Err(fault) = fed {
            self.broken_frame(fault);
        }
    }

    fn hear(&mut self, said: Said<'_>) {
        match said {
            Said::Text(text) => self.message(Encoding::Json, &text),
            Said::Binary(bytes) => self.message(Encoding::MsgPack, &bytes),
            Said::Ping(payload) => {
                self.shared().push_control(frame::pong(payload));
                self.count_control(payload.len());
            }
            Said::Pong(payload) => {
                self.note_heard();
                self.pong(payload);
                self.count_control(payload.len());
            }
            Said::Close(code) => {
                let bye = code == Some(CloseCode::Bye.number());
                self.ended = Some(if bye { LeaveReason::Closed } else { LeaveReason::Lost });
                // What has no code is told as 1005, here as elsewhere (RFC 6455 section 7.4.1).
                self.said = Some(code.unwrap_or(NO_CODE));
                self.shared().answer_close(frame::goodbye(code));
            }
        }
    }

    fn broken_frame(&mut self, fault: Fault) {
        // A close drops what waits. What came before the fault was in order, and is answered no
        // matter whether the fault came in the same packet.
        self.link.flush_by_owner();
        match fault {
            Fault::TooBig => self.fail(Refused::new(ErrorCode::TooBig, "the frame is larger than the limit")),
            Fault::BadText => self.shared().close(CloseCode::BadText, ""),
            Fault::Protocol(broken) => self.shared().close(CloseCode::ProtocolError, broken),
        }
    }

    fn pong(&mut self, payload: &[u8]) {
        if self.ping.take_if(|ping| payload == *ping).is_some() {
            return self.pulse.answered_early();
        }
        let now = self.hub().now();
        if let Some(trip) = self.pulse.pong(payload, now)
            && let Phase::Open { session, .. } = &self.phase
        {
            self.metrics().trips.note(trip.sample);
            self.hub().measured(session, trip.rtt, trip.jitter);
        }
    }

    /// A ping or pong frame of `len` bytes costs its session as much as a request.
    fn count_control(&self, len: usize) {
        if let Phase::Open { session, .. } = &self.phase {
            self.hub().count_control(session, len);
        }
    }

    /// The client says something on this socket, so it has the resume token that came over it.
    fn note_heard(&mut self) {
        if let Phase::Open { session, heard, .. } = &mut self.phase
            && !std::mem::replace(heard, true)
        {
            let link: Arc<Link> = self.link.clone();
            session.confirm(&link);
        }
    }

    fn message(&mut self, spoken: Encoding, frame: &[u8]) {
        self.metrics().frames_received.inc();
        if self.setting.echo {
            self.shared().push(frame::payload(frame, spoken));
            return;
        }
        self.note_heard();
        let encoding = self.link.encoding();
        if spoken != encoding {
            let refused = Refused::new(ErrorCode::WrongEncoding, "this subprotocol has the other kind of frame");
            return self.fail(refused);
        }
        if encoding == Encoding::MsgPack && moves::is_move(frame) {
            return self.binary_move(frame);
        }
        match Request::decode(encoding, frame, &self.setting.limits) {
            Ok(request) => self.request(request, frame.len()),
            Err(refused) => self.refuse(refused, frame.len()),
        }
    }

    fn binary_move(&mut self, frame: &[u8]) {
        let Phase::Open { session, .. } = &self.phase else {
            return self.fail(Refused::new(ErrorCode::TokenMissing, "the first message is auth or resume"));
        };
        let hub = self.hub();
        match ClientMove::parse(frame, self.setting.limits.moves) {
            Ok(step) => {
                if let Err(refusal) = hub.relay(session, step, frame.len()) {
                    hub.refuse(session, refusal, "move");
                }
            }
            Err(code) => hub.refuse_unread(session, code.into(), frame.len()),
        }
    }

    /// A message that could not be read. Before there is a session that is the end.
    fn refuse(&mut self, refused: Refused, len: usize) {
        match &self.phase {
            Phase::Open { session, .. } => self.hub().refuse_unread(session, refused, len),
            Phase::Waiting { .. } | Phase::Opening => self.fail(refused),
        }
    }

    /// Says why and closes.
    fn fail(&mut self, refused: Refused) {
        let code = CloseCode::of_error(refused.code);
        self.metrics().refuse(refused.code);
        self.hub().witness().refused_to(self.caller(), refused.code);
        let detail = refused.message.clone();
        let last = ServerMessage::Error(Failed::of(&Refused { re: None, ..refused }));
        self.shared().close_after(Some(&last), code, &detail);
    }

    fn request(&mut self, request: Request, len: usize) {
        match (&self.phase, request) {
            (Phase::Waiting { .. }, Request::Auth { token, notifications_since }) => {
                let setting = self.setting.clone();
                self.open(async move { setting.admit(&token).await }, notifications_since);
            }
            (Phase::Waiting { .. }, Request::Resume(resume)) => {
                let (setting, link, caller) = (self.setting.clone(), self.shared(), self.caller().cloned());
                self.phase = Phase::Opening;
                self.begin(Box::pin(async move {
                    if let Some(token) = &resume.jwt {
                        setting.verifier.prepare(token).await;
                    }
                    let verify = |token: &str| setting.verify(token);
                    Some(setting.hub.resume(&resume, &link, caller.as_ref(), &verify).await)
                }));
            }
            (Phase::Waiting { .. }, _) => {
                self.fail(Refused::new(ErrorCode::TokenMissing, "the first message is auth or resume"));
            }
            (Phase::Opening, request) => self.wait_in_line(request, len),
            // What has no id has no answer whose order matters, and is not held up by what has.
            (Phase::Open { .. }, request) if self.busy.is_some() && request.id().is_some() => {
                self.wait_in_line(request, len);
            }
            (Phase::Open { session, .. }, request) => {
                let (setting, session) = (&self.setting, session.clone());
                if let Some(errand) = setting.hub.take(&session, request, len) {
                    self.begin(perform(setting.clone(), session, errand));
                }
            }
        }
    }

    fn wait_in_line(&mut self, request: Request, len: usize) {
        if let Some(busy) = &mut self.busy {
            busy.backlog.push((request, len));
        }
    }

    fn open(
        &mut self,
        granted: impl Future<Output = Result<Grant, Refused>> + Send + 'static,
        notifications_since: Option<Position>,
    ) {
        let (hub, link, caller) = (self.hub().clone(), self.shared(), self.caller().cloned());
        self.phase = Phase::Opening;
        self.begin(Box::pin(async move {
            Some(match granted.await {
                Ok(grant) => hub.open_session(grant, &link, notifications_since, caller.as_ref()).await,
                Err(refused) => Err(refused),
            })
        }));
    }

    /// Carries work out at once if it needs nothing from elsewhere, or keeps it until it has it.
    fn begin(&mut self, mut work: Work) {
        let mut now = Context::from_waker(Waker::noop());
        match work.as_mut().poll(&mut now) {
            Poll::Ready(done) => self.worked(done),
            // The task polls it again with its own waker before it waits.
            Poll::Pending => self.busy = Some(Box::new(Busy { work, backlog: Vec::new() })),
        }
    }

    fn worked(&mut self, done: Option<Result<Arc<SessionCell>, Refused>>) {
        let _turn = Turn::begin();
        let backlog = self.busy.take().map(|busy| busy.backlog).unwrap_or_default();
        match done {
            None => {}
            Some(Ok(session)) => {
                let until = session.lock().grant().expires_at_ms;
                let until = Millis(until).after(self.hub().limits().expiry_grace_ms);
                self.phase = Phase::Open { session, until, heard: false };
                self.pulse = pulse(self.hub());
                self.opened = true;
            }
            Some(Err(refused)) => self.fail(refused),
        }
        for (request, len) in backlog {
            match &mut self.busy {
                Some(busy) => busy.backlog.push((request, len)),
                None => self.request(request, len),
            }
        }
    }

    /// The end: unfinished work is finished, the session ends or waits for its client, the peer gets
    /// time to read why.
    async fn finish(mut self) {
        let standing = self.link.standing();
        if let Some(busy) = self.busy.take()
            && let Some(Ok(session)) = busy.work.await
        {
            self.phase = Phase::Open { session, until: Millis(0.0), heard: false };
        }
        if let Phase::Open { session, .. } = &self.phase {
            let reason = match (self.ended, standing.closing) {
                (_, Some(CloseCode::SlowConsumer)) => LeaveReason::Slow,
                (_, Some(CloseCode::TokenExpired)) => LeaveReason::Expired,
                (_, Some(CloseCode::Shutdown)) => LeaveReason::Shutdown,
                (Some(reason), _) => reason,
                (None, _) => LeaveReason::Lost,
            };
            let ends = match standing.closing {
                Some(code) => matches!(code.action(), Action::Stop | Action::Rejoin),
                None => reason == LeaveReason::Closed,
            };
            let code = standing.closing.map(CloseCode::number).or(self.said).unwrap_or(NO_CLOSE);
            self.hub().part(session, &self.shared(), reason, ends, code).await;
        }
        // Somebody else's turn may have promised to flush this link and not have come to it yet. What says why must be out
        // before the socket is shut.
        self.link.flush_by_owner();
        if !standing.broken {
            self.link.carrier().say_goodbye();
        }
        if !standing.broken && standing.closing.is_some() {
            self.link.carrier().linger().await;
        }
    }
}

fn perform(setting: Arc<Setting>, session: Arc<SessionCell>, errand: Errand) -> Work {
    Box::pin(async move {
        let hub = setting.hub.clone();
        if let Some(token) = errand.token() {
            setting.verifier.prepare(token).await;
        }
        hub.perform(&session, errand, &|token| setting.verify(token)).await;
        None
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::config::Config;

    fn setting() -> Arc<Setting> {
        let mut config = Config::default();
        config.auth.dev = true;
        let verifier = Arc::new(Verifier::new(&config.auth).unwrap());
        let resume_key = crate::auth::ResumeKey::new(&config.auth).unwrap();
        let hub = Hub::new(Arc::new(config), Arc::new(Metrics::new()), resume_key);
        Arc::new(Setting::new(hub, verifier))
    }

    /// A connection and its peer.
    async fn connected() -> (Connection, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let setting = setting();
        let hub = setting.hub.clone();
        let link = hub.link(Encoding::Json, socket.into());
        let connection = Connection {
            link,
            parser: Parser::default(),
            phase: Phase::Opening,
            busy: None,
            pulse: pulse(&hub),
            opened: false,
            ping: None,
            ended: None,
            said: None,
            place: None,
            setting,
        };
        (connection, peer)
    }

    /// The thread that has marked a link for its flush may be late. The close frame goes out all the same.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_close_does_not_wait_for_the_turn_of_another_thread() {
        use tokio::io::AsyncReadExt;
        let (mut connection, mut peer) = connected().await;
        let shared = connection.shared();
        let (marked, is_marked) = std::sync::mpsc::sync_channel(1);
        let (read, is_read) = std::sync::mpsc::sync_channel(1);
        let other = std::thread::spawn(move || {
            let _turn = Turn::begin();
            shared.push(frame::payload(b"{}", Encoding::Json));
            marked.send(()).unwrap();
            _ = is_read.recv();
        });
        is_marked.recv().unwrap();
        connection.shared().close(CloseCode::NoPong, "");
        connection.ended = Some(LeaveReason::Lost);
        let finished = tokio::spawn(connection.finish());
        let mut seen = Vec::new();
        peer.read_to_end(&mut seen).await.unwrap();
        drop(peer);
        read.send(()).unwrap();
        finished.await.unwrap();
        other.join().unwrap();
        assert_eq!(seen[2..4], CloseCode::NoPong.number().to_be_bytes(), "{seen:?}");
    }

    /// RFC 6455 section 5.5.1. The answer to a request in the same packet goes first; what comes later is dropped.
    #[tokio::test]
    async fn nothing_follows_the_answer_to_a_close() {
        use tokio::io::AsyncReadExt;
        let (mut connection, mut peer) = connected().await;
        let shared = connection.shared();
        {
            let _turn = Turn::begin();
            shared.push(frame::payload(b"answer", Encoding::Json));
            connection.take_in(&mut [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);
            shared.push(frame::payload(b"late", Encoding::Json));
            shared.close(CloseCode::Shutdown, "");
        }
        drop(shared);
        connection.finish().await;
        let mut seen = Vec::new();
        peer.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"\x81\x06answer\x88\x02\x03\xe8");
    }

    /// The future is the largest single part of what an idle connection costs.
    #[tokio::test]
    async fn a_connection_is_small() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let future = run(socket.into(), Vec::new(), Bytes::new(), Encoding::Json, Opening::Asked, setting(), None);
        let sizes = [
            ("future", size_of_val(&future)),
            ("parser", size_of::<Parser>()),
            ("link", size_of::<Link<Socket>>()),
            ("session", size_of::<SessionCell>()),
            ("grant", size_of::<Grant>()),
            ("publication", size_of::<crate::room::history::Publication>()),
            ("member", size_of::<crate::room::Member>()),
        ];
        println!("{sizes:?}");
        // With what the runtime and the allocator add, each fills one of the allocator's sizes to its end.
        let at_most = [384, 32, 144, 304, 112, 80, 152];
        for ((what, size), limit) in sizes.into_iter().zip(at_most) {
            assert!(size <= limit, "{what}: {size} bytes, at most {limit}");
        }
    }
}
