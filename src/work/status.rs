//! A look at a series of sets becomes a judgement of it: how the job stands at one destination.
//!
//! A series is judged by what lies at its destination. What the state directory knows of failed runs is told besides,
//! and changes no judgement: another host has another one.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Sample;
use crate::hitkeep;
use crate::measure::Span;
use crate::name::{Key, Name, RunId, SnapshotId};
use crate::plan::{LATE, Objective};
use crate::record::{Catalogue, DrillRecord, RunRecord, SampleRecord, Set, State, Status, Verification};

/// What is seen of a series at its destination.
#[derive(Clone, Debug, Default)]
pub struct SeriesFacts {
    /// Its newest sets.
    pub catalogue: Catalogue,
    /// The records of its newest drills, the newest last.
    pub drills: Vec<DrillRecord>,
    /// The records of the newest readings of parts of the sets, the newest last.
    pub samples: Vec<SampleRecord>,
    /// Who writes there now, in that run's own words.
    pub holder: Option<String>,
}

/// How a job stands at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The newest complete set.
    pub newest: Option<Newest>,
    /// How many sets were looked at.
    pub sets: usize,
    /// How many more there are.
    pub not_looked_at: usize,
    /// The newest complete set whose files were compared after they were stored, or that was drilled.
    pub newest_verified: Option<SnapshotId>,
    /// How much of the newest complete set was read by readings of parts of the sets, where there were any.
    pub sampled: Option<Sampled>,
    /// The newest restore drill that passed.
    pub newest_drilled: Option<Drilled>,
    /// The newest drill of all, where it did not pass.
    pub failed_drill: Option<FailedDrill>,
    /// The newest run that did not complete, where no complete set is younger.
    pub last_trouble: Option<Trouble>,
    /// Who writes there now.
    pub holder: Option<String>,
    /// Whether the newest complete set is young enough.
    pub rpo: Judgement,
    /// Whether the last drill that passed is young enough.
    pub drill: Judgement,
}

/// The newest complete set, and how it stands to those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Newest {
    /// Its name.
    pub set: SnapshotId,
    /// How old it is, in seconds.
    pub age_seconds: u64,
    /// How long its time is still to come, in seconds, where it is: the clock is wrong, or was when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead_seconds: Option<u64>,
    /// Its size.
    pub bytes: Trend,
    /// Its rows.
    pub rows: Trend,
}

/// A number, and what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Trend {
    /// What it is now.
    pub now: u64,
    /// What it was in the complete set before.
    pub before: Option<u64>,
    /// What it was in the oldest complete set that was looked at, where that is yet another one.
    pub first: Option<u64>,
}

/// How much of the newest complete set readings of parts have read: of as many as there are parts, everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sampled {
    /// When the last reading ended, of whatever sets.
    pub at: Timestamp,
    /// How many of the set's files have been read since it is there.
    pub files: u64,
    /// How many it has.
    pub of_files: u64,
    /// How many bytes those have.
    pub bytes: u64,
    /// How many all have.
    pub of_bytes: u64,
    /// The newest reading that did not pass, where the same part was not read again and passed.
    pub failed: Option<FailedSample>,
}

/// A reading that did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedSample {
    /// When it ended.
    pub at: Timestamp,
    /// The first thing that was wrong.
    pub cause: String,
}

/// A restore drill that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drilled {
    /// The set.
    pub set: SnapshotId,
    /// When the drill ended.
    pub at: Timestamp,
    /// The measured recovery time, in milliseconds.
    pub recovery_milliseconds: Option<u64>,
}

/// A restore drill that did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedDrill {
    /// The set.
    pub set: SnapshotId,
    /// When the drill ended.
    pub at: Timestamp,
    /// The first thing that failed.
    pub cause: String,
}

/// A run that did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The run.
    pub run: RunId,
    /// When it began.
    pub at: Timestamp,
    /// Whether it made a partial set or none.
    pub status: Status,
    /// The first thing that failed, or deserved attention.
    pub cause: String,
}

/// Whether one objective is met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub enum Judgement {
    /// The plan has no such objective.
    NotJudged,
    /// It is met.
    Met,
    /// It is broken, and why.
    Broken(String),
}

impl Standing {
    /// Tells whether an objective is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        [&self.rpo, &self.drill].into_iter().any(|verdict| matches!(verdict, Judgement::Broken(_)))
    }
}

