//! The layers of a configuration, file below environment below flags, merged into one table that
//! remembers where each value came from. Only [`load`](super::load()) uses it.

use std::{collections::BTreeMap, path::Path};

use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    load::Problem,
    schema::{self, Kind},
};

/// What every environment variable of ours begins with.
const PREFIX: &str = "RALLYPOINT_";

/// The merged values and the place of each.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) table: Table,
    pub(super) problems: Vec<Problem>,
    /// From a key's path (`rooms[0].members`) to `file:line`, a variable or a flag.
    places: BTreeMap<String, String>,
}

/// One step from a table to a value inside it; variables are applied in this order, so that
/// `KEYS__0` comes before `KEYS__1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(&'static str),
}

fn text_of(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
        }
    }
    text
}

impl Layers {
    /// The lowest layer: the text of a file, which is called `name` in messages.
    pub(super) fn file(&mut self, text: &str, name: &Path) {
        let at = |offset: usize| {
            let before = text.get(..offset).unwrap_or(text);
            format!("{}:{}", name.display(), before.matches('\n').count() + 1)
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = error.span().map(|span| at(span.start));
            self.problems.push(Problem { place, key: String::new(), message: error.message().to_owned() });
        }
        if self.problems.is_empty() {
            match text.parse() {
                Ok(table) => self.table = table,
                // The same text was read without an error above, by the same parser.
                Err(error) => self.report(String::new(), error.message().to_owned()),
            }
            self.record_table(document.get_ref(), "", &at);
        }
    }

    fn record_table(&mut self, table: &DeTable<'_>, path: &str, at: &impl Fn(usize) -> String) {
        for (key, value) in table {
            let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            self.places.insert(path.clone(), at(key.span().start));
            self.record_value(value, &path, at);
        }
    }

    fn record_value(&mut self, value: &Spanned<DeValue<'_>>, path: &str, at: &impl Fn(usize) -> String) {
        match value.get_ref() {
            DeValue::Table(table) => self.record_table(table, path, at),
            DeValue::Array(list) => {
                for (index, entry) in list.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.places.insert(path.clone(), at(entry.span().start));
                    self.record_value(entry, &path, at);
                }
            }
            _ => {}
        }
    }

    /// The middle layer: `RALLYPOINT_LIMITS__FRAME=65536`, with `__` between the levels and
    /// numbers for the entries of lists. An empty variable counts as not set.
    pub(super) fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut settings = Vec::new();
        for (name, text) in variables {
            let Some(words) = name.strip_prefix(PREFIX).filter(|rest| !is_foreign(rest) && !text.is_empty()) else {
                continue;
            };
            match resolve(&words.to_ascii_lowercase()) {
                Ok((path, kind)) => settings.push((path, kind, name, text)),
                Err(message) => self.problems.push(Problem { place: Some(name), key: String::new(), message }),
            }
        }
        settings.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, kind, name, text) in settings {
            self.set(&path, read(&kind, text), name);
        }
    }

    /// The top layer: a flag for a key at the top or in a section.
    pub(super) fn flag(&mut self, path: &[&'static str], value: Value, flag: &str) {
        let path: Vec<_> = path.iter().map(|key| Step::Key(key)).collect();
        self.set(&path, value, flag.to_owned());
    }

    fn set(&mut self, path: &[Step], value: Value, place: String) {
        let text = text_of(path);
        if let Err(message) = put(&mut self.table, path, value) {
            self.problems.push(Problem { place: Some(place), key: text, message });
            return;
        }
        // A whole list may have been replaced: what was known of its entries is void.
        self.places.retain(|known, _| {
            !known.strip_prefix(&text).is_some_and(|rest| rest.starts_with(['.', '[']) || rest.is_empty())
        });
        self.places.insert(text, place);
    }

    /// Where the value at this path came from; for a missing one, where its section did.
    pub(super) fn place(&self, path: &str) -> Option<&str> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Whether this very key was given a value in any layer.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// Adds a problem with the value at this path.
    pub(super) fn report(&mut self, path: String, message: String) {
        let place = self.place(&path).map(str::to_owned);
        self.problems.push(Problem { place, key: path, message });
    }

    /// Takes out what [`schema::check`] found wrong, so that the rest can still be looked at.
    /// A list of sections goes as a whole: its entries are known by their place.
    pub(super) fn prune(&mut self) {
        let paths: Vec<_> = self.problems.iter().map(|problem| problem.key.clone()).collect();
        for path in paths {
            let path = path.split('[').next().unwrap_or_default();
            let mut table = &mut self.table;
            let mut keys = path.split('.').peekable();
            while let Some(key) = keys.next() {
                if keys.peek().is_none() {
                    table.remove(key);
                    break;
                }
                match table.get_mut(key) {
                    Some(Value::Table(inner)) => table = inner,
                    _ => break,
                }
            }
        }
    }
}

