//! Which sets a place holds: the names first, and then what each is worth, for those that are asked for.
//!
//! Names cost two shallow listings, however much lies in the sets: all run records, and the folders of the snapshots
//! that are not much older than what is asked for. A set costs what its databases are: a listing of
//! each one's folder, a look for its manifest, and the run record. Only who asks for everything lists everything.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::own::Own;
use crate::duck;
use crate::hitkeep;
use crate::measure::Sha256;
use crate::name::{DatabaseId, Key, Name, Prefix, RunId, SnapshotId};
use crate::record::{self, Catalogue, Doubt, FoundRecord, Held, Names, RunRecord, Set, Status};
use crate::store::{Part, Store, StoreError};
use crate::work::{At, Before, Predecessor, Remains};

/// How many sealed sets before the one that is asked for may be older than what else is seen: with the manifests beside
/// the folders, what a bucket lists in one request.
const VICINITY: usize = 400;

/// How many records are read to find one of a job's own before the newest is taken for one: a job can be renamed.
const WITNESSES: usize = 24;

/// How many of the newest records say to which series a place belongs, where nobody remembers.
const VOTES: usize = 3;

/// How many of the newest runs that were never sealed are looked at for what they have left: each may have been killed at
/// another point.
const UNSEALED: usize = 4;

/// How many sets are looked at at the same time, and how many databases of each.
const ABREAST: usize = 8;

/// Which sets of a place are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Every one, and whatever else lies there.
    All,
    /// The newest ones, this many at most.
    Newest(usize),
    /// The one that is meant; those that are looked at before it is found come with it.
    At(At),
}

/// Reads which sets a backup prefix holds, as far as they are asked for. The place belongs to one of the host's `own`
/// series, where there is a set of one: that of the newest such set.
///
/// Without the whole listing, a set is not seen of which there are tenants' snapshots alone: no run record, no
/// announcement and nothing of the shared database. No run leaves such a thing, and HitKeep makes none. Neither is one
/// without a run record that is older than some hundreds of sealed sets before the one that is asked for.
///
/// # Errors
/// When the place cannot be listed or a record in it cannot be fetched. A record that cannot be understood is a fact.
pub async fn catalogue(store: &dyn Store, prefix: &Prefix, asked: Asked, own: &Own) -> Result<Catalogue, StoreError> {
    let look = Look { store, prefix, own };
    match asked {
        Asked::All => look.at_all().await,
        Asked::Newest(count) => look.at_newest(count).await,
        Asked::At(at) => look.until_found(at).await,
    }
}

/// Returns the names of all sets that have a run record.
///
/// # Errors
/// When the place cannot be listed.
pub async fn sealed(store: &dyn Store, prefix: &Prefix) -> Result<BTreeSet<SnapshotId>, StoreError> {
    let runs = store.list(&prefix.join(&record::runs_folder())).await?;
    Ok(Names::derive(runs.keys().filter_map(|key| prefix.strip(key)), BTreeSet::new()).sealed)
}

/// What a new run must know of the sets before it.
#[derive(Debug)]
pub(super) struct Predecessors {
    /// Which names are taken.
    pub(super) names: Names,
    /// The newest set of the job's series that has a run record.
    pub(super) newest_record: Option<Predecessor>,
    /// The newest set of the job's series whose run was complete.
    pub(super) newest_complete: Option<Before>,
}

/// Reads what a new run of `job` must know of the sets before it. Those that were brought there from another series are
/// passed over.
pub(super) async fn predecessors(
    store: &dyn Store,
    prefix: &Prefix,
    job: &Name,
    own: &Own,
) -> Result<Predecessors, StoreError> {
    let look = Look { store, prefix, own };
    let names = look.names(At::Latest).await?;
    let is_complete = |record: &RunRecord| record.status == Status::Complete;
    let series = look.series(&names, job, is_complete).await?;
    let predecessor = |(record, digest): &(RunRecord, Sha256)| {
        let (set, series) = (record.snapshot, record.series);
        Predecessor { set, digest: *digest, series }
    };
    let before = |record: &RunRecord| Before { set: record.snapshot, rows: record.rows(), bytes: record.bytes() };
    let newest_complete = series.iter().find(|(record, _)| is_complete(record)).map(|(record, _)| before(record));
    Ok(Predecessors { names, newest_record: series.first().map(predecessor), newest_complete })
}

