//! A job: one source, backed up to some destinations.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::keep::Keeping;
use super::objective::Objectives;
use super::raw::{self, At, Databases};
use super::resolve::{DESTINATION, Desk, SOURCE, Shelf};
use super::template::{self, Scope};
use super::timetable::{self, Timing};
use super::trees::Tree;
use super::upload::Uploading;
use super::words::written;
use super::{Chosen, Destination, Keep, Objective, Origin, Source, SourceKind, Upload, code};
use crate::diagnose::Diagnostic;
use crate::measure::{Share, Span};
use crate::name::{DatabaseId, Name, Prefix, Shard};

/// The codec inside Parquet files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Zstandard: small files.
    Zstd,
    /// Snappy: larger files, written faster.
    Snappy,
}

impl Codec {
    /// Returns the word that plans and DuckDB use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

/// How a set of snapshots is checked before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Not at all.
    None,
    /// Every file is read back from the destination and its checksum compared.
    Checksum,
    /// That, and when the set is sealed it is fetched, loaded and compared: a restore drill.
    Restore,
}

impl Verify {
    /// Returns the word that plans use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Checksum => "checksum",
            Self::Restore => "restore",
        }
    }
}

/// The databases that a job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every database that the source has when the job runs.
    All,
    /// Those of them that are in this shard.
    Shard(Shard),
    /// These, in the order of the plan, none twice: at least one, unless a shard has none of them.
    Only(Vec<DatabaseId>),
}

impl Selection {
    /// Tells whether a job is about this database.
    #[must_use]
    pub fn includes(&self, id: DatabaseId) -> bool {
        match self {
            Self::All => true,
            Self::Shard(shard) => shard.includes(id),
            Self::Only(ids) => ids.contains(&id),
        }
    }

    /// Returns those of the databases that are in a shard.
    pub(super) fn in_shard(self, shard: Shard) -> Self {
        match self {
            Self::All | Self::Shard(_) => Self::Shard(shard),
            Self::Only(ids) => Self::Only(ids.into_iter().filter(|id| shard.includes(*id)).collect()),
        }
    }
}

/// How much a set may shrink where the plan does not say: what has lost half of its rows was emptied, not cleaned up.
const MAX_SHRINK: Share = Share::HALF;

/// A job: one source, backed up to some destinations.
#[derive(Clone, Debug)]
pub struct Backup {
    pub(super) name: Name,
    pub(super) place: Range<usize>,
    pub(super) line: usize,
    pub(super) source: Chosen<Arc<Source>>,
    pub(super) to: Chosen<Vec<Arc<Destination>>>,
    pub(super) prefix: Chosen<Prefix>,
    /// The template that `prefix` was rendered from.
    pub(super) template: String,
    pub(super) timing: Option<Timing>,
    pub(super) databases: Chosen<Selection>,
    pub(super) compression: Chosen<Codec>,
    pub(super) verify: Chosen<Verify>,
    pub(super) assertions: Option<Chosen<Vec<String>>>,
    pub(super) keeping: Option<Keeping>,
    pub(super) timeout: Option<Chosen<Span>>,
    pub(super) uploading: Uploading,
    pub(super) objectives: Objectives,
    pub(super) max_shrink: Chosen<Share>,
}

