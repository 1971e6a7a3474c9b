//! Examples of the documents, put to the schemas beside them.

use serde_json::Value;

use crate::{Documents, Schemas, operations::FILE};

/// What is wrong with the examples of `openapi.json` and of the schemas.
pub fn faults(documents: &Documents) -> Vec<String> {
    let schemas = Schemas::closed(documents);
    let mut faults = Vec::new();
    let mut seen = 0;
    for (file, document) in documents.iter() {
        walk(document, "", &mut |pointer, schema, value| {
            seen += 1;
            let found = schemas.faults(&format!("{file}#{pointer}{schema}"), value);
            faults.extend(found.into_iter().map(|fault| format!("{file}: an example: {fault}")));
        });
    }
    for (pointer, kind) in bodies(documents) {
        if kind["example"].is_null() && kind["examples"].is_null() {
            faults.push(format!("{FILE}: {pointer} has no example"));
        }
    }
    if seen < 30 {
        faults.push(format!("only {seen} examples were found"));
    }
    faults
}

/// Hands over each example, with the place of its schema.
fn walk(value: &Value, pointer: &str, judge: &mut impl FnMut(&str, &str, &Value)) {
    match value {
        Value::Object(map) => {
            if map.contains_key("schema") {
                let several = map.get("examples").and_then(Value::as_object).into_iter().flat_map(|all| all.values());
                let several = several.map(|example| &example["value"]);
                map.get("example").into_iter().chain(several).for_each(|example| judge(pointer, "/schema", example));
            } else if let Some(Value::Array(examples)) = map.get("examples") {
                examples.iter().for_each(|example| judge(pointer, "", example));
            }
            for (key, value) in map {
                // What is only an example is no schema.
                if key != "example" && key != "examples" {
                    walk(value, &format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), judge);
                }
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| walk(item, &format!("{pointer}/{at}"), judge));
        }
        _ => {}
    }
}

/// Each body of JSON.
fn bodies(documents: &Documents) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect(documents.get(FILE), "", &mut found);
    found
}

fn collect(value: &Value, pointer: &str, found: &mut Vec<(String, Value)>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/{key}");
        if key.ends_with("json") && value.get("schema").is_some() {
            found.push((pointer.clone(), value.clone()));
        }
        collect(value, &pointer, found);
    }
}
