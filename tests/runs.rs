//! Stories of `run`: what a dry run promises, what a run does, and what it says when it cannot.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use hitkeep_plan::demo::Layout;
use serde_json::Value;

use crate::fixture::{PLAN, Site, TENANT, demo, make_database, minimal, read_tree};
use crate::other_process::OtherProcess;
use crate::redact::{self, golden, narrow};

/// A plan with a second destination.
const TWO_PLACES: &str = r#"version = 1

[source.main]
data_path = "data"

[destination.near]
url = "backups"

[destination.far]
url = "far"

[backup.nightly]
source = "main"
to = ["near", "far"]
prefix = "hitkeep"

[local]
state = "state"
staging = "staging"
"#;

/// [`PLAN`], for a HitKeep that is stopped.
fn direct() -> String {
    PLAN.replace("data_path", "capture = \"direct\"\ndata_path")
}

#[test]
fn a_dry_run_prints_the_work_and_touches_nothing() {
    let joined = (demo(Layout::Joined), PLAN, "dry-run-joined.txt");
    let split = (demo(Layout::Split), PLAN, "dry-run-split.txt");
    let twice = (minimal(), TWO_PLACES, "dry-run-two-places.txt");
    for (installation, plan, expected) in [joined, split, twice] {
        let site = Site::with(installation);
        site.write_plan(plan);
        let before = (read_tree(&site.path("")), redact::tree(&site, ""));
        let outcome = site.run(&["run", "plan.toml", "--dry-run"]);
        golden(expected, &redact::outcome(&site, &outcome));
        assert_eq!((read_tree(&site.path("")), redact::tree(&site, "")), before);
        assert!(!site.path("backups").exists());
    }
}

#[test]
fn a_run_does_what_its_dry_run_printed() {
    let site = Site::with(demo(Layout::Split));
    let printed = site.succeed(&["run", "plan.toml", "--dry-run"]).stdout;
    let done = events(&site.succeed(&["run", "plan.toml", "--json"]).stdout);
    let printed: Vec<String> =
        redact::text(&site, &printed).lines().skip(1).map(|line| line[4..].trim().to_owned()).collect();
    let done: Vec<String> = in_order(done)
        .iter()
        .filter(|event| event["event"] == "task-started")
        .map(|event| redact::text(&site, event["title"].as_str().unwrap()).trim().to_owned())
        .collect();
    assert_eq!(printed, done);
}

#[test]
fn what_a_dry_run_shows_is_told_to_a_program_line_by_line() {
    let site = Site::with(minimal());
    site.write_plan(&direct().replace("[backup.nightly]", "[backup.nightly]\nkeep = { last = 1 }"));
    site.succeed(&["run", "plan.toml", "-q"]);
    let told = |words: &[&str], kind: &str, what: &str| -> Vec<(Option<u64>, String)> {
        let told = events(&site.succeed(&[words, &["--json"]].concat()).stdout);
        let told = told.iter().filter(|event| event["event"] == kind);
        told.map(|event| (event["task"].as_u64(), redact::text(&site, event[what].as_str().unwrap()))).collect()
    };
    // Every line that a person sees is there.
    let restore = ["restore", "plan.toml", "--to", "other", "--dry-run"];
    let calls: [&[&str]; 4] = [
        &["run", "plan.toml", "--dry-run"],
        &restore,
        &["prune", "plan.toml"],
        &["prune", "plan.toml", "--simulate", "30d"],
    ];
    for words in calls {
        let shown = redact::text(&site, &site.succeed(words).stdout);
        let shown: Vec<&str> = shown.lines().map(str::trim).collect();
        let line = |(task, what): (Option<u64>, String)| match task {
            Some(task) => format!("{task}  {what}"),
            None => what,
        };
        let told: Vec<String> = told(words, "planned", "what").into_iter().map(line).collect();
        assert_eq!(shown, told, "{words:?}");
    }
    // And the tasks are those of the real thing.
    site.write_plan(&direct());
    let [run, restore] = [&["run", "plan.toml"][..], &["restore", "plan.toml", "--to", "back"]];
    for words in [run, restore] {
        let mut planned = told(&[words, &["--dry-run"]].concat(), "planned", "what");
        planned.retain(|(task, _)| task.is_some());
        let mut done = told(words, "task-started", "title");
        // One database is exported while another is stored, and they are restored side by side.
        done.sort();
        assert_eq!(planned, done, "{words:?}");
    }
}

