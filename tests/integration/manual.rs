//! The manual pages in `docs/man` are what the command line says of itself.
//!
//! `WRITE_MANUAL=1 cargo test --workspace --test integration manual::` writes them anew.

use std::{collections::BTreeMap, path::Path};

use clap::CommandFactory;
use rallypoint::command::Cli;

/// The page of each command, by its file.
fn pages() -> BTreeMap<String, String> {
    let folder = std::env::temp_dir().join(format!("rallypoint-manual-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &folder).unwrap();
    let pages = read(&folder);
    std::fs::remove_dir_all(folder).unwrap();
    pages
}

fn read(folder: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let page = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
    };
    files.map(page).collect()
}

#[test]
fn the_manual_pages_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man");
    let pages = pages();
    assert!(pages.contains_key("rallypoint-serve.1"), "{:?}", pages.keys());
    if std::env::var_os("WRITE_MANUAL").is_some() {
        for (file, page) in &pages {
            std::fs::write(folder.join(file), page).unwrap();
        }
    }
    assert_eq!(pages, read(&folder), "docs/man is not what --help says: see the first lines of this test");
}
