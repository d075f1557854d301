//! Stories of `status`: how a job stands is told by what lies at its destinations, in a terminal of any width.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::time::Duration;

use hitkeep_plan::measure::Sha256;
use hitkeep_plan::name::{RunId, SnapshotId};
use hitkeep_plan::plan::Objective;
use hitkeep_plan::record::{Catalogue, DrillRecord, RunRecord, SampleRecord, Set, State, Status};
use hitkeep_plan::report;
use hitkeep_plan::store::Store;
use hitkeep_plan::store::local::Local;
use hitkeep_plan::work::{self, Looked, SeriesFacts, SeriesStatus, Standing};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::fixture::{PLAN, Site, minimal};
use crate::redact::{self, golden};

/// The moment that every series is judged at.
fn now() -> Timestamp {
    "2026-03-08T12:00:00Z".parse().unwrap()
}

fn hours_ago(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

/// A run record that was once written, at another time, with other rows and another end.
fn record(hours: i64, rows: u64, status: Status) -> RunRecord {
    let mut record = RunRecord::read(include_bytes!("recorded/run-1.json")).unwrap();
    record.snapshot = SnapshotId::at(hours_ago(hours));
    record.started_at = hours_ago(hours);
    record.status = status;
    record.snapshots[0].rows = rows;
    record.snapshots[0].bytes = rows * 10;
    record.snapshots.truncate(1);
    record
}

fn sealed(record: RunRecord) -> Set {
    let state = match record.status {
        Status::Complete => State::Complete,
        Status::Partial | Status::Failed | Status::Skipped => State::Partial,
    };
    Set { id: record.snapshot, state, databases: Vec::new(), record: Some((record, Sha256::of(b""))) }
}

/// Returns a series with complete sets of so many hours ago, each with its rows.
fn series(sets: &[(i64, u64)]) -> SeriesFacts {
    let sets = sets.iter().map(|(hours, rows)| sealed(record(*hours, *rows, Status::Complete))).collect();
    SeriesFacts { catalogue: Catalogue { sets, ..Catalogue::default() }, ..SeriesFacts::default() }
}

fn drill(hours: i64, of: i64, passed: bool) -> DrillRecord {
    let mut drill = DrillRecord::read(include_bytes!("recorded/drill-1-failed.json")).unwrap();
    drill.finished_at = hours_ago(hours);
    drill.snapshot = SnapshotId::at(hours_ago(of));
    drill.recovery_milliseconds = passed.then_some(2_340);
    drill.passed = passed;
    drill
}

fn sample(hours: i64, round: u64, passed: bool) -> SampleRecord {
    let mut sample = SampleRecord::read(include_bytes!("recorded/sample-1.json")).unwrap();
    (sample.started_at, sample.finished_at) = (hours_ago(hours), hours_ago(hours));
    (sample.round, sample.passed) = (round, passed);
    sample
}

fn objective(rpo: &str, drill_every: &str) -> Objective {
    Objective { rpo: rpo.parse().ok(), drill_every: drill_every.parse().ok() }
}

/// A judgement: what there is, what is wanted, and whether each objective is met: `-` where it is not judged.
#[test]
fn objectives_are_met_or_broken() {
    let drilled = |drills: &[DrillRecord]| SeriesFacts { drills: drills.to_vec(), ..series(&[(2, 100)]) };
    let mut partial = series(&[(30, 100)]);
    partial.catalogue.sets.push(sealed(record(1, 100, Status::Partial)));
    let cases = [
        ("nothing at all", series(&[]), objective("", ""), "- -"),
        ("never a set", series(&[]), objective("26h", ""), "broken -"),
        ("a set in time", series(&[(2, 100)]), objective("26h", ""), "met -"),
        ("exactly in time", series(&[(26, 100)]), objective("26h", ""), "met -"),
        ("too old", series(&[(27, 100)]), objective("26h", ""), "broken -"),
        ("the newest counts", series(&[(50, 100), (27, 100), (2, 100)]), objective("26h", ""), "met -"),
        ("a set of the future", series(&[(-3, 100)]), objective("26h", ""), "broken -"),
        ("a set of a clock that is a little fast", series(&[(-1, 100)]), objective("26h", ""), "met -"),
        ("one in time, and one of the future", series(&[(2, 100), (-30, 100)]), objective("26h", ""), "met -"),
        ("too old, and one of the future", series(&[(27, 100), (-3, 100)]), objective("26h", ""), "broken -"),
        ("a drill of the future", drilled(&[drill(-3, 2, true)]), objective("", "7d"), "- broken"),
        ("a partial set is no success", partial, objective("26h", ""), "broken -"),
        ("never drilled", series(&[(2, 100)]), objective("26h", "7d"), "met broken"),
        ("drilled in time", drilled(&[drill(24, 30, true)]), objective("", "7d"), "- met"),
        ("drilled long ago", drilled(&[drill(24 * 8, 300, true)]), objective("", "7d"), "- broken"),
        ("a drill that failed is none", drilled(&[drill(24, 30, false)]), objective("", "7d"), "- broken"),
        (
            "one that passed before does",
            drilled(&[drill(48, 50, true), drill(1, 2, false)]),
            objective("", "7d"),
            "- met",
        ),
    ];
    for (name, facts, objective, expected) in cases {
        let standing = work::status(objective, &facts, &[], now());
        let word = |judgement: &work::Judgement| match judgement {
            work::Judgement::NotJudged => "-",
            work::Judgement::Met => "met",
            work::Judgement::Broken(_) => "broken",
        };
        assert_eq!(format!("{} {}", word(&standing.rpo), word(&standing.drill)), expected, "{name}");
        assert_eq!(standing.is_broken(), expected.contains("broken"), "{name}");
    }
}

/// Returns series in which everything that can be told is told.
fn everything() -> Vec<(SeriesStatus, Objective)> {
    let mut facts = series(&[(100, 12_000_000), (28, 123_456), (4, 150_000)]);
    facts.catalogue.unseen = 1_234;
    facts.drills = vec![drill(48, 100, true), drill(3, 28, false)];
    facts.holder = Some("process 812 on web-1 since 2026-03-08T11:59:00Z (run 0190a5c4, job nightly)".to_owned());
    let failed = RunRecord { run: RunId::fixed([7; 16]), ..record(1, 0, Status::Failed) };
    let failed = RunRecord {
        failures: vec![hitkeep_plan::record::Failed {
            task: "look at the installation".to_owned(),
            plan_line: Some(9),
            cause: "which databases there are cannot be read: `/var/lib/hitkeep/data/hitkeep.db` does not exist"
                .to_owned(),
        }],
        ..failed
    };
    let wanted = objective("3h", "7d");
    let named = |destination: &str, at: &str, standing| SeriesStatus {
        job: "nightly".parse().unwrap(),
        destination: destination.parse().unwrap(),
        at: at.to_owned(),
        next_run: (destination == "disk").then(|| hours_ago(-15)),
        standing,
    };
    let judged = |standing: Standing| Looked::Standing(Box::new(standing));
    let troubled = judged(work::status(wanted, &facts, &[failed], now()));
    let fresh = judged(work::status(Objective::default(), &series(&[]), &[], now()));
    let calm = judged(work::status(objective("26h", ""), &series(&[(26, 100), (2, 100)]), &[], now()));
    let ahead = series(&[(30, 100), (-8, 100)]);
    let ahead = SeriesFacts { samples: vec![sample(49, 3, true), sample(25, 4, false)], ..ahead };
    let ahead = judged(work::status(objective("26h", ""), &ahead, &[], now()));
    let silent = Looked::Unreachable(
        "cannot list `s3://my-analytics-bucket/hitkeep/backups/runs`: connection refused".to_owned(),
    );
    vec![
        (named("disk", "/srv/hitkeep/web-1/backups", troubled), wanted),
        (named("nas", "/mnt/nas/backups", calm), objective("26h", "")),
        (named("mirror", "/mnt/mirror/backups", fresh), Objective::default()),
        (named("fast", "/mnt/fast/backups", ahead), objective("26h", "")),
        (named("offsite", "s3://my-analytics-bucket/hitkeep/backups", silent), wanted),
    ]
}

#[test]
fn a_standing_fits_terminals_of_any_width() {
    for width in [80, 40] {
        let text = report::status::status(&everything(), now(), width);
        golden(&format!("status-{width}.txt"), &text);
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > width).collect();
        assert_eq!(wide, Vec::<&str>::new());
    }
}

