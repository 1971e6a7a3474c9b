//! A mixed room: to come.
