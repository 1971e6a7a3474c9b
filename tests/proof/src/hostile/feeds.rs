//! Requests of a reader that name far too much: where to go on, which rooms.

use std::{io, sync::Arc};

use rallypoint_protocol::ErrorCode;

use super::{
    doors::{exchange, told},
    ground::{Ground, Report},
};

/// Requests of each kind.
const MANY: usize = 100;

/// A `Last-Event-ID` and an `after` of thousands of bytes: unreadable, and refused before anything is opened. One that is
/// longer than a head may be is refused with the head.
pub async fn huge_cursors(ground: Arc<Ground>) -> io::Result<Report> {
    let unreadable = ErrorCode::BadPosition.number();
    let good =
        asked(&ground, |_| ("/v1/events?room=a".to_owned(), format!("last-event-id: {}\r\n", "A".repeat(6000)))).await;
    let report = good.exactly(&format!("400, {unreadable}"), MANY as u64);
    let after = asked(&ground, |_| (format!("/v1/poll?room=a&after={}", "A".repeat(6000)), String::new())).await;
    let report = report.and(after.exactly(&format!("400, {unreadable}"), MANY as u64));
    let beyond =
        asked(&ground, |_| ("/v1/events?room=a".to_owned(), format!("last-event-id: {}\r\n", "A".repeat(64_000))));
    Ok(report.and(beyond.await.only(&["431", "closed"])))
}

/// Rooms by the thousand in one request: above sixteen 902, out of all proportion 603, longer than a head may be 431.
pub async fn many_rooms(ground: Arc<Ground>) -> io::Result<Report> {
    let list = |count: usize| (format!("/v1/poll?{}", vec!["room=a"; count].join("&")), String::new());
    let rooms = |count: usize| (0..count).map(|n| format!("room=r{n}")).collect::<Vec<_>>().join("&");
    let few =
        asked(&ground, |_| (format!("/v1/poll?{}", rooms(17)), String::new())).await.exactly("429, 902", MANY as u64);
    let many = asked(&ground, |_| list(1000)).await.exactly("413, 603", MANY as u64);
    let beyond = asked(&ground, |_| list(5000)).await.only(&["431", "414", "closed"]);
    Ok(few.and(many).and(beyond))
}

/// Asks with a path and further lines of the head; counts the answers.
async fn asked(ground: &Arc<Ground>, what: impl Fn(usize) -> (String, String)) -> Report {
    ground
        .many(MANY, |ground, number| {
            let (path, lines) = what(number);
            async move {
                let token = ground.token(number);
                let head = format!(
                    "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{lines}\r\n"
                );
                Ok(told(&exchange(&ground, number, &head).await?))
            }
        })
        .await
}