#[test]
fn a_standing_is_told_from_what_lies_at_the_destination() {
    let site = Site::with(minimal());
    site.write_plan(&PLAN.replace("[local]", "objective = { rpo = \"26h\" }\n\n[local]"));
    let mut story = redact::outcome(&site, &site.run(&["status", "plan.toml"]));
    site.succeed(&["run", "plan.toml"]);
    fs::remove_dir_all(site.path("state")).unwrap();
    story += &redact::outcome(&site, &site.run(&["status", "plan.toml"]));
    fs::rename(site.path("data"), site.path("gone")).unwrap();
    assert_eq!(site.run(&["run", "plan.toml"]).code, 4);
    story += &redact::outcome(&site, &site.run(&["status", "plan.toml"]));
    golden("status-story.txt", &story);
}

#[test]
fn a_program_is_told_the_same() {
    let site = Site::with(minimal());
    site.write_plan(&PLAN.replace("[local]", "objective = { rpo = \"1s\", drill_every = \"7d\" }\n\n[local]"));
    site.succeed(&["run", "plan.toml"]);
    std::thread::sleep(Duration::from_secs(2));
    let outcome = site.run(&["status", "plan.toml", "nightly", "--json"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (8, ""));
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let mut document = redact::json(&site, &document);
    document["series"][0]["standing"]["newest"]["age_seconds"] = "[…]".into();
    golden("status.json", &(serde_json::to_string_pretty(&document).unwrap() + "\n"));
}

/// Returns what a program is told of the parts of the newest set that were read: files of how many, and what was wrong.
fn sampled(site: &Site) -> Option<(u64, u64, bool)> {
    let told: Value = serde_json::from_str(&site.succeed(&["status", "plan.toml", "--json"]).stdout).unwrap();
    let sampled = &told["series"][0]["standing"]["sampled"];
    Some((sampled["files"].as_u64()?, sampled["of_files"].as_u64()?, !sampled["failed"].is_null()))
}

#[test]
fn what_was_read_of_the_newest_set_part_by_part_is_told() {
    let site = Site::with(minimal());
    let sample = || site.run(&["verify", "plan.toml", "--sample", "30%"]);
    site.succeed(&["run", "plan.toml"]);
    assert_eq!(sampled(&site), None);
    let mut read = Vec::new();
    for _ in 0..4 {
        assert_eq!(sample().code, 0);
        read.push(sampled(&site).unwrap());
    }
    assert!(read.is_sorted() && read[0].0 < 10 && read[3] == (10, 10, false), "{read:?}");
    let mut story = redact::outcome(&site, &site.run(&["status", "plan.toml"]));

    let set = site.sets().pop().unwrap().0;
    let hits = site.path(&format!("backups/hitkeep/shared/{set}/hits.parquet"));
    let sealed = fs::read(&hits).unwrap();
    fs::write(&hits, [&sealed[..40], &[sealed[40] ^ 1], &sealed[41..]].concat()).unwrap();
    (0..4).for_each(|_| drop(sample()));
    let told = site.succeed(&["status", "plan.toml"]).stdout;
    // Where the line is broken depends on how long all of it takes.
    assert!(told.contains("\n  bad sample   ") && told.contains("hits.parquet` is"), "{told}");
    assert_eq!(sampled(&site), Some((10, 10, true)));
    fs::write(&hits, sealed).unwrap();
    (0..4).for_each(|_| drop(sample()));
    assert_eq!(sampled(&site), Some((10, 10, false)), "the part was read again, and is good");

    std::thread::sleep(Duration::from_millis(1100));
    site.succeed(&["run", "plan.toml"]);
    story += &redact::outcome(&site, &site.run(&["status", "plan.toml"]));
    assert_eq!(sampled(&site), Some((0, 10, false)));
    golden("status-sampled.txt", &story);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_there_is_named_and_not_disturbed() {
    let site = Site::with(minimal());
    let store = Local::new(site.path("backups"));
    let lock = store.lock(&"hitkeep".parse().unwrap(), "the story").await.unwrap();
    let told = site.succeed(&["status", "plan.toml"]).stdout;
    assert!(told.contains("  lock         the story\n"), "{told}");
    lock.release().await;
    let told = site.succeed(&["status", "plan.toml"]).stdout;
    assert!(told.contains("  lock         nobody writes\n"), "{told}");
}

#[test]
fn a_destination_that_does_not_answer_hides_no_other() {
    let site = Site::with(minimal());
    let plan = PLAN.replace("[backup.nightly]", "[destination.far]\nurl = \"far\"\n\n[backup.nightly]");
    site.write_plan(&plan.replace("to = [\"disk\"]", "to = [\"far\", \"disk\"]"));
    fs::write(site.path("far"), "a file where the directory should be").unwrap();
    assert_eq!(site.run(&["run", "plan.toml"]).code, 5);
    let outcome = site.run(&["status", "plan.toml"]);
    assert_eq!(outcome.code, 5, "{outcome:?}");
    golden("status-unreachable.txt", &redact::outcome(&site, &outcome));
}
