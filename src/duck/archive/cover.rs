//! Where the rows of a database's sites are: live, in snapshots, in archived files.
//!
//! Rows are compared by digests, for each table, site and month. Only where these do not tell, the archived files must be
//! at hand, and rows are compared one by one, by a hash of all their values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::table::{Table, measure_sites, rows_of_file, tables};
use super::{ALIAS, Cut};
use crate::duck::{Database, DuckError, Session, identifier};
use crate::measure::Content;
use crate::name::{SiteId, TenantId};
use crate::record::{ArchiveLayout, ArchivedFile, Ledger, PartId, run_of};
use crate::work::{ArchiveReached, LostFile, Share};

/// What the rows of a database are looked for in, besides itself.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The sites.
    pub sites: BTreeSet<SiteId>,
    /// Of each snapshot, the file of each table that is in it.
    pub snapshots: Vec<BTreeMap<String, PathBuf>>,
    /// What each destination of the archive has.
    pub archives: Vec<ArchiveReached>,
}

impl Sources {
    /// Counts an archived file that cannot be read as one that is lost.
    pub fn lose(&mut self, (number, file): &Held) {
        if let Some(reached) = self.archives.get_mut(*number) {
            reached.ledger.files.remove(file);
            reached.lost.push(LostFile { file: file.clone(), found: None });
        }
    }
}

/// An archived file, and the number of the destination that has it.
pub type Held = (usize, ArchivedFile);

/// What came of looking for rows.
#[derive(Clone, Debug)]
pub enum Found {
    /// These archived files must be at hand first.
    Needs(BTreeSet<Held>),
    /// This is where the rows are.
    Shares(BTreeMap<PartId, Share>),
}

/// Names the tables of a database that hold rows of a site by time.
///
/// # Errors
/// When it cannot be read.
pub fn table_names(session: &Session, database: &Database) -> Result<Vec<String>, DuckError> {
    within(session, database, |session| Ok(tables(session)?.0.into_iter().map(|table| table.name).collect()))
}

/// Looks where the rows of a database's sites are. `fetched` finds an archived file that is at hand.
///
/// # Errors
/// When the database or a file cannot be read.
pub fn cover(
    session: &Session,
    database: &Database,
    sources: &Sources,
    fetched: &dyn Fn(&Held) -> Option<PathBuf>,
) -> Result<Found, DuckError> {
    within(session, database, |session| Covering::begin(session, sources)?.carry_out(fetched))
}

fn within<T>(
    session: &Session,
    database: &Database,
    work: impl FnOnce(&Session) -> Result<T, DuckError>,
) -> Result<T, DuckError> {
    session.attach_database(database, ALIAS)?;
    session.run("beginning a transaction", &format!("USE {ALIAS}; BEGIN TRANSACTION READ ONLY"))?;
    let done = work(session);
    session.run("ending the transaction", &format!("ROLLBACK; USE memory; DETACH {ALIAS}"))?;
    done
}

/// What a part holds in each place; nothing where there is no telling from digests.
#[derive(Default)]
struct Contents<'c> {
    live: Content,
    snapshots: Vec<Content>,
    /// What each destination has, and the files that it is in.
    archives: BTreeMap<usize, (Option<Content>, Vec<&'c ArchivedFile>)>,
    /// The files of it that are lost, each with the number of its destination.
    lost: Vec<(usize, &'c ArchivedFile)>,
}

impl Contents<'_> {
    /// Tells whether digests say it all: what is anywhere is the same everywhere, and what is lost is there again.
    fn is_plain(&self) -> bool {
        let archived = self.archives.values().map(|(content, _)| *content);
        let all = self.snapshots.iter().chain([&self.live]).map(|content| Some(*content)).chain(archived);
        let mut rest = all.filter(|content| content.is_none_or(|content| content.rows > 0));
        let first = rest.next().flatten();
        self.lost.is_empty() && rest.all(|content| content.is_some() && content == first) && !self.is_unknown()
    }

    /// Tells whether all there is of it is archived by an engine whose digests do not compare.
    fn is_unknown(&self) -> bool {
        self.archives.values().any(|(content, _)| content.is_none())
    }

    /// Returns where its rows are, when digests say it all.
    fn share(&self) -> Share {
        let archived = self.archives.values().filter_map(|(content, _)| *content).map(|content| content.rows).max();
        let snapshot = self.snapshots.iter().map(|content| content.rows).max();
        let (live, snapshot, archived) = (self.live.rows, snapshot.unwrap_or(0), archived.unwrap_or(0));
        let only = |rows: u64, others: [u64; 2]| if others == [0, 0] { rows } else { 0 };
        Share {
            rows: live.max(snapshot).max(archived),
            live,
            archived,
            snapshot,
            only_live: only(live, [snapshot, archived]),
            only_snapshot: only(snapshot, [live, archived]),
            nowhere: 0,
        }
    }
}

struct Covering<'c> {
    session: &'c Session,
    sources: &'c Sources,
    tables: BTreeMap<String, Table>,
    engine: String,
    parts: BTreeMap<PartId, Contents<'c>>,
}

