//! The JSON Schemas of the documents, compiled when they are first asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use jsonschema::{Draft, Registry, Validator};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use crate::Documents;

/// What must not stand in a fragment as it is (RFC 3986 section 3.5), and may stand in a pointer.
const NOT_IN_A_FRAGMENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}');

/// In front of the paths of the documents, so that they can name each other.
const BASE: &str = "json-schema:///";

/// Schemas, named `file#/pointer`.
pub struct Schemas {
    registry: Registry<'static>,
    files: Documents,
    compiled: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Schemas {
    /// As they are published: a receiver ignores fields that it does not know.
    pub fn open(documents: &Documents) -> Self {
        Self::of(documents, Value::clone)
    }

    /// As strict as the server is held to: a field that is not named is a fault.
    pub fn closed(documents: &Documents) -> Self {
        Self::of(documents, |document| {
            let mut document = document.clone();
            close(&mut document);
            document
        })
    }

    fn of(documents: &Documents, prepare: impl Fn(&Value) -> Value) -> Self {
        let resources = documents.iter().map(|(file, value)| (format!("{BASE}{file}"), prepare(value)));
        let registry = Registry::new().draft(Draft::Draft202012).extend(resources.collect::<Vec<_>>());
        let registry =
            registry.and_then(jsonschema::RegistryBuilder::prepare).expect("references that can be followed");
        Self { registry, files: documents.clone(), compiled: Mutex::default() }
    }

    /// Whether there is a schema of this name.
    pub fn has(&self, name: &str) -> bool {
        let (file, pointer) = name.split_once('#').unwrap_or((name, ""));
        self.files.get(file).pointer(pointer).is_some()
    }

    /// What is wrong with a value.
    pub fn faults(&self, name: &str, value: &Value) -> Vec<String> {
        if !self.has(name) {
            return vec![format!("{name} is not there to judge {value}")];
        }
        let validator = self.compiled(name);
        let fault = |error: jsonschema::ValidationError<'_>| {
            format!("{name}: at {:?}: {error}", error.instance_path().as_str())
        };
        validator.iter_errors(value).map(fault).collect()
    }

    fn compiled(&self, name: &str) -> Arc<Validator> {
        let mut compiled = self.compiled.lock().expect("nobody panics here");
        if let Some(validator) = compiled.get(name) {
            return validator.clone();
        }
        let schema = json!({ "$ref": format!("{BASE}{}", utf8_percent_encode(name, NOT_IN_A_FRAGMENT)) });
        let options = jsonschema::options().with_draft(Draft::Draft202012).with_registry(&self.registry);
        let validator = options.build(&schema).unwrap_or_else(|error| panic!("{name} is no schema: {error}"));
        compiled.entry(name.to_owned()).or_insert(Arc::new(validator)).clone()
    }
}

/// Lets no object have more than its schema names. What only narrows another schema does not say `type`.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.get("type") == Some(&json!("object")) && map.contains_key("properties") {
                map.entry("additionalProperties").or_insert(false.into());
            }
        }
        _ => {}
    }
}
