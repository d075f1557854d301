//! Stories of the page that `status --html` writes: what is on it, that nothing on it runs, and where it goes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use hitkeep_plan::measure::Sha256;
use hitkeep_plan::name::{DatabaseId, SnapshotId};
use hitkeep_plan::plan::Objective;
use hitkeep_plan::record::{Catalogue, DrillRecord, Held, RunRecord, Set, State, Status};
use hitkeep_plan::report::page::{Heading, Series, page};
use hitkeep_plan::work::{self, Looked, SeriesFacts, SeriesStatus};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::fixture::{PLAN, Site, minimal, names};
use crate::redact::golden;

/// What must not become a part of the page.
const HOSTILE: &str = "\"><script>alert('1')</script><img src=x onerror=alert(2)>&amp;";

fn now() -> Timestamp {
    "2026-03-29T09:30:00Z".parse().unwrap()
}

fn days_ago(days: i64) -> Timestamp {
    let night: Timestamp = "2026-03-29T02:00:00Z".parse().unwrap();
    night - SignedDuration::from_hours(24 * days)
}

/// Returns a set of so many days ago.
fn set(days: i64, state: State) -> Set {
    let mut record = RunRecord::read(include_bytes!("recorded/run-1.json")).unwrap();
    let rows = u64::try_from(2_000 - days * 7).unwrap();
    record.snapshot = SnapshotId::at(days_ago(days));
    record.status = if state == State::Partial { Status::Partial } else { Status::Complete };
    record.warnings = vec![format!("odd: {HOSTILE}")];
    record.snapshots.truncate(1);
    (record.snapshots[0].rows, record.snapshots[0].bytes) = (rows, rows * 100);
    let (database, files) = (DatabaseId::Shared, [("hits.parquet".to_owned(), rows * 100)].into());
    let databases = vec![Held { database, files, has_manifest: true, loads: None }];
    Set { id: record.snapshot, state, databases, record: Some((record, Sha256::of(b""))) }
}

/// Returns seventy days of sets: with a gap, some that are partial, one that is damaged, and one of another series.
fn sets() -> Vec<Set> {
    let days = (0..70).rev().filter(|days| !(20..24).contains(days));
    let state = |days: i64| match days {
        3 | 40 => State::Partial,
        11 => State::Damaged(format!("`{HOSTILE}` is gone")),
        33 => State::Stranger(HOSTILE.to_owned()),
        _ => State::Complete,
    };
    days.map(|days| set(days, state(days))).collect()
}

/// Gives each set a reason, the newest the first place of a rule.
fn kept(sets: Vec<Set>) -> Vec<(Set, String)> {
    let count = sets.len();
    sets.into_iter().enumerate().map(|(at, set)| (set, format!("daily {} of 90", count - at))).collect()
}

fn tables() -> Vec<(SnapshotId, BTreeMap<String, u64>)> {
    let at = |days: i64| {
        let rows = u64::try_from(2_000 - days * 7).unwrap();
        let mut counts: BTreeMap<String, u64> = (0..18).map(|n| (format!("table_{n:02}"), n)).collect();
        counts.extend([("hits".to_owned(), rows * 20), ("sessions".to_owned(), rows), (HOSTILE.to_owned(), 300)]);
        if days < 30 {
            counts.insert("goals".to_owned(), 5_000 - u64::try_from(days).unwrap() * 150);
        }
        (SnapshotId::at(days_ago(days)), counts)
    };
    (0..70).rev().step_by(3).map(at).collect()
}