impl Backup {
    /// Reads `[backup.NAME]`; returns nothing when a part of it is missing or was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, shelf: &mut Shelf, name: Name, table: At<raw::Backup>) -> Option<Self> {
        let At { value: raw, span: header } = table;
        let source = raw.source.as_ref().and_then(|at| resolve_source(desk, shelf, at));
        let to = raw.to.as_ref().and_then(|at| resolve_to(desk, shelf, at));
        let databases = match raw.databases {
            Some(at) => resolve_databases(desk, at),
            None => Some(Chosen { value: Selection::All, origin: Origin::Default }),
        };
        let keep_place = raw.keep.as_ref().map(|at| at.span.clone());
        let keeping = raw.keep.map(|at| Keeping::resolve(desk, at));
        if raw.schedule.is_none() {
            desk.problems.extend(timetable::no_schedule(raw.catch_up.as_ref(), raw.jitter.as_ref()));
        }
        let timing = raw.schedule.map(|at| Timing::resolve(desk, &at, raw.catch_up, raw.jitter.as_ref()));
        let timeout = raw.timeout.map(|at| resolve_timeout(desk, &at));
        let (upload, upload_place) = raw.upload.map_or_else(Default::default, |at| (at.value, Some(at.span)));
        let uploading = Uploading::resolve(desk, upload);
        let assertions = raw.assert.map(|at| resolve_assertions(desk, &at));
        let objectives = Objectives::resolve(desk, raw.objective.map(|at| at.value).unwrap_or_default());
        let max_shrink = match raw.max_shrink {
            Some(at) => resolve_share(desk, &at),
            None => Some(Chosen { value: MAX_SHRINK, origin: Origin::Default }),
        };
        let template = desk.word(raw.prefix.clone(), "backups".to_owned());
        let place = raw.prefix.map_or(header.clone(), |at| at.span);
        // Without its source a template may still be judged by the name that was meant.
        let meant = raw.source.map_or_else(|| "source".to_owned(), |at| at.value);
        let scope = Scope { job: name.as_str(), source: &meant };
        let text = At { value: template.value.clone(), span: place.clone() };
        let prefix = template::prefix(desk, &mut shelf.variables, &text, scope);
        if let (Some((places, to)), Some(prefix)) = (&to, &prefix) {
            for (to_place, destination) in places.iter().zip(&to.value) {
                shelf.trees.add(Tree::new(desk.around, &name, destination, prefix, &place, to_place));
            }
        }
        if let (Some(place), Some((_, to))) = (upload_place, &to) {
            desk.problems.extend(no_bucket(place, &to.value));
        }
        if let (Some(place), Some((_, to))) = (keep_place, &to) {
            desk.problems.extend(keep_unused(place, &to.value));
        }
        if let (Some(at), Some(source)) = (&raw.compression, &source) {
            desk.problems.extend(no_codec(at.span.clone(), &source.value));
        }
        Some(Self {
            line: desk.line(&header),
            place: header,
            name,
            source: source?,
            to: to?.1,
            prefix: Chosen { value: prefix?, origin: template.origin },
            template: template.value,
            timing: timing.map_or(Some(None), |timing| timing.map(Some))?,
            databases: databases?,
            compression: desk.word(raw.compression, Codec::Zstd),
            verify: desk.word(raw.verify, Verify::Checksum),
            assertions: assertions.map_or(Some(None), |assertions| assertions.map(Some))?,
            keeping: keeping.map_or(Some(None), |keeping| keeping.map(Some))?,
            timeout: timeout.map_or(Some(None), |timeout| timeout.map(Some))?,
            uploading: uploading?,
            objectives: objectives?,
            max_shrink: max_shrink?,
        })
    }

    /// Returns what a shard does of it, in a folder of its own.
    pub(super) fn in_shard(self, shard: Shard) -> Self {
        let prefix = self.prefix.map(|prefix| prefix.join(&shard.folder()));
        Self { prefix, databases: self.databases.map(|databases| databases.in_shard(shard)), ..self }
    }

    /// Returns the name it has in the plan.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the line of its table, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns where its table begins, in bytes of the plan's text: for pointing at the job that asked for something.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Returns what is backed up.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source.value
    }

    /// Returns where it is backed up to, at least one place, in the order of the plan.
    #[must_use]
    pub fn to(&self) -> &[Arc<Destination>] {
        &self.to.value
    }

    /// Returns the folder below each destination.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.prefix.value
    }

    /// Returns the databases that are backed up.
    #[must_use]
    pub fn databases(&self) -> &Selection {
        &self.databases.value
    }

    /// Returns the codec of the Parquet files.
    #[must_use]
    pub fn compression(&self) -> Codec {
        self.compression.value
    }

    /// Returns how the set is checked before it counts.
    #[must_use]
    pub fn verify(&self) -> Verify {
        self.verify.value
    }

    /// Returns the queries that a restored shared database must answer with true, in the order of the plan; often none.
    #[must_use]
    pub fn assertions(&self) -> &[String] {
        self.assertions.as_ref().map_or(&[], |assertions| &assertions.value)
    }

    /// Returns which sets are kept; nothing when every set is.
    #[must_use]
    pub fn keep(&self) -> Option<Keep> {
        self.keeping.as_ref().map(Keeping::keep)
    }

    /// Returns how long a run may take; nothing when there is no limit.
    #[must_use]
    pub fn timeout(&self) -> Option<Span> {
        self.timeout.as_ref().map(|timeout| timeout.value)
    }

    /// Returns what `status` judges it by.
    #[must_use]
    pub fn objective(&self) -> Objective {
        self.objectives.objective()
    }

    /// Returns how much smaller than the newest complete set before it a set may be.
    #[must_use]
    pub fn max_shrink(&self) -> Share {
        self.max_shrink.value
    }

    /// Returns how it uploads to buckets.
    #[must_use]
    pub fn upload(&self) -> Upload {
        self.uploading.upload()
    }
}

