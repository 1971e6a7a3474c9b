//! All routes, read like a table of contents. warp stays on this side: what lies behind takes an
//! `Ask` and gives a response.

mod api;
mod ask;
mod assets;
mod dev;
pub(crate) mod direct;
mod feed;
mod problem;
mod tickets;
mod upgrade;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderValue, Method, StatusCode, Uri, header};
use rallypoint_protocol::{ErrorCode, UserName, codec::Refused};
use warp::{
    Filter, Rejection,
    filters::BoxedFilter,
    reply::{Reply, Response},
};

pub use ask::Peer;
use ask::{Ask, Segment};

use crate::{
    audit::Caller,
    auth::{OriginRules, jwt::Verifier},
    config::Limits,
    hub::Hub,
    pace::Pace,
    proxies::Proxies,
    session::Refusal,
    transport::{sse, status::Status, telling, ws},
};

/// What every route has at hand.
pub struct Context {
    /// The shared state.
    pub hub: Arc<Hub>,
    /// Who checks tokens.
    pub verifier: Arc<Verifier>,
    /// Which pages may come.
    pub origins: Arc<OriginRules>,
    /// Who may say whom it speaks for.
    pub proxies: Arc<Proxies>,
    /// What a WebSocket needs.
    pub sockets: Arc<ws::Setting>,
    /// How fast requests may come.
    pub paces: Arc<Paces>,
    /// What operators can follow.
    pub status: Arc<Status>,
}

/// How fast HTTP requests may come from one address and with tokens of one user.
pub struct Paces {
    address: Pace<IpAddr>,
    user: Pace<UserName>,
    /// Those for ICE servers.
    ice: Pace<UserName>,
}

impl Paces {
    /// From the configuration.
    pub fn new(limits: &Limits) -> Self {
        Self {
            address: Pace::new(limits.requests_per_second_per_ip, limits.requests_burst_per_ip),
            user: Pace::new(limits.requests_per_second_per_user, limits.requests_burst_per_user),
            ice: Pace::new(limits.ice_requests_per_second_per_user, limits.ice_requests_burst_per_user),
        }
    }
}

/// What a route came to: a response, or a refusal that becomes a problem document.
type Answer<B> = Result<http::Response<B>, Refusal>;

/// Whether the pages are in this binary.
pub fn has_pages() -> bool {
    assets::are_built()
}

