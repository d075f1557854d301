//! Stories of `restore`: everything comes back, and nothing that is there is ever lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hitkeep_plan::demo::Layout;
use hitkeep_plan::duck::compare::{self, Content};
use hitkeep_plan::duck::{Limits, Session};
use hitkeep_plan::measure::{Bytes, Sha256};
use hitkeep_plan::name::SnapshotId;
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Outcome, Running, Site, TENANT, as_nobody, demo, minimal, read_tree};
use crate::other_process::OtherProcess;
use crate::redact::{self, golden};
use crate::runs::{Mount, events};

/// What a database holds, table by table.
pub(crate) fn contents(database: &Path) -> BTreeMap<(String, String), Content> {
    let limits =
        Limits { memory: Bytes(256 << 20), most: Bytes(256 << 20), spill: std::env::temp_dir().join("unused") };
    compare::contents(&Session::open(&limits).unwrap(), database).unwrap()
}

/// Returns a site that has run once, with the set's name.
fn backed_up() -> (Site, String) {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    let set = site.sets()[0].0.clone();
    (site, set)
}

/// Changes the shared database, so that it is not what any set holds.
fn change(site: &Site) {
    let path = site.path("data/hitkeep.db");
    let engine = duckdb::Connection::open(path).unwrap();
    engine.execute_batch("INSERT INTO sites VALUES (99, 'changed.example'); CHECKPOINT;").unwrap();
}

#[test]
fn a_whole_set_comes_back_into_an_empty_place() {
    for layout in [Layout::Joined, Layout::Split] {
        let site = Site::with(demo(layout));
        site.succeed(&["run", "plan.toml"]);
        let by_plan = site.run(&["restore", "plan.toml", "--to", "by-plan"]);
        let by_folder = site.run(&["restore", "backups/hitkeep", "--to", "by-folder"]);
        golden(
            &format!("restore-{}.txt", if layout == Layout::Joined { "joined" } else { "split" }),
            &format!("{}{}", redact::outcome(&site, &by_plan), redact::outcome(&site, &by_folder)),
        );
        let databases: Vec<PathBuf> = read_tree(&site.path("by-plan")).into_keys().collect();
        assert_eq!(databases.len(), if layout == Layout::Joined { 3 } else { 4 });
        assert_eq!(databases, read_tree(&site.path("by-folder")).into_keys().collect::<Vec<_>>());
        for database in databases {
            let before = contents(&site.path("data").join(&database));
            assert_eq!(contents(&site.path("by-plan").join(&database)), before);
            assert_eq!(contents(&site.path("by-folder").join(&database)), before);
        }
    }
}

#[test]
fn a_dry_run_of_a_restore_touches_nothing() {
    let (site, _) = backed_up();
    let before = (read_tree(&site.path("")), redact::tree(&site, ""));
    let outcome = site.run(&["restore", "plan.toml", "--to", "data", "--yes", "--dry-run"]);
    golden("restore-dry-run.txt", &redact::outcome(&site, &outcome));
    assert_eq!((read_tree(&site.path("")), redact::tree(&site, "")), before);
}

#[test]
fn single_databases_come_back_alone() {
    let (site, _) = backed_up();
    site.succeed(&["restore", "plan.toml", "--to", "tenant", "--database", TENANT]);
    site.succeed(&["restore", "plan.toml", "--to", "shared", "--database", "shared", "--db", "elsewhere/own.db"]);
    let files = |folder| read_tree(&site.path(folder)).into_keys().map(|path| path.display().to_string()).collect();
    let files = |folder| -> Vec<String> { files(folder) };
    assert_eq!(files("tenant"), [format!("tenants/{TENANT}/hitkeep.db")]);
    assert_eq!((files("shared"), files("elsewhere")), (vec![], vec!["own.db".to_owned()]));
    assert_eq!(contents(&site.path("elsewhere/own.db")), contents(&site.path("data/hitkeep.db")));
}