/// Warns of rules that nothing goes by, since every bucket of the job deletes by itself.
fn keep_unused(place: Range<usize>, to: &[Arc<Destination>]) -> Option<Diagnostic> {
    let is_unused = to.iter().all(|destination| destination.expires_after().is_some());
    let problem = Diagnostic::warning(code::KEEP_UNUSED, "nothing goes by `keep`: each bucket deletes by itself");
    is_unused.then(|| {
        problem
            .at(place, "without effect")
            .help("remove it, or `expire_after` from the `lifecycle` of the destinations: a bucket knows no such rules")
    })
}

/// Warns of `upload` at a job that has no bucket to upload to.
pub(super) fn no_bucket(place: Range<usize>, to: &[Arc<Destination>]) -> Option<Diagnostic> {
    (!to.iter().any(|destination| destination.is_bucket())).then(|| {
        Diagnostic::warning(code::BUCKET_ONLY, "`upload` says nothing here: none of the destinations is a bucket")
            .at(place, "said of buckets only")
            .help("remove it")
    })
}

/// Refuses a codec for files that are stored as HitKeep wrote them.
fn no_codec(place: Range<usize>, source: &Source) -> Option<Diagnostic> {
    matches!(source.kind(), SourceKind::Snapshots(_)).then(|| {
        let message = format!("`compression` cannot be chosen: `{}` are files of HitKeep's own", source.name());
        Diagnostic::error(code::SNAPSHOTS, message).at(place, "they are stored as they are").help("remove it")
    })
}

pub(super) fn resolve_source(desk: &mut Desk<'_>, shelf: &mut Shelf, at: &At<String>) -> Option<Chosen<Arc<Source>>> {
    let source = shelf.sources.find(desk, at, &SOURCE)?;
    Some(desk.chosen(source, &at.span))
}

/// The resolved list, and the place of each of its items.
pub(super) type Targets = (Vec<Range<usize>>, Chosen<Vec<Arc<Destination>>>);

pub(super) fn resolve_to(desk: &mut Desk<'_>, shelf: &mut Shelf, at: &At<Vec<At<String>>>) -> Option<Targets> {
    let whole = check_list(desk, "to", at.span.clone(), &at.value, "name a destination, or several");
    let found: Vec<_> = at.value.iter().map(|item| shelf.destinations.find(desk, item, &DESTINATION)).collect();
    let destinations: Option<Vec<_>> = found.into_iter().collect();
    let places = at.value.iter().map(|item| item.span.clone()).collect();
    whole.then_some(())?;
    Some((places, desk.chosen(destinations?, &at.span)))
}