/// Judges a series; `runs` are the records that the state directory has of it.
#[must_use]
pub fn status(objective: Objective, facts: &SeriesFacts, runs: &[RunRecord], now: Timestamp) -> Standing {
    let complete: Vec<(SnapshotId, &RunRecord)> = facts.catalogue.sets.iter().filter_map(complete).collect();
    let passed = facts.drills.iter().filter(|drill| drill.passed).max_by_key(|drill| drill.finished_at);
    let newest = complete.last().map(|(set, _)| *set);
    Standing {
        newest: newest.map(|set| newest_set(set, &complete, now)),
        sets: facts.catalogue.sets.len(),
        not_looked_at: facts.catalogue.unseen,
        newest_verified: complete.iter().rev().find(|set| is_verified(set, &facts.drills)).map(|(set, _)| *set),
        sampled: sampled(&facts.catalogue, &facts.samples),
        newest_drilled: passed.map(drilled),
        failed_drill: failed_drill(&facts.drills),
        last_trouble: last_trouble(&facts.catalogue, runs, newest),
        holder: facts.holder.clone(),
        rpo: judge(objective.rpo, complete.iter().map(|(set, _)| set.moment()), now, "there is no complete set"),
        drill: judge(objective.drill_every, passed.map(|drill| drill.finished_at), now, "no drill has passed"),
    }
}

/// Returns a set and its record if it is a complete one of this program's.
fn complete(set: &Set) -> Option<(SnapshotId, &RunRecord)> {
    let (record, _) = set.record.as_ref().filter(|_| set.state == State::Complete)?;
    Some((set.id, record))
}

fn newest_set(set: SnapshotId, complete: &[(SnapshotId, &RunRecord)], now: Timestamp) -> Newest {
    let trend = |measure: fn(&RunRecord) -> u64| {
        let mut from_newest = complete.iter().rev().map(|(_, record)| measure(record));
        let (now, before) = (from_newest.next().unwrap_or_default(), from_newest.next());
        Trend { now, before, first: from_newest.next_back() }
    };
    let age = now.duration_since(set.moment()).max(SignedDuration::ZERO);
    Newest {
        set,
        age_seconds: age.as_secs().unsigned_abs(),
        ahead_seconds: is_ahead(set.moment(), now).then(|| set.moment().duration_since(now).as_secs().unsigned_abs()),
        bytes: trend(RunRecord::bytes),
        rows: trend(RunRecord::rows),
    }
}

fn is_verified((set, record): &(SnapshotId, &RunRecord), drills: &[DrillRecord]) -> bool {
    record.verification == Verification::Checksum || drills.iter().any(|drill| drill.passed && drill.snapshot == *set)
}

/// Adds up what of the newest complete set has been read.
fn sampled(catalogue: &Catalogue, samples: &[SampleRecord]) -> Option<Sampled> {
    let last = samples.last()?;
    let newest = catalogue.sets.iter().rev().find_map(|set| complete(set).map(|(_, record)| (set, record)));
    let since = |(_, record): &(&Set, &RunRecord), sample: &SampleRecord| sample.started_at >= record.finished_at;
    let parts: Vec<&SampleRecord> = samples
        .iter()
        .filter(|sample| sample.parts > 0 && newest.is_some_and(|newest| since(&newest, sample)))
        .collect();
    let is_read =
        |key: &Key| parts.iter().any(|sample| Sample { round: sample.round, parts: sample.parts }.takes(key.as_str()));
    let (mut read, mut all) = ((0, 0), (0, 0));
    let held = newest.iter().flat_map(|(set, _)| set.databases.iter().map(|held| (set.id, held)));
    for (id, held) in held {
        let folder = hitkeep::snapshot_folder(held.database, id);
        for (name, bytes) in &held.files {
            all = (all.0 + 1, all.1 + bytes);
            if is_read(&folder.key(&Key::of(name.clone()))) {
                read = (read.0 + 1, read.1 + bytes);
            }
        }
    }
    let failed = failed_sample(samples);
    Some(Sampled { at: last.finished_at, files: read.0, of_files: all.0, bytes: read.1, of_bytes: all.1, failed })
}

