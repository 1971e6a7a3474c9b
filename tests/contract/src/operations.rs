//! What `openapi.json` says, operation by operation, with its references followed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Documents;

/// The document with the operations.
pub const FILE: &str = "openapi.json";
/// What a path item has beside its methods.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// A response of an operation.
pub struct Response {
    /// Where its media types stand, as a JSON pointer.
    pub place: String,
    /// Its headers, by name in lower case.
    pub headers: BTreeMap<String, Header>,
    /// Its media types.
    pub content: Vec<String>,
}

/// A header of a response.
pub struct Header {
    /// It is always there.
    pub required: bool,
    /// The name of its schema.
    pub schema: String,
}

/// One method of one path.
pub struct Operation {
    /// As in `GET`.
    pub method: String,
    /// As in `/v1/rooms/{room}`.
    pub path: String,
    /// The codes that its problem documents may have.
    pub problems: Vec<u64>,
    /// By status.
    pub responses: BTreeMap<u16, Response>,
    /// Whether it can be asked without a token.
    pub is_open: bool,
    /// The verb that it needs.
    pub verb: Option<String>,
    /// The right in the claim `admin`.
    pub admin: Option<String>,
    /// One of the pages, which no table of routes names.
    pub is_page: bool,
}

impl Operation {
    /// As in `GET /v1/rooms/{room}`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// All of them.
pub struct Operations {
    /// In the order of the document.
    pub all: Vec<Operation>,
    /// What may come wherever a request goes.
    pub anywhere: Vec<u64>,
    /// The answer to a method that is not there, and to a path.
    pub method_not_allowed: Response,
    /// The answer to a path that is not there.
    pub not_found: Response,
    /// Of refusals of what is not there, by status.
    pub refusals: BTreeMap<u16, Response>,
}

/// What a path of a request leads to.
pub enum Route<'a> {
    /// An operation.
    To(&'a Operation),
    /// A path that has only these methods.
    Other(Vec<&'a str>),
    /// No path of the document.
    Nowhere,
}

impl Operations {
    /// Reads the document.
    pub fn of(documents: &Documents) -> Self {
        let document = documents.get(FILE);
        let mut all = Vec::new();
        for (path, item) in fields(&document["paths"]) {
            for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
                all.push(operation(documents, path, method, &item[*method]));
            }
        }
        let component = |status: &str| response(documents, &format!("/components/responses/{status}"));
        let statuses = fields(&document["components"]["responses"]).filter_map(|(name, _)| name.parse().ok());
        Self {
            all,
            anywhere: numbers(&document["x-problems"]),
            method_not_allowed: component("405"),
            not_found: component("404"),
            refusals: statuses.map(|status: u16| (status, component(&status.to_string()))).collect(),
        }
    }

    /// Finds what a request is for. A path without variables is nearer than one with them.
    pub fn route(&self, method: &str, path: &str) -> Route<'_> {
        let fits: Vec<_> = self.all.iter().filter(|operation| is_match(&operation.path, path)).collect();
        let Some(nearest) = fits.iter().min_by_key(|operation| operation.path.matches('{').count()) else {
            return Route::Nowhere;
        };
        let fits: Vec<_> = fits.iter().copied().filter(|operation| operation.path == nearest.path).collect();
        match fits.iter().find(|operation| operation.method == method) {
            Some(operation) => Route::To(operation),
            None => Route::Other(fits.iter().map(|operation| operation.method.as_str()).collect()),
        }
    }

    /// The methods of each path.
    pub fn methods(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for operation in &self.all {
            methods.entry(&operation.path).or_default().push(&operation.method);
        }
        methods
    }
}

fn operation(documents: &Documents, path: &str, method: &str, value: &Value) -> Operation {
    let place = format!("/paths/{}/{method}", path.replace('~', "~0").replace('/', "~1"));
    let responses = fields(&value["responses"]).map(|(status, _)| {
        let number = status.parse().unwrap_or_else(|_| panic!("{place}: {status} is no status"));
        (number, response(documents, &format!("{place}/responses/{status}")))
    });
    let security = value.get("security").unwrap_or(&documents.get(FILE)["security"]);
    let ways = security.as_array().unwrap_or_else(|| panic!("{place}: security is a list"));
    let right = |name: &str| value["x-right"][name].as_str().map(str::to_owned);
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        problems: numbers(&value["x-problems"]),
        responses: responses.collect(),
        is_open: ways.is_empty() || ways.iter().any(|way| way.as_object().is_some_and(Map::is_empty)),
        verb: right("verb"),
        admin: right("admin"),
        is_page: value["tags"][0] == "pages",
    }
}

fn response(documents: &Documents, place: &str) -> Response {
    let document = documents.get(FILE);
    let value = document.pointer(place).unwrap_or_else(|| panic!("{FILE} has no {place}"));
    let place = value["$ref"].as_str().map_or(place, |reference| reference.trim_start_matches('#'));
    let value = documents.resolve(FILE, value);
    let headers = fields(&value["headers"]).map(|(name, header)| {
        let at = header["$ref"].as_str().map(|reference| reference.trim_start_matches('#').to_owned());
        let at = at.unwrap_or_else(|| format!("{place}/headers/{name}"));
        let required = documents.resolve(FILE, header)["required"] == true;
        (name.to_lowercase(), Header { required, schema: format!("{FILE}#{at}/schema") })
    });
    let content = fields(&value["content"]).map(|(kind, _)| kind.clone()).collect();
    Response { place: place.to_owned(), headers: headers.collect(), content }
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

fn is_match(template: &str, path: &str) -> bool {
    let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    wanted.len() == given.len()
        && wanted.iter().zip(&given).all(|(want, have)| want == have || want.starts_with('{') && !have.is_empty())
}
