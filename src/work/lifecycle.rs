//! What a bucket deletes and moves by itself: its rules become sentences about the sets below our folders, and a plan
//! becomes the rules that the bucket should have, among those of others.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::measure::{Bytes, Sha256, counted};
use crate::name::{Name, SnapshotId};
use crate::plan::Lifecycle;

/// What the ids of this program's rules begin with; the folder that a rule is about follows.
const OWN: &str = "hitkeep-plan:";

/// The longest id that buckets take, in bytes.
const LONGEST_ID: usize = 255;

/// The classes whose objects nobody can read before they have been thawed.
const FROZEN: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// The share of the sets of which more must not go at once: one in four.
const SHARE: usize = 4;

/// What a bucket does by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BucketRules {
    /// What becomes of what is deleted or replaced.
    pub versions: Versions,
    /// Every rule, in the bucket's order.
    pub rules: Vec<BucketRule>,
}

/// What becomes of an object that is deleted or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Versions {
    /// It is gone.
    None,
    /// It stays as an older version.
    Kept,
    /// It is gone; older versions stay that were made before.
    Suspended,
    /// The server does not say.
    Unknown,
}

/// One rule of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BucketRule {
    /// Its id; empty where it has none.
    pub id: String,
    /// Whether it is switched on.
    pub is_enabled: bool,
    /// What the keys begin with that it is about; empty for all.
    pub prefix: String,
    /// What else must be true of an object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When objects are deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<When>,
    /// When objects are moved, and to which class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<(When, String)>,
    /// The days after which older versions are deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions_expire: Option<u32>,
    /// The days after which unfinished uploads are cleared up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploads_abort: Option<u32>,
    /// What else it does, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<String>,
}

/// What must be true of an object for a rule to be about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It has this tag.
    Tag(String, String),
    /// It has more bytes.
    LargerThan(u64),
    /// It has fewer bytes.
    SmallerThan(u64),
}

/// When a rule acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// This many days after an object was written.
    Days(u32),
    /// From this moment on.
    Date(String),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "{} after it was written", counted(*days as usize, "day")),
            Self::Date(date) => write!(f, "from {date} on, however new it is"),
        }
    }
}

/// The folder of a job in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Territory {
    /// The job.
    pub job: Name,
    /// Whether the job archives.
    pub is_archive: bool,
    /// What its keys begin with: empty, or a text that ends with `/`.
    pub beginning: String,
}

impl Territory {
    /// Returns the id of this program's rule about it, the same for whoever writes there.
    #[must_use]
    pub fn rule_id(&self) -> String {
        let id = format!("{OWN}{}", self.beginning);
        if id.len() <= LONGEST_ID { id } else { format!("{OWN}sha256:{}", Sha256::of(self.beginning.as_bytes())) }
    }

    /// Returns the rule that a plan wants about it. Rows of an archive are nowhere else: those never expire.
    fn rule(&self, wanted: &Lifecycle) -> BucketRule {
        let is_backup = !self.is_archive;
        let moves = wanted.transitions.iter().filter(|_| is_backup);
        BucketRule {
            id: self.rule_id(),
            is_enabled: true,
            prefix: self.beginning.clone(),
            conditions: Vec::new(),
            expires: wanted.expire_after.filter(|_| is_backup).map(When::Days),
            moves: moves.map(|(days, class)| (When::Days(*days), class.clone())).collect(),
            versions_expire: wanted.expire_versions_after.filter(|_| is_backup),
            uploads_abort: Some(wanted.abort_uploads_after),
            besides: Vec::new(),
        }
    }
}

/// Returns the rules that a plan wants, one for each folder; none where it says nothing of a lifecycle.
#[must_use]
pub fn wanted_rules(wanted: Option<&Lifecycle>, territories: &[Territory]) -> Vec<BucketRule> {
    wanted.into_iter().flat_map(|wanted| territories.iter().map(|territory| territory.rule(wanted))).collect()
}

