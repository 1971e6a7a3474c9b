//! What holds the machine-readable contracts in `protocol/` against the rest of the house, so that they cannot drift:
//!
//! - [`documents`] reads them, and lets a self-test change them;
//! - [`schemas`] is the JSON Schemas, ready to judge a value;
//! - [`answers`] judges what a server answered by `openapi.json`;
//! - [`operations`] is what `openapi.json` says, operation by operation;
//! - [`tables`] compares codes, message types, routes and rights with the protocol crate, the specification and the
//!   server's own list of routes;
//! - [`examples`] puts the examples of the documents to their schemas;
//! - [`frames`] puts the golden frames to the schemas.
//!
//! Each check returns what is wrong, so that a planted fault can be asked for as well. The integration tests of the server
//! put everything that they hear to [`Contract`].

pub mod answers;
pub mod documents;
pub mod examples;
pub mod frames;
pub mod operations;
pub mod schemas;
pub mod tables;

pub use answers::Answered;
pub use documents::Documents;
pub use schemas::Schemas;

use operations::Operations;

/// All contracts, ready to judge what a server said.
pub struct Contract {
    schemas: Schemas,
    operations: Operations,
}

impl Contract {
    /// From documents, which must be well formed.
    pub fn new(documents: &Documents) -> Self {
        Self { schemas: Schemas::closed(documents), operations: Operations::of(documents) }
    }

    /// As they stand in the repository.
    pub fn read() -> Self {
        Self::new(&Documents::read())
    }

    /// What is wrong with a message of the server over a WebSocket.
    pub fn faults_of_message(&self, message: &serde_json::Value) -> Vec<String> {
        let kind = message["type"].as_str().unwrap_or_default();
        self.schemas.faults(&format!("schema/messages.json#/$defs/{kind}"), message)
    }

    /// What is wrong with an event of one of the [`tables::STREAMS`], by the name of the event.
    pub fn faults_of_event(&self, stream: &str, name: &str, data: &serde_json::Value) -> Vec<String> {
        let own = format!("schema/stream.json#/$defs/{stream}/$defs/{name}");
        let is_of_room = stream == "feed" && !self.schemas.has(&own);
        self.schemas.faults(if is_of_room { "schema/event.json" } else { &own }, data)
    }

    /// What is wrong with what a webhook was sent.
    pub fn faults_of_webhook(&self, body: &serde_json::Value) -> Vec<String> {
        let event = body["event"].as_str().unwrap_or_default();
        self.schemas.faults(&format!("schema/webhook.json#/$defs/{event}"), body)
    }

    /// What is wrong with an answer over HTTP.
    pub fn faults_of_answer(&self, answered: &Answered<'_>) -> Vec<String> {
        answers::faults(&self.operations, &self.schemas, answered)
    }
}
