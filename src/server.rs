//! The accept loop: sockets come in, ceilings are kept, hyper speaks HTTP, and at the end
//! everybody is asked to leave.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinError, JoinHandle},
    time::Instant,
};
use tokio_rustls::server::TlsStream;
use tower_service::Service as _;
use warp::{filters::BoxedFilter, reply::Response};

use crate::{
    audit::{Audit, AuditError},
    auth::{OriginRules, ResumeKey, jwt::Verifier},
    ceilings::{Ceilings, Place, TurnedAway},
    config::Config,
    config::Limits,
    hangup::Hangup,
    http::{self as routes, Context, Paces, Peer, direct},
    hub::{Hub, clock::Clock, witness::Witness},
    metrics::Metrics,
    proxies::Proxies,
    tls::{Tls, TlsError},
    transport::{socket::linger, status::Status, ws},
    webhooks::{WebhookError, Webhooks},
};

/// hyper's read buffer per HTTP connection; it cannot be smaller.
const HTTP_BUFFER: usize = 8 * 1024;

/// Connections that may wait to be accepted: as many as `limits.accepts_burst` lets in at once, when it is not changed.
/// The kernel has a ceiling of its own (`net.core.somaxconn`, 4096 since Linux 5.4).
const BACKLOG: u32 = 4096;

