//! The moves that a room holds back until the turn ends. [`State`](super::rooms::State) keeps one row and sends it.

use super::link::Out;
use crate::frame::Frame;

/// More moves, or bytes of moves, are not held back.
const ROW_MAX: usize = 64;
const ROW_BYTES_MAX: usize = 16 * 1024;

/// Reliable moves of one sender, in order. Those of one turn go out together: for each receiver they are one thing to
/// keep, to queue and to write. Whoever locks the room for anything else sends them first, so nobody can tell.
#[derive(Default)]
pub(super) struct Row {
    from: u32,
    frames: Vec<Frame>,
    bytes: usize,
    out: Out,
}

impl Row {
    /// Whether nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a move of this sender and length may join those that are held back; if not they go out first.
    pub(super) fn takes(&self, from: u32, len: usize) -> bool {
        self.from == from && self.frames.len() < ROW_MAX && self.bytes + len <= ROW_BYTES_MAX
    }

    /// Begins with a sender; everything that joins goes out when the first does.
    pub(super) fn begin(&mut self, from: u32, out: Out) {
        (self.from, self.out) = (from, out);
    }

    /// Holds a move back.
    pub(super) fn push(&mut self, frame: Frame, len: usize) {
        self.bytes += len;
        if self.frames.is_empty() {
            self.frames.reserve_exact(1);
        }
        self.frames.push(frame);
    }

    /// Who sent what was held back, all of it as one frame, and when that goes out; the row is empty then.
    pub(super) fn take(&mut self) -> Option<(u32, Frame, Out)> {
        let frame = match self.frames.len() {
            0 => return None,
            // Most rows are of one, and the room for it stays.
            1 => self.frames.pop()?,
            _ => Frame::row(std::mem::take(&mut self.frames)),
        };
        self.bytes = 0;
        Some((self.from, frame, self.out))
    }
}
