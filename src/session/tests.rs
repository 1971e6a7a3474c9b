//! Tests of the session: no clock, no socket, no runtime.
