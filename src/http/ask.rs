//! One HTTP request as the routes see it: path parameters decoded once, the query taken apart, the
//! credential gathered.

use std::{
    borrow::Cow,
    fmt::Display,
    hash::Hash,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, Method, header};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use rallypoint_protocol::{
    ErrorCode, Kind, PeerId, RoomName, UserName,
    codec::Refused,
    event::{From, Millis},
    rights,
};
use serde::de::DeserializeOwned;

use super::Context;
use crate::{
    audit::{Caller, What},
    auth::{
        AdminRight, AdminRights, Grant,
        credentials::{self, Credential, CredentialRules, Door, Presented},
    },
    broker::Dedup,
    ceilings::{Place, TurnedAway},
    hub::tickets::{Home, Purpose},
    pace::Pace,
    session::Refusal,
};

/// Whom a request came from; put into the request by the accept loop.
pub struct Peer {
    /// The other end of the socket.
    pub address: SocketAddr,
    /// Its place under the ceilings.
    pub place: Arc<Place>,
    /// The last good token that came this way.
    known: Mutex<Option<Known>>,
}

/// A token, and what it allows while it lasts.
struct Known {
    token: Box<str>,
    /// Where its signature begins.
    signature: usize,
    grant: Arc<Grant>,
    /// [`Verifier::changes`](crate::auth::Verifier::changes) before it was checked.
    changes: u64,
}

impl Known {
    fn new(token: &str, grant: Arc<Grant>, changes: u64) -> Self {
        let signature = token.rfind('.').unwrap_or_default();
        Self { token: token.into(), signature, grant, changes }
    }

    /// Whether this is the token. What makes it one is the signature: nobody may find that out bit by bit from how long
    /// this takes.
    fn is(&self, shown: &str) -> bool {
        let [known, shown] = [self.token.as_bytes(), shown.as_bytes()];
        known.len() == shown.len()
            && known[..self.signature] == shown[..self.signature]
            && verify_slices_are_equal(&known[self.signature..], &shown[self.signature..]).is_ok()
    }
}

impl Peer {
    /// Somebody who has not said anything.
    pub fn new(address: SocketAddr, place: Arc<Place>) -> Self {
        Self { address, place, known: Mutex::new(None) }
    }
}

/// A path segment, percent-decoded exactly once. warp does not decode, and `/` inside a name is
/// encoded, so decoding earlier or twice would tear names apart.
#[derive(Debug)]
pub(super) struct Segment(Result<String, ErrorCode>);

impl FromStr for Segment {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole =
            |at: usize| text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let broken = text.bytes().enumerate().any(|(at, byte)| byte == b'%' && !whole(at));
        let decoded = percent_decode_str(text).decode_utf8().map(Cow::into_owned);
        Ok(Self(if broken { Err(ErrorCode::BadName) } else { decoded.map_err(|_| ErrorCode::BadName) }))
    }
}

impl Segment {
    /// The segment as a room that clients may name.
    pub(super) fn room(&self) -> Result<RoomName, ErrorCode> {
        let room = RoomName::new(self.0.as_deref().map_err(|code| *code)?)?;
        if room.is_reserved() { Err(ErrorCode::ReservedName) } else { Ok(room) }
    }

    /// The segment as a user.
    pub(super) fn user(&self) -> Result<UserName, ErrorCode> {
        UserName::new(self.0.as_deref().map_err(|code| *code)?)
    }

    /// The segment as a peer.
    pub(super) fn peer(&self) -> Result<PeerId, ErrorCode> {
        PeerId::parse(self.0.as_deref().map_err(|code| *code)?)
    }
}

/// <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#the-last-event-id-header>
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// A request.
pub(super) struct Ask {
    /// The server's parts.
    pub(super) context: Arc<Context>,
    /// `GET`, `POST` …
    pub(super) method: Method,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// The query, pair by pair, decoded.
    pub(super) query: Vec<(String, String)>,
    /// When it came.
    pub(super) now: Millis,
    /// Who asks; unknown only to tests without a socket.
    pub(super) peer: Option<Arc<Peer>>,
    /// Its place under the ceilings: the connection's, or behind a proxy one of its own.
    pub(super) place: Option<Arc<Place>>,
    /// The same for the audit log, where there is one.
    pub(super) caller: Option<Arc<Caller>>,
    body: Body,
}

/// Characters of a refused Origin that are told.
const ORIGIN_SHOWN: usize = 100;

/// Pairs of a query at most; sixteen rooms and whatever else there is fit well.
const QUERY_MAX: usize = 64;