/// Every route of the one port. Paths come first, methods second: a wrong path is 404, a wrong
/// method 405.
pub fn routes(context: Arc<Context>) -> BoxedFilter<(Response,)> {
    let pages = context.hub.config().pages;
    let ask = |route| ask_filter(context.clone(), route);

    let socket =
        warp::path!("v1" / "ws").and(ask("/v1/ws")).and(warp::ext::optional()).then(upgrade::open_through_hyper);
    let events = warp::path!("v1" / "events")
        .and(ask("/v1/events"))
        .then(|ask| feed::events(ask, |events| warp::reply::stream(sse::stream(events)).into_response().into_body()));
    let status = warp::path!("v1" / "status").and(ask("/v1/status")).then(|ask| {
        feed::status(ask, |reader| warp::reply::stream(telling::stream(reader)).into_response().into_body())
    });
    let trace = warp::path!("v1" / "rooms" / Segment / "trace").and(ask("/v1/rooms/{room}/trace")).then(|room, ask| {
        feed::trace(room, ask, |reader| warp::reply::stream(telling::stream(reader)).into_response().into_body())
    });
    let poll = warp::path!("v1" / "poll").and(ask("/v1/poll")).then(feed::poll);
    let rooms = warp::path!("v1" / "rooms").and(ask("/v1/rooms")).then(api::rooms);
    let room = warp::path!("v1" / "rooms" / Segment).and(ask("/v1/rooms/{room}")).then(api::room);
    let publish =
        warp::path!("v1" / "rooms" / Segment / "events").and(ask("/v1/rooms/{room}/events")).then(api::publish);
    let members =
        warp::path!("v1" / "rooms" / Segment / "members").and(ask("/v1/rooms/{room}/members")).then(api::members);
    let member = warp::path!("v1" / "rooms" / Segment / "members" / Segment)
        .and(ask("/v1/rooms/{room}/members/{peer}"))
        .then(api::member);
    let notify = warp::path!("v1" / "users" / Segment / "notifications")
        .and(ask("/v1/users/{user}/notifications"))
        .then(api::notify);
    let sessions =
        warp::path!("v1" / "users" / Segment / "sessions").and(ask("/v1/users/{user}/sessions")).then(api::sessions);
    let ticket = warp::path!("v1" / "tickets").and(ask("/v1/tickets")).then(tickets::issue);
    let ice = warp::path!("v1" / "ice-servers").and(ask("/v1/ice-servers")).then(api::ice_servers);
    let dev = warp::path!("dev" / "token").and(ask("/dev/token")).then(dev::token);
    let health = warp::path!("healthz").and(ask("/healthz")).then(api::healthy);
    let ready = warp::path!("readyz").and(ask("/readyz")).then(api::ready);
    let metrics = warp::path!("metrics").and(ask("/metrics")).then(api::metrics);
    let page = warp::path::tail().and(ask("/{path}")).then(move |tail, ask| assets::page(tail, ask, pages));

    let doors = socket.or(events).unify().or(status).unify().or(poll).unify().or(trace).unify().boxed();
    let back_end = rooms.or(room).unify().or(publish).unify().or(members).unify().or(member).unify().boxed();
    let users = notify.or(sessions).unify().or(ticket).unify().or(ice).unify().or(dev).unify().boxed();
    let operator = health.or(ready).unify().or(metrics).unify().boxed();
    doors.or(back_end).unify().or(users).unify().or(operator).unify().or(page).unify().recover(broken).unify().boxed()
}

/// Makes a request fit for the routes. `CONNECT host:80` names no path, and warp panics on that; as
/// a request for `*`, which no route serves, it is refused like any other. Over HTTP/2 the host stands beside the path
/// (RFC 9113 section 8.3.1), where no route looks for it.
pub fn complete<B>(request: &mut http::Request<B>) {
    if !request.headers().contains_key(header::HOST)
        && let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    // warp overlooks a slash at the end, which makes it another path.
    let path = request.uri().path();
    if request.uri().path_and_query().is_none() || path.len() > 1 && path.ends_with('/') {
        *request.uri_mut() = Uri::from_static("*");
    }
}

/// Only `/metrics`, for a port of its own.
pub fn metrics_routes(context: Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("metrics").and(ask_filter(context, "/metrics")).then(api::metrics_open).recover(broken).unify().boxed()
}

/// Extracts the [`Ask`] of a request.
fn ask_filter(
    context: Arc<Context>,
    route: &'static str,
) -> impl Filter<Extract = (Ask,), Error = Rejection> + Clone + Send + Sync + 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let context = warp::any().map(move || context.clone());
    context
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional())
        .and(warp::body::stream())
        .map(move |context, method, headers, query: String, peer, body| {
            Ask::new(context, route, method, headers, &query, peer, body)
        })
}

/// What warp itself refuses.
async fn broken(rejection: Rejection) -> Result<Response, Rejection> {
    tracing::debug!(?rejection, "no route took the request");
    Ok(problem::of(ErrorCode::NotFound))
}

/// Lets a route answer for the methods it has; others get 405, preflights their answer. No `async fn`, which would hold the
/// request twice.
fn on<B, F>(mut ask: Ask, allowed: &[Method], run: impl FnOnce(Ask) -> F) -> impl Future<Output = http::Response<B>>
where
    B: From<String>,
    F: Future<Output = Answer<B>>,
{
    let checked = ask.check();
    on_checked(ask, checked, allowed, run)
}

