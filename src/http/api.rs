//! Routes for back ends and operators: publish, notify, look, kick, health, metrics.

use http::{HeaderValue, Method, StatusCode, header};
use rallypoint_protocol::{ErrorCode, Kind, PeerId, RoomName, Verb, codec::Refused, request};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use warp::reply::{Reply, Response};

use super::{
    Context, Segment,
    ask::{self, Ask},
    json as reply, on,
};
use crate::{
    audit::What,
    auth::{AdminRight, credentials::Door},
};

#[derive(Deserialize)]
struct EventBody {
    kind: Kind,
    data: Box<RawValue>,
}

#[derive(Deserialize)]
struct NotificationBody {
    message: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct TextBody {
    text: String,
}

/// `POST /v1/rooms/{room}/events`
pub(super) async fn publish(room: Segment, ask: Ask) -> Response {
    on(ask, &[Method::POST], |mut ask| async move {
        let room = room.room()?;
        let grant = ask.grant(Door::Write).await?;
        let EventBody { kind, data } = ask.json().await?;
        ask::check_kind(&kind)?;
        let verb = if kind.as_str() == "message" { Verb::Chat } else { Verb::Publish };
        if !grant.allows(&room, verb) {
            return Err(crate::session::forbidden(verb).into());
        }
        if verb == Verb::Chat {
            let TextBody { text } = rallypoint_protocol::codec::read_json(&data)?;
            request::check_text(&text, ask.context.hub.limits().text)?;
        }
        let data = rallypoint_protocol::codec::keep(data)?;
        let dedup = ask.dedup(&grant.user)?;
        let hub = &ask.context.hub;
        let position = hub.publish_http(&room, kind.clone(), data, ask::author(&grant), dedup).await?;
        ask.tell(What::Published { room: &room, kind: &kind, position });
        Ok(reply(StatusCode::CREATED, &json!({ "position": position })))
    })
    .await
}

/// `POST /v1/users/{user}/notifications`
pub(super) async fn notify(user: Segment, ask: Ask) -> Response {
    on(ask, &[Method::POST], |mut ask| async move {
        let user = user.user()?;
        let grant = ask.grant(Door::Write).await?;
        if !grant.may_notify(&user) && !grant.has_admin(AdminRight::Notify) {
            return Err(Refused::new(ErrorCode::Forbidden, "the token may not notify this user").into());
        }
        let NotificationBody { message, data } = ask.json().await?;
        let limits = ask.context.hub.limits();
        request::check_text(&message, limits.text)?;
        if data.as_ref().is_some_and(|data| data.get().len() > limits.notification_data) {
            let max = limits.notification_data;
            return Err(Refused::new(ErrorCode::TooBig, format!("data is larger than {max} bytes")).into());
        }
        let data = data.map(rallypoint_protocol::codec::keep).transpose()?;
        let dedup = ask.dedup(&grant.user)?;
        let (sent, position) = ask.context.hub.notify(&user, message.into(), data, dedup).await?;
        ask.tell(What::Notified { to: &user, sent, position });
        Ok(reply(StatusCode::OK, &json!({ "sent": sent, "position": position })))
    })
    .await
}

/// `GET /v1/rooms`
pub(super) async fn rooms(ask: Ask) -> Response {
    on(ask, &[Method::GET], |ask| async move {
        ask.admin(Door::Get, AdminRight::Rooms).await?;
        let after = ask.param("after").map(RoomName::new).transpose()?;
        let page = ask.context.hub.list_rooms(after.as_ref(), limit(&ask)?);
        Ok(reply(StatusCode::OK, &with_next(json!({ "rooms": page.items, "count": page.count }), page.next)))
    })
    .await
}

/// `GET /v1/rooms/{room}`
pub(super) async fn room(room: Segment, ask: Ask) -> Response {
    on(ask, &[Method::GET], |ask| async move {
        let room = room.room()?;
        ask.granted("GET /v1/rooms/{room}", Door::Get, &room, Some(AdminRight::Rooms)).await?;
        Ok(reply(StatusCode::OK, &ask.context.hub.view_room(&room).await?))
    })
    .await
}

/// `GET /v1/rooms/{room}/members`
pub(super) async fn members(room: Segment, ask: Ask) -> Response {
    on(ask, &[Method::GET], |ask| async move {
        let room = room.room()?;
        ask.granted("GET /v1/rooms/{room}/members", Door::Get, &room, Some(AdminRight::Rooms)).await?;
        let after = ask.param("after").map(PeerId::parse).transpose()?;
        let page = ask.context.hub.list_members(&room, after, limit(&ask)?)?;
        Ok(reply(StatusCode::OK, &with_next(json!({ "members": page.items, "count": page.count }), page.next)))
    })
    .await
}

/// `DELETE /v1/rooms/{room}/members/{peer}`
pub(super) async fn member(room: Segment, peer: Segment, ask: Ask) -> Response {
    on(ask, &[Method::DELETE], |ask| async move {
        let (room, peer) = (room.room()?, peer.peer()?);
        let route = "DELETE /v1/rooms/{room}/members/{peer}";
        ask.granted(route, Door::Write, &room, Some(AdminRight::Kick)).await?;
        ask.context.hub.kick_member(&room, peer).await?;
        ask.tell(What::MemberKicked { room: &room, peer });
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// `DELETE /v1/users/{user}/sessions`
pub(super) async fn sessions(user: Segment, ask: Ask) -> Response {
    on(ask, &[Method::DELETE], |ask| async move {
        let user = user.user()?;
        ask.admin(Door::Write, AdminRight::Kick).await?;
        let generation = match ask.param("gen") {
            None => None,
            Some(_) => Some(ask.number("gen", 0, [0, rallypoint_protocol::SAFE_INTEGER_MAX])?),
        };
        let closed = ask.context.hub.kick_user(&user, generation).await;
        ask.tell(What::UserKicked { to: &user, generation, closed });
        Ok(reply(StatusCode::OK, &json!({ "closed": closed })))
    })
    .await
}

/// `GET /v1/ice-servers`
pub(super) async fn ice_servers(ask: Ask) -> Response {
    on(ask, &[Method::GET], |ask| async move {
        let grant = ask.grant(Door::Get).await?;
        if !grant.allows_anywhere(Verb::Signal) {
            return Err(crate::session::forbidden(Verb::Signal).into());
        }
        let Context { hub, paces, .. } = &*ask.context;
        ask.keep_pace(&paces.ice, &grant.user, "ice_requests_per_second_per_user")?;
        Ok(reply(StatusCode::OK, &hub.ice_for(&grant)))
    })
    .await
}

/// `GET /healthz`: the process lives.
pub(super) async fn healthy(ask: Ask) -> Response {
    probe(ask, None).await
}

/// `GET /readyz`: it takes guests on. Without a key it would refuse every one of them, and
/// without its engine nobody could join.
pub(super) async fn ready(ask: Ask) -> Response {
    let Context { hub, verifier, .. } = &*ask.context;
    let amiss = if hub.is_draining() {
        Some(ErrorCode::ShuttingDown.into())
    } else {
        let unready = |message| Refused::new(ErrorCode::Overloaded, message);
        let keys = (!verifier.has_keys()).then(|| unready("no key set could be fetched yet"));
        keys.or_else(|| (!hub.broker().is_ready()).then(|| unready("the engine does not answer")))
    };
    probe(ask, amiss).await
}

async fn probe(ask: Ask, amiss: Option<Refused>) -> Response {
    on(ask, &[Method::GET, Method::HEAD], |_| async move {
        amiss.map_or_else(|| Ok(text("ok\n")), |refused| Err(refused.into()))
    })
    .await
}

/// `GET /metrics`, for those who may.
pub(super) async fn metrics(ask: Ask) -> Response {
    on(ask, &[Method::GET], |ask| async move {
        if !ask.context.hub.config().dev {
            ask.admin(Door::Get, AdminRight::Metrics).await?;
        }
        Ok(open_metrics(&ask))
    })
    .await
}

/// `GET /metrics` on a loopback port of its own.
pub(super) async fn metrics_open(ask: Ask) -> Response {
    on(ask, &[Method::GET], |ask| async move { Ok(open_metrics(&ask)) }).await
}

fn open_metrics(ask: &Ask) -> Response {
    ask.context.hub.observe();
    let mut response = text(ask.context.hub.metrics().render());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn text(body: impl Into<String>) -> Response {
    body.into().into_response()
}

fn limit(ask: &Ask) -> Result<usize, Refused> {
    ask.number("limit", request::PAGE_DEFAULT, [1, request::PAGE_MAX])
}

fn with_next(mut body: serde_json::Value, next: Option<impl serde::Serialize>) -> serde_json::Value {
    if let Some(next) = next {
        body["next"] = json!(next);
    }
    body
}
