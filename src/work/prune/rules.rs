//! Which sets are kept and why: rules, and what sets are worth, become a verdict on each.
//!
//! Rules count sets and the periods that have one, from the newest back; no clock comes in. So a gap in the series, a
//! clock that jumps or a job that has not run for a year never makes a set older than it was: only newer sets do.
//! A verdict depends on the set and on those that are newer, and on none that is older.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::measure::{Bytes, Span};
use crate::name::SnapshotId;
use crate::plan::{Keep, Rule, Verify};
use crate::record::{Set, State, Verification};

/// How much older than the newest set that counts one must be that counts for nothing, before it may go.
const PATIENCE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How old what an interrupted run left behind must be before it may go: no run takes a day.
const ABANDONED: SignedDuration = SignedDuration::from_hours(24);

/// What a set is worth to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Complete and, where the job verifies, verified: it counts.
    Counts,
    /// Complete, and not verified although the job verifies: it can be restored and counts for nothing.
    Unverified,
    /// It lacks a database.
    Partial,
    /// It is not what was sealed.
    Damaged,
    /// Of another series, and copied here.
    Stranger,
    /// HitKeep's own.
    Foreign,
    /// What an interrupted run, or an interrupted deletion, has left behind.
    Leftover,
    /// Neither sealed nor whole, and nothing says that it is ours.
    Unknown,
}

impl Worth {
    /// Judges a set; `is_announced` says whether a note of this program's lies beside it, `is_drilled` whether a restore
    /// drill of it has passed.
    #[must_use]
    pub fn of(set: &Set, verify: Verify, is_announced: bool, is_drilled: bool) -> Self {
        let verification = set.record.as_ref().map_or(Verification::None, |(record, _)| record.verification);
        let is_verified = match verify {
            Verify::None => true,
            Verify::Checksum => is_drilled || verification == Verification::Checksum,
            Verify::Restore => is_drilled,
        };
        match set.state {
            State::Complete if is_verified => Self::Counts,
            State::Complete => Self::Unverified,
            State::Partial => Self::Partial,
            State::Damaged(_) => Self::Damaged,
            State::Stranger(_) => Self::Stranger,
            State::Foreign => Self::Foreign,
            State::Orphan if is_announced => Self::Leftover,
            State::Orphan => Self::Unknown,
        }
    }
}

/// A set that rules are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: SnapshotId,
    /// What it is worth.
    pub worth: Worth,
    /// Whether a person has pinned it.
    pub is_pinned: bool,
    /// Its size, in bytes.
    pub bytes: Bytes,
    guards: Option<SnapshotId>,
    periods: Periods,
}

impl Candidate {
    /// Returns the set as rules see it that go by the calendar of `zone`.
    #[must_use]
    pub fn new(id: SnapshotId, worth: Worth, is_pinned: bool, bytes: Bytes, zone: &TimeZone) -> Self {
        Self { id, worth, is_pinned, bytes, guards: None, periods: Periods::of(id, zone) }
    }

    /// Returns the set as one that keeps the older set `guards` as long as it stays itself.
    #[must_use]
    pub fn guarding(self, guards: Option<SnapshotId>) -> Self {
        Self { guards, ..self }
    }
}

/// The periods of the calendar that a moment lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Periods {
    date: jiff::civil::Date,
    hour: i8,
    /// The seconds that the hour is ahead of UTC: one that a clock shows twice is two hours.
    offset: i32,
}

/// One hour, day, week, month or year, as numbers that sort by time.
type Period = (i16, i8, i8, i8, i32);

impl Periods {
    fn of(id: SnapshotId, zone: &TimeZone) -> Self {
        let local = id.moment().to_zoned_datetime(zone.clone());
        Self { date: local.date(), hour: local.hour(), offset: -local.offset().seconds() }
    }

    /// Returns the period of a rule; nothing for one that counts sets alone.
    fn of_rule(self, rule: Rule) -> Option<Period> {
        let Self { date, hour, offset } = self;
        Some(match rule {
            Rule::Last => return None,
            Rule::Hourly => (date.year(), date.month(), date.day(), hour, offset),
            Rule::Daily => (date.year(), date.month(), date.day(), 0, 0),
            Rule::Weekly => {
                let week = date.iso_week_date();
                (week.year(), week.week(), 0, 0, 0)
            }
            Rule::Monthly => (date.year(), date.month(), 0, 0, 0),
            Rule::Yearly => (date.year(), 0, 0, 0, 0),
        })
    }
}

