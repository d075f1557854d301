//! What verbs have in common: a plan read from its file, and the outside that it names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::error::{CliError, speak_of_variables};
use super::memory;
use super::shard::Portion;
use crate::duck::Limits;
use crate::duck::capture::Patience;
use crate::event::Listener;
use crate::measure::{Bytes, Sha256};
use crate::name::Name;
use crate::plan::{self, Bucket, Destination, Plan, Reading, Surroundings, Upload};
use crate::record::PlanRecord;
use crate::run::{About, Outside, exit};
use crate::secret::Hidden;
use crate::stop::{Reason, Stop};
use crate::store::Store;
use crate::store::local::Local;
use crate::store::s3::S3;

/// The memory of an engine where no plan says otherwise.
const MEMORY: Bytes = Bytes(512 << 20);

/// Reads a plan file in the surroundings of this process; of the plan only the part that is meant.
pub(super) fn read_portion(path: &Path, portion: Portion) -> Result<Reading, CliError> {
    let Reading { plan, warnings } = read_plan(path)?;
    let plan = match portion.shard {
        Some(shard) => plan.in_shard(shard),
        None => plan,
    };
    Ok(Reading { plan, warnings })
}

/// Reads a plan file in the surroundings of this process.
pub(super) fn read_plan(path: &Path) -> Result<Reading, CliError> {
    let failed = |cause| CliError::File { doing: "read", path: path.to_owned(), cause };
    let text = String::from_utf8(std::fs::read(path).map_err(failed)?).map_err(|error| no_text(path, &error))?;
    read_text(&text, path)
}

fn no_text(path: &Path, error: &FromUtf8Error) -> CliError {
    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = before.split(|byte| *byte == b'\n').count();
    CliError::Usage {
        message: format!("{}:{line}: this is not UTF-8", path.display()),
        help: "save the plan as UTF-8".to_owned(),
    }
}

/// Reads the text of a plan, as if it were that of a file, in the surroundings of this process.
pub(super) fn read_text(text: &str, path: &Path) -> Result<Reading, CliError> {
    let failed = |cause| CliError::File { doing: "find", path: path.to_owned(), cause };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let around = surroundings(absolute.parent().unwrap_or(Path::new("/")).to_owned());
    Ok(Plan::read(text, &path.display().to_string(), &around)?)
}

/// Reads a place that is given without a plan: `s3://bucket/folder`.
pub(super) fn read_address(address: &str) -> Result<Destination, CliError> {
    let failed = |cause| CliError::File { doing: "find", path: ".".into(), cause };
    let around = surroundings(std::env::current_dir().map_err(failed)?);
    speak_of_variables();
    Ok(Destination::of_address(address, &around)?)
}

/// Returns what this process knows of the world, for a text whose relative paths start at `directory`.
fn surroundings(directory: PathBuf) -> Surroundings {
    Surroundings { host: host(), directory, variables: variables(), real_path }
}

/// Returns the environment of this process, as far as it is text.
pub(super) fn variables() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Returns the name of this host.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Resolves the symbolic links of a path as far as it exists.
fn real_path(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match existing {
        Some((above, real)) => path.strip_prefix(above).map_or(real.clone(), |rest| real.join(rest)),
        None => path.to_owned(),
    }
}

/// Returns the store of a destination, for a job that uploads like this and hides what is a secret.
pub(super) fn store(destination: &Destination, upload: Upload, hidden: &Hidden) -> Arc<dyn Store> {
    store_of(destination, |bucket| S3::new(bucket, upload).hiding(hidden))
}

/// Returns the store of a destination, for someone who waits for an answer.
pub(super) fn store_at_hand(destination: &Destination, upload: Upload) -> Arc<dyn Store> {
    store_of(destination, |bucket| S3::new(bucket, upload).at_hand())
}

fn store_of(destination: &Destination, of_bucket: impl FnOnce(&Bucket) -> S3) -> Arc<dyn Store> {
    match destination.store() {
        plan::Store::Directory(root) => Arc::new(Local::new(root.clone())),
        plan::Store::Bucket(bucket) => Arc::new(of_bucket(bucket)),
    }
}

/// Returns the directory where this host keeps what it remembers.
pub(super) fn state(plan: &Plan) -> Local {
    Local::new(plan.local().state().to_owned())
}

/// Returns what an engine may use: as the plan says it, where there is one that does.
pub(super) fn limits(plan: Option<&Plan>, spill: PathBuf) -> Limits {
    let local = plan.map(Plan::local);
    let memory = local.map_or(MEMORY, plan::Local::memory_limit);
    let is_limited = local.is_some_and(plan::Local::limits_memory);
    let most = if is_limited { memory } else { memory.max(memory::to_be_had()) };
    Limits { memory, most, spill }
}

/// Returns whose work this is: the plan's, or nobody's.
pub(super) fn about(plan: Option<&Plan>) -> About {
    let shard = plan.and_then(Plan::shard);
    let plan = plan.map_or_else(
        || PlanRecord { name: String::new(), sha256: Sha256::of(b"") },
        |plan| PlanRecord { name: plan.name().to_owned(), sha256: plan.digest() },
    );
    About { plan, shard, host: host(), tool: tool() }
}

/// Returns the program and its version.
pub(super) fn tool() -> String {
    concat!("hitkeep-plan ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Assembles everything outside that work touches.
pub(super) fn outside(
    stores: BTreeMap<Name, Arc<dyn Store>>,
    limits: Limits,
    tell: Arc<dyn Listener>,
    stop: Stop,
    about: About,
) -> Outside {
    let (leases, patience) = (BTreeMap::new(), Patience::default());
    Outside { stores, leases, limits, patience, clock: Timestamp::now, tell, stop, about }
}

/// Returns a word to stop that is given at the first signal; the second ends the process.
pub(super) fn stop_at_signals() -> Result<Stop, CliError> {
    let stop = Stop::default();
    listen_to_signals(&stop).map_err(CliError::Runtime)?;
    Ok(stop)
}

fn listen_to_signals(stop: &Stop) -> std::io::Result<()> {
    let signals = [
        (SignalKind::interrupt(), Reason::Interrupt, exit::INTERRUPTED),
        (SignalKind::terminate(), Reason::Terminate, exit::TERMINATED),
    ];
    for (kind, reason, code) in signals {
        let (mut signals, stop) = (signal(kind)?, stop.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if stop.reason().is_some() {
                    std::process::exit(code.into());
                }
                stop.request(reason);
            }
        });
    }
    Ok(())
}