/// Variables with our prefix that are not ours to read: Kubernetes sets `RALLYPOINT_PORT` and
/// `RALLYPOINT_SERVICE_HOST` beside a Service of this name, and `RALLYPOINT_CONFIG` is the flag.
fn is_foreign(name: &str) -> bool {
    name == "CONFIG" || name == "PORT" || name.starts_with("PORT_") || name.starts_with("SERVICE_")
}

/// Finds the key that a variable means.
fn resolve(words: &str) -> Result<(Vec<Step>, Kind), String> {
    let mut words = words.split("__");
    let mut section = "";
    let mut path = Vec::new();
    while let Some(word) = words.next() {
        let known = schema::keys(section);
        let Some((name, kind)) = known.iter().find(|(name, _)| *name == word) else {
            let names: Vec<_> = known.iter().map(|(name, _)| name.to_ascii_uppercase()).collect();
            let level = if section.is_empty() { PREFIX.to_owned() } else { format!("…{}__", section.to_uppercase()) };
            return Err(format!("unknown variable; after {level} may come {}", names.join(", ")));
        };
        path.push(Step::Key(name));
        match kind {
            Kind::Section(inner) => section = inner,
            Kind::Sections(inner) => {
                let Some(index) = words.next() else { return Ok((path, kind.clone())) };
                let index =
                    index.parse().map_err(|_| format!("after {} comes a number, 0 for the first", text_of(&path)))?;
                path.push(Step::Index(index));
                section = inner;
            }
            kind if words.next().is_none() => return Ok((path, kind.clone())),
            _ => return Err(format!("{} has no keys below it", text_of(&path))),
        }
    }
    Err(format!("{} is a section; name a key in it, with `__` before it", text_of(&path)))
}

/// A variable's text as a value of this kind. What cannot be read stays text, for
/// [`schema::check`] to complain about.
fn read(kind: &Kind, text: String) -> Value {
    let toml = |text: &str| format!("value = {text}").parse::<Table>().ok()?.remove("value");
    let value = match kind {
        Kind::Flag => match text.as_str() {
            "true" | "1" => Some(true.into()),
            "false" | "0" => Some(false.into()),
            _ => None,
        },
        Kind::Number(..) => text.parse::<i64>().ok().map(Value::Integer),
        Kind::List if !text.trim_start().starts_with('[') => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Some(Value::Array(words.map(Value::from).collect()))
        }
        Kind::List | Kind::Sections(_) => toml(&text),
        _ => None,
    };
    value.unwrap_or(Value::String(text))
}

/// Writes a value, making the sections and the next list entry on the way. Where a value of the
/// wrong type stands in the way it stays, for [`schema::check`] to complain about.
fn put(table: &mut Table, path: &[Step], value: Value) -> Result<(), String> {
    match path {
        [Step::Key(key)] => {
            table.insert((*key).to_owned(), value);
        }
        [Step::Key(key), Step::Index(index), rest @ ..] => {
            let Value::Array(list) = table.entry(*key).or_insert_with(|| Value::Array(Vec::new())) else {
                return Ok(());
            };
            if *index > list.len() {
                return Err(format!("there is no entry {} before it; the first is 0", list.len()));
            }
            if *index == list.len() {
                list.push(Value::Table(Table::new()));
            }
            if let Value::Table(entry) = &mut list[*index] {
                return put(entry, rest, value);
            }
        }
        [Step::Key(key), rest @ ..] => {
            if let Value::Table(inner) = table.entry(*key).or_insert_with(|| Value::Table(Table::new())) {
                return put(inner, rest, value);
            }
        }
        _ => {}
    }
    Ok(())
}
