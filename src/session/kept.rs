//! What a session keeps for the case that its socket is lost: the counted messages that were not
//! acknowledged, and which resume tokens are good.

use std::collections::VecDeque;

use crate::frame::Encoded;

/// Counted messages kept.
pub const KEPT_MAX: u64 = 256;
/// Bytes of counted messages kept.
pub const KEPT_BYTES_MAX: usize = 256 * 1024;

/// The counted messages of one session: signals and reliable moves, as the frames that carried
/// them. The newest is always kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// Frames that were sent together, oldest first.
    rows: VecDeque<Encoded>,
    /// How many messages of the oldest row are forgotten.
    forgotten: u32,
    bytes: usize,
    /// Messages in `rows`, without those that are forgotten.
    messages: u64,
    sent: u64,
    acked: u64,
}

/// The client acknowledged what it cannot have received, or less than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAck;

impl Kept {
    /// These were sent.
    pub fn push(&mut self, row: Encoded) {
        self.sent += u64::from(row.messages());
        self.messages += u64::from(row.messages());
        self.bytes += row.len();
        self.rows.push_back(row);
        while self.rows.len() > 1 && self.bytes > KEPT_BYTES_MAX {
            self.forget_oldest(u64::MAX);
        }
        while self.messages > KEPT_MAX {
            self.forget_oldest(self.messages - KEPT_MAX);
        }
    }

    /// Forgets the oldest row, or the first of its messages, if it has more than `most`.
    fn forget_oldest(&mut self, most: u64) {
        let Some(oldest) = self.rows.front() else { return };
        let before = oldest.length_of(self.forgotten);
        let left = oldest.messages() - self.forgotten;
        let goes = u32::try_from(most).map_or(left, |most| most.min(left));
        self.messages -= u64::from(goes);
        if goes < left {
            self.forgotten += goes;
            self.bytes -= oldest.length_of(self.forgotten) - before;
        } else {
            self.forgotten = 0;
            self.bytes -= oldest.len() - before;
            self.rows.pop_front();
        }
    }

    /// The client has the first `n`.
    pub fn ack(&mut self, n: u64) -> Result<(), BadAck> {
        if n > self.sent || n < self.acked {
            return Err(BadAck);
        }
        self.acked = n;
        while let Some(oldest) = self.rows.front()
            && self.before() + u64::from(oldest.messages() - self.forgotten) <= n
        {
            self.forget_oldest(u64::MAX);
        }
        if self.rows.is_empty() {
            self.rows = VecDeque::new();
        }
        Ok(())
    }

    /// How many were sent before the oldest that is kept.
    fn before(&self) -> u64 {
        self.sent - self.messages
    }

    /// What a client that has the first `received` still lacks; `None` when that is not kept, or
    /// it claims more than was sent.
    pub fn after(&self, received: u64) -> Option<Vec<Encoded>> {
        let skip = received.checked_sub(self.before()).filter(|&skip| skip <= self.messages)?;
        // Counted from the first message of the oldest row.
        let mut had = self.forgotten + u32::try_from(skip).ok()?;
        let mut lacking = Vec::new();
        for row in &self.rows {
            let gone = had.min(row.messages());
            had -= gone;
            if gone < row.messages() {
                lacking.push(row.without(gone));
            }
        }
        Some(lacking)
    }
}

/// The resume tokens of a session, by number. A token stays good until the client has shown that
/// it holds a newer one, so an answer that was lost locks nobody out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    issued: u64,
    confirmed: u64,
}

impl Tokens {
    /// A new session: its first token is number 1.
    pub fn new() -> Self {
        Self::after(0)
    }

    /// A session that goes on in a new process, where this token was the last one seen.
    pub fn after(number: u64) -> Self {
        Self { issued: number, confirmed: number }
    }