fn resolve_databases(desk: &mut Desk<'_>, at: At<Databases>) -> Option<Chosen<Selection>> {
    let Databases::Only(items) = at.value else {
        return Some(desk.chosen(Selection::All, &at.span));
    };
    let whole = check_list(desk, "databases", at.span.clone(), &items, "leave the key out for all databases");
    let read: Vec<_> = items.iter().map(|item| resolve_database(desk, item)).collect();
    let ids: Vec<DatabaseId> = read.into_iter().collect::<Option<_>>()?;
    whole.then_some(())?;
    if ids == [DatabaseId::Shared] {
        desk.problems.push(
            Diagnostic::warning(code::SHARED_ONLY, "only the shared database is backed up, and no tenant's traffic")
                .at(at.span.clone(), "the tenants are left out")
                .help("leave `databases` out to back up every database, also those of tenants yet to come"),
        );
    }
    Some(desk.chosen(Selection::Only(ids), &at.span))
}

fn resolve_database(desk: &mut Desk<'_>, at: &At<String>) -> Option<DatabaseId> {
    at.value
        .parse()
        .map_err(|reason: crate::name::NameError| {
            let problem =
                Diagnostic::error(code::INVALID_DATABASE, format!("{} is not a database", written(&at.value)))
                    .at(at.span.clone(), reason.to_string());
            desk.problems.push(match at.value.as_str() {
                "all" => problem.help("`all` stands alone: `databases = \"all\"`"),
                _ => problem.help("write a UUID in lower case with hyphens, as in HitKeep's `tenants` directory"),
            });
        })
        .ok()
}

/// Returns whether a list holds something, and nothing twice.
pub(super) fn check_list(desk: &mut Desk<'_>, key: &str, span: Range<usize>, items: &[At<String>], help: &str) -> bool {
    if items.is_empty() {
        let problem =
            Diagnostic::error(code::EMPTY_ARRAY, format!("`{key}` is empty, where at least one item is expected"));
        desk.problems.push(problem.at(span, "nothing in it").help(help));
        return false;
    }
    let mut first = BTreeMap::new();
    let mut once = true;
    for item in items {
        let Some(before) = first.insert(&item.value, item.span.clone()) else { continue };
        once = false;
        let message = format!("`{key}` names {} twice", written(&item.value));
        desk.problems.push(
            Diagnostic::error(code::DUPLICATE_ITEM, message)
                .at(item.span.clone(), "again here")
                .at(before, "named here")
                .help("remove one of the two"),
        );
    }
    once
}

pub(super) fn resolve_timeout(desk: &mut Desk<'_>, at: &At<String>) -> Option<Chosen<Span>> {
    desk.span(at, "timeout", "leaves no time to run", "leave the key out for no limit")
}

fn resolve_assertions(desk: &mut Desk<'_>, at: &At<Vec<At<String>>>) -> Option<Chosen<Vec<String>>> {
    let help = "leave the key out to assert nothing";
    let is_whole = check_list(desk, "assert", at.span.clone(), &at.value, help);
    let mut are_queries = true;
    for item in at.value.iter().filter(|item| !is_query(&item.value)) {
        are_queries = false;
        desk.problems.push(
            Diagnostic::error(code::INVALID_ASSERT, format!("{} is not a query", written(&item.value)))
                .at(item.span.clone(), "does not begin as a query does")
                .help("write a query that answers true or false, as in `select count(*) > 0 from sites`"),
        );
    }
    (is_whole && are_queries).then_some(())?;
    Some(desk.chosen(at.value.iter().map(|item| item.value.clone()).collect(), &at.span))
}

/// Tells whether a text begins as a query does; whether it is one, only an engine knows.
fn is_query(text: &str) -> bool {
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
    let begins = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(').starts_with(word);
    begins && ["select", "with", "from", "values"].contains(&word.to_ascii_lowercase().as_str())
}

fn resolve_share(desk: &mut Desk<'_>, at: &At<String>) -> Option<Chosen<Share>> {
    let share = at.value.parse::<Share>().map_err(|reason| {
        Diagnostic::error(code::INVALID_SHARE, format!("{} is not a share", written(&at.value)))
            .at(at.span.clone(), "not a share of a hundred")
            .help(reason.to_string())
    });
    let share = share.map_err(|problem| desk.problems.push(problem)).ok()?;
    Some(desk.chosen(share, &at.span))
}
