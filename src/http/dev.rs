//! `POST /dev/token`: tokens for the asking, only under `--dev` and only for pages on this machine.

use http::{Method, StatusCode, header};
use rallypoint_protocol::{ErrorCode, codec::Refused, rights::Role};
use serde::Deserialize;
use serde_json::json;
use warp::reply::Response;

use super::{ask::Ask, json as reply, nowhere, on};
use crate::auth::{
    AdminRight,
    claims::{Claims, NotifyClaim, RoomClaim},
    jwt::Minter,
    keys::KeySource,
};

#[derive(Deserialize)]
struct Wish {
    user: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    rooms: Option<Vec<RoomWish>>,
    #[serde(default)]
    notify: Option<NotifyClaim>,
    #[serde(default)]
    admin: Option<bool>,
    #[serde(default)]
    ttl: Option<u64>,
}

#[derive(Deserialize)]
struct RoomWish {
    r: String,
    #[serde(default)]
    role: Option<String>,
    #[serde(default, rename = "do")]
    verbs: Option<Vec<String>>,
}

/// Seconds that a token lives when nobody says otherwise, and at most.
const TTL: u64 = 3600;
const TTL_MAX: u64 = 7 * 24 * 3600;

/// Mints a token with the development key.
pub(super) async fn token(ask: Ask) -> Response {
    if !ask.context.hub.config().dev {
        return nowhere(&ask, "no such route");
    }
    on(ask, &[Method::POST], |mut ask| async move {
        check_local(&ask)?;
        let wish: Wish = ask.json().await?;
        let now = ask.context.hub.now().0 / 1000.0;
        #[expect(clippy::cast_precision_loss, reason = "bounded")]
        let exp = (now + wish.ttl.unwrap_or(TTL).min(TTL_MAX) as f64).floor();
        let token = mint(wish, exp)?;
        // What was minted must be accepted: a malformed wish is told here, not at the next door.
        ask.context.verifier.verify(&token, ask.context.hub.now().0).map_err(|_| {
            Refused::new(ErrorCode::BadValue, "such a token would not be accepted: check user, rooms and notify")
        })?;
        Ok(reply(StatusCode::CREATED, &json!({ "token": token, "expires": exp * 1000.0 })))
    })
    .await
}

/// Only `localhost`, `127.0.0.1` and `[::1]`, and only from a listed page: a name that merely
/// resolves to this machine must not be enough.
fn check_local(ask: &Ask) -> Result<(), Refused> {
    let host = ask.header(header::HOST).unwrap_or_default();
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    let listed = ask.origin().is_some_and(|origin| ask.context.origins.is_listed(origin));
    if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") || !listed {
        let port = host.rsplit_once(':').map_or("", |(_, port)| port).parse::<u16>().unwrap_or(80);
        let hint =
            format!("only for pages on localhost: send Origin: http://localhost:{port}, or use `rallypoint token`");
        return Err(Refused::new(ErrorCode::OriginRefused, hint));
    }
    Ok(())
}

fn mint(wish: Wish, exp: f64) -> Result<String, Refused> {
    let everything = || vec![RoomWish { r: "*".to_owned(), role: None, verbs: None }];
    let rooms = wish.rooms.unwrap_or_else(everything).into_iter().map(|room| {
        let role = match room.role.as_deref() {
            None => Role::Player,
            Some(text) => Role::parse(text)
                .ok_or_else(|| Refused::new(ErrorCode::BadValue, "role is player, spectator or host"))?,
        };
        let verbs = room.verbs.unwrap_or_else(|| role.verbs().iter().map(|verb| verb.name().to_owned()).collect());
        Ok(RoomClaim { pattern: room.r, role: Some(role.name().to_owned()), verbs })
    });
    let admin = if wish.admin.unwrap_or_default() {
        AdminRight::ALL.iter().map(|right| right.name().to_owned()).collect()
    } else {
        vec![]
    };
    let claims = Claims {
        sub: wish.user,
        exp,
        name: wish.name,
        rooms: rooms.collect::<Result<_, Refused>>()?,
        notify: wish.notify.unwrap_or_default(),
        admin,
        ..Claims::default()
    };
    let minter = Minter::new(&KeySource::Development)
        .map_err(|_| Refused::new(ErrorCode::Internal, "the development key cannot be used"))?;
    Ok(minter.mint(&claims))
}
