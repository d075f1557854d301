//! Stories of an installation that several runs back up together, each its part.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use duckdb::Connection;
use hitkeep_plan::demo::Layout;
use serde_json::{Value, json};

use crate::fixture::{Outcome, PLAN, Site, Tree, demo, make_database, read_tree};
use crate::redact::{self, golden};
use crate::restores::contents;
use crate::{adopted, s3, servers};

/// The shards that the stories are about.
const SHARDS: [&str; 3] = ["0/3", "1/3", "2/3"];

fn tenant(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Makes the database of a tenant below a data path.
fn make_tenant(site: &Site, number: usize) {
    let path = site.path("data/tenants").join(tenant(number));
    fs::create_dir_all(&path).unwrap();
    let rows = format!("CREATE TABLE hits AS SELECT {number} AS site, '/' || i AS path FROM range({number}) AS r(i);");
    make_database(&path.join("hitkeep.db"), &rows);
}

/// Adds a tenant to an installation.
fn add_tenant(site: &Site, number: usize) {
    let shared = Connection::open(site.path("data/hitkeep.db")).unwrap();
    let id = tenant(number);
    let row =
        format!("INSERT INTO tenants VALUES ('{id}', 'Tenant {number}', false, '2026-01-02 00:00:00Z'); CHECKPOINT;");
    shared.execute_batch(&row).unwrap();
    make_tenant(site, number);
}

/// Returns a site of an installation with tenants of these numbers, and of the default one, which has no database.
fn site_of(tenants: std::ops::RangeInclusive<usize>) -> Site {
    let site = Site::with(&Tree::new());
    fs::create_dir_all(site.path("data")).unwrap();
    let default = tenant(1);
    let shared = format!(
        "CREATE TABLE migrations (migration VARCHAR PRIMARY KEY, applied_at TIMESTAMPTZ);
         CREATE TABLE tenants (id UUID PRIMARY KEY, name VARCHAR, is_default BOOLEAN, created_at TIMESTAMPTZ);
         INSERT INTO tenants VALUES ('{default}', 'Default', true, '2026-01-01 00:00:00Z');
         CREATE TABLE sites (id INTEGER PRIMARY KEY, domain VARCHAR UNIQUE);"
    );
    make_database(&site.path("data/hitkeep.db"), &shared);
    tenants.for_each(|number| add_tenant(&site, number));
    site
}

/// Runs the program for each shard, one after the other.
fn for_each_shard(site: &Site, words: &[&str]) -> Vec<Outcome> {
    SHARDS.iter().map(|shard| site.run(&[words, &["--shard", shard]].concat())).collect()
}

/// Runs the program for each shard, which must succeed.
fn succeed_for_each_shard(site: &Site, words: &[&str]) {
    for outcome in for_each_shard(site, words) {
        assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
    }
}

/// Runs the jobs of every shard, all at one time.
fn run_at_one_time(site: &Site) {
    let running = SHARDS.map(|shard| {
        let mut command = site.command(&["run", "plan.toml", "--shard", shard]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let ended = running.map(|run| run.wait_with_output().unwrap());
    assert!(ended.iter().all(|output| output.status.success()), "{ended:?}");
}

/// Tells outcomes as one text.
fn told(site: &Site, outcomes: &[Outcome]) -> String {
    outcomes.iter().map(|outcome| redact::outcome(site, outcome)).collect::<Vec<_>>().join("\n")
}

/// Returns the newest run record of each shard at the destination.
fn records(site: &Site) -> Vec<Value> {
    let newest = |index: usize| {
        let folder = read_tree(&site.path(&format!("backups/hitkeep/shard-{index}-of-3/runs")));
        let sealed = folder.into_iter().filter(|(name, _)| name.to_string_lossy().matches('.').count() == 1);
        serde_json::from_slice(&sealed.max().unwrap().1).unwrap()
    };
    (0..3).map(newest).collect()
}

/// Returns the databases of each shard.
fn dealt_out(site: &Site) -> Vec<BTreeSet<String>> {
    let captured = |record: &Value| {
        assert_eq!((&record["status"], &record["expected"]), (&json!("complete"), &record["captured"]));
        record["captured"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    records(site).iter().map(captured).collect()
}

/// Compares every database below a folder with that of the installation.
fn assert_restored(site: &Site, folder: &str) {
    let databases = |folder: &str| read_tree(&site.path(folder)).into_keys().collect::<Vec<PathBuf>>();
    assert_eq!(databases(folder), databases("data"));
    for database in databases("data") {
        assert_eq!(contents(&site.path(folder).join(&database)), contents(&site.path("data").join(&database)));
    }
}

#[test]
fn shards_hold_together_what_there_is_and_nothing_twice() {
    let site = site_of(2..=7);
    run_at_one_time(&site);
    let held = dealt_out(&site);
    assert_eq!(records(&site).iter().map(|record| record["shard"].as_str().unwrap()).collect::<Vec<_>>(), SHARDS);
    assert_eq!(held.iter().map(BTreeSet::len).sum::<usize>(), 7, "nothing is held twice: {held:?}");
    let all: BTreeSet<String> = (2..=7).map(tenant).chain(["shared".to_owned()]).collect();
    assert_eq!(held.iter().flatten().cloned().collect::<BTreeSet<_>>(), all);
    assert!(held.iter().all(|held| !held.is_empty()), "the story is about shards with something in them: {held:?}");

    // The whole plan knows nothing of them but that they are there, and its own sets are in nobody's way.
    let mut all = told(&site, &[site.run(&["list", "plan.toml"]), site.run(&["restore", "plan.toml", "--to", "new"])]);
    all += &told(&site, &for_each_shard(&site, &["list", "plan.toml"]));
    all += &told(&site, &[site.run(&["list", "backups/hitkeep/shard-1-of-3", "latest"])]);
    all += &told(&site, &[site.run(&["run", "plan.toml"]), site.run(&["list", "plan.toml"])]);
    all += &told(&site, &for_each_shard(&site, &["verify", "plan.toml"]));
    golden("shards-listed.txt", &all);
    assert_eq!(held, dealt_out(&site));
}

#[test]
fn all_shards_together_restore_the_installation() {
    let site = site_of(2..=7);
    site.succeed(&["run", "plan.toml"]);
    succeed_for_each_shard(&site, &["run", "plan.toml"]);
    let mut story =
        told(&site, &[site.run(&["restore", "plan.toml", "--to", "by-plan", "--shard", "1/3", "--dry-run"])]);
    story += &told(&site, &for_each_shard(&site, &["restore", "plan.toml", "--to", "by-plan"]));
    assert_restored(&site, "by-plan");
    for index in 0..3 {
        let folder = format!("backups/hitkeep/shard-{index}-of-3");
        story += &told(&site, &[site.run(&["restore", &folder, "--to", "by-folder"])]);
    }
    assert_restored(&site, "by-folder");
    succeed_for_each_shard(&site, &["restore", "backups/hitkeep", "--to", "by-part"]);
    assert_restored(&site, "by-part");

    // What is there is not replaced, and of another shard's nobody can have anything here.
    story += &told(&site, &for_each_shard(&site, &["restore", "plan.toml", "--to", "by-plan"]));
    let other = tenant(if dealt_out(&site)[0].contains(&tenant(2)) { 3 } else { 2 });
    let words = ["restore", "plan.toml", "--to", "one", "--shard", "0/3", "--database", &other];
    story += &told(&site, &[site.run(&words), site.run(&["restore", "plan.toml", "--to", "whole"])]);
    assert_restored(&site, "by-plan");
    golden("shards-restored.txt", &story);
}

#[test]
fn a_new_tenant_goes_to_one_shard_and_moves_no_other() {
    let site = site_of(2..=7);
    succeed_for_each_shard(&site, &["run", "plan.toml"]);
    let before = dealt_out(&site);
    add_tenant(&site, 8);
    succeed_for_each_shard(&site, &["run", "plan.toml"]);
    let after = dealt_out(&site);
    let gained: Vec<BTreeSet<String>> =
        after.iter().zip(&before).map(|(after, before)| after.difference(before).cloned().collect()).collect();
    assert!(after.iter().zip(&before).all(|(after, before)| after.is_superset(before)));
    assert_eq!(gained.into_iter().flatten().collect::<Vec<_>>(), [tenant(8)]);
}

#[test]
fn a_shard_without_a_tenant_has_sets_that_hold_nothing() {
    let site = site_of(2..=2);
    site.write_plan(&PLAN.replace("prefix =", "verify = \"restore\"\nkeep = { last = 1 }\nprefix ="));
    let mut story = String::new();
    for words in [
        &["run", "plan.toml"][..],
        &["run", "plan.toml"],
        &["list", "plan.toml"],
        &["verify", "plan.toml"],
        &["verify", "plan.toml", "--restore"],
        &["restore", "plan.toml", "--to", "new"],
    ] {
        writeln!(story, "== {}\n{}", words.join(" "), told(&site, &for_each_shard(&site, words))).unwrap();
    }
    golden("shards-empty.txt", &story);
    assert_restored(&site, "new");
}

#[test]
fn a_shard_remembers_its_own_runs_alone() {
    let site = site_of(2..=7);
    let plan =
        PLAN.replace("prefix =", "schedule = \"* * * * *\"\ncatch_up = true\nobjective = { rpo = \"1h\" }\nprefix =");
    site.write_plan(&format!("{plan}\n[metrics]\ntextfile = \"metrics/hitkeep.prom\"\n"));
    fs::create_dir(site.path("metrics")).unwrap();
    succeed_for_each_shard(&site, &["run", "plan.toml", "--due"]);
    let kept = read_tree(&site.path("state")).into_keys().filter(|name| name.extension() == Some("json".as_ref()));
    let kept: BTreeMap<PathBuf, usize> = kept.fold(BTreeMap::new(), |mut kept, name| {
        *kept.entry(name.parent().unwrap().to_owned()).or_default() += 1;
        kept
    });
    let folders = ["shard-0-of-3/runs", "shard-1-of-3/runs", "shard-2-of-3/runs"].map(PathBuf::from);
    assert_eq!(kept, folders.into_iter().map(|folder| (folder, 1)).collect());

    let codes = |outcomes: Vec<Outcome>| outcomes.iter().map(|outcome| outcome.code).collect::<Vec<_>>();
    assert_eq!(codes(for_each_shard(&site, &["status", "plan.toml"])), [0, 0, 0]);
    assert_eq!(site.run(&["status", "plan.toml"]).code, 8, "the whole plan has no set");
    let metrics = read_tree(&site.path("metrics"));
    assert_eq!(
        metrics.keys().map(|name| name.display().to_string()).collect::<Vec<_>>(),
        ["hitkeep.shard-0-of-3.prom", "hitkeep.shard-1-of-3.prom", "hitkeep.shard-2-of-3.prom",]
    );
    let ends = r#"{plan_job="nightly",source="main",destination="disk",shard="1/3"} 0"#;
    let text = String::from_utf8_lossy(&metrics[&PathBuf::from("hitkeep.shard-1-of-3.prom")]).into_owned();
    assert!(text.contains(&format!("hitkeep_plan_last_run_exit_code{ends}")), "{text}");
}

#[test]
fn whoever_is_told_of_a_run_is_told_of_its_shard() {
    let site = site_of(2..=3);
    let hook = r#"after = [["sh", "-c", "echo $HITKEEP_PLAN_SHARD"]]"#;
    let told = r#"command = ["sh", "-c", "echo \"$HITKEEP_PLAN_SUMMARY\" >>told"]"#;
    site.write_plan(&format!("{PLAN}\n[hooks]\n{hook}\n[notify.all]\non = [\"success\"]\n{told}\n"));
    succeed_for_each_shard(&site, &["run", "plan.toml"]);
    site.succeed(&["run", "plan.toml"]);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let lines = ["nightly, shard 0/3,", "nightly, shard 1/3,", "nightly, shard 2/3,", "nightly"];
    let lines = lines.map(|about| format!("{about} succeeded on {host}"));
    assert_eq!(fs::read_to_string(site.path("told")).unwrap().lines().collect::<Vec<_>>(), lines);
    let record = read_tree(&site.path("state/shard-2-of-3/runs")).into_values().next().unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["hooks"][0]["output"], "2/3");
}

#[test]
fn archives_are_dealt_out_as_their_databases_are() {
    let plan = |name: &str| {
        let archive =
            format!("[archive.cold]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"{name}\"\nolder_than = \"7d\"\n");
        PLAN.replace("[local]", &format!("{archive}\n[local]"))
    };
    let site = Site::with(demo(Layout::Split));
    site.write_plan(&plan("whole"));
    site.succeed(&["run", "plan.toml"]);
    site.write_plan(&plan("parts"));
    succeed_for_each_shard(&site, &["run", "plan.toml"]);
    let files = |folder: &str| -> Vec<(String, Value)> {
        let records =
            read_tree(&site.path(folder)).into_iter().filter(|(name, _)| name.extension() == Some("json".as_ref()));
        let record = |(_, bytes): (PathBuf, Vec<u8>)| serde_json::from_slice::<Value>(&bytes).unwrap();
        let mut files: Vec<(String, Value)> = records
            .map(record)
            .flat_map(|record| record["archive"]["files"].as_array().unwrap().clone())
            .map(|file| (file["site"].as_str().unwrap().to_owned(), file["parts"].clone()))
            .collect();
        files.sort_by(|one, other| one.0.cmp(&other.0));
        files
    };
    let whole = files("backups/whole/runs");
    assert!(whole.len() > 2, "{whole:?}");
    assert_eq!(files("backups/parts"), whole);
    succeed_for_each_shard(&site, &["coverage", "plan.toml"]);
    // Nothing is archived again, neither by a shard nor by all of the plan.
    let again = for_each_shard(&site, &["run", "plan.toml", "cold"]);
    assert!(again.iter().all(|outcome| outcome.stdout.contains("0 rows in 0 files")), "{again:?}");
    // A run of all of the plan that broke off in the same second as a shard's has left nothing of that one's.
    let runs =
        read_tree(&site.path("backups/parts")).into_keys().filter(|name| name.extension() == Some("json".as_ref()));
    fs::create_dir(site.path("backups/parts/runs")).unwrap();
    for run in runs {
        let note = run.with_extension("started.json").file_name().unwrap().to_owned();
        fs::write(site.path("backups/parts/runs").join(note), "{}").unwrap();
    }
    site.succeed(&["run", "plan.toml", "cold"]);
    assert_eq!(files("backups/parts/runs"), whole, "the whole plan has an archive of its own");
    succeed_for_each_shard(&site, &["verify", "plan.toml"]);
}

#[test]
fn the_shards_of_a_bucket_come_back_by_their_urls_alone() {
    let server = servers::s3s::server();
    let (site, bucket) = (site_of(2..=7), server.new_bucket());
    site.write_plan(&s3::plan(&server, &bucket, &site.path("")));
    run_at_one_time(&site);
    fs::remove_file(site.path("plan.toml")).unwrap();
    let url = format!("s3://{bucket}/root/hitkeep");
    for index in 0..3 {
        let folder = format!("{url}/shard-{index}-of-3");
        let outcome = s3::run_without_a_plan(&site, &server, &["restore", &folder, "--to", "new"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    assert_restored(&site, "new");
    let listed = s3::run_without_a_plan(&site, &server, &["list", &url]);
    assert!(
        listed.stdout.ends_with("no set yet\nsets of shards: `--shard 0/3`, `--shard 1/3`, `--shard 2/3`\n"),
        "{listed:?}"
    );
}

#[test]
fn what_hitkeep_has_backed_up_is_taken_away_in_shards() {
    let site = site_of(2..=7);
    site.write_plan(&adopted::plan());
    adopted::back_up(&site, adopted::SET);
    adopted::let_settle(&site);
    succeed_for_each_shard(&site, &["run", "plan.toml"]);
    assert_eq!(dealt_out(&site).iter().map(BTreeSet::len).sum::<usize>(), 7);
    for again in for_each_shard(&site, &["run", "plan.toml"]) {
        assert!(again.stdout.contains("is there already, and nothing newer"), "{again:?}");
    }
    succeed_for_each_shard(&site, &["restore", "plan.toml", "--to", "new"]);
    assert_restored(&site, "new");
}

#[test]
fn the_plan_of_a_shard_is_shown() {
    let site = site_of(2..=2);
    // Where a value comes from stands in a column of its own, which moves with the longest value.
    let values = |words: &[&str]| -> Vec<String> {
        let shown = site.succeed(words).stdout;
        shown.lines().map(|line| line.split("  #").next().unwrap_or_default().trim_end().to_owned()).collect()
    };
    let (shown, whole) = (values(&["show", "plan.toml", "--shard", "1/3"]), values(&["show", "plan.toml"]));
    let changed: Vec<&String> = shown.iter().filter(|line| !whole.contains(line)).collect();
    let state = format!("state = \"{}\"", site.path("state/shard-1-of-3").display());
    assert_eq!(changed, ["# Of the databases, those of shard 1/3.", "prefix = \"hitkeep/shard-1-of-3\"", &state]);
}

#[test]
fn what_is_no_shard_is_refused() {
    let site = site_of(2..=2);
    let refused = ["3/3", "1", "0/0"].map(|shard| site.run(&["run", "plan.toml", "--shard", shard]));
    golden("shards-refused.txt", &told(&site, &refused));
}