/// As [`on`], for what is no secret: wherever the question comes from it is answered, though only a page of ours may read
/// the answer. A browser asks for the scripts of the server's own pages with their Origin, which nobody need list.
fn on_open<B, F>(ask: Ask, allowed: &[Method], run: impl FnOnce(Ask) -> F) -> impl Future<Output = http::Response<B>>
where
    B: From<String>,
    F: Future<Output = Answer<B>>,
{
    let checked = ask.check_haste();
    on_checked(ask, checked, allowed, run)
}

async fn on_checked<B, F>(
    ask: Ask,
    checked: Result<(), Refusal>,
    allowed: &[Method],
    run: impl FnOnce(Ask) -> F,
) -> http::Response<B>
where
    B: From<String>,
    F: Future<Output = Answer<B>>,
{
    let (context, page) = (ask.context.clone(), Page::of(&ask));
    let answer = match checked {
        Err(refusal) => Err(refusal),
        Ok(()) if ask.method == Method::OPTIONS => Ok(preflight(allowed)),
        Ok(()) if allowed.contains(&ask.method) => run(ask).await,
        Ok(()) => Err(ErrorCode::MethodNotAllowed.into()),
    };
    let not_allowed = matches!(&answer, Err(refusal) if refusal.refused.code == ErrorCode::MethodNotAllowed);
    let mut response = page.response(&context, answer);
    if not_allowed {
        response.headers_mut().insert(header::ALLOW, methods(allowed));
    }
    response
}

/// What of a request its answer depends on.
struct Page {
    /// The page that it comes from, if it says so.
    origin: Option<HeaderValue>,
    caller: Option<Arc<Caller>>,
}

impl Page {
    fn of(ask: &Ask) -> Self {
        let origin = ask.origin().and_then(|origin| HeaderValue::from_str(origin).ok());
        Self { origin, caller: ask.caller.clone() }
    }

    /// The answer as a response that the page may read, if it is one of ours.
    fn response<B: From<String>>(&self, context: &Context, answer: Answer<B>) -> http::Response<B> {
        let (origins, metrics) = (&context.origins, context.hub.metrics());
        let mut response = answer.unwrap_or_else(|Refusal { refused, limit, .. }| {
            tracing::debug!(code = refused.code.number(), detail = &*refused.message, "refused");
            metrics.refuse(refused.code);
            context.hub.witness().refused_to(self.caller.as_ref(), refused.code);
            limit.into_iter().for_each(|limit| metrics.limited(limit));
            problem::reply(&refused)
        });
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.origin
            && origin.to_str().is_ok_and(|text| origins.check(Some(text)).is_ok())
        {
            let cookies = origin.to_str().is_ok_and(|text| origins.allows_cookies(text));
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if cookies {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
        response
    }
}

/// The answer where there is no such route: no less than elsewhere haste is refused, and a page of ours may read it.
fn nowhere<B: From<String>>(ask: &Ask, hint: &'static str) -> http::Response<B> {
    let refusal = ask.check_haste().err().unwrap_or_else(|| Refused::new(ErrorCode::NotFound, hint).into());
    Page::of(ask).response(&ask.context, Err(refusal))
}

fn methods(allowed: &[Method]) -> HeaderValue {
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("GET"))
}

/// The answer to a CORS preflight (<https://fetch.spec.whatwg.org/#cors-preflight-fetch>).
fn preflight<B: From<String>>(allowed: &[Method]) -> http::Response<B> {
    let mut response = http::Response::new(String::new().into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods(allowed));
    let accepted = HeaderValue::from_static("Authorization, Content-Type, Last-Event-ID, Idempotency-Key");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, accepted);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// A JSON response.
fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let mut response = json_text(serde_json::to_vec(body).expect("our own values always have a JSON form"));
    *response.status_mut() = status;
    response
}

/// A good response of JSON that is written already.
fn json_text<B: From<Vec<u8>>>(text: Vec<u8>) -> http::Response<B> {
    let mut response = http::Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
