//! The way out to one WebSocket: its outbox and the socket that empties it.
//!
//! Everybody pushes; a turn's end flushes; nothing else writes to the socket. When the kernel has
//! had enough, the connection's own task waits until it wants more.

use std::{cell::RefCell, io, sync::Arc};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use rallypoint_protocol::{CloseCode, Encoding, ServerMessage, event::Millis};

use super::{clock::Clock, turn};
use crate::{
    frame::{self, Encoded},
    metrics::Metrics,
    session::outbox::{Outbox, Pushed, Slot},
};

/// What carries bytes; the transport's socket.
pub trait Carrier: Send + Sync {
    /// Writes what the kernel takes now, [`io::ErrorKind::WouldBlock`] when it takes nothing.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Sends on what it took and still has, [`io::ErrorKind::WouldBlock`] when that is not all.
    fn try_flush(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether only the connection's own task may write.
    fn is_its_owners(&self) -> bool {
        false
    }
}

/// One write carries at most this much, unless it is a single frame.
const WRITE_MAX: usize = 32 * 1024;

thread_local! {
    /// Where frames are put together for one write.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; WRITE_MAX].into_boxed_slice());
}

/// When a frame goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Out {
    /// When the turn ends.
    #[default]
    AtTurnEnd,
    /// With whatever goes out next, or when it is let out.
    Later,
}

/// What became of a frame that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits behind the others.
    Queued,
    /// It took the place of an older one.
    Replaced,
    /// Too much waited already: it was dropped, and the link is closed.
    OverBudget,
    /// The link is closed, or its socket has failed.
    Closed,
    /// There is no link: the session has lost its socket.
    Away,
    /// There is none, but the frame is kept for its return.
    Kept,
}

/// What waits to be written to a client.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waits {
    /// Frames, or rows of them.
    pub frames: usize,
    /// Bytes, control frames aside.
    pub bytes: usize,
    /// Since when the kernel takes nothing.
    pub blocked: Option<Millis>,
}

#[derive(Debug, Default)]
struct State {
    outbox: Outbox,
    /// In the list of the current turn already.
    marked: bool,
    /// Flushed by somebody who may not write: the owner is to.
    due: bool,
    /// Since when the kernel takes nothing; only the owner's task writes then.
    blocked: Option<Millis>,
    closing: Option<CloseCode>,
    /// The close frame is on its way: nothing may follow it (RFC 6455 section 5.5.1).
    over: bool,
    broken: bool,
}

/// How things stand with a link, for its owner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Since when the kernel takes nothing.
    pub blocked: Option<Millis>,
    /// The owner is to write.
    pub due: bool,
    /// Why it is being closed.
    pub closing: Option<CloseCode>,
    /// Nothing waits to be written.
    pub drained: bool,
    /// The socket failed.
    pub broken: bool,
}

/// What holds for all links of a node.
pub struct Terms {
    /// Bytes that may wait for a receiver.
    pub budget: usize,
    /// Tells since when one takes nothing.
    pub clock: Clock,
    /// Counts what goes out.
    pub metrics: Arc<Metrics>,
}

/// The way out to one WebSocket.
pub struct Link<C: ?Sized = dyn Carrier> {
    encoding: Encoding,
    terms: Arc<Terms>,
    state: Mutex<State>,
    owner: AtomicWaker,
    carrier: C,
}

impl<C: Carrier> Link<C> {
    /// A link over an open socket.
    pub fn new(encoding: Encoding, terms: Arc<Terms>, carrier: C) -> Self {
        let (state, owner) = (Mutex::default(), AtomicWaker::new());
        Self { encoding, terms, state, owner, carrier }
    }

    /// The socket.
    pub fn carrier(&self) -> &C {
        &self.carrier
    }
}

impl<C: Carrier + ?Sized> Link<C> {
    /// How the connection writes its messages.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How things stand. The owner registers its waker first, see [`Link::owner`].
    pub fn standing(&self) -> Standing {
        let state = self.state.lock();
        Standing {
            blocked: state.blocked,
            due: state.due,
            closing: state.closing,
            drained: state.outbox.is_empty() && state.blocked.is_none(),
            broken: state.broken,
        }
    }

    /// What waits.
    pub fn waits(&self) -> Waits {
        let state = self.state.lock();
        Waits { frames: state.outbox.frames(), bytes: state.outbox.bytes(), blocked: state.blocked }
    }

    /// Where the connection's task leaves its waker.
    pub fn owner(&self) -> &AtomicWaker {
        &self.owner
    }

    /// Writes what waits, unless the kernel said that it wants nothing, or has the owner do it.
    pub fn flush(&self) {
        let mut state = self.state.lock();
        state.marked = false;
        if state.blocked.is_some() {
            return;
        }
        if self.carrier.is_its_owners() {
            state.due = true;
            self.owner.wake();
        } else {
            self.write(&mut state);
        }
    }

    /// The owner's flush: after the kernel became ready again, or when it is due.
    pub fn flush_by_owner(&self) {
        let mut state = self.state.lock();
        self.write(&mut state);
    }

    fn write(&self, state: &mut State) {
        state.due = false;
        while !state.broken {
            let written = if state.outbox.is_empty() {
                self.carrier.try_flush().map(|()| None)
            } else {
                SCRATCH.with_borrow_mut(|scratch| self.carrier.try_write(state.outbox.next(scratch))).map(Some)
            };
            match written {
                Ok(None) => break,
                Ok(Some(written)) => {
                    let of_frames = written.saturating_sub(state.outbox.head());
                    self.terms.metrics.bytes_sent.inc_by(of_frames as u64);
                    self.terms.metrics.frames_sent.inc_by(state.outbox.advance(written).into());
                    state.blocked = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.blocked.get_or_insert_with(|| self.terms.clock.now());
                    self.owner.wake();
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    state.broken = true;
                    state.outbox.abandon();
                    self.owner.wake();
                }
            }
        }
        state.blocked = None;
        if state.closing.is_some() {
            self.owner.wake();
        }
    }
}

