//! What is wanted: text in, a [`Plan`] out, or every problem at once.
//!
//! There is one door, [`Plan::read`]. Past it nobody sees TOML: names are resolved, paths absolute, templates
//! rendered, folders proved disjoint. Nothing here reads a clock, a file or the environment; what a plan needs to
//! know of the world comes in as [`Surroundings`].

mod archive;
mod backup;
mod bucket;
mod code;
mod command;
mod destination;
mod document;
mod endpoint;
pub mod environment;
mod hooks;
mod job;
mod keep;
mod lifecycle;
mod local;
mod metrics;
mod mistakes;
mod notify;
mod objective;
mod raw;
mod resolve;
mod schedule;
mod schema;
mod secret;
mod shape;
mod show;
mod source;
mod template;
mod timetable;
mod trees;
mod upload;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

pub use self::archive::{Archive, Layout, OlderThan};
pub use self::backup::{Backup, Codec, Selection, Verify};
pub use self::bucket::{Bucket, Checksum, Encryption, Keys};
pub use self::code::CODES;
pub use self::command::Command;
pub use self::destination::{Destination, Store};
pub(crate) use self::endpoint::Endpoint;
pub use self::hooks::{Hooks, When};
pub use self::job::Job;
pub use self::keep::{Keep, Rule};
pub use self::lifecycle::Lifecycle;
pub use self::local::Local;
pub use self::metrics::Metrics;
pub use self::notify::{Message, Notice, Occasion, Way};
pub use self::objective::Objective;
pub use self::schedule::{Schedule, ScheduleError, Slot};
pub use self::schema::{reference, schema};
pub use self::secret::Secret;
pub use self::source::{Capture, Installation, Snapshots, Source, SourceKind};
pub use self::timetable::{LATE, Start, Timetable};
pub use self::upload::Upload;
use crate::diagnose::{Diagnostic, Problems, Rejected, Severity};
use crate::measure::Sha256;
use crate::name::Shard;

/// What a plan may know of the world it is read in.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The name of this host, for templates.
    pub host: String,
    /// The directory of the plan file, absolute; relative paths of the plan start here.
    pub directory: PathBuf,
    /// The environment of the process.
    pub variables: BTreeMap<String, String>,
    /// Resolves the symbolic links of an absolute path as far as the path exists.
    pub real_path: fn(&Path) -> PathBuf,
}

/// A plan that was read, and what is odd about it all the same.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The plan.
    pub plan: Plan,
    /// The warnings, often none.
    pub warnings: Problems,
}

/// A plan: whole, consistent and resolved.
#[derive(Clone, Debug)]
pub struct Plan {
    name: String,
    file: String,
    text: String,
    /// The part of the plan that it is, unless it is all of it.
    shard: Option<Shard>,
    parts: Parts,
}

/// What the tables of a plan resolve to.
#[derive(Clone, Debug)]
struct Parts {
    timezone: Chosen<TimeZone>,
    variables: BTreeMap<String, Arc<Chosen<String>>>,
    sources: Vec<Arc<Source>>,
    destinations: Vec<Arc<Destination>>,
    backups: Vec<Backup>,
    archives: Vec<Archive>,
    hooks: Hooks,
    notices: Vec<Notice>,
    metrics: Option<Metrics>,
    local: Local,
}

impl Plan {
    /// Reads the plan `text`, which is spoken of as `file`.
    ///
    /// # Errors
    /// When anything is wrong with it, with everything that is.
    pub fn read(text: &str, file: &str, around: &Surroundings) -> Result<Reading, Rejected> {
        let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut problems = Vec::new();
        let document = document::read(text, &mut problems);
        let is_whole = problems.is_empty();
        let mut desk = resolve::Desk { text, plan: &name, around, is_whole, problems };
        let parts = document.and_then(|document| resolve::resolve(&mut desk, document));
        let problems = Problems::new(file, &secret::blanked(text), desk.problems);
        let refused = problems.list().iter().any(|problem| problem.severity() == Severity::Error);
        match parts.filter(|_| !refused) {
            Some(parts) => {
                let plan = Self { name, file: file.to_owned(), text: text.to_owned(), shard: None, parts };
                Ok(Reading { plan, warnings: problems })
            }
            None => Err(Rejected::new(problems)),
        }
    }

    /// Returns a shard of the plan, which is a plan of its own: each job is about that part of the databases, in a folder
    /// of its own; so are the run records that the host keeps, and the metrics.
    #[must_use]
    pub fn in_shard(self, shard: Shard) -> Self {
        let parts = Parts {
            backups: self.parts.backups.into_iter().map(|job| job.in_shard(shard)).collect(),
            archives: self.parts.archives.into_iter().map(|job| job.in_shard(shard)).collect(),
            metrics: self.parts.metrics.map(|metrics| metrics.in_shard(shard)),
            local: self.parts.local.in_shard(shard),
            ..self.parts
        };
        Self { shard: Some(shard), parts, ..self }
    }

