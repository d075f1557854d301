//! When a job is to run.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::plan::{Schedule, Slot};

/// Returns the time that has come since a job last ran, if one has: of several that were missed, the latest. A job that never
/// ran is late by any time that has gone by.
#[must_use]
pub fn due(schedule: &Schedule, zone: &TimeZone, last: Option<Timestamp>, now: Timestamp) -> Option<Slot> {
    schedule.latest(now, zone).filter(|slot| last.is_none_or(|last| last < slot.at))
}
