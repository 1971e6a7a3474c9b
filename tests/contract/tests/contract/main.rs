//! The contracts in `protocol/` are true: to the protocol crate, to the specification, to the golden frames and to the list
//! of routes in the server. And each of these checks finds a fault that was planted for it.

mod planted;

use rallypoint_contract::{Documents, examples, frames, tables};

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn codes_stand_in_the_documents_word_for_word() {
    none(tables::codes(&Documents::read()));
}

#[test]
fn every_message_type_is_there_and_no_other() {
    none(tables::types(&Documents::read()));
}

#[test]
fn every_event_of_a_stream_is_there_and_no_other() {
    none(tables::streams(&Documents::read()));
}

#[test]
fn every_route_is_there_and_no_other() {
    none(tables::routes(&Documents::read()));
}

#[test]
fn the_rights_are_those_of_the_table() {
    none(tables::rights(&Documents::read()));
}

#[test]
fn the_statuses_of_an_operation_are_those_of_its_codes() {
    none(tables::statuses(&Documents::read()));
}

#[test]
fn golden_frames_have_the_shapes_of_the_schemas() {
    none(frames::faults(&Documents::read()));
}

#[test]
fn examples_have_the_shapes_of_their_schemas() {
    none(examples::faults(&Documents::read()));
}
