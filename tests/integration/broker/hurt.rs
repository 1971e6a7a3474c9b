//! What can happen to an engine on Redis.

use rallypoint::node::NodeId;
use rallypoint_proof::redis::Redis;
use rallypoint_protocol::Position;

use super::ground::{Ground, Servers, Sheet, event};
use crate::support::until;

/// The script with which nodes publish.
const PUBLISH: &str = include_str!("../../../src/broker/redis/publish.lua");

/// Where a log lies that is known to its engine.
pub(super) struct Place {
    /// On which of the servers.
    pub(super) server: usize,
    /// What is known of it.
    pub(super) meta: String,
}

impl Place {
    /// Its events.
    pub(super) fn events(&self) -> String {
        self.key("e")
    }

    /// Where it is heard, if it is a room's.
    pub(super) fn channel(&self) -> String {
        self.key("c")
    }

    fn key(&self, kind: &str) -> String {
        self.meta.replacen("}:m:", &format!("}}:{kind}:"), 1)
    }

    /// Since when its partition has been there.
    fn since(&self) -> String {
        self.of_partition("s")
    }

    /// How many logs have begun in it.
    fn births(&self) -> String {
        self.of_partition("b")
    }

    fn of_partition(&self, what: &str) -> String {
        let (partition, _) = self.meta.split_once(":m:").expect("so it is called");
        format!("{partition}:{what}")
    }
}

impl Ground {
    pub(super) fn servers(&self) -> &[Redis] {
        match &self.servers {
            Servers::None => &[],
            Servers::One(redis, _) => std::slice::from_ref(&**redis),
            Servers::Cluster(cluster) => &cluster.servers,
        }
    }

    pub(super) fn server_mut(&mut self, at: usize) -> &mut Redis {
        match &mut self.servers {
            Servers::None => panic!("there is no server"),
            Servers::One(redis, _) => redis,
            Servers::Cluster(cluster) => &mut cluster.servers[at],
        }
    }

    /// Where a log lies.
    pub(super) async fn place(&self, sheet: &Sheet) -> Place {
        let pattern = format!("*}}:m:{}", sheet.name);
        until("a log to be known to its engine", async || {
            for (server, redis) in self.servers().iter().enumerate() {
                let meta = redis.ask(&["KEYS", &pattern]).await.expect("redis-cli is installed");
                if meta.contains(":m:") {
                    return Some(Place { server, meta });
                }
            }
            None
        })
        .await
    }

    /// A command to the server on which a log lies; it must be done.
    pub(super) async fn command(&self, place: &Place, command: &str) -> String {
        let answer = self.servers()[place.server].say(command).await.expect("the server is there");
        assert!(!answer.starts_with('-'), "{command}: {answer}");
        answer
    }

    /// A command to the server that has the leases of the nodes.
    pub(super) async fn at_the_leases(&self, command: &str) {
        let mut taken = 0;
        for redis in self.servers() {
            let answer = redis.say(command).await.expect("the server is there");
            taken += usize::from(answer.starts_with(':'));
        }
        assert_eq!(taken, 1, "{command}");
    }

    /// A command to all servers.
    pub(super) async fn everywhere(&self, command: &str) {
        for redis in self.servers() {
            let answer = redis.say(command).await.expect("the server is there");
            assert!(!answer.starts_with('-'), "{command}: {answer}");
        }
    }

    /// A replica that lacks the last events becomes master: the log is cut back behind `last`.
    pub(super) async fn cut_back(&self, place: &Place, last: Position, head: Position) {
        let (meta, events) = (&place.meta, place.events());
        for seq in last.seq + 1..=head.seq {
            self.command(place, &format!("XDEL {events} {seq}-{}", head.epoch)).await;
        }
        self.command(place, &format!("XSETID {events} {}-{}", last.seq, last.epoch)).await;
        self.command(place, &format!("HSET {meta} seq {} tag {}", last.seq, last.tag)).await;
    }

    /// Publishes as an unknown node would, and says it on this channel. Tells how many heard it.
    pub(super) async fn publish_on(&self, place: &Place, sheet: &Sheet, text: &str, channel: &str) -> u64 {
        self.try_publish_on(place, sheet, text, channel).await.expect("the server takes it")
    }

    /// Like [`publish_on`](Self::publish_on), unless the server takes nothing just now.
    pub(super) async fn try_publish_on(&self, place: &Place, sheet: &Sheet, text: &str, channel: &str) -> Option<u64> {
        let node = NodeId::random().to_string();
        let roster = format!("{} {node}", place.key("r"));
        let keys = [place.meta.clone(), place.events(), place.since(), place.births(), roster, place.key("n")];
        let event = String::from_utf8(event(text).into()).expect("JSON is text");
        let bounds = [sheet.bounds.events.to_string(), sheet.bounds.bytes.to_string(), sheet.bounds.age_ms.to_string()];
        let [name, known] = [sheet.name.to_string(), (sheet.bounds.age_ms + 120_000).to_string()];
        let arguments = [&event, &node, "1", &bounds[0], &bounds[1], &bounds[2], channel, &name, "300000", &known];
        let mut command = vec!["EVAL", PUBLISH, "6"];
        command.extend(keys.iter().map(String::as_str));
        command.extend(arguments);
        command.extend(["", "", ""]);
        let answer = self.servers()[place.server].ask(&command).await.expect("redis-cli is installed");
        let lines: Vec<_> = answer.lines().collect();
        let ["new", _, heard] = lines[..] else { return None };
        heard.parse().ok()
    }
}
