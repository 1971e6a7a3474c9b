//! Records as lines of JSON, for whoever has to understand a violation.

use std::io::{self, Write};

use serde_json::{Value, json, value::RawValue};

use super::{Came, ClientNo, History, LogNo, Outcome, What, Why};

impl History {
    /// Writes one line for each record that `wanted` picks, with its place in the history.
    pub fn dump(&self, out: &mut impl Write, wanted: impl Fn(usize, ClientNo, &What) -> bool) -> io::Result<()> {
        for (index, record) in self.records.iter().enumerate() {
            if wanted(index, record.client, &record.what) {
                writeln!(out, "{}", self.line(index))?;
            }
        }
        Ok(())
    }

    /// One record as a line of JSON.
    pub fn line(&self, index: usize) -> String {
        let record = &self.records[index];
        let mut line = json!({ "n": index, "at": record.at, "client": self.client_name(record.client) });
        let (what, fields) = self.fields(&record.what);
        line["what"] = what.into();
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields);
        }
        line.to_string()
    }

    fn fields(&self, what: &What) -> (&'static str, Value) {
        let log = |log: LogNo| self.log_name(log);
        let client = |client: ClientNo| self.client_name(client);
        match *what {
            What::Started { unix_ms } => ("started", json!({ "unix_ms": unix_ms })),
            What::Stopping { killed } => ("stopping", json!({ "killed": killed })),
            What::Ended { unix_ms } => ("ended", json!({ "unix_ms": unix_ms })),
            What::Fault { connection, cut } => ("fault", json!({ "connection": connection, "cut": cut })),
            What::Struck { what, of_members } => ("struck", json!({ "thing": what, "of_members": of_members })),
            What::Quiet => ("quiet", json!({})),
            What::Head { log: of, position } => ("head", json!({ "log": log(of), "position": position })),
            What::Opened { peer, came, time } => {
                let came = match came {
                    Came::New => "new",
                    Came::Resumed => "resumed",
                    Came::Restored => "restored",
                    Came::Moved => "moved",
                };
                ("opened", json!({ "peer": peer.map(|peer| self.peers.text(peer)), "came": came, "time": time }))
            }
            What::Away => ("away", json!({})),
            What::Stopped { code } => ("stopped", json!({ "code": code })),
            What::Left => ("left", json!({})),
            What::Stands { log: of, position, why } => {
                let why = match why {
                    Why::New => "new".to_owned(),
                    Why::Caught => "caught".to_owned(),
                    Why::Reset(reason) => format!("reset {}", reason.name()),
                };
                ("stands", json!({ "log": log(of), "position": position, "why": why }))
            }
            What::Unfollows { log: of } => ("unfollows", json!({ "log": log(of) })),
            What::Event { log: of, position, content } => {
                let bytes = self.contents.text(content);
                let event = match serde_json::from_str::<Box<RawValue>>(&bytes) {
                    Ok(_) => serde_json::from_str(&bytes).unwrap_or(Value::Null),
                    Err(_) => bytes.into(),
                };
                ("event", json!({ "log": log(of), "position": position, "event": event }))
            }
            What::Publishes { log: to, label } => ("publishes", json!({ "log": log(to), "label": label.to_string() })),
            What::Signals { room, to, label } => {
                ("signals", json!({ "room": log(room), "to": client(to), "label": label.to_string() }))
            }
            What::Answered { label, outcome } => {
                let outcome = match outcome {
                    Outcome::Done(position) => json!({ "done": position }),
                    Outcome::Refused(code) => json!({ "refused": code }),
                    Outcome::Unknown => json!("unknown"),
                };
                ("answered", json!({ "label": label.to_string(), "outcome": outcome }))
            }
            What::Signal { room, label } => ("signal", json!({ "room": log(room), "label": label.to_string() })),
            What::Moves { room, lane, key, seq } => {
                ("moves", json!({ "room": log(room), "lane": format!("{lane:?}"), "key": key, "seq": seq }))
            }
            What::Unmoved { room, seq } => ("unmoved", json!({ "room": log(room), "seq": seq })),
            What::Moved { room, from, handle, lane, key, seq } => (
                "moved",
                json!({
                    "room": log(room), "from": client(from), "handle": handle, "lane": format!("{lane:?}"), "key": key,
                    "seq": seq,
                }),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use rallypoint_protocol::Position;

    use super::*;
    use crate::history::{Label, Role};

    #[test]
    fn lines_are_json_and_name_everything() {
        let mut history = History::default();
        let ada = history.client("member-ada", Role::Member);
        let room = history.logs.no(b"room/1");
        let content = history.contents.no(br#"{"kind":"message","time":1,"data":{"text":"c0-1"}}"#);
        let label = Label { client: ada, number: 1 };
        history.put(3, ada, What::Publishes { log: room, label });
        history.put(5, ada, What::Event { log: room, position: Position::start(7), content });
        let mut out = Vec::new();
        history.dump(&mut out, |_, client, _| client == ada).unwrap();
        let lines: Vec<Value> =
            std::str::from_utf8(&out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(
            lines[0],
            json!({ "n": 0, "at": 3, "client": "member-ada", "what": "publishes", "log": "room/1", "label": "c0-1" })
        );
        assert_eq!(lines[1]["event"]["data"]["text"], "c0-1");
    }
}