/// How one of this program's rules differs from the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    /// It is as the plan wants it.
    Same {
        /// The rule.
        rule: BucketRule,
    },
    /// The plan wants it, and it is not there.
    Add {
        /// The rule.
        rule: BucketRule,
    },
    /// It is there, and not as the plan wants it.
    Alter {
        /// The rule as it is.
        from: BucketRule,
        /// The rule as it should be.
        to: BucketRule,
    },
    /// It is there, and the plan does not want it any more.
    Remove {
        /// The rule.
        rule: BucketRule,
    },
}

impl Change {
    /// Tells whether anything has to be done.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !matches!(self, Self::Same { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same { rule } => write!(f, "as the plan has it: `{}` {}", rule.id, rule.deeds()),
            Self::Add { rule } => write!(f, "to be added: `{}` {}", rule.id, rule.deeds()),
            Self::Alter { from, to } => {
                write!(f, "to be changed: `{}` {}; it now {}", to.id, to.deeds(), from.deeds())
            }
            Self::Remove { rule } => write!(f, "to be removed: `{}` {}", rule.id, rule.deeds()),
        }
    }
}

/// Compares a bucket's rules with those that a plan wants about `territories`. Rules of others are not looked at.
#[must_use]
pub fn difference(there: &[BucketRule], wanted: &[BucketRule], territories: &[Territory]) -> Vec<Change> {
    let change = |territory: &Territory| {
        let id = territory.rule_id();
        let is_it = |rule: &&BucketRule| rule.id == id;
        match (there.iter().find(is_it).cloned(), wanted.iter().find(is_it).cloned()) {
            (None, None) => None,
            (None, Some(rule)) => Some(Change::Add { rule }),
            (Some(rule), None) => Some(Change::Remove { rule }),
            (Some(from), Some(to)) if from != to => Some(Change::Alter { from, to }),
            (Some(rule), Some(_)) => Some(Change::Same { rule }),
        }
    };
    territories.iter().filter_map(change).collect()
}

/// Puts `wanted` in the place of the rules that have the ids `own`; every other rule stays where and as it is.
///
/// `R` is whatever the bucket takes for a rule, and `id` returns the id of one.
pub fn merge<R>(
    there: Vec<R>,
    id: impl Fn(&R) -> Option<&str>,
    own: &BTreeSet<String>,
    wanted: Vec<(String, R)>,
) -> Vec<R> {
    let mut wanted: Vec<(String, Option<R>)> = wanted.into_iter().map(|(id, rule)| (id, Some(rule))).collect();
    let mut merged = Vec::new();
    for rule in there {
        match id(&rule).filter(|id| own.contains(*id)) {
            None => merged.push(rule),
            Some(id) => {
                merged.extend(wanted.iter_mut().find(|(wanted, _)| wanted == id).and_then(|(_, rule)| rule.take()));
            }
        }
    }
    merged.extend(wanted.into_iter().filter_map(|(_, rule)| rule));
    merged
}

impl BucketRule {
    /// Says what it does, wherever.
    fn deeds(&self) -> String {
        let expires = self.expires.iter().map(|when| format!("deletes what lies there {when}"));
        let moves = self.moves.iter().map(|(when, class)| format!("moves it to {class} {when}"));
        let versions =
            self.versions_expire.iter().map(|days| format!("deletes older versions after {}", days_of(*days)));
        let uploads =
            self.uploads_abort.iter().map(|days| format!("clears up unfinished uploads after {}", days_of(*days)));
        let deeds: Vec<String> =
            expires.chain(moves).chain(versions).chain(uploads).chain(self.besides.clone()).collect();
        let off = if self.is_enabled { "" } else { "is switched off, and else " };
        match deeds.as_slice() {
            [] => "does nothing".to_owned(),
            deeds => format!("{off}{}", deeds.join(", ")),
        }
    }