impl Ask {
    /// Puts a request together. `route` is how the specification calls its path.
    pub(super) fn new<B: Buf>(
        context: Arc<Context>,
        route: &'static str,
        method: Method,
        headers: HeaderMap,
        query: &str,
        peer: Option<Arc<Peer>>,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
    ) -> Self {
        let query = pairs(query);
        let whole = |mut part: B| part.copy_to_bytes(part.remaining());
        let body = Box::pin(body.map(move |part| part.map(whole)));
        let now = context.hub.now();
        let place = peer.as_ref().map(|peer| peer.place.clone());
        let mut ask = Self { context, method, headers, query, now, peer, place, caller: None, body };
        if ask.context.hub.witness().audit().is_some() {
            ask.caller = Some(Arc::new(Caller::new(ask.from(), ask.origin(), &ask.method, route)));
        }
        ask
    }

    /// Tells the audit log what came of it, where there is one.
    pub(super) fn tell(&self, what: What<'_>) {
        self.context.hub.witness().asked(self.caller.as_ref(), what);
    }

    /// A header as text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The lines of a header as UTF-8, which cookies of other applications may hold. What is no text
    /// stays as an empty line: a credential that cannot be read is a bad one, not none.
    fn lines(&self, name: impl header::AsHeaderName) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|line| std::str::from_utf8(line.as_bytes()).unwrap_or_default()).collect()
    }

    /// The `Origin`, if there is one.
    pub(super) fn origin(&self) -> Option<&str> {
        // An origin that is not even text is certainly not on the list.
        self.headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"))
    }

    /// The first value of a query parameter.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a query parameter.
    pub(super) fn params<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A number in the query, within bounds.
    pub(super) fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        default: T,
        range: [T; 2],
    ) -> Result<T, Refused> {
        let Some(text) = self.param(name) else { return Ok(default) };
        let [min, max] = range;
        match text.parse() {
            Ok(value) if value >= min && value <= max => Ok(value),
            _ => Err(Refused::new(ErrorCode::BadValue, format!("`{name}` is a number from {min} to {max}"))),
        }
    }

    /// Refuses haste, an Origin that is not on the list, a query that is out of all proportion, and too many of one
    /// address.
    pub(super) fn check(&mut self) -> Result<(), Refusal> {
        self.check_haste()?;
        self.check_origin()?;
        self.take_place()?;
        if self.query.len() > QUERY_MAX {
            return Err(Refused::new(ErrorCode::TooBig, "too many query parameters").into());
        }
        Ok(())
    }

    /// Refuses haste.
    pub(super) fn check_haste(&self) -> Result<(), Refusal> {
        let Some(from) = self.from() else { return Ok(()) };
        self.keep_pace(&self.context.paces.address, &from, "requests_per_second_per_ip")
    }

    /// The address of whoever asks, as far as it can be known.
    fn from(&self) -> Option<IpAddr> {
        Some(self.context.proxies.client(self.peer.as_ref()?.address.ip(), &self.headers))
    }

    /// Behind a proxy a guest counts for its own address, for as long as what it asks for lasts.
    fn take_place(&mut self) -> Result<(), Refusal> {
        if let (Some(peer), Some(from)) = (&self.peer, self.from())
            && self.context.proxies.trusts(peer.address.ip())
        {
            let place = peer.place.behind(from).map_err(|TurnedAway { code, limit, wait }| {
                let refused = Refused::new(code, format!("too many connections: limits.{limit}"));
                Refusal { limit: Some(limit), ..refused.for_now(wait).into() }
            })?;
            self.place = Some(place);
        }
        Ok(())
    }

    /// A browser does not show its page why a WebSocket was refused, so the log says it to whoever has set up the server.
    fn check_origin(&self) -> Result<(), Refused> {
        let origin = self.origin();
        self.context.origins.check(origin).map_err(|code| {
            let Some(origin) = origin else {
                return Refused::new(code, "an Origin header is needed here: `allow_no_origin` is off");
            };
            let origin: String = origin.chars().take(ORIGIN_SHOWN).collect();
            tracing::info!(origin, "a page was refused: `origins` does not list where it comes from");
            Refused::new(code, format!("`origins` does not list {origin}"))
        })
    }

    /// Refuses haste; `limit` is how the configuration calls the pace.
    pub(super) fn keep_pace<K: Eq + Hash + Clone>(
        &self,
        pace: &Pace<K>,
        key: &K,
        limit: &'static str,
    ) -> Result<(), Refusal> {
        pace.take(key, self.now).map_err(|wait| {
            let refused = Refused::new(ErrorCode::RateLimited, format!("too fast: limits.{limit}"));
            Refusal { limit: Some(limit), ..refused.for_now(wait).into() }
        })
    }

    /// The one credential of the request.
    pub(super) fn credential(&self, door: Door) -> Result<Option<Credential<'_>>, ErrorCode> {
        let auth = &self.context.hub.config().auth;
        let query = auth.query_token || self.context.hub.config().dev;
        let rules = CredentialRules { cookie: &auth.cookie, query, origins: &self.context.origins };
        let presented = Presented {
            authorization: self.lines(header::AUTHORIZATION),
            subprotocols: self.lines(header::SEC_WEBSOCKET_PROTOCOL),
            cookies: self.lines(header::COOKIE),
            query: self.params("token").collect(),
            tickets: self.params("ticket").collect(),
            origin: self.origin(),
            sec_fetch_site: self.header(SEC_FETCH_SITE),
            door,
        };
        credentials::gather(&presented, &rules)
    }

    /// What a token allows. Somebody who shows the same one again, as each poll does, need not have its signature
    /// checked again; what time and others may have changed is.
    async fn verify(&self, token: &str) -> Result<Arc<Grant>, Refused> {
        let Context { hub, verifier, sockets, .. } = &*self.context;
        let changes = verifier.changes();
        let known = self.peer.as_ref().and_then(|peer| {
            let known = peer.known.lock();
            let good = known.as_ref().filter(|known| known.changes == changes && known.is(token));
            good.map(|known| known.grant.clone())
        });
        if let Some(grant) = known {
            verifier.check_time(&grant, self.now.0)?;
            return hub.admit(grant);
        }
        verifier.prepare(token).await;
        let grant = Arc::new(sockets.verify(token)?);
        if let Some(peer) = &self.peer {
            *peer.known.lock() = Some(Known::new(token, grant.clone(), changes));
        }
        Ok(grant)
    }

    /// What the credential allows. Back ends, whose tokens have an admin right, are not slowed down.
    pub(super) async fn grant(&self, door: Door) -> Result<Arc<Grant>, Refusal> {
        match self.credential(door)? {
            Some(Credential::Token(token)) => self.grant_of(token).await,
            Some(Credential::Ticket(_)) => Err(ErrorCode::CredentialNotAccepted.into()),
            None => Err(token_missing().into()),
        }
    }

    async fn grant_of(&self, token: &str) -> Result<Arc<Grant>, Refusal> {
        let grant = self.verify(token).await?;
        self.caller.iter().for_each(|caller| caller.is(&grant.user));
        if grant.admin == AdminRights::NONE {
            self.keep_pace(&self.context.paces.user, &grant.user, "requests_per_second_per_user")?;
        }
        Ok(grant)
    }

    /// As [`grant`](Self::grant), for a feed, which a ticket opens as well: that is returned beside what it allows.
    pub(super) async fn feed_grant(&self, purpose: Purpose) -> Result<(Arc<Grant>, Option<&str>), Refusal> {
        match self.credential(Door::Feed)? {
            Some(Credential::Token(token)) => Ok((self.grant_of(token).await?, None)),
            Some(Credential::Ticket(ticket)) => {
                let Context { hub, paces, .. } = &*self.context;
                let grant = hub.tickets().grant(ticket, purpose, &self.home(), self.now)?;
                self.caller.iter().for_each(|caller| caller.is(&grant.user));
                self.keep_pace(&paces.user, &grant.user, "requests_per_second_per_user")?;
                Ok((hub.admit(grant)?, Some(ticket)))
            }
            None => Err(token_missing().into()),
        }
    }

    /// The page that asks.
    pub(super) fn home(&self) -> Home {
        let is_own = self.header(SEC_FETCH_SITE) == Some("same-origin");
        Home { origin: self.origin().map(Into::into), is_own }
    }

    /// A grant that allows what a route of the rights table needs in `room`, or has an admin right
    /// that stands in for it.
    pub(super) async fn granted(
        &self,
        route: &str,
        door: Door,
        room: &RoomName,
        admin: Option<AdminRight>,
    ) -> Result<Arc<Grant>, Refusal> {
        let grant = self.grant(door).await?;
        let verb = rights::rule_of(route).verb;
        let allowed = verb.is_some_and(|verb| grant.allows(room, verb));
        match verb {
            _ if allowed || admin.is_some_and(|right| grant.has_admin(right)) => Ok(grant),
            Some(verb) => Err(crate::session::forbidden(verb).into()),
            None => Err(ErrorCode::Forbidden.into()),
        }
    }

    /// A grant with an admin right.
    pub(super) async fn admin(&self, door: Door, right: AdminRight) -> Result<Arc<Grant>, Refusal> {
        let grant = self.grant(door).await?;
        if grant.has_admin(right) {
            return Ok(grant);
        }
        Err(Refused::new(ErrorCode::Forbidden, format!("the token does not grant admin `{}`", right.name())).into())
    }

    /// The JSON body, bounded in size and time, and of the right type.
    pub(super) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Refused> {
        let kind = self.header(header::CONTENT_TYPE).unwrap_or_default();
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Refused::new(ErrorCode::UnsupportedMediaType, "the body is application/json"));
        }
        let limits = self.context.hub.limits();
        let (max, depth) = (limits.frame, limits.json_depth);
        let deadline = Duration::from_millis(limits.header_deadline_ms);
        let body = &mut self.body;
        let whole = async {
            let mut bytes = BytesMut::new();
            while let Some(part) = body.next().await {
                let part = part.map_err(|_| Refused::new(ErrorCode::Malformed, "the body broke off"))?;
                if bytes.len() + part.len() > max {
                    return Err(Refused::new(ErrorCode::TooBig, format!("the body is larger than {max} bytes")));
                }
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        };
        // hyper times the head of a request and not its body; nobody may keep a connection with half of one.
        let Ok(bytes) = tokio::time::timeout(deadline, whole).await else {
            self.context.hub.metrics().limited("header_deadline_ms");
            return Err(Refused::new(ErrorCode::Malformed, "the body did not come in time"));
        };
        rallypoint_protocol::codec::decode_body(&bytes?, depth)
    }

    /// The key under which a publication is recognised when it is tried again.
    pub(super) fn dedup(&self, user: &UserName) -> Result<Option<Dedup>, Refused> {
        let Some(key) = self.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
        // What is not even ASCII is no less wrong.
        let key = key.to_str().unwrap_or_default();
        if key.is_empty() || key.len() > 64 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refused::new(ErrorCode::BadValue, "Idempotency-Key is 1 to 64 visible ASCII characters"));
        }
        Ok(Some(Dedup(format!("{user}\n{key}").into())))
    }
}

