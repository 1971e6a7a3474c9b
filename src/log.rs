//! A log that guests cannot fill: of each kind of line only so many are written per second, and the
//! rest is counted and told.

use std::{collections::HashMap, sync::Mutex, time::Instant};

use tracing::{Event, Metadata, Subscriber, callsite::Identifier};
use tracing_subscriber::layer::{Context, Filter};

/// Lets so many lines of one kind through per second. A kind is a place in the source, so there
/// are as many as the program has.
pub struct Thinned {
    per_second: u64,
    started: Instant,
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

/// What is known of the lines of one kind.
#[derive(Default)]
pub(crate) struct Kind {
    second: u64,
    lines: u64,
    left_out: u64,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Write,
    /// Write it; since it was last written, so many like it were not.
    WriteAfter(u64),
    LeaveOut,
}

impl Kind {
    /// Whether one more is written.
    pub(crate) fn judge(&mut self, second: u64, per_second: u64) -> Verdict {
        if self.second != second {
            (self.second, self.lines) = (second, 0);
        }
        self.lines += 1;
        if self.lines > per_second {
            self.left_out += 1;
            return Verdict::LeaveOut;
        }
        match std::mem::take(&mut self.left_out) {
            0 => Verdict::Write,
            left_out => Verdict::WriteAfter(left_out),
        }
    }
}

impl Kind {
    /// Lines that were left out since one was written.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Thinned {
    /// So many lines of each kind per second.
    pub fn new(per_second: u64) -> Self {
        Self { per_second, started: Instant::now(), kinds: Mutex::default() }
    }

    fn judge(&self, kind: Identifier) -> Verdict {
        let second = self.started.elapsed().as_secs();
        let mut kinds = self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kinds.entry(kind).or_default().judge(second, self.per_second)
    }
}

impl<S: Subscriber> Filter<S> for Thinned {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        match self.judge(event.metadata().callsite()) {
            Verdict::Write => true,
            Verdict::WriteAfter(left_out) => {
                let (file, line) = (event.metadata().file(), event.metadata().line());
                tracing::warn!(left_out, file, line, "lines like the next one were left out");
                true
            }
            Verdict::LeaveOut => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_the_rest_is_told() {
        let mut kind = Kind::default();
        let mut judge = |second| kind.judge(second, 2);
        assert_eq!(
            [judge(0), judge(0), judge(0), judge(0)],
            [Verdict::Write, Verdict::Write, Verdict::LeaveOut, Verdict::LeaveOut]
        );
        assert_eq!([judge(1), judge(1), judge(1)], [Verdict::WriteAfter(2), Verdict::Write, Verdict::LeaveOut]);
        assert_eq!(judge(5), Verdict::WriteAfter(1));
    }

    #[test]
    fn a_flood_of_lines_is_thinned() {
        use std::sync::Arc;
        use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

        #[derive(Clone, Default)]
        struct Written(Arc<Mutex<Vec<u8>>>);

        impl std::io::Write for Written {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer().with_writer({
            let written = written.clone();
            move || written.clone()
        });
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(Thinned::new(5)));
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..1000 {
                tracing::warn!(n, "a flood");
            }
            tracing::warn!("something else");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let floods = text.lines().filter(|line| line.contains("a flood")).count();
        // The second may turn while the test runs.
        assert!((5..=15).contains(&floods), "{text}");
        assert!(text.contains("something else"));
    }
}
