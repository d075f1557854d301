//! Stories of the metrics: what runs came to, as Prometheus reads it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use hitkeep_plan::name::{RunId, SnapshotId};
use hitkeep_plan::record::{PlaceRecord, RunRecord, SetsRecord, Status};
use hitkeep_plan::report::metrics;

use crate::fixture::{PLAN, Site, minimal, names};
use crate::oracle;
use crate::redact::{golden, skipped};

/// Reads a file as Prometheus' own library for Python does, and prints each value on a line.
const PARSE: &str = "import sys
from prometheus_client.parser import text_string_to_metric_families as parse
for family in parse(open(sys.argv[1]).read()):
    assert family.type == 'gauge' and family.documentation, family
    for sample in family.samples:
        print(sample.name, *(f'{k}={v}' for k, v in sample.labels.items()), int(sample.value))
";

/// Where the file is written.
const FILE: &str = "textfiles/hitkeep_plan.prom";

fn plan() -> String {
    format!("{PLAN}\n[metrics]\ntextfile = \"{FILE}\"\n")
}

/// Returns what Prometheus' own parser reads; nothing, loudly, where that cannot be had.
fn parsed(file: &Path) -> Option<String> {
    let python = oracle::environment("prometheus-client-0.26.0", "prometheus_client==0.26.0");
    let python = python.map_err(|cause| skipped(&format!("prometheus_client cannot be had: {cause}"))).ok()?;
    let output = Command::new(python).args(["-c", PARSE]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Returns the values of a file's only series, by name.
fn values(text: &str) -> BTreeMap<String, i64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| (line.split('{').next().unwrap().to_owned(), line.rsplit(' ').next().unwrap().parse().unwrap()))
        .collect()
}

/// A run record that was once written, of another time and another end.
fn record(id: u8, time: &str, status: Status, exit_code: u8) -> RunRecord {
    let mut record = RunRecord::read(include_bytes!("recorded/run-1.json")).unwrap();
    record.run = RunId::fixed([id; 16]);
    record.started_at = time.parse().unwrap();
    record.finished_at = record.started_at + jiff::SignedDuration::from_secs(i64::from(id));
    record.snapshot = SnapshotId::at(record.started_at);
    (record.status, record.exit_code) = (status, exit_code);
    if status == Status::Failed {
        record.snapshots.clear();
        record.captured.clear();
    }
    record
}

#[test]
fn the_whole_file_says_what_the_records_say() {
    let site = Site::with(minimal());
    let far =
        "[destination.far]\nurl = \"far\"\n\n[backup.nightly]\nobjective = { rpo = \"26h\", drill_every = \"7d\" }";
    let second = "[backup.unrun]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"unrun\"\n\n[local]";
    let text =
        plan().replace("[backup.nightly]", far).replace("[\"disk\"]", "[\"disk\", \"far\"]").replace("[local]", second);
    let plan = site.read_plan(&text);
    let complete = record(1, "2026-03-06T12:00:00Z", Status::Complete, 0);
    let mut drilled = record(2, "2026-03-07T12:00:00Z", Status::Complete, 0);
    drilled.place = Some(PlaceRecord {
        sets: Some(SetsRecord { complete: 2, partial: 1, oldest_complete: Some(complete.snapshot) }),
        newest_complete: Some(drilled.snapshot),
        verified_at: Some(drilled.finished_at),
        drilled_at: Some(complete.finished_at),
    });
    let mut undrilled = record(3, "2026-03-08T12:00:00Z", Status::Complete, 0);
    undrilled.ended_with = Some(6);
    let failed = record(4, "2026-03-09T12:00:00Z", Status::Failed, 4);
    let mut elsewhere = record(4, "2026-03-09T12:00:00Z", Status::Partial, 3);
    elsewhere.destination = "far".parse().unwrap();
    elsewhere.captured.truncate(1);
    elsewhere.snapshots.truncate(1);
    let mut strange = record(5, "2026-03-10T12:00:00Z", Status::Complete, 0);
    strange.job = "another".parse().unwrap();
    // As they come from a directory: in no order.
    let records = [failed, complete, strange, elsewhere, undrilled, drilled];
    let text = metrics::text(&plan, &records);
    golden("metrics.prom", &text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]"));

    fs::write(site.path("golden.prom"), &text).unwrap();
    let Some(parsed) = parsed(&site.path("golden.prom")) else { return };
    let bare = |line: &str| line.replace(['{', '}', ','], " ").replace('"', "");
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(bare);
    let lines: Vec<String> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(parsed.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_failure_never_moves_the_time_of_the_last_success() {
    let site = Site::with(minimal());
    fs::create_dir(site.path("textfiles")).unwrap();
    site.write_plan(&plan());
    site.succeed(&["run", "plan.toml"]);
    let read = || fs::read_to_string(site.path(FILE)).unwrap();
    let good = values(&read());
    assert_eq!((good["hitkeep_plan_last_run_exit_code"], good["hitkeep_plan_sets_complete"]), (0, 1));
    assert_eq!(good["hitkeep_plan_last_run_timestamp_seconds"], good["hitkeep_plan_last_success_timestamp_seconds"]);
    assert_eq!(names(&site.path("textfiles")), ["hitkeep_plan.prom"], "nothing half-written stays");
    let mode = fs::metadata(site.path(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);

    // A file that was lost comes back whole.
    fs::remove_file(site.path(FILE)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    site.write_plan(&plan().replace("\"data\"", "\"nowhere\""));
    assert_eq!(site.run(&["run", "plan.toml"]).code, 4);
    let mut bad = values(&read());
    assert!(bad["hitkeep_plan_last_run_timestamp_seconds"] > good["hitkeep_plan_last_run_timestamp_seconds"]);
    for moved in ["last_run_timestamp_seconds", "last_run_exit_code", "last_run_duration_seconds"] {
        let name = format!("hitkeep_plan_{moved}");
        bad.insert(name.clone(), good[&name]);
    }
    assert_eq!(bad, good, "all else is as it was");
    if let Some(parsed) = parsed(&site.path(FILE)) {
        assert_eq!(parsed.lines().count(), good.len());
    }
}

#[test]
fn metrics_that_cannot_be_written_change_nothing_else() {
    let site = Site::with(minimal());
    site.write_plan(&plan());
    let outcome = site.succeed(&["run", "plan.toml"]);
    let expected = format!("warning: the metrics could not be written to `{}`: ", site.path(FILE).display());
    assert!(outcome.stderr.starts_with(&expected), "{outcome:?}");
    assert_eq!(site.sets()[0].1, "complete");
}

#[test]
fn a_dry_run_writes_no_metrics() {
    let site = Site::with(minimal());
    fs::create_dir(site.path("textfiles")).unwrap();
    site.write_plan(&plan());
    let outcome = site.succeed(&["run", "plan.toml", "--dry-run"]);
    assert!(outcome.stdout.ends_with(&format!("      metrics  in {}\n", site.path(FILE).display())), "{outcome:?}");
    assert_eq!(names(&site.path("textfiles")), Vec::<String>::new());
}