fn token_missing() -> Refused {
    Refused::new(ErrorCode::TokenMissing, "a token is needed")
}

/// The pairs of a query, at most one more than are accepted.
fn pairs(query: &str) -> Vec<(String, String)> {
    if query.bytes().fold(false, |any, byte| any | matches!(byte, b'%' | b'+')) {
        let pairs = form_urlencoded::parse(query.as_bytes()).take(QUERY_MAX + 1);
        return pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    }
    // Nothing is encoded, as in nearly every poll: it need only be cut.
    let parts = query.split('&').filter(|part| !part.is_empty()).take(QUERY_MAX + 1);
    let pair =
        |part: &str| part.split_once('=').map_or_else(|| (part.into(), String::new()), |(k, v)| (k.into(), v.into()));
    parts.map(pair).collect()
}

/// The user of a grant as the author of an event.
pub(super) fn author(grant: &Grant) -> From {
    From { peer: None, user: grant.user.clone(), name: grant.name.clone() }
}

/// A kind that may be published over HTTP: any of the application's own, and `message`.
pub(super) fn check_kind(kind: &Kind) -> Result<(), Refused> {
    if kind.as_str() == "message" { Ok(()) } else { rallypoint_protocol::request::check_kind(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_cut_as_the_library_does() {
        for query in ["", "&", "a", "a=", "=a", "a=b=c", "&&a=b&&c", "a=1&a=2&", "room=match/7:blue&after=AQ-_", "a=é"]
        {
            let library: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            assert_eq!(pairs(query), library, "{query}");
        }
        assert_eq!(pairs("a=1+2&b=%2F"), [("a".into(), "1 2".into()), ("b".into(), "/".into())]);
        assert_eq!(
            [pairs(&"a&".repeat(1000)), pairs(&"a=+&".repeat(1000))].map(|pairs| pairs.len()),
            [QUERY_MAX + 1; 2]
        );
    }

    #[test]
    fn tokens_are_told_apart_by_each_of_their_bytes() {
        let token = "head.claims.signature";
        let user = UserName::new("ada").unwrap();
        let known = Known::new(token, Arc::new(Grant::nobody(user)), 0);
        assert!(known.is(token));
        for at in 0..token.len() {
            let mut other = token.as_bytes().to_vec();
            other[at] ^= 1;
            assert!(!known.is(std::str::from_utf8(&other).unwrap()), "{at}");
        }
        for other in ["", "head", "head.claims.", "head.claims.signature.", "claims.signature", "head.claims.signatur"]
        {
            assert!(!known.is(other), "{other}");
        }
    }
}
