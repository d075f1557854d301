//! Where sets are looked for: what a plan names, or a place given on the command line.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::desk;
use super::error::CliError;
use super::shard::Portion;
use crate::event::{Event, Listener};
use crate::name::{Name, Prefix, RunId, Shard, SnapshotId};
use crate::plan::{Job, Plan, Upload};
use crate::record::{Catalogue, Doubt};
use crate::store::local::Local;
use crate::store::{Lock, Purpose, Store, StoreError};
use crate::survey::{self, Asked, Own};
use crate::work::{At, Place};

/// One backup prefix at one destination.
pub(super) struct Spot {
    /// The job that writes there; nothing where no plan was given.
    pub(super) job: Option<Name>,
    /// The destination's name; `here` where no plan was given.
    pub(super) destination: Name,
    /// The destination's store.
    pub(super) store: Arc<dyn Store>,
    /// The prefix.
    pub(super) place: Place,
    /// Whether archives lie there, and no sets of databases.
    pub(super) is_archive: bool,
    /// After how many days the bucket deletes sets by itself; nothing where it does not, as far as the plan says.
    pub(super) expires_after: Option<u32>,
    /// What this host remembers of it; nothing where no plan was given.
    pub(super) kept: Option<Kept>,
}

/// Where a host keeps the records of a plan's runs.
#[derive(Clone)]
pub(super) struct Kept {
    state: PathBuf,
    plan: String,
}

impl Kept {
    /// Returns where the records of a plan's runs are kept.
    pub(super) fn of(plan: &Plan) -> Self {
        Self { state: plan.local().state().to_owned(), plan: plan.name().to_owned() }
    }

    /// Reads which series of a job at a destination are this host's own.
    pub(super) async fn own(&self, job: &Name, destination: &Name) -> Own {
        survey::own(&Local::new(self.state.clone()), &self.plan, job, destination, None).await
    }

    /// Reads which were before a run.
    pub(super) async fn own_before(&self, job: &Name, destination: &Name, run: RunId) -> Own {
        survey::own(&Local::new(self.state.clone()), &self.plan, job, destination, Some(run)).await
    }
}

