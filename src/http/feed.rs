//! The spectators' doors: SSE and long poll over the same feed, under the same cursor; and the operators' stream.

use std::{pin::pin, time::Duration};

use http::{HeaderValue, Method, Response, header};
use rallypoint_protocol::{
    Cursor, ErrorCode, PeerId, Position, RoomName, codec::Refused, event::Millis, position::FEED_ROOMS_MAX, request,
};

use super::{
    ask::{self, Ask, Segment},
    json_text, on,
};
use crate::{
    auth::{AdminRight, Grant, credentials::Door},
    hub::{
        feeds::{Feed, Start},
        tickets::Purpose,
    },
    session::Refusal,
    transport::{poll::LongPoll, sse::Events, status, trace},
};

/// `GET /v1/events`; `carry` makes a body of the stream.
pub(super) async fn events<B: From<String>>(ask: Ask, carry: impl FnOnce(Events) -> B) -> Response<B> {
    on(ask, &[Method::GET], |ask| async move {
        let Subscription { feed, until, .. } = subscribe(&ask, Purpose::Events).await?;
        Ok(event_stream(carry(Events::new(feed, until, ask.place))))
    })
    .await
}

/// `GET /v1/status`, for those who may; `carry` makes a body of the stream.
pub(super) async fn status<B: From<String>>(ask: Ask, carry: impl FnOnce(status::Reader) -> B) -> Response<B> {
    on(ask, &[Method::GET], |ask| async move {
        let open = ask.context.hub.config().dev;
        let grant = if open { None } else { Some(ask.admin(Door::Get, AdminRight::Status).await?) };
        Ok(event_stream(carry(ask.context.status.open(grant.as_deref(), ask.place.clone())?)))
    })
    .await
}

/// `GET /v1/rooms/{room}/trace`, for those who may; `carry` makes a body of the stream.
pub(super) async fn trace<B: From<String>>(
    room: Segment,
    ask: Ask,
    carry: impl FnOnce(trace::Reader) -> B,
) -> Response<B> {
    on(ask, &[Method::GET], |ask| async move {
        let room = room.room()?;
        let grant = ask.admin(Door::Get, AdminRight::Trace).await?;
        let only = ask.param("peer").map(PeerId::parse).transpose()?;
        let reader = trace::Reader::open(&ask.context.hub, &grant, &room, only, ask.place.clone())?;
        Ok(event_stream(carry(reader)))
    })
    .await
}

fn event_stream<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Compression and buffering on the way would hold events back.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// `GET /v1/poll`.
pub(super) async fn poll(ask: Ask) -> warp::reply::Response {
    on(ask, &[Method::GET], |ask| async move {
        let mut poll = begin_poll(&ask).await?;
        // The headers of somebody who waits are of no use.
        drop(ask);
        let sleep = pin!(tokio::time::sleep(Duration::ZERO));
        Ok(json_text(poll.answer(sleep).await?))
    })
    .await
}

/// Begins a poll.
pub(super) async fn begin_poll(ask: &Ask) -> Result<LongPoll, Refusal> {
    let limits = ask.context.hub.limits();
    #[expect(clippy::cast_precision_loss, reason = "waits are below a minute")]
    let (default, max) = (limits.poll_wait_ms as f64 / 1000.0, limits.poll_wait_max_ms as f64 / 1000.0);
    let wait = Duration::from_secs_f64(ask.number("wait", default, [0.0, max])?);
    let Subscription { feed, until, has_cursor } = subscribe(ask, Purpose::Poll).await?;
    Ok(LongPoll::new(feed, has_cursor, wait, until, ask.place.clone()))
}

struct Subscription {
    feed: Feed,
    /// The client said where it stands.
    has_cursor: bool,
    /// When the token no longer carries it.
    until: Millis,
}

async fn subscribe(ask: &Ask, purpose: Purpose) -> Result<Subscription, Refusal> {
    let (grant, ticket) = ask.feed_grant(purpose).await?;
    let route = if purpose == Purpose::Poll { "GET /v1/poll" } else { "GET /v1/events" };
    let rooms = rooms(ask, &grant, route)?;
    let start = start(ask)?;
    let has_cursor = start.cursor.is_some() || start.oldest || !start.since.is_empty();
    let state = match ask.param("state") {
        None => None,
        Some(_) => Some(request::check_state_hz(ask.number("state", 0.0, [0.0, request::STATE_HZ_MAX])?)?),
    };
    let mut feed = Feed::open(&ask.context.hub, &grant, &rooms, &start, state, ask.now).await?;
    if let Some(ticket) = ticket {
        ask.context.hub.tickets().opened(ticket, &rooms, feed.wake(), ask.now)?;
    }
    feed.set_state_versions(&state_versions(ask)?);
    let until = Millis(grant.expires_at_ms).after(ask.context.hub.limits().expiry_grace_ms);
    Ok(Subscription { feed, has_cursor, until })
}

fn rooms(ask: &Ask, grant: &Grant, route: &str) -> Result<Vec<RoomName>, Refused> {
    let verb = rallypoint_protocol::rights::rule_of(route).verb;
    let mut rooms: Vec<RoomName> = Vec::new();
    for text in ask.params("room") {
        let room = RoomName::new(text)?;
        if room.is_reserved() {
            return Err(Refused::new(ErrorCode::ReservedName, "notifications come by themselves"));
        }
        if let Some(verb) = verb.filter(|&verb| !grant.allows(&room, verb)) {
            return Err(crate::session::forbidden(verb));
        }
        if !rooms.contains(&room) {
            rooms.push(room);
        }
        if rooms.len() > FEED_ROOMS_MAX {
            return Err(Refused::new(ErrorCode::TooManyRooms, format!("at most {FEED_ROOMS_MAX} rooms at a time")));
        }
    }
    Ok(rooms)
}

/// Where the subscription begins: `Last-Event-ID` beats `after`, which beats `since`.
fn start(ask: &Ask) -> Result<Start, Refused> {
    let last = ask.header(ask::LAST_EVENT_ID).filter(|id| !id.is_empty());
    match last.or(ask.param("after")) {
        Some("0") => Ok(Start { oldest: true, ..Start::default() }),
        Some(cursor) => Ok(Start { cursor: Some(Cursor::parse(cursor)?), ..Start::default() }),
        None => {
            let since = ask.params("since").map(|text| {
                // Room names may hold a colon, positions never do.
                let (room, position) = text.rsplit_once(':').ok_or(ErrorCode::BadPosition)?;
                Ok((RoomName::new(room)?, Position::parse(position)?))
            });
            Ok(Start { since: since.collect::<Result<_, ErrorCode>>()?, ..Start::default() })
        }
    }
}

/// `state_after=ROOM:VERSION`, repeated; a bare version means every room.
fn state_versions(ask: &Ask) -> Result<Vec<(Option<RoomName>, u64)>, Refused> {
    let bad = || Refused::new(ErrorCode::BadValue, "`state_after` is ROOM:VERSION");
    let versions = ask.params("state_after").map(|text| {
        let (room, version) = match text.rsplit_once(':') {
            Some((room, version)) => (Some(RoomName::new(room)?), version),
            None => (None, text),
        };
        Ok((room, version.parse().map_err(|_| bad())?))
    });
    versions.collect()
}