    /// Returns what is left of it where unfinished uploads are not cleared up; nothing where it does no more.
    #[must_use]
    pub fn without_uploads(&self) -> Option<Self> {
        let rest = Self { uploads_abort: None, ..self.clone() };
        let acts = rest.expires.is_some() || !rest.moves.is_empty() || rest.versions_expire.is_some();
        (acts || !rest.besides.is_empty()).then_some(rest)
    }

    /// Tells whether it is about anything below a folder.
    #[must_use]
    pub fn meets(&self, territory: &Territory) -> bool {
        self.covers(territory) || self.prefix.starts_with(&territory.beginning)
    }

    /// Tells whether it is about all that lies below a folder.
    fn covers(&self, territory: &Territory) -> bool {
        territory.beginning.starts_with(&self.prefix)
    }

    /// Returns the tag that an object must have for it, where it must have one.
    fn tag(&self) -> Option<String> {
        self.conditions.iter().find_map(|condition| match condition {
            Condition::Tag(key, value) => Some(format!("`{key}` = `{value}`")),
            Condition::LargerThan(_) | Condition::SmallerThan(_) => None,
        })
    }

    /// Says which files of a folder it is about, where that is not all of them.
    fn part(&self, territory: &Territory) -> Option<String> {
        let sizes = self.conditions.iter().filter_map(|condition| match condition {
            Condition::LargerThan(bytes) => Some(format!("larger than {}", Bytes(*bytes))),
            Condition::SmallerThan(bytes) => Some(format!("smaller than {}", Bytes(*bytes))),
            Condition::Tag(..) => None,
        });
        let place = (!self.covers(territory)).then(|| format!("below `{}`", self.prefix));
        let parts: Vec<String> = place.into_iter().chain(sizes).collect();
        (!parts.is_empty()).then(|| parts.join(" and "))
    }
}

fn days_of(days: u32) -> String {
    counted(days as usize, "day")
}

/// Says in sentences what a bucket does by itself to what lies in `territories`, and then what nothing does.
#[must_use]
pub fn effects(bucket: &BucketRules, territories: &[Territory]) -> Vec<String> {
    let mut told = vec![of_versions(bucket)];
    for rule in &bucket.rules {
        told.extend(of_rule(rule, bucket.versions, territories));
    }
    let acts = |territory: &Territory, does: fn(&BucketRule) -> bool| {
        let is_about = |rule: &&BucketRule| rule.is_enabled && rule.tag().is_none() && rule.meets(territory);
        bucket.rules.iter().filter(is_about).any(does)
    };
    for territory in territories {
        if !acts(territory, |rule| rule.expires.is_some()) {
            told.push(format!("no rule deletes {}", named(territory, "any")));
        }
        if !acts(territory, |rule| rule.uploads_abort.is_some()) {
            told.push(format!("no rule clears up unfinished uploads of {}: killed runs leave some", territory.job));
        }
    }
    told
}

fn of_versions(bucket: &BucketRules) -> String {
    let words = match bucket.versions {
        Versions::None => "the bucket is not versioned: what is deleted is gone",
        Versions::Kept => {
            "the bucket is versioned: nothing is really deleted, it stays as an older version, and is paid for"
        }
        Versions::Suspended => {
            "the bucket keeps no versions any more: what is deleted is gone, but older versions stay"
        }
        Versions::Unknown => "whether the bucket is versioned, the server does not say",
    };
    words.to_owned()
}

