use std::collections::BTreeMap;

use rallypoint_proof::redis::Redis;
use rallypoint_protocol::{Event, EventBody, event::Millis};
use tokio::task::JoinSet;

use super::*;
use crate::{broker::Prefix, room::history::Bounds};

/// An engine with one log.
struct Ground {
    redis: Redis,
    logs: Arc<Logs>,
    name: RoomName,
    bounds: Bounds,
}

fn event(text: &str) -> Box<[u8]> {
    let body = EventBody::Message { text: text.into() };
    Event { time: Millis(1.0), from: None, body }.to_bytes().into()
}

impl Ground {
    async fn new(events: usize) -> Self {
        let redis = Redis::start().await.expect("redis-server is installed");
        let logs = Arc::new(Self::node(&redis).await);
        let bounds = Bounds { events, bytes: 1 << 20, age_ms: 60_000 };
        Self { redis, logs, name: RoomName::new("lobby").unwrap(), bounds }
    }

    async fn node(server: &Redis) -> Logs {
        let line = Arc::new(Line::new(server.url().parse().unwrap()));
        tokio::spawn({
            let line = line.clone();
            async move { line.keep().await }
        });
        while line.ask(redis::pipe().cmd("PING")).await.is_err() {
            tokio::task::yield_now().await;
        }
        Logs::new(line, Names::new(&Prefix::default()), Arc::new(Nodes::new(NodeId::random())))
    }

    fn log(&self) -> Log<'_> {
        Log { name: &self.name, bounds: self.bounds }
    }

    async fn say(&self, text: &str) -> Position {
        self.logs.publish(self.log(), event(text), None, None).await.unwrap().position
    }

    async fn read(&self, after: Position) -> Result<Vec<u64>, Unread> {
        let events = self.logs.read(self.log(), after, 1000).await?;
        Ok(events.iter().map(|event| event.position.seq).collect())
    }

    async fn command(&self, command: &str) -> String {
        self.redis.say(command).await.unwrap()
    }

    async fn keys(&self) -> [String; 2] {
        let names = Names::new(&Prefix::default());
        [names.meta(&self.name), names.events(&self.name)]
    }
}