/// Returns what the newest runs that were never sealed have left of some databases, the newest first: a listing of one
/// folder for each run and database.
pub(super) async fn remains(
    store: &dyn Store,
    prefix: &Prefix,
    names: &Names,
    databases: &[DatabaseId],
) -> Result<Vec<Remains>, StoreError> {
    let unsealed = names.announced.iter().rev().filter(|id| !names.sealed.contains(*id)).take(UNSEALED);
    let folders = unsealed.flat_map(|set| databases.iter().map(|database| (*set, *database)));
    let list = async |(set, database)| {
        let prefix = prefix.join(&hitkeep::snapshot_folder(database, set));
        let listed = store.list(&prefix).await?;
        let files = listed.iter().filter_map(|(key, bytes)| Some((prefix.strip(key)?.to_owned(), *bytes))).collect();
        Ok(Remains { set, database, prefix, files })
    };
    let remains: Vec<Remains> = stream::iter(folders).map(list).buffered(ABREAST).try_collect().await?;
    Ok(remains.into_iter().filter(|remains| !remains.files.is_empty()).collect())
}

/// Returns the newest run record of a job's series that can be understood and `counts`.
pub(super) async fn newest_record(
    store: &dyn Store,
    prefix: &Prefix,
    job: &Name,
    own: &Own,
    counts: impl Fn(&RunRecord) -> bool,
) -> Result<Option<RunRecord>, StoreError> {
    let look = Look { store, prefix, own };
    let names = look.names(At::Latest).await?;
    let series = look.series(&names, job, &counts).await?;
    Ok(series.into_iter().map(|(record, _)| record).find(counts))
}

/// Returns why it is not certain whose a place is that has sets of these series.
fn doubt<'s>(series: impl Iterator<Item = &'s Option<RunId>>) -> Option<Doubt> {
    let series: BTreeSet<RunId> = series.copied().flatten().collect();
    (series.len() > 1).then_some(Doubt::Mixed)
}

/// Records with the digests of their bytes, in order from the newest.
type Read = [(RunRecord, Sha256)];

/// Returns the newest of the host's own series that a record is of.
fn known(read: &Read, own: &Own) -> Option<RunId> {
    read.iter().filter_map(|(record, _)| record.series).find(|series| own.has(*series))
}

/// Returns the series of the records that say of which a job's sets are: of the newest with its name, or of the newest where
/// none has it. Nothing as long as more records could tell more, and there are not yet `enough`.
fn votes(read: &Read, job: &Name, is_enough: bool) -> Option<Vec<Option<RunId>>> {
    let series = |(record, _): &(RunRecord, Sha256)| record.series;
    let named: Vec<_> = read.iter().filter(|(record, _)| record.job == *job).take(VOTES).map(series).collect();
    match named.len() {
        VOTES => Some(named),
        0 => is_enough.then(|| read.iter().take(VOTES).map(series).collect()),
        _ => is_enough.then_some(named),
    }
}

/// Returns those of the records that are of a series, or do not say of which they are.
fn of_series(read: &Read, series: Option<RunId>) -> impl Iterator<Item = &(RunRecord, Sha256)> {
    let is_of_it = move |record: &RunRecord| series.is_none() || record.series.is_none() || record.series == series;
    read.iter().filter(move |(record, _)| is_of_it(record))
}

/// Returns the sets to look at until the one that is meant is found, newest first.
///
/// Before them comes the next one that has a run record: it names the record before it, which is found changed so.
fn candidates(names: &Names, at: At) -> Vec<SnapshotId> {
    let is_meant = |id: &SnapshotId| match at {
        At::Snapshot(wanted) => *id == wanted,
        At::Latest | At::Moment(_) => is_old_enough(*id, at),
    };
    let meant: Vec<SnapshotId> = names.all().into_iter().rev().filter(is_meant).collect();
    let after = |first: &SnapshotId| names.sealed.range((Bound::Excluded(*first), Bound::Unbounded)).next();
    let witness = meant.first().and_then(after);
    witness.into_iter().chain(&meant).copied().collect()
}