#[test]
fn a_set_is_chosen_by_name_by_time_or_as_the_latest() {
    let (site, first) = backed_up();
    let first_contents = contents(&site.path("data/hitkeep.db"));
    change(&site);
    site.succeed(&["run", "plan.toml"]);
    let second = site.sets()[1].0.clone();
    let second_contents = contents(&site.path("data/hitkeep.db"));
    let moment = |set: &str| set.parse::<SnapshotId>().unwrap().moment().to_string();
    let cases = [
        ("latest".to_owned(), &second_contents),
        (first.clone(), &first_contents),
        (second.clone(), &second_contents),
        (moment(&first), &first_contents),
        (moment(&second), &second_contents),
        ("2199-01-01T00:00:00Z".to_owned(), &second_contents),
    ];
    for (number, (at, expected)) in cases.iter().enumerate() {
        let to = format!("restored-{number}");
        site.succeed(&["restore", "plan.toml", "--to", &to, "--at", at]);
        assert_eq!(&contents(&site.path(&to).join("hitkeep.db")), *expected, "{at}");
    }
}

#[test]
fn a_set_that_only_a_later_destination_has_is_found_there() {
    let site = Site::with(minimal());
    let plan = crate::fixture::PLAN;
    let two = plan.replace("[backup", "[destination.far]\nurl = \"far\"\n\n[backup");
    site.write_plan(&two.replace("\"disk\"", "\"disk\", \"far\""));
    site.succeed(&["run", "plan.toml"]);
    let only_far = site.sets()[0].0.clone();
    fs::remove_dir_all(site.path("backups")).unwrap();
    site.write_plan(plan);
    site.succeed(&["run", "plan.toml"]);
    site.write_plan(&two.replace("\"disk\"", "\"disk\", \"far\""));
    let outcome = site.run(&["restore", "plan.toml", "--to", "restored", "--at", &only_far]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let moment = only_far.parse::<SnapshotId>().unwrap().moment().to_string();
    let outcome = site.run(&["restore", "plan.toml", "--to", "by-time", "--at", &moment]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn what_is_there_is_not_replaced_unasked() {
    let (site, _) = backed_up();
    let before = (read_tree(&site.path("")), redact::tree(&site, ""));
    let outcome = site.run(&["restore", "plan.toml", "--to", "data"]);
    golden("restore-in-the-way.txt", &redact::outcome(&site, &outcome));
    assert_eq!((read_tree(&site.path("")), redact::tree(&site, "")), before);
}

#[test]
fn a_log_without_its_database_is_in_the_way_too() {
    let (site, _) = backed_up();
    fs::create_dir(site.path("new")).unwrap();
    fs::write(site.path("new/hitkeep.db.wal"), "rows of another database").unwrap();
    let refused = site.run(&["restore", "plan.toml", "--to", "new"]);
    assert_eq!(refused.code, 9);
    assert!(refused.stderr.contains("new/hitkeep.db.wal"), "{}", refused.stderr);
    site.succeed(&["restore", "plan.toml", "--to", "new", "--yes"]);
    golden("restore-stray-log-tree.txt", &redact::tree(&site, "new"));
    assert_eq!(contents(&site.path("new/hitkeep.db")), contents(&site.path("data/hitkeep.db")));
}

#[test]
fn what_was_there_is_set_aside_and_can_be_had_back_by_its_name() {
    let (site, _) = backed_up();
    let backed = contents(&site.path("data/hitkeep.db"));
    change(&site);
    let newer = contents(&site.path("data/hitkeep.db"));
    fs::write(site.path("data/hitkeep.db.wal"), "").unwrap();
    let outcome = site.run(&["restore", "plan.toml", "--to", "data", "--yes"]);
    golden("restore-set-aside.txt", &redact::outcome(&site, &outcome));
    golden("restore-set-aside-tree.txt", &redact::tree(&site, "data"));
    assert_eq!(contents(&site.path("data/hitkeep.db")), backed);

    let aside = |ending: &str| {
        let names = read_tree(&site.path("data")).into_keys().map(|path| path.display().to_string());
        names.into_iter().find(|name| name.starts_with("hitkeep.db.pre-restore.") && name.ends_with(ending)).unwrap()
    };
    fs::rename(site.path("data").join(aside("Z")), site.path("data/hitkeep.db")).unwrap();
    fs::rename(site.path("data").join(aside("Z.wal")), site.path("data/hitkeep.db.wal")).unwrap();
    assert_eq!(contents(&site.path("data/hitkeep.db")), newer);
}

#[test]
fn an_older_database_that_was_set_aside_is_never_lost() {
    let (site, _) = backed_up();
    let now = SnapshotId::at(jiff::Timestamp::now());
    let taken: Vec<PathBuf> = std::iter::successors(Some(now), |id| Some(id.next()))
        .take(60)
        .map(|id| site.path(&format!("data/hitkeep.db.pre-restore.{id}")))
        .collect();
    for path in &taken {
        fs::write(path, "set aside by a restore of the same second").unwrap();
    }
    let outcome = site.run(&["restore", "plan.toml", "--to", "data", "--yes"]);
    let lost: Vec<&PathBuf> = taken.iter().filter(|path| !path.exists()).collect();
    assert!(lost.is_empty(), "{lost:?}: {outcome:?}");
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn a_database_in_use_is_left_alone() {
    let (site, _) = backed_up();
    let before = read_tree(&site.path("data"));
    let other = OtherProcess::opening(&site.path(&format!("data/tenants/{TENANT}/hitkeep.db")));
    let outcome = site.run(&["restore", "plan.toml", "--to", "data", "--yes"]);
    let told = format!("exit code {}\n{}", outcome.code, outcome.stderr).replace(&other.name(), "[PROCESS]");
    golden("restore-in-use.txt", &redact::text(&site, &told));
    drop(other);
    assert_eq!(read_tree(&site.path("data")), before);
}

/// Tampers with a set, restores it over the installation, and asserts that nothing came of it.
fn refused_over_the_installation(tamper: impl FnOnce(&Site, &str)) -> (Site, Outcome) {
    let (site, set) = backed_up();
    tamper(&site, &set);
    change(&site);
    let before = (read_tree(&site.path("data")), redact::tree(&site, "data"));
    let outcome = site.run(&["restore", "plan.toml", "--to", "data", "--yes", "--at", &set]);
    assert_eq!((read_tree(&site.path("data")), redact::tree(&site, "data")), before, "{outcome:?}");
    (site, outcome)
}

#[test]
fn a_damaged_set_replaces_nothing() {
    let (site, outcome) = refused_over_the_installation(|site, set| {
        let path = site.path(&format!("backups/hitkeep/shared/{set}/hits.parquet"));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    golden("restore-damaged.txt", &redact::outcome(&site, &outcome));
}

#[test]
fn rows_that_do_not_arrive_are_missed() {
    let (site, outcome) = refused_over_the_installation(|site, set| {
        let manifest = site.path(&format!("backups/hitkeep/shared/{set}.manifest.json"));
        let sealed = Sha256::of(&fs::read(&manifest).unwrap());
        rewrite(&manifest, |manifest| {
            let tables = manifest["tables"].as_array_mut().unwrap();
            let hits = tables.iter_mut().find(|table| table["name"] == "hits").unwrap();
            hits["rows"] = 101.into();
        });
        let forged = Sha256::of(&fs::read(&manifest).unwrap());
        let record = site.path(&format!("backups/hitkeep/runs/{set}.json"));
        let text = fs::read_to_string(&record).unwrap().replace(&sealed.to_string(), &forged.to_string());
        fs::write(record, text).unwrap();
    });
    golden("restore-wrong-rows.txt", &redact::outcome(&site, &outcome));
}

/// Changes a JSON document on disk.
fn rewrite(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, serde_json::to_vec_pretty(&value).unwrap()).unwrap();
}

#[test]
fn a_restore_into_an_empty_place_that_fails_leaves_it_empty() {
    let (site, set) = backed_up();
    fs::write(site.path(&format!("backups/hitkeep/tenants/{TENANT}/{set}/load.sql")), "COPY nothing").unwrap();
    let outcome = site.run(&["restore", "plan.toml", "--to", "new", "--at", &set]);
    assert_eq!(outcome.code, 6, "{outcome:?}");
    assert_eq!(read_tree(&site.path("new")).into_keys().collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let (site, set) = backed_up();
    let unknown = "00000000-0000-4000-8000-000000000009";
    let wishes: [&[&str]; 9] = [
        &["restore", "plan.toml", "--to", "new", "--at", "2001-01-01T000000Z"],
        &["restore", "plan.toml", "--to", "new", "--at", "2001-01-01T00:00:00Z"],
        &["restore", "plan.toml", "--to", "new", "--at", "yesterday"],
        &["restore", "plan.toml", "--to", "new", "--database", unknown],
        &["restore", "plan.toml", "--to", "new", "--database", "hits"],
        &["restore", "plan.toml", "--to", "new", "--job", "weekly"],
        &["restore", "plan.toml", "--to", "new", "--from", "tape"],
        &["restore", "nowhere", "--to", "new"],
        &["restore", "data", "--to", "new"],
    ];
    let mut story = Vec::new();
    for words in wishes {
        let outcome = site.run(words);
        assert_eq!(outcome.code, 2, "{words:?}: {outcome:?}");
        story.push(format!("$ hitkeep-plan {}\n{}\n", words.join(" "), outcome.stderr));
    }
    golden("restore-not-there.txt", &redact::text(&site, &story.concat()));
    assert!(!site.path("new").exists());
    assert!(!set.is_empty());
}

#[test]
fn a_sequence_that_is_used_up_comes_back_used_up() {
    let site = Site::with(minimal());
    let shared = site.path("data/hitkeep.db");
    let engine = duckdb::Connection::open(&shared).unwrap();
    let used_up = "CREATE SEQUENCE few INCREMENT 2 MAXVALUE 4 START 1; SELECT nextval('few'); SELECT nextval('few');";
    engine.execute_batch(&format!("{used_up} CHECKPOINT;")).unwrap();
    drop(engine);
    site.succeed(&["run", "plan.toml"]);
    site.succeed(&["restore", "plan.toml", "--to", "restored"]);
    let engine = duckdb::Connection::open(site.path("restored/hitkeep.db")).unwrap();
    let refused = engine.execute_batch("SELECT nextval('few')").unwrap_err().to_string();
    assert!(refused.contains("reached maximum value of sequence"), "{refused}");
}

#[test]
fn a_view_on_a_table_that_was_dropped_is_left_out_and_said_so() {
    let site = Site::with(minimal());
    let shared = site.path("data/hitkeep.db");
    let engine = duckdb::Connection::open(&shared).unwrap();
    let dropped = "CREATE TABLE gone (a INTEGER); CREATE VIEW hollow AS SELECT a FROM gone; DROP TABLE gone;";
    engine.execute_batch(&format!("{dropped} CHECKPOINT;")).unwrap();
    drop(engine);
    site.succeed(&["run", "plan.toml"]);
    let outcome = site.run(&["restore", "plan.toml", "--to", "restored"]);
    golden("restore-hollow-view.txt", &redact::outcome(&site, &outcome));
    assert_eq!(contents(&site.path("restored/hitkeep.db")), contents(&shared));
}

#[test]
fn a_place_without_room_is_refused_wherever_it_is() {
    let (site, _) = backed_up();
    let (small, wide) = (site.path("small"), site.path("wide"));
    let Some(_small) = Mount::at(&small, "size=1m") else { return };
    let Some(_wide) = Mount::at(&wide, "size=64m") else { return };
    let cases: [&[&str]; 5] = [
        &["--to", "small/data"],
        &["--to", "wide/data", "--db", "small/hitkeep.db"],
        &["--to", "small/data", "--db", "wide/hitkeep.db"],
        // Files are staged at the data path, and those have room there.
        &["--to", "small/data", "--db", "wide/hitkeep.db", "--database", "shared"],
        &["--to", "wide/data", "--db", "small/hitkeep.db", "--database", TENANT],
    ];
    let story = cases.map(|words| {
        let words = [&["restore", "plan.toml"], words].concat();
        let told = redact::outcome(&site, &site.run(&words));
        format!("$ hitkeep-plan {}\n{told}\n", words.join(" "))
    });
    golden("restore-no-room.txt", &story.concat());
}

#[test]
fn a_load_says_beforehand_how_many_bytes_it_reads() {
    let site = Site::with(demo(Layout::Split));
    site.succeed(&["run", "plan.toml"]);
    let mut held: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for (name, bytes) in read_tree(&site.path("backups/hitkeep")) {
        if name.extension().is_some_and(|ending| ending == "parquet") {
            *held.entry(name.parent().unwrap().to_owned()).or_default() += bytes.len() as u64;
        }
    }
    let told = events(&site.succeed(&["restore", "plan.toml", "--to", "new", "--json"]).stdout);
    let is_load =
        |event: &&Value| event["event"] == "task-started" && event["title"].as_str().unwrap().starts_with("load ");
    let loads: BTreeSet<u64> = told.iter().filter(is_load).map(|event| event["total"].as_u64().unwrap()).collect();
    assert_eq!(loads, held.into_values().collect());
}

#[test]
fn a_place_that_gets_full_meanwhile_is_no_fault_of_the_source() {
    let site = Site::with(minimal());
    let shared = duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap();
    // Few bytes in a database, and many in one of another block size.
    let narrow = (0..60).map(|number| format!("CREATE TABLE narrow_{number} AS SELECT 1 AS one;"));
    shared.execute_batch(&(narrow.collect::<String>() + "CHECKPOINT;")).unwrap();
    drop(shared);
    site.succeed(&["run", "plan.toml"]);
    let (small, filler) = (site.path("small"), site.path("small/filler"));
    let Some(_mount) = Mount::at(&small, "size=80m") else { return };
    let words = ["restore", "plan.toml", "--to", "small/data", "--json"];
    let mut running = Running::start(site.command(&words));
    running.wait_for_event();
    running.signal(Signal::STOP);
    let fill = fs::File::create(&filler).unwrap();
    let free = rustix::fs::statvfs(&small).unwrap().f_bavail * 4096;
    rustix::fs::fallocate(&fill, rustix::fs::FallocateFlags::empty(), 0, free - (512 << 10)).unwrap();
    running.signal(Signal::CONT);
    let outcome = running.end();
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("No space left on device"), "{outcome:?}");
    let told: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert!(told["message"].as_str().unwrap().ends_with(": make room, or choose another place"), "{outcome:?}");
    assert!(!small.join("data").exists());
}

#[test]
fn an_address_without_the_prefix_of_the_job_is_told_where_the_sets_are() {
    let (site, _) = backed_up();
    let below = site.path("backups/hitkeep").display().to_string();
    let listed = site.succeed(&["list", "backups"]).stdout;
    assert!(listed.ends_with(&format!("\nno set here; there are sets in {below}\n")), "{listed}");
    let refused = site.run(&["restore", "backups", "--to", "new"]);
    let said = format!("there is no set in {}; there are sets in {below}", site.path("backups").display());
    assert!(refused.code == 2 && redact::plain(&refused.stderr).contains(&said), "{refused:?}");
    site.succeed(&["restore", &below, "--to", "new"]);
}

#[test]
fn where_to_restore_to_must_be_a_directory() {
    let (site, _) = backed_up();
    fs::write(site.path("file"), "no directory").unwrap();
    let outcome = site.run(&["restore", "nowhere", "--to", "file"]);
    golden("restore-to-file.txt", &redact::outcome(&site, &outcome));
}

#[test]
fn a_backup_that_may_not_be_read_is_a_destination_that_fails() {
    let (site, _) = backed_up();
    // The folder of the test may be read by all, the backups by their owner only.
    fs::set_permissions(site.path(""), Permissions::from_mode(0o755)).unwrap();
    for folder in ["backups", "backups/hitkeep"] {
        let Some(mut command) = as_nobody(Path::new(env!("CARGO_BIN_EXE_hitkeep-plan")), &site.path("")) else {
            return;
        };
        command.args(["restore", folder, "--to", "new"]);
        let outcome = Outcome::of(command);
        assert_eq!(outcome.code, 5, "{folder}: {outcome:?}");
        assert!(outcome.stderr.contains("Permission denied"), "{folder}: {outcome:?}");
    }
}

#[test]
fn a_tenant_is_left_alone_while_hitkeep_runs() {
    let (site, _) = backed_up();
    let before = read_tree(&site.path("data"));
    let other = OtherProcess::opening(&site.path("data/hitkeep.db"));
    let outcome = site.run(&["restore", "plan.toml", "--to", "data", "--database", TENANT, "--yes"]);
    let told = format!("exit code {}\n{}", outcome.code, outcome.stderr).replace(&other.name(), "[PROCESS]");
    golden("restore-tenant-in-use.txt", &redact::text(&site, &told));
    drop(other);
    assert_eq!(read_tree(&site.path("data")), before);
}