impl<'c> Covering<'c> {
    /// Measures what is live and what is in the snapshots, and reads off the records what is archived.
    fn begin(session: &'c Session, sources: &'c Sources) -> Result<Self, DuckError> {
        let engine: String = session.value("asking for the version", "SELECT version()")?;
        let tables: BTreeMap<String, Table> =
            tables(session)?.0.into_iter().map(|table| (table.name.clone(), table)).collect();
        let mut covering = Self { session, sources, tables, engine, parts: BTreeMap::new() };
        let mut measured = Vec::new();
        for table in covering.tables.values() {
            let live = format!("SELECT {} FROM {}", table.list(), identifier(&table.name));
            measured.push((false, measure_sites(session, table, &live)?));
            for path in sources.snapshots.iter().filter_map(|snapshot| snapshot.get(&table.name)) {
                let rows = rows_of_file(table, ArchiveLayout::Hive, path)?;
                measured.push((true, measure_sites(session, table, &rows)?));
            }
        }
        for (is_snapshot, contents) in measured {
            for (id, content) in contents.into_iter().filter(|(id, _)| sources.sites.contains(&id.site)) {
                let part = covering.parts.entry(id).or_default();
                if is_snapshot {
                    part.snapshots.push(content);
                } else {
                    part.live = content;
                }
            }
        }
        covering.read_records();
        Ok(covering)
    }

    fn read_records(&mut self) {
        for (number, reached) in self.sources.archives.iter().enumerate() {
            for (id, content) in reached.ledger.parts(&self.engine) {
                if self.sources.sites.contains(&id.site) {
                    self.parts.entry(id).or_default().archives.insert(number, content);
                }
            }
            for file in reached.lost.iter().map(|lost| &lost.file) {
                for part in file.parts.iter().filter(|_| self.sources.sites.contains(&file.site)) {
                    let id = PartId { site: file.site, table: part.table.clone(), month: part.month };
                    self.parts.entry(id).or_default().lost.push((number, file));
                }
            }
        }
    }

    fn carry_out(&self, fetched: &dyn Fn(&Held) -> Option<PathBuf>) -> Result<Found, DuckError> {
        let unclear = || self.parts.iter().filter(|(_, part)| !part.is_plain());
        let needed = unclear().filter(|(id, _)| self.tables.contains_key(&id.table)).flat_map(|(_, part)| held(part));
        let needs: BTreeSet<Held> = needed.filter(|held| fetched(held).is_none()).collect();
        if !needs.is_empty() {
            return Ok(Found::Needs(needs));
        }
        let mut shares = BTreeMap::new();
        for (id, part) in &self.parts {
            let share = match self.tables.get(&id.table) {
                Some(table) if !part.is_plain() => self.compare(id, part, table, fetched)?,
                Some(_) => part.share(),
                None => self.without_table(id, part),
            };
            shares.insert(id.clone(), share);
        }
        Ok(Found::Shares(shares))
    }

    /// Returns where rows are of a table that the database has no more.
    fn without_table(&self, id: &PartId, part: &Contents<'_>) -> Share {
        let rows = |files: &Vec<&ArchivedFile>| files.iter().map(|file| rows_of_part(file, id)).sum();
        let archived: u64 = part.archives.values().map(|(_, files)| rows(files)).max().unwrap_or(0);
        let lost = part.lost.iter().filter(|(_, file)| !self.has_twin(file, id));
        Share {
            rows: archived,
            archived,
            nowhere: lost.map(|(_, file)| rows_of_part(file, id)).sum(),
            ..Share::default()
        }
    }

    /// Compares the rows of a part one by one.
    fn compare(
        &self,
        id: &PartId,
        part: &Contents<'_>,
        table: &Table,
        fetched: &dyn Fn(&Held) -> Option<PathBuf>,
    ) -> Result<Share, DuckError> {
        let everywhere = self.everywhere(id, part, table, fetched)?;
        let sql = format!(
            "SELECT coalesce(sum(greatest(live, snapshot, archived)), 0)::UBIGINT, coalesce(sum(live), 0)::UBIGINT, \
             coalesce(sum(archived), 0)::UBIGINT, coalesce(sum(snapshot), 0)::UBIGINT, \
             coalesce(sum(greatest(live - greatest(snapshot, archived), 0)), 0)::UBIGINT, \
             coalesce(sum(greatest(snapshot - greatest(live, archived), 0)), 0)::UBIGINT FROM ({})",
            everywhere("true")
        );
        let read = self.session.rows("comparing rows", &sql, |row| {
            let [rows, live, archived, snapshot] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok(Share { rows, live, archived, snapshot, only_live: row.get(4)?, only_snapshot: row.get(5)?, nowhere: 0 })
        })?;
        let mut share = read.into_iter().next().unwrap_or_default();
        for (number, file) in &part.lost {
            let is_found = self.has_twin(file, id) || self.is_there_again(id, *number, file, table, &everywhere)?;
            share.nowhere += if is_found { 0 } else { rows_of_part(file, id) };
        }
        Ok(share)
    }

