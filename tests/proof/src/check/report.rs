//! What was found, and how much was looked at.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use crate::history::{Came, ClientNo, History, LogNo, Outcome, What, Why};

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Events are missing, and no reset said so.
    Gap,
    /// The same event came twice.
    Duplicate,
    /// An event came after a later one.
    Reordered,
    /// The tag does not follow from the tag before it and the event's bytes.
    WrongTag,
    /// Two clients saw different logs under one epoch.
    Disagreement,
    /// An event or move of a room that the client does not follow, or a view that began anew for no reason.
    Unasked,
    /// A session came back with `resumed: false`, and a room went on without a reset.
    Silence,
    /// One publish is in the log twice.
    DoublePublish,
    /// What was acknowledged is not where it was said to be.
    LostPublish,
    /// Something arrived that nobody sent, or that was refused, or at the wrong place.
    Invented,
    /// An acknowledged signal did not arrive.
    SignalLost,
    /// A signal arrived twice.
    SignalTwice,
    /// A signal arrived after a later one of the same sender.
    SignalOrder,
    /// A reliable move did not arrive.
    MoveLost,
    /// A reliable move arrived twice.
    MoveTwice,
    /// A reliable move arrived after a later one of the same sender.
    MoveOrder,
    /// A latest move arrived after a newer one of its sender and key.
    LatestBackwards,
    /// The newest latest move never arrived.
    LatestLost,
    /// One handle stood for two senders.
    HandleReused,
    /// Others saw a member leave whose session came back.
    VisibleLeave,
    /// A member joined twice, or left twice.
    PresenceOrder,
    /// A client did not reach the head of a log.
    Behind,
    /// A client did not come back, or a question was never answered.
    Hangs,
    /// The server told a client to stop.
    Stopped,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// To whom it was given.
    pub client: Option<ClientNo>,
    /// In which room or user's log.
    pub log: Option<LogNo>,
    /// The record at which it shows.
    pub at: usize,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub seen: String,
}

impl Violation {
    /// The violation with what happened around it to the same client.
    pub fn tell(&self, history: &History) -> String {
        let client = self.client.map_or_else(|| "nobody in particular".to_owned(), |c| history.client_name(c));
        let log = self.log.map_or_else(String::new, |log| format!(" in {}", history.log_name(log)));
        let mut text = format!(
            "{:?}: {client}{log}, record {}\n  expected {}\n  seen     {}\n",
            self.kind, self.at, self.expected, self.seen
        );
        for index in self.around(history) {
            let mark = if index == self.at { '>' } else { ' ' };
            text += &format!("  {mark} {}\n", history.line(index));
        }
        text
    }

    /// Records of the same client before and after, of the same log or of the connection.
    fn around(&self, history: &History) -> Vec<usize> {
        let near = |&index: &usize| {
            let record = &history.records[index];
            let log = log_of(&record.what);
            self.client.is_none_or(|client| client == record.client) && (log.is_none() || log == self.log)
        };
        let at = self.at.min(history.records.len());
        let mut before: Vec<_> = (0..at).rev().filter(near).take(6).collect();
        before.reverse();
        before.extend((at..history.records.len()).filter(|index| *index == at || near(index)).take(4));
        before
    }
}

fn log_of(what: &What) -> Option<LogNo> {
    match *what {
        What::Head { log, .. }
        | What::Stands { log, .. }
        | What::Unfollows { log }
        | What::Event { log, .. }
        | What::Publishes { log, .. } => Some(log),
        What::Signals { room, .. }
        | What::Signal { room, .. }
        | What::Moves { room, .. }
        | What::Unmoved { room, .. }
        | What::Moved { room, .. } => Some(room),
        _ => None,
    }
}

/// How much was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records.
    pub records: usize,
    /// Events that observers saw.
    pub events: usize,
    /// Different events in all logs.
    pub distinct: usize,
    /// Events and notifications that were acknowledged.
    pub published: usize,
    /// Of these: that stand where no client's view reaches, so that nothing can be said of them.
    pub unwatched: usize,
    /// Whose answer was lost.
    pub unknown: usize,
    /// Signals acknowledged.
    pub signals: usize,
    /// Reliable moves that came.
    pub reliable: usize,
    /// Latest moves that came.
    pub latest: usize,
    /// Sessions that came back whole.
    pub resumed: usize,
    /// Sessions that came back with something lost.
    pub restored: usize,
    /// Sessions that went on on another node.
    pub moved: usize,
    /// Deaths of nodes that logs tell of.
    pub deaths: usize,
    /// Sessions made anew.
    pub new: usize,
    /// Restarts of the server.
    pub restarts: usize,
    /// Faults, by name.
    pub faults: BTreeMap<&'static str, usize>,
    /// Resets, by reason.
    pub resets: BTreeMap<&'static str, usize>,
    /// Refusals, by number.
    pub refused: BTreeMap<u16, usize>,
}

