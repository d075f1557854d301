//! Tells: events to a terminal, to a log, to another program.

mod json;
mod lines;
pub mod page;
mod progress;
pub mod status;
pub mod table;
pub mod units;

pub use json::Json;
pub use lines::Lines;
pub use progress::Progress;
