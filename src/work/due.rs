//! When a job is to run.

use jiff::{SignedDuration, Timestamp};

use crate::name::Name;
use crate::plan::{LATE, Start, Timetable};

/// How long it takes until a job is tried again that was due and did not run: another host was at it, or had done it.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// Returns the start that has come since a job last ran, if one has: of several that were missed, the latest. A job that never
/// ran is late by any time that has gone by.
///
/// A run counts for a slot from the slot's own time on: hosts that put it off differently still agree that it is done.
#[must_use]
pub fn due(timetable: &Timetable, last: Option<Timestamp>, now: Timestamp) -> Option<Start> {
    let is_in_time = |start: &Start| timetable.catches_up() || now.duration_since(start.at) <= LATE;
    timetable.latest(now).filter(is_in_time).filter(|start| last.is_none_or(|last| last < start.slot.at))
}

/// A job that is waited for: what is known of it without asking its destinations.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its name.
    pub job: Name,
    /// When it runs.
    pub timetable: Timetable,
    /// When its last run began, as far as is known.
    pub last: Option<Timestamp>,
    /// What it was last tried for, and when.
    pub tried: Option<(Start, Timestamp)>,
}

impl Waiting {
    /// Returns what it is due for, unless it has just been tried for that.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Start> {
        let is_recent = |(start, at): (Start, Timestamp), due: &Start| {
            start.slot == due.slot && now >= at && now.duration_since(at) < AGAIN
        };
        due(&self.timetable, self.last, now).filter(|due| self.tried.is_none_or(|tried| !is_recent(tried, due)))
    }

    /// Notes that it is tried now.
    pub fn try_for(&mut self, start: Start, now: Timestamp) {
        self.tried = Some((start, now));
    }
}

/// Returns the first of the jobs that is due, in the order of the plan, and what for.
#[must_use]
pub fn first_due(jobs: &[Waiting], now: Timestamp) -> Option<(usize, Start)> {
    jobs.iter().enumerate().find_map(|(index, job)| Some((index, job.due(now)?)))
}

/// Returns the job that comes next, and when.
#[must_use]
pub fn coming(jobs: &[Waiting], now: Timestamp) -> Option<(&Name, Start)> {
    let coming = jobs.iter().filter_map(|waiting| Some((&waiting.job, waiting.timetable.next(now)?)));
    coming.min_by_key(|(_, start)| start.at)
}
