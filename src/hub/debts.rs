//! What other nodes have not been told yet: who leaves while the engine is away is not a ghost in the room for ever.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rallypoint_protocol::{
    EventBody, PeerId, RoomName,
    event::{Gone, LeaveReason},
};
use tokio::sync::Notify;

use super::{Hub, rooms::RoomCell};
use crate::broker::{Change, Log, Unavailable};

/// Before something that the engine did not take is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Something to be told.
enum Debt {
    /// A member left.
    Leave(RoomName, Gone, LeaveReason),
    /// Something about a member of this node changed of which no event tells; how the member is then, counts.
    Member(RoomName, PeerId),
}

/// All of it, in the order in which it came.
#[derive(Default)]
pub(super) struct Debts {
    queue: Mutex<Queue>,
    raised: Notify,
}

#[derive(Default)]
struct Queue {
    debts: VecDeque<Debt>,
    /// Members that are in it.
    members: HashSet<(RoomName, PeerId)>,
}

impl Debts {
    fn push(&self, debt: Debt) {
        let mut queue = self.queue.lock();
        let is_new = match &debt {
            Debt::Leave(..) => true,
            Debt::Member(room, peer) => queue.members.insert((room.clone(), *peer)),
        };
        if is_new {
            queue.debts.push_back(debt);
        }
        drop(queue);
        self.raised.notify_one();
    }

    async fn next(&self) -> Debt {
        loop {
            if let Some(debt) = self.take() {
                return debt;
            }
            self.raised.notified().await;
        }
    }

    fn take(&self) -> Option<Debt> {
        let mut queue = self.queue.lock();
        let debt = queue.debts.pop_front()?;
        if let Debt::Member(room, peer) = &debt {
            queue.members.remove(&(room.clone(), *peer));
        }
        Some(debt)
    }
}

impl Hub {
    /// A leave could not be published: it will be.
    pub(super) fn owe_leave(&self, room: &RoomName, gone: Gone, reason: LeaveReason) {
        self.debts.push(Debt::Leave(room.clone(), gone, reason));
    }

    /// Something about a member of this node changed of which no event tells.
    pub(super) fn owe_member(&self, room: &RoomName, peer: PeerId) {
        if self.broker.is_shared() {
            self.debts.push(Debt::Member(room.clone(), peer));
        }
    }

    /// The engine may have forgotten who is in a room on this node.
    pub(super) fn owe_members(&self, cell: &Arc<RoomCell>) {
        let peers: Vec<_> = match cell.lock() {
            Some(state) => state.room.members(None).filter(|m| m.home.is_none()).map(|m| m.entry.peer).collect(),
            None => return,
        };
        peers.into_iter().for_each(|peer| self.owe_member(cell.name(), peer));
    }

    /// Tells other nodes what they have not been told yet, for as long as it is polled.
    pub async fn pay_debts(self: Arc<Self>) {
        loop {
            let debt = self.debts.next().await;
            while self.pay(&debt).await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn pay(&self, debt: &Debt) -> Result<(), Unavailable> {
        match debt {
            Debt::Leave(room, peer, reason) => {
                let body = EventBody::PeerLeft { peer: peer.clone(), reason: *reason };
                self.publish(room, body, None, None).await.map(|_| ()).map_err(|_| Unavailable)
            }
            Debt::Member(room, peer) => {
                let cell = self.rooms.get(room);
                let entry = cell.and_then(|cell| {
                    let state = cell.lock()?;
                    let member = state.room.member(*peer).filter(|member| member.home.is_none())?;
                    Some(member.entry.clone())
                });
                let change = match &entry {
                    Some(entry) => Change::Enter(entry),
                    None => Change::Leave { peer: *peer, node: None },
                };
                self.broker.change(Log { name: room, bounds: self.settings_for(room).bounds() }, change).await
            }
        }
    }
}
