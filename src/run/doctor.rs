//! Asks the real world whether a plan can be carried out: every part is tried for real, and nothing is left
//! behind.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Cause, Outside, capture, exit};
use crate::diagnose::{Finding, Verdict};
use crate::duck::capture::Captured;
use crate::event::Meter;
use crate::hitkeep::Tenant;
use crate::measure::{Bytes, counted};
use crate::name::{DatabaseId, Key, Name, RunId};
use crate::plan::{self, Installation, Job, Selection, Snapshots, SourceKind};
use crate::store::{Body, Mode, Part, Store, StoreError, local};
use crate::survey::{self, Theirs, Unfinished};
use crate::work::{DatabaseFact, Room, TheirSet};

/// A part of what a job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patient {
    /// The source.
    Source(Name),
    /// The host that the program runs on.
    Host,
    /// A destination.
    Destination(Name),
}

impl fmt::Display for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(name) => write!(f, "source {name}"),
            Self::Host => f.write_str("this host"),
            Self::Destination(name) => write!(f, "destination {name}"),
        }
    }
}

impl Serialize for Patient {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What was found about one part of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// The part.
    pub part: Patient,
    /// What was found, in the order in which it was looked for.
    pub findings: Vec<Finding>,
}

impl Examined {
    /// Returns the exit code that this asks for; a warning asks for none.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.findings.iter().map(|finding| finding.verdict).max(), &self.part) {
            (Some(Verdict::Failed), Patient::Source(_)) => exit::SOURCE,
            (Some(Verdict::Failed), Patient::Host) => exit::REFUSED,
            (Some(Verdict::Failed), Patient::Destination(_)) => exit::DESTINATION,
            (Some(Verdict::Busy), _) => exit::LOCKED,
            (Some(Verdict::Ok | Verdict::Warning) | None, _) => exit::DONE,
        }
    }
}

/// Examines what a job is about: its source, this host, and each destination; `stores` are in the plan's order.
pub async fn doctor(
    job: Job<'_>,
    stores: &[Arc<dyn Store>],
    staging: &Path,
    run: RunId,
    outside: &Outside,
) -> Vec<Examined> {
    let (source, room) = source(job, staging, outside).await;
    let mut examined = vec![source, host(staging, room)];
    for (destination, store) in job.to().iter().zip(stores) {
        let findings = place(store.as_ref(), job, staging, run, outside).await;
        examined.push(Examined { part: Patient::Destination(destination.name().clone()), findings });
    }
    examined
}

/// Examines the source, and returns what a run needs of the staging directory besides what is in it now, where that is
/// known.
async fn source(job: Job<'_>, staging: &Path, outside: &Outside) -> (Examined, Option<Room>) {
    let (findings, room) = match job.source().kind() {
        SourceKind::Installation(source) => installation(source, job.databases(), staging, outside).await,
        SourceKind::Snapshots(source) => snapshots(source, staging, outside).await,
    };
    (Examined { part: Patient::Source(job.source().name().clone()), findings }, room)
}

async fn installation(
    source: &Installation,
    wanted: &Selection,
    staging: &Path,
    outside: &Outside,
) -> (Vec<Finding>, Option<Room>) {
    let capture = source.capture();
    let found = match survey::databases(source, wanted, &outside.means(staging)).await {
        Ok(found) => found,
        Err(error) => return (vec![Finding::failed("databases", error)], None),
    };
    let is_live = capture.is_live(found.facts.iter().any(DatabaseFact::is_held));
    let mut findings: Vec<Finding> = found.facts.iter().map(|fact| database(fact, is_live)).collect();
    findings.extend(unused(&found.unused));
    let wanted_facts = found.facts.iter().filter(|fact| wanted.includes(fact.id));
    let mut room = Room::of(&wanted_facts.collect::<Vec<_>>(), is_live, false);
    findings.push(Finding::ok("capture", way(capture, is_live, room, found.copied.as_ref())));
    let there = found.copied.filter(|_| wanted.includes(DatabaseId::Shared)).map_or(Bytes(0), |copied| copied.bytes);
    room.copies.0 = room.copies.0.saturating_sub(there.0);
    (findings, Some(room))
}

fn unused(tenants: &[Tenant]) -> Option<Finding> {
    let unused = || {
        let tenants = counted(tenants.len(), "tenant");
        Finding::ok("tenants", format!("{tenants} without a site and without a database: nothing to back up"))
    };
    (!tenants.is_empty()).then(unused)
}

