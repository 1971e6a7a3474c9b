//! What other nodes have not been told yet: who leaves while the engine is away is not a ghost in the room for ever, nor is
//! anybody whose node is dead.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rallypoint_protocol::{
    ErrorCode, Event, EventBody, PeerId, RoomName,
    event::{Gone, LeaveReason, NodeDown},
};
use tokio::sync::Notify;

use super::{Hub, rooms::RoomCell, sessions::SessionCell, turn::Turn};
use crate::{
    broker::{Change, Log, PublishError, Unavailable},
    node::NodeId,
    room::Member,
};

/// Before something that the engine did not take is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Members of a dead node that are listed.
const LISTED: usize = 100;

/// Something to be told.
enum Debt {
    /// A member left.
    Leave(RoomName, Gone, LeaveReason),
    /// A session went on on another node.
    Session(Arc<SessionCell>),
    /// How it is then, counts.
    Due(Due),
}

/// Something that is told as it is when it is told, and once however often it is owed.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Due {
    /// Something about a member of this node changed of which no event tells.
    Member(RoomName, PeerId),
    /// A member of this node went with what the node was before, and is still here.
    Return(RoomName, PeerId),
    /// A node is dead, whose members are still in the room.
    Down(RoomName, NodeId),
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
    /// What of it is owed once.
    due: HashSet<Due>,
    /// Whose leaves are not told yet, one that is being told among them.
    leaving: HashSet<(RoomName, PeerId)>,
}

impl Debts {
    fn push(&self, debt: Debt) {
        let mut queue = self.queue.lock();
        let is_new = match &debt {
            Debt::Leave(room, gone, _) => {
                queue.leaving.insert((room.clone(), gone.peer));
                true
            }
            Debt::Session(_) => true,
            Debt::Due(due) => queue.due.insert(due.clone()),
        };
        if is_new {
            queue.debts.push_back(debt);
        }
        drop(queue);
        self.raised.notify_one();
    }

    /// Whether others have still to be told that a member left a room.
    pub(super) fn is_leaving(&self, room: &RoomName, peer: PeerId) -> bool {
        let queue = self.queue.lock();
        !queue.leaving.is_empty() && queue.leaving.contains(&(room.clone(), peer))
    }

    fn paid(&self, debt: &Debt) {
        if let Debt::Leave(room, gone, _) = debt {
            self.queue.lock().leaving.remove(&(room.clone(), gone.peer));
        }
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
        if let Debt::Due(due) = &debt {
            queue.due.remove(due);
        }
        Some(debt)
    }
}

impl Hub {
    /// A leave could not be published: it will be.
    pub(super) fn owe_leave(&self, room: &RoomName, gone: Gone, reason: LeaveReason) {
        self.debts.push(Debt::Leave(room.clone(), gone, reason));
    }

    /// A session went on on another node, and is to be let go here.
    pub(super) fn owe_session(&self, session: Arc<SessionCell>) {
        self.debts.push(Debt::Session(session));
    }

    /// Something about a member of this node changed of which no event tells.
    pub(super) fn owe_member(&self, room: &RoomName, peer: PeerId) {
        if self.broker.is_shared() {
            self.debts.push(Debt::Due(Due::Member(room.clone(), peer)));
        }
    }

    /// The engine may have forgotten who is in a room on this node.
    pub(super) fn owe_members(&self, cell: &Arc<RoomCell>) {
        let is_here = |member: &Member| member.home.is_none();
        members(cell, is_here).into_iter().for_each(|gone| self.owe_member(cell.name(), gone.peer));
    }

    /// Members of these nodes are in a room: those of the dead are gone.
    pub(super) fn owe_burials(&self, room: &RoomName, homes: impl IntoIterator<Item = NodeId>) {
        for dead in homes.into_iter().filter(|&home| self.broker.is_dead(home)) {
            self.debts.push(Debt::Due(Due::Down(room.clone(), dead)));
        }
    }

    /// A node is dead: its members are gone from all rooms.
    pub(super) fn owe_burials_everywhere(&self, dead: NodeId) {
        for cell in self.rooms.all() {
            let is_there = cell.lock().is_some_and(|state| state.room.members(None).any(|m| m.home == Some(dead)));
            self.owe_burials(cell.name(), is_there.then_some(dead));
        }
    }

    /// This node was held for dead. Its members, which others have lost, come again.
    pub(super) fn owe_returns(&self, before: NodeId) {
        for cell in self.rooms.all() {
            let here = members(&cell, |member| member.home.is_none());
            if !here.is_empty() {
                self.debts.push(Debt::Due(Due::Down(cell.name().clone(), before)));
            }
            for gone in here {
                if let Some(mut state) = cell.lock() {
                    state.returns(gone.peer);
                }
                self.debts.push(Debt::Due(Due::Return(cell.name().clone(), gone.peer)));
            }
        }
    }

