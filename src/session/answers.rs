//! The answers a session has given, so that a repeated request is answered, not done, again; and
//! the reports of refused messages that carry no id.

use std::collections::VecDeque;

use rallypoint_protocol::{Position, RoomName, code::ErrorCode, codec::Refused, event::Millis};

/// Answers kept per session.
pub const ANSWERS_MAX: usize = 64;
/// A report of the same kind goes out at most this often.
const REPORT_EVERY_MS: u64 = 1000;
/// Kinds of reports remembered; a kind is a (room, code).
const REPORTS_MAX: usize = 32;

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet: it is being carried out, and answered when that is done.
    Pending,
    /// Done, and where the event stands if it made one.
    Done(Option<Position>),
    /// Refused.
    Refused(Box<Refused>),
    /// A view of the room or roster. A repeated request gets a current one.
    View,
}

/// Whether a request is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Never seen.
    New,
    /// Answered before, like this.
    Again(Answer),
    /// Seen so long ago that the answer is gone.
    Forgotten,
}

/// The last answers of one session.
#[derive(Debug, Default)]
pub struct Answers {
    /// By rising ids; the last stays, so it is the last that was seen.
    kept: VecDeque<(u64, Answer)>,
}

impl Answers {
    /// Looks an id up and, if it is new, notes that it was seen.
    pub fn admit(&mut self, id: u64) -> Repeat {
        if self.kept.back().is_none_or(|(last, _)| id > *last) {
            self.add(id, Answer::Pending);
            return Repeat::New;
        }
        self.find(id).map_or(Repeat::Forgotten, |at| Repeat::Again(self.kept[at].1.clone()))
    }

    /// Whether the kept answer to this request is a view.
    pub fn is_view(&self, id: u64) -> bool {
        self.find(id).is_some_and(|at| self.kept[at].1 == Answer::View)
    }

    /// Keeps an answer, once.
    pub fn keep(&mut self, id: u64, answer: Answer) {
        if let Some(at) = self.find(id)
            && self.kept[at].1 == Answer::Pending
        {
            self.kept[at].1 = answer;
        }
    }

    fn find(&self, id: u64) -> Option<usize> {
        // Nearly always it is about the last.
        if self.kept.back().is_some_and(|(last, _)| *last == id) {
            return Some(self.kept.len() - 1);
        }
        self.kept.binary_search_by_key(&id, |(kept, _)| *kept).ok()
    }

    fn add(&mut self, id: u64, answer: Answer) {
        if self.kept.len() == ANSWERS_MAX {
            self.kept.pop_front();
        }
        if self.kept.is_empty() {
            // Many guests ask once, to join: no memory for four answers.
            self.kept.reserve_exact(1);
        }
        self.kept.push_back((id, answer));
    }
}

/// Refused messages without an id: told at most once a second per room and code.
#[derive(Debug, Default)]
pub struct Reports {
    kinds: Vec<Kind>,
}

/// A kind of report, when it was told last, and how many there were since.
type Kind = (Option<RoomName>, ErrorCode, Millis, u64);

impl Reports {
    /// How many to report now, this one included; `None` while one was reported a moment ago.
    pub fn count(&mut self, refused: &Refused, now: Millis) -> Option<u64> {
        let same = |kind: &&mut Kind| kind.0 == refused.room && kind.1 == refused.code;
        if let Some((_, _, told, count)) = self.kinds.iter_mut().find(same) {
            *count += 1;
            if told.after(REPORT_EVERY_MS) > now {
                return None;
            }
            *told = now;
            return Some(std::mem::take(count));
        }
        // A full list is made of kinds a client chose: forget the one known longest.
        if self.kinds.len() == REPORTS_MAX {
            self.kinds.remove(0);
        }
        self.kinds.push((refused.room.clone(), refused.code, now, 0));
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_request_gets_the_same_answer() {
        let mut answers = Answers::default();
        for id in 1..=70 {
            assert_eq!(answers.admit(id), Repeat::New);
            assert_eq!(answers.admit(id), Repeat::Again(Answer::Pending), "its answer is on its way");
            answers.keep(id, Answer::Done(None));
        }
        assert_eq!(answers.admit(70), Repeat::Again(Answer::Done(None)));
        assert_eq!(answers.admit(7), Repeat::Again(Answer::Done(None)));
        assert_eq!(answers.admit(6), Repeat::Forgotten);
        assert_eq!(answers.admit(0), Repeat::Forgotten);
        assert_eq!(answers.admit(1000), Repeat::New);
        assert_eq!(answers.admit(999), Repeat::Forgotten);
    }

    #[test]
    fn reports_are_told_once_a_second_and_counted() {
        let mut reports = Reports::default();
        let refused = Refused::from(ErrorCode::RateLimited);
        assert_eq!(reports.count(&refused, Millis(0.0)), Some(1));
        for n in 1..5 {
            assert_eq!(reports.count(&refused, Millis(f64::from(n))), None);
        }
        assert_eq!(reports.count(&refused, Millis(1000.0)), Some(5));
        let other = Refused::from(ErrorCode::NotJoined);
        assert_eq!(reports.count(&other, Millis(1000.0)), Some(1));
    }
}