fn reset<T>(reason: ResetReason) -> Result<T, Unread> {
    Err(Unread::Reset(reason))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publishers_leave_no_holes() {
    let ground = Ground::new(100_000).await;
    let mut publishers = JoinSet::new();
    for publisher in 0..64 {
        // Half of them on another node.
        let logs = if publisher % 2 == 0 { ground.logs.clone() } else { Arc::new(Ground::node(&ground.redis).await) };
        let (name, bounds) = (ground.name.clone(), ground.bounds);
        publishers.spawn(async move {
            let mut positions = Vec::new();
            for n in 0..20 {
                let log = Log { name: &name, bounds };
                let published = logs.publish(log, event(&format!("{publisher} {n}")), None, None).await.unwrap();
                assert!(!published.repeated);
                positions.push(published.position);
            }
            assert!(positions.is_sorted_by_key(|position| position.seq));
            positions
        });
    }
    let all: BTreeMap<_, _> = publishers.join_all().await.concat().into_iter().map(|at| (at.seq, at)).collect();
    assert!(all.keys().copied().eq(1..=64 * 20));
    let start = Position::start(all[&1].epoch);
    let events = ground.logs.read(ground.log(), start, usize::MAX >> 1).await.unwrap();
    assert!(events.iter().map(|event| event.position).eq(all.into_values()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_from_whatever_is_kept_of_it() {
    let ground = Ground::new(4).await;
    let start = ground.logs.open(ground.log()).await.unwrap().unwrap().0.history.head();
    assert_eq!((start.seq, ground.read(start).await), (0, Ok(vec![])));
    let mut positions = vec![start];
    for n in 1..=3 {
        positions.push(ground.say(&n.to_string()).await);
    }
    assert_eq!(ground.read(start).await, Ok(vec![1, 2, 3]));
    for n in 4..=10 {
        positions.push(ground.say(&n.to_string()).await);
    }
    for (seq, &position) in positions.iter().enumerate() {
        let expected = if seq < 6 { reset(ResetReason::Trimmed) } else { Ok((seq as u64 + 1..=10).collect()) };
        assert_eq!(ground.read(position).await, expected, "{seq}");
    }
    let ends = ground.logs.ends(ground.log()).await.unwrap();
    assert_eq!((ends.edge, ends.head), (positions[6], positions[10]));
    assert_eq!(ground.logs.read(ground.log(), ends.edge, 2).await.unwrap().len(), 2);
    let head = ends.head;
    assert_eq!(ground.read(Position { seq: 11, ..head }).await, reset(ResetReason::Ahead));
    assert_eq!(ground.read(Position { epoch: head.epoch ^ 1, ..head }).await, reset(ResetReason::Epoch));
    for seq in [6, 8, 10] {
        let forked = Position { tag: Tag(positions[seq].tag.0 ^ 1), ..positions[seq] };
        assert_eq!(ground.read(forked).await, reset(ResetReason::Forked), "{seq}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_forgot_is_never_skipped() {
    let ground = Ground::new(100).await;
    let [meta, events] = ground.keys().await;
    let first = ground.say("1").await;
    let head = ground.say("2").await;
    // The events are gone, and what is known of the log is not.
    ground.command(&format!("DEL {events}")).await;
    assert_eq!(ground.read(first).await, reset(ResetReason::Trimmed));
    assert_eq!(ground.read(head).await, Ok(vec![]));
    let third = ground.say("3").await;
    assert_eq!((third.epoch, third.seq), (head.epoch, 3));
    assert_eq!((ground.read(head).await, ground.read(first).await), (Ok(vec![3]), reset(ResetReason::Trimmed)));
    // The other way round.
    ground.command(&format!("DEL {meta}")).await;
    assert_eq!(ground.read(head).await, reset(ResetReason::Epoch));
    let anew = ground.say("1").await;
    assert!(anew.epoch != head.epoch && anew.seq == 1);
    assert_eq!(ground.read(Position::start(anew.epoch)).await, Ok(vec![1]));
    assert_eq!(ground.read(third).await, reset(ResetReason::Epoch));
    // Both: who stood at the start of what is lost has missed it.
    ground.command(&format!("DEL {meta} {events}")).await;
    assert_eq!(ground.read(Position::start(anew.epoch)).await, reset(ResetReason::Epoch));
    // All of it, scripts too.
    ground.command("FLUSHALL").await;
    ground.command("SCRIPT FLUSH").await;
    assert_eq!(ground.say("1").await.seq, 1);
}

/// A replica that became master lacks the last events, and others take their numbers.
#[tokio::test(flavor = "multi_thread")]
async fn a_forked_log_is_told_from_the_true_one() {
    let ground = Ground::new(100).await;
    let [meta, events] = ground.keys().await;
    let mut told = Vec::new();
    for n in 1..=5 {
        told.push(ground.say(&n.to_string()).await);
    }
    for seq in [4, 5] {
        ground.command(&format!("XDEL {events} {seq}-{}", told[0].epoch)).await;
    }
    let last = told[2];
    ground.command(&format!("XSETID {events} 3-{}", last.epoch)).await;
    ground.command(&format!("HSET {meta} seq 3 tag {}", last.tag)).await;
    for n in 4..=8 {
        assert_eq!(ground.say(&format!("other {n}")).await.seq, n);
    }
    assert_eq!(ground.read(last).await, Ok(vec![4, 5, 6, 7, 8]));
    for lost in &told[3..] {
        assert_eq!(ground.read(*lost).await, reset(ResetReason::Forked), "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_tried_again_is_stored_once() {
    let ground = Ground::new(100).await;
    let key = || Some(Dedup("ada first".into()));
    let first = ground.logs.publish(ground.log(), event("hello"), key(), None).await.unwrap();
    let again = ground.logs.publish(ground.log(), event("hello"), key(), None).await.unwrap();
    assert_eq!((first.repeated, again.repeated, again.position), (false, true, first.position));
    // The answer was lost, and others came in between.
    let lost = ground.say("lost").await;
    ground.say("between").await;
    ground.logs.published.fetch_sub(2, Ordering::Relaxed);
    let again = ground.logs.publish(ground.log(), event("lost"), None, None).await.unwrap();
    assert_eq!((again.position, again.repeated), (lost, false));
    assert_eq!(ground.read(Position::start(lost.epoch)).await, Ok(vec![1, 2, 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_keeps_what_its_bounds_allow() {
    let mut ground = Ground::new(100).await;
    let size = event("0").len();
    ground.bounds.bytes = size * 3;
    let mut positions = Vec::new();
    for n in 0..9 {
        positions.push(ground.say(&n.to_string()).await);
    }
    assert_eq!(ground.logs.ends(ground.log()).await.unwrap().edge, positions[5]);
    // One that is larger than all of them is not kept, and has its place.
    let large = ground.say(&"x".repeat(size * 3)).await;
    assert_eq!(ground.read(positions[8]).await, reset(ResetReason::Trimmed));
    assert_eq!((large.seq, ground.read(large).await), (10, Ok(vec![])));
    // Whatever is too old is gone, and the log goes on.
    ground.bounds.age_ms = 1;
    let old = ground.say("old").await;
    while ground.command(&format!("EXISTS {}", ground.keys().await[1])).await != ":0" {
        tokio::task::yield_now().await;
    }
    assert_eq!((ground.read(old).await, ground.read(large).await), (Ok(vec![]), reset(ResetReason::Trimmed)));
    assert_eq!(ground.say("new").await.seq, 12);
}

/// What others do with the log meanwhile does not matter to who is refused: nothing was stored.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_memory_takes_nothing_and_says_so() {
    let ground = Ground::new(100).await;
    let head = ground.say("1").await;
    ground.command("CONFIG SET maxmemory 1").await;
    let refused = ground.logs.publish(ground.log(), event("2"), None, None).await;
    assert_eq!(refused, Err(PublishError::Overloaded));
    ground.command("CONFIG SET maxmemory 0").await;
    assert_eq!(ground.read(head).await, Ok(vec![]));
    assert_eq!(ground.say("2").await.seq, 2);
}