impl Link {
    /// Begins with the end of the handshake, which goes out with whatever is said first.
    pub fn begin_with(self: &Arc<Self>, head: Vec<u8>) {
        let mut state = self.state.lock();
        state.outbox.begin_with(head);
        self.mark(state);
    }

    /// Sends a message that must arrive; tells how long it is as a frame, and what became of it.
    pub fn send(self: &Arc<Self>, message: &ServerMessage) -> (usize, Fate) {
        let frame = frame::message(message, self.encoding);
        (frame.len(), self.push(frame))
    }

    /// Sends a frame that must arrive; a receiver that is over its budget is closed.
    pub fn push(self: &Arc<Self>, frame: Encoded) -> Fate {
        self.push_move(frame, Out::AtTurnEnd)
    }

    /// Sends a move that must arrive.
    pub fn push_move(self: &Arc<Self>, frame: Encoded, out: Out) -> Fate {
        self.add(out, |outbox, budget| outbox.push(frame, budget))
    }

    /// Sends a latest move.
    pub fn push_latest(self: &Arc<Self>, frame: Encoded, slot: Slot, out: Out) -> Fate {
        self.add(out, |outbox, budget| outbox.push_latest(frame, slot, budget))
    }

    /// Lets out what waits, at the end of the turn.
    pub fn let_out(self: &Arc<Self>) {
        let state = self.state.lock();
        if !state.outbox.is_empty() {
            self.mark(state);
        }
    }

    /// Sends a message that does not count against the budget.
    pub fn send_owed(self: &Arc<Self>, message: &ServerMessage) -> (usize, Fate) {
        let frame = frame::message(message, self.encoding);
        (frame.len(), self.push_owed(frame))
    }

    /// Sends a frame that does not count against the budget.
    pub fn push_owed(self: &Arc<Self>, frame: Encoded) -> Fate {
        self.add(Out::AtTurnEnd, |outbox, _| {
            outbox.push_owed(frame);
            Ok(Pushed::Queued)
        })
    }

    fn add(
        self: &Arc<Self>,
        out: Out,
        push: impl FnOnce(&mut Outbox, usize) -> Result<Pushed, crate::session::outbox::OverBudget>,
    ) -> Fate {
        let mut state = self.state.lock();
        if state.over || state.broken {
            return Fate::Closed;
        }
        let fate = match push(&mut state.outbox, self.terms.budget) {
            Ok(Pushed::Queued) => Fate::Queued,
            Ok(Pushed::Replaced) => {
                self.terms.metrics.moves_replaced.inc();
                Fate::Replaced
            }
            Err(_) => {
                self.terms.metrics.limited("outbound_budget");
                self.begin_close(&mut state, CloseCode::SlowConsumer, "more waits than the budget allows", None);
                Fate::OverBudget
            }
        };
        if state.blocked.is_some() {
            self.terms.metrics.waits(state.outbox.bytes());
        }
        if out == Out::AtTurnEnd || state.closing.is_some() {
            self.mark(state);
        }
        fate
    }

    /// Sends a control frame ahead of everything else. Frames that answer a client that never
    /// reads are dropped once they are too many.
    pub fn push_control(self: &Arc<Self>, frame: Encoded) {
        let mut state = self.state.lock();
        if !state.over && state.outbox.push_control(frame).is_ok() {
            self.mark(state);
        }
    }

    /// Answers the client's close frame with `frame`, behind what waits: a control frame would overtake it, and nothing
    /// may follow.
    pub fn answer_close(self: &Arc<Self>, frame: Encoded) {
        let mut state = self.state.lock();
        if state.over {
            return;
        }
        if state.blocked.is_none() {
            self.write(&mut state);
        }
        self.push_last(&mut state, [frame]);
        self.mark(state);
    }

    /// No latest move of this room may overtake what is sent from now on.
    pub fn settle(&self, room: u32) {
        self.state.lock().outbox.settle(room);
    }

    /// Drops the queued latest moves of a member that left a room.
    pub fn forget(&self, room: u32, from: u32) {
        self.state.lock().outbox.forget(room, from);
    }

    /// Closes the connection: what waits is dropped, the close frame goes out, and the owner ends.
    pub fn close(self: &Arc<Self>, code: CloseCode, detail: &str) {
        self.close_after(None, code, detail);
    }

    /// Like [`Link::close`], with a last message that says more than a close reason can.
    pub fn close_after(self: &Arc<Self>, last: Option<&ServerMessage>, code: CloseCode, detail: &str) {
        let mut state = self.state.lock();
        if !state.over {
            let last = last.map(|message| frame::message(message, self.encoding));
            self.begin_close(&mut state, code, detail, last);
            self.mark(state);
        }
    }

    fn begin_close(&self, state: &mut State, code: CloseCode, detail: &str, last: Option<Encoded>) {
        state.closing = Some(code);
        self.push_last(state, last.into_iter().chain([frame::close(code, detail)]));
        self.terms.metrics.closed(code);
        self.owner.wake();
    }

    /// Drops what waits for these frames, which are the last.
    fn push_last(&self, state: &mut State, frames: impl IntoIterator<Item = Encoded>) {
        state.outbox.abandon();
        state.over = true;
        // An abandoned outbox has room for them; a message that were too long would only be left out.
        for frame in frames {
            _ = state.outbox.push_control(frame);
        }
    }

    fn mark(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>) {
        let first = !std::mem::replace(&mut state.marked, true);
        drop(state);
        if first {
            turn::mark(self);
        }
    }
}
