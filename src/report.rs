//! Tells: events to a terminal, to a log, to another program.

pub mod coverage;
mod json;
mod lines;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod page;
mod progress;
pub mod service;
pub mod status;
pub mod table;
mod tail;
pub mod units;

pub use json::Json;
pub use lines::Lines;
pub use progress::Progress;
pub use tail::Tail;
