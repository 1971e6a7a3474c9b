//! Measures rallypoint against the field. `bench` runs workloads on servers that it starts itself, one after the other
//! and over again, and compares what each did with a second of the processor. `compare` measures the transports of
//! this server beside each other.

pub mod chart;
pub mod crowd;
pub mod dialect;
pub mod engine;
pub mod field;
pub mod heard;
pub mod net;
pub mod options;
pub mod plan;
pub mod process;
pub mod stamp;
pub mod stats;
pub mod work;