/// Finds the newest reading that did not pass, unless a later one of the same part did.
fn failed_sample(samples: &[SampleRecord]) -> Option<FailedSample> {
    let mut parts = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.parts > 0) {
        parts.insert((sample.parts, sample.round % sample.parts), sample);
    }
    let failed = parts.into_values().filter(|sample| !sample.passed).max_by_key(|sample| sample.finished_at)?;
    let cause = failed.failures.first().map_or_else(String::new, |failed| failed.cause.clone());
    Some(FailedSample { at: failed.finished_at, cause })
}

fn drilled(drill: &DrillRecord) -> Drilled {
    Drilled { set: drill.snapshot, at: drill.finished_at, recovery_milliseconds: drill.recovery_milliseconds }
}

fn failed_drill(drills: &[DrillRecord]) -> Option<FailedDrill> {
    let drill = drills.iter().max_by_key(|drill| drill.finished_at).filter(|drill| !drill.passed)?;
    let cause = drill.failures.first().map_or_else(String::new, |failed| failed.cause.clone());
    Some(FailedDrill { set: drill.snapshot, at: drill.finished_at, cause })
}

/// Finds the newest run that failed or made a partial set, unless a complete set is younger.
fn last_trouble(catalogue: &Catalogue, runs: &[RunRecord], newest: Option<SnapshotId>) -> Option<Trouble> {
    let sealed = catalogue.sets.iter().filter_map(|set| Some(&set.record.as_ref()?.0));
    let troubled = sealed.chain(runs).filter(|record| record.status.is_short());
    let last = troubled.max_by_key(|record| record.started_at)?;
    let is_over = newest.is_some_and(|newest| newest > last.snapshot);
    let cause = last.failures.first().map(|failed| &failed.cause).or(last.warnings.first());
    let cause = cause.cloned().unwrap_or_default();
    (!is_over).then_some(Trouble { run: last.run, at: last.started_at, status: last.status, cause })
}

/// Tells whether a time is so far ahead that no clock is merely a little fast: nobody knows how long ago that was.
#[must_use]
pub fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    time.duration_since(now) > LATE
}

/// Judges the age of what happened last, by when it happened. What is said to happen in the future tells nothing.
fn judge(limit: Option<Span>, times: impl IntoIterator<Item = Timestamp>, now: Timestamp, never: &str) -> Judgement {
    let Some(limit) = limit else { return Judgement::NotJudged };
    let (ahead, past): (Vec<Timestamp>, Vec<Timestamp>) = times.into_iter().partition(|time| is_ahead(*time, now));
    let limit_reached = SignedDuration::try_from(limit.0).unwrap_or(SignedDuration::MAX);
    match (past.into_iter().max(), ahead.into_iter().max()) {
        (Some(last), _) if now.duration_since(last) <= limit_reached => Judgement::Met,
        (_, Some(ahead)) => {
            Judgement::Broken(format!("the last is of {ahead:.0}, which is to come yet: the clock is wrong, or was"))
        }
        (Some(_), None) => Judgement::Broken(format!("the last is more than {limit} old")),
        (None, None) => Judgement::Broken(never.to_owned()),
    }
}

impl Trend {
    /// Returns by how many thousandths it has changed since `before`; nothing where there was nothing.
    #[must_use]
    pub fn change(self, before: Option<u64>) -> Option<Change> {
        let before = before.filter(|before| *before > 0)?;
        let thousandths = (i128::from(self.now) - i128::from(before)) * 1000 / i128::from(before);
        Some(Change(i64::try_from(thousandths).unwrap_or(i64::MAX)))
    }
}

/// A change in thousandths, written in percent: `+1.2 %`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change(i64);

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.0 {
            0 => "±",
            1.. => "+",
            ..0 => "−",
        };
        let thousandths = self.0.unsigned_abs();
        write!(f, "{sign}{}.{} %", thousandths / 10, thousandths % 10)
    }
}

/// One job at one destination, looked at and judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeriesStatus {
    /// The job.
    pub job: Name,
    /// The destination.
    pub destination: Name,
    /// Where the sets lie, for people.
    pub at: String,
    /// When the job's schedule comes next.
    pub next_run: Option<Timestamp>,
    /// How it stands; or why that cannot be told.
    #[serde(flatten)]
    pub standing: Looked,
}

/// What came of looking at a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looked {
    /// It was judged.
    Standing(Box<Standing>),
    /// The destination did not answer.
    Unreachable(String),
}
