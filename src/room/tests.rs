//! Tests of the room: no clock, no socket, no runtime.
