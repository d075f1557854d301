//! Stories of adopted sets: what HitKeep's own backup has written is taken away as it is, and only when it is finished.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hitkeep_plan::demo::Layout;
use hitkeep_plan::name::SnapshotId;
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{PLAN, Running, Site, TENANT, demo, minimal, read_tree, walk, write_tree};
use crate::redact::{self, golden};
use crate::restores::contents;
use crate::servers::{Server, s3s};
use crate::signals::stopped_at;

/// The set that HitKeep has written, and the next.
pub(crate) const SET: &str = "2026-06-25T030000Z";
const NEXT: &str = "2026-06-25T040000Z";

/// [`PLAN`], of what HitKeep has written to `theirs`.
pub(crate) fn plan() -> String {
    PLAN.replace("data_path = \"data\"", "snapshots = \"theirs\"")
}

/// Returns a site with this installation, and the plan that adopts.
fn site(installation: &BTreeMap<PathBuf, Vec<u8>>) -> Site {
    let site = Site::with(installation);
    site.write_plan(&plan());
    site
}

/// Returns the smallest site, where HitKeep has written [`SET`].
fn written() -> Site {
    let site = site(minimal());
    back_up(&site, SET);
    site
}

/// Exports a database the way HitKeep does: `shared`, or a tenant by its id.
fn export(site: &Site, set: &str, database: &str) {
    let (from, into) = match database {
        "shared" => ("data/hitkeep.db".to_owned(), format!("theirs/shared/{set}")),
        tenant => (format!("data/tenants/{tenant}/hitkeep.db"), format!("theirs/tenants/{tenant}/{set}")),
    };
    let into = site.path(&into);
    fs::create_dir_all(&into).unwrap();
    let engine = duckdb::Connection::open_in_memory().unwrap();
    let statements = format!(
        "ATTACH '{}' AS hitkeep (READ_ONLY); USE hitkeep; EXPORT DATABASE '{}' (FORMAT PARQUET);",
        site.path(&from).display(),
        into.display()
    );
    engine.execute_batch(&statements).unwrap();
}

/// Backs up the way HitKeep does: the shared database first, then every tenant that is served.
pub(crate) fn back_up(site: &Site, set: &str) {
    export(site, set, "shared");
    for tenant in tenants(site) {
        export(site, set, &tenant);
    }
}