    /// Tells other nodes what they have not been told yet, for as long as it is polled.
    pub async fn pay_debts(self: Arc<Self>) {
        loop {
            let debt = self.debts.next().await;
            while self.pay(&debt).await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            self.debts.paid(&debt);
        }
    }

    async fn pay(&self, debt: &Debt) -> Result<(), Unavailable> {
        match debt {
            Debt::Leave(room, peer, reason) => {
                let body = EventBody::PeerLeft { peer: peer.clone(), reason: *reason };
                taken(self.try_publish(room, body, None, None).await)
            }
            Debt::Session(session) => {
                self.hand_over(session);
                Ok(())
            }
            Debt::Due(Due::Member(room, peer)) => self.tell_member(room, *peer).await,
            Debt::Due(Due::Return(room, peer)) => {
                let Some(Member { entry, .. }) = self.member_here(room, *peer) else { return Ok(()) };
                let Some(cell) = self.rooms.get(room) else { return Ok(()) };
                let seen = cell.lock().map(|state| (state.is_returning(*peer), state.room.is_gathering()));
                // It may have left since, and joined by itself.
                let Some((true, is_gathering)) = seen else { return Ok(()) };
                if is_gathering {
                    self.tell_member(room, *peer).await?;
                    let _turn = Turn::begin();
                    if let Some(mut state) = cell.lock() {
                        state.has_returned(&cell, *peer);
                    }
                    self.take_early(&cell);
                    return Ok(());
                }
                let body = EventBody::PeerJoined { peer: rallypoint_protocol::event::Entry { order: None, ..entry } };
                taken(self.try_publish(room, body, None, None).await)
            }
            Debt::Due(Due::Down(room, dead)) => self.bury(room, *dead).await,
        }
    }

    /// Tells other nodes how a member of this one is, or that it is none.
    async fn tell_member(&self, room: &RoomName, peer: PeerId) -> Result<(), Unavailable> {
        let entry = self.member_here(room, peer);
        let change = match &entry {
            Some(member) => Change::Enter(&member.entry),
            None => Change::Leave { peer, node: None },
        };
        self.broker.change(Log { name: room, bounds: self.settings_for(room).bounds() }, change).await
    }

    fn member_here(&self, room: &RoomName, peer: PeerId) -> Option<Member> {
        let cell = self.rooms.get(room)?;
        let state = cell.lock()?;
        state.room.member(peer).filter(|member| member.home.is_none()).cloned()
    }

    /// Puts it into the log of a room that a node is dead, unless another node has.
    async fn bury(&self, room: &RoomName, dead: NodeId) -> Result<(), Unavailable> {
        let Some(cell) = self.rooms.get(room) else { return Ok(()) };
        // None if it is what this node was before: its members are here, and come again at once.
        let mut left = members(&cell, |member| member.home == Some(dead));
        let Some((members, spectators)) = cell.lock().map(|state| (state.room.count(), state.room.spectators())) else {
            return Ok(());
        };
        let (count, more) = (members.saturating_sub(left.len()), left.len() > LISTED);
        left.truncate(LISTED);
        let body = EventBody::NodeDown(NodeDown { node: dead.to_string().into(), count, spectators, left, more });
        let event = Event { time: self.now(), from: None, body }.to_bytes().into_boxed_slice();
        let log = Log { name: room, bounds: self.settings_for(room).bounds() };
        taken(self.broker.bury(log, event, dead).await)
    }
}

/// Members of a room, as they are spoken of when they are gone.
fn members(cell: &RoomCell, which: impl Fn(&Member) -> bool) -> Vec<Gone> {
    let Some(state) = cell.lock() else { return Vec::new() };
    let gone = |member: &Member| {
        let entry = &member.entry;
        Gone { peer: entry.peer, handle: None, user: entry.user.clone(), name: entry.name.clone() }
    };
    state.room.members(None).filter(|member| which(member)).map(gone).collect()
}

/// Whether it is in the log; what will never be is not tried again.
fn taken<T>(published: Result<T, PublishError>) -> Result<(), Unavailable> {
    match published {
        Err(PublishError::Rejected(code)) if code != ErrorCode::Overloaded => {
            tracing::warn!(%code, "the engine refuses what other nodes should know");
            Ok(())
        }
        Err(_) => Err(Unavailable),
        Ok(_) => Ok(()),
    }
}