fn of_rule(rule: &BucketRule, versions: Versions, territories: &[Territory]) -> Vec<String> {
    let name = if rule.id.is_empty() { "a rule without id".to_owned() } else { format!("rule `{}`", rule.id) };
    let met: Vec<&Territory> = territories.iter().filter(|territory| rule.meets(territory)).collect();
    if met.is_empty() {
        let whose = if rule.id.starts_with(OWN) { ", as another plan has it, or this one had it" } else { "" };
        return vec![format!("{name} is about `{}`, where nothing of this plan lies{whose}", rule.prefix)];
    }
    if !rule.is_enabled {
        return vec![format!("{name} is switched off")];
    }
    if let Some(tag) = rule.tag() {
        return vec![format!("{name} is about objects with the tag {tag}, which this program gives none")];
    }
    let mut told: Vec<String> = met.iter().flat_map(|territory| of_meeting(rule, versions, territory)).collect();
    told.extend(rule.uploads_abort.map(|days| format!("clears up unfinished uploads after {}", days_of(days))));
    told.extend(rule.besides.iter().cloned());
    let is_exact =
        met.iter().any(|territory| rule.prefix == territory.beginning) || !met.iter().any(|it| rule.covers(it));
    if !is_exact {
        told.push(match rule.prefix.as_str() {
            "" => "is about the whole bucket, and also matches everything else in it".to_owned(),
            prefix => format!("is about `{prefix}`, which also matches whatever else begins like that"),
        });
    }
    told.into_iter().map(|said| format!("{name} {said}")).collect()
}

/// Says what a rule does to a folder.
fn of_meeting(rule: &BucketRule, versions: Versions, territory: &Territory) -> Vec<String> {
    let job = &territory.job;
    let part = rule.part(territory);
    let object = match &part {
        None => named(territory, "each"),
        Some(part) => format!("each file of {job} {part}"),
    };
    let expires = rule.expires.iter().map(|when| match (when, &part, territory.is_archive) {
        (When::Days(days), None, false) => {
            let days = days_of(*days);
            format!("deletes {object} {when}, and your last good set {days} after backups stop")
        }
        (_, Some(_), false) => format!("deletes {object} {when}: the sets that it belongs to are damaged then"),
        (_, _, true) => format!("deletes {object} {when}: rows that HitKeep has no longer are lost then"),
        (When::Date(_), None, false) => format!("deletes {object} {when}: nothing is left"),
    });
    let moves = rule.moves.iter().map(|(when, class)| {
        let frozen = if FROZEN.contains(&class.as_str()) {
            ": nothing reads it before it has been thawed, no run, no `verify` and no `restore`"
        } else {
            ""
        };
        format!("moves {object} to {class} {when}{frozen}")
    });
    let older = rule.versions_expire.filter(|_| versions != Versions::None);
    let older = older.map(|days| {
        format!("deletes older versions of {object} {} after they were deleted or replaced", days_of(days))
    });
    expires.chain(moves).chain(older).collect()
}

/// Names what lies in a folder; of sets, which.
fn named(territory: &Territory, which: &str) -> String {
    let Territory { job, is_archive, .. } = territory;
    if *is_archive { format!("what {job} has archived") } else { format!("{which} set of {job}") }
}

/// Why rules are not written although the plan wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peril {
    /// The newest set would go at once.
    Newest {
        /// The set.
        set: SnapshotId,
    },
    /// Too many sets would go at once.
    Mass {
        /// How many would go.
        gone: usize,
        /// Of how many.
        of: usize,
    },
}

impl fmt::Display for Peril {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest { set } => {
                write!(f, "the newest set, {set}, is older than that and would go at once: make a new one before")
            }
            Self::Mass { gone, of } => write!(
                f,
                "{gone} of {} would go at once, which is more than a quarter: `--allow-mass-delete` lets them",
                counted(*of, "set")
            ),
        }
    }
}

/// Finds out whether a rule that deletes after `days` would delete too much of what is there at `now`.
#[must_use]
pub fn peril(days: u32, sets: &BTreeSet<SnapshotId>, may_be_many: bool, now: Timestamp) -> Option<Peril> {
    let limit = SignedDuration::from_hours(i64::from(days) * 24);
    let is_past = |set: &&SnapshotId| now.duration_since(set.moment()) >= limit;
    let (gone, of) = (sets.iter().filter(is_past).count(), sets.len());
    match sets.last() {
        Some(set) if is_past(&set) => Some(Peril::Newest { set: *set }),
        _ => (gone * SHARE > of && !may_be_many).then_some(Peril::Mass { gone, of }),
    }
}
