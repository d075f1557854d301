//! The sets that HitKeep's own backup writes: which is the newest, and is it finished?
//!
//! HitKeep leaves no mark for a finished set. It exports the shared database first, then one tenant after the other, and
//! of each database `load.sql` last. So a set is finished when every database has all its files that its own list of
//! tenants names. One that lacks something is still being written if something in it has changed a short while ago.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::sets::{self, Asked};
use super::{Known, Means, Own, SurveyError, destinations};
use crate::duck::{self, snapshot};
use crate::event::Event;
use crate::hitkeep::{self, Layout, Tenant};
use crate::measure::Bytes;
use crate::name::{DatabaseId, Prefix, SnapshotId};
use crate::plan::{Backup, Snapshots};
use crate::record::{Held, Set};
use crate::store::local::Local;
use crate::store::{Store, StoreError};
use crate::work::{AdoptFacts, At, DestinationFact, TheirFiles, TheirSet, TheirSnapshot};

/// How long nothing has changed in a set that nobody is writing to. Before it exports a database, HitKeep checkpoints it,
/// and nothing is seen of that.
const QUIET: Duration = Duration::from_mins(2);

/// How long it is waited between two looks at a set that is being written.
const PAUSE: Duration = Duration::from_secs(1);

/// What lies in the directory that HitKeep's own backup writes to.
#[derive(Clone, Debug)]
pub struct Theirs {
    /// The newest set whose shared database is there.
    pub set: Option<TheirSet>,
    /// The newest set, where that lacks something.
    pub unfinished: Option<Unfinished>,
}

/// A set that lacks something: HitKeep is still writing it, or has given it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its name.
    pub id: SnapshotId,
    /// What it lacks, in words.
    pub lacks: String,
    /// When something in it changed last.
    pub changed: Timestamp,
}

/// Looks at everything that the adoption of HitKeep's newest set is about, after waiting for HitKeep to finish it.
///
/// # Errors
/// When there is no finished set, or it does not say which databases there are.
pub async fn adopt(
    job: &Backup,
    snapshots: &Snapshots,
    stores: &[Arc<dyn Store>],
    known: &Known,
    means: &Means<'_>,
) -> Result<AdoptFacts, SurveyError> {
    let set = finished_set(snapshots.folder(), means).await?;
    let wanted: Vec<DatabaseId> =
        set.databases.iter().map(|held| held.id).filter(|id| job.databases().includes(*id)).collect();
    let mut destinations = means.unless_stopped(destinations(job, stores, &wanted, known)).await?;
    let mut there = BTreeMap::new();
    for (fact, store) in destinations.iter_mut().zip(stores) {
        match means.unless_stopped(held_already(store.as_ref(), fact, set.id, known)).await? {
            Ok(held) => there.extend(held.map(|held| (fact.name.clone(), held))),
            Err(error) => fact.reached = Err(error.to_string()),
        }
    }
    Ok(AdoptFacts { set, destinations, there })
}

/// Returns what a destination holds under a set's name.
async fn held_already(
    store: &dyn Store,
    fact: &DestinationFact,
    id: SnapshotId,
    known: &Known,
) -> Result<Option<Set>, StoreError> {
    if !fact.reached.as_ref().is_ok_and(|reached| reached.names.contains(id)) {
        return Ok(None);
    }
    let own = known.own.get(&fact.name).cloned().unwrap_or_default();
    let catalogue = sets::catalogue(store, &fact.place.prefix, Asked::At(At::Snapshot(id)), &own).await?;
    Ok(catalogue.find(id).cloned())
}

/// Waits until nobody writes to the newest set, and returns the newest one that can be adopted.
async fn finished_set(folder: &Path, means: &Means<'_>) -> Result<TheirSet, SurveyError> {
    let mut watch = Watch::default();
    loop {
        let Theirs { set, unfinished } = look(folder, means).await?;
        let unfinished = match unfinished {
            Some(unfinished) if !watch.has_settled(&unfinished, (means.clock)()) => {
                watch.tell(&unfinished, means);
                means.unless_stopped(tokio::time::sleep(PAUSE)).await?;
                continue;
            }
            settled => settled,
        };
        let given_up = unfinished.filter(|unfinished| set.as_ref().is_none_or(|set| set.id != unfinished.id));
        let given_up = given_up.map(|Unfinished { id, lacks, .. }| format!("HitKeep's set {id} is not whole: {lacks}"));
        return match set {
            Some(mut set) => {
                set.oddities.extend(given_up);
                Ok(set)
            }
            None => {
                Err(SurveyError::NoSet { at: folder.display().to_string(), oddities: given_up.into_iter().collect() })
            }
        };
    }
}

