//! Every way in, and what each says: the number of a refusal, checked against everything else in the answer.

use rallypoint_protocol::{CloseCode, Encoding, ErrorCode};
use serde_json::json;

use crate::support::{Answer, Ask, Knock, Node, ORIGIN, Wire, within};

/// Where a token or a request knocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Door {
    /// A handshake with `Authorization`, as a program does it.
    Handshake(Encoding),
    /// A handshake with `Origin` and the subprotocol `bearer.…`, as a page does it.
    Page(Encoding),
    /// The message `auth` after a handshake without a token.
    First(Encoding),
    /// `GET /v1/events`
    Stream,
    /// `GET /v1/poll`
    Poll,
    /// `POST /v1/rooms/{room}/events`
    Publish,
    /// `DELETE /v1/users/{user}/sessions`
    EndSessions,
    /// `OPTIONS` for the route of `Publish`.
    Preflight,
}

/// Every way that a token can take by itself.
pub(super) const DOORS: [Door; 9] = [
    Door::Handshake(Encoding::Json),
    Door::Handshake(Encoding::MsgPack),
    Door::Page(Encoding::Json),
    Door::Page(Encoding::MsgPack),
    Door::First(Encoding::Json),
    Door::First(Encoding::MsgPack),
    Door::Stream,
    Door::Poll,
    Door::Publish,
];

/// What came of it: the number of the refusal, or `None` for somebody who was let in. `Err` tells an answer that
/// contradicts itself.
pub(super) type Outcome = Result<Option<u16>, String>;

impl Door {
    /// The request without any credential, with these query parameters.
    pub(super) fn ask(self, query: &str) -> Ask {
        match self {
            Self::Handshake(_) | Self::Page(_) | Self::First(_) => Ask::new("GET", &format!("/v1/ws?{query}")),
            Self::Stream => Ask::new("GET", &format!("/v1/events?room=lobby&{query}")),
            Self::Poll => Ask::new("GET", &format!("/v1/poll?room=lobby&wait=0&{query}")),
            Self::Publish => Ask::new("POST", &format!("/v1/rooms/lobby/events?{query}"))
                .json(&json!({ "kind": "score", "data": 1 })),
            Self::EndSessions => Ask::new("DELETE", &format!("/v1/users/nobody/sessions?{query}")),
            Self::Preflight => Ask::new("OPTIONS", &format!("/v1/rooms/lobby/events?{query}")),
        }
    }

    /// Knocks with this token, shown the way that belongs to the door.
    pub(super) async fn try_token(self, node: &Node, token: &str) -> Outcome {
        match self {
            Self::Page(encoding) => {
                let offer = format!("{}, bearer.{token}", encoding.subprotocol());
                let ask = self.ask("").header("origin", ORIGIN).upgrade(&offer);
                self.knock(node, ask, &json!({ "type": "ping" })).await
            }
            Self::First(_) => self.knock(node, self.ask(""), &json!({ "type": "auth", "token": token })).await,
            _ => self.send(node, self.ask("").bearer(token)).await,
        }
    }

    /// Sends a request as it is. At the WebSocket a `ping` follows, which is one message too early for a guest
    /// without a token.
    pub(super) async fn send(self, node: &Node, ask: Ask) -> Outcome {
        match self {
            Self::Handshake(_) | Self::Page(_) | Self::First(_) => {
                self.knock(node, ask, &json!({ "type": "ping" })).await
            }
            // An answer that is granted has no end.
            Self::Stream => {
                let head = node.open(ask.clone()).await;
                if head.status == 200 { Ok(None) } else { told(&node.send(ask).await) }
            }
            _ => told(&node.send(ask).await),
        }
    }

    async fn knock(self, node: &Node, ask: Ask, first: &serde_json::Value) -> Outcome {
        let (Self::Handshake(encoding) | Self::Page(encoding) | Self::First(encoding)) = self else {
            return Err(format!("{self:?} is no WebSocket"));
        };
        let from_page = ask.has("origin");
        match within("a door to answer", ask.knock(encoding, first, node.address)).await {
            Knock::Connected => Ok(None),
            Knock::Answered(answer) => {
                let code = told(&answer)?;
                // A page cannot read the answer to a handshake, so what it could mend is told by a close.
                if from_page && code.is_some_and(is_about_credentials) {
                    return Err(format!("a page was told {code:?} by a status"));
                }
                Ok(code)
            }
            Knock::Closed { error, close } => {
                let code =
                    error.and_then(|code| u16::try_from(code).ok()).ok_or(format!("{close} without an error"))?;
                let known = ErrorCode::from_number(code).ok_or(format!("{code} is no code"))?;
                if CloseCode::of_error(known).number() != close {
                    return Err(format!("{code} was followed by the close {close}"));
                }
                if matches!(self, Self::Handshake(_)) && !from_page && code != 700 {
                    return Err(format!("a program was told {code} by a close"));
                }
                Ok(Some(code))
            }
            Knock::Gone => Err("ended without a word".to_owned()),
        }
    }
}

/// What a first message comes to.
pub(super) async fn first(node: &Node, encoding: Encoding, mut message: serde_json::Value) -> Outcome {
    message["id"] = 1.into();
    let door = Door::First(encoding);
    door.knock(node, door.ask(""), &message).await
}

fn is_about_credentials(code: u16) -> bool {
    matches!(code, 701..=703 | 709)
}

/// The number in an answer over HTTP.
pub(super) fn told(answer: &Answer) -> Outcome {
    if (200..300).contains(&answer.status) {
        return Ok(None);
    }
    let problem: serde_json::Value =
        serde_json::from_slice(&answer.body).map_err(|_| format!("{}: {}", answer.status, answer.text()))?;
    let code = problem["code"].as_u64().and_then(|code| u16::try_from(code).ok()).ok_or(problem.to_string())?;
    let known = ErrorCode::from_number(code).ok_or(format!("{code} is no code"))?;
    let challenge = answer.header("www-authenticate") == Some("Bearer");
    if known.http_status() != answer.status || challenge != (answer.status == 401) {
        return Err(format!("{code} with the status {} and the headers {:?}", answer.status, answer.headers));
    }
    Ok(Some(code))
}

/// Open sessions that are shown every token as well: a refresh that is refused must change nothing.
pub(super) struct Sessions([Wire; 2]);

impl Sessions {
    pub(super) async fn open(node: &Node, pass: &crate::support::Pass) -> Self {
        let json = Wire::connect(node, pass, Encoding::Json).await;
        Self([json, Wire::connect(node, pass, Encoding::MsgPack).await])
    }

    /// What the sessions say to this token.
    pub(super) async fn refresh(&mut self, token: &str) -> [Outcome; 2] {
        let mut outcomes = [Ok(None), Ok(None)];
        for (wire, outcome) in self.0.iter_mut().zip(&mut outcomes) {
            let answer = wire.ask(json!({ "type": "refresh", "token": token })).await;
            *outcome = Ok(answer["code"].as_u64().and_then(|code| u16::try_from(code).ok()));
        }
        outcomes
    }

    /// They still stand, with the rights they had.
    pub(super) async fn close(self) {
        for mut wire in self.0 {
            wire.granted(json!({ "type": "join", "room": "lobby" })).await;
            wire.bye().await;
        }
    }
}
