//! Looks where the rows are that an archive is about: the databases are read, or copied where others have them open; the
//! newest snapshots' tables are fetched; of the archive only what is needed to tell one row from another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::load::remove_folder;
use super::{Cause, Gauge, Outside, exit, files, make_private_folder};
use crate::duck::archive::{self, Found, Held, Sources};
use crate::duck::{self, Database};
use crate::hitkeep;
use crate::measure::Sha256;
use crate::name::{DatabaseId, Name, SiteId, SnapshotId};
use crate::plan::Archive;
use crate::record::{self, ArchivedFile, FileRecord, Manifest, PartId, RunRecord};
use crate::store::Part;
use crate::work::{self, ArchiveFacts, ArchiveReached, Coverage, CoveringSet, DatabaseFact, Place, Share};

/// The newest complete set of a source by one of its jobs.
#[derive(Clone, Debug)]
pub struct Newest {
    /// Its name.
    pub set: SnapshotId,
    /// The destination that it is at.
    pub destination: Name,
    /// Where it is there.
    pub place: Place,
    /// Its run record.
    pub record: RunRecord,
}

/// Looks where the rows are that `job` is about, in folders of its own inside `staging`.
///
/// # Errors
/// When a database, a snapshot or an archived file cannot be read, or is not what was sealed.
pub async fn coverage(
    job: &Archive,
    facts: &ArchiveFacts,
    newest: &[Newest],
    staging: &Path,
    outside: &Outside,
) -> Result<Coverage, Cause> {
    let look = Look { job, facts, newest, staging, outside };
    let mut parts = BTreeMap::new();
    for fact in &facts.databases {
        let sites = look.sites(fact.id);
        if !sites.is_empty() {
            parts.extend(look.cover(fact, sites).await?);
        }
    }
    let domains = facts.sites.iter().map(|(site, _, _)| (site.id, site.domain.clone())).collect();
    Ok(Coverage {
        job: job.name().to_string(),
        archives: facts.destinations.iter().map(|fact| fact.place.at.clone()).collect(),
        snapshot: newest.iter().max_by_key(|newest| newest.set).map(covering),
        snapshots: newest.iter().map(covering).collect(),
        sites: Coverage::sites(parts, &domains),
        problems: problems(facts),
    })
}

fn covering(newest: &Newest) -> CoveringSet {
    CoveringSet { set: newest.set, at: newest.place.at.clone() }
}

/// Says what of the archive is not known.
fn problems(facts: &ArchiveFacts) -> Vec<String> {
    let of_one = |fact: &work::ArchiveDestination| match &fact.reached {
        Err(cause) => vec![format!("`{}` cannot be read: {cause}", fact.name)],
        Ok(reached) => {
            let at = &fact.place.at;
            let gone = |run: &SnapshotId| format!("what run {run} archived is not known: its record in {at} is gone");
            reached.unknown.iter().map(gone).collect()
        }
    };
    facts.destinations.iter().flat_map(of_one).collect()
}

struct Look<'l> {
    job: &'l Archive,
    facts: &'l ArchiveFacts,
    newest: &'l [Newest],
    staging: &'l Path,
    outside: &'l Outside,
}

