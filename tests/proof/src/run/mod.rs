//! What the programs share: the server as a process, tokens, and the clients that are recorded.

pub mod adapter;
pub mod backend;
pub mod cast;
pub mod churn;
pub mod course;
pub mod feeds;
pub mod gauges;
pub mod http;
pub mod notes;
pub mod play;
pub mod scene;
pub mod server;
pub mod site;
pub mod stage;
pub mod watcher;
pub mod wire;
pub mod world;
