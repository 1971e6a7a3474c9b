//! The thread that writes the audit log, and the buffer before it. Whoever puts a line waits for nobody: what the buffer has
//! no place for is counted, and told in the log once there is place. A line is written whole or not at all.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Condvar, Mutex};
use rallypoint_protocol::event::Millis;

use super::{AuditConfig, AuditError, AuditTo, What, Who, written};
use crate::metrics::Metrics;

/// What may wait to be written.
const BUFFER_MAX: usize = 1024 * 1024;
/// After a failure, a full disk for instance.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end of the server may wait for the last lines.
const LAST: Duration = Duration::from_secs(1);

/// Where lines go.
pub(super) enum Sink {
    /// Standard output or error.
    Stream(File),
    /// A file, at its end.
    File(PathBuf, File),
}

impl Sink {
    /// From the configuration; nothing where it is off.
    pub(super) fn open(config: &AuditConfig) -> Result<Option<Self>, AuditError> {
        let stream = |fd: io::Result<_>| fd.map(|fd| Some(Self::Stream(File::from(fd)))).map_err(AuditError::Unstarted);
        match (config.to, &config.file) {
            (AuditTo::Off, _) => Ok(None),
            (AuditTo::Stdout, _) => stream(io::stdout().as_fd().try_clone_to_owned()),
            (AuditTo::Stderr, _) => stream(io::stderr().as_fd().try_clone_to_owned()),
            (AuditTo::File, None) => Err(AuditError::NoFile),
            (AuditTo::File, Some(path)) => match append_to(path) {
                Ok(file) => Ok(Some(Self::File(path.clone(), file))),
                Err(error) => Err(AuditError::Unwritable { file: path.clone(), error }),
            },
        }
    }

    /// Opens the file of this name anew.
    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(path, file) = self {
            *file = append_to(path)?;
        }
        Ok(())
    }

    /// Writes some of these lines. Others write to a stream as well, between one write and the next.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(_, file) => file.write(lines),
            Self::Stream(file) => file.write(lines.split_inclusive(|&byte| byte == b'\n').next().unwrap_or(lines)),
        }
    }
}

/// Addresses and names are nobody else's business.
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that had no place since the last one that had.
    dropped: u64,
    /// The file is to be opened anew.
    reopen: bool,
    /// Nothing more will come.
    over: bool,
    /// Everything was written, or given up.
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
    end: Condvar,
}

/// The way to the thread.
pub(super) struct Writer(Arc<Shared>);

impl Writer {
    pub(super) fn start(sink: Sink, metrics: Arc<Metrics>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || write_all(&own, sink, &metrics))?;
        Ok(Self(shared))
    }

    /// Puts a line; `false` if there is no place for it.
    pub(super) fn put(&self, line: &[u8]) -> bool {
        let mut state = self.0.state.lock();
        // A line that came while some are missing would say that none are.
        if state.over || state.dropped > 0 || state.lines.len() + line.len() > BUFFER_MAX {
            state.dropped += 1;
            return false;
        }
        let was_empty = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.0.news.notify_one();
        }
        true
    }

    pub(super) fn reopen(&self) {
        self.0.state.lock().reopen = true;
        self.0.news.notify_one();
    }

    /// Waits for the last lines, not for long.
    pub(super) fn close(&self) {
        let mut state = self.0.state.lock();
        state.over = true;
        self.0.news.notify_one();
        let until = Instant::now() + LAST;
        while !state.ended && !self.0.end.wait_until(&mut state, until).timed_out() {}
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread ends by itself once it has written what it can.
        self.0.state.lock().over = true;
        self.0.news.notify_one();
    }
}

fn write_all(shared: &Shared, mut sink: Sink, metrics: &Metrics) {
    // What is being written, and how far that is.
    let (mut lines, mut at) = (Vec::new(), 0);
    let mut fails = false;
    loop {
        {
            let mut state = shared.state.lock();
            let is_due = |state: &State| state.over || state.reopen || !state.lines.is_empty() || state.dropped > 0;
            if fails {
                shared.news.wait_for(&mut state, PAUSE);
            } else {
                shared.news.wait_while(&mut state, |state| !is_due(state));
            }
            if std::mem::take(&mut state.reopen) {
                match sink.reopen() {
                    // Half a line in the old file is a whole one in the new.
                    Ok(()) => at = start_of_line(&lines, at),
                    Err(error) => tracing::warn!(%error, "the audit log cannot be opened anew; the old file goes on"),
                }
            }
            if at == lines.len() {
                lines.clear();
                at = 0;
                std::mem::swap(&mut lines, &mut state.lines);
                let dropped = std::mem::take(&mut state.dropped);
                if dropped > 0 {
                    lines.extend(written(this_moment(), What::Dropped { dropped }, Who::default()));
                }
                if state.over && lines.is_empty() {
                    state.ended = true;
                    shared.end.notify_all();
                    return;
                }
            }
        }
        let from = at;
        let failure = push_on(&mut sink, &lines, &mut at);
        metrics.audit("written", lines[from..at].iter().filter(|&&byte| byte == b'\n').count() as u64);
        if let Some(error) = failure {
            tracing::warn!(%error, "the audit log cannot be written; lines wait");
            let mut state = shared.state.lock();
            if state.over {
                let left = [&lines[at..], &state.lines].map(|rest| rest.iter().filter(|&&byte| byte == b'\n').count());
                metrics.audit("dropped", left.iter().sum::<usize>() as u64);
                state.ended = true;
                shared.end.notify_all();
                return;
            }
            fails = true;
        } else {
            fails = false;
        }
    }
}