#[test]
fn a_run_tells_each_step_and_leaves_what_the_layout_promises() {
    let site = Site::with(minimal());
    let outcome = site.succeed(&["run", "plan.toml", "--json"]);
    assert_eq!(outcome.stderr, "");
    let told: String = in_order(events(&outcome.stdout))
        .iter()
        .filter(|event| event["event"] != "task-moved")
        .map(|event| redact::json(&site, event).to_string() + "\n")
        .collect();
    golden("run-events.jsonl", &told);
    golden("run-tree.txt", &redact::tree(&site, "backups"));

    let set = site.sets()[0].0.clone();
    let sealed = fs::read(site.path(&format!("backups/hitkeep/runs/{set}.json"))).unwrap();
    golden("run-record.json", &document(&site, &sealed));
    let manifest = fs::read(site.path(&format!("backups/hitkeep/shared/{set}.manifest.json"))).unwrap();
    golden("run-manifest.json", &document(&site, &manifest));

    let kept = read_tree(&site.path("state/runs")).into_values().next_back().unwrap();
    assert_eq!(String::from_utf8(kept).unwrap(), String::from_utf8(sealed).unwrap());
    assert_eq!(redact::tree(&site, "staging"), "", "nothing is left where exports were staged");
}

#[test]
fn a_second_run_names_the_record_before_it() {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    site.succeed(&["run", "plan.toml"]);
    let [(first, _), (second, _)] = site.sets().try_into().unwrap();
    let runs = site.path("backups/hitkeep/runs");
    let before = hitkeep_plan::measure::Sha256::of(&fs::read(runs.join(format!("{first}.json"))).unwrap());
    let record: Value = serde_json::from_slice(&fs::read(runs.join(format!("{second}.json"))).unwrap()).unwrap();
    assert_eq!(record["previous"], before.to_string());
}

#[test]
fn a_set_without_one_tenant_is_partial_and_never_the_latest() {
    let site = Site::with(minimal());
    fs::remove_file(site.path(&format!("data/tenants/{TENANT}/hitkeep.db"))).unwrap();
    let ran = site.run(&["run", "plan.toml"]);
    let set = site.sets()[0].0.clone();
    let listed = site.run(&["list", "plan.toml"]);
    let shown = site.run(&["list", "plan.toml", &set]);
    let latest = site.run(&["restore", "plan.toml", "--to", "latest"]);
    let nothing = redact::tree(&site, "latest");
    let by_name = site.run(&["restore", "plan.toml", "--to", "named", "--at", &set]);
    let all = [("run", ran), ("list", listed), ("list SET", shown), ("restore", latest), ("restore --at SET", by_name)];
    let story = all.map(|(verb, outcome)| format!("# {verb}: {}\n", redact::outcome(&site, &outcome)));
    golden("partial.txt", &narrow(&story.concat()));
    assert_eq!((nothing.as_str(), redact::tree(&site, "named").as_str()), ("", "hitkeep.db  0600\n"));

    let record = fs::read(site.path(&format!("backups/hitkeep/runs/{set}.json"))).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let failure = redact::json(&site, &record["failures"][0]);
    assert_eq!((&record["status"], &record["exit_code"]), (&"partial".into(), &3.into()));
    assert_eq!(
        failure,
        serde_json::json!({
            "task": format!("export {TENANT}"),
            "plan_line": 9,
            "cause": format!("`[SITE]/data/tenants/{TENANT}/hitkeep.db` does not exist"),
        })
    );
}

