//! Golden frames: `vectors/*.json` was written from the specification, not by this crate; here the
//! Rust codec is held to it. A second implementation runs the same files.

mod messages;
mod tables;
mod values;

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

/// The vectors of one file.
fn load(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(vectors) = whole["vectors"].take() else { panic!("{file} has no vectors") };
    let names: BTreeSet<_> = vectors.iter().map(|vector| text_of(vector, "name").to_owned()).collect();
    assert_eq!(names.len(), vectors.len(), "{file}: two vectors of one name");
    vectors
}

fn text_of<'a>(vector: &'a Value, key: &str) -> &'a str {
    vector[key].as_str().unwrap_or_else(|| panic!("{}: no text `{key}`", vector["name"]))
}

fn bytes_of(vector: &Value, key: &str) -> Vec<u8> {
    unhex(text_of(vector, key))
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Numbers as JavaScript compares them: 1 and 1.0 are one number.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

/// What went wrong, vector by vector; the test fails once, with all of it.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn check(&mut self, vector: &Value, good: bool, what: impl FnOnce() -> String) {
        if !good {
            self.0.push(format!("{}: {}", vector["name"], what()));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{} faults:\n{}", self.0.len(), self.0.join("\n"));
    }
}
