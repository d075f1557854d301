//! What is archived and facts become the work of bringing rows back into databases.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::facts::{LostFile, Place, RowsFacts};
use super::{Numbering, Refusal, Task};
use crate::hitkeep;
use crate::measure::{Bytes, Grouped, counted};
use crate::name::{DatabaseId, Month, Prefix, RunId, SiteId};
use crate::record::{self, ArchivedFile, SchemaRecord};

/// What a person wants back.
#[derive(Clone, Debug)]
pub struct RowsWanted {
    /// The sites; every one where this is empty.
    pub sites: Vec<SiteName>,
    /// The time that their rows are of.
    pub period: Period,
    /// Where the shared database is.
    pub shared: PathBuf,
    /// The data path that the tenants' databases are below.
    pub data_path: PathBuf,
}

/// A site, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteName {
    /// By its UUID.
    Id(SiteId),
    /// By its domain.
    Domain(String),
}

impl SiteName {
    /// Reads a name: what is no UUID is a domain.
    #[must_use]
    pub fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Domain(text.to_owned()), Self::Id)
    }

    fn is_of(&self, site: &hitkeep::Site) -> bool {
        match self {
            Self::Id(id) => *id == site.id,
            Self::Domain(domain) => *domain == site.domain,
        }
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Domain(domain) => domain.fmt(f),
        }
    }
}

/// From a moment on, and before another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// The first moment; nothing for the beginning of time.
    pub from: Option<Timestamp>,
    /// The first moment after it; nothing for the end of time.
    pub to: Option<Timestamp>,
}

impl Period {
    /// Reads a moment: a day, which is its first instant in UTC, or an instant as in RFC 3339; nothing where it is neither.
    #[must_use]
    pub fn moment(text: &str) -> Option<Timestamp> {
        let midnight = |day: Date| TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).ok();
        text.parse().ok().or_else(|| text.parse().ok().and_then(midnight))
    }

    /// Tells whether anything of a month is in it.
    #[must_use]
    pub fn touches(&self, month: Month) -> bool {
        let begin = |month: Month| {
            TimeZone::UTC.to_timestamp(month.first_day().to_datetime(jiff::civil::Time::midnight())).ok()
        };
        let is_over = self.from.zip(begin(month.next())).is_some_and(|(from, end)| end <= from);
        let is_to_come = self.to.zip(begin(month)).is_some_and(|(to, begin)| begin >= to);
        !is_over && !is_to_come
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (None, None) => f.write_str("of all times"),
            (Some(from), None) => write!(f, "from {from}"),
            (None, Some(to)) => write!(f, "before {to}"),
            (Some(from), Some(to)) => write!(f, "from {from} and before {to}"),
        }
    }
}

/// The work of bringing archived rows back: every file is fetched and compared before the first row goes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsWork {
    /// The place that they are archived at, for people.
    pub at: String,
    /// The time that they are of.
    pub period: Period,
    /// The folder of fetched files, made for this and removed afterwards.
    pub staging: PathBuf,
    /// What is done for each database.
    pub chains: Vec<RowsChain>,
    /// Whether files are lost that would be needed.
    pub is_partial: bool,
    /// What deserves attention although nothing failed.
    pub warnings: Vec<String>,
}

/// What is done for one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsChain {
    /// The archived files are fetched and compared …
    pub fetch: Task<FetchRows>,
    /// … and what is missing of their rows is inserted.
    pub insert: Task<InsertRows>,
}

/// Fetches archived files and compares them with their records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRows {
    /// The database that their rows go to.
    pub database: DatabaseId,
    /// The archive's folder of keys.
    pub prefix: Prefix,
    /// The files.
    pub files: Vec<ArchivedFile>,
    /// The sum of their sizes.
    pub bytes: Bytes,
    /// The folder that they go to.
    pub into: PathBuf,
    /// The archive's place, for people.
    pub at: String,
}

impl fmt::Display for FetchRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = counted(self.files.len(), "file");
        write!(f, "fetch    {} ({}, {files}) from {}/", self.database, self.bytes, self.at)
    }
}

