//! What rules come to in years: a series that is not there, run after run, and which of its sets live when.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::rules::{Candidate, Verdict, Worth, judge};
use crate::measure::{Bytes, Span, counted};
use crate::name::SnapshotId;
use crate::plan::Keep;

/// How many moments of the time are shown, beside the last.
const MOMENTS: u64 = 12;

/// A series of runs that all succeed.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The rules.
    pub keep: Keep,
    /// Whose days and weeks the rules mean.
    pub zone: TimeZone,
    /// When the first run is.
    pub from: Timestamp,
    /// How long it goes on.
    pub length: Span,
    /// How much later each next run is.
    pub every: Span,
    /// The size of every set, in bytes.
    pub bytes: Bytes,
}

/// Which sets live after a run.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The moment of the run.
    pub at: SnapshotId,
    /// The sets, oldest first, each with the verdict that keeps it.
    pub sets: Vec<(SnapshotId, Verdict)>,
    /// Their size, in bytes.
    pub bytes: Bytes,
}

impl Simulation {
    /// Calls `see` with what lives after each run.
    pub fn walk(&self, mut see: impl FnMut(&Moment)) {
        let every = SignedDuration::try_from(self.every.0).unwrap_or(SignedDuration::MAX);
        let length = SignedDuration::try_from(self.length.0).unwrap_or(SignedDuration::MAX);
        let end = self.from.saturating_add(length).unwrap_or(Timestamp::MAX);
        let (mut at, mut sets) = (self.from, Vec::new());
        while at <= end {
            let id = SnapshotId::at(at);
            sets.push(Candidate::new(id, Worth::Counts, false, self.bytes, &self.zone));
            let verdicts = judge(&self.keep, &sets, at);
            let mut kept = verdicts.iter().map(Verdict::keeps);
            sets.retain(|_| kept.next().unwrap_or(true));
            let living = sets.iter().map(|set| set.id).zip(verdicts.into_iter().filter(Verdict::keeps)).collect();
            see(&Moment { at: id, sets: living, bytes: Bytes(sets.iter().map(|set| set.bytes.0).sum()) });
            match at.checked_add(every) {
                Ok(next) if next > at => at = next,
                _ => return,
            }
        }
    }

    /// Says which sets live at some moments, with their sizes, and each of those at the end.
    #[must_use]
    pub fn account(&self) -> String {
        let runs = self.length.0.as_secs() / self.every.0.as_secs().max(1);
        let step = usize::try_from(runs / MOMENTS).unwrap_or(usize::MAX).max(1);
        let (mut text, mut run, mut last) = (String::new(), 0_usize, None);
        self.walk(|moment| {
            if run > 0 && run.is_multiple_of(step) {
                text += &line(moment);
            }
            run += 1;
            last = Some(moment.clone());
        });
        let Some(last) = last else { return text };
        let _ = writeln!(text, "after {}, {} live:", counted(run, "run"), counted(last.sets.len(), "set"));
        for (id, verdict) in &last.sets {
            let _ = writeln!(text, "  {id}  {verdict}");
        }
        text
    }
}

fn line(moment: &Moment) -> String {
    let oldest = moment.sets.first().map(|(id, _)| id.to_string()).unwrap_or_default();
    format!(
        "{}  {:>9}  {:>10}  oldest {oldest}\n",
        moment.at,
        counted(moment.sets.len(), "set"),
        moment.bytes.to_string()
    )
}