/// What the checker says.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was broken, in the order of the passes; at most [`Report::LISTED`] of a kind are listed.
    pub violations: Vec<Violation>,
    /// How many there were in all.
    pub found: usize,
    /// How many of which kind.
    pub kinds: BTreeMap<Kind, usize>,
    /// How much was looked at.
    pub tally: Tally,
}

impl Report {
    /// Violations of a kind that are kept; a broken server breaks everything that follows as well.
    pub const LISTED: usize = 50;

    /// Leaves what is needed to understand the violations: what they are, and all that their clients and the run went
    /// through, as lines of JSON.
    pub fn leave(&self, folder: &Path, history: &History) -> io::Result<()> {
        let mut told = BufWriter::new(File::create(folder.join("violations.txt"))?);
        for violation in &self.violations {
            writeln!(told, "{}", violation.tell(history))?;
        }
        for violation in self.violations.iter().take(5) {
            println!("{}", violation.tell(history));
        }
        let mut clients: Vec<_> = self.violations.iter().filter_map(|violation| violation.client).collect();
        clients.sort_unstable();
        clients.dedup();
        let run = history.clients.find(b"run");
        for client in clients.into_iter().take(20) {
            let path = folder.join(format!("{}.jsonl", history.client_name(client)));
            let mut out = BufWriter::new(File::create(path)?);
            history.dump(&mut out, |_, own, _| own == client || Some(own) == run)?;
        }
        println!("{} violations are in {}", self.found, folder.display());
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: usize = self.faults.values().sum();
        write!(
            f,
            "{faults} faults {:?}, {} restarts; {} resumed, {} resumed false, {} moved, {} new, {} deaths told, resets {:?}; {} events seen ({} different), \
             {} published ({} unknown, {} unwatched), {} signals, {} reliable and {} latest moves, refused {:?}",
            self.faults,
            self.restarts,
            self.resumed,
            self.restored,
            self.moved,
            self.new,
            self.deaths,
            self.resets,
            self.events,
            self.distinct,
            self.published,
            self.unknown,
            self.unwatched,
            self.signals,
            self.reliable,
            self.latest,
            self.refused
        )
    }
}

/// Where the passes put what they find.
pub(super) struct Findings<'a> {
    pub(super) history: &'a History,
    pub(super) tally: Tally,
    violations: Vec<Violation>,
    kinds: BTreeMap<Kind, usize>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        Self { history, tally: tally(history), violations: Vec::new(), kinds: BTreeMap::new() }
    }

    /// Notes a violation that shows at this record.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        at: usize,
        client: impl Into<Option<ClientNo>>,
        log: impl Into<Option<LogNo>>,
        expected: impl Into<String>,
        seen: impl Into<String>,
    ) {
        let found = self.kinds.entry(kind).or_default();
        *found += 1;
        if *found <= Report::LISTED {
            let (client, log, expected, seen) = (client.into(), log.into(), expected.into(), seen.into());
            self.violations.push(Violation { kind, client, log, at, expected, seen });
        }
    }

    pub(super) fn report(self) -> Report {
        Report { violations: self.violations, found: self.kinds.values().sum(), kinds: self.kinds, tally: self.tally }
    }
}

fn tally(history: &History) -> Tally {
    let mut tally = Tally { records: history.records.len(), ..Tally::default() };
    let mut started = 0;
    for record in &history.records {
        match record.what {
            What::Started { .. } => started += 1,
            What::Fault { cut, .. } => *tally.faults.entry(cut).or_default() += 1,
            What::Struck { what, .. } => *tally.faults.entry(what).or_default() += 1,
            What::Opened { peer: Some(_), came, .. } => match came {
                Came::New => tally.new += 1,
                Came::Resumed => tally.resumed += 1,
                Came::Restored => tally.restored += 1,
                Came::Moved => tally.moved += 1,
            },
            What::Stands { why: Why::Reset(reason), .. } => *tally.resets.entry(reason.name()).or_default() += 1,
            What::Event { .. } => tally.events += 1,
            What::Answered { outcome: Outcome::Refused(code), .. } => *tally.refused.entry(code).or_default() += 1,
            What::Answered { outcome: Outcome::Done(Some(_)), .. } => tally.published += 1,
            What::Answered { outcome: Outcome::Done(None), .. } => tally.signals += 1,
            What::Answered { outcome: Outcome::Unknown, .. } => tally.unknown += 1,
            _ => {}
        }
    }
    tally.restarts = usize::saturating_sub(started, 1);
    tally
}