/// Examines what HitKeep's own backup has written; none of it is staged.
async fn snapshots(source: &Snapshots, staging: &Path, outside: &Outside) -> (Vec<Finding>, Option<Room>) {
    let Theirs { set, unfinished } = match survey::look(source.folder(), &outside.means(staging)).await {
        Ok(theirs) => theirs,
        Err(error) => return (vec![Finding::failed("snapshots", error)], None),
    };
    let now = (outside.clock)();
    let is_awaited = unfinished.as_ref().is_some_and(|unfinished| unfinished.is_fresh(now));
    let mut findings: Vec<Finding> =
        unfinished.into_iter().map(|found| gap(&found, set.as_ref(), is_awaited)).collect();
    match set {
        Some(set) if !is_awaited => findings.extend(newest(&set)),
        Some(_) => {}
        None if is_awaited => {}
        None => {
            let at = source.folder().display();
            findings.push(Finding::failed("set", format!("`{at}` holds no finished set of HitKeep's own")));
        }
    }
    (findings, Some(Room { copies: Bytes(0), exports: Bytes(0) }))
}

/// Says what the newest set lacks, and what a run makes of it.
fn gap(unfinished: &Unfinished, set: Option<&TheirSet>, is_awaited: bool) -> Finding {
    let Unfinished { id, lacks, .. } = unfinished;
    match set.filter(|set| set.id != *id) {
        _ if is_awaited => {
            Finding::ok("set", format!("HitKeep is still writing set {id}, and a run waits for it: {lacks}"))
        }
        Some(_) => Finding::warning(
            "set",
            format!("HitKeep's set {id} is not whole: {lacks}"),
            "HitKeep's log says what ended its backup",
        ),
        None => Finding::failed("set", format!("HitKeep's set {id} is not whole: {lacks}")),
    }
}

/// Says what the newest set holds.
fn newest(set: &TheirSet) -> Vec<Finding> {
    let held = set.databases.iter().filter_map(|database| database.held.as_ref().ok());
    let (count, bytes) = held.fold((0, 0), |(count, bytes), files| (count + 1, bytes + files.bytes.0));
    let of = counted(set.databases.len(), "database");
    let mut findings =
        vec![Finding::ok("set", format!("{} of HitKeep's own: {count} of {of}, {}", set.id, Bytes(bytes)))];
    findings.extend(unused(&set.unused));
    findings.extend(set.oddities.iter().map(|oddity| Finding::ok("set", oddity)));
    findings
}

/// Says who has a database open and how busy it looks.
fn database(fact: &DatabaseFact, is_live: bool) -> Finding {
    let seen = match &fact.seen {
        Ok(seen) => seen,
        Err(cause) => return Finding::failed("database", format!("{}: {cause}", fact.id)),
    };
    let (id, bytes) = (fact.id, seen.bytes);
    let holder = match &seen.holder {
        Some(holder) => format!("is open in {holder}"),
        None if is_live => "is open in no process".to_owned(),
        None => return Finding::ok("database", format!("{id} ({bytes}) can be read")),
    };
    let written = seen.written_at.map_or_else(String::new, |at| format!(", last written to at {at:.0}"));
    let checkpoint = if seen.is_checkpointing { ", and a checkpoint is under way" } else { "" };
    Finding::ok("database", format!("{id} ({bytes}) {holder}; {} of it in the log{written}{checkpoint}", seen.log))
}

/// Says how the databases would be captured, and what that costs.
fn way(capture: plan::Capture, is_live: bool, room: Room, copied: Option<&Captured>) -> String {
    let word = capture.as_str();
    if !is_live {
        return format!("`{word}` opens the databases; HitKeep cannot open the one that a run is reading");
    }
    let cost = format!("`{word}` copies the databases: {} in the staging directory", room.copies);
    match copied {
        Some(copied) if copied.bytes.0 > 0 => {
            let milliseconds = copied.copying.as_millis() * u128::from(room.copies.0) / u128::from(copied.bytes.0);
            let seconds = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX)).as_secs_f64();
            format!("{cost}, for about {seconds:.1} s; the shared one was taken {}", capture::tries(copied))
        }
        _ => cost,
    }
}

/// Examines the room on this host.
fn host(staging: &Path, room: Option<Room>) -> Examined {
    let at = staging.display();
    let finding = match (local::free_space(staging).map(|free| free.bytes), room) {
        (Err(error), _) => Finding::failed("staging", format!("`{at}`: {error}")),
        (Ok(free), Some(room)) if free < room.total() => {
            Finding::failed("staging", format!("{free} are free in `{at}`, and a run may need {}", needs(room)))
                .with_help(Some("make room, or name another directory as `staging` in `[local]`".to_owned()))
        }
        (Ok(free), Some(room)) => {
            Finding::ok("staging", format!("{free} are free in `{at}`; a run may need {}", needs(room)))
        }
        (Ok(free), None) => Finding::ok("staging", format!("{free} are free in `{at}`")),
    };
    Examined { part: Patient::Host, findings: vec![finding] }
}

