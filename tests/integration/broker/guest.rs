//! Who is told what an engine delivers: it takes only the next event, as rooms do, and notes the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use rallypoint::{
    broker::{
        Changed, Opened, Subscriber,
        parcel::{Parcel, Whisper},
    },
    node::NodeId,
    room::{
        command::Present,
        history::{Append, Bounds, History, Publication},
    },
};
use rallypoint_protocol::{EventBody, PeerId, Position, RoomName, server::ResetReason};
use tokio::sync::watch;

use super::ground::Sheet;
use crate::support::within;

/// The rooms and users of a node.
#[derive(Default)]
pub(super) struct Guest {
    rooms: Mutex<BTreeMap<RoomName, Room>>,
    /// Nodes that it was told are dead.
    dead: Mutex<BTreeSet<NodeId>>,
    /// What its node was before it was held for dead, each time.
    lives: Mutex<Vec<NodeId>>,
    /// What other nodes sent.
    parcels: Mutex<Vec<Parcel>>,
    /// What other nodes whispered.
    whispers: Mutex<Vec<(RoomName, Whisper)>>,
    news: watch::Sender<()>,
}

/// What became of one log.
pub(super) struct Room {
    bounds: Bounds,
    is_user: bool,
    /// None before it was loaded.
    history: Option<History>,
    /// What came before the events it follows.
    early: BTreeMap<u64, Arc<Publication>>,
    /// All members of other nodes, told before it was loaded.
    early_roster: Option<Vec<Present>>,
    /// Changes that came before it was loaded.
    early_changes: Vec<Changed>,
    /// Events that were told one by one, not with a beginning.
    pub(super) told: usize,
    /// Events that continue nothing.
    pub(super) foreign: usize,
    /// Every new beginning: why, and where.
    pub(super) restarts: Vec<(ResetReason, Position)>,
    /// Members on other nodes, and their order.
    pub(super) roster: BTreeMap<PeerId, Present>,
    /// How often a change was told of which no event tells.
    pub(super) changes: usize,
}

impl Room {
    fn new(sheet: &Sheet) -> Self {
        Self {
            bounds: sheet.bounds,
            is_user: sheet.name.user().is_some(),
            history: None,
            early: BTreeMap::new(),
            early_roster: None,
            early_changes: Vec::new(),
            told: 0,
            foreign: 0,
            restarts: Vec::new(),
            roster: BTreeMap::new(),
            changes: 0,
        }
    }

    /// Where it stands.
    pub(super) fn head(&self) -> Option<Position> {
        self.history.as_ref().map(History::head)
    }

    fn begin(&mut self, Opened { history, roster }: Opened) {
        self.history = Some(history);
        let roster = self.early_roster.take().unwrap_or(roster);
        self.take_roster(roster);
        for changed in std::mem::take(&mut self.early_changes) {
            self.take_change(changed);
        }
        self.take_early();
    }

    fn take_early(&mut self) {
        while let Some(history) = &mut self.history
            && let Some((seq, publication)) = self.early.pop_first()
        {
            // Nobody can have missed anything where nothing was yet.
            let is_first = self.is_user && history.head().seq == 0 && seq == 1;
            if is_first {
                *history = History::new(Position::start(publication.position.epoch), self.bounds);
            }
            match history.append(publication.clone()) {
                Append::Done => self.tell(&publication),
                Append::Gap => {
                    self.early.insert(seq, publication);
                    return;
                }
                Append::Known => {}
                Append::Foreign => self.foreign += 1,
            }
        }
    }

    /// An event is told. That of a member may tell of the roster too.
    fn tell(&mut self, publication: &Publication) {
        self.told += 1;
        match (publication.event().body, publication.node) {
            (EventBody::PeerJoined { mut peer }, Some(node)) => {
                peer.order = Some(publication.position.seq);
                self.roster.insert(peer.peer, Present { entry: peer, node });
            }
            (EventBody::PeerLeft { peer, .. }, _) => _ = self.roster.remove(&peer.peer),
            (EventBody::NodeDown(down), _) => self.roster.retain(|_, present| present.node.to_string() != *down.node),
            _ => {}
        }
    }

    fn take_roster(&mut self, roster: Vec<Present>) {
        self.roster = roster.into_iter().map(|present| (present.entry.peer, present)).collect();
    }

    fn take_change(&mut self, changed: Changed) {
        self.changes += 1;
        match changed {
            Changed::Entered(present) => _ = self.roster.insert(present.entry.peer, present),
            Changed::Left(peer) => _ = self.roster.remove(&peer),
        }
    }
}

impl Guest {
    /// A log is about to be opened or followed.
    pub(super) fn prepare(&self, sheet: &Sheet) {
        self.rooms.lock().insert(sheet.name.clone(), Room::new(sheet));
    }

    /// The log is open, unless it has begun anew already.
    pub(super) fn load(&self, name: &RoomName, opened: Opened) {
        self.with(name, |room| {
            if room.history.is_none() {
                room.begin(opened);
            }
        });
    }