/// Returns the tenants that are served and have a database of their own.
fn tenants(site: &Site) -> Vec<String> {
    let engine = duckdb::Connection::open_in_memory().unwrap();
    let shared = site.path("data/hitkeep.db");
    engine.execute_batch(&format!("ATTACH '{}' AS hitkeep (READ_ONLY); USE hitkeep", shared.display())).unwrap();
    let has_archives: bool = engine
        .query_row("SELECT count(*) > 0 FROM duckdb_tables() WHERE table_name = 'tenant_archives'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let archived = if has_archives { "SELECT tenant_id FROM tenant_archives" } else { "SELECT NULL::UUID WHERE false" };
    let sql = format!("SELECT id::VARCHAR FROM tenants WHERE id NOT IN ({archived}) ORDER BY created_at");
    let mut statement = engine.prepare(&sql).unwrap();
    let ids = statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    ids.filter(|id| site.path(&format!("data/tenants/{id}/hitkeep.db")).exists()).collect()
}

/// Makes everything that HitKeep has written as old as it would be: written 20 seconds after [`SET`] was begun.
pub(crate) fn let_settle(site: &Site) {
    let begun = SET.parse::<SnapshotId>().unwrap().moment().as_second().unsigned_abs();
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(begun + 20);
    walk(&site.path("theirs"), &mut |path| File::open(path).unwrap().set_modified(written).unwrap());
}

/// Everything that HitKeep has written, with the times of its last change.
fn theirs(site: &Site) -> BTreeMap<PathBuf, (Option<Vec<u8>>, SystemTime)> {
    let mut found = BTreeMap::new();
    walk(&site.path("theirs"), &mut |path| {
        let content = path.is_file().then(|| fs::read(path).unwrap());
        found.insert(path.to_owned(), (content, fs::metadata(path).unwrap().modified().unwrap()));
    });
    found
}

/// Compares the databases of a restored set with those of the installation.
fn assert_restored(site: &Site, restored: &str, databases: usize) {
    let found = read_tree(&site.path(restored));
    assert_eq!(found.len(), databases, "{:?}", found.keys());
    for name in found.into_keys() {
        let [ours, source] = [restored, "data"].map(|folder| contents(&site.path(folder).join(&name)));
        assert_eq!(ours, source, "{}", name.display());
    }
}

fn states(site: &Site) -> Vec<(String, String)> {
    site.sets()
}

fn state(set: &str, state: &str) -> (String, String) {
    (set.to_owned(), state.to_owned())
}

#[test]
fn a_set_of_hitkeeps_own_is_stored_as_it_is_and_comes_back() {
    for (layout, databases) in [(Layout::Joined, 3), (Layout::Split, 4)] {
        let site = site(demo(layout));
        back_up(&site, SET);
        let_settle(&site);
        let before = theirs(&site);
        let outcome = site.succeed(&["run", "plan.toml"]);
        assert_eq!((outcome.stderr.as_str(), states(&site)), ("", vec![state(SET, "complete")]));
        for (name, bytes) in read_tree(&site.path("theirs")) {
            let stored = fs::read(site.path("backups/hitkeep").join(&name)).unwrap();
            assert!(stored == bytes, "{} was changed", name.display());
        }
        assert!(theirs(&site) == before, "something was written to HitKeep's own backups");
        assert!(read_tree(&site.path("staging")).is_empty(), "something was staged");
        let told = redact::outcome(&site, &outcome) + &site.succeed(&["list", "plan.toml", "latest"]).stdout;
        if layout == Layout::Joined {
            golden("adopted.txt", &redact::narrow(&redact::text(&site, &told)));
        }
        site.succeed(&["verify", "plan.toml"]);
        site.succeed(&["restore", "plan.toml", "--to", "restored"]);
        assert_restored(&site, "restored", databases);
    }
}

#[test]
fn a_dry_run_prints_what_a_run_does() {
    let site = written();
    let printed = site.run(&["run", "plan.toml", "--dry-run"]);
    golden("adopted-dry-run.txt", &redact::outcome(&site, &printed));
    assert!(!site.path("backups").exists());
    let outcome = site.succeed(&["run", "plan.toml", "--json"]);
    let titles = outcome.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let titles: Vec<String> = titles
        .filter(|event| event["event"] == "task-started")
        .map(|event| event["title"].as_str().unwrap().to_owned())
        .collect();
    let numbered: Vec<&str> = printed.stdout.lines().skip(1).map(|line| &line[6..]).collect();
    assert_eq!(titles, numbered);
}

#[test]
fn the_manifest_says_what_is_known_and_no_more() {
    let site = written();
    let_settle(&site);
    site.succeed(&["run", "plan.toml"]);
    let read = |name: &str| fs::read(site.path("backups/hitkeep").join(name)).unwrap();
    let document = |name: &str| crate::runs::document(&site, &read(name));
    golden("adopted-manifest.json", &document(&format!("shared/{SET}.manifest.json")));
    golden("adopted-record.json", &document(&format!("runs/{SET}.json")));
}

#[test]
fn in_a_bucket_it_is_the_same() {
    let server: Server = s3s::server();
    let site = Site::with(demo(Layout::Split));
    let bucket = server.new_bucket();
    let plan = crate::s3::plan(&server, &bucket, &site.path(""));
    site.write_plan(&plan.replace("data_path = \"data\"", "snapshots = \"theirs\""));
    back_up(&site, SET);
    site.succeed(&["run", "plan.toml"]);
    site.succeed(&["verify", "plan.toml"]);
    site.succeed(&["restore", "plan.toml", "--to", "restored"]);
    assert_restored(&site, "restored", 4);
    assert!(site.succeed(&["run", "plan.toml"]).stdout.contains("is there already"));
}

#[test]
fn what_is_there_already_is_not_stored_again_and_what_is_newer_is() {
    let site = written();
    site.succeed(&["run", "plan.toml"]);
    let stored = || {
        let mut stored = read_tree(&site.path("backups"));
        // The lock says who had it last.
        stored.retain(|path, _| !path.ends_with(".lock"));
        stored
    };
    let before = stored();
    let dry = site.run(&["run", "plan.toml", "--dry-run"]);
    let again = site.run(&["run", "plan.toml"]);
    golden("adopted-again.txt", &(redact::outcome(&site, &dry) + &redact::outcome(&site, &again)));
    assert!(stored() == before);
    let statuses: Vec<Value> = site.state_records().into_values().map(|record| record["status"].clone()).collect();
    assert_eq!(statuses, ["complete", "skipped"]);

    back_up(&site, NEXT);
    site.succeed(&["run", "plan.toml"]);
    assert_eq!(states(&site), [state(SET, "complete"), state(NEXT, "complete")]);
    site.succeed(&["verify", "plan.toml"]);
}

#[test]
fn a_set_that_is_being_written_is_waited_for() {
    for half in ["nothing finished", "shared finished"] {
        let site = site(minimal());
        back_up(&site, SET);
        export(&site, NEXT, "shared");
        let load = site.path(&format!("theirs/shared/{NEXT}/load.sql"));
        let hidden = site.path("load.sql");
        if half == "nothing finished" {
            fs::rename(&load, &hidden).unwrap();
        }
        let mut run = Running::start(site.command(&["run", "plan.toml", "--json"]));
        let said = run.wait_for_line(r#"{"format":1,"event":"waiting","message":""#);
        assert!(said.starts_with(&format!("HitKeep is still writing set {NEXT}: ")), "{half}: {said}");
        if half == "nothing finished" {
            fs::rename(&hidden, &load).unwrap();
        }
        export(&site, NEXT, TENANT);
        let outcome = run.end();
        assert_eq!((outcome.code, states(&site)), (0, vec![state(NEXT, "complete")]), "{half}: {outcome:?}");
        site.succeed(&["restore", "plan.toml", "--to", "restored"]);
        assert_restored(&site, "restored", 2);
    }
}

#[test]
fn who_waits_can_be_stopped() {
    let site = site(minimal());
    export(&site, SET, "shared");
    let mut run = Running::start(site.command(&["run", "plan.toml", "--json"]));
    run.wait_for_line(r#"{"format":1,"event":"waiting","#);
    run.signal(Signal::TERM);
    assert_eq!((run.end().code, states(&site)), (143, vec![]));
}

#[test]
fn a_tenant_that_hitkeep_did_not_back_up_makes_the_set_partial() {
    let site = site(minimal());
    export(&site, SET, "shared");
    let_settle(&site);
    let dry = site.run(&["run", "plan.toml", "--dry-run"]);
    let outcome = site.run(&["run", "plan.toml"]);
    let again = site.run(&["run", "plan.toml"]);
    golden("adopted-partial.txt", &[dry, outcome, again].map(|told| redact::outcome(&site, &told)).concat());
    assert_eq!(states(&site), [state(SET, "partial")]);
}

#[test]
fn what_hitkeep_did_not_finish_is_passed_over_for_what_it_did() {
    let site = written();
    export(&site, NEXT, "shared");
    fs::remove_file(site.path(&format!("theirs/shared/{NEXT}/load.sql"))).unwrap();
    let_settle(&site);
    let doctor = site.run(&["doctor", "plan.toml"]);
    let run = site.run(&["run", "plan.toml"]);
    golden("adopted-unfinished.txt", &[doctor, run].map(|told| redact::outcome(&site, &told)).concat());
    assert_eq!(states(&site), [state(SET, "complete")]);
}

#[test]
fn where_there_is_no_set_nothing_is_done() {
    let site = site(minimal());
    let mut story = Vec::new();
    let mut tell = |what: &str, site: &Site| {
        for words in [["run", "plan.toml"], ["doctor", "plan.toml"]] {
            let outcome = site.run(&words);
            assert_eq!(outcome.code, 4, "{what}: {outcome:?}");
            story.push(format!("# {what}: {}: {}\n", words[0], redact::outcome(site, &outcome)));
        }
    };
    tell("no directory", &site);
    fs::create_dir(site.path("theirs")).unwrap();
    tell("nothing in it", &site);
    export(&site, SET, "shared");
    fs::remove_file(site.path(&format!("theirs/shared/{SET}/load.sql"))).unwrap();
    let_settle(&site);
    tell("an unfinished one", &site);
    golden("adopted-nothing.txt", &story.concat());
    assert_eq!(states(&site), []);
}

/// What becomes of a file.
type Damage = fn(&[u8]) -> Vec<u8>;

/// What may be wrong with a tenant's snapshot, though it has everything that a finished one has.
const DAMAGES: [(&str, &str, Damage); 4] = [
    ("a table cut off", "hits.parquet", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("a table of something else", "hits.parquet", |_| b"PAR1 is not all PAR1".to_vec()),
    ("the list of files cut off", "load.sql", |bytes| {
        bytes[..=bytes.iter().position(|byte| *byte == b';').unwrap()].to_vec()
    }),
    ("the schema cut off", "schema.sql", |bytes| {
        bytes[..=bytes.iter().position(|byte| *byte == b';').unwrap()].to_vec()
    }),
];

#[test]
fn what_is_damaged_is_not_taken_for_a_backup() {
    let mut story = Vec::new();
    for (what, name, damage) in DAMAGES {
        let site = written();
        let path = site.path(&format!("theirs/tenants/{TENANT}/{SET}/{name}"));
        fs::write(&path, damage(&fs::read(&path).unwrap())).unwrap();
        let outcome = site.run(&["run", "plan.toml"]);
        assert_eq!((outcome.code, states(&site)), (3, vec![state(SET, "partial")]), "{what}: {outcome:?}");
        let record = site.state_records().into_values().next().unwrap();
        let cause = record["failures"][0]["cause"].as_str().unwrap().to_owned();
        story.push(format!("{what}: {}\n", redact::text(&site, &cause)));
        assert!(!site.path(&format!("backups/hitkeep/tenants/{TENANT}/{SET}")).exists(), "{what}");
    }
    golden("adopted-damaged.txt", &story.concat());
}

#[test]
fn a_set_that_hitkeep_removes_while_it_is_read_is_not_sealed() {
    for (task, gone) in [("adopt", "shared"), ("store", "shared"), ("check", "tenants")] {
        let site = written();
        let mut run = Running::start(site.command(&["run", "plan.toml", "--json"]));
        run.wait_for_task(task);
        run.signal(Signal::STOP);
        fs::remove_dir_all(site.path("theirs").join(gone)).unwrap();
        run.signal(Signal::CONT);
        let outcome = run.end();
        // Files that were open by then are read to their end: the set may have been taken whole.
        let sets = states(&site);
        assert!((outcome.code, sets.len()) == (4, 0) || gone == "shared" && outcome.code == 0, "{task}: {outcome:?}");
        if gone == "tenants" {
            golden("adopted-vanished.txt", &redact::text(&site, &outcome.stderr));
            assert_eq!(redact::tree(&site, "backups"), "hitkeep/  0700\nhitkeep/.lock  0600\n");
        }
    }
}

#[test]
fn what_a_killed_run_left_of_a_set_is_cleared_and_the_set_stored_again() {
    for task in ["announce", "adopt", "store", "check", "describe", "seal"] {
        let site = written();
        assert_eq!(stopped_at(&site, &["run", "plan.toml", "--json"], task, Signal::KILL).code, -9);
        if states(&site) != [state(SET, "orphan")] {
            continue;
        }
        let dry = site.run(&["run", "plan.toml", "--dry-run"]);
        assert!(dry.stdout.contains(&format!("that run {SET} left unsealed in")), "{task}: {dry:?}");
        site.succeed(&["run", "plan.toml"]);
        assert_eq!(states(&site), [state(SET, "complete")], "{task}");
        site.succeed(&["verify", "plan.toml"]);
    }
}

#[test]
fn a_set_that_could_not_be_stored_whole_is_left_to_the_next_run() {
    let site = written();
    let two = plan()
        .replace("[backup", "[destination.far]\nurl = \"far\"\n\n[backup")
        .replace("[\"disk\"]", "[\"disk\", \"far\"]");
    site.write_plan(&two);
    // Where the tenant's folder should come to lie there is a file.
    write_tree(&site.path("far/hitkeep/tenants"), &[(PathBuf::from(TENANT), b"in the way".to_vec())].into());
    let outcome = site.run(&["run", "plan.toml"]);
    assert_eq!((outcome.code, states(&site)), (5, vec![state(SET, "complete")]), "{outcome:?}");
    let left: Vec<PathBuf> = read_tree(&site.path("far/hitkeep")).into_keys().collect();
    assert_eq!(left, [Path::new(".lock"), &Path::new("tenants").join(TENANT)]);

    fs::remove_file(site.path("far/hitkeep/tenants").join(TENANT)).unwrap();
    let outcome = site.succeed(&["run", "plan.toml"]);
    golden("adopted-two-places.txt", &redact::outcome(&site, &outcome));
    site.succeed(&["verify", "far/hitkeep"]);
}

#[test]
fn what_others_have_put_under_the_name_of_the_set_is_left_alone() {
    let site = written();
    write_tree(&site.path("backups/hitkeep"), &read_tree(&site.path("theirs")));
    let before = read_tree(&site.path("backups"));
    let outcome = site.run(&["run", "plan.toml"]);
    golden("adopted-stranger.txt", &redact::outcome(&site, &outcome));
    fs::remove_file(site.path("backups/hitkeep/.lock")).unwrap();
    assert!(read_tree(&site.path("backups")) == before);
}

#[test]
fn a_job_may_adopt_some_databases_only() {
    let site = written();
    site.write_plan(&plan().replace("prefix =", "databases = [\"shared\"]\nprefix ="));
    site.succeed(&["run", "plan.toml"]);
    assert_eq!(states(&site), [state(SET, "complete")]);
    assert!(!site.path("backups/hitkeep/tenants").exists());
}

#[test]
fn the_doctor_looks_at_the_newest_set() {
    let site = written();
    let whole = site.run(&["doctor", "plan.toml"]);
    export(&site, NEXT, "shared");
    let awaited = site.run(&["doctor", "plan.toml"]);
    golden("doctor-adopted.txt", &[whole, awaited].map(|told| redact::outcome(&site, &told)).concat());
    let shown = site.succeed(&["show", "plan.toml"]).stdout;
    assert!(shown.contains("snapshots = "), "{shown}");
}
