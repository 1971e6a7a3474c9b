//! What a configuration may contain: every key with the kind of its value. The loader reads
//! environment variables by it and checks all keys against it at once.

use std::net::SocketAddr;

use toml::{Table, Value};

use super::{Limits, Pattern, RoomSettings, UserSettings};
use crate::{
    audit::AuditTo,
    auth::{jwks::JwksConfig, keys::Algorithm},
    broker,
    proxies::ForwardedHeader,
    tls::TlsConfig,
    webhooks::WebhookConfig,
};

/// The kind of a key's value.
#[derive(Clone, PartialEq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// A list of texts.
    List,
    /// A whole number in a range.
    Number(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An address and a port.
    Address,
    /// A pattern of room names.
    Pattern,
    /// Where the logs are.
    Engine,
    /// What stands before names in the engine.
    Prefix,
    /// A section with keys of its own.
    Section(&'static str),
    /// A list of such sections.
    Sections(&'static str),
}

/// The keys of a section; `""` is the top.
pub(super) fn keys(section: &str) -> Vec<(&'static str, Kind)> {
    use Kind::{Address, Engine, Flag, List, Pattern, Prefix, Section, Sections, Text, Word};
    match section {
        "" => vec![
            ("listen", Address),
            ("dev", Flag),
            ("dev_insecure", Flag),
            ("metrics_listen", Address),
            ("pages", Flag),
            ("engine", Engine),
            ("engine_prefix", Prefix),
            ("origins", List),
            ("trusted_proxies", List),
            ("forwarded_header", Word(ForwardedHeader::NAMES)),
            ("tls", Section("tls")),
            ("log", Section("log")),
            ("audit", Section("audit")),
            ("auth", Section("auth")),
            ("limits", Section("limits")),
            ("room", Section("room")),
            ("rooms", Sections("rooms")),
            ("user", Section("user")),
            ("ice", Sections("ice")),
            ("webhooks", Sections("webhooks")),
        ],
        "log" => {
            vec![("format", Word(&["text", "json"])), ("filter", Text), ("lines_per_second", Kind::Number(1, 100_000))]
        }
        "audit" => vec![
            ("to", Word(AuditTo::NAMES)),
            ("file", Text),
            ("refusals_per_second", Kind::Number(1, 100_000)),
            ("lines_per_second", Kind::Number(1, 1_000_000)),
        ],
        "tls" => {
            let [least, most] = TlsConfig::RELOAD_RANGE;
            vec![("certificate_file", Text), ("key_file", Text), ("reload_ms", Kind::Number(least, most))]
        }
        "auth" => vec![
            ("cookie", Text),
            ("query_token", Flag),
            ("leeway_ms", Kind::Number(0, 300_000)),
            ("allow_no_origin", Flag),
            ("audience", Text),
            ("admin_audience", Text),
            ("resume_secret", Text),
            ("resume_secret_file", Text),
            ("keys", Sections("auth.keys")),
            ("jwks", Sections("auth.jwks")),
        ],
        "auth.jwks" => {
            let [least, most] = JwksConfig::REFRESH_RANGE;
            let interval = || Kind::Number(least, most);
            vec![
                ("issuer", Text),
                ("url", Text),
                ("file", Text),
                ("refresh_ms", interval()),
                ("min_refresh_ms", interval()),
            ]
        }
        "auth.keys" => vec![
            ("kid", Text),
            ("issuer", Text),
            ("algorithm", Word(Algorithm::NAMES)),
            ("secret", Text),
            ("secret_file", Text),
            ("public_key", Text),
            ("public_key_file", Text),
        ],
        "rooms" => [("match", Pattern)].into_iter().chain(numbers(RoomSettings::RANGES)).collect(),
        "limits" => numbers(Limits::RANGES).collect(),
        "room" => numbers(RoomSettings::RANGES).collect(),
        "user" => numbers(UserSettings::RANGES).collect(),
        "ice" => vec![
            ("urls", List),
            ("username", Text),
            ("credential", Text),
            ("secret", Text),
            ("ttl_ms", Kind::Number(60_000, 604_800_000)),
        ],
        "webhooks" => {
            let texts = ["url", "name", "secret", "secret_file"].map(|key| (key, Text));
            let lists = [("events", List), ("rooms", List)];
            texts.into_iter().chain(lists).chain(numbers(WebhookConfig::RANGES)).collect()
        }
        _ => Vec::new(),
    }
}

/// The keys that an entry of a list of sections must have.
fn required(section: &str) -> &'static [&'static str] {
    match section {
        "auth.keys" => &["algorithm"],
        "rooms" => &["match"],
        "ice" => &["urls"],
        "webhooks" => &["url"],
        _ => &[],
    }
}

fn numbers(
    ranges: &'static [(&'static str, std::ops::RangeInclusive<u64>)],
) -> impl Iterator<Item = (&'static str, Kind)> {
    ranges.iter().map(|(key, range)| (*key, Kind::Number(*range.start(), *range.end())))
}