/// Writes on from `at`, as far as it goes.
fn push_on(sink: &mut Sink, lines: &[u8], at: &mut usize) -> Option<io::Error> {
    while *at < lines.len() {
        match sink.write(&lines[*at..]) {
            Ok(0) => return Some(io::ErrorKind::WriteZero.into()),
            Ok(count) => *at += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(error),
        }
    }
    None
}

fn start_of_line(lines: &[u8], at: usize) -> usize {
    lines[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}

fn this_moment() -> Millis {
    Millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn audit(metrics: &Metrics, outcome: &str) -> u64 {
        let name = format!("rallypoint_audit_lines_total{{outcome=\"{outcome}\"}} ");
        let text = metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }

    /// A reader that takes nothing holds nobody up. What had no place is told in one line, and every line is whole.
    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let metrics = Arc::new(Metrics::new());
        let writer =
            Writer::start(Sink::Stream(File::from(std::os::fd::OwnedFd::from(pipe))), metrics.clone()).unwrap();
        let line = |n: usize| format!("{{\"n\":{n},\"filler\":\"{}\"}}\n", "x".repeat(n % 200));
        let mut taken = Vec::new();
        let mut refused = 0;
        for n in 0..40_000 {
            if writer.put(line(n).as_bytes()) { taken.push(n) } else { refused += 1 }
        }
        assert!(refused > 10_000 && taken.len() > 5000, "{refused} of 40000 had no place");
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        writer.close();
        drop(writer);
        let text = read.join().unwrap().unwrap();
        let mut dropped = 0;
        let mut seen = Vec::new();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not whole: {line}"));
            match line["event"].as_str() {
                Some(event) => {
                    assert_eq!(event, "dropped");
                    dropped += line["dropped"].as_u64().unwrap();
                }
                None => seen.push(usize::try_from(line["n"].as_u64().unwrap()).unwrap()),
            }
        }
        assert_eq!((seen, dropped), (taken, refused));
    }

    /// What the log says of a file that is moved away is in the one or the other, and whole.
    #[test]
    fn a_file_that_is_moved_away_is_followed_by_a_new_one() {
        let folder = std::env::temp_dir().join(format!("rallypoint-audit-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let [path, moved] = ["audit.jsonl", "audit.jsonl.1"].map(|name| folder.join(name));
        let config = AuditConfig { to: AuditTo::File, file: Some(path.clone()), ..AuditConfig::default() };
        let metrics = Arc::new(Metrics::new());
        let writer = Writer::start(Sink::open(&config).unwrap().unwrap(), metrics.clone()).unwrap();
        let wait = |what: &str, is: &dyn Fn() -> bool| {
            let until = Instant::now() + Duration::from_secs(60);
            while !is() {
                assert!(Instant::now() < until, "waited in vain for {what}");
                std::thread::yield_now();
            }
        };
        let written = |count| wait("a line", &|| audit(&metrics, "written") == count);
        assert!(writer.put(b"1\n"));
        written(1);
        std::fs::rename(&path, &moved).unwrap();
        assert!(writer.put(b"2\n"));
        written(2);
        writer.reopen();
        wait("the new file", &|| path.exists());
        assert!(writer.put(b"3\n"));
        writer.close();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("1\n2\n", "3\n"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o007, 0, "others cannot read it");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// /dev/full is a disk that is full.
    #[test]
    fn a_full_disk_loses_lines_and_says_so() {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let metrics = Arc::new(Metrics::new());
        let writer = Writer::start(Sink::File("/dev/full".into(), file), metrics.clone()).unwrap();
        assert!(writer.put(b"1\n") && writer.put(b"2\n"));
        writer.close();
        assert_eq!((audit(&metrics, "written"), audit(&metrics, "dropped")), (0, 2));
    }

    #[test]
    fn a_line_begins_where_the_one_before_it_ends() {
        let at = |at| start_of_line(b"ab\ncd\n", at);
        assert_eq!([at(0), at(1), at(2), at(3), at(4), at(6)], [0, 0, 0, 3, 3, 6]);
    }
}
