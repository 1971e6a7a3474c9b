//! Feeds: to come.
