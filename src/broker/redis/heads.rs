//! Where the logs are that a node follows, compared now and then with where the engine has them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rallypoint_protocol::Position;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Redis, follow::Followed, keys::Partition};
use crate::broker::Unavailable;

/// How often heads are compared, in ticks of a second. A head that is not where it should be has one tick to get there.
const HEADS_EVERY: u32 = 20;
const TICK: Duration = Duration::from_secs(1);
/// Heads that are asked for in one message.
const HEADS_AT_ONCE: usize = 64;

/// A log that is not where the engine has it, and where that is.
type Late = (Arc<Followed>, Option<(Position, u64)>);

impl Redis {
    /// Compares heads now and then: the last message before a silence is missed by nobody who only listens.
    pub(super) async fn follow_heads(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut late, mut births): (Vec<Late>, _) = (Vec::new(), BTreeMap::new());
        for tick in 0_u32.. {
            ticks.tick().await;
            self.health.look(self.is_reached().await);
            for (followed, head) in late.drain(..) {
                let is_there = followed.head().zip(head).is_some_and(|((here, told), (head, version))| {
                    here.epoch == head.epoch && here.seq >= head.seq && told >= version
                });
                if !is_there {
                    self.doubt(&followed);
                }
            }
            if tick % HEADS_EVERY == 0 {
                late = self.late(&mut births).await;
            }
        }
    }

    /// Whether the engine answers, and is heard.
    async fn is_reached(&self) -> bool {
        let answers = timeout(TICK, self.line.ask(redis::pipe().cmd("PING"))).await;
        self.ears.is_connected() && matches!(answers, Ok(Ok(_)))
    }

    /// Logs that are not where the engine has them, with where that is. `births` is how many logs had begun in which
    /// partition when this was last asked.
    async fn late(&self, births: &mut BTreeMap<u8, Option<String>>) -> Vec<Late> {
        // Most users never had an event: their logs are not there, and need not be.
        let (mut partitions, mut unborn): (BTreeMap<u8, Vec<_>>, BTreeMap<u8, Vec<_>>) = Default::default();
        for followed in self.followed.iter().map(|followed| followed.value().clone()) {
            if followed.head().is_none() {
                continue;
            }
            let there = if followed.is_unborn() { &mut unborn } else { &mut partitions };
            there.entry(Partition::of(followed.name()).number()).or_default().push(followed);
        }
        for (partition, mut followed) in unborn {
            let Ok(count) = self.logs.births(followed[0].name()).await else { continue };
            if births.insert(partition, count.clone()) != Some(count) {
                partitions.entry(partition).or_default().append(&mut followed);
            }
        }
        let mut late = Vec::new();
        for (partition, of_one) in &partitions {
            for batch in of_one.chunks(HEADS_AT_ONCE) {
                if self.ask_heads(batch, &mut late).await.is_err() {
                    births.remove(partition);
                }
            }
        }
        late
    }

    /// Compares the heads of some logs of a partition.
    async fn ask_heads(&self, batch: &[Arc<Followed>], late: &mut Vec<Late>) -> Result<(), Unavailable> {
        let logs: Vec<_> = batch.iter().map(|followed| followed.log()).collect();
        let stood: Vec<_> = batch.iter().map(|followed| followed.head()).collect();
        for ((followed, stood), head) in batch.iter().zip(stood).zip(self.logs.heads(&logs).await?) {
            if stood.zip(head).is_some_and(|((stood, _), (head, _))| is_forked(stood, head)) {
                self.doubt(followed);
            } else if followed.head() != head && !(head.is_none() && followed.is_unborn()) {
                late.push((followed.clone(), head));
            }
        }
        Ok(())
    }
}

/// Whether a log that stood at the first of these has gone another way, if it stands at the second now.
fn is_forked(stood: Position, now: Position) -> bool {
    now.epoch == stood.epoch && (now.seq < stood.seq || now.seq == stood.seq && now.tag != stood.tag)
}