/// Why a set stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the newest that counts.
    Newest,
    /// It is one of the newest that are kept whatever the rules say.
    Min {
        /// Its place among them, from the newest, from 1.
        place: u32,
        /// How many there are to be.
        of: u32,
    },
    /// A rule that counts keeps it.
    Rule {
        /// The rule.
        rule: Rule,
        /// The place, from the newest, from 1, of the set or of its period.
        place: u32,
        /// The rule's number.
        of: u32,
    },
    /// It is not much older than the newest.
    Within(Span),
    /// A person has pinned it.
    Pinned,
    /// A newer set that stays has lost much of it.
    Guarded {
        /// The newest such set.
        by: SnapshotId,
    },
    /// It counts for nothing, and there are too few newer ones that do, or it is not much older than those.
    Waiting(Worth),
    /// It is damaged: what is to become of it is a person's to say.
    Damaged,
    /// It is of another series, and not this job's to delete.
    Stranger,
    /// It is HitKeep's own.
    Foreign,
    /// It is unfinished, and too young to be nobody's.
    Unfinished,
    /// Nothing says that it is ours.
    Unknown,
}

impl Reason {
    /// Returns the one word for it that a column of a table has room for.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Min { .. } => "min",
            Self::Rule { rule, .. } => rule.as_str(),
            Self::Within(_) => "within",
            Self::Pinned => "pinned",
            Self::Guarded { .. } => "guarded",
            Self::Waiting(_) => "waiting",
            Self::Damaged => "damaged",
            Self::Stranger => "stranger",
            Self::Foreign => "foreign",
            Self::Unfinished => "unfinished",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("the newest"),
            Self::Min { place, of } => write!(f, "min {place} of {of}"),
            Self::Rule { rule, place, of } => write!(f, "{rule} {place} of {of}"),
            Self::Within(span) => write!(f, "within {span}"),
            Self::Pinned => f.write_str("pinned"),
            Self::Guarded { by } => write!(f, "guarded by {by}, which has lost much of it"),
            Self::Waiting(Worth::Unverified) => {
                f.write_str("not verified, and not yet a week older than enough that are")
            }
            Self::Waiting(_) => f.write_str("partial, and not yet a week older than enough complete ones"),
            Self::Damaged => f.write_str("damaged: `verify` says how, and a person what is to become of it"),
            Self::Stranger => f.write_str("of another series: `verify` says which"),
            Self::Foreign => f.write_str("HitKeep's own"),
            Self::Unfinished => f.write_str("unfinished, and not a day old"),
            Self::Unknown => f.write_str("nothing says whose it is"),
        }
    }
}

/// Why a set goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// No rule keeps it.
    NoRule,
    /// It counts for nothing, and there are enough that do, all of them much newer.
    Outlived(Worth),
    /// A run, or a deletion, that was interrupted more than a day ago left it.
    Leftover,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRule => "no rule keeps it",
            Self::Outlived(Worth::Unverified) => "not verified, and a week older than enough that are",
            Self::Outlived(_) => "partial, and a week older than enough complete ones",
            Self::Leftover => "left behind when something was interrupted",
        })
    }
}

/// What becomes of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for at least one reason.
    Keep(Vec<Reason>),
    /// It goes.
    Delete(Ground),
}

impl Verdict {
    /// Tells whether the set stays.
    #[must_use]
    pub fn keeps(&self) -> bool {
        matches!(self, Self::Keep(_))
    }

    /// Returns the verdict in the few words that a column of a table has room for.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Keep(reasons) => reasons.iter().map(Reason::word).collect::<Vec<_>>().join(", "),
            Self::Delete(_) => "nothing".to_owned(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(ground) => ground.fmt(f),
            Self::Keep(reasons) => {
                let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
                f.write_str(&reasons.join(", "))
            }
        }
    }
}

