//! The rules of the house that a compiler does not know, read off the sources: which tools nobody
//! uses, and which the pure parts do without.

use std::path::{Path, PathBuf};

/// What `room/` and `session/` must not know of: clocks, chance, sockets, tasks and locks.
const IMPURE: &[&str] = &[
    "tokio",
    "async",
    "await",
    "time::",
    "Instant",
    "SystemTime",
    "net::",
    "rand",
    "getrandom",
    "thread_rng",
    "random",
    "Mutex",
    "RwLock",
    "parking_lot",
];

/// What nobody uses: the WebSockets of warp, and channels that take everything.
const UNWANTED: &[&str] = &["warp::ws", "mpsc::channel()"];

/// The words of a line: identifiers, each also in the form `word::` if a path goes on behind it.
fn words(line: &str) -> impl Iterator<Item = String> + '_ {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = line.char_indices().filter(move |&(at, c)| is_word(c) && !line[..at].ends_with(is_word));
    starts.flat_map(move |(at, _)| {
        let word: String = line[at..].chars().take_while(|&c| is_word(c)).collect();
        let path = line[at + word.len()..].starts_with("::").then(|| format!("{word}::"));
        path.into_iter().chain([word])
    })
}

/// Whole lines of comment may speak of anything.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Tests of the pure parts, which stand at the end of a file, may roll dice.
fn impure(text: &str) -> Vec<(usize, String)> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let found = |(at, line)| words(line).filter(|word| IMPURE.contains(&word.as_str())).map(move |word| (at, word));
    code(text).flat_map(found).collect()
}

fn unwanted(text: &str) -> Vec<(usize, String)> {
    let found = |(at, line): (usize, &str)| {
        let path = UNWANTED.iter().find(|path| line.replace(' ', "").contains(**path)).map(|path| (*path).to_owned());
        // `Bound::Unbounded` is the end of a range, no channel.
        let channel = words(line).find(|word| {
            word.to_ascii_lowercase().starts_with("unbounded") && word.trim_end_matches(':') != "Unbounded"
        });
        path.or(channel).map(|what| (at, what))
    };
    code(text).filter_map(found).collect()
}

/// The Rust files under a folder of this repository.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

fn scan(folders: &[&str], rule: impl Fn(&str) -> Vec<(usize, String)>) -> Vec<String> {
    let files = folders.iter().flat_map(|folder| sources(folder));
    let broken = files.flat_map(|file| {
        let text = std::fs::read_to_string(&file).unwrap();
        rule(&text)
            .into_iter()
            .map(move |(line, what)| format!("{}:{line}: {what}", file.display()))
            .collect::<Vec<_>>()
    });
    broken.collect()
}

#[test]
fn rooms_and_sessions_know_no_clock_chance_socket_task_or_lock() {
    assert_eq!(scan(&["src/room", "src/session"], impure), Vec::<String>::new());
}

#[test]
fn neither_the_websockets_of_warp_nor_unbounded_channels_are_used() {
    assert_eq!(scan(&["src", "clients/rust/src", "protocol/src"], unwanted), Vec::<String>::new());
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let warp = manifest.lines().find(|line| line.starts_with("warp =")).unwrap();
    assert!(warp.contains("default-features = false") && !warp.contains("websocket"), "{warp}");
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    assert_eq!(lock.matches("\nname = \"tungstenite\"\n").count(), 1, "one WebSocket implementation is enough");
}

#[test]
fn planted_sins_are_found() {
    let sins = [
        ("use std::{sync::Arc, time::Duration};", "time::"),
        ("    let now = Instant::now();", "Instant"),
        ("pub async fn apply() {}", "async"),
        ("use std::net::IpAddr;", "net::"),
        ("use parking_lot::RwLock;", "parking_lot"),
        ("let n: u8 = rand::random();", "rand"),
    ];
    for (line, what) in sins {
        let text = format!("//! Pure: no tokio, no Instant.\nfn fine(time: u64, operand: u8) {{}}\n{line}\n");
        assert_eq!(impure(&text).first(), Some(&(3, what.to_owned())), "{line}");
        assert_eq!(impure(&format!("#[cfg(test)]\nmod tests {{\n{line}\n}}")), []);
    }
    let sins = [
        ("use warp::ws::WebSocket;", "warp::ws"),
        ("let (a, b) = mpsc::unbounded_channel();", "unbounded_channel"),
        ("waiting: UnboundedReceiver<Frame>,", "UnboundedReceiver"),
        ("let (a, b) = mpsc::channel();", "mpsc::channel()"),
    ];
    for (line, what) in sins {
        let text = format!("// warp::ws is not used\nuse std::ops::Bound::{{Excluded, Unbounded}};\n{line}\n");
        assert_eq!(unwanted(&text), [(3, what.to_owned())], "{line}");
    }
}
