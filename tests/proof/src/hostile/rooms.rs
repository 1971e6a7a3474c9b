//! Rooms that are to be filled with ghosts, to be too many, or to eat all memory with their logs.

use std::{io, sync::Arc};

use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use super::{
    LOG_BYTES, MEMBERS, ROOMS,
    ground::{Ground, Report},
};
use crate::run::wire::{Heard, Wire, reset};

/// Users that leave ghosts behind, and how often each comes; `limits.lost_per_user` is 2.
const HAUNTERS: usize = 16;
const VISITS: usize = 30;
/// Sessions that make rooms, sixteen each.
const MAKERS: usize = 80;
const ROOMS_EACH: usize = 16;
/// Sessions that write, and what each writes: more than all logs may hold.
const WRITERS: usize = 32;
const EVENTS: usize = 20;
const EVENT_BYTES: usize = 40_000;

/// Guests that join and break off, again and again. A user has no more ghosts than `limits.lost_per_user`, and a room has
/// place for who comes later.
pub async fn ghosts(ground: Arc<Ground>) -> io::Result<Report> {
    let mut report = ground
        .many(HAUNTERS, async |ground, number| {
            for _ in 0..VISITS {
                let mut wire = ground.enter(number, Encoding::Json).await?;
                match asked(&mut wire, json!({ "type": "join", "id": 1, "room": "haunted" })).await?.as_str() {
                    "ok" => {}
                    other => return Ok(format!("joining: {other}")),
                }
                reset(wire.into_socket())?;
            }
            Ok("came and broke off".to_owned())
        })
        .await
        .exactly("came and broke off", HAUNTERS as u64);
    let least = (HAUNTERS * 2) as f64;
    let few = ground.until(super::SETTLES, |gauges| gauges.of("sessions_lost") <= least).await?;
    report.must(few, || format!("more than {least} ghosts"));
    let joins = ground.many(1, async |ground, _| {
        let mut wire = ground.enter(HAUNTERS + 1, Encoding::Json).await?;
        asked(&mut wire, json!({ "type": "join", "id": 1, "room": "haunted" })).await
    });
    Ok(report.and(joins.await.exactly("ok", 1)))
}

/// Joining and leaving as fast as the rate allows and beyond, up to the end.
pub async fn revolving_door(ground: Arc<Ground>) -> io::Result<Report> {
    let report = ground
        .many(HAUNTERS, async |ground, number| {
            let mut wire = ground.enter(number, Encoding::Json).await?;
            for id in 0..2000 {
                let kind = if id % 2 == 0 { "join" } else { "leave" };
                if wire.say(&json!({ "type": kind, "id": id, "room": "door" })).await.is_err() {
                    break;
                }
            }
            super::ground::ending(&mut wire).await
        })
        .await;
    // They do not read what they tell each other while they are at it, so some are slow before they are too fast.
    let slow = ["900, closed 4002", "closed 4002"];
    Ok(report.only(&["900, closed 4302", "closed 4302", "gone without a close frame", slow[0], slow[1]]))
}

/// More members than a room may have.
pub async fn crowds(ground: Arc<Ground>) -> io::Result<Report> {
    let count = MEMBERS + 50;
    let report = crowd(&ground, count, |_| "crowd".to_owned(), 1).await;
    Ok(report.exactly("ok", MEMBERS as u64).exactly("901", 50))
}

/// More rooms than the node may have.
pub async fn too_many(ground: Arc<Ground>) -> io::Result<Report> {
    let report = crowd(&ground, MAKERS, |n| format!("many/{n}"), ROOMS_EACH).await;
    let all = (MAKERS * ROOMS_EACH) as u64;
    let made = report.count("ok");
    let mut report = report.only(&["ok", "904"]);
    let refused = report.count("904");
    report.must(made <= ROOMS as u64 && made + refused == all, || format!("{made} rooms were made"));
    report.must(refused >= all - ROOMS as u64, || format!("only {refused} were refused"));
    Ok(report)
}

/// Sessions that each join `each` rooms, and stay until all have.
async fn crowd(
    ground: &Arc<Ground>,
    count: usize,
    name: impl Fn(usize) -> String + Clone + Send + Sync + 'static,
    each: usize,
) -> Report {
    let (all, joined) =
        (Arc::new(tokio::sync::Barrier::new(count)), Arc::new(std::sync::Mutex::new(Report::default())));
    let report = ground
        .many(count, |ground, number| {
            let (all, joined, name) = (all.clone(), joined.clone(), name.clone());
            async move {
                let mut wire = ground.enter(number, Encoding::Json).await?;
                for room in 0..each {
                    let join = json!({ "type": "join", "id": room, "room": name(number * each + room) });
                    let answer = asked(&mut wire, join).await?;
                    if let Ok(mut joined) = joined.lock() {
                        joined.saw(answer, 1);
                    }
                }
                all.wait().await;
                Ok("stayed".to_owned())
            }
        })
        .await
        .exactly("stayed", count as u64);
    let joined = joined.lock().map(|mut joined| std::mem::take(&mut *joined)).unwrap_or_default();
    Report { wrong: report.wrong, ..joined }
}

/// More than all logs may hold, in large events.
pub async fn full_logs(ground: Arc<Ground>) -> io::Result<Report> {
    let tally = Arc::new(std::sync::Mutex::new(Report::default()));
    let report = ground
        .many(WRITERS, |ground, number| {
            let tally = tally.clone();
            async move {
                let mut wire = ground.enter(number, Encoding::Json).await?;
                let room = format!("log/{number}");
                wire.join(0, &room).await?;
                let data = "x".repeat(EVENT_BYTES);
                for id in 1..=EVENTS {
                    let event = json!({ "type": "publish", "id": id, "room": room, "kind": "blob", "data": data });
                    let answer = asked(&mut wire, event).await?;
                    if let Ok(mut tally) = tally.lock() {
                        tally.saw(answer, 1);
                    }
                }
                Ok("stayed".to_owned())
            }
        })
        .await
        .exactly("stayed", WRITERS as u64);
    let tally = tally.lock().map(|mut tally| std::mem::take(&mut *tally)).unwrap_or_default();
    let mut report = Report { wrong: report.wrong, ..tally }.only(&["ok", "900", "904"]);
    let written = report.count("ok") * EVENT_BYTES as u64;
    report.must(written > LOG_BYTES as u64, || format!("only {written} bytes were written: nothing was tried"));
    let held = ground.gauges().await?.of("log_bytes");
    // A log gives way when the next event is added to it: the last ones of all threads may be on top.
    let most = LOG_BYTES + 4 * EVENT_BYTES;
    report.must(held <= most as f64, || format!("the logs hold {held} bytes of {LOG_BYTES}"));
    Ok(report)
}

/// Sends a request, and waits for its answer: `ok`, or the number of the error.
async fn asked(wire: &mut Wire, request: Value) -> io::Result<String> {
    let id = request["id"].clone();
    wire.say(&request).await?;
    loop {
        match wire.hear().await? {
            Heard::Said(message) if message["re"] == id && message["type"] == "error" => {
                return Ok(message["code"].to_string());
            }
            Heard::Said(message) if message["re"] == id => return Ok("ok".to_owned()),
            Heard::Closed(code) => return Ok(format!("closed {code}")),
            Heard::Gone => return Ok("gone".to_owned()),
            _ => {}
        }
    }
}
