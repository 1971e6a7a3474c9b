//! What a server answered, judged by `openapi.json`: method and path, status, headers, kind and shape of the body, and for
//! a problem document whether the operation may answer that code.

use rallypoint_protocol::ErrorCode;
use serde_json::Value;

use crate::{
    Schemas,
    operations::{FILE, Operations, Response, Route},
};

/// A request and its answer.
pub struct Answered<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// What was asked for, with or without a query.
    pub target: &'a str,
    /// Of the answer.
    pub status: u16,
    /// Of the answer, names in lower case.
    pub headers: &'a [(String, String)],
    /// Of the answer; of a stream not asked for.
    pub body: &'a [u8],
}

/// What every HTTP answer may have, and what depends on the page that asks.
const COMMON: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "vary",
    "alt-svc",
];
/// What a preflight has beside them.
const PREFLIGHT: [&str; 3] = ["access-control-allow-methods", "access-control-allow-headers", "access-control-max-age"];

impl Answered<'_> {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A header; several lines of it are one list (RFC 9110 section 5.3).
    fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, line)| line.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

/// What is wrong with an answer.
pub fn faults(operations: &Operations, schemas: &Schemas, answered: &Answered<'_>) -> Vec<String> {
    let found = match operations.route(answered.method, answered.path()) {
        // What is no good HTTP.
        _ if answered.body.is_empty() && matches!(answered.status, 400 | 414 | 431) => vec![],
        Route::To(operation) => match operation.responses.get(&answered.status) {
            Some(response) => {
                let mut faults = shape(schemas, response, answered);
                faults.extend(problem(&operation.problems, answered));
                faults
            }
            None if answered.status == 500 => shape(schemas, &operations.refusals[&500], answered),
            None => vec!["the status is not in the document".to_owned()],
        },
        Route::Other(methods) if answered.method == "OPTIONS" && answered.status == 204 => {
            preflight(&methods, answered)
        }
        Route::Other(methods) => {
            let mut faults = elsewhere(operations, schemas, answered);
            if answered.status == 405 && answered.header("allow") != Some(methods.join(", ")) {
                faults.push(format!("Allow is not {}", methods.join(", ")));
            }
            faults
        }
        // Files of the pages are not all named.
        Route::Nowhere
            if answered.status != 404 && answered.method == "GET" && !answered.path().starts_with("/v1/") =>
        {
            vec![]
        }
        Route::Nowhere => elsewhere(operations, schemas, answered),
    };
    let what = format!("{} {} {}", answered.method, answered.target, answered.status);
    let body: String = String::from_utf8_lossy(answered.body).chars().take(200).collect();
    found.into_iter().map(|fault| format!("{what}: {fault}: {body}")).collect()
}

/// A refusal of what is no operation.
fn elsewhere(operations: &Operations, schemas: &Schemas, answered: &Answered<'_>) -> Vec<String> {
    let Some(response) = operations.refusals.get(&answered.status) else {
        return vec!["neither path nor method are in the document".to_owned()];
    };
    let mut faults = shape(schemas, response, answered);
    faults.extend(problem(&operations.anywhere, answered));
    faults
}

/// Headers, and the kind and shape of the body.
fn shape(schemas: &Schemas, response: &Response, answered: &Answered<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, header) in &response.headers {
        match answered.header(name) {
            Some(value) => faults.extend(schemas.faults(&header.schema, &value.into())),
            // A refusal before the head was read knows nothing of it.
            None if header.required => faults.push(format!("the header {name} is missing")),
            None => {}
        }
    }
    let told = |name: &str| response.headers.contains_key(name) || COMMON.contains(&name);
    let untold = answered.headers.iter().filter(|(name, _)| !told(name));
    faults.extend(untold.map(|(name, _)| format!("the header {name} is not in the document")));
    // What upgrades, and what has no end.
    if answered.method == "HEAD" || answered.status == 101 {
        return faults;
    }
    let kind = answered.header("content-type");
    let Some(content) = response.content.iter().find(|known| Some(*known) == kind.as_ref()) else {
        if kind.is_some() || !answered.body.is_empty() {
            faults.push(format!("a body of the kind {kind:?} is not in the document"));
        } else if !response.content.is_empty() {
            faults.push("the body is missing".to_owned());
        }
        return faults;
    };
    let schema = format!("{FILE}#{}/content/{}/schema", response.place, content.replace('/', "~1"));
    let text = String::from_utf8_lossy(answered.body);
    if content.ends_with("json") {
        match serde_json::from_slice(answered.body) {
            Ok(value) => faults.extend(schemas.faults(&schema, &value)),
            Err(error) => faults.push(format!("the body is no JSON: {error}")),
        }
    } else if answered.header("content-encoding").is_none() && schemas.has(&schema) {
        faults.extend(schemas.faults(&schema, &text.into()));
    }
    faults
}

/// Whether a problem document is one of those, and one with itself.
fn problem(codes: &[u64], answered: &Answered<'_>) -> Vec<String> {
    if answered.header("content-type").as_deref() != Some("application/problem+json") || answered.method == "HEAD" {
        return vec![];
    }
    let body: Value = serde_json::from_slice(answered.body).unwrap_or_default();
    let Some(code) = body["code"].as_u64().and_then(|code| ErrorCode::from_number(u16::try_from(code).ok()?)) else {
        return vec!["the problem has no code".to_owned()];
    };
    let mut faults = Vec::new();
    let mut must = |good: bool, fault: String| {
        if !good {
            faults.push(fault);
        }
    };
    let number = u64::from(code.number());
    must(codes.contains(&number) || code == ErrorCode::Internal, format!("{code} is not in x-problems"));
    must(body["title"] == code.name(), format!("the title is not {}", code.name()));
    must(answered.status == code.http_status(), format!("the status of {code} is {}", code.http_status()));
    let seconds = body["retry_after"].as_u64().map(|wait| wait.div_ceil(1000).to_string());
    must(answered.header("retry-after") == seconds, "Retry-After is not retry_after".to_owned());
    faults
}

fn preflight(methods: &[&str], answered: &Answered<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    if answered.header("access-control-allow-methods") != Some(methods.join(", ")) {
        faults.push(format!("Access-Control-Allow-Methods is not {}", methods.join(", ")));
    }
    let missing = PREFLIGHT.iter().filter(|name| answered.header(name).is_none());
    faults.extend(missing.map(|name| format!("the header {name} is missing")));
    faults
}