/// Returns the verdict on each of `sets`, which are in order, the oldest first; so are the verdicts.
#[must_use]
pub fn judge(keep: &Keep, sets: &[Candidate], now: Timestamp) -> Vec<Verdict> {
    let newest = sets.iter().rev().find(|set| set.worth == Worth::Counts).map(|set| set.id);
    let tallies = vec![Tally::default(); keep.rules.len()];
    let mut bench = Bench { keep, newest, now, counted: 0, tallies, guards: BTreeMap::new() };
    let mut verdicts: Vec<Verdict> = sets.iter().rev().map(|set| bench.judge_and_guard(set)).collect();
    verdicts.reverse();
    verdicts
}

/// What has been seen of a series so far, from the newest back.
struct Bench<'k> {
    keep: &'k Keep,
    newest: Option<SnapshotId>,
    now: Timestamp,
    /// How many sets count.
    counted: u32,
    /// For each rule, what it has counted.
    tallies: Vec<Tally>,
    /// Each set that one that stays guards, and the newest of those that do.
    guards: BTreeMap<SnapshotId, SnapshotId>,
}

/// What one rule has counted so far.
#[derive(Clone, Debug, Default)]
struct Tally {
    count: u32,
    seen: BTreeSet<Period>,
}

impl Bench<'_> {
    fn judge_and_guard(&mut self, set: &Candidate) -> Verdict {
        let verdict = self.judge(set);
        if let Some(guarded) = set.guards.filter(|_| verdict.keeps()) {
            self.guards.entry(guarded).or_insert(set.id);
        }
        verdict
    }

    fn judge(&mut self, set: &Candidate) -> Verdict {
        let mut reasons = if set.is_pinned { vec![Reason::Pinned] } else { Vec::new() };
        reasons.extend(self.guards.get(&set.id).map(|by| Reason::Guarded { by: *by }));
        let ground = match set.worth {
            Worth::Counts => {
                self.count(set, &mut reasons);
                Ground::NoRule
            }
            Worth::Unverified | Worth::Partial => {
                let is_old = self.newest.is_some_and(|newest| age(set.id, newest.moment()) >= PATIENCE);
                if !is_old || self.counted < self.keep.min {
                    reasons.push(Reason::Waiting(set.worth));
                }
                Ground::Outlived(set.worth)
            }
            Worth::Leftover => {
                if age(set.id, self.now) < ABANDONED {
                    reasons.push(Reason::Unfinished);
                }
                Ground::Leftover
            }
            Worth::Damaged => return Verdict::Keep(vec![Reason::Damaged]),
            Worth::Stranger => return Verdict::Keep(vec![Reason::Stranger]),
            Worth::Foreign => return Verdict::Keep(vec![Reason::Foreign]),
            Worth::Unknown => return Verdict::Keep(vec![Reason::Unknown]),
        };
        if reasons.is_empty() { Verdict::Delete(ground) } else { Verdict::Keep(reasons) }
    }

    /// Asks every rule about a set that counts, the next after those that were counted.
    fn count(&mut self, set: &Candidate, reasons: &mut Vec<Reason>) {
        self.counted += 1;
        if self.newest == Some(set.id) {
            reasons.push(Reason::Newest);
        }
        for ((rule, of), tally) in self.keep.rules.iter().zip(&mut self.tallies) {
            let period = set.periods.of_rule(*rule);
            if tally.count < *of && period.is_none_or(|period| tally.seen.insert(period)) {
                tally.count += 1;
                reasons.push(Reason::Rule { rule: *rule, place: tally.count, of: *of });
            }
        }
        let within = self.keep.within.zip(self.newest).filter(|(span, newest)| is_within(set.id, *newest, *span));
        reasons.extend(within.map(|(span, _)| Reason::Within(span)));
        if self.counted <= self.keep.min {
            reasons.push(Reason::Min { place: self.counted, of: self.keep.min });
        }
    }
}

fn age(id: SnapshotId, at: Timestamp) -> SignedDuration {
    at.duration_since(id.moment())
}

fn is_within(id: SnapshotId, newest: SnapshotId, span: Span) -> bool {
    // One that is longer than time itself holds everything.
    SignedDuration::try_from(span.0).map_or(true, |span| age(id, newest.moment()) <= span)
}
