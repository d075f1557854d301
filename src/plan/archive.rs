//! A job: the rows of one source that are past their retention, kept as Parquet.

use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::{self, Backup, Selection};
use super::raw::{self, At};
use super::resolve::{Desk, Shelf};
use super::template::{self, Scope};
use super::timetable::{self, Timing};
use super::trees::Tree;
use super::upload::Uploading;
use super::words::written;
use super::{Capture, Chosen, Destination, Installation, Origin, Source, SourceKind, Upload, code};
use crate::diagnose::Diagnostic;
use crate::measure::Span;
use crate::name::{Name, Prefix, Shard};

/// Where archived rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One file for each site and run, at the place and in the form of HitKeep's own archives.
    Hitkeep,
    /// One file for each table, site and month of a run, in folders that are named `key=value`.
    Hive,
}

impl Layout {
    /// Returns the word that plans use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hitkeep => "hitkeep",
            Self::Hive => "hive",
        }
    }
}

/// Which rows are past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OlderThan {
    /// Those past the retention of their site.
    Site,
    /// Those older than this.
    Span(Span),
}

impl std::fmt::Display for OlderThan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Site => f.pad("site"),
            Self::Span(span) => span.fmt(f),
        }
    }
}

/// A job: the rows of one source that are past their retention, kept at some destinations.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(super) name: Name,
    pub(super) place: Range<usize>,
    pub(super) line: usize,
    pub(super) source: Chosen<Arc<Source>>,
    pub(super) installation: Installation,
    pub(super) to: Chosen<Vec<Arc<Destination>>>,
    pub(super) prefix: Chosen<Prefix>,
    /// The template that `prefix` was rendered from.
    pub(super) template: String,
    pub(super) timing: Option<Timing>,
    pub(super) databases: Selection,
    pub(super) older_than: Chosen<OlderThan>,
    pub(super) layout: Chosen<Layout>,
    pub(super) delete: Chosen<bool>,
    pub(super) timeout: Option<Chosen<Span>>,
    pub(super) uploading: Uploading,
}

impl Archive {
    /// Reads `[archive.NAME]`; returns nothing when a part of it is missing or was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, shelf: &mut Shelf, name: Name, table: At<raw::Archive>) -> Option<Self> {
        let At { value: raw, span: header } = table;
        let source = raw.source.as_ref().and_then(|at| backup::resolve_source(desk, shelf, at));
        let to = raw.to.as_ref().and_then(|at| backup::resolve_to(desk, shelf, at));
        if raw.schedule.is_none() {
            desk.problems.extend(timetable::no_schedule(raw.catch_up.as_ref(), raw.jitter.as_ref()));
        }
        let timing = raw.schedule.map(|at| Timing::resolve(desk, &at, raw.catch_up, raw.jitter.as_ref()));
        let older_than = match raw.older_than {
            Some(at) => older_than(desk, &at),
            None => Some(Chosen { value: OlderThan::Site, origin: Origin::Default }),
        };
        let timeout = raw.timeout.map(|at| backup::resolve_timeout(desk, &at));
        let (upload, upload_place) = raw.upload.map_or_else(Default::default, |at| (at.value, Some(at.span)));
        let uploading = Uploading::resolve(desk, upload);
        let template = desk.word(raw.prefix.clone(), "archive".to_owned());
        let place = raw.prefix.map_or(header.clone(), |at| at.span);
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
            desk.problems.extend(backup::no_bucket(place, &to.value));
        }
        let delete = desk.word(raw.delete, false);
        let installation = source.as_ref().and_then(|source| installation(desk, source));
        if let (Some(source), Some(installation)) = (&source, &installation) {
            desk.problems.extend(delete_live(&delete, source.value.name(), installation));
        }
        Some(Self {
            line: desk.line(&header),
            place: header,
            name,
            source: source?,
            installation: installation?,
            to: to?.1,
            prefix: Chosen { value: prefix?, origin: template.origin },
            template: template.value,
            timing: timing.map_or(Some(None), |timing| timing.map(Some))?,
            databases: Selection::All,
            older_than: older_than?,
            layout: desk.word(raw.layout, Layout::Hitkeep),
            delete,
            timeout: timeout.map_or(Some(None), |timeout| timeout.map(Some))?,
            uploading: uploading?,
        })
    }

    /// Returns what a shard does of it, in a folder of its own.
    pub(super) fn in_shard(self, shard: Shard) -> Self {
        let prefix = self.prefix.map(|prefix| prefix.join(&shard.folder()));
        Self { prefix, databases: self.databases.in_shard(shard), ..self }
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

    /// Returns whose rows are archived.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source.value
    }

    /// Returns the databases that they are in.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Returns where they are archived, at least one place, in the order of the plan.
    #[must_use]
    pub fn to(&self) -> &[Arc<Destination>] {
        &self.to.value
    }

    /// Returns the folder below each destination.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.prefix.value
    }

    /// Returns the databases whose rows are archived.
    #[must_use]
    pub fn databases(&self) -> &Selection {
        &self.databases
    }

    /// Returns which rows are past.
    #[must_use]
    pub fn older_than(&self) -> OlderThan {
        self.older_than.value
    }

    /// Returns where rows lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout.value
    }

    /// Tells whether what has been archived is deleted from the source.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.delete.value
    }

    /// Returns how long a run may take; nothing when there is no limit.
    #[must_use]
    pub fn timeout(&self) -> Option<Span> {
        self.timeout.as_ref().map(|timeout| timeout.value)
    }

    /// Returns how it uploads to buckets.
    #[must_use]
    pub fn upload(&self) -> Upload {
        self.uploading.upload()
    }

    /// Reports that nothing backs up what this archives: an archive is no backup.
    pub(super) fn without_backup(&self, backups: &[Backup]) -> Option<Diagnostic> {
        let source = self.source();
        if backups.iter().any(|backup| backup.source().name() == source.name()) {
            return None;
        }
        let (name, delete) = (&self.name, self.deletes());
        let (message, severity): (_, fn(_, _) -> _) = if delete {
            (format!("`{name}` deletes rows of `{}`, which nothing backs up", source.name()), Diagnostic::error)
        } else {
            (format!("`{}` is archived and not backed up", source.name()), Diagnostic::warning)
        };
        let problem = severity(code::NO_BACKUP, message).at(self.place(), "holds old rows only, and no users or sites");
        let problem =
            self.delete.place().filter(|_| delete).into_iter().fold(problem, |p, span| p.at(span, "said here"));
        Some(problem.help(format!("add a `[backup.…]` with `source = \"{}\"`: an archive is no backup", source.name())))
    }
}