/// Tells whether a set is not younger than the one that is meant.
fn is_old_enough(id: SnapshotId, at: At) -> bool {
    match at {
        At::Latest => true,
        At::Snapshot(wanted) => id <= wanted,
        At::Moment(moment) => id.moment() <= moment,
    }
}

/// A look at one backup prefix.
#[derive(Clone, Copy)]
struct Look<'p> {
    store: &'p dyn Store,
    prefix: &'p Prefix,
    /// The series that are known to be this host's own.
    own: &'p Own,
}

impl Look<'_> {
    /// Lists everything, and judges every set by it.
    async fn at_all(self) -> Result<Catalogue, StoreError> {
        let listed = self.store.list(self.prefix).await?;
        let listing = || listed.iter().filter_map(|(key, bytes)| Some((self.prefix.strip(key)?, *bytes)));
        let mut held = Held::by_set(listing());
        let names = Names::derive(listing().map(|(key, _)| key), held.keys().copied().collect());
        let sets = names.all().into_iter().map(|id| (id, held.remove(&id).unwrap_or_default()));
        let judge = async |(id, held)| self.judge(&names, id, self.record(&names, id).await?, held).await;
        let sets: Vec<Set> = stream::iter(sets).map(judge).buffered(ABREAST).try_collect().await?;
        let mut catalogue = self.belonging(&names, &sets).await?;
        catalogue.extend(sets);
        Ok(catalogue)
    }

    /// Looks at the newest sets. Where these are all, the whole listing costs less.
    async fn at_newest(self, count: usize) -> Result<Catalogue, StoreError> {
        let names = self.names(At::Latest).await?;
        let ids = names.all();
        if ids.len() <= count {
            return self.at_all().await;
        }
        let mut older = ids.iter().rev();
        let mut sets = Vec::new();
        while sets.len() < count && older.len() > 0 {
            let newest = stream::iter(older.by_ref().take(count - sets.len()));
            let found = newest.map(|id| self.at_set(&names, *id)).buffered(ABREAST);
            sets.extend(found.try_collect::<Vec<_>>().await?.into_iter().flatten());
        }
        let mut catalogue = self.belonging(&names, &sets).await?;
        catalogue.unseen = older.len();
        catalogue.extend(sets);
        Ok(catalogue)
    }

    /// Looks at one set after the other until the one that is meant is found.
    async fn until_found(self, at: At) -> Result<Catalogue, StoreError> {
        let names = self.names(at).await?;
        let mut catalogue = self.home(&names).await?;
        catalogue.unseen = names.all().len();
        for id in candidates(&names, at) {
            catalogue.extend(self.at_set(&names, id).await?);
            catalogue.unseen -= 1;
            if at.find(&catalogue).is_some() {
                break;
            }
        }
        Ok(catalogue)
    }

    /// Returns a catalogue of no sets, which knows the series that the place belongs to by sets that were looked at.
    async fn belonging(self, names: &Names, sets: &[Set]) -> Result<Catalogue, StoreError> {
        let records = sets.iter().filter_map(|set| Some(&set.record.as_ref()?.0));
        let series: BTreeMap<SnapshotId, _> = records.map(|record| (record.snapshot, record.series)).collect();
        self.home_by(names, &series).await
    }

    /// Returns a catalogue of no sets, which knows the series that the place belongs to by the newest of all.
    async fn home(self, names: &Names) -> Result<Catalogue, StoreError> {
        let newest = self.read_series(names.sealed.iter().rev().take(VOTES)).await?;
        let mut catalogue = self.home_by(names, &newest).await?;
        if self.own.is_empty() && names.sealed.len() > VOTES {
            // The oldest set is a witness: who copies sets to a place finds others there.
            let witness = self.read_series(names.sealed.iter().take(1)).await?;
            catalogue.doubt = doubt(newest.values().chain(witness.values()));
        }
        Ok(catalogue)
    }

    /// Finds the series that the place belongs to, by that of each of the newest sets: one of the host's own, which is looked
    /// for among older sets too, or that of most.
    async fn home_by(
        self,
        names: &Names,
        newest: &BTreeMap<SnapshotId, Option<RunId>>,
    ) -> Result<Catalogue, StoreError> {
        let own = |series: &BTreeMap<SnapshotId, Option<RunId>>| {
            series.values().rev().flatten().find(|series| self.own.has(**series)).copied()
        };
        let mut home = own(newest);
        if home.is_none() && !self.own.is_empty() {
            let older = || newest.keys().next().map(|oldest| names.sealed.range(..oldest).rev()).into_iter().flatten();
            home = own(&self.read_series(older().take(VICINITY)).await?);
            if home.is_none() {
                home = own(&self.read_series(self.remembered(older()).take(VOTES)).await?);
            }
        }
        let is_gone = !self.own.is_empty() && newest.values().flatten().next().is_some();
        let doubt = match home {
            Some(_) => None,
            None if is_gone => Some(Doubt::Gone),
            None => doubt(newest.values()),
        };
        let home = home.or_else(|| record::home_of(newest.values().rev().copied()));
        Ok(Catalogue { home, doubt, ..Catalogue::default() })
    }

    /// Returns those of the sets that are too far back to be looked through, and that the host remembers.
    fn remembered<'n>(self, sets: impl Iterator<Item = &'n SnapshotId>) -> impl Iterator<Item = &'n SnapshotId> {
        sets.skip(VICINITY).filter(move |id| self.own.remembers(**id))
    }

    /// Reads of which series sets are, as far as their records can be understood.
    async fn read_series(
        self,
        ids: impl Iterator<Item = &SnapshotId>,
    ) -> Result<BTreeMap<SnapshotId, Option<RunId>>, StoreError> {
        let read = stream::iter(ids.copied()).map(async |id| Ok((id, self.read_record(id).await?.0)));
        let read: Vec<(SnapshotId, Result<RunRecord, String>)> = read.buffered(ABREAST).try_collect().await?;
        Ok(read.into_iter().filter_map(|(id, record)| Some((id, record.ok()?.series))).collect())
    }

    /// Lists run records and announcements, and the folders of the shared database's snapshots that are not much older
    /// than the set that is meant.
    async fn names(self, at: At) -> Result<Names, StoreError> {
        let runs = self.store.list(&self.prefix.join(&record::runs_folder())).await?;
        let names = Names::derive(runs.keys().filter_map(|key| self.prefix.strip(key)), BTreeSet::new());
        let mut before = names.sealed.iter().rev().filter(|id| is_old_enough(**id, at));
        let from = before.nth(VICINITY - 1).map(SnapshotId::to_string).unwrap_or_default();
        let shared = self.prefix.join(&hitkeep::snapshots_folder(DatabaseId::Shared));
        let shared = self.store.folders(&shared, &from).await?;
        Ok(Names { stored: shared.iter().filter_map(|name| name.parse().ok()).collect(), ..names })
    }

    /// Looks at one set; nothing where a folder is all that there is of it, which some servers name for a while.
    async fn at_set(self, names: &Names, id: SnapshotId) -> Result<Option<Set>, StoreError> {
        let record = self.record(names, id).await?;
        let databases = self.databases(record.as_ref()).await?;
        let held = stream::iter(databases).map(|database| self.held(database, id)).buffered(ABREAST);
        let held: Vec<Held> = held.try_filter_map(async |held| Ok(held)).try_collect().await?;
        if record.is_none() && held.is_empty() && !names.announced.contains(&id) {
            return Ok(None);
        }
        self.judge(names, id, record, held).await.map(Some)
    }

    /// Returns the databases that a set may hold: those of its run record, or every one that there are snapshots of.
    async fn databases(self, record: Option<&FoundRecord>) -> Result<BTreeSet<DatabaseId>, StoreError> {
        if let Some((Ok(record), _)) = record {
            let sealed = record.snapshots.iter().map(|snapshot| snapshot.database);
            return Ok(sealed.chain(record.expected.iter().copied()).collect());
        }
        let tenants = self.store.folders(&self.prefix.join(&hitkeep::tenants_folder()), "").await?;
        let tenants = tenants.iter().filter_map(|name| name.parse().ok()).map(DatabaseId::Tenant);
        Ok(std::iter::once(DatabaseId::Shared).chain(tenants).collect())
    }

    /// Looks for what a set holds of one database.
    async fn held(self, database: DatabaseId, id: SnapshotId) -> Result<Option<Held>, StoreError> {
        let folder = self.prefix.join(&hitkeep::snapshot_folder(database, id));
        let manifest = self.prefix.key(&record::manifest_key(database, id));
        let (listed, has_manifest) = tokio::try_join!(self.store.list(&folder), self.exists(&manifest))?;
        let files = listed.iter().filter_map(|(key, bytes)| Some((folder.strip(key)?.to_owned(), *bytes))).collect();
        let held = Held { database, files, has_manifest, loads: None };
        Ok(Some(held).filter(|held| held.has_manifest || !held.files.is_empty()))
    }

    async fn exists(self, key: &Key) -> Result<bool, StoreError> {
        match self.store.read(key, Part::Last(1)).await {
            Err(StoreError::Missing { .. }) => Ok(false),
            read => read.map(|_| true),
        }
    }

    /// Judges a set, after reading the `load.sql` of each snapshot where nothing else speaks for it.
    async fn judge(
        self,
        names: &Names,
        id: SnapshotId,
        record: Option<FoundRecord>,
        mut held: Vec<Held>,
    ) -> Result<Set, StoreError> {
        let is_announced = names.announced.contains(&id);
        if record.is_none() && !is_announced {
            let read = stream::iter(held).map(|held| self.with_loads(id, held)).buffered(ABREAST);
            held = read.try_collect().await?;
        }
        Ok(Set::judge(id, is_announced, record, held))
    }

    async fn with_loads(self, id: SnapshotId, mut held: Held) -> Result<Held, StoreError> {
        if held.files.contains_key(hitkeep::LOAD_FILE) {
            let folder = self.prefix.join(&hitkeep::snapshot_folder(held.database, id));
            let script = self.store.read(&folder.key(&hitkeep::load_key()), Part::Whole).await?;
            held.loads = Some(duck::data_files(&String::from_utf8_lossy(&script)).into_iter().collect());
        }
        Ok(held)
    }

    async fn record(self, names: &Names, id: SnapshotId) -> Result<Option<FoundRecord>, StoreError> {
        if names.sealed.contains(&id) { self.read_record(id).await.map(Some) } else { Ok(None) }
    }

    /// Reads the newest records until there is one of a job's series that is `enough`, and returns those of the series,
    /// newest first: of one of the host's own, or else of that which most of the newest are of.
    async fn series(
        self,
        names: &Names,
        job: &Name,
        enough: impl Fn(&RunRecord) -> bool,
    ) -> Result<Vec<(RunRecord, Sha256)>, StoreError> {
        let mut read = Vec::new();
        let newest = || names.sealed.iter().rev();
        for id in newest().take(VICINITY).chain(self.remembered(newest())) {
            let (Ok(record), digest) = self.read_record(*id).await? else { continue };
            read.push((record, digest));
            let has_enough = |series| of_series(&read, series).any(|(record, _)| enough(record));
            let is_found = match known(&read, self.own) {
                Some(own) => has_enough(Some(own)),
                None if !self.own.is_empty() => false,
                None => {
                    votes(&read, job, read.len() >= WITNESSES).is_some_and(|votes| has_enough(record::home_of(votes)))
                }
            };
            if is_found {
                break;
            }
        }
        let series = known(&read, self.own).or_else(|| record::home_of(votes(&read, job, true)?));
        Ok(of_series(&read, series).cloned().collect())
    }

    async fn read_record(self, id: SnapshotId) -> Result<FoundRecord, StoreError> {
        let bytes = self.store.read(&self.prefix.key(&record::record_key(id)), Part::Whole).await?;
        let record = RunRecord::read(&bytes).map_err(|error| error.to_string());
        let own = record.and_then(|record| match record.snapshot {
            snapshot if snapshot == id => Ok(record),
            other => Err(format!("it is the record of set {other}")),
        });
        Ok((own, Sha256::of(&bytes)))
    }
}