    /// Returns the query of a part's rows, by their hash: how often each is live, in a snapshot and in the archive. It
    /// takes a condition of the rows.
    fn everywhere(
        &self,
        id: &PartId,
        part: &Contents<'_>,
        table: &Table,
        fetched: &dyn Fn(&Held) -> Option<PathBuf>,
    ) -> Result<impl Fn(&str) -> String, DuckError> {
        let of_part = format!("site_id = '{}' AND {}", id.site, table.within(&BTreeSet::from([id.month])));
        let list = table.list();
        let mut places = vec![("live".to_owned(), format!("SELECT {list} FROM {}", identifier(&table.name)))];
        for (number, snapshot) in self.sources.snapshots.iter().enumerate() {
            if let Some(path) = snapshot.get(&table.name) {
                places.push((format!("snapshot {number}"), rows_of_file(table, ArchiveLayout::Hive, path)?));
            }
        }
        for held in held(part) {
            let path = fetched(&held).unwrap_or_default();
            places.push((format!("archive {}", held.0), rows_of_file(table, held.1.layout(), &path)?));
        }
        Ok(move |condition: &str| {
            let place = |(name, rows): &(String, String)| {
                format!("SELECT '{name}' AS place, hash({list}) AS hash FROM ({rows}) WHERE {of_part} AND {condition}")
            };
            let all = places.iter().map(place).collect::<Vec<_>>().join(" UNION ALL ");
            let most = |name: &str| format!("coalesce(max(times) FILTER (place LIKE '{name}%'), 0) AS {name}");
            format!(
                "SELECT hash, {}, {}, {} AS archived FROM (SELECT place, hash, count(*) AS times FROM ({all}) GROUP BY \
                 place, hash) GROUP BY hash",
                most("live"),
                most("snapshot"),
                "coalesce(max(times) FILTER (place LIKE 'archive%'), 0)"
            )
        })
    }

    /// Tells whether another file has the same rows of a part as a lost one.
    fn has_twin(&self, lost: &ArchivedFile, id: &PartId) -> bool {
        let part = lost.parts.iter().find(|part| part.table == id.table && part.month == id.month);
        let ledgers = || self.sources.archives.iter().map(|reached| &reached.ledger);
        part.is_some_and(|part| ledgers().any(|ledger| ledger.has_twin(lost, part)))
    }

    /// Tells whether what is anywhere of the rows that were past for the run that lost file is of, is just what had been
    /// archived by then.
    fn is_there_again(
        &self,
        id: &PartId,
        number: usize,
        lost: &ArchivedFile,
        table: &Table,
        everywhere: &dyn Fn(&str) -> String,
    ) -> Result<bool, DuckError> {
        let reached = &self.sources.archives[number];
        let run = run_of(&lost.file.path);
        let cutoff = run.and_then(|run| reached.records.get(&run)).and_then(|record| {
            let site = record.sites.iter().find(|site| site.site == lost.site)?;
            Some((site.tenant, site.cutoff))
        });
        let Some((tenant, cutoff)): Option<(TenantId, _)> = cutoff else { return Ok(false) };
        let files = reached.ledger.files.iter().chain(reached.lost.iter().map(|lost| &lost.file));
        let by_then = files.filter(|file| run_of(&file.file.path) <= run).cloned().collect();
        let by_then = Ledger { files: by_then };
        let content = by_then.parts(&self.engine).get(id).and_then(|(content, _)| *content);
        let Some(wanted) = content else { return Ok(false) };
        let past = table.past(&Cut { site: lost.site, tenant, cutoff });
        let sql = format!(
            "SELECT coalesce(sum(times), 0)::UBIGINT, coalesce(sum(hash::HUGEINT * times), 0)::VARCHAR, \
             coalesce(bit_xor(CASE WHEN times % 2 = 1 THEN hash ELSE 0::UBIGINT END), 0)::UBIGINT FROM \
             (SELECT hash, greatest(live, snapshot, archived) AS times FROM ({}))",
            everywhere(&past)
        );
        let read: Vec<(u64, String, u64)> =
            self.session.rows("comparing rows", &sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let found =
            read.into_iter().next().map(|(rows, sum, xor)| Content { rows, sum: sum.parse().unwrap_or(0), xor });
        Ok(found == Some(wanted))
    }
}

/// Returns the files that a part's rows are archived in: of destinations that have the same, those of the first.
fn held(part: &Contents<'_>) -> Vec<Held> {
    let mut seen: Vec<Content> = Vec::new();
    let mut held = Vec::new();
    for (number, (content, files)) in &part.archives {
        if content.is_some_and(|content| seen.contains(&content)) {
            continue;
        }
        seen.extend(*content);
        held.extend(files.iter().map(|file| (*number, (*file).clone())));
    }
    held
}

fn rows_of_part(file: &ArchivedFile, id: &PartId) -> u64 {
    file.parts.iter().filter(|part| part.table == id.table && part.month == id.month).map(|part| part.rows).sum()
}
