//! Looks where the rows are that an archive is about: the databases are read, or copied where others have them open; the
//! newest snapshots' tables are fetched; of the archive only what is needed to tell one row from another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::load::remove_folder;
use super::{Cause, Gauge, Outside, exit, files, make_private_folder};
use crate::duck::archive::{self, Found, Held, Sources};
use crate::duck::{self, Database};
use crate::hitkeep;
use crate::measure::Sha256;
use crate::name::{DatabaseId, Name, SiteId, SnapshotId};
use crate::plan::Archive;
use crate::record::{self, FileRecord, Manifest, PartId, RunRecord};
use crate::store::Part;
use crate::work::{self, ArchiveFacts, ArchiveReached, Coverage, CoveringSet, DatabaseFact, Place, Share};

/// The newest complete set of a source by one of its jobs.
#[derive(Clone, Debug)]
pub struct Newest {
    /// Its name.
    pub set: SnapshotId,
    /// What each destination has of it, in the plan's order; at least one.
    pub copies: Vec<StoredSet>,
}

/// A set at one destination.
#[derive(Clone, Debug)]
pub struct StoredSet {
    /// The destination that it is at.
    pub destination: Name,
    /// Where it is there.
    pub place: Place,
    /// Its run record there.
    pub record: RunRecord,
}

/// What could not be read although rows may be in it.
#[derive(Clone, Debug, Default)]
pub struct Unread {
    /// What it is, why, and what follows, in a sentence each.
    pub problems: Vec<String>,
    /// The exit code that this asks for.
    pub code: u8,
}

impl Unread {
    /// Adds something to it.
    pub fn add(&mut self, problem: String, code: u8) {
        self.problems.push(problem);
        self.code = exit::worse(self.code, code);
    }
}

/// Looks where the rows are that `job` is about, in folders of its own inside `staging`; and returns the exit code that what
/// could not be read asks for, besides `unread`. Of what can only be read in part the rest is looked at: no row is taken to
/// be where nobody could look.
///
/// # Errors
/// When a folder cannot be used, or the word to stop was given.
pub async fn coverage(
    job: &Archive,
    facts: &ArchiveFacts,
    newest: &[Newest],
    mut unread: Unread,
    staging: &Path,
    outside: &Outside,
) -> Result<(Coverage, u8), Cause> {
    let mut look = Look { job, facts, newest, staging, outside, read: vec![Reading::default(); newest.len()] };
    let mut parts = BTreeMap::new();
    for fact in &facts.databases {
        let sites = look.sites(fact.id);
        if sites.is_empty() {
            continue;
        }
        match look.cover(fact, sites, &mut unread).await {
            Ok(shares) => parts.extend(shares),
            Err(cause) if cause.exit_code() == exit::SOURCE && outside.stop.reason().is_none() => {
                unread.add(format!("where the rows of {} are is not known: {cause}", fact.id), exit::SOURCE);
            }
            Err(cause) => return Err(cause),
        }
    }
    find_problems(facts, &mut unread);
    let domains = facts.sites.iter().map(|(site, _, _)| (site.id, site.domain.clone())).collect();
    let snapshots: Vec<CoveringSet> = look.covering().collect();
    let coverage = Coverage {
        job: job.name().to_string(),
        archives: facts.destinations.iter().map(|fact| fact.place.at.clone()).collect(),
        snapshot: snapshots.iter().max_by_key(|covering| covering.set).cloned(),
        snapshots,
        sites: Coverage::sites(parts, &domains),
        problems: unread.problems,
    };
    Ok((coverage, unread.code))
}

/// Says what of the archive is not known.
fn find_problems(facts: &ArchiveFacts, unread: &mut Unread) {
    for fact in &facts.destinations {
        let reached = match &fact.reached {
            Err(cause) => {
                unread.add(format!("`{}` cannot be read: {cause}", fact.name), exit::DESTINATION);
                continue;
            }
            Ok(reached) => reached,
        };
        for run in &reached.unknown {
            let at = &fact.place.at;
            unread.add(format!("what run {run} archived is not known: its record in {at} is gone"), exit::DONE);
        }
        for record in &reached.unread {
            let code = if record.is_damaged { exit::VERIFICATION } else { exit::DESTINATION };
            let counted = "nothing of it is counted as archived";
            unread.add(format!("what a run archived is not known, and {counted}: {}", record.cause), code);
        }
    }
}

/// What came of reading a set.
#[derive(Clone, Debug, Default)]
struct Reading {
    /// The numbers of the copies that something was read from.
    from: BTreeSet<usize>,
    /// Whether something could not be read from any of them.
    is_short: bool,
}

struct Look<'l> {
    job: &'l Archive,
    facts: &'l ArchiveFacts,
    newest: &'l [Newest],
    staging: &'l Path,
    outside: &'l Outside,
    /// What came of reading each of the newest sets.
    read: Vec<Reading>,
}

