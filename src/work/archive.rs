//! An archive job and facts become the work of one run: what is past is extracted, stored, read back and sealed, and
//! only then deleted, where the job wants that.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::backup::{announce, choose_snapshot, origin, seal, select};
use super::capture::{Input, Origin, captures, copy_path};
use super::facts::{ArchiveDestination, ArchiveFacts, ArchiveReached, DatabaseFact, LostFile};
use super::{Announce, Capture, Check, Clear, Missing, Numbering, Prepare, Put, Refusal, Room, Seal, Task};
use crate::hitkeep::Site;
use crate::measure::{Bytes, counted};
use crate::name::{DatabaseId, Name, RunId, SiteId, SnapshotId, TenantId};
use crate::plan::{self, Archive, OlderThan};
use crate::record::{ArchiveLayout, Ledger, SiteRecord};

/// The work of one run of an archive job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveWork {
    /// The run.
    pub run: RunId,
    /// The job that asked for it.
    pub job: Name,
    /// The line of the plan that the job begins at.
    pub plan_line: usize,
    /// The name of the run. Its second names the files, and every cutoff is reckoned from it.
    pub snapshot: SnapshotId,
    /// Where rows lie.
    pub layout: ArchiveLayout,
    /// Whether what has been archived is deleted.
    pub deletes: bool,
    /// The databases that have sites with a cutoff.
    pub expected: Vec<DatabaseId>,
    /// Those of them that cannot be read, with the reason.
    pub missing: Vec<Missing>,
    /// Every site that has a cutoff.
    pub sites: Vec<SiteRecord>,
    /// The sites whose rows are kept for ever.
    pub kept: Vec<SiteId>,
    /// What goes before the captures, so that they take little time …
    pub preparations: Vec<Task<Prepare>>,
    /// … and the captures of all databases that others have open.
    pub captures: Vec<Task<Capture>>,
    /// What is done for each database, once for all destinations that have the same archived.
    pub chains: Vec<ArchiveChain>,
    /// What is done at each destination.
    pub series: Vec<ArchiveSeries>,
    /// What is deleted when everything is sealed everywhere.
    pub erasures: Vec<Task<Erase>>,
    /// What is needed of the staging directory.
    pub room: Room,
    /// What deserves attention although nothing failed.
    pub warnings: Vec<String>,
}

/// What is done for one database; each step needs the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveChain {
    /// What is past and not archived is written into files …
    pub extract: Task<Extract>,
    /// … and delivered.
    pub deliveries: Vec<ArchiveDelivery>,
}

/// What is done for one database at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveDelivery {
    /// The files are stored …
    pub put: Task<Put>,
    /// … and read back, with those of earlier runs that hold what is to be deleted.
    pub check: Task<Check>,
    /// What is archived there.
    pub ledger: Ledger,
    /// The tenant whose files have no folders of their own there.
    pub flat: Option<TenantId>,
}

/// What is done once at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSeries {
    /// What earlier runs have left unsealed is removed: nobody has relied on it, and its rows are where they were …
    pub clear: Vec<Task<Clear>>,
    /// … then this one is announced …
    pub announce: Task<Announce>,
    /// … and in the end sealed.
    pub seal: Task<Seal>,
    /// Why the destination is left out altogether, when it did not answer.
    pub unreachable: Option<String>,
}

/// Writes the rows of a database that are past, and not archived yet, into fresh files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extract {
    /// What it reads.
    pub input: Input,
    /// Its sites.
    pub sites: Vec<SiteRecord>,
    /// The folder of the files, made for this and removed afterwards.
    pub into: PathBuf,
    /// What is archived already, and the destination that has it.
    pub ledger: Ledger,
    /// The destination that files are fetched from, where some rows of a month are archived and some are not.
    pub fetch_from: Name,
}

impl fmt::Display for Extract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Input { database, bytes, .. }, sites) = (&self.input, counted(self.sites.len(), "site"));
        write!(f, "extract  {database} ({bytes}, {sites}) from {}", self.input.file().display())
    }
}

/// Deletes from a database the rows that are archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erase {
    /// Which database.
    pub database: DatabaseId,
    /// Where it lies.
    pub path: PathBuf,
    /// Its sites.
    pub sites: Vec<SiteRecord>,
}

impl fmt::Display for Erase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delete   from {} what is archived, {}", self.database, counted(self.sites.len(), "site"))
    }
}