    /// Returns which part of the plan it is; nothing where it is all of it.
    #[must_use]
    pub fn shard(&self) -> Option<Shard> {
        self.shard
    }

    /// Returns the name of the plan: that of its file, without the ending.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the plan's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the digest of the plan's text.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.text.as_bytes())
    }

    /// Returns problems that the world has with this plan, to be shown at the lines that asked for what failed.
    #[must_use]
    pub fn problems(&self, list: Vec<Diagnostic>) -> Problems {
        Problems::new(&self.file, &secret::blanked(&self.text), list)
    }

    /// Returns the time zone that the plan's times are meant in.
    #[must_use]
    pub fn timezone(&self) -> &TimeZone {
        &self.parts.timezone.value
    }

    /// Returns the sources in the order of the text, also those that no job uses.
    #[must_use]
    pub fn sources(&self) -> &[Arc<Source>] {
        &self.parts.sources
    }

    /// Returns the destinations in the order of the text, also those that no job uses.
    #[must_use]
    pub fn destinations(&self) -> &[Arc<Destination>] {
        &self.parts.destinations
    }

    /// Returns the jobs that back up, in the order of the text.
    #[must_use]
    pub fn backups(&self) -> &[Backup] {
        &self.parts.backups
    }

    /// Returns the jobs that archive, in the order of the text.
    #[must_use]
    pub fn archives(&self) -> &[Archive] {
        &self.parts.archives
    }

    /// Returns all jobs, at least one: first those that back up, so that what is archived and deleted is in a backup.
    pub fn jobs(&self) -> impl Iterator<Item = Job<'_>> {
        let backups = self.parts.backups.iter().map(Job::Backup);
        backups.chain(self.parts.archives.iter().map(Job::Archive))
    }

    /// Returns when a job of this plan runs by itself; nothing when it is run by hand only.
    #[must_use]
    pub fn timetable(&self, job: Job<'_>) -> Option<Timetable> {
        Some(Timetable::of(job, job.timing()?, self.timezone()))
    }

    /// Returns the commands that are run around every job.
    #[must_use]
    pub fn hooks(&self) -> &Hooks {
        &self.parts.hooks
    }

    /// Returns who is told how runs begin and end, in the order of the text.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.parts.notices
    }

    /// Returns what is written for a monitoring system, if anything is.
    #[must_use]
    pub fn metrics(&self) -> Option<&Metrics> {
        self.parts.metrics.as_ref()
    }

    /// Returns where the secrets that the plan speaks of are found.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let of_destinations = self.parts.destinations.iter().flat_map(|destination| destination.secrets());
        of_destinations.chain(self.parts.notices.iter().filter_map(|notice| notice.way().secret()))
    }

    /// Returns what the host provides for the work.
    #[must_use]
    pub fn local(&self) -> &Local {
        &self.parts.local
    }

    /// Returns the effective plan as TOML: every value that holds, with its origin in a comment.
    #[must_use]
    pub fn show(&self) -> String {
        show::show(self)
    }
}

/// A value and who chose it.
#[derive(Clone, Debug)]
struct Chosen<T> {
    value: T,
    origin: Origin,
}

impl<T> Chosen<T> {
    /// Returns the same choice of what `form` makes of the value.
    fn map<U>(self, form: impl FnOnce(T) -> U) -> Chosen<U> {
        Chosen { value: form(self.value), origin: self.origin }
    }

    /// Returns where the plan says so, if it does.
    fn place(&self) -> Option<Range<usize>> {
        match &self.origin {
            Origin::Plan { span, .. } => Some(span.clone()),
            Origin::Default | Origin::Variable(_) => None,
        }
    }

    /// Marks a problem where the plan says the value, or at `otherwise`, which leaves it to the environment.
    fn mark(&self, problem: Diagnostic, otherwise: &Range<usize>, label: &str) -> Diagnostic {
        match &self.origin {
            Origin::Plan { span, .. } => problem.at(span.clone(), label),
            Origin::Variable(name) => problem.at(otherwise.clone(), format!("{label}, by `${name}`")),
            Origin::Default => problem.at(otherwise.clone(), label),
        }
    }

    /// Returns what the value is called that stands for `key`: the key, or the variable that it comes from.
    fn name(&self, key: &str) -> String {
        match &self.origin {
            Origin::Plan { .. } | Origin::Default => format!("`{key}`"),
            Origin::Variable(name) => format!("`${name}`"),
        }
    }
}

/// Who chose a value.
#[derive(Clone, Debug)]
enum Origin {
    /// The plan, in this line (from 1) and at this place.
    Plan { line: usize, span: Range<usize> },
    /// Nobody: the plan leaves the key out.
    Default,
    /// The environment, in the variable of this name.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan { line, .. } => write!(f, "line {line}"),
            Self::Default => f.write_str("default"),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}