#[test]
fn a_tenant_that_was_never_used_is_not_missed() {
    let site = Site::with(minimal());
    fs::remove_file(site.path(&format!("data/tenants/{TENANT}/hitkeep.db"))).unwrap();
    let shared = site.path("data/hitkeep.db");
    make_database(&shared, "CREATE TABLE site_tenants (site_id UUID, tenant_id UUID);");
    let dry = site.succeed(&["run", "plan.toml", "--dry-run"]);
    assert!(dry.stdout.contains(&format!("unused   {TENANT}: tenant ")), "{}", dry.stdout);
    site.succeed(&["run", "plan.toml"]);
    assert_eq!(site.sets()[0].1, "complete");

    let used = format!("INSERT INTO site_tenants VALUES (uuidv7(), '{TENANT}');");
    make_database(&shared, &used);
    assert_eq!(site.run(&["run", "plan.toml"]).code, 3, "one that has a site and no database has lost it");
    assert_eq!(site.sets()[1].1, "partial");
}

/// What is wrong with a shared database, and how it came to be.
type Breakage = (&'static str, fn(&Path));

#[test]
fn a_source_that_cannot_be_read_ends_the_run_before_it_begins() {
    let breakages: [Breakage; 5] = [
        ("missing", |shared| fs::remove_file(shared).unwrap()),
        ("not a database", |shared| fs::write(shared, "a text of more than a few words\n".repeat(500)).unwrap()),
        ("not HitKeep's", |shared| {
            fs::remove_file(shared).unwrap();
            make_database(shared, "CREATE TABLE other (a INTEGER);");
        }),
        ("tenants of another kind", |shared| {
            fs::remove_file(shared).unwrap();
            make_database(shared, "CREATE TABLE tenants (a INTEGER);");
        }),
        ("a log where this engine does not look", |shared| {
            let real = shared.with_file_name("real.db");
            fs::rename(shared, &real).unwrap();
            std::os::unix::fs::symlink(real, shared).unwrap();
            fs::write(shared.with_file_name("hitkeep.db.wal"), "").unwrap();
        }),
    ];
    let mut story = Vec::new();
    for (name, break_it) in breakages {
        let site = Site::with(minimal());
        break_it(&site.path("data/hitkeep.db"));
        let dry = site.run(&["run", "plan.toml", "--dry-run"]);
        let ran = site.run(&["run", "plan.toml"]);
        assert_eq!(redact::outcome(&site, &dry), redact::outcome(&site, &ran));
        story.push(format!("# {name}: {}\n", redact::outcome(&site, &ran)));
        assert_nothing_stored(&site, 4);
    }
    golden("source-unreadable.txt", &story.concat());
}

#[test]
fn a_database_that_another_process_has_open_is_named_with_it() {
    let site = Site::with(minimal());
    site.write_plan(&direct());
    let other = OtherProcess::opening(&site.path("data/hitkeep.db"));
    let outcome = site.run(&["run", "plan.toml"]);
    let told = redact::text(&site, &format!("{}\n{}", outcome.code, outcome.stderr));
    golden("source-held.txt", &told.replace(&redact::text(&site, &other.name()), "[PROCESS]"));
    assert_nothing_stored(&site, 4);
}

#[test]
fn a_tenant_that_another_process_has_open_makes_the_set_partial() {
    let site = Site::with(minimal());
    site.write_plan(&direct());
    let other = OtherProcess::opening(&site.path(&format!("data/tenants/{TENANT}/hitkeep.db")));
    let outcome = site.run(&["run", "plan.toml"]);
    assert_eq!(outcome.code, 3);
    let flat = outcome.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    let name = other.name();
    assert!(flat.contains("is open in") && flat.contains(name.rsplit(' ').next().unwrap()), "{flat}");
    assert_eq!(site.sets()[0].1, "partial");
}

#[test]
fn rows_that_are_only_in_the_log_are_captured_and_the_log_stays() {
    let site = Site::with(minimal());
    let engine = duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap();
    let statements = "PRAGMA disable_checkpoint_on_shutdown; INSERT INTO hits SELECT * FROM hits LIMIT 7;";
    engine.execute_batch(statements).unwrap();
    drop(engine);
    let before = read_tree(&site.path("data"));
    assert!(before.contains_key(Path::new("hitkeep.db.wal")));
    site.succeed(&["run", "plan.toml"]);
    assert_eq!(read_tree(&site.path("data")), before);
    let record = site.state_records().into_values().next().unwrap();
    assert_eq!(record["snapshots"][0]["rows"], 112);
}

/// Asserts that a run left nothing but its lock at the destination, and its record in the state directory.
fn assert_nothing_stored(site: &Site, exit_code: u8) {
    let stored = redact::tree(site, "backups");
    assert!(stored.is_empty() || stored == "hitkeep/  0700\nhitkeep/.lock  0600\n", "{stored}");
    assert_eq!(redact::tree(site, "staging"), "");
    let records: Vec<(Value, Value)> = site
        .state_records()
        .into_values()
        .map(|record| (record["status"].clone(), record["exit_code"].clone()))
        .collect();
    assert_eq!(records, [("failed".into(), exit_code.into())]);
}

#[test]
fn one_destination_that_cannot_be_written_does_not_cost_the_other_its_set() {
    let site = Site::with(minimal());
    site.write_plan(TWO_PLACES);
    fs::write(site.path("far"), "a file where the directory should be").unwrap();
    let dry = site.run(&["run", "plan.toml", "--dry-run"]);
    let ran = site.run(&["run", "plan.toml"]);
    golden(
        "one-destination-blocked.txt",
        &format!("# dry run: {}\n# run: {}", redact::outcome(&site, &dry), redact::outcome(&site, &ran)),
    );
    assert_eq!((dry.code, ran.code), (5, 5));
    assert_eq!(site.succeed(&["verify", "plan.toml", "--from", "near"]).stdout.lines().count(), 1);
    assert_eq!(fs::read_to_string(site.path("far")).unwrap(), "a file where the directory should be");
}

#[test]
fn nothing_is_exported_when_no_destination_can_be_written() {
    let site = Site::with(minimal());
    fs::write(site.path("backups"), "a file where the directory should be").unwrap();
    let outcome = site.run(&["run", "plan.toml", "--json"]);
    assert_eq!(outcome.code, 5);
    let kinds: Vec<String> = events(&outcome.stdout).iter().map(|event| event["event"].to_string()).collect();
    assert_eq!(kinds, ["\"run-started\"", "\"task-skipped\"", "\"task-skipped\"", "\"run-finished\""]);
}

#[test]
fn a_destination_of_which_one_is_empty_still_restores_what_the_other_has() {
    let site = Site::with(minimal());
    site.write_plan(TWO_PLACES);
    site.succeed(&["run", "plan.toml"]);
    fs::rename(site.path("far"), site.path("away")).unwrap();
    fs::write(site.path("far"), "in the way").unwrap();
    assert_eq!(site.run(&["run", "plan.toml"]).code, 5);
    fs::remove_file(site.path("far")).unwrap();
    fs::remove_dir_all(site.path("backups")).unwrap();
    fs::rename(site.path("away"), site.path("far")).unwrap();
    let verified = site.run(&["verify", "plan.toml"]);
    assert_eq!((verified.code, verified.stdout.lines().count()), (2, 1), "{verified:?}");
    let restored = site.run(&["restore", "plan.toml", "--to", "restored"]);
    assert_eq!(restored.code, 0, "{restored:?}");
}

#[test]
fn a_destination_without_room_keeps_nothing_half() {
    let site = Site::with(minimal());
    for (options, expected) in
        [("size=64k", "destination-too-small.txt"), ("size=64m,nr_inodes=12", "destination-full.txt")]
    {
        let backups = site.path("backups");
        let Some(mount) = Mount::at(&backups, options) else { return };
        let outcome = site.run(&["run", "plan.toml"]);
        golden(expected, &redact::outcome(&site, &outcome));
        assert_eq!(redact::tree(&site, "backups"), "hitkeep/  0700\nhitkeep/.lock  0600\n");
        assert_eq!(redact::tree(&site, "staging"), "");
        drop(mount);
    }
}

#[test]
fn who_shares_a_file_system_is_asked_for_room_together() {
    let site = Site::with(minimal());
    let bytes: u64 = read_tree(&site.path("data")).values().map(|bytes| bytes.len() as u64).sum();
    let disk = site.path("disk");
    let Some(_mount) = Mount::at(&disk, &format!("size={}", bytes * 3 / 2)) else { return };
    site.write_plan(
        &TWO_PLACES.replace("url = \"backups\"", "url = \"disk/near\"").replace("url = \"far\"", "url = \"disk/far\""),
    );
    golden("shared-file-system.txt", &redact::outcome(&site, &site.run(&["run", "plan.toml"])));
    assert_eq!(redact::tree(&site, "staging"), "");
    // What is staged beside its destination is moved there, and takes no more than once what it takes.
    site.write_plan(&PLAN.replace("\"backups\"", "\"disk/backups\"").replace("\"staging\"", "\"disk/staging\""));
    site.succeed(&["run", "plan.toml"]);
}

/// A file system in memory, mounted until this is dropped; none without the right to mount.
pub(crate) struct Mount<'p>(&'p Path);