/// Plans an archive that begins at `now`, staging copies and files inside `staging`.
///
/// # Errors
/// When the staging directory has too little room, or someone has a database open that is to be deleted from.
pub fn archive(
    job: &Archive,
    facts: &ArchiveFacts,
    staging: &Path,
    run: RunId,
    now: Timestamp,
) -> Result<ArchiveWork, Refusal> {
    let reached = || facts.destinations.iter().filter_map(|fact| fact.reached.as_ref().ok());
    let (snapshot, mut warnings) = choose_snapshot(&reached().map(|reached| &reached.taken).collect::<Vec<_>>(), now);
    let again = |lost: &LostFile| format!("{lost}: what of its rows is still in the source is archived again");
    warnings.extend(reached().flat_map(|reached| reached.missed().map(again)));
    let (sites, kept) = cut(job.older_than(), &facts.sites, snapshot.moment());
    let has_sites = |fact: &DatabaseFact| sites.iter().any(|site| site.database == fact.id);
    let databases: Vec<DatabaseFact> = facts.databases.iter().filter(|fact| has_sites(fact)).cloned().collect();
    let (present, missing) = select(job.databases(), &databases);
    if job.deletes() {
        // Whoever has any of them open may open the others, too.
        refuse_held(&facts.databases)?;
    }
    let is_live =
        !job.deletes() && job.installation().capture().is_live(facts.databases.iter().any(DatabaseFact::is_held));
    let room = Room::of(&present, is_live, false);
    let there: u64 = present.iter().filter(|fact| fact.copy.is_some()).map(|fact| fact.bytes().0).sum();
    room.check(Bytes(facts.staging_free.0 + there))?;

    let mut numbering = Numbering::default();
    let begins: Vec<_> = facts.destinations.iter().map(|fact| begin(fact, snapshot, &mut numbering)).collect();
    let live = if is_live { present.as_slice() } else { &[] };
    let (preparations, captures) = captures(live, staging, &mut numbering);
    let mut chains = Vec::new();
    for (number, group) in groups(&facts.destinations).iter().enumerate() {
        for fact in &present {
            let copy = copy_path(staging, fact.id);
            let wanted = if job.deletes() { plan::Capture::Direct } else { job.installation().capture() };
            let from = origin(wanted, is_live, copy);
            let into = staging.join(format!("archive-{number}")).join(fact.id.to_string());
            let of_it = sites.iter().filter(|site| site.database == fact.id).copied().collect();
            chains.push(chain(fact, from, of_it, &into, group, job.layout(), facts, &mut numbering));
        }
    }
    let series = facts.destinations.iter().zip(begins).map(|(fact, (clear, announce))| {
        let previous = fact.reached.as_ref().ok().and_then(|reached| reached.newest_record);
        let seal = numbering.task(seal("archive", &fact.name, &fact.place, snapshot, previous));
        ArchiveSeries { clear, announce, seal, unreachable: fact.reached.as_ref().err().cloned() }
    });
    let series = series.collect();
    let erase = |fact: &&DatabaseFact| {
        let of_it = sites.iter().filter(|site| site.database == fact.id).copied().collect();
        numbering.task(Erase { database: fact.id, path: fact.path.clone(), sites: of_it })
    };
    let erasures = if job.deletes() { present.iter().map(erase).collect() } else { Vec::new() };
    Ok(ArchiveWork {
        run,
        job: job.name().clone(),
        plan_line: job.line(),
        snapshot,
        layout: layout(job.layout()),
        deletes: job.deletes(),
        expected: databases.iter().map(|fact| fact.id).collect(),
        missing,
        sites,
        kept,
        preparations,
        captures,
        chains,
        series,
        erasures,
        room,
        warnings,
    })
}

/// Gives every site its cutoff, reckoned from `at`; those that keep their rows for ever come apart.
fn cut(older_than: OlderThan, sites: &[(Site, TenantId, DatabaseId)], at: Timestamp) -> (Vec<SiteRecord>, Vec<SiteId>) {
    let (mut cut, mut kept) = (Vec::new(), Vec::new());
    for (site, tenant, database) in sites {
        let seconds = match older_than {
            OlderThan::Site => site.retention_days.map(|days| i64::from(days) * 86_400),
            OlderThan::Span(span) => Some(i64::try_from(span.0.as_secs()).unwrap_or(i64::MAX)),
        };
        match seconds.and_then(|seconds| at.checked_sub(SignedDuration::from_secs(seconds)).ok()) {
            Some(cutoff) => cut.push(SiteRecord { site: site.id, tenant: *tenant, database: *database, cutoff }),
            // What is older than time itself is nothing.
            None => kept.push(site.id),
        }
    }
    (cut, kept)
}

fn refuse_held(databases: &[DatabaseFact]) -> Result<(), Refusal> {
    let holder = |fact: &DatabaseFact| Some((fact.id, fact.seen.as_ref().ok()?.holder.clone()?));
    match databases.iter().find_map(holder) {
        Some((database, holder)) => Err(Refusal::Held { who: "`delete = true`", database, holder }),
        None => Ok(()),
    }
}