/// Returns three series: one that meets its objectives, one that breaks them, and one that cannot be looked at.
fn series() -> Vec<Series> {
    let objective = Objective { rpo: Some("26h".parse().unwrap()), drill_every: Some("7d".parse().unwrap()) };
    let mut drill = DrillRecord::read(include_bytes!("recorded/drill-1.json")).unwrap();
    drill.finished_at = days_ago(2);
    drill.snapshot = SnapshotId::at(days_ago(2));
    let status = |sets: &[Set], drills: Vec<DrillRecord>, holder: Option<&str>| {
        let catalogue = Catalogue { sets: sets.to_vec(), ..Catalogue::default() };
        let facts = SeriesFacts { catalogue, drills, samples: Vec::new(), holder: holder.map(str::to_owned) };
        Looked::Standing(Box::new(work::status(objective, &facts, &[], now())))
    };
    let old: Vec<Set> = sets().into_iter().filter(|set| set.id.moment() < days_ago(45)).collect();
    let one = |destination: &str, standing: Looked, sets: Vec<Set>, tables| Series {
        status: SeriesStatus {
            job: "nightly".parse().unwrap(),
            destination: destination.parse().unwrap(),
            at: format!("/srv/{destination}/{HOSTILE}"),
            next_run: Some("2026-03-30T01:00:00Z".parse().unwrap()),
            standing,
        },
        objective,
        sets: kept(sets),
        tables,
    };
    vec![
        one("disk", status(&sets(), vec![drill], Some(HOSTILE)), sets(), tables()),
        one("nas", status(&old, Vec::new(), None), old, Vec::new()),
        one("offsite", Looked::Unreachable(format!("cannot list: {HOSTILE}")), Vec::new(), Vec::new()),
    ]
}

fn heading() -> Heading {
    Heading {
        plan: "fra1".to_owned(),
        host: HOSTILE.to_owned(),
        tool: "hitkeep-plan 0.1.0".to_owned(),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        now: now(),
    }
}

#[test]
fn the_page_shows_a_calendar_growth_reasons_and_objectives_and_runs_nothing() {
    let written = page(&heading(), &series()).unwrap();
    golden("status.html", &written);
    for live in ["<script", "<img", "onerror=alert(2)>", "http:", "https:", "url(", "@import", "javascript:"] {
        assert!(!written.contains(live), "{live}");
    }
    assert_eq!(written.matches("&lt;script&gt;").count(), written.matches("script").count() / 2);
}

#[test]
fn a_plan_without_sets_or_objectives_has_a_page_too() {
    let standing = work::status(Objective::default(), &SeriesFacts::default(), &[], now());
    let status =
        SeriesStatus { next_run: None, standing: Looked::Standing(Box::new(standing)), ..series().remove(0).status };
    let bare = Series { status, objective: Objective::default(), sets: Vec::new(), tables: Vec::new() };
    let written = page(&heading(), &[bare]).unwrap();
    assert!(written.contains("no objectives") && !written.contains("Calendar"), "{written}");
}

#[test]
fn the_page_takes_the_place_of_the_file_whole_and_for_its_owner_alone() {
    let site = Site::with(minimal());
    site.write_plan(&PLAN.replace("prefix =", "keep = { last = 3 }\nobjective = { rpo = \"1d\" }\nprefix ="));
    let file = site.path("status.html");
    fs::write(&file, "something else").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let broken = site.run(&["status", "plan.toml", "--html", "status.html"]);
    assert_eq!((broken.code, broken.stdout.as_str(), broken.stderr.as_str()), (8, "", ""), "there is no set yet");
    site.succeed(&["run", "plan.toml"]);
    let set = site.sets()[0].0.clone();
    site.succeed(&["pin", "plan.toml", &set, "--reason", "before the move"]);
    let met = site.succeed(&["status", "plan.toml", "--html", "status.html"]);
    assert_eq!((met.stdout.as_str(), met.stderr.as_str()), ("", ""));
    let written = fs::read_to_string(&file).unwrap();
    for said in ["all objectives met", &set, "pinned: before the move; ", "last 1 of 3", "<td>hits</td>"] {
        assert!(written.contains(said), "{said}: {written}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(names(&site.path("")).iter().all(|name| !name.starts_with(".tmp")));
    let nowhere = site.run(&["status", "plan.toml", "--html", "none/status.html"]);
    assert!(nowhere.code == 1 && nowhere.stderr.contains("cannot write `none/status.html`"), "{nowhere:?}");
    assert_eq!(site.run(&["status", "plan.toml", "--html", "x.html", "--json"]).code, 2);
}
