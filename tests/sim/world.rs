//! The world: clock, links, guests and the simulated hub, moved on from one happening to the next. The owner of all
//! chance: whatever is not in the plan comes out of its seed.

use rallypoint_proof::seed::Seed;

use crate::{
    check::Ledger,
    clock::{Agenda, Trace},
    faults::Fault,
    guest::Guest,
    hub::{Hub, Standing},
    link::Link,
    plan::{Plan, peer},
    wire::Up,
};

/// How long everything has to arrive once the accidents are over.
const CALM_MS: u64 = 60_000;

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Connect(usize),
    Deed(usize),
    /// Bytes arrive at the guest, or a message at the server.
    Down(usize),
    Up(usize),
    /// A stalled kernel is looked at: has it taken nothing for too long?
    Stalled(usize, u64),
    Beat(usize),
    Accident(usize),
    /// An end notices that the connection is gone.
    GuestSees(usize),
    ServerSees(usize),
    /// By now the server must have noticed by itself.
    MustBeGone(usize),
    Grace(usize, u64),
    Tick,
}

/// One run.
pub(crate) struct World {
    seed: Seed,
    plan: Plan,
    agenda: Agenda<Happening>,
    pub(crate) trace: Trace,
    pub(crate) ledger: Ledger,
    hub: Hub,
    guests: Vec<Guest>,
    links: Vec<Link>,
    /// Numbers signals and moves.
    unique: u64,
    tick: Option<u64>,
    pub(crate) fault: Option<Fault>,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut seed = Seed::new(seed);
        let plan = Plan::of(&mut seed);
        let mut agenda = Agenda::new();
        for guest in 0..plan.guests {
            agenda.plan(seed.below(1000), Happening::Connect(guest));
            agenda.plan(seed.below(2000), Happening::Deed(guest));
        }
        Self {
            ledger: Ledger::new(&plan),
            hub: Hub::new(&plan),
            guests: (0..plan.guests).map(Guest::new).collect(),
            trace: Trace::new(),
            links: vec![],
            unique: 0,
            tick: None,
            seed,
            plan,
            agenda,
            fault,
        }
    }

    /// Runs to the end, or to the first broken promise.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        while let Some(happening) = self.agenda.next(self.plan.stormy_ms + CALM_MS) {
            self.hub.now = self.agenda.now();
            self.happen(happening);
            self.settle();
            if let Some(breach) = self.ledger.breach() {
                return Err(breach);
            }
        }
        self.finish();
        self.ledger.breach().map_or(Ok(()), Err)
    }

    fn is_stormy(&self) -> bool {
        self.agenda.now() < self.plan.stormy_ms
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.agenda.now();
        match happening {
            Happening::Connect(guest) => self.connect(guest),
            Happening::Deed(guest) => {
                let said = self.guests[guest].deed(&mut self.unique, &mut self.seed, &mut self.ledger);
                self.trace.note(now, "deed", guest as u64, said.len() as u64);
                said.into_iter().for_each(|message| self.say(guest, message));
                if self.is_stormy() {
                    self.agenda.plan(now + 1 + self.seed.exponential(self.plan.deed_ms), Happening::Deed(guest));
                }
            }
            Happening::Down(at) => self.arrive(at),
            Happening::Up(at) => {
                if let Some(message) = self.links[at].arrive_up(now) {
                    self.trace.note(now, "up", at as u64, 0);
                    self.hub.hear(at, message, &mut self.ledger);
                }
            }
            Happening::Stalled(at, since) => {
                if self.hub.sockets[at].blocked == Some(since) {
                    self.ledger.note("stalled");
                    self.hub.close(at, 4002);
                }
            }
            Happening::Beat(at) => {
                if !self.hub.sockets[at].gone {
                    self.hub.beat(at, self.links[at].answers_within(self.plan.ping_ms), &mut self.ledger);
                    self.plan_beat(at);
                }
            }
            Happening::Accident(at) => self.accident(at),
            Happening::GuestSees(at) => self.guest_sees(at),
            Happening::ServerSees(at) => self.server_sees(at),
            Happening::MustBeGone(at) => {
                let gone = self.hub.sockets[at].gone;
                self.ledger.expect(gone, || format!("connection {at} is dead and the server has not noticed"));
            }
            Happening::Grace(place, loss) => {
                if self.hub.give_up(place, loss, &mut self.ledger) {
                    self.ledger.note("given up");
                    self.trace.note(now, "given up", place as u64, loss);
                }
            }
            Happening::Tick => {
                self.tick = None;
                self.hub.tick(&mut self.ledger);
            }
        }
    }

    fn connect(&mut self, guest: usize) {
        let (now, at) = (self.agenda.now(), self.links.len());
        self.links.push(Link::new(guest, &mut self.seed));
        self.hub.open();
        let first = self.guests[guest].connect(at);
        self.trace.note(now, "connect", guest as u64, at as u64);
        self.say(guest, first);
        self.plan_beat(at);
        self.plan_accident(at);
    }

    fn plan_accident(&mut self, at: usize) {
        let when = self.agenda.now() + 1 + self.seed.exponential(self.plan.accident_ms);
        if when < self.plan.stormy_ms {
            self.agenda.plan(when, Happening::Accident(at));
        }
    }

    fn plan_beat(&mut self, at: usize) {
        self.agenda.plan(self.hub.sockets[at].pulse.peek().whole(), Happening::Beat(at));
    }

    fn say(&mut self, guest: usize, message: Up) {
        let Some(at) = self.guests[guest].link else { return };
        if let Some(when) = self.links[at].say(self.agenda.now(), message) {
            self.agenda.plan(when, Happening::Up(at));
        }
    }

    fn arrive(&mut self, at: usize) {
        let Some(bytes) = self.links[at].arrive_down(self.agenda.now()) else { return };
        self.trace.note(self.agenda.now(), "down", at as u64, bytes.len() as u64);
        let guest = self.links[at].guest;
        if self.guests[guest].link == Some(at) {
            let said = self.guests[guest].hear(&bytes, &mut self.fault, &mut self.ledger);
            said.into_iter().for_each(|message| self.say(guest, message));
        }
        self.flush(at, true);
    }

    fn accident(&mut self, at: usize) {
        let now = self.agenda.now();
        let chance = self.seed.below(100);
        self.trace.note(now, "accident", at as u64, chance);
        if self.links[at].left || self.hub.sockets[at].gone {
            return;
        }
        let link = &mut self.links[at];
        match chance {
            // A cut that both ends notice.
            0..45 => {
                link.tear(&mut self.seed);
                let (guest, server) = link.noticed(now);
                self.agenda.plan(guest, Happening::GuestSees(at));
                self.agenda.plan(server, Happening::ServerSees(at));
                self.ledger.note("cut");
            }
            // Half open: the guest gives up some time, the server has only its pulse.
            45..65 => {
                link.tear(&mut self.seed);
                self.agenda.plan(now + 300 + self.seed.below(6000), Happening::GuestSees(at));
                let missed = self.plan.ping_ms.max(1000) * (self.plan.ping_missed as u64 + 1);
                self.agenda.plan(now + missed + self.plan.stalled_ms + 500, Happening::MustBeGone(at));
                self.ledger.note("half-open");
            }
            // The guest gives it up and comes at once, before the server notices anything.
            65..75 => {
                link.tear(&mut self.seed);
                self.agenda.plan(now, Happening::GuestSees(at));
                self.agenda.plan(now + 5000, Happening::ServerSees(at));
                self.ledger.note("taken over");
            }
            _ => {
                link.stall(now + 200 + self.seed.below(4000));
                self.ledger.note("stall");
                self.plan_accident(at);
            }
        }
    }

    fn guest_sees(&mut self, at: usize) {
        let guest = self.links[at].guest;
        self.links[at].left = true;
        if self.guests[guest].link != Some(at) {
            return;
        }
        self.guests[guest].lose();
        // Most come back soon, some too late.
        let away = if self.is_stormy() && self.seed.percent(15) { 9000 } else { 400 };
        self.agenda.plan(self.agenda.now() + self.seed.below(away), Happening::Connect(guest));
    }

    fn server_sees(&mut self, at: usize) {
        if self.hub.sockets[at].gone {
            return;
        }
        self.links[at].close();
        let (guest, _) = self.links[at].noticed(self.agenda.now());
        self.agenda.plan(guest, Happening::GuestSees(at));
        if let Some((place, loss)) = self.hub.part(at) {
            self.trace.note(self.agenda.now(), "lost", place as u64, loss);
            self.agenda.plan(self.agenda.now() + self.plan.grace_ms, Happening::Grace(place, loss));
        }
    }

    /// The end of a turn: everything that waits is written, and what is closed goes.
    fn settle(&mut self) {
        for at in 0..self.hub.sockets.len() {
            self.flush(at, false);
            let socket = &self.hub.sockets[at];
            if socket.closing && !socket.gone && (socket.outbox.is_empty() || socket.blocked.is_some()) {
                self.server_sees(at);
            }
        }
        let due = self.hub.room.deadline().map(|due| due.0.ceil() as u64);
        if due != self.tick && due.is_some() {
            self.tick = due;
            self.agenda.plan(due.unwrap_or(0), Happening::Tick);
        }
    }

    /// Writes what the kernel takes. A kernel that took nothing is asked again only when it is `ready`.
    fn flush(&mut self, at: usize, ready: bool) {
        let now = self.agenda.now();
        let socket = &mut self.hub.sockets[at];
        if socket.gone || (socket.blocked.is_some() && !ready) {
            return;
        }
        while !socket.outbox.is_empty() {
            let mut scratch = [0; 1024];
            let waiting = socket.outbox.next(&mut scratch);
            let Some((written, arrival)) = self.links[at].write(now, waiting, &mut self.seed) else {
                self.ledger.outboxes.held(at, &socket.outbox, socket.owed);
                if socket.blocked.is_none() {
                    socket.blocked = Some(now);
                    self.agenda.plan(now + self.plan.stalled_ms, Happening::Stalled(at, now));
                }
                return;
            };
            socket.outbox.advance(written);
            socket.blocked = None;
            if let Some(arrival) = arrival {
                self.agenda.plan(arrival, Happening::Down(at));
            }
        }
        (socket.blocked, socket.owed) = (None, 0);
        self.hub.flushed(at, &mut self.ledger);
    }

    /// The end: everybody is there, and nothing is missing.
    fn finish(&mut self) {
        let head = self.ledger.events.head();
        for (number, guest) in self.guests.iter().enumerate() {
            let Some((session, _)) = guest.session.filter(|_| guest.open) else {
                self.ledger.fail(&format!("guest {number} never came back"));
                continue;
            };
            let here = guest.link.map(Standing::Here);
            let standing = self.hub.places[session].standing;
            self.ledger.expect(here == Some(standing), || format!("guest {number} is at {here:?}, not {standing:?}"));
            let waits = guest.waiting.keys().next();
            self.ledger.expect(waits.is_none(), || format!("guest {number}: request {waits:?} was never answered"));
            let life = self.hub.places[session].life;
            self.ledger.expect(life == guest.life, || format!("guest {number} counts in another life than {life}"));
            self.ledger.counted.settled(session, life);
            let member = self.hub.room.member(peer(session)).is_some();
            let Some(view) = &guest.view else {
                self.ledger.expect(!member, || format!("guest {number} sits in the room and does not know"));
                continue;
            };
            self.ledger.expect(member, || format!("guest {number} thinks that it sits in the room"));
            self.ledger.expect(view.position == head, || format!("guest {number} stands at {:?}", view.position));
            self.ledger.moves.settled(session, &view.latest);
            let members: std::collections::BTreeSet<_> = self.hub.room.members(None).map(|m| m.entry.peer).collect();
            self.ledger.expect(view.members == members, || {
                format!("guest {number} knows the members {:?}, and there are {members:?}", view.members)
            });
            self.trace.note(self.agenda.now(), "end", number as u64, view.latest.len() as u64);
        }
    }
}