impl Look<'_> {
    /// Returns the destinations that answer.
    fn reached(&self) -> impl Iterator<Item = (&work::ArchiveDestination, &ArchiveReached)> {
        self.facts.destinations.iter().filter_map(|fact| Some((fact, fact.reached.as_ref().ok()?)))
    }

    /// Returns the sites whose rows are in a database; those that HitKeep knows no more are looked for in the shared one.
    fn sites(&self, database: DatabaseId) -> BTreeSet<SiteId> {
        let known = self.facts.sites.iter();
        let mut sites: BTreeSet<SiteId> =
            known.filter(|(_, _, of)| *of == database).map(|(site, _, _)| site.id).collect();
        if database == DatabaseId::Shared {
            let all = self.reached().flat_map(|(_, reached)| {
                reached.ledger.files.iter().chain(reached.lost.iter().map(|lost| &lost.file)).map(|file| file.site)
            });
            sites.extend(all.filter(|id| !self.facts.sites.iter().any(|(site, _, _)| site.id == *id)));
        }
        sites
    }

    async fn cover(&self, fact: &DatabaseFact, sites: BTreeSet<SiteId>) -> Result<BTreeMap<PartId, Share>, Cause> {
        let database = self.database(fact).await?;
        let from = database.clone();
        let names = self.outside.engine(move |session| archive::table_names(session, &from)).await?;
        let folder = self.staging.join(format!("coverage-{}", fact.id));
        let mut snapshots = Vec::new();
        for (number, newest) in self.newest.iter().enumerate() {
            let into = folder.join(format!("snapshot-{number}"));
            snapshots.push(self.fetch_snapshot(newest, fact.id, &names, &into).await?);
        }
        let archives = self.reached().map(|(_, reached)| reached.clone()).collect();
        let sources = Sources { sites, snapshots, archives };
        let mut at_hand: BTreeMap<Held, PathBuf> = BTreeMap::new();
        let shares = loop {
            let (from, sources, at) = (database.clone(), sources.clone(), at_hand.clone());
            let cover = self
                .outside
                .engine(move |session| archive::cover(session, &from, &sources, &|held| at.get(held).cloned()));
            match cover.await? {
                Found::Needs(needs) => at_hand.extend(self.fetch_archived(&needs, &folder).await?),
                Found::Shares(shares) => break shares,
            }
        };
        remove_folder(&folder)?;
        Ok(shares)
    }

    /// Returns what is read of a database: itself, or a copy where any of them is open.
    async fn database(&self, fact: &DatabaseFact) -> Result<Database, Cause> {
        if let Err(cause) = &fact.seen {
            return Err(Cause::Before { cause: format!("{}: {cause}", fact.id), exit_code: exit::SOURCE });
        }
        if !self.job.installation().capture().is_live(self.facts.databases.iter().any(DatabaseFact::is_held)) {
            return Ok(Database::Source(fact.path.clone()));
        }
        let copy = work::copy_path(self.staging, fact.id);
        if fact.copy.is_none() {
            let Outside { patience, clock, stop, .. } = self.outside;
            duck::copy_live(&fact.path, &copy, *patience, *clock, stop).await?;
        }
        Ok(Database::Copy(copy))
    }

    /// Fetches a set's files of these tables of a database.
    async fn fetch_snapshot(
        &self,
        newest: &Newest,
        database: DatabaseId,
        tables: &[String],
        folder: &Path,
    ) -> Result<BTreeMap<String, PathBuf>, Cause> {
        let Some(sealed) = newest.record.snapshots.iter().find(|snapshot| snapshot.database == database) else {
            return Ok(BTreeMap::new());
        };
        let store = self.outside.store(&newest.destination)?;
        let key = newest.place.prefix.key(&record::manifest_key(database, newest.set));
        let bytes = store.read(&key, Part::Whole).await?;
        let differs = |how: &str| Cause::Differs(format!("`{}` {how}", store.locate(key.as_str())));
        if Sha256::of(&bytes) != sealed.manifest_sha256 {
            return Err(differs("is not the manifest that was sealed"));
        }
        let manifest = Manifest::read(&bytes).map_err(|error| differs(&format!("cannot be read: {error}")))?;
        let name = |table: &String| format!("{table}.parquet");
        let wanted: BTreeMap<String, &String> = tables.iter().map(|table| (name(table), table)).collect();
        let files = manifest.files.into_iter().filter(|file| wanted.contains_key(&file.path));
        let files: Vec<FileRecord> = files.collect();
        make_private_folder(folder)?;
        let from = newest.place.prefix.join(&hitkeep::snapshot_folder(database, newest.set));
        files::get(store, &from, &files, folder, &Gauge::default()).await?;
        let table = |file: &FileRecord| (wanted[&file.path].clone(), folder.join(&file.path));
        Ok(files.iter().map(table).collect())
    }

    /// Fetches archived files from the destinations that have them.
    async fn fetch_archived(&self, needs: &BTreeSet<Held>, folder: &Path) -> Result<BTreeMap<Held, PathBuf>, Cause> {
        let mut fetched = BTreeMap::new();
        for (number, (fact, _)) in self.reached().enumerate() {
            let store = self.outside.store(&fact.name)?;
            let files: Vec<&ArchivedFile> =
                needs.iter().filter(|(at, _)| *at == number).map(|(_, file)| file).collect();
            let into = folder.join(format!("archive-{number}"));
            files::get_archived(store, &fact.place.prefix, files.iter().copied(), &into, &Gauge::default()).await?;
            fetched.extend(files.iter().map(|file| ((number, (*file).clone()), into.join(&file.file.path))));
        }
        Ok(fetched)
    }
}