/// Compares a table with the keys of its section and reports `(path, message)` of everything that
/// is wrong in it. No message repeats a text value: it may be a secret.
pub(super) fn check(table: &Table, section: &str, path: &str, report: &mut impl FnMut(String, String)) {
    let known = keys(section);
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match known.iter().find(|(name, _)| name == key) {
            Some((_, kind)) => check_value(value, kind, path, report),
            None => {
                let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                report(path, format!("unknown key; known here are {}", names.join(", ")));
            }
        }
    }
    for key in required(section).iter().filter(|key| !table.contains_key(**key)) {
        report(path.to_owned(), format!("`{key}` is missing"));
    }
}

fn check_value(value: &Value, kind: &Kind, path: String, report: &mut impl FnMut(String, String)) {
    let wrong = |expected: &str| Some(format!("must be {expected}, not {}", article(value)));
    let message = match (kind, value) {
        (Kind::Flag, Value::Boolean(_)) | (Kind::Text, Value::String(_)) => None,
        (Kind::Flag, _) => wrong("true or false"),
        (Kind::Text, _) => wrong("a text in quotes"),
        (Kind::List, Value::Array(list)) if list.iter().all(Value::is_str) => None,
        (Kind::List, _) => wrong("a list of texts, [\"…\", \"…\"]"),
        (Kind::Number(min, max), Value::Integer(number)) => {
            let good = u64::try_from(*number).is_ok_and(|number| (*min..=*max).contains(&number));
            (!good).then(|| format!("{number} is out of range; allowed is {min} to {max}"))
        }
        (Kind::Number(min, max), _) => wrong(&format!("a whole number from {min} to {max}")),
        (Kind::Word(words), Value::String(word)) if words.contains(&word.as_str()) => None,
        (Kind::Word(words), Value::String(word)) => {
            Some(format!("`{}` is not possible; allowed is {}", word.escape_debug(), words.join(" or ")))
        }
        (Kind::Word(words), _) => wrong(&format!("one of the texts {}", words.join(", "))),
        (Kind::Address, Value::String(text)) if text.parse::<SocketAddr>().is_ok() => None,
        (Kind::Address, Value::String(text)) => Some(format!(
            "`{}` is no address; write \"127.0.0.1:3000\", \"0.0.0.0:3000\" or \"[::1]:3000\"",
            text.escape_debug()
        )),
        (Kind::Address, _) => wrong("an address in quotes, \"127.0.0.1:3000\""),
        (Kind::Pattern, Value::String(text)) => match Pattern::new(text) {
            Ok(pattern) if pattern.is_reserved() => Some("names beginning user/ are not rooms".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        },
        (Kind::Pattern, _) => wrong("a pattern in quotes, \"match/*\""),
        (Kind::Engine, Value::String(text)) => text.parse::<broker::Engine>().err().map(|error| error.to_string()),
        (Kind::Engine, _) => wrong("\"memory\" or an address in quotes, \"redis://127.0.0.1:6379\""),
        (Kind::Prefix, Value::String(text)) => text.parse::<broker::Prefix>().err().map(|error| error.to_string()),
        (Kind::Prefix, _) => wrong("a text in quotes"),
        (Kind::Section(section), Value::Table(table)) => {
            check(table, section, &path, report);
            None
        }
        (Kind::Section(section), _) => wrong(&format!("a section, [{section}]")),
        (Kind::Sections(section), Value::Array(list)) if list.iter().all(Value::is_table) => {
            for (index, entry) in list.iter().enumerate() {
                if let Value::Table(table) = entry {
                    check(table, section, &format!("{path}[{index}]"), report);
                }
            }
            None
        }
        (Kind::Sections(section), _) => wrong(&format!("sections, [[{section}]]")),
    };
    if let Some(message) = message {
        report(path, message);
    }
}

fn article(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_lies_in_its_range() {
        // Read back through the ranges: the defaults as a file would spell them.
        let example: Table = toml::from_str(&super::super::load::tests::example_with_defaults()).unwrap();
        let mut problems = Vec::new();
        check(&example, "", "", &mut |path, message| problems.push((path, message)));
        assert_eq!(problems, []);
    }

    #[test]
    fn a_text_is_never_repeated() {
        let table: Table =
            toml::from_str("[auth]\nkeys = 'hush'\ncookie = ['hush']\n[limits]\nframe = 'hush'").unwrap();
        let mut problems = Vec::new();
        check(&table, "", "", &mut |_, message| problems.push(message));
        assert_eq!(problems.len(), 3);
        assert!(!problems.concat().contains("hush"), "{problems:?}");
    }
}