/// Watches a set that lacks something.
#[derive(Default)]
struct Watch {
    /// What was seen last, and since when nothing else is seen.
    seen: Option<(SnapshotId, Timestamp, Instant)>,
    /// The set that was told of.
    told: Option<SnapshotId>,
}

impl Watch {
    /// Tells whether nobody writes to the set any more: by the times of its files, or by having seen no other for long.
    fn has_settled(&mut self, Unfinished { id, changed, .. }: &Unfinished, now: Timestamp) -> bool {
        let since = match self.seen {
            Some((seen, at, since)) if (seen, at) == (*id, *changed) => since,
            _ => Instant::now(),
        };
        self.seen = Some((*id, *changed, since));
        since.elapsed() >= QUIET || is_quiet(*changed, now)
    }

    /// Says once of each set that it is waited for.
    fn tell(&mut self, Unfinished { id, lacks, .. }: &Unfinished, means: &Means<'_>) {
        if self.told.replace(*id) != Some(*id) {
            let message = format!("HitKeep is still writing set {id}: {lacks}");
            means.tell.hear(&Event::Waiting { message });
        }
    }
}

fn is_quiet(changed: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(changed)).is_ok_and(|age| age >= QUIET)
}

impl Unfinished {
    /// Tells whether HitKeep may still be writing it.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        !is_quiet(self.changed, now)
    }
}

/// Looks once at the directory that HitKeep's own backup writes to.
///
/// # Errors
/// When it cannot be read, or the newest set's shared database does not say which databases there are.
pub async fn look(folder: &Path, means: &Means<'_>) -> Result<Theirs, SurveyError> {
    check_folder(folder).map_err(SurveyError::Theirs)?;
    let store = Local::new(folder.to_owned());
    let found = sets::catalogue(&store, &Prefix::default(), Asked::At(At::Latest), &Own::default()).await;
    let mut sets = found.map_err(SurveyError::Theirs)?.sets;
    // Those of this program are none of HitKeep's.
    sets.retain(|set| set.record.is_none());
    let lacks_shared = |set: &Set| lacks(set, DatabaseId::Shared);
    let set = match sets.iter().rev().find(|set| lacks_shared(set).is_none()) {
        Some(set) => Some(read_set(folder, set, means).await?),
        None => None,
    };
    let newest = sets.last();
    let unfinished = newest.and_then(|newest| {
        let known = set.as_ref().filter(|set| set.id == newest.id);
        let lacks = match known {
            Some(set) => first_gap(set)?,
            None => format!("the shared database lacks {}", lacks_shared(newest)?),
        };
        let expected = known.into_iter().flat_map(|set| &set.databases).map(|database| database.id);
        let databases = expected.chain(newest.databases.iter().map(|held| held.database)).collect();
        Some(Unfinished { id: newest.id, lacks, changed: last_change(folder, newest.id, &databases) })
    });
    Ok(Theirs { set, unfinished })
}

fn check_folder(folder: &Path) -> Result<(), StoreError> {
    let at = || folder.display().to_string();
    std::fs::read_dir(folder).map(drop).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => StoreError::Missing { at: at() },
        _ => StoreError::Io { doing: "read", at: at(), cause },
    })
}

/// Returns what a set lacks of a database; nothing where it lacks nothing.
fn lacks(set: &Set, database: DatabaseId) -> Option<String> {
    match set.databases.iter().find(|held| held.database == database) {
        Some(held) => held.lacks(),
        None => Some("everything".to_owned()),
    }
}