/// Returns the destinations that answer, those together that have the same archived.
fn groups(destinations: &[ArchiveDestination]) -> Vec<Vec<(&ArchiveDestination, &ArchiveReached)>> {
    let mut groups: Vec<Vec<(&ArchiveDestination, &ArchiveReached)>> = Vec::new();
    for fact in destinations {
        let Ok(reached) = &fact.reached else { continue };
        match groups.iter_mut().find(|group| group[0].1.ledger.holds_the_same(&reached.ledger)) {
            Some(group) => group.push((fact, reached)),
            None => groups.push(vec![(fact, reached)]),
        }
    }
    groups
}

fn begin(
    fact: &ArchiveDestination,
    snapshot: SnapshotId,
    numbering: &mut Numbering,
) -> (Vec<Task<Clear>>, Task<Announce>) {
    let leftovers = fact.reached.as_ref().map(|reached| reached.leftovers.clone()).unwrap_or_default();
    let clear = leftovers.into_iter().map(|(run, keys)| {
        numbering.task(Clear { destination: fact.name.clone(), run, keys, at: fact.place.at.clone() })
    });
    let clear = clear.collect();
    (clear, numbering.task(announce("archive", &fact.name, &fact.place, snapshot)))
}

#[expect(clippy::too_many_arguments, reason = "each is a part of the chain")]
fn chain(
    database: &DatabaseFact,
    from: Origin,
    sites: Vec<SiteRecord>,
    into: &Path,
    group: &[(&ArchiveDestination, &ArchiveReached)],
    layout: plan::Layout,
    facts: &ArchiveFacts,
    numbering: &mut Numbering,
) -> ArchiveChain {
    let (first, reached) = group[0];
    let extract = numbering.task(Extract {
        input: Input::of(database, from),
        sites,
        into: into.to_owned(),
        ledger: reached.ledger.clone(),
        fetch_from: first.name.clone(),
    });
    let deliveries = group.iter().map(|(fact, reached)| {
        let (prefix, at) = (fact.place.prefix.clone(), fact.place.at.clone());
        let destination = || fact.name.clone();
        let put = Put {
            database: database.id,
            from: into.to_owned(),
            names: None,
            remains: Vec::new(),
            is_last: false,
            destination: destination(),
            prefix: prefix.clone(),
            at: at.clone(),
        };
        let check = Check { database: database.id, destination: destination(), prefix, at };
        let is_flat = fact.is_directory && layout == plan::Layout::Hitkeep;
        ArchiveDelivery {
            put: numbering.task(put),
            check: numbering.task(check),
            ledger: reached.ledger.clone(),
            flat: facts.default_tenant.filter(|_| is_flat),
        }
    });
    let deliveries = deliveries.collect();
    ArchiveChain { extract, deliveries }
}

fn layout(layout: plan::Layout) -> ArchiveLayout {
    match layout {
        plan::Layout::Hitkeep => ArchiveLayout::Hitkeep,
        plan::Layout::Hive => ArchiveLayout::Hive,
    }
}

/// Lists the work the way it will be done: this is the dry run.
impl fmt::Display for ArchiveWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (databases, sites) = (counted(self.expected.len(), "database"), counted(self.sites.len(), "site"));
        writeln!(f, "archive {}: run {}, {databases}, {sites}", self.job, self.snapshot)?;
        let reached = || self.series.iter().filter(|series| series.unreachable.is_none());
        for series in reached() {
            series.clear.iter().try_for_each(|task| writeln!(f, "{task}"))?;
            writeln!(f, "{}", series.announce)?;
        }
        self.preparations.iter().try_for_each(|task| writeln!(f, "{task}"))?;
        self.captures.iter().try_for_each(|task| writeln!(f, "{task}"))?;
        for ArchiveChain { extract, deliveries } in &self.chains {
            writeln!(f, "{extract}")?;
            for SiteRecord { site, cutoff, .. } in &extract.action.sites {
                writeln!(f, "               site {site} before {cutoff}")?;
            }
            deliveries.iter().try_for_each(|ArchiveDelivery { put, check, .. }| writeln!(f, "{put}\n{check}"))?;
        }
        reached().try_for_each(|series| writeln!(f, "{}", series.seal))?;
        self.erasures.iter().try_for_each(|task| writeln!(f, "{task}"))?;
        self.kept.iter().try_for_each(|site| writeln!(f, "      kept     site {site} keeps its rows for ever"))?;
        for Missing { database, cause } in &self.missing {
            writeln!(f, "      missing  {database}: {cause}")?;
        }
        for series in &self.series {
            if let Some(cause) = &series.unreachable {
                writeln!(f, "      missing  destination {}: {cause}", series.seal.action.destination)?;
            }
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "      warning  {warning}"))
    }
}

impl ArchiveWork {
    /// Returns how many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        let last = self.series.last().map_or(0, |series| series.seal.id.0);
        self.erasures.last().map_or(last, |erase| erase.id.0)
    }
}
