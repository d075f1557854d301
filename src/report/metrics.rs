//! What has happened as metrics, in the text format of Prometheus: for the textfile collector of its node exporter.
//!
//! Everything is read off the run records that the host keeps: a file that was lost is written whole by the next run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::measure::Span;
use crate::name::SnapshotId;
use crate::plan::{Job, Plan};
use crate::record::{PlaceRecord, RunRecord, Status};

/// One value of one job at one destination: its name behind the prefix, what it means, and where it is found.
type Metric = (&'static str, &'static str, fn(&Series<'_>) -> Option<i64>);

/// Every metric, in the order of the file.
const METRICS: [Metric; 16] = [
    ("last_run_timestamp_seconds", "When the last run ended, however it did.", |series| {
        Some(series.last()?.finished_at.as_second())
    }),
    ("last_success_timestamp_seconds", "When the last run ended that ended with exit code 0.", |series| {
        Some(series.last_that(|record| exit_code(record) == 0)?.finished_at.as_second())
    }),
    ("last_run_exit_code", "The exit code of the last run.", |series| Some(exit_code(series.last()?).into())),
    ("last_run_duration_seconds", "How long the last run took until the destination had its record.", |series| {
        let record = series.last()?;
        Some(record.finished_at.duration_since(record.started_at).as_secs())
    }),
    ("snapshot_bytes", "The size of what the last run stored that stored anything.", |series| {
        i64::try_from(series.stored()?.bytes()).ok()
    }),
    ("snapshot_rows", "The rows of what the last run stored that stored anything.", |series| {
        i64::try_from(series.stored()?.rows()).ok()
    }),
    ("databases_expected", "How many databases the last run was to store that knew them.", |series| {
        i64::try_from(series.last_that(|record| !record.expected.is_empty())?.expected.len()).ok()
    }),
    ("databases_captured", "How many databases that run stored.", |series| {
        i64::try_from(series.last_that(|record| !record.expected.is_empty())?.captured.len()).ok()
    }),
    ("sets_complete", "How many complete sets the destination held after the last run that looked at all.", |series| {
        series.place(|place| i64::try_from(place.sets.as_ref()?.complete).ok())
    }),
    ("sets_partial", "How many partial sets the destination held after the last run that looked at all.", |series| {
        series.place(|place| i64::try_from(place.sets.as_ref()?.partial).ok())
    }),
    ("newest_complete_timestamp_seconds", "The time of the newest complete set.", |series| {
        series.place(|place| place.newest_complete.map(seconds))
    }),
    ("oldest_complete_timestamp_seconds", "The time of the oldest complete set.", |series| {
        series.place(|place| place.sets.as_ref()?.oldest_complete.map(seconds))
    }),
    (
        "last_verify_success_timestamp_seconds",
        "When the run ended that made the newest set whose files were compared after they were stored.",
        |series| series.place(|place| Some(place.verified_at?.as_second())),
    ),
    ("last_drill_success_timestamp_seconds", "When the newest restore drill ended that passed.", |series| {
        series.place(|place| Some(place.drilled_at?.as_second()))
    }),
    ("objective_rpo_seconds", "How old the newest complete set may be.", |series| {
        series.job.backup()?.objective().rpo.and_then(|Span(rpo)| i64::try_from(rpo.as_secs()).ok())
    }),
    ("objective_drill_seconds", "How long ago the last restore drill that passed may be.", |series| {
        series.job.backup()?.objective().drill_every.and_then(|Span(every)| i64::try_from(every.as_secs()).ok())
    }),
];

/// One job at one destination, and its records, the newest first.
struct Series<'r> {
    job: Job<'r>,
    labels: String,
    records: Vec<&'r RunRecord>,
}

impl Series<'_> {
    fn last(&self) -> Option<&RunRecord> {
        self.records.first().copied()
    }

    fn last_that(&self, is_meant: impl Fn(&RunRecord) -> bool) -> Option<&RunRecord> {
        self.records.iter().copied().find(|record| is_meant(record))
    }

    fn stored(&self) -> Option<&RunRecord> {
        self.last_that(|record| matches!(record.status, Status::Complete | Status::Partial))
    }

    /// Returns what the newest record knows of the place that knows it.
    fn place(&self, value: impl Fn(&PlaceRecord) -> Option<i64>) -> Option<i64> {
        self.records.iter().find_map(|record| record.place.as_ref()).and_then(value)
    }
}

fn exit_code(record: &RunRecord) -> u8 {
    record.ended_with.unwrap_or(record.exit_code)
}

fn seconds(set: SnapshotId) -> i64 {
    set.moment().as_second()
}

/// Returns the metrics of a plan, from the run records of its jobs. What is not known has no line.
#[must_use]
pub fn text(plan: &Plan, records: &[RunRecord]) -> String {
    let mut of: BTreeMap<(&str, &str), Vec<&RunRecord>> = BTreeMap::new();
    for record in records {
        of.entry((record.job.as_str(), record.destination.as_str())).or_default().push(record);
    }
    for records in of.values_mut() {
        records.sort_by_key(|record| std::cmp::Reverse(record.run));
    }
    let shard = plan.shard().map(|shard| format!(",shard=\"{shard}\"")).unwrap_or_default();
    let series: Vec<Series<'_>> = plan
        .jobs()
        .flat_map(|job| job.to().iter().map(move |destination| (job, destination.name().as_str())))
        .map(|(job, destination)| {
            let records = of.get(&(job.name().as_str(), destination)).cloned().unwrap_or_default();
            let (name, source) = (job.name(), job.source().name());
            // Names hold nothing that would have to be escaped.
            let labels = format!("plan_job=\"{name}\",source=\"{source}\",destination=\"{destination}\"{shard}");
            Series { job, labels, records }
        })
        .collect();
    let mut text = String::new();
    for (name, help, value) in METRICS {
        let values: Vec<(&str, i64)> =
            series.iter().filter_map(|series| Some((&*series.labels, value(series)?))).collect();
        family(&mut text, name, help, &values);
    }
    // The collector takes the same series from one file only.
    let name = plan.name().replace('\\', "\\\\").replace('"', "\\\"");
    let version = format!("version=\"{}\",plan=\"{name}\"{shard}", env!("CARGO_PKG_VERSION"));
    family(&mut text, "build_info", "The program that wrote this.", &[(&version, 1)]);
    text
}

/// Adds one metric with all of its values; none without a value.
fn family(text: &mut String, name: &str, help: &str, values: &[(&str, i64)]) {
    if values.is_empty() {
        return;
    }
    let _ = writeln!(text, "# HELP hitkeep_plan_{name} {help}\n# TYPE hitkeep_plan_{name} gauge");
    for (labels, value) in values {
        let _ = writeln!(text, "hitkeep_plan_{name}{{{labels}}} {value}");
    }
}

/// Writes a file that everyone may read, in one step: a reader sees all of it or what was there before.
///
/// # Errors
/// When the directory is not there, or cannot be written to.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    // A name that the collector does not read.
    let mut file = tempfile::Builder::new().prefix(".hitkeep-plan-").suffix(".partial").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}
