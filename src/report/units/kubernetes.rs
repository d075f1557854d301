//! The objects by which a Kubernetes cluster asks a plan what is due, and the workflow that keeps bad plans out.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;

use super::{Unit, plain, render, tick};
use crate::name::Name;
use crate::plan::{Archive, Job, Plan, Secret, SourceKind, Store};

/// The longest name that a `CronJob` can have: its jobs and pods are named after it.
const LONGEST: usize = 52;

/// Where a pod keeps run records, and works, where the plan does not say it.
const STATE: &str = "/var/lib/hitkeep-plan";
const STAGING: &str = "/var/tmp";

/// What the program takes besides the memory that an engine and uploads may use, in MiB.
const BESIDES: u64 = 256;

/// A volume that must be there.
#[derive(Debug, Serialize)]
struct Claim {
    /// The name of its claim, and of the volume in the pod.
    name: String,
    /// Where the plan expects it, as YAML.
    path: String,
    read_only: bool,
}

/// A key of the one secret.
#[derive(Debug, Default, Serialize)]
struct Key {
    name: String,
    /// The variable that it becomes.
    variable: Option<String>,
    /// The file that it becomes, as YAML.
    file: Option<String>,
}

/// Why a pod cannot do what a plan says.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A secret is found where a pod cannot look.
    #[error("a pod cannot look up a secret in `{0}`")]
    Secret(Secret),
    /// A job deletes rows from databases that each shard opens.
    #[error("`{0}` deletes what it has archived, and the pods of shards open the shared database at the same time")]
    Deletes(Name),
    /// The folder of a job has a part that is another one for each pod: Kubernetes calls those of shards after their runs.
    #[error("the `prefix` of `{0}` holds the name of the host, and the pods of shards have another one for each run")]
    Host(Name),
}

/// Returns a `ConfigMap` of the plan, a claim for its run records, and a `CronJob` that runs what is due, in as many pods as
/// there are `shards`.
///
/// # Errors
/// When the plan says what a pod cannot do.
pub fn kubernetes(plan: &Plan, file: &Path, image: &str, shards: Option<u16>) -> Result<Unit, Unfit> {
    let secrets = keys(plan).map_err(Unfit::Secret)?;
    if shards.is_some() {
        find_unfit_for_shards(plan)?;
    }
    let chosen = |path: &Path, otherwise: &str| {
        let is_chosen = plan.local().chosen().any(|chosen| chosen == path);
        if is_chosen { quoted(path) } else { otherwise.to_owned() }
    };
    let text: Vec<String> = plan.text().lines().map(|line| format!("    {line}")).collect();
    let values = context! {
        object => object(plan),
        image,
        shards,
        text => text.join("\n"),
        plan => quoted(file),
        minutes => tick(plan),
        state => chosen(plan.local().state(), STATE),
        staging => chosen(plan.local().staging(), STAGING),
        memory => (plan.local().memory_limit().0 + buffers(plan)) / (1 << 20) + BESIDES,
        claims => Value::from(Serde(claims(plan))),
        has_files => secrets.iter().any(|secret| secret.file.is_some()),
        secrets => Value::from(Serde(secrets)),
    };
    let text = render(include_str!("kubernetes.txt"), values);
    Ok(Unit { name: format!("{}.yaml", object(plan)), text })
}

/// Returns how much memory what is on its way to buckets may take, in bytes: jobs run one after the other.
fn buffers(plan: &Plan) -> u64 {
    let stores = plan.jobs().filter(|job| job.to().iter().any(|destination| destination.is_bucket()));
    stores.map(|job| job.upload().concurrency as u64 * job.upload().part_size.0).max().unwrap_or(0)
}

/// Refuses a plan that shards in pods of their own cannot do at one time.
fn find_unfit_for_shards(plan: &Plan) -> Result<(), Unfit> {
    if let Some(job) = plan.jobs().find(|job| job.names_host()) {
        return Err(Unfit::Host(job.name().clone()));
    }
    let mut run = plan.archives().iter().filter(|job| plan.timetable(Job::Archive(job)).is_some());
    // Who deletes needs its databases alone, and of a pod on another node nobody here sees what it has open.
    match run.find(|job| job.deletes()) {
        Some(job) => Err(Unfit::Deletes(job.name().clone())),
        None => Ok(()),
    }
}

/// Returns a workflow for GitHub that checks the plan, which lies at `file` in the repository.
#[must_use]
pub fn workflow(plan: &Plan, file: &Path, image: &str) -> Unit {
    let values = context! { name => plain(plan), plan => quoted(file), image };
    Unit { name: format!("hitkeep-plan-{}.yml", plain(plan)), text: render(include_str!("workflow.txt"), values) }
}

/// Returns the name of the objects: that of the plan, as far as names of objects go.
fn object(plan: &Plan) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = format!("hitkeep-plan-{}", plan.name()).chars().map(letter).take(LONGEST).collect();
    name.trim_end_matches('-').to_owned()
}

/// Returns the volumes of the sources, and of the destinations that are directories.
fn claims(plan: &Plan) -> Vec<Claim> {
    let sources = plan.sources().iter().flat_map(|source| {
        let (folder, apart) = match source.kind() {
            SourceKind::Snapshots(snapshots) => (snapshots.folder(), None),
            SourceKind::Installation(held) => {
                (held.data_path(), held.db_path().parent().filter(|above| !above.starts_with(held.data_path())))
            }
        };
        let deletes = |archive: &Archive| archive.deletes() && archive.source().name() == source.name();
        let claim = |kind: &str, path| Claim {
            name: format!("{kind}-{}", label(source.name())),
            path: quoted(path),
            read_only: !plan.archives().iter().any(deletes),
        };
        std::iter::once(claim("hitkeep", folder)).chain(apart.map(|path| claim("hitkeep-shared", path)))
    });
    let destinations = plan.destinations().iter().filter_map(|destination| match destination.store() {
        Store::Directory(path) => {
            let name = format!("backups-{}", label(destination.name()));
            Some(Claim { name, path: quoted(path), read_only: false })
        }
        Store::Bucket(_) => None,
    });
    sources.chain(destinations).collect()
}

/// Returns a name of the plan as part of the name of an object.
fn label(name: &Name) -> String {
    name.as_str().replace('_', "-").trim_end_matches('-').to_owned()
}

/// Returns what the one secret must hold, each key once.
fn keys(plan: &Plan) -> Result<Vec<Key>, Secret> {
    let certificates = plan.destinations().iter().filter_map(|destination| match destination.store() {
        Store::Bucket(bucket) => bucket.ca_bundle().map(|file| Secret::File(file.to_owned())),
        Store::Directory(_) => None,
    });
    let mut keys = BTreeMap::new();
    for secret in plan.secrets().cloned().chain(certificates) {
        let key = key(&secret).ok_or(secret)?;
        keys.insert(key.name.clone(), key);
    }
    Ok(keys.into_values().collect())
}

fn key(secret: &Secret) -> Option<Key> {
    match secret {
        Secret::Variable(name) => Some(Key { name: name.clone(), variable: Some(name.clone()), file: None }),
        Secret::File(path) => {
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' };
            let name: String = path.display().to_string().chars().map(plain).collect();
            let name = name.trim_matches('.').to_owned();
            Some(Key { name, variable: None, file: Some(quoted(path)) })
        }
        Secret::Command(_) | Secret::Credential(_) => None,
    }
}

/// Writes a path as YAML: in quotes, unless it is plain.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if super::is_plain(&text) && !text.starts_with(['-', '@', ',', ':']) && !text.contains([':', ',']) {
        return text;
    }
    serde_json::Value::from(text).to_string()
}
