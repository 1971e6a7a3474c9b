//! Planted faults: something between server and guest that breaks a promise once. A checker that finds them may be
//! believed when it finds nothing.

use crate::wire::{Down, Latest};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    LosesCounted,
    DoublesCounted,
    SwapsCounted,
    LosesEvent,
    DoublesEvent,
    LosesMissedEvent,
    /// An older latest move comes after a newer one.
    OldLatest,
    /// No latest move comes any more, and no picture has one.
    NoLatest,
    AnswersOtherwise,
    /// The count begins anew, and `connected` says that nothing is lost.
    HidesReset,
}

/// All of them.
pub(crate) const ALL: [Breaks; 10] = [
    Breaks::LosesCounted,
    Breaks::DoublesCounted,
    Breaks::SwapsCounted,
    Breaks::LosesEvent,
    Breaks::DoublesEvent,
    Breaks::LosesMissedEvent,
    Breaks::OldLatest,
    Breaks::NoLatest,
    Breaks::AnswersOtherwise,
    Breaks::HidesReset,
];

impl Breaks {
    /// What a breach that it causes says.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::LosesCounted | Self::DoublesCounted | Self::SwapsCounted => "counted message",
            Self::LosesEvent | Self::DoublesEvent | Self::LosesMissedEvent => "guest",
            Self::OldLatest => "of the same key",
            Self::NoLatest => "has None of",
            Self::AnswersOtherwise => "came",
            Self::HidesReset => "its count begins anew",
        }
    }
}

/// A fault that waits for its moment.
#[derive(Debug)]
pub(crate) struct Fault {
    breaks: Breaks,
    /// So many chances are let pass.
    after: u64,
    done: bool,
    /// A frame that is held back, and whose it is.
    held: Option<(usize, Down)>,
}

impl Fault {
    pub(crate) fn new(breaks: Breaks, after: u64) -> Self {
        Self { breaks, after, done: false, held: None }
    }

    /// Whether it has broken something.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    fn is_chance(&self, frame: &Down) -> bool {
        match (self.breaks, frame) {
            (Breaks::LosesCounted | Breaks::DoublesCounted | Breaks::SwapsCounted, Down::Counted { .. })
            | (Breaks::LosesEvent | Breaks::DoublesEvent, Down::Event { .. })
            | (Breaks::OldLatest | Breaks::NoLatest, Down::Latest(_))
            | (Breaks::AnswersOtherwise, Down::Answer { .. }) => true,
            (Breaks::LosesMissedEvent, Down::Picture { missed: Some(missed), .. }) => !missed.is_empty(),
            (Breaks::HidesReset, Down::Connected { life, resumed, .. }) => *life > 0 && !*resumed,
            _ => false,
        }
    }

    /// What the guest gets in place of this frame.
    pub(crate) fn pass(&mut self, guest: usize, frame: Down) -> Vec<Down> {
        if self.done && self.breaks == Breaks::NoLatest {
            return match frame {
                Down::Latest(_) => vec![],
                Down::Picture { re, position, missed, members, .. } => {
                    vec![Down::Picture { re, position, missed, members, state: vec![] }]
                }
                frame => vec![frame],
            };
        }
        if let Some((whose, held)) = self.held.take() {
            return self.release(whose, held, guest, frame);
        }
        if self.done || !self.is_chance(&frame) {
            return vec![frame];
        }
        if self.after > 0 {
            self.after -= 1;
            return vec![frame];
        }
        if matches!(self.breaks, Breaks::SwapsCounted | Breaks::OldLatest) {
            self.held = Some((guest, frame.clone()));
            return if self.breaks == Breaks::OldLatest { vec![frame] } else { vec![] };
        }
        self.done = true;
        match (self.breaks, frame) {
            (Breaks::DoublesCounted | Breaks::DoublesEvent, frame) => vec![frame.clone(), frame],
            (Breaks::LosesMissedEvent, Down::Picture { re, position, missed, members, state }) => {
                let missed = missed.map(|missed| missed[1..].to_vec());
                vec![Down::Picture { re, position, missed, members, state }]
            }
            (Breaks::AnswersOtherwise, Down::Answer { id, code, seq }) => vec![Down::Answer { id, code, seq: seq + 1 }],
            (Breaks::HidesReset, Down::Connected { session, life, token, .. }) => {
                vec![Down::Connected { session, resumed: true, life, token }]
            }
            _ => vec![],
        }
    }

    fn release(&mut self, whose: usize, held: Down, guest: usize, frame: Down) -> Vec<Down> {
        let fits = whose == guest
            && match (&held, &frame) {
                (Down::Latest(old), Down::Latest(Latest { from, key, .. })) => old.from == *from && old.key == *key,
                (held, frame) => std::mem::discriminant(held) == std::mem::discriminant(frame),
            };
        if fits {
            self.done = true;
            return vec![frame, held];
        }
        self.held = Some((whose, held));
        vec![frame]
    }
}
