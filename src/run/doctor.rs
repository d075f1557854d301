//! Asks the real world whether a plan can be carried out: every part is tried for real, and nothing is left behind.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{Cause, Outside, exit};
use crate::diagnose::{Finding, Verdict};
use crate::event::Meter;
use crate::measure::{Bytes, counted};
use crate::name::{Key, Name, RunId};
use crate::plan::Backup;
use crate::store::{Body, Mode, Part, Store, StoreError, local};
use crate::survey;
use crate::work::DatabaseFact;

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
        let is_failed = self.findings.iter().any(|finding| finding.verdict == Verdict::Failed);
        match self.part {
            _ if !is_failed => exit::DONE,
            Patient::Source(_) => exit::SOURCE,
            Patient::Host => exit::REFUSED,
            Patient::Destination(_) => exit::DESTINATION,
        }
    }
}

/// Examines what a job is about: its source, this host, and each destination; `stores` are in the plan's order.
pub async fn doctor(
    job: &Backup,
    stores: &[Arc<dyn Store>],
    staging: &Path,
    run: RunId,
    outside: &Outside,
) -> Vec<Examined> {
    let (source, largest) = source(job, outside).await;
    let mut examined = vec![source, host(staging, largest)];
    for (destination, store) in job.to().iter().zip(stores) {
        let findings = place(store.as_ref(), job, staging, run, outside).await;
        examined.push(Examined { part: Patient::Destination(destination.name().clone()), findings });
    }
    examined
}

/// Examines the source, and returns the size of its largest database.
async fn source(job: &Backup, outside: &Outside) -> (Examined, Bytes) {
    let part = Patient::Source(job.source().name().clone());
    let (databases, unused) = match survey::databases(job.source(), &outside.limits).await {
        Ok(found) => found,
        Err(error) => return (Examined { part, findings: vec![Finding::failed("databases", error)] }, Bytes(0)),
    };
    let mut findings: Vec<Finding> = databases.iter().map(database).collect();
    if !unused.is_empty() {
        let seen =
            format!("{} without a site and without a database: nothing to back up", counted(unused.len(), "tenant"));
        findings.push(Finding::ok("tenants", seen));
    }
    let largest = databases.iter().filter_map(|fact| fact.bytes.as_ref().ok()).max().copied().unwrap_or_default();
    (Examined { part, findings }, largest)
}

fn database(fact: &DatabaseFact) -> Finding {
    match &fact.bytes {
        Ok(bytes) => Finding::ok("database", format!("{} ({bytes}) can be read", fact.id)),
        Err(cause) => Finding::failed("database", format!("{}: {cause}", fact.id)),
    }
}

/// Examines the room on this host.
fn host(staging: &Path, largest: Bytes) -> Examined {
    let finding = match local::free_space(staging) {
        Err(error) => Finding::failed("staging", format!("`{}`: {error}", staging.display())),
        Ok(free) if free < largest => Finding::failed(
            "staging",
            format!("{free} are free in `{}`, and an export may need {largest}", staging.display()),
        )
        .with_help(Some("make room, or name another directory as `staging` in `[local]`".to_owned())),
        Ok(free) => Finding::ok("staging", format!("{free} are free in `{}`", staging.display())),
    };
    Examined { part: Patient::Host, findings: vec![finding] }
}

/// Examines one destination. What is needed for all that follows comes first, and ends the examination when it fails.
async fn place(store: &dyn Store, job: &Backup, staging: &Path, run: RunId, outside: &Outside) -> Vec<Finding> {
    let reached = match store.folders(job.prefix(), "").await {
        Ok(_) => Finding::ok("reach", format!("{} answers", store.locate(job.prefix().as_str()))),
        Err(error) => return vec![Finding::failed("reach", error)],
    };
    let lock = match store.lock(job.prefix(), &format!("doctor {run}")).await {
        Ok(lock) => lock,
        Err(error) => return vec![reached, Finding::failed("lock", error)],
    };
    let mut findings = vec![reached, Finding::ok("lock", "it can be taken, and nobody has it")];
    findings.extend(space(store).await);
    findings.extend(probe(store, job, staging, run, outside).await);
    findings.extend(store.examine(job.prefix()).await);
    lock.release().await;
    findings
}

async fn space(store: &dyn Store) -> Option<Finding> {
    match store.free_space().await {
        Ok(None) => None,
        Ok(Some(free)) => Some(Finding::ok("space", format!("{free} are free"))),
        Err(error) => Some(Finding::failed("space", error)),
    }
}

/// Stores an object of more than one part, reads it back and takes it away, whatever fails between.
async fn probe(store: &dyn Store, job: &Backup, staging: &Path, run: RunId, outside: &Outside) -> Vec<Finding> {
    let key = job.prefix().key(&Key::of(format!(".doctor-{run}")));
    let mut findings = Vec::new();
    let meter = Meter::default();
    let stopper = meter.clone();
    let stopping = async {
        outside.stop.wait().await;
        stopper.stop();
        // What has begun ends in good order: it takes away what it has stored.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = trial(store, &key, job.upload().part_size, staging, &meter, &mut findings) => {}
        () = stopping => {}
    }
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