/// Tells whether it is not seen what a path is, and it is not named like a plan.
fn is_closed(path: &Path) -> bool {
    let is_plan = path.extension().is_some_and(|ending| ending == "toml");
    !is_plan && path.metadata().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// What a person pointed at.
pub(super) struct Subject {
    /// The plan, where it is one.
    pub(super) plan: Option<Plan>,
    /// The places where its sets lie, in the plan's order; at least one.
    pub(super) spots: Vec<Spot>,
}

impl Subject {
    /// Reads PLAN or URL, or the part of it that is meant, and keeps the places that `job` and `destination` name, where they
    /// name any.
    pub(super) fn read(
        target: &Path,
        portion: Portion,
        job: Option<&Name>,
        destination: Option<&Name>,
    ) -> Result<Self, CliError> {
        let text = target.to_string_lossy();
        if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3://")) {
            return Self::bucket(&text, portion);
        }
        let directory = text.strip_prefix("file://").map_or_else(|| target.to_owned(), PathBuf::from);
        if directory.is_dir() || text.starts_with("file://") || is_closed(&directory) {
            return Self::directory(&directory, portion);
        }
        let reading = desk::read_portion(target, portion)?;
        let mut spots: Vec<Spot> = reading.plan.jobs().flat_map(|job| plan_spots(&reading.plan, job)).collect();
        let known: Vec<String> = spots.iter().map(Spot::title).collect();
        spots.retain(|spot| job.is_none_or(|job| spot.job.as_ref() == Some(job)));
        spots.retain(|spot| destination.is_none_or(|destination| spot.destination == *destination));
        if spots.is_empty() {
            return Err(CliError::Usage {
                message: "the plan has no such job and destination".to_owned(),
                help: format!("it has {}", known.join(", ")),
            });
        }
        Ok(Self { plan: Some(reading.plan), spots })
    }

    /// Reads PLAN or URL as [`Self::read`] does, and keeps the places of what can be restored.
    pub(super) fn read_backups(
        target: &Path,
        portion: Portion,
        job: Option<&Name>,
        destination: Option<&Name>,
    ) -> Result<Self, CliError> {
        let mut subject = Self::read(target, portion, job, destination)?;
        subject.spots.retain(|spot| !spot.is_archive);
        if subject.spots.is_empty() {
            return Err(CliError::Usage {
                message: "there is no set of databases: the job archives".to_owned(),
                help: "name a job that backs up, with `--job`".to_owned(),
            });
        }
        Ok(subject)
    }

    /// Reads PLAN or URL as [`Self::read`] does, and keeps the places of one job that archives.
    pub(super) fn read_archives(
        target: &Path,
        portion: Portion,
        job: Option<&Name>,
        destination: Option<&Name>,
    ) -> Result<Self, CliError> {
        let mut subject = Self::read(target, portion, job, destination)?;
        subject.spots.retain(|spot| spot.is_archive || spot.job.is_none());
        let Some(first) = subject.spots.first() else {
            return Err(CliError::Usage {
                message: "there is no archive: no such job archives".to_owned(),
                help: "name one that does, with `--job`, or add an `[archive.…]` to the plan".to_owned(),
            });
        };
        match subject.spots.iter().find(|spot| spot.job != first.job) {
            Some(other) => Err(CliError::Usage {
                message: "the plan has several jobs that archive".to_owned(),
                help: format!("say which is meant: `--job`; there is {}, {}", first.title(), other.title()),
            }),
            None => Ok(subject),
        }
    }

    fn bucket(address: &str, portion: Portion) -> Result<Self, CliError> {
        let destination = desk::read_address(address)?;
        Ok(Self::place(destination.name().clone(), desk::store_at_hand(&destination, Upload::default()), portion))
    }

    fn directory(directory: &Path, portion: Portion) -> Result<Self, CliError> {
        let failed = |cause: io::Error| match cause.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                CliError::File { doing: "read", path: directory.to_owned(), cause }
            }
            _ => StoreError::Io { doing: "read", at: directory.display().to_string(), cause }.into(),
        };
        let root = directory.canonicalize().map_err(failed)?;
        Ok(Self::place(Name::of("here"), Arc::new(Local::new(root)), portion))
    }

    /// A place without a plan: the store itself, or the folder of a shard in it.
    fn place(destination: Name, store: Arc<dyn Store>, portion: Portion) -> Self {
        let prefix = portion.shard.map(Shard::folder).unwrap_or_default();
        let place = survey::place(store.as_ref(), &prefix);
        let spot = Spot { job: None, destination, store, place, is_archive: false, expires_after: None, kept: None };
        Self { plan: None, spots: vec![spot] }
    }
}

/// Returns where what a job has written lies, in the plan's order.
pub(super) fn plan_spots(plan: &Plan, job: Job<'_>) -> Vec<Spot> {
    let is_archive = matches!(job, Job::Archive(_));
    let spots = job.to().iter().map(|destination| {
        let store = desk::store_at_hand(destination, job.upload());
        let place = survey::place(store.as_ref(), job.prefix());
        let expires_after = destination.expires_after().filter(|_| !is_archive);
        let (job, destination) = (Some(job.name().clone()), destination.name().clone());
        Spot { job, destination, store, place, is_archive, expires_after, kept: Some(Kept::of(plan)) }
    });
    spots.collect()
}

/// How many folders of an address without sets are looked into.
const LOOKED_INTO: usize = 20;

impl Spot {
    /// Returns the shards that have a folder of their own in the prefix, in order; none where nobody can say.
    pub(super) async fn shards(&self) -> BTreeSet<Shard> {
        let folders = self.store.folders(&self.place.prefix, "").await.unwrap_or_default();
        folders.iter().filter_map(|name| Shard::of_folder(name)).collect()
    }