impl<'p> Mount<'p> {
    pub(crate) fn at(folder: &'p Path, options: &str) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).output().unwrap();
        if !mounted.status.success() {
            crate::redact::skipped("a full destination needs root, to mount a small tmpfs");
            return None;
        }
        Some(Self(folder))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).status());
    }
}

#[test]
fn a_job_may_be_about_some_databases_only() {
    let unknown = "00000000-0000-4000-8000-000000000009";
    let chosen = [("\"shared\"", 0, "complete"), (TENANT, 0, "complete"), (unknown, 3, "partial")];
    for (database, code, state) in chosen {
        let site = Site::with(minimal());
        let both = if database == unknown { format!("\"shared\", \"{unknown}\"") } else { format!("\"{database}\"") };
        let both = both.replace("\"\"", "\"");
        site.write_plan(&PLAN.replace("to = [", &format!("databases = [{both}]\nto = [")));
        let outcome = site.run(&["run", "plan.toml"]);
        assert_eq!((outcome.code, site.sets()[0].1.as_str()), (code, state), "{database}: {outcome:?}");
        let held: Vec<String> = fs::read_dir(site.path("backups/hitkeep"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| ["shared", "tenants"].contains(&name.as_str()))
            .collect();
        assert_eq!(held, if database == TENANT { ["tenants"] } else { ["shared"] });
    }
}

/// Reads the lines that `--json` prints.
pub(crate) fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Puts the events of tasks, of which two may be under way at the same time, in the order of their numbers.
pub(crate) fn in_order(mut events: Vec<Value>) -> Vec<Value> {
    let ends = |event: &Value| if event["event"] == "run-finished" { u64::MAX } else { 0 };
    events.sort_by_key(|event| event["task"].as_u64().unwrap_or_else(|| ends(event)));
    events
}

/// Shows a JSON document, without what differs from run to run, the way it was stored.
pub(crate) fn document(site: &Site, bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    let text = serde_json::to_string_pretty(&redact::json(site, &value)).unwrap();
    text + "\n"
}

#[test]
fn root_is_told_where_another_user_keeps_backups() {
    if !rustix::process::geteuid().is_root() {
        return redact::skipped("who root writes for: this is not root");
    }
    let site = Site::with(minimal());
    fs::create_dir(site.path("backups")).unwrap();
    std::os::unix::fs::chown(site.path("backups"), Some(65532), None).unwrap();
    let outcome = site.succeed(&["run", "plan.toml"]);
    let told = "warning: `[SITE]/backups` belongs to the user 65532, whose runs cannot read what root writes there: run as that user\n";
    assert_eq!(redact::text(&site, &outcome.stderr), told);
}