impl Look<'_> {
    /// Returns the sets that rows were looked for in, and where each was read.
    fn covering(&self) -> impl Iterator<Item = CoveringSet> {
        self.newest.iter().zip(&self.read).filter_map(|(newest, reading)| {
            let copy = match reading.from.first() {
                None if reading.is_short => return None,
                first => first.copied().unwrap_or(0),
            };
            Some(CoveringSet { set: newest.set, at: newest.copies.get(copy)?.place.at.clone() })
        })
    }

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

    async fn cover(
        &mut self,
        fact: &DatabaseFact,
        sites: BTreeSet<SiteId>,
        unread: &mut Unread,
    ) -> Result<BTreeMap<PartId, Share>, Cause> {
        let database = self.database(fact).await?;
        let from = database.clone();
        let names = self.outside.engine(move |session| archive::table_names(session, &from)).await?;
        let folder = self.staging.join(format!("coverage-{}", fact.id));
        let mut snapshots = Vec::new();
        for number in 0..self.newest.len() {
            let into = folder.join(format!("snapshot-{number}"));
            snapshots.extend(self.fetch_snapshot(number, fact.id, &names, &into, unread).await?);
        }
        let archives = self.reached().map(|(_, reached)| reached.clone()).collect();
        let mut sources = Sources { sites, snapshots, archives };
        let mut at_hand: BTreeMap<Held, PathBuf> = BTreeMap::new();
        let shares = loop {
            let (from, known, at) = (database.clone(), sources.clone(), at_hand.clone());
            let cover = self
                .outside
                .engine(move |session| archive::cover(session, &from, &known, &|held| at.get(held).cloned()));
            match cover.await? {
                Found::Needs(needs) => {
                    for (held, fetched) in self.fetch_archived(needs, &folder).await? {
                        match fetched {
                            Ok(path) => drop(at_hand.insert(held, path)),
                            Err(cause) => {
                                unread.add(format!("{cause}: what it held counts as lost"), cause.exit_code());
                                sources.lose(&held);
                            }
                        }
                    }
                }
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

    /// Fetches the files of these tables of a database that one of the newest sets has, from the first of its copies that can
    /// be read; nothing where none can.
    async fn fetch_snapshot(
        &mut self,
        number: usize,
        database: DatabaseId,
        tables: &[String],
        folder: &Path,
        unread: &mut Unread,
    ) -> Result<Option<BTreeMap<String, PathBuf>>, Cause> {
        let (newest, mut failed) = (&self.newest[number], Vec::new());
        for (copy, stored) in newest.copies.iter().enumerate() {
            remove_folder(folder)?;
            match self.fetch_copy(stored, database, tables, folder).await {
                Ok(files) => {
                    self.read[number].from.insert(copy);
                    for (at, cause) in failed {
                        let taken = format!("read is that in {}", stored.place.at);
                        self.outside.warn(format!("set {} in {at} cannot be read: {cause}; {taken}", newest.set));
                    }
                    return Ok(Some(files));
                }
                Err(cause @ (Cause::Folder { .. } | Cause::Stopped(_))) => return Err(cause),
                Err(cause) => failed.push((stored.place.at.as_str(), cause)),
            }
        }
        self.read[number].is_short = true;
        for (at, cause) in failed {
            let follows = "whether it has rows that are nowhere else is uncertain";
            unread.add(
                format!("what set {} in {at} has of {database} cannot be read, and {follows}: {cause}", newest.set),
                cause.exit_code(),
            );
        }
        Ok(None)
    }

    /// Fetches a set's files of these tables of a database from one destination.
    async fn fetch_copy(
        &self,
        stored: &StoredSet,
        database: DatabaseId,
        tables: &[String],
        folder: &Path,
    ) -> Result<BTreeMap<String, PathBuf>, Cause> {
        self.outside.stop.check()?;
        let Some(sealed) = stored.record.snapshots.iter().find(|snapshot| snapshot.database == database) else {
            return Ok(BTreeMap::new());
        };
        let store = self.outside.store(&stored.destination)?;
        let key = stored.place.prefix.key(&record::manifest_key(database, stored.record.snapshot));
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
        let from = stored.place.prefix.join(&hitkeep::snapshot_folder(database, stored.record.snapshot));
        files::get(store, &from, &files, folder, &Gauge::default()).await?;
        let table = |file: &FileRecord| (wanted[&file.path].clone(), folder.join(&file.path));
        Ok(files.iter().map(table).collect())
    }

    /// Fetches archived files from the destinations that have them, each as far as it can be.
    async fn fetch_archived(
        &self,
        needs: BTreeSet<Held>,
        folder: &Path,
    ) -> Result<Vec<(Held, Result<PathBuf, Cause>)>, Cause> {
        self.outside.stop.check()?;
        let reached: Vec<&work::ArchiveDestination> = self.reached().map(|(fact, _)| fact).collect();
        let fetches = stream::iter(needs).map(async |held: Held| {
            let (number, file) = &held;
            let (fact, into) = (reached[*number], folder.join(format!("archive-{number}")));
            let store = self.outside.store(&fact.name)?;
            let got = files::get_archived(store, &fact.place.prefix, [file], &into, &Gauge::default()).await;
            let path = into.join(&file.file.path);
            Ok((held, got.map(|()| path)))
        });
        fetches.buffered(files::ABREAST).try_collect().await
    }
}
