//! `POST /v1/tickets`: exchanges a token for what may stand in an address, because it opens one thing only.

use http::{Method, StatusCode};
use rallypoint_protocol::{ErrorCode, RoomName, Verb, codec::Refused, event::Millis, position::FEED_ROOMS_MAX};
use serde::Deserialize;
use serde_json::json;
use warp::reply::Response;

use super::{ask::Ask, json as reply, on};
use crate::{
    auth::{Grant, credentials::Door},
    hub::tickets::Purpose,
};

#[derive(Deserialize)]
struct TicketBody {
    #[serde(rename = "for")]
    purpose: String,
    /// The only rooms that it is good for.
    #[serde(default)]
    rooms: Option<Vec<String>>,
    /// One that is to live as long as the token shown.
    #[serde(default)]
    ticket: Option<String>,
}

/// `POST /v1/tickets`
pub(super) async fn issue(ask: Ask) -> Response {
    on(ask, &[Method::POST], |mut ask| async move {
        let grant = ask.grant(Door::Write).await?;
        let TicketBody { purpose, rooms, ticket } = ask.json().await?;
        let purpose = Purpose::parse(&purpose).ok_or_else(|| bad_value("`for` is events, poll or ws"))?;
        let rooms = rooms.map(|rooms| named(&grant, purpose, &rooms)).transpose()?;
        let (home, now, grant) = (ask.home(), ask.now, grant.of_ticket(rooms.as_deref()));
        let tickets = ask.context.hub.tickets();
        match ticket {
            None => {
                let (ticket, expires) = tickets.issue(purpose, grant, home, now)?;
                Ok(told(StatusCode::CREATED, &ticket, expires))
            }
            Some(_) if purpose == Purpose::WebSocket => {
                Err(bad_value("a WebSocket's ticket is good once; `refresh` its session instead").into())
            }
            Some(ticket) => {
                let expires = tickets.renew(&ticket, purpose, grant, &home, now)?;
                Ok(told(StatusCode::OK, &ticket, expires))
            }
        }
    })
    .await
}

fn told(status: StatusCode, ticket: &str, expires: Millis) -> Response {
    reply(status, &json!({ "ticket": ticket, "expires": expires }))
}

fn bad_value(message: &'static str) -> Refused {
    Refused::new(ErrorCode::BadValue, message)
}

/// The rooms that a ticket is asked for. One that opens none of them is better refused now.
fn named(grant: &Grant, purpose: Purpose, names: &[String]) -> Result<Vec<RoomName>, Refused> {
    if names.len() > FEED_ROOMS_MAX {
        return Err(Refused::new(ErrorCode::TooManyRooms, format!("at most {FEED_ROOMS_MAX} rooms at a time")));
    }
    let room = |name: &String| {
        let room = RoomName::new(name)?;
        if room.is_reserved() {
            return Err(ErrorCode::ReservedName.into());
        }
        if purpose != Purpose::WebSocket && !grant.allows(&room, Verb::Watch) {
            return Err(crate::session::forbidden(Verb::Watch));
        }
        Ok(room)
    };
    names.iter().map(room).collect()
}