fn needs(room: Room) -> String {
    match room.copies {
        _ if room.total() == Bytes(0) => "nothing of it".to_owned(),
        Bytes(0) => format!("{} for an export", room.exports),
        copies => format!("{copies} for copies and {} for an export", room.exports),
    }
}

/// Examines one destination. What is needed for all that follows comes first, and ends the examination when it fails; the
/// lock is not taken, since what is tried is named like nothing that a run touches.
async fn place(store: &dyn Store, job: Job<'_>, staging: &Path, run: RunId, outside: &Outside) -> Vec<Finding> {
    let reached = match store.folders(job.prefix(), "").await {
        Ok(_) => Finding::ok("reach", format!("{} answers", store.locate(job.prefix().as_str()))),
        Err(error) => return vec![Finding::failed("reach", error)],
    };
    let lock = match store.try_lock(job.prefix(), &format!("doctor {run}")).await {
        Ok(()) => Finding::ok("lock", "it can be taken, and nobody has it"),
        Err(StoreError::Busy { at, holder }) => busy(at, holder),
        Err(error) => return vec![reached, Finding::failed("lock", error)],
    };
    let mut findings = vec![reached, lock];
    findings.extend(space(store).await);
    findings.extend(probe(store, job, staging, run, outside).await);
    findings.extend(store.examine(job.prefix()).await);
    findings
}

/// Says who has the lock; a lease's holder says after a semicolon when it ends.
fn busy(at: String, holder: String) -> Finding {
    let help = match holder.split_once("; ") {
        Some((who, _)) => format!("wait for {who} to end; where it was killed, its lease ends by itself"),
        None => format!("wait for {holder} to end; the lock goes with the process that holds it"),
    };
    Finding::busy("lock", StoreError::Busy { at, holder }, help)
}

async fn space(store: &dyn Store) -> Option<Finding> {
    match store.free_space().await {
        Ok(None) => None,
        Ok(Some(free)) => Some(Finding::ok("space", format!("{} are free", free.bytes))),
        Err(error) => Some(Finding::failed("space", error)),
    }
}

/// Stores an object of more than one part, reads it back and takes it away, whatever fails between.
async fn probe(store: &dyn Store, job: Job<'_>, staging: &Path, run: RunId, outside: &Outside) -> Vec<Finding> {
    let key = job.prefix().key(&Key::of(format!(".doctor-{run}")));
    let mut findings = Vec::new();
    let meter = Meter::default();
    let trial = trial(store, &key, job.upload().part_size, staging, &meter, &mut findings);
    outside.hand_stop_on(&meter, trial).await;
    findings.push(match store.delete(&key).await {
        Err(error) => Finding::failed("delete", error),
        Ok(()) => match store.read(&key, Part::Last(1)).await {
            Err(StoreError::Missing { .. }) => Finding::ok("delete", "what is deleted is gone"),
            Ok(_) => Finding::failed("delete", format!("`{}` is deleted and still there", store.locate(key.as_str()))),
            Err(error) => Finding::failed("delete", error),
        },
    });
    findings
}

/// Tries on one object what a run does with each; the first failure ends it.
async fn trial(
    store: &dyn Store,
    key: &Key,
    part_size: Bytes,
    staging: &Path,
    meter: &Meter,
    findings: &mut Vec<Finding>,
) {
    let size = Bytes(part_size.0 + 1);
    let put = async {
        let file = probe_file(staging, size)?;
        Ok::<_, Cause>(store.put(key, Body::File(file), Mode::Create, meter).await?)
    };
    let stored = match put.await {
        Ok(stored) => stored,
        Err(cause) => return findings.push(Finding::failed("write", cause)),
    };
    findings.push(Finding::ok("write", format!("an object of more than one part is stored ({size})")));
    findings.push(match store.digest(key, meter).await {
        Ok(read) if read == stored => Finding::ok("read", "it is read back and equal"),
        Ok(_) => Finding::failed("read", "what is read back is not what was written"),
        Err(error) => Finding::failed("read", error),
    });
    let again = store.put(key, Body::Bytes(b"another".to_vec()), Mode::Create, meter).await;
    findings.push(match again {
        Err(StoreError::Exists { .. }) => Finding::ok("create", "what is there is not overwritten"),
        Ok(_) => Finding::failed("create", "an object was overwritten that was to be created"),
        Err(error) => Finding::failed("create", error),
    });
}

/// Makes the file that is stored for a trial.
fn probe_file(staging: &Path, size: Bytes) -> Result<PathBuf, Cause> {
    let path = staging.join("probe");
    let failed = |cause| Cause::Folder { at: path.display().to_string(), cause };
    let mut pattern = std::io::repeat(b'~').take(size.0);
    let mut file = std::fs::File::create(&path).map_err(failed)?;
    std::io::copy(&mut pattern, &mut file).map_err(failed)?;
    Ok(path)
}