/// Inserts what is missing in a database of the rows of fetched files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertRows {
    /// Which database.
    pub database: DatabaseId,
    /// Where it lies.
    pub path: PathBuf,
    /// The folder that the files are in.
    pub from: PathBuf,
    /// The files, the newest first, each with the tables that its rows are of.
    pub files: Vec<(ArchivedFile, Vec<SchemaRecord>)>,
    /// The time that the rows are of.
    pub period: Period,
}

impl fmt::Display for InsertRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = Grouped(self.files.iter().map(|(file, _)| touched(file, self.period)).sum());
        write!(f, "insert   into {} what is missing of up to {rows} rows", self.database)
    }
}

/// Returns how many rows a file holds of the months that a period touches.
fn touched(file: &ArchivedFile, period: Period) -> u64 {
    file.parts.iter().filter(|part| period.touches(part.month)).map(|part| part.rows).sum()
}

/// Plans to bring archived rows back. Fetched files are staged below the data path, where the databases are.
///
/// # Errors
/// When a site is not there, nothing is archived of what is wanted, someone has a database open, or there is too little
/// room.
pub fn rows(wanted: &RowsWanted, facts: &RowsFacts, run: RunId) -> Result<RowsWork, Refusal> {
    let staging = wanted.data_path.join(format!(".restore-{run}"));
    let is_wanted = |site: &hitkeep::Site| wanted.sites.is_empty() || wanted.sites.iter().any(|name| name.is_of(site));
    if let Some(name) = wanted.sites.iter().find(|name| !facts.sites.iter().any(|(site, _)| name.is_of(site))) {
        return Err(Refusal::NoSet(format!("there is no site `{name}` in {}", wanted.shared.display())));
    }
    let sites: BTreeMap<SiteId, DatabaseId> =
        facts.sites.iter().filter(|(site, _)| is_wanted(site)).map(|(site, database)| (site.id, *database)).collect();
    let mut files: BTreeMap<DatabaseId, Vec<ArchivedFile>> = BTreeMap::new();
    for file in facts.archived.ledger.files.iter().filter(|file| touched(file, wanted.period) > 0) {
        if let Some(database) = sites.get(&file.site) {
            files.entry(*database).or_default().push(file.clone());
        }
    }
    if files.is_empty() {
        return Err(Refusal::NoSet(format!("no rows {} are archived in {}", wanted.period, facts.place.at)));
    }
    let into = |database: DatabaseId| staging.join(database.to_string());
    let parts = files.into_iter().map(|(database, files)| part(database, files, wanted, facts, into(database)));
    let (fetches, inserts): (Vec<_>, Vec<_>) = parts.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    check_space(&fetches, facts.target_free)?;
    let mut numbering = Numbering::default();
    let fetches: Vec<_> = fetches.into_iter().map(|fetch| numbering.task(fetch)).collect();
    let inserts = inserts.into_iter().map(|insert| numbering.task(insert));
    let chains = fetches.into_iter().zip(inserts).map(|(fetch, insert)| RowsChain { fetch, insert }).collect();
    let lost: Vec<String> = lost(wanted, facts, &sites);
    let is_partial = !lost.is_empty();
    let strangers = if wanted.sites.is_empty() { strangers(facts, wanted.period) } else { Vec::new() };
    let (at, period) = (facts.place.at.clone(), wanted.period);
    Ok(RowsWork { at, period, staging, chains, is_partial, warnings: [lost, strangers].concat() })
}

