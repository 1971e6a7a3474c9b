//! The files of `protocol/` as values.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The files that name each other, by their path below `protocol/`.
#[derive(Clone)]
pub struct Documents(BTreeMap<String, Value>);

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A text file of the repository.
pub fn text(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &str) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

impl Documents {
    /// As they stand in the repository.
    pub fn read() -> Self {
        let schemas = std::fs::read_dir(root().join("protocol/schema")).expect("the folder is there");
        let names = schemas.map(|entry| entry.expect("it can be listed").file_name().into_string().expect("ASCII"));
        let names = names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "json"));
        let files = names.map(|name| format!("schema/{name}")).chain(["openapi.json".into(), "asyncapi.json".into()]);
        Self(files.map(|file| (file.clone(), json(&format!("protocol/{file}")))).collect())
    }

    /// The golden frames of one file.
    pub fn vectors(file: &str) -> Vec<Value> {
        let Value::Array(vectors) = json(&format!("protocol/vectors/{file}"))["vectors"].take() else {
            panic!("{file} has no vectors")
        };
        vectors
    }

    /// A file.
    pub fn get(&self, file: &str) -> &Value {
        self.0.get(file).unwrap_or_else(|| panic!("there is no {file}"))
    }

    /// A place in a file, to be changed by a test.
    pub fn place(&mut self, file: &str, pointer: &str) -> &mut Value {
        let document = self.0.get_mut(file).unwrap_or_else(|| panic!("there is no {file}"));
        document.pointer_mut(pointer).unwrap_or_else(|| panic!("{file} has no {pointer}"))
    }

    /// Every file, by its path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(file, value)| (file.as_str(), value))
    }

    /// What stands behind a reference, which may itself be one.
    pub fn resolve<'a>(&'a self, file: &str, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let (target, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let target = match (target, folder) {
            ("", _) => file.to_owned(),
            (target, "") => target.to_owned(),
            (target, folder) => format!("{folder}/{target}"),
        };
        let found =
            self.get(&target).pointer(pointer).unwrap_or_else(|| panic!("{file}: nothing stands at {reference}"));
        self.resolve(&target, found)
    }
}