/// Why a server could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {0}: {1}; --listen or RALLYPOINT_LISTEN names another address and port")]
    Listen(SocketAddr, io::Error),
    /// A key of the configuration cannot be used.
    #[error("{0}")]
    Keys(#[from] crate::auth::jwt::AuthConfigError),
    /// The secret of resume tokens cannot be used.
    #[error("auth.resume_secret: {0}")]
    ResumeKey(#[from] crate::auth::keys::KeyError),
    /// TLS is asked for and cannot be spoken.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The audit log cannot be written.
    #[error("audit.file: {0}")]
    Audit(#[from] AuditError),
    /// A webhook of the configuration cannot be used.
    #[error("webhooks: {0}")]
    Webhooks(#[from] WebhookError),
    /// A trusted proxy of the configuration cannot be read.
    #[error("{0}")]
    Proxies(#[from] crate::proxies::BadProxy),
    /// An origin rule of the configuration cannot be read.
    #[error("{0}")]
    Origins(#[from] crate::auth::origin::BadOriginRule),
}

/// A server that listens and does not answer yet.
pub struct Server {
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    context: Context,
    ceilings: Arc<Ceilings>,
    tls: Option<Arc<Tls>>,
    hangup: Hangup,
}

impl Server {
    /// Checks keys and origins, opens the sockets and raises the limit of descriptors.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let verifier = Arc::new(Verifier::new(&config.auth)?);
        let origins = Arc::new(OriginRules::new(&config.origins, config.dev, config.auth.allow_no_origin)?);
        let proxies = Arc::new(Proxies::new(&config.trusted_proxies, config.forwarded_header)?);
        let listener = listen(config.listen, &config.limits)?;
        let metrics_listener = config.metrics_listen.map(|at| listen(at, &config.limits)).transpose()?;
        let metrics = Arc::new(Metrics::new());
        let tls = Tls::new(&config.tls, metrics.clone())?;
        let resume_key = ResumeKey::new(&config.auth)?;
        if !resume_key.is_lasting() && config.limits.resume_grace_ms > 0 {
            tracing::warn!("without auth.resume_secret no session survives a restart of this server");
        }
        let clock = Clock::start();
        let audit = Audit::new(&config.audit, &metrics)?;
        let witness = Witness::new(clock, audit, Webhooks::new(&config.webhooks, clock, &metrics)?);
        let hub = Hub::witnessed(Arc::new(config), metrics.clone(), resume_key, witness);
        let ceilings = Arc::new(Ceilings::new(hub.limits(), metrics, hub.now()));
        let paces = Arc::new(Paces::new(hub.limits()));
        hub.metrics().started.set(hub.now().0 / 1000.0);
        if hub.config().pages && !routes::has_pages() {
            tracing::info!("built without the pages: `make pages` builds them");
        }
        let sockets = Arc::new(ws::Setting::new(hub.clone(), verifier.clone()));
        let status = Status::new(hub.clone());
        let context = Context { hub, verifier, origins, proxies, sockets, paces, status };
        Ok(Self { listener, metrics_listener, context, ceilings, tls, hangup: Hangup::listen() })
    }

    /// Makes it an echo for tests of the connection alone: a WebSocket needs neither token nor
    /// subprotocol, and each of its messages comes back as it came, through the same parser, outbox
    /// and socket. Only a program that links this library can ask for it; no file, variable or flag
    /// of the server's own binary leads here.
    #[must_use]
    pub fn echoing(mut self) -> Self {
        let Context { hub, verifier, .. } = &self.context;
        let setting = ws::Setting { echo: true, ..ws::Setting::new(hub.clone(), verifier.clone()) };
        self.context.sockets = Arc::new(setting);
        self
    }

    /// Where it listens; the port is known even if any free one was asked for.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or_else(|_| self.config().listen)
    }

    /// Where guests find it, as a browser writes it.
    pub fn url(&self) -> String {
        url(self.address(), self.tls.is_some())
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        self.context.hub.config()
    }

    /// The shared state, for tests that look inside.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.context.hub
    }

    /// Serves until `stop`, then asks everybody to leave and waits for them for the drain time.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let hub = self.context.hub.clone();
        let timers = tokio::spawn(hub.clone().run_timers());
        let engine = tokio::spawn({
            let hub = hub.clone();
            async move { hub.broker().run().await }
        });
        let debts = tokio::spawn(hub.clone().pay_debts());
        let load = tokio::spawn({
            let hub = hub.clone();
            async move { hub.load().follow().await }
        });
        let (leave, left) = watch::channel(());
        let context = Arc::new(self.context);
        let certificates = self.tls.clone().map(|tls| tokio::spawn(tls.follow(self.hangup.clone())));
        let audit = hub.witness().audit().cloned();
        let records = audit.clone().map(|audit| tokio::spawn(follow(audit, self.hangup.clone())));
        let keys = tokio::spawn(context.verifier.clone().follow(hub.metrics().clone()));
        let webhooks = hub.witness().webhooks().cloned();
        let hooks = webhooks.as_ref().map(|webhooks| webhooks.follow()).unwrap_or_default();
        let ceilings = self.ceilings.clone();
        let doors =
            Doors { ceilings, hub: hub.clone(), leaving: left, proxies: context.proxies.clone(), way: Way::Bare };
        let mut operator = self.metrics_listener.map(|listener| {
            let routes = routes::metrics_routes(context.clone());
            let ceilings = Arc::new(Ceilings::of_operator(hub.metrics().clone(), hub.now()));
            tokio::spawn(accept(listener, routes, Doors { ceilings, ..doors.clone() }))
        });
        let way = self.tls.map_or_else(|| Way::Direct(context.clone()), Way::Tls);
        let doors = Doors { way, ..doors };
        // A task like those that it makes, or each connection would be handed from one thread to another.
        let mut accepting = tokio::spawn(accept(self.listener, routes::routes(context), doors));
        tokio::select! {
            () = stop => {
                accepting.abort();
                // Nobody knocks in vain: once it is over the port is closed.
                _ = accepting.await;
            }
            // A server that takes nobody in any more, or tells nobody how it is, had better be started again.
            ended = &mut accepting => tracing::error!(?ended, "nobody is accepted any more"),
            ended = ended(operator.as_mut()) => tracing::error!(?ended, "nobody is accepted for metrics any more"),
        }
        tracing::info!("stopping");
        hub.drain().await;
        drop(leave);
        if let Some(webhooks) = &webhooks {
            webhooks.hurry();
        }
        let (begun, drain) = (Instant::now(), Duration::from_millis(hub.limits().drain_ms));
        if tokio::time::timeout(drain, self.ceilings.emptied()).await.is_err() {
            tracing::warn!("some connections did not end within the drain time");
        }
        if let Some(webhooks) = webhooks {
            // They have gone on meanwhile; the last guests may have left in the last moment.
            webhooks.drain(drain.saturating_sub(begun.elapsed())).await;
        }
        timers.abort();
        let tasks =
            certificates.into_iter().chain(operator).chain([keys, load, engine, debts]).chain(hooks).chain(records);
        tasks.for_each(|task| task.abort());
        if let Some(audit) = audit {
            // A thread that may wait: for a pipe that nobody reads, for instance.
            _ = tokio::task::spawn_blocking(move || audit.close(hub.now())).await;
        }
    }
}

/// Waits for the end of a task, for ever if there is none.
async fn ended(task: Option<&mut JoinHandle<()>>) -> Result<(), JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Opens a listener, with a queue that holds a burst: whoever finds it full is not refused, but tried again by the kernel
/// after a second, and nothing tells why.
///
/// What is set here holds for every connection that is accepted.
fn listen(at: SocketAddr, limits: &Limits) -> Result<TcpListener, StartError> {
    let open = || {
        let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A server that is started again need not wait for the connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        tune(&socket, limits);
        socket.listen(BACKLOG)
    };
    open().map_err(|error| StartError::Listen(at, error))
}

fn url(address: impl std::fmt::Display, tls: bool) -> String {
    format!("{}://{address}/", if tls { "https" } else { "http" })
}

/// What a `--dev` server says before anything else.
pub fn dev_warning(server: &Server) -> String {
    let mut warning = String::from(
        "\n  *** DEVELOPMENT MODE: anybody who reaches this port can make tokens for anything. ***\n  \
         *** Never run --dev where others can reach it.                                    ***\n",
    );
    if server.context.hub.config().pages && routes::has_pages() {
        let at = url(format_args!("localhost:{}", server.address().port()), server.tls.is_some());
        warning.push_str(&format!("\n  Open {at}call in two tabs to try a call.\n"));
    }
    warning
}

/// Has the audit log follow its file's name.
async fn follow(audit: Arc<Audit>, mut hangup: Hangup) {
    loop {
        hangup.heard().await;
        audit.reopen();
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Doors {
    ceilings: Arc<Ceilings>,
    hub: Arc<Hub>,
    /// Closed when the server stops.
    leaving: watch::Receiver<()>,
    proxies: Arc<Proxies>,
    way: Way,
}

impl Doors {
    fn enter(&self, from: SocketAddr) -> Result<Arc<Place>, TurnedAway> {
        let own = (!self.proxies.trusts(from.ip())).then(|| from.ip());
        self.ceilings.enter(own, self.hub.now())
    }
}

/// How a connection of a port begins.
#[derive(Clone)]
enum Way {
    /// With hyper, which finds all that there is.
    Bare,
    /// At the doors of guests and spectators, as long as it asks for nothing else.
    Direct(Arc<Context>),
    /// With a handshake of TLS, then with hyper.
    Tls(Arc<Tls>),
}

async fn accept(listener: TcpListener, routes: BoxedFilter<(Response,)>, doors: Doors) {
    loop {
        match listener.accept().await {
            Ok((socket, from)) => match doors.enter(from) {
                Ok(place) => _ = tokio::spawn(converse(socket, from, place, routes.clone(), doors.clone())),
                Err(away) => {
                    doors.hub.witness().turned_away(from.ip(), away.code);
                    turn_away(&socket, away);
                }
            },
            Err(error) if is_closed(&error) => return,
            Err(error) => {
                // Out of descriptors, most likely: those that end give some back.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Whether an error says that the listener listens no more, and no waiting will help. Whatever else accept(2) knows may
/// be of the connection that was to be accepted, EOPNOTSUPP among it: no guest must end the server with that.
fn is_closed(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::BADF | Errno::NOTSOCK))
}

/// Refuses a connection without spending a task on it.
fn turn_away(socket: &TcpStream, TurnedAway { code, limit, wait }: TurnedAway) {
    let status = http::StatusCode::from_u16(code.http_status()).unwrap_or(http::StatusCode::SERVICE_UNAVAILABLE);
    let body = serde_json::json!({
        "type": "about:blank",
        "title": code.name(),
        "status": status.as_u16(),
        "code": code,
        "detail": format!("too many connections: limits.{limit}"),
        "retry_after": wait,
    })
    .to_string();
    let seconds = wait.div_ceil(1000);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nretry-after: {seconds}\r\nconnection: close"
    );
    // A new socket has an empty send buffer; if not even this fits, there is nothing to be done.
    _ = socket.try_write(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
}

fn converse(
    socket: TcpStream,
    from: SocketAddr,
    place: Arc<Place>,
    routes: BoxedFilter<(Response,)>,
    doors: Doors,
) -> impl Future<Output = ()> + Send {
    let peer = Arc::new(Peer::new(from, place));
    let Doors { hub, leaving, way, .. } = doors;
    // Not an `async fn`, which would hold each argument twice. hyper's future is large: not a part of that of each
    // spectator.
    async move {
        match way {
            Way::Bare => Box::pin(converse_through_hyper(socket, peer, routes, hub, leaving)).await,
            Way::Direct(context) => {
                if let Some(socket) = direct::serve(socket, &context, &peer, leaving.clone()).await {
                    Box::pin(converse_through_hyper(socket, peer, routes, hub, leaving)).await;
                }
            }
            // All of it in one box: a session of TLS is large, too.
            Way::Tls(tls) => {
                let over_tls = async move {
                    if let Some(socket) = shake_hands(socket, &tls, &hub).await {
                        converse_through_hyper(socket, peer, routes, hub, leaving).await;
                    }
                };
                Box::pin(over_tls).await;
            }
        }
    }
}

/// What somebody gets who speaks HTTP where TLS is spoken.
const SPEAKS_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: \
    54\r\n\r\nThis port speaks TLS: begin with https:// or wss://.\r\n";

/// What a connection over TLS begins with: a record of the handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// The handshake of TLS, in the time in which a plain connection has to send a request.
async fn shake_hands(socket: TcpStream, tls: &Tls, hub: &Hub) -> Option<TlsStream<TcpStream>> {
    let deadline = Duration::from_millis(hub.limits().header_deadline_ms);
    let shake = async {
        let mut first = [0];
        if socket.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            return Ok(Err(socket));
        }
        tls.acceptor().accept(socket).await.map(Ok)
    };
    match tokio::time::timeout(deadline, shake).await {
        Ok(Ok(Ok(stream))) => return Some(stream),
        Ok(Ok(Err(in_the_clear))) => {
            hub.metrics().tls_failed.inc();
            _ = in_the_clear.try_write(SPEAKS_TLS);
            linger(&in_the_clear).await;
        }
        Ok(Err(error)) => {
            hub.metrics().tls_failed.inc();
            let error: io::Error = error;
            tracing::debug!(%error, "a handshake of TLS failed");
        }
        Err(_) => hub.metrics().limited("header_deadline_ms"),
    }
    None
}

async fn converse_through_hyper(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Arc<Peer>,
    routes: BoxedFilter<(Response,)>,
    hub: Arc<Hub>,
    mut leaving: watch::Receiver<()>,
) {
    let limits = hub.limits();
    let routed = Arc::new(AtomicBool::new(false));
    let service = warp::service(routes);
    let heard = routed.clone();
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        heard.store(true, Ordering::Relaxed);
        routes::complete(&mut request);
        request.extensions_mut().insert(peer.clone());
        service.clone().call(request)
    });
    let deadline = Duration::from_millis(limits.header_deadline_ms);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(deadline).max_buf_size(HTTP_BUFFER).keep_alive(true);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_millis(limits.ping_interval_ms));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let silence = tokio::time::sleep(deadline);
    let mut silence = std::pin::pin!(silence);
    let mut silent = true;
    let mut asked_to_leave = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(%error, "a connection ended badly");
                }
                return;
            }
            // A connection that sends nothing at all is not timed out by hyper.
            () = silence.as_mut(), if silent => {
                silent = false;
                if !routed.load(Ordering::Relaxed) {
                    hub.metrics().limited("header_deadline_ms");
                    return;
                }
            }
            _ = leaving.changed(), if !asked_to_leave => {
                asked_to_leave = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Small frames at once, stale ones in our outbox rather than in the kernel, and a peer that is gone
/// noticed while something is on its way to it: streams have no pings of their own.
fn tune(socket: &TcpSocket, limits: &Limits) {
    let socket = socket2::SockRef::from(socket);
    let mark = u32::try_from(limits.unsent_mark).unwrap_or(u32::MAX);
    // What was sent and is not acknowledged for so long will never be: the other end is gone.
    let gone = Duration::from_millis(limits.ping_interval_ms * (limits.ping_missed as u64 + 1));
    let options =
        [socket.set_tcp_nodelay(true), socket.set_tcp_notsent_lowat(mark), socket.set_tcp_user_timeout(Some(gone))];
    for set in options {
        if let Err(error) = set {
            tracing::warn!(%error, "a socket option was refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It had better be started again than live on where nobody reaches it, or knows how it is.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_stops_when_a_port_of_it_is_closed() {
        for of_operator in [false, true] {
            let free = ([127, 0, 0, 1], 0).into();
            let mut config = Config { listen: free, metrics_listen: Some(free), ..Config::default() };
            config.auth.dev = true;
            let server = Server::bind(config).await.unwrap();
            let listener = if of_operator { server.metrics_listener.as_ref().unwrap() } else { &server.listener };
            let port = rustix::io::dup(listener).unwrap();
            let running = tokio::spawn(server.run(std::future::pending()));
            rustix::net::shutdown(&port, rustix::net::Shutdown::Both).unwrap();
            tokio::time::timeout(Duration::from_secs(60), running).await.expect("it stops").unwrap();
        }
    }
}