    /// The number of the next token.
    pub fn issue(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    /// The client holds the last one.
    pub fn confirm(&mut self) {
        self.confirmed = self.issued;
    }

    /// Whether the client has not shown that it holds a newer one.
    pub fn admit(&self, number: u64) -> bool {
        number >= self.confirmed
    }

    /// Numbers go on above one that was seen: a process before this one may have issued it.
    pub fn seen(&mut self, number: u64) {
        self.issued = self.issued.max(number);
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rallypoint_protocol::Encoding;

    fn frame(n: u64) -> Encoded {
        crate::frame::payload(&n.to_be_bytes(), Encoding::MsgPack)
    }

    fn lacking(kept: &Kept, received: u64) -> Option<Vec<u64>> {
        let frames = kept.after(received)?;
        let frames = Encoded::row(&frames);
        assert_eq!(frames.len(), 10 * frames.messages() as usize);
        Some(frames.chunks(10).map(|frame| u64::from_be_bytes(frame[2..].try_into().unwrap())).collect())
    }

    #[test]
    fn what_is_not_acknowledged_is_kept() {
        let mut kept = Kept::default();
        assert_eq!(lacking(&kept, 0), Some(vec![]));
        assert_eq!(lacking(&kept, 1), None, "more than was sent");
        (1..=5).for_each(|n| kept.push(frame(n)));
        assert_eq!(lacking(&kept, 2), Some(vec![3, 4, 5]));
        assert_eq!(kept.ack(3), Ok(()));
        assert_eq!(lacking(&kept, 2), None, "it said that it had three");
        assert_eq!(lacking(&kept, 3), Some(vec![4, 5]));
        assert_eq!((kept.ack(2), kept.ack(6)), (Err(BadAck), Err(BadAck)));
        assert_eq!((kept.ack(3), kept.ack(5)), (Ok(()), Ok(())));
        assert_eq!(kept.bytes, 0);
        assert_eq!(lacking(&kept, 5), Some(vec![]));
    }

    #[test]
    fn it_is_bounded_by_number_and_by_bytes() {
        let mut kept = Kept::default();
        (1..=300).for_each(|n| kept.push(frame(n)));
        assert_eq!(lacking(&kept, 43), None);
        assert_eq!(lacking(&kept, 44).map(|frames| frames.len()), Some(256));
        assert_eq!(kept.ack(10), Ok(()), "an acknowledgement of what is forgotten is no mistake");
        kept.push(Encoded::new(vec![0; KEPT_BYTES_MAX + 1], 1));
        assert_eq!(kept.rows.len(), 1, "the newest is kept whatever its size");
        assert!(kept.after(300).is_some() && kept.after(299).is_none());
    }

    #[test]
    fn a_token_is_good_until_a_newer_one_is_held() {
        let mut tokens = Tokens::new();
        assert_eq!(tokens.issue(), 1);
        tokens.confirm();
        assert_eq!((tokens.issue(), tokens.issue()), (2, 3));
        assert!(tokens.admit(1) && tokens.admit(2) && tokens.admit(3), "the answers may have been lost");
        tokens.confirm();
        assert_eq!((tokens.admit(1), tokens.admit(2), tokens.admit(3)), (false, false, true));
        let mut revived = Tokens::after(7);
        assert!(revived.admit(7) && !revived.admit(6));
        revived.seen(9);
        assert_eq!(revived.issue(), 10);
    }

    proptest! {
        /// Whatever is sent, acknowledged and lost: a resume gives exactly what is lacking, or says
        /// that it cannot.
        #[test]
        fn a_resume_gives_what_is_lacking(steps in prop::collection::vec((0u8..3, 0u32..40, 1u32..9), 1..600)) {
            let mut kept = Kept::default();
            let (mut sent, mut received) = (0, 0);
            for (kind, n, together) in steps {
                match kind {
                    0 | 1 => {
                        let frames: Vec<_> = (1..=together).map(|n| frame(sent + u64::from(n))).collect();
                        kept.push(Encoded::row(&frames));
                        sent += u64::from(together);
                    }
                    _ => {
                        received = sent.min(received + u64::from(n));
                        prop_assert_eq!(kept.ack(received), Ok(()));
                    }
                }
                let wanted: Vec<u64> = (received + 1..=sent).collect();
                match lacking(&kept, received) {
                    Some(frames) => prop_assert_eq!(frames, wanted),
                    None => prop_assert!(wanted.len() as u64 > KEPT_MAX),
                }
            }
        }
    }
}