    /// Returns the places directly below an address that hold sets, besides those of shards, where it holds none itself: it
    /// may lack the prefix of the job.
    pub(super) async fn places_below(&self, catalogue: &Catalogue) -> Vec<String> {
        let mut found = Vec::new();
        if self.job.is_none() && catalogue.sets.is_empty() {
            let folders = self.store.folders(&self.place.prefix, "").await.unwrap_or_default();
            let folders = folders.iter().filter(|name| Shard::of_folder(name).is_none()).take(LOOKED_INTO);
            for folder in folders.filter_map(|name| name.parse::<Prefix>().ok()) {
                let prefix = self.place.prefix.join(&folder);
                let sets = survey::catalogue(self.store.as_ref(), &prefix, Asked::Newest(1), &Own::default()).await;
                if sets.is_ok_and(|catalogue| !catalogue.sets.is_empty()) {
                    found.push(format!("{}/{folder}", self.place.at.trim_end_matches('/')));
                }
            }
        }
        found
    }

    /// Names the place the way the plan does: `nightly → disk`.
    pub(super) fn title(&self) -> String {
        match &self.job {
            Some(job) => format!("{job} → {}", self.destination),
            None => "sets".to_owned(),
        }
    }

    /// Reads which sets lie there, as far as they are asked for.
    pub(super) async fn catalogue(&self, asked: Asked) -> Result<Catalogue, CliError> {
        Ok(survey::catalogue(self.store.as_ref(), &self.place.prefix, asked, &self.own().await).await?)
    }

    /// Reads which series of the sets there are this host's own.
    pub(super) async fn own(&self) -> Own {
        match (&self.kept, &self.job) {
            (Some(kept), Some(job)) => kept.own(job, &self.destination).await,
            _ => Own::default(),
        }
    }

    /// Says so where it is not certain whose the sets are that are taken for the place's own.
    pub(super) fn tell_doubt(&self, catalogue: &Catalogue, tell: &dyn Listener) {
        let at = &self.place.at;
        let why = match catalogue.doubt {
            None => return,
            Some(Doubt::Mixed) => {
                format!("sets of more than one series are in {at}, and this host remembers none of them as its own")
            }
            Some(Doubt::Gone) => format!("no set in {at} is of a series that this host has stored there"),
        };
        let message = format!("{why}: taken are those of the series that most of the newest are of");
        tell.hear(&Event::Warned { message });
    }
}

impl Spot {
    /// Reads what lies at the place while nobody deletes there. Where that cannot be said there, such as with a key that may
    /// only read, others are not kept from it.
    pub(super) async fn read_marked<T>(
        &self,
        verb: &str,
        tell: &dyn Listener,
        read: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        let mark = self.mark_reading(verb, tell).await?;
        let done = read.await;
        if let Some(mark) = mark {
            mark.release().await;
        }
        done
    }

    async fn mark_reading(&self, verb: &str, tell: &dyn Listener) -> Result<Option<Lock>, CliError> {
        let holder = format!("process {} on {} ({verb})", std::process::id(), desk::host());
        match self.store.mark(&self.place.prefix, Purpose::Reading, &holder).await {
            Ok(mark) => Ok(Some(mark)),
            Err(in_use @ StoreError::InUse { .. }) => Err(in_use.into()),
            // There is no such folder, and nothing in it.
            Err(StoreError::Missing { at }) if at == self.place.at => Ok(None),
            Err(cause) => {
                let message = format!("others cannot be told that sets are being read here: {cause}");
                tell.hear(&Event::Warned { message });
                Ok(None)
            }
        }
    }
}

/// A set by name on the command line: `latest` or a timestamp.
#[derive(Clone, Copy, Debug)]
pub(super) enum SetName {
    /// The newest whole one.
    Latest,
    /// This one.
    Named(SnapshotId),
}

impl std::str::FromStr for SetName {
    type Err = crate::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" { Ok(Self::Latest) } else { text.parse().map(Self::Named) }
    }
}

impl SetName {
    /// Returns which set is meant, in the words of a restore.
    pub(super) fn at(self) -> At {
        match self {
            Self::Latest => At::Latest,
            Self::Named(id) => At::Snapshot(id),
        }
    }

    /// Returns the set's id in a catalogue.
    pub(super) fn find(self, catalogue: &Catalogue, place: &Place) -> Result<SnapshotId, CliError> {
        let missing = || {
            let what = match self {
                Self::Latest => "complete set".to_owned(),
                Self::Named(id) => format!("set {id}"),
            };
            crate::work::Refusal::NoSet(format!("there is no {what} in {}", place.at))
        };
        Ok(self.at().find(catalogue).ok_or_else(missing)?.id)
    }
}
