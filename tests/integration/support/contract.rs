//! Whatever a test hears is put to the documents in `protocol/`, whatever the test is about: an answer, message or event
//! that they do not know is a fault of one or the other.

use std::sync::LazyLock;

use rallypoint_contract::{Answered, Contract};
use serde_json::Value;

use super::Answer;

static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "the contract says otherwise:\n{}", faults.join("\n"));
}

/// Judges an answer over HTTP.
#[track_caller]
pub(super) fn judge_answer(method: &str, target: &str, answer: &Answer) {
    // A connection that was closed without an answer.
    if answer.status != 0 {
        let Answer { status, ref headers, ref body } = *answer;
        none(&CONTRACT.faults_of_answer(&Answered { method, target, status, headers, body }));
    }
}

/// Judges a message over a WebSocket.
#[track_caller]
pub(super) fn judge_message(message: &Value) {
    none(&CONTRACT.faults_of_message(message));
}

/// Judges an event of a stream.
#[track_caller]
pub(super) fn judge_event(stream: &str, name: &str, data: &Value) {
    none(&CONTRACT.faults_of_event(stream, name, data));
}

/// Judges what a webhook was sent.
#[track_caller]
pub(crate) fn judge_webhook(body: &Value) {
    none(&CONTRACT.faults_of_webhook(body));
}
