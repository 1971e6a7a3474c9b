//! The clock of a room with `tick_ms`: [`State`](super::rooms::State) asks it whether moves go out now or wait.

use rallypoint_protocol::event::Millis;

/// When the moves of a room with `tick_ms` go out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ticks {
    /// When they may go out next.
    next: Millis,
    /// Some wait in outboxes until then.
    waits: bool,
}

impl Ticks {
    /// Whether moves of this moment go out when their turn ends, and the clock starts anew; if not they wait.
    pub(super) fn goes_out(&mut self, tick_ms: u64, now: Millis) -> bool {
        if self.waits || now < self.next {
            self.waits = true;
            return false;
        }
        self.next = now.after(tick_ms);
        true
    }

    /// Whether those that waited go out now.
    pub(super) fn is_over(&mut self, tick_ms: u64, now: Millis) -> bool {
        let is_over = self.waits && self.next <= now;
        if is_over {
            *self = Self { next: now.after(tick_ms), waits: false };
        }
        is_over
    }

    /// When those that wait go out.
    pub(super) fn due(&self) -> Option<Millis> {
        self.waits.then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_go_out_at_most_once_a_tick() {
        let mut ticks = Ticks::default();
        let at = |ms: u64| Millis(1e12).after(ms);
        assert!(ticks.goes_out(20, at(0)), "after a pause at once");
        assert!(!ticks.is_over(20, at(20)), "nothing waits");
        assert!(!ticks.goes_out(20, at(5)) && !ticks.goes_out(20, at(19)));
        assert!(!ticks.goes_out(20, at(21)), "the others go first");
        assert!(!ticks.is_over(20, at(19)) && ticks.is_over(20, at(21)));
        assert!(!ticks.goes_out(20, at(22)), "counted from when they went out");
        assert!(ticks.is_over(20, at(41)) && ticks.goes_out(20, at(61)));
    }
}
