use rallypoint_proof::redis::{Cluster, Redis};
use tokio::sync::mpsc;

use super::*;

/// Notes what it is told.
struct Notes(mpsc::UnboundedSender<String>);

impl Listener for Notes {
    fn heard(&self, channel: &str, message: &[u8]) {
        _ = self.0.send(format!("{channel} {}", String::from_utf8_lossy(message)));
    }

    fn begins(&self, channel: &str) {
        _ = self.0.send(format!("{channel} begins"));
    }
}

async fn next(notes: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(Duration::from_secs(20), notes.recv()).await.expect("something is heard").unwrap()
}

fn listening(url: &str, most: usize) -> (Arc<Ears>, mpsc::UnboundedReceiver<String>) {
    let (ears, address) = (Arc::new(Ears::new(most)), url.parse().unwrap());
    let (sender, notes) = mpsc::unbounded_channel();
    let listening = ears.clone();
    tokio::spawn(async move { listening.listen(&address, &Notes(sender)).await });
    (ears, notes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_the_confirmation_is_heard_and_a_lost_connection_is_told() {
    let redis = Redis::start().await.unwrap();
    let (ears, mut notes) = listening(&redis.url(), 1 << 20);
    ears.want("a".to_owned());
    ears.confirmed("a").await;
    assert_eq!(next(&mut notes).await, "a begins");
    for n in 0..3 {
        redis.say(&format!("SPUBLISH a {n}")).await.unwrap();
        assert_eq!(next(&mut notes).await, format!("a {n}"));
    }
    redis.say("CLIENT KILL TYPE pubsub").await.unwrap();
    assert_eq!(next(&mut notes).await, "a begins");
    ears.confirmed("a").await;
    assert_eq!(redis.say("SPUBLISH a again").await.unwrap(), ":1");
    assert_eq!(next(&mut notes).await, "a again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_is_full_puts_everything_in_doubt() {
    let redis = Redis::start().await.unwrap();
    let (ears, mut notes) = listening(&redis.url(), 100);
    ears.want("a".to_owned());
    assert_eq!(next(&mut notes).await, "a begins");
    redis.say(&format!("SPUBLISH a {}", "x".repeat(100))).await.unwrap();
    assert_eq!(next(&mut notes).await, "a begins");
    redis.say("SPUBLISH a small").await.unwrap();
    assert_eq!(next(&mut notes).await, "a small");
}

/// Client libraries do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start(3).await.unwrap();
    let (ears, mut notes) = listening(&cluster.url(), 1 << 20);
    // Slot 0 and its neighbours are the first to go.
    let channel = "{3560}";
    ears.want(channel.to_owned());
    ears.confirmed(channel).await;
    assert_eq!(next(&mut notes).await, format!("{channel} begins"));
    assert_eq!(cluster.servers[0].ask(&["SPUBLISH", channel, "before"]).await.unwrap(), "1");
    assert_eq!(next(&mut notes).await, format!("{channel} before"));
    cluster.move_slots(0, 2, 3).await.unwrap();
    assert_eq!(next(&mut notes).await, format!("{channel} begins"));
    ears.confirmed(channel).await;
    assert_eq!(cluster.servers[2].ask(&["SPUBLISH", channel, "after"]).await.unwrap(), "1");
    assert_eq!(next(&mut notes).await, format!("{channel} after"));
}
