//! Tells: events to a terminal, to a log, to another program.

pub mod coverage;
mod json;
mod lines;
mod progress;
pub mod status;
pub mod table;
pub mod units;

pub use json::Json;
pub use lines::Lines;
pub use progress::Progress;
