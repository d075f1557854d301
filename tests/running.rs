//! Stories of live capture: HitKeep runs, has its databases open, and is backed up all the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duckdb::Connection;
use hitkeep_plan::demo::Layout;
use hitkeep_plan::duck::Limits;
use hitkeep_plan::duck::capture::Patience;
use hitkeep_plan::event::Silence;
use hitkeep_plan::measure::Bytes;
use hitkeep_plan::stop::{Reason, Stop};
use hitkeep_plan::survey::{self, Known, Means, SurveyError};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{LONG, PLAN, Running, Site, TENANT, demo, fill, installation, minimal, names, read_tree};
use crate::other_process::OtherProcess;
use crate::redact::{self, golden};
use crate::runs::{Mount, document, events, in_order};
use crate::signals::stopped_at;
use crate::source::state;

/// What a server has written and not yet checkpointed: seven page views of a site that has them nowhere else.
const WRITTEN: &str = "INSERT INTO hits SELECT 7, '/late', TIMESTAMPTZ '2026-01-04 00:00:00Z' FROM range(7);";

/// [`PLAN`], with another `capture`.
fn plan(capture: &str) -> String {
    PLAN.replace("data_path", &format!("capture = \"{capture}\"\ndata_path"))
}

fn tenant(site: &Site) -> PathBuf {
    site.path(&format!("data/tenants/{TENANT}/hitkeep.db"))
}

/// Starts what has both databases open, as a HitKeep that runs, and has written to both.
fn hitkeep(site: &Site) -> [OtherProcess; 2] {
    [site.path("data/hitkeep.db"), tenant(site)].map(|database| OtherProcess::writing(&database, WRITTEN))
}

