//! What goes wrong, within what the protocol allows.

use rallypoint_proof::history::{Came, History, Outcome, Role, What, Why};
use rallypoint_protocol::{Position, moves::Lane, server::ResetReason};

use super::{Item, Model, ROOMS};

impl Model {
    pub(super) fn lose(&mut self, n: usize) {
        if !self.guests[n].up {
            return;
        }
        let guest = &mut self.guests[n];
        guest.up = false;
        // Events are read again by position, latest moves are not sent again; what is counted is kept.
        guest.down.retain(|item| matches!(item, Item::Signal(..) | Item::Moved { lane: Lane::Reliable, .. }));
        guest.sent.retain(|&(_, lane, ..)| lane == Lane::Reliable);
        let client = guest.client;
        self.note(client, What::Away);
    }

    pub(super) fn come_back(&mut self, n: usize) {
        if self.guests[n].up {
            return;
        }
        match self.seed.below(100) {
            0..70 => self.resume(n),
            70..85 => self.restore(n),
            _ => self.renew(n),
        }
    }

    /// What a view has missed, event by event.
    fn catch_up(&mut self, n: usize, log: usize) {
        let Some(&view) = self.guests[n].views.get(&log) else { return };
        let (client, no) = (self.guests[n].client, self.logs[log].no);
        let missed: Vec<_> = self.logs[log].events.iter().filter(|(at, _)| at.seq > view.seq).copied().collect();
        for (position, content) in missed {
            self.guests[n].views.insert(log, position);
            self.note(client, What::Event { log: no, position, content });
        }
    }

    fn followed(&self, n: usize) -> Vec<usize> {
        let mut logs: Vec<_> = self.guests[n].views.keys().copied().collect();
        logs.sort_unstable();
        logs
    }

    fn resume(&mut self, n: usize) {
        self.open(n, Came::Resumed);
        for log in self.followed(n) {
            self.catch_up(n, log);
            if log < ROOMS && self.guests[n].peer.is_some() {
                self.stand(n, log, Why::Caught);
            }
        }
    }

    fn restore(&mut self, n: usize) {
        if self.guests[n].peer.is_none() {
            return self.resume(n);
        }
        self.guests[n].down.clear();
        self.guests[n].sent.clear();
        self.open(n, Came::Restored);
        for log in self.followed(n) {
            if log < ROOMS { self.stand(n, log, Why::Reset(ResetReason::Lost)) } else { self.catch_up(n, log) }
        }
    }

    /// A new session in place of the lost one, which leaves.
    fn renew(&mut self, n: usize) {
        if self.guests[n].peer.is_none() {
            return self.resume(n);
        }
        let rooms: Vec<_> = self.followed(n).into_iter().filter(|&log| log < ROOMS).collect();
        for &room in &rooms {
            self.part(n, room, "lost");
        }
        self.guests[n].down.clear();
        self.guests[n].sent.clear();
        self.open(n, Came::New);
        for log in self.followed(n) {
            self.catch_up(n, log);
        }
        for room in rooms {
            self.join(n, room);
            if self.seed.percent(30) {
                self.stand(n, room, Why::Reset(ResetReason::Trimmed));
            } else {
                self.stand(n, room, Why::Caught);
            }
        }
    }

    fn part(&mut self, n: usize, room: usize, reason: &str) {
        if self.guests[n].handles.remove(&room).is_some() {
            let bytes = self.presence(n, r#""kind":"peer-left""#, &format!(r#","reason":"{reason}""#));
            self.append(room, &bytes, Some(n));
        }
    }

    pub(super) fn leave_or_join(&mut self, n: usize) {
        let room = self.seed.index(ROOMS);
        if self.guests[n].role != Role::Member || !self.guests[n].up {
            return;
        }
        if !self.guests[n].views.contains_key(&room) {
            return self.follow(n, room);
        }
        let (client, log) = (self.guests[n].client, self.logs[room].no);
        self.note(client, What::Unfollows { log });
        // What it sent before is taken before the leave.
        while !self.guests[n].sent.is_empty() {
            self.take(n);
        }
        self.guests[n].views.remove(&room);
        self.guests[n].down.retain(|item| match item {
            Item::Event(log, ..) => *log != room,
            Item::Signal(own, _) | Item::Moved { room: own, .. } => *own != room,
        });
        self.part(n, room, "left");
    }

    /// A log that reaches back no further.
    pub(super) fn reset(&mut self, n: usize) {
        let logs = self.followed(n);
        if self.guests[n].up && !logs.is_empty() {
            let log = *self.seed.pick(&logs);
            self.guests[n].down.retain(|item| match item {
                Item::Event(own, ..) => *own != log,
                Item::Signal(own, _) | Item::Moved { room: own, .. } => *own != log,
            });
            self.stand(n, log, Why::Reset(ResetReason::TooMany));
        }
    }

    pub(super) fn restart(&mut self) {
        let (run, killed) = (self.run, self.seed.percent(50));
        self.note(run, What::Stopping { killed });
        for n in 0..self.guests.len() {
            self.lose(n);
        }
        let unix_ms = self.now();
        self.note(run, What::Ended { unix_ms });
        for log in 0..self.logs.len() {
            self.logs[log].position = Position::start(self.seed.draw());
            self.logs[log].events.clear();
        }
        self.at += 10;
        let unix_ms = self.now();
        self.note(run, What::Started { unix_ms });
        for n in 0..self.guests.len() {
            let guest = &mut self.guests[n];
            guest.down.clear();
            guest.sent.clear();
            guest.handles.clear();
            let came = if guest.peer.is_some() { Came::Restored } else { Came::Resumed };
            self.open(n, came);
            for log in self.followed(n) {
                self.join(n, log);
                self.stand(n, log, Why::Reset(ResetReason::Epoch));
            }
        }
        if let Some((log, label)) = self.unanswered.take() {
            let position = self.append_labelled(log, label);
            self.note(label.client, What::Answered { label, outcome: Outcome::Done(Some(position)) });
        }
    }

    /// Everybody comes back, everything arrives.
    pub(super) fn end(mut self) -> History {
        let run = self.run;
        self.note(run, What::Quiet);
        for n in 0..self.guests.len() {
            if !self.guests[n].up {
                self.resume(n);
            }
            let rooms: Vec<_> = self.guests[n].handles.keys().copied().collect();
            for room in rooms {
                self.move_in(n, room, Lane::Latest, 0);
            }
        }
        if let Some((_, label)) = self.unanswered.take() {
            self.note(label.client, What::Answered { label, outcome: Outcome::Unknown });
        }
        for n in 0..self.guests.len() {
            while !self.guests[n].sent.is_empty() {
                self.take(n);
            }
        }
        for n in 0..self.guests.len() {
            while !self.guests[n].down.is_empty() {
                self.deliver(n);
            }
        }
        for log in 0..self.logs.len() {
            let (log, position) = (self.logs[log].no, self.logs[log].position);
            self.note(run, What::Head { log, position });
        }
        for n in 0..self.guests.len() {
            let client = self.guests[n].client;
            self.note(client, What::Left);
        }
        self.history
    }
}