    /// The log is told from here on.
    pub(super) fn stand(&self, name: &RoomName, head: Position) {
        self.with(name, |room| {
            if room.history.is_none() {
                room.history = Some(History::new(head, room.bounds));
                room.take_early();
            }
        });
    }

    pub(super) fn leave(&self, name: &RoomName) {
        self.rooms.lock().remove(name);
    }

    fn with(&self, name: &RoomName, take: impl FnOnce(&mut Room)) {
        self.rooms.lock().get_mut(name).map(take);
        self.news.send_replace(());
    }

    /// Looks at a log that is open or followed.
    pub(super) fn look<T>(&self, name: &RoomName, look: impl FnOnce(&Room) -> T) -> T {
        look(&self.rooms.lock()[name])
    }

    /// Where a log was told up to.
    pub(super) fn head(&self, name: &RoomName) -> Option<Position> {
        self.look(name, Room::head)
    }

    /// All that a log has said.
    pub(super) fn events(&self, name: &RoomName) -> Vec<Arc<Publication>> {
        self.look(name, |room| room.history.iter().flat_map(History::events).cloned().collect())
    }

    /// Why a log began anew, each time.
    pub(super) fn restarts(&self, name: &RoomName) -> Vec<ResetReason> {
        self.look(name, |room| room.restarts.iter().map(|(reason, _)| *reason).collect())
    }

    /// Members on other nodes, with their orders.
    pub(super) fn roster(&self, name: &RoomName) -> Vec<(PeerId, u64)> {
        let order = |present: &Present| (present.entry.peer, present.entry.order.expect("members have an order"));
        self.look(name, |room| room.roster.values().map(order).collect())
    }

    /// Waits for something to be told of a log.
    pub(super) async fn hears(&self, what: &str, name: &RoomName, mut is_there: impl FnMut(&Room) -> bool) {
        let mut news = self.news.subscribe();
        within(what, news.wait_for(|()| self.look(name, &mut is_there))).await.expect("the sender is here");
    }

    /// Waits until it is told that a node is dead.
    pub(super) async fn hears_of_the_end_of(&self, node: NodeId) {
        let mut news = self.news.subscribe();
        within("the end of a node", news.wait_for(|()| self.dead.lock().contains(&node)))
            .await
            .expect("the sender is here");
    }

    /// How many nodes it was told are dead.
    pub(super) fn dead(&self) -> usize {
        self.dead.lock().len()
    }

    /// Waits until its node goes on as another; returns what it was.
    pub(super) async fn hears_of_a_new_life(&self) -> NodeId {
        let mut news = self.news.subscribe();
        within("a new life", news.wait_for(|()| !self.lives.lock().is_empty())).await.expect("the sender is here");
        self.lives.lock()[0]
    }

    /// What other nodes have sent to it.
    pub(super) fn parcels(&self) -> Vec<Parcel> {
        self.parcels.lock().clone()
    }

    /// What other nodes have whispered.
    pub(super) fn whispers(&self) -> Vec<(RoomName, Whisper)> {
        self.whispers.lock().clone()
    }

    /// For those who read why a test gave up.
    pub(super) fn describe(&self, name: &RoomName) -> String {
        self.look(name, |room| {
            let early: Vec<_> = room.early.values().map(|publication| publication.position.to_string()).collect();
            let Room { told, foreign, restarts, .. } = room;
            let head = room.head().map(|head| head.to_string());
            format!("at {head:?}, {told} told, {foreign} foreign, early: {early:?}, begun anew: {restarts:?}")
        })
    }
}

impl Subscriber for Guest {
    fn deliver(&self, publication: Arc<Publication>) {
        self.with(&publication.log.clone(), |room| {
            room.early.insert(publication.position.seq, publication);
            room.take_early();
        });
    }

    fn restart(&self, log: &RoomName, reason: ResetReason, opened: Opened) {
        self.with(log, |room| {
            room.early.clear();
            room.early_changes.clear();
            room.early_roster = None;
            room.restarts.push((reason, opened.history.head()));
            room.begin(opened);
        });
    }

    fn changed(&self, log: &RoomName, changed: Changed) {
        self.with(log, |room| match room.history {
            Some(_) => room.take_change(changed),
            None => room.early_changes.push(changed),
        });
    }

    fn died(&self, node: NodeId) {
        self.dead.lock().insert(node);
        self.news.send_replace(());
    }

    fn parcels(&self, _: NodeId, parcels: Vec<Parcel>) {
        self.parcels.lock().extend(parcels);
        self.news.send_replace(());
    }

    fn whispers(&self, room: &RoomName, _: NodeId, whispers: Vec<Whisper>) {
        let named = whispers.into_iter().map(|whisper| (room.clone(), whisper));
        self.whispers.lock().extend(named);
        self.news.send_replace(());
    }

    fn reborn(&self, before: NodeId) {
        self.lives.lock().push(before);
        self.news.send_replace(());
    }

    fn roster(&self, log: &RoomName, roster: Vec<Present>) {
        self.with(log, |room| match room.history {
            Some(_) => room.take_roster(roster),
            None => {
                room.early_changes.clear();
                room.early_roster = Some(roster);
            }
        });
    }
}