/// Returns the first database that is not there, and what it lacks.
fn first_gap(set: &TheirSet) -> Option<String> {
    set.databases.iter().find_map(|database| {
        let cause = database.held.as_ref().err()?;
        Some(format!("{}: {cause}", database.id))
    })
}

/// Reads which databases a set should hold, and compares it with what it does hold.
async fn read_set(folder: &Path, set: &Set, means: &Means<'_>) -> Result<TheirSet, SurveyError> {
    let shared = folder.join(hitkeep::snapshot_folder(DatabaseId::Shared, set.id).as_str());
    let read = duck::enter(means.limits, means.stop.wait(), move |session| snapshot::tenants(session, &shared));
    let (tenants, layout) = match (read.await, means.stop.reason()) {
        (Err(_), Some(reason)) => return Err(SurveyError::Stopped(reason)),
        (read, _) => read?,
    };
    Ok(compare(folder, set, &tenants, layout))
}

fn compare(folder: &Path, set: &Set, tenants: &[Tenant], layout: Layout) -> TheirSet {
    let mut databases = Vec::new();
    let mut unused = Vec::new();
    for id in hitkeep::expected_databases(tenants, layout) {
        let held = set.databases.iter().find(|held| held.database == id);
        let tenant = tenants.iter().find(|tenant| DatabaseId::Tenant(tenant.id) == id);
        match tenant.filter(|tenant| held.is_none() && !tenant.has_sites) {
            Some(tenant) => unused.push(tenant.clone()),
            None => databases.push(snapshot_fact(folder, set.id, id, tenant, held)),
        }
    }
    let is_expected = |held: &Held| databases.iter().any(|database| database.id == held.database);
    let strangers = set.databases.iter().filter(|held| !is_expected(held));
    let oddity = |held: &Held| {
        let (id, database) = (set.id, held.database);
        format!(
            "HitKeep's set {id} has {database}, which its shared database does not know yet: it is left to the next"
        )
    };
    let oddities = strangers.map(oddity).collect();
    TheirSet { id: set.id, databases, unused, oddities }
}

fn snapshot_fact(
    root: &Path,
    set: SnapshotId,
    id: DatabaseId,
    tenant: Option<&Tenant>,
    held: Option<&Held>,
) -> TheirSnapshot {
    let folder = root.join(hitkeep::snapshot_folder(id, set).as_str());
    let held = match held.map(|held| (held, held.lacks())) {
        None => Err(format!("HitKeep's set {set} does not have it")),
        Some((_, Some(lacks))) => Err(format!("its export in HitKeep's set {set} lacks {lacks}")),
        Some((held, None)) => Ok(files(&folder, set, held)),
    };
    TheirSnapshot { id, name: tenant.map(|tenant| tenant.name.clone()), folder, held }
}

/// Returns the files that belong to an export: what else lies there is not HitKeep's.
fn files(folder: &Path, set: SnapshotId, held: &Held) -> TheirFiles {
    let data = held.loads.iter().flatten().map(String::as_str);
    let names: BTreeSet<String> = data.chain([hitkeep::SCHEMA_FILE, hitkeep::LOAD_FILE]).map(str::to_owned).collect();
    let bytes = names.iter().filter_map(|name| held.files.get(name)).sum();
    let times = names.iter().filter_map(|name| modified(&folder.join(name)));
    // A copy may have other times than the original; none is older than its set.
    let begun = times.min().unwrap_or(set.moment()).max(set.moment());
    TheirFiles { names, bytes: Bytes(bytes), begun }
}

/// Returns when something in a set changed last; the folder of an export that has only begun counts too.
fn last_change(root: &Path, set: SnapshotId, databases: &BTreeSet<DatabaseId>) -> Timestamp {
    let folders = databases.iter().map(|id| root.join(hitkeep::snapshot_folder(*id, set).as_str()));
    let inside = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let paths = folders.flat_map(|folder| inside(&folder).into_iter().chain([folder]));
    paths.filter_map(|path| modified(&path)).max().unwrap_or(Timestamp::MIN)
}

fn modified(path: &Path) -> Option<Timestamp> {
    let modified: SystemTime = path.metadata().ok()?.modified().ok()?;
    modified.try_into().ok()
}