/// Returns the databases that rows are read from, and refuses what are none.
fn installation(desk: &mut Desk<'_>, source: &Chosen<Arc<Source>>) -> Option<Installation> {
    match source.value.kind() {
        SourceKind::Installation(installation) => Some(installation.clone()),
        SourceKind::Snapshots(_) => {
            let message = format!("`{}` cannot be archived: it has `snapshots` and no databases", source.value.name());
            let problem = Diagnostic::error(code::SNAPSHOTS, message);
            desk.problems.push(
                problem
                    .at(source.place().unwrap_or_default(), "rows are read from the databases of an installation")
                    .help("name a source with a `data_path`"),
            );
            None
        }
    }
}

fn delete_live(delete: &Chosen<bool>, source: &Name, installation: &Installation) -> Option<Diagnostic> {
    let place = delete.place().filter(|_| delete.value && installation.capture() == Capture::Live)?;
    let message = format!("rows cannot be deleted from `{source}`, which is captured live");
    let problem = Diagnostic::error(code::DELETE_LIVE, message).at(place, "needs the databases to itself");
    let problem = installation.capture.place().into_iter().fold(problem, |problem, span| problem.at(span, "said here"));
    Some(problem.help("write `capture = \"direct\"` and stop HitKeep for the run, or leave the deleting to HitKeep"))
}

fn older_than(desk: &mut Desk<'_>, at: &At<String>) -> Option<Chosen<OlderThan>> {
    let problem = match at.value.parse::<Span>() {
        _ if at.value == "site" => return Some(desk.chosen(OlderThan::Site, &at.span)),
        Ok(span) if span.0.is_zero() => {
            Diagnostic::error(code::TOO_SMALL, format!("`older_than` of `{}` would archive every row", at.value))
                .at(at.span.clone(), "at least `1s`")
                .help("leave the key out for the retention of each site")
        }
        Ok(span) => return Some(desk.chosen(OlderThan::Span(span), &at.span)),
        Err(reason) => {
            let message = format!("{} is neither `site` nor a span of time", written(&at.value));
            let problem = Diagnostic::error(code::INVALID_SPAN, message);
            problem.at(at.span.clone(), "not a span").help(reason.to_string())
        }
    };
    desk.problems.push(problem);
    None
}
