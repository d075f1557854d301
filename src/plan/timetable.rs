//! When a job begins: at the slots of its schedule, each put off by the job's own share of a jitter.
//!
//! The share is made of where the job writes. So it is the same whenever it is asked for, and on every host that writes to
//! the same place, of which one is to run; hosts whose prefixes differ come at different times.

use std::fmt;
use std::ops::Range;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::raw::At;
use super::resolve::Desk;
use super::schedule::{Schedule, ScheduleError, Slot};
use super::words::written;
use super::{Chosen, Job, Store, code};
use crate::diagnose::Diagnostic;
use crate::measure::{Sha256, Span};

/// How much later than its time a run may begin and be in time: the job before it may take a while.
pub const LATE: SignedDuration = SignedDuration::from_hours(1);

/// The keys of a job that say when it runs, value by value with who chose it.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    pub(super) schedule: Chosen<Schedule>,
    pub(super) catch_up: Chosen<bool>,
    pub(super) jitter: Option<Chosen<Span>>,
}

impl Timing {
    /// Reads the keys of a job that has a schedule; returns nothing when a part of them was refused.
    pub(super) fn resolve(
        desk: &mut Desk<'_>,
        schedule: &At<String>,
        catch_up: Option<At<bool>>,
        jitter: Option<&At<String>>,
    ) -> Option<Self> {
        let schedule = resolve_schedule(desk, schedule);
        let jitter = jitter.map(|at| desk.span(at, "jitter", "puts nothing off", "leave the key out for no jitter"));
        let jitter = jitter.map_or(Some(None), |jitter| jitter.map(Some));
        Some(Self { schedule: schedule?, catch_up: desk.word(catch_up, true), jitter: jitter? })
    }
}

fn resolve_schedule(desk: &mut Desk<'_>, at: &At<String>) -> Option<Chosen<Schedule>> {
    let read = at.value.parse().map_err(|reason: ScheduleError| {
        let problem = Diagnostic::error(code::INVALID_SCHEDULE, format!("{} is no schedule", written(&at.value)))
            .at(at.span.clone(), reason.to_string())
            .help("write five fields, such as `0 3 * * *` for each night at three, or `@daily`");
        desk.problems.push(problem);
    });
    Some(desk.chosen(read.ok()?, &at.span))
}

/// Warns of the keys that speak of a schedule, at a job that has none.
pub(super) fn no_schedule(catch_up: Option<&At<bool>>, jitter: Option<&At<String>>) -> Vec<Diagnostic> {
    let keys = [("catch_up", catch_up.map(|at| at.span.clone())), ("jitter", jitter.map(|at| at.span.clone()))];
    let warning = |(key, place): (&str, Option<Range<usize>>)| {
        let message = format!("`{key}` says nothing here: the job has no `schedule`");
        let problem = Diagnostic::warning(code::NO_SCHEDULE, message).at(place?, "said of schedules only");
        Some(problem.help(format!("write a `schedule`, or remove `{key}`")))
    };
    keys.into_iter().filter_map(warning).collect()
}

/// When a job runs by itself.
#[derive(Clone, Debug)]
pub struct Timetable {
    schedule: Schedule,
    zone: TimeZone,
    catches_up: bool,
    /// The most that a slot is put off.
    jitter: SignedDuration,
    /// How much of the jitter is this job's, in parts of 2⁶⁴.
    share: u64,
}

/// When a job begins, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    /// The instant: that of the slot, or later by the job's share of its jitter, and always before the next slot.
    pub at: Timestamp,
    /// The slot.
    pub slot: Slot,
}

impl Timetable {
    /// Returns the timetable of a job, unless it runs by hand only.
    pub(super) fn of(job: Job<'_>, timing: &Timing, zone: &TimeZone) -> Self {
        let jitter = timing.jitter.as_ref().and_then(|jitter| SignedDuration::try_from(jitter.value.0).ok());
        Self {
            schedule: timing.schedule.value.clone(),
            zone: zone.clone(),
            catches_up: timing.catch_up.value,
            jitter: jitter.unwrap_or_default(),
            share: share(job),
        }
    }

    /// Returns the time zone that its slots are meant in.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Tells whether a time that was missed is run late, however late that is.
    #[must_use]
    pub fn catches_up(&self) -> bool {
        self.catches_up
    }

    /// Returns the minutes of the hour that a run may begin at.
    #[must_use]
    pub fn minutes(&self) -> Vec<u32> {
        if self.jitter.is_zero() { self.schedule.minutes().collect() } else { (0..60).collect() }
    }

    /// Returns the first start after an instant; none in the year 2100 and later, where calendars end here.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Start> {
        // The slot before may have been put off until later.
        let put_off = (!self.jitter.is_zero()).then(|| self.schedule.latest(after, &self.zone)).flatten();
        let put_off = put_off.map(|slot| self.start(slot)).filter(|start| start.at > after);
        put_off.or_else(|| self.schedule.next(after, &self.zone).map(|slot| self.start(slot)))
    }

    /// Returns the last start that is not after an instant.
    #[must_use]
    pub fn latest(&self, until: Timestamp) -> Option<Start> {
        let slot = self.schedule.latest(until, &self.zone)?;
        let start = Some(self.start(slot)).filter(|start| start.at <= until);
        start.or_else(|| {
            let before = slot.at.checked_sub(SignedDuration::from_secs(1)).ok()?;
            Some(self.start(self.schedule.latest(before, &self.zone)?))
        })
    }

    fn start(&self, slot: Slot) -> Start {
        let next = self.schedule.next(slot.at, &self.zone).filter(|_| !self.jitter.is_zero());
        let within = next.map_or(self.jitter, |next| self.jitter.min(next.at.duration_since(slot.at)));
        Start { at: slot.at.checked_add(share_of(within, self.share)).unwrap_or(slot.at), slot }
    }
}

/// Returns so many parts of 2⁶⁴ of a span, in whole seconds: always less than all of it.
fn share_of(span: SignedDuration, share: u64) -> SignedDuration {
    let seconds = (u128::from(span.as_secs().unsigned_abs()) * u128::from(share)) >> 64;
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0))
}

/// Returns how much of its jitter is a job's: by chance, and for the same places always the same.
fn share(job: Job<'_>) -> u64 {
    let places = job.to().iter().map(|destination| match destination.store() {
        Store::Directory(path) => format!("{}\n{}\n", path.display(), job.prefix().as_str()),
        Store::Bucket(bucket) => format!("{bucket}\n{}\n", job.prefix().as_str()),
    });
    Sha256::of(places.collect::<String>().as_bytes()).leading()
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schedule.fmt(f)
    }
}