/// Reads a document of the only set.
fn read(site: &Site, name: &str) -> Value {
    let set = site.sets().pop().unwrap().0;
    let path = site.path("backups/hitkeep").join(name.replace("SET", &set));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Counts the page views that only the log of a running server knew, in both databases of a restored set.
fn late_hits(site: &Site, restored: &str) -> [u64; 2] {
    site.succeed(&["restore", "plan.toml", "--to", restored]);
    [format!("{restored}/hitkeep.db"), format!("{restored}/tenants/{TENANT}/hitkeep.db")].map(|database| {
        let database = Connection::open(site.path(&database)).unwrap();
        database.query_row("SELECT count(*) FROM hits WHERE path = '/late'", [], |row| row.get(0)).unwrap()
    })
}

#[test]
fn a_hitkeep_that_runs_is_backed_up_with_what_only_its_logs_know() {
    for capture in ["auto", "live"] {
        let site = Site::with(minimal());
        site.write_plan(&plan(capture));
        let running = hitkeep(&site);
        let before = state(&site);
        site.succeed(&["run", "plan.toml"]);
        assert!(state(&site) == before, "a live capture wrote to the source");
        drop(running);

        assert_eq!(names(&site.path("staging")), Vec::<String>::new());
        for manifest in ["shared/SET.manifest.json", &format!("tenants/{TENANT}/SET.manifest.json")] {
            let manifest = read(&site, manifest);
            assert_eq!((&manifest["capture"], &manifest["live"]["tries"]), (&"live".into(), &1.into()));
            assert!(manifest["live"]["log_bytes"].as_u64().unwrap() > 0, "{manifest}");
        }
        assert_eq!(late_hits(&site, "restored"), [7, 7], "{capture}");
        site.succeed(&["verify", "plan.toml"]);
    }
}

#[test]
fn who_has_one_database_open_may_need_the_others() {
    for held in [|site: &Site| site.path("data/hitkeep.db"), tenant] {
        let site = Site::with(minimal());
        let _running = OtherProcess::writing(&held(&site), "");
        site.succeed(&["run", "plan.toml"]);
        let captures: Vec<Value> = read(&site, "runs/SET.json")["snapshots"]
            .as_array()
            .unwrap()
            .iter()
            .map(|snapshot| snapshot["capture"].clone())
            .collect();
        assert_eq!(captures, ["live", "live"]);
    }
}

#[test]
fn where_nobody_has_a_database_open_the_plan_decides() {
    for (capture, expected) in [("auto", "direct"), ("direct", "direct"), ("live", "live")] {
        let site = Site::with(minimal());
        site.write_plan(&plan(capture));
        let before = state(&site);
        site.succeed(&["run", "plan.toml"]);
        assert!(state(&site) == before, "{capture}");
        let record = read(&site, "runs/SET.json");
        for snapshot in record["snapshots"].as_array().unwrap() {
            assert_eq!(snapshot["capture"], expected, "{capture}");
            assert_eq!(snapshot["live"].is_object(), expected == "live", "{capture}");
        }
    }
}

#[test]
fn a_dry_run_says_what_is_copied_and_removes_what_it_copied_to_look() {
    let site = Site::with(minimal());
    let _running = hitkeep(&site);
    let before = (read_tree(&site.path("")), redact::tree(&site, ""), state(&site));
    let outcome = site.run(&["run", "plan.toml", "--dry-run"]);
    golden("dry-run-live.txt", &redact::outcome(&site, &outcome));
    assert!((read_tree(&site.path("")), redact::tree(&site, ""), state(&site)) == before);
}

#[test]
fn copies_are_made_the_largest_first_and_brought_up_to_date_the_largest_last() {
    let site = Site::with(demo(Layout::Joined));
    site.write_plan(&plan("live"));
    let printed = site.succeed(&["run", "plan.toml", "--dry-run"]).stdout;
    let order = |verb: &str| -> Vec<u64> {
        let database = |line: &str| line.split_whitespace().nth(2).unwrap().to_owned();
        let path = |id: String| match id.as_str() {
            "shared" => site.path("data/hitkeep.db"),
            tenant => site.path(&format!("data/tenants/{tenant}/hitkeep.db")),
        };
        let lines = printed.lines().filter(|line| line.contains(&format!("  {verb}  ")));
        lines.map(|line| fs::metadata(path(database(line))).unwrap().len()).collect()
    };
    let (prepared, captured) = (order("prepare"), order("capture"));
    assert_eq!((prepared.len(), captured.len()), (2, 3), "the shared one is copied to be looked into: {printed}");
    assert!(prepared.is_sorted_by(|one, next| one >= next) && captured.is_sorted(), "{printed}");
}

#[test]
fn a_live_run_does_what_its_dry_run_printed_and_tells_each_step() {
    let site = Site::with(minimal());
    let _running = hitkeep(&site);
    let printed = site.succeed(&["run", "plan.toml", "--dry-run"]).stdout;
    let outcome = site.succeed(&["run", "plan.toml", "--json"]);
    assert_eq!(outcome.stderr, "");
    let told: Vec<Value> = in_order(events(&outcome.stdout))
        .iter()
        .filter(|event| event["event"] != "task-moved")
        .map(|event| redact::json(&site, event))
        .collect();
    golden("live-events.jsonl", &told.iter().map(|event| event.to_string() + "\n").collect::<String>());

    let started = told.iter().filter(|event| event["event"] == "task-started");
    let started: Vec<String> = started.map(|event| event["title"].as_str().unwrap().trim().to_owned()).collect();
    let printed = redact::text(&site, &printed).replace("hitkeep-plan-…", "hitkeep-plan-[RUN]");
    let numbered = printed.lines().skip(1).filter(|line| line[..4].trim().parse::<u32>().is_ok());
    assert_eq!(numbered.map(|line| line[4..].trim()).collect::<Vec<_>>(), started);
}

#[test]
fn every_database_is_captured_before_the_first_is_exported() {
    let site = Site::with(minimal());
    let _running = hitkeep(&site);
    let (begun, outcome) = (Timestamp::now(), site.succeed(&["run", "plan.toml", "--json"]));
    let tasks: Vec<String> = events(&outcome.stdout)
        .iter()
        .filter(|event| event["event"] == "task-started")
        .map(|event| event["title"].as_str().unwrap().split_whitespace().next().unwrap().to_owned())
        .collect();
    let last_capture = tasks.iter().rposition(|task| task == "capture").unwrap();
    let first_export = tasks.iter().position(|task| task == "export").unwrap();
    assert!(last_capture < first_export, "{tasks:?}");

    let record = read(&site, "runs/SET.json");
    let moment = |snapshot: &Value| snapshot["captured_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let moments: Vec<Timestamp> = record["snapshots"].as_array().unwrap().iter().map(moment).collect();
    let [shared, tenant] = moments[..] else { panic!("{moments:?}") };
    assert!(begun < tenant && tenant < shared, "the largest is captured last: {moments:?}");
    assert_eq!(record["spread_seconds"], shared.duration_since(tenant).as_secs());
}

#[test]
fn a_copy_is_its_owners_alone_and_goes_when_it_is_exported() {
    let site = Site::with(minimal());
    fill(&site.path("data/hitkeep.db"), LONG);
    let _running = hitkeep(&site);
    let mut run = Running::start(site.command(&["run", "plan.toml", "--json"]));
    run.wait_for_task("export");
    run.signal(Signal::STOP);
    let copies = redact::tree(&site, "staging").replace(TENANT, "[TENANT]");
    let copies = copies.lines().filter(|line| line.contains("/copies")).map(|line| line.to_owned() + "\n");
    golden("live-staging.txt", &copies.collect::<String>());
    run.signal(Signal::CONT);
    run.wait_for_task("export");
    run.signal(Signal::STOP);
    let copies = redact::tree(&site, "staging");
    assert!(!copies.contains("copies/shared"), "{copies}");
    run.signal(Signal::CONT);
    assert_eq!(run.end().code, 0);
    assert_eq!(names(&site.path("staging")), Vec::<String>::new());
}

#[test]
fn a_server_that_comes_in_the_middle_is_captured_live_from_there_on() {
    let site = Site::with(minimal());
    fill(&site.path("data/hitkeep.db"), LONG);
    let mut run = Running::start(site.command(&["run", "plan.toml", "--json"]));
    run.wait_for_task("export");
    run.signal(Signal::STOP);
    let server = OtherProcess::writing(&tenant(&site), WRITTEN);
    run.signal(Signal::CONT);
    let outcome = run.end();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let warned: Vec<Value> = events(&outcome.stdout).into_iter().filter(|event| event["event"] == "warned").collect();
    let expected = format!("{TENANT} is open in {} by now: from here on databases are captured live", server.name());
    assert_eq!(warned.iter().map(|event| &event["message"]).collect::<Vec<_>>(), [&expected]);
    let snapshots = &read(&site, "runs/SET.json")["snapshots"];
    assert_eq!((&snapshots[0]["capture"], &snapshots[1]["capture"]), (&"direct".into(), &"live".into()));
    drop(server);
    assert_eq!(late_hits(&site, "restored"), [0, 7]);
}

#[test]
fn a_copy_that_is_needed_in_the_middle_only_is_not_begun_without_room() {
    let site = Site::with(minimal());
    fill(&site.path("data/hitkeep.db"), LONG);
    fill(&tenant(&site), LONG / 2 * 3);
    let bytes = fs::metadata(tenant(&site)).unwrap().len();
    let staging = site.path("staging");
    // An export fits, and a copy does; both do not.
    let Some(_mount) = Mount::at(&staging, &format!("size={}", bytes * 3 / 2)) else { return };
    let mut run = Running::start(site.command(&["run", "plan.toml", "--json"]));
    run.wait_for_task("export");
    run.signal(Signal::STOP);
    let _server = OtherProcess::writing(&tenant(&site), WRITTEN);
    run.signal(Signal::CONT);
    let outcome = run.end();
    assert_eq!((outcome.code, site.sets()[0].1.as_str()), (3, "partial"), "{outcome:?}");
    let failed: Vec<Value> =
        events(&outcome.stdout).into_iter().filter(|event| event["event"] == "task-failed").collect();
    let [failed] = &failed[..] else { panic!("{outcome:?}") };
    let cause = failed["cause"].as_str().unwrap();
    assert!(cause.starts_with("there is no room for `"), "{cause}");
    assert!(cause.ends_with(" may be needed for it and what is read of it"), "{cause}");
}

#[test]
fn a_live_run_that_is_stopped_leaves_nothing() {
    let cases = [
        ("announce", Signal::INT, 130, "interrupted"),
        ("prepare", Signal::TERM, 143, "terminated"),
        ("capture", Signal::INT, 130, "interrupted"),
        ("capture", Signal::TERM, 143, "terminated"),
        ("export", Signal::INT, 130, "interrupted"),
        ("store", Signal::TERM, 143, "terminated"),
        ("check", Signal::INT, 130, "interrupted"),
        ("describe", Signal::TERM, 143, "terminated"),
    ];
    for (task, signal, code, word) in cases {
        let site = Site::with(minimal());
        // There is something left to be stopped when the other database is stored.
        fill(&tenant(&site), LONG);
        let _running = hitkeep(&site);
        let before = state(&site);
        let outcome = stopped_at(&site, &["run", "plan.toml", "--json"], task, signal);
        assert_eq!(outcome.code, code, "{task}: {outcome:?}");
        assert!(outcome.stderr.contains(word), "{task}: {outcome:?}");
        assert_eq!(site.sets(), [], "{task}");
        assert_eq!(names(&site.path("staging")), Vec::<String>::new(), "{task}");
        assert!(state(&site) == before, "{task}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_is_stopped_leaves_no_copy() {
    let site = Site::with(minimal());
    let _running = hitkeep(&site);
    let (plan, staging, stop) = (site.read_plan(PLAN), site.path("staging"), Stop::default());
    let limits = Limits { memory: Bytes(64 << 20), most: Bytes(64 << 20), spill: site.path("spill") };
    let (limits, patience) = (&limits, Patience::default());
    let means = Means { limits, staging: &staging, patience, clock: Timestamp::now, tell: &Silence, stop: &stop };
    fs::create_dir(&staging).unwrap();
    stop.request(Reason::Interrupt);
    let job = &plan.backups()[0];
    let ended = survey::backup(job, installation(job), &[], &Known::default(), &means).await;
    assert!(matches!(ended, Err(SurveyError::Stopped(Reason::Interrupt))), "{ended:?}");
    assert!(read_tree(&staging).is_empty(), "{:?}", names(&staging));
}

#[test]
fn a_live_run_that_is_killed_leaves_what_the_next_one_removes() {
    let site = Site::with(minimal());
    let _running = hitkeep(&site);
    for task in ["prepare", "capture", "export", "store"] {
        assert_eq!(stopped_at(&site, &["run", "plan.toml", "--json"], task, Signal::KILL).code, -9);
        crate::kill::make_old(&site.path("staging"));
    }
    site.succeed(&["run", "plan.toml"]);
    assert_eq!(names(&site.path("staging")), Vec::<String>::new());
    let complete = site.sets().into_iter().filter(|(_, state)| state == "complete").count();
    assert_eq!(complete, 1);
}

#[test]
fn a_tenant_that_cannot_be_captured_makes_the_set_partial() {
    let site = Site::with(minimal());
    let _running = OtherProcess::writing(&site.path("data/hitkeep.db"), WRITTEN);
    fs::write(tenant(&site), "a text of more than a few words\n".repeat(500)).unwrap();
    let outcome = site.run(&["run", "plan.toml"]);
    golden("live-partial.txt", &redact::outcome(&site, &outcome));
    assert_eq!((outcome.code, site.sets()[0].1.as_str()), (3, "partial"));
}

/// Spoils every block of a database, and leaves the headers as they are.
fn damage(database: &Path) {
    let file = fs::OpenOptions::new().write(true).open(database).unwrap();
    let blocks = (12_288..file.metadata().unwrap().len()).step_by(16_384);
    blocks.for_each(|block| file.write_all_at(b"spoilt", block + 64).unwrap());
}

#[test]
fn a_capture_that_fails_says_what_was_seen_and_what_to_do() {
    let site = Site::with(minimal());
    let _running = hitkeep(&site);
    let told = |what: &str, words: &[&str]| format!("# {what}: {}\n", redact::outcome(&site, &site.run(words)));
    damage(&tenant(&site));
    let mut story = told("one tenant", &["run", "plan.toml"]);
    assert_eq!(site.sets()[0].1, "partial");
    damage(&site.path("data/hitkeep.db"));
    story += &told("the shared database", &["run", "plan.toml"]);
    story += &told("a look", &["run", "plan.toml", "--dry-run"]);
    story += &told("the doctor", &["doctor", "plan.toml"]);
    golden("live-damaged.txt", &story);
    assert_eq!((site.sets().len(), names(&site.path("staging"))), (1, Vec::new()));
    let codes: Vec<Value> = site.state_records().into_values().map(|record| record["exit_code"].clone()).collect();
    assert_eq!(codes, [3, 4]);
}

#[test]
fn copies_that_do_not_fit_are_refused_before_anything_is_stored() {
    let site = Site::with(minimal());
    let _running = hitkeep(&site);
    let shared = fs::metadata(site.path("data/hitkeep.db")).unwrap().len();
    let staging = site.path("staging");
    let mut story = Vec::new();
    for (what, room) in [("not even one", 65_536), ("not all", shared * 3 / 2)] {
        let Some(mount) = Mount::at(&staging, &format!("size={room}")) else { return };
        let outcome = site.run(&["run", "plan.toml"]);
        assert_eq!((outcome.code, names(&staging)), (9, Vec::new()));
        story.push(format!("# {what}: {}\n", redact::outcome(&site, &outcome)));
        drop(mount);
    }
    golden("live-no-room.txt", &story.concat());
    assert_eq!(site.sets(), []);
}

#[test]
fn the_record_and_the_manifest_say_how_a_copy_came_about() {
    let site = Site::with(minimal());
    let _running = hitkeep(&site);
    site.succeed(&["run", "plan.toml"]);
    let set = site.sets()[0].0.clone();
    let bytes = |name: &str| fs::read(site.path("backups/hitkeep").join(name)).unwrap();
    let record = document(&site, &bytes(&format!("runs/{set}.json")));
    let manifest = document(&site, &bytes(&format!("shared/{set}.manifest.json")));
    golden("live-record.json", &record);
    golden("live-manifest.json", &manifest);
}

#[test]
fn the_doctor_says_who_has_a_database_open_and_what_a_copy_takes() {
    let site = Site::with(minimal());
    let stopped = site.run(&["doctor", "plan.toml"]);
    let running = hitkeep(&site);
    let before = (redact::tree(&site, ""), state(&site));
    let told = |words: &[&str]| {
        let mut outcome = site.run(words);
        for server in &running {
            outcome.stdout = outcome.stdout.replace(&server.name(), "[SERVER]");
        }
        format!("# {}: {}\n", words.join(" "), redact::outcome(&site, &outcome))
    };
    let mut story = format!("# stopped: {}\n", redact::outcome(&site, &stopped));
    story += &told(&["doctor", "plan.toml"]);
    story += &told(&["doctor", "plan.toml", "--json"]);
    site.write_plan(&plan("direct"));
    story += &told(&["doctor", "plan.toml"]);
    golden("doctor-live.txt", &story);
    site.write_plan(PLAN);
    assert!((redact::tree(&site, ""), state(&site)) == before, "the doctor left something behind");
}

#[test]
fn a_demo_of_live_capture_loses_nothing_that_was_acknowledged() {
    let site = Site::with(&BTreeMap::new());
    let outcome = site.succeed(&["demo", "everything", "--hits", "3000", "--live"]);
    assert_eq!(outcome.stderr, "");
    let found = outcome.stdout.lines().filter_map(|line| line.split_once(" batches before, "));
    let counts: Vec<(u64, u64)> = found
        .map(|(before, after)| {
            let number = |text: &str, at| text.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap();
            (number(before, 1), number(after, 0))
        })
        .collect();
    assert_eq!(counts.len(), 3, "{outcome:?}");
    assert!(counts.iter().all(|(before, held)| *before >= 30 && held >= before), "{counts:?}");
    let mut told = redact::text(&site, &outcome.stdout);
    for tenant in fs::read_dir(site.path("everything/data/tenants")).unwrap() {
        told = told.replace(tenant.unwrap().file_name().to_str().unwrap(), "[TENANT]");
    }
    golden("demo-live.txt", &redact::narrow(&without_numbers(&told)));
}

#[test]
fn the_process_of_a_demo_ends_with_it_however_that_ends() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, -9)] {
        let site = Site::with(&BTreeMap::new());
        let mut shown = Running::start(site.command(&["demo", "everything", "--hits", "300", "--live"]));
        let process = shown.wait_for_line("2. Process ").split_whitespace().next().unwrap().to_owned();
        shown.signal(signal);
        let outcome = shown.end();
        assert_eq!(outcome.code, code, "{outcome:?}");
        let (begun, process) = (Instant::now(), Path::new("/proc").join(process));
        while process.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{signal:?} leaves {}", process.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Replaces every number of a text, also one that is grouped by spaces.
fn without_numbers(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let is_group = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        if !(is_group && words.last().is_some_and(|last| last.ends_with('#'))) {
            words.push(word.chars().fold(String::new(), with_number_hidden));
        }
    }
    words.join(" ")
}

fn with_number_hidden(mut hidden: String, next: char) -> String {
    match (next.is_ascii_digit(), hidden.ends_with('#')) {
        (true, true) => {}
        (true, false) => hidden.push('#'),
        (false, _) => hidden.push(next),
    }
    hidden
}
