//! The task that sends what a hook's queue gives it, and tells the queue what came of it.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;

use super::{
    Body, Hook,
    queue::{Delivery, Lane, Load, Outcome},
    written,
};

/// Sends for as long as the server runs.
pub(super) async fn follow(hook: Arc<Hook>) {
    let mut on_their_way = FuturesUnordered::new();
    loop {
        let wakes = {
            let mut queue = hook.queue.lock();
            let now = hook.clock.now();
            while let Some(delivery) = queue.next(now) {
                on_their_way.push(deliver(&hook, delivery));
            }
            if queue.is_empty() {
                hook.emptied.notify_waiters();
            }
            queue.wakes()
        };
        let alarm = async {
            match wakes {
                Some(moment) => tokio::time::sleep_until(hook.clock.instant(moment).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((lane, outcome)) = on_their_way.next() => {
                let given_up = hook.queue.lock().done(lane, outcome, hook.clock.now(), chance());
                let counted = match outcome {
                    Outcome::Taken => "sent",
                    Outcome::Refused => "refused",
                    Outcome::Again(_) => "retried",
                };
                hook.count(counted, 1);
                if given_up > 0 {
                    hook.count("dropped", given_up);
                    tracing::warn!(hook = hook.target.name, "an event of a webhook was given up for its age");
                }
            }
            () = hook.news.notified() => {}
            () = alarm => {}
        }
    }
}

async fn deliver(hook: &Hook, Delivery { lane, id, load }: Delivery) -> (Lane, Outcome) {
    let body = match load {
        Load::Event(body) => body,
        Load::Lost(count, time) => {
            let (room, peer) = (lane.as_ref(), None::<()>);
            written(&Body { id: &id, event: "lost", room, time, node: hook.node, count, peer, reason: None })
        }
    };
    let outcome = match hook.client.ask(request(hook, &id, body)).await {
        Ok((status, headers)) => {
            let outcome = judge(status, &headers, SystemTime::now());
            if outcome == Outcome::Refused {
                let (hook, status) = (&hook.target.name, status.as_u16());
                tracing::warn!(hook, id, status, "a webhook was refused, and is not sent again");
            } else if outcome != Outcome::Taken {
                let (hook, status) = (&hook.target.name, status.as_u16());
                tracing::warn!(hook, id, status, "a webhook was not taken, and is sent again");
            }
            outcome
        }
        Err(error) => {
            tracing::warn!(hook = hook.target.name, id, %error, "a webhook did not arrive, and is sent again");
            Outcome::Again(None)
        }
    };
    (lane, outcome)
}

/// Signed at the moment of each try, under the same id.
fn request(hook: &Hook, id: &str, body: Bytes) -> Request<Full<Bytes>> {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = hook.target.key.sign(id, timestamp, &body);
    Request::post(hook.target.uri.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("rallypoint/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(Full::new(body))
        .expect("an address that was checked, and headers of letters and digits")
}

/// What an answer means.
fn judge(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Outcome {
    match status.as_u16() {
        200..=299 => Outcome::Taken,
        408 | 425 | 429 | 500..=599 => Outcome::Again(retry_after_ms(headers, now)),
        // A redirect would go to somebody whom the configuration does not name.
        _ => Outcome::Refused,
    }
}

/// RFC 9110 section 10.2.3: so many seconds, or a date.
fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let wait = httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default();
    u64::try_from(wait.as_millis()).ok()
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without chance all pauses are of the same share, which is no harm.
    _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_say_whether_to_come_back() {
        let judge = |status, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            after.map(|after| headers.insert(header::RETRY_AFTER, after.parse().unwrap()));
            judge(StatusCode::from_u16(status).unwrap(), &headers, UNIX_EPOCH + Duration::from_secs(784_111_777))
        };
        for status in [200, 201, 202, 204] {
            assert_eq!(judge(status, None), Outcome::Taken, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(judge(status, None), Outcome::Again(None), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 413] {
            assert_eq!(judge(status, None), Outcome::Refused, "{status}");
        }
        for (text, ms) in [
            ("120", Some(120_000)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10_000)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(judge(503, Some(text)), Outcome::Again(ms), "{text}");
        }
    }
}