/// Returns what is fetched for a database, and what is done with it.
fn part(
    database: DatabaseId,
    mut files: Vec<ArchivedFile>,
    wanted: &RowsWanted,
    facts: &RowsFacts,
    into: PathBuf,
) -> Result<(FetchRows, InsertRows), Refusal> {
    let fact = facts.databases.iter().find(|fact| fact.id == database);
    let path = fact.map_or_else(PathBuf::new, |fact| fact.path.clone());
    if let Some(holder) = fact.and_then(|fact| fact.seen.as_ref().ok()?.holder.clone()) {
        return Err(Refusal::Held { who: "bringing rows back", database, holder });
    }
    // Where a row was archived again because it had changed, the newer one comes first, and the older one finds it there.
    files.sort_by_key(|file| std::cmp::Reverse(record::run_of(&file.file.path)));
    let bytes = Bytes(files.iter().map(|file| file.file.bytes).sum());
    let Place { prefix, at } = facts.place.clone();
    let with_schemas = files.iter().map(|file| (file.clone(), facts.archived.schemas(file))).collect();
    let fetch = FetchRows { database, prefix, files, bytes, into: into.clone(), at };
    let insert = InsertRows { database, path, from: into, files: with_schemas, period: wanted.period };
    Ok((fetch, insert))
}

/// Goes on if the files fit into `free` bytes, and their rows beside them.
fn check_space(fetches: &[FetchRows], free: Bytes) -> Result<(), Refusal> {
    let archived: u64 = fetches.iter().map(|fetch| fetch.bytes.0).sum();
    let needed = Bytes(archived.saturating_mul(1 + hitkeep::GROWTH));
    if free >= needed {
        return Ok(());
    }
    let place = "the place to restore to".to_owned();
    Err(Refusal::NoSpace { place, is_destination: false, free, needed, copies: Bytes(0) })
}

/// Says which files are lost that hold rows of what is wanted.
fn lost(wanted: &RowsWanted, facts: &RowsFacts, sites: &BTreeMap<SiteId, DatabaseId>) -> Vec<String> {
    let is_needed = |file: &ArchivedFile| sites.contains_key(&file.site) && touched(file, wanted.period) > 0;
    let missed = facts.archived.missed().filter(|lost| is_needed(&lost.file));
    let rows = |lost: &LostFile| Grouped(touched(&lost.file, wanted.period));
    missed.map(|lost| format!("{lost}: up to {} of its rows do not come back", rows(lost))).collect()
}

/// Says of which sites there are archived rows and that these are not there.
fn strangers(facts: &RowsFacts, period: Period) -> Vec<String> {
    let mut rows: BTreeMap<SiteId, u64> = BTreeMap::new();
    for file in &facts.archived.ledger.files {
        if !facts.sites.iter().any(|(site, _)| site.id == file.site) {
            *rows.entry(file.site).or_default() += touched(file, period);
        }
    }
    let rows = rows.into_iter().filter(|(_, rows)| *rows > 0);
    rows.map(|(site, rows)| {
        format!("site {site} is not there: its {} archived rows stay in the archive", Grouped(rows))
    })
    .collect()
}

impl fmt::Display for RowsWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let databases = counted(self.chains.len(), "database");
        writeln!(f, "bring back rows {} into {databases}, from {}", self.period, self.at)?;
        self.chains.iter().try_for_each(|chain| writeln!(f, "{}", chain.fetch))?;
        self.chains.iter().try_for_each(|chain| writeln!(f, "{}", chain.insert))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "      warning  {warning}"))
    }
}

impl RowsWork {
    /// Returns how many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        u32::try_from(2 * self.chains.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_touches_the_months_that_it_has_a_moment_of() {
        let month = |text: &str| text.parse::<Month>().unwrap_or_else(|error| panic!("{error}"));
        let cases = [
            ("", "", [true, true, true]),
            ("2026-02-01", "", [false, true, true]),
            ("2026-02-28T23:59:59Z", "", [false, true, true]),
            ("", "2026-02-01", [true, false, false]),
            ("", "2026-02-01T00:00:01Z", [true, true, false]),
            ("2026-02-10", "2026-02-11", [false, true, false]),
        ];
        for (from, to, expected) in cases {
            let period = Period { from: Period::moment(from), to: Period::moment(to) };
            assert_eq!(["2026-01", "2026-02", "2026-03"].map(|text| period.touches(month(text))), expected, "{period}");
        }
    }
}
