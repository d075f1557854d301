//! An independent DuckDB proves what we write: Python's wheels of HitKeep's own engine and of the newest one.
//!
//! A plain `IMPORT DATABASE` of each snapshot, and every restored file, is compared with its source by an engine that
//! is not ours; what differs must be what the manifest says is lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hitkeep_plan::demo::Layout;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::fixture::{PLAN, Site, TENANT, demo, minimal, read_tree};
use crate::redact::{self, golden, skipped};

/// The engine of HitKeep 2.8 to 2.13.
const HITKEEP: &str = "1.5.4";

/// The newest engine.
const NEWEST: &str = "2.0.0";

/// Another DuckDB.
struct Oracle {
    python: PathBuf,
}

impl Oracle {
    /// Returns the oracle of a version, made on first use; nothing where it cannot be had.
    fn of(version: &str) -> Option<Self> {
        static HITKEEPS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        static NEWESTS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let made = if version == HITKEEP { &HITKEEPS } else { &NEWESTS };
        match made.get_or_init(|| duckdb(version)) {
            Ok(python) => Some(Self { python: python.clone() }),
            Err(cause) => {
                skipped(&format!("DuckDB {version} for Python cannot be had: {cause}"));
                None
            }
        }
    }

    /// Returns both.
    fn both() -> Vec<(&'static str, Self)> {
        [HITKEEP, NEWEST].into_iter().filter_map(|version| Some((version, Self::of(version)?))).collect()
    }

    /// Runs `compare.py` with `words`, and returns what it prints.
    fn ask(&self, words: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/compare.py");
        let output = Command::new(&self.python).arg(script).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns what differs between ours and its source.
    fn compare(&self, what: &str, ours: &Path, source: &Path) -> Value {
        serde_json::from_str(&self.ask(&[what, ours.to_str().unwrap(), source.to_str().unwrap()])).unwrap()
    }
}

/// Returns the Python that has one version of DuckDB; nothing, loudly, where it cannot be had.
pub(crate) fn python(version: &str) -> Option<PathBuf> {
    duckdb(version).map_err(|cause| skipped(&format!("DuckDB {version} for Python cannot be had: {cause}"))).ok()
}

fn duckdb(version: &str) -> Result<PathBuf, String> {
    environment(&format!("oracle-{version}"), &format!("duckdb=={version}"))
}

/// Makes a virtual environment of this name with one package, and returns its Python. Other processes wait for it.
pub(crate) fn environment(name: &str, requirement: &str) -> Result<PathBuf, String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (python, finished) = (folder.join("bin/python"), folder.join("finished"));
    let lock = File::create(folder.with_extension("lock")).map_err(|error| error.to_string())?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
    if !finished.exists() {
        call(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            .map_err(|cause| format!("{cause} (on Debian: apt install python3-venv)"))?;
        call(Command::new(&python).args(["-m", "pip", "install", "--quiet", requirement]))?;
        File::create(finished).map_err(|error| error.to_string())?;
    }
    Ok(python)
}

fn call(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).trim().to_owned()) }
}

/// Returns the only set of a site that has run once.
fn only_set(site: &Site) -> String {
    let [(set, _)] = site.sets().try_into().unwrap();
    set
}

/// Returns each snapshot of the only set: its folder, its manifest, and the path of its database in an installation.
fn snapshots(site: &Site) -> Vec<(PathBuf, Value, PathBuf)> {
    let set = only_set(site);
    let root = site.path("backups/hitkeep");
    let names = read_tree(&root).into_keys().filter(|name| name.ends_with(format!("{set}.manifest.json")));
    let snapshot = |name: PathBuf| {
        let manifest = serde_json::from_slice(&fs::read(root.join(&name)).unwrap()).unwrap();
        let above = name.parent().unwrap();
        let database = if above.ends_with("shared") { PathBuf::new() } else { above.to_owned() };
        (root.join(above).join(&set), manifest, database.join("hitkeep.db"))
    };
    names.map(snapshot).collect()
}

#[test]
fn a_plain_import_of_every_snapshot_is_its_source() {
    let oracles = Oracle::both();
    for (layout, codec) in [(Layout::Joined, "zstd"), (Layout::Split, "snappy"), (Layout::Split, "zstd")] {
        let site = Site::with(demo(layout));
        site.write_plan(&PLAN.replace("to = [", &format!("compression = \"{codec}\"\nto = [")));
        site.succeed(&["run", "plan.toml"]);
        for (folder, manifest, database) in snapshots(&site) {
            assert_eq!(manifest.get("lost"), None, "{}", folder.display());
            assert_eq!(codecs(&folder), [codec.to_uppercase()]);
            for (version, oracle) in &oracles {
                let differences = oracle.compare("snapshot", &folder, &site.path("data").join(&database));
                assert_eq!(differences, json!({}), "DuckDB {version}: {}", folder.display());
            }
        }
    }
}

/// Returns the codecs inside the Parquet files of a folder.
fn codecs(folder: &Path) -> Vec<String> {
    let engine = duckdb::Connection::open_in_memory().unwrap();
    let sql = format!("SELECT DISTINCT compression FROM parquet_metadata('{}/*.parquet')", folder.display());
    let mut query = engine.prepare(&sql).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_restored_set_opens_in_hitkeeps_engine_and_is_its_source() {
    let oracles = Oracle::both();
    for layout in [Layout::Joined, Layout::Split] {
        let site = Site::with(demo(layout));
        site.succeed(&["run", "plan.toml"]);
        site.succeed(&["restore", "plan.toml", "--to", "restored"]);
        for database in read_tree(&site.path("restored")).into_keys() {
            for (version, oracle) in &oracles {
                let (ours, source) = (site.path("restored").join(&database), site.path("data").join(&database));
                let differences = oracle.compare("database", &ours, &source);
                assert_eq!(differences, json!({}), "DuckDB {version}: {}", database.display());
            }
        }
    }
}

/// Returns the demo with everything in it that a backup can get wrong.
fn awkward() -> Option<Site> {
    let site = Site::with(demo(Layout::Joined));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/awkward.sql");
    let shared = site.path("data/hitkeep.db");
    Oracle::of(NEWEST)?.ask(&["make", shared.to_str().unwrap(), script.to_str().unwrap()]);
    Some(site)
}

#[test]
fn what_is_awkward_comes_back_but_for_what_the_manifest_says_is_lost() {
    let Some(site) = awkward() else { return };
    site.succeed(&["run", "plan.toml"]);
    let outcome = site.run(&["restore", "plan.toml", "--to", "restored"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let drilled = site.run(&["verify", "plan.toml", "--restore"]);
    assert_eq!(drilled.code, 0, "what an export cannot express is no damage: {drilled:?}");
    let (folder, manifest, _) = snapshots(&site)
        .into_iter()
        .find(|(_, _, path)| path.ends_with("hitkeep.db") && path.parent() == Some(Path::new("")))
        .unwrap();
    let lost: String =
        manifest["lost"].as_array().unwrap().iter().map(|lost| lost.as_str().unwrap().to_owned() + "\n").collect();
    golden("awkward-lost.txt", &redact::text(&site, &lost));
    let source = site.path("data/hitkeep.db");
    for (version, oracle) in Oracle::both() {
        let plain = oracle.compare("snapshot", &folder, &source);
        assert!(plain["import"].is_string(), "DuckDB {version}: the manifest says that a plain import fails: {plain}");
        let differences = oracle.compare("database", &site.path("restored/hitkeep.db"), &source);
        let text = serde_json::to_string_pretty(&differences).unwrap() + "\n";
        golden("awkward-differences.json", &text);
    }
}

#[test]
fn a_backup_that_hitkeeps_engine_made_is_listed_verified_and_restored() {
    let Some(oracle) = Oracle::of(HITKEEP) else { return };
    let site = Site::with(demo(Layout::Split));
    for database in read_tree(&site.path("data")).into_keys() {
        let folder = match database.parent().unwrap() {
            above if above == Path::new("") => PathBuf::from("shared"),
            tenant => tenant.to_owned(),
        };
        let folder = site.path("theirs").join(folder).join("2026-06-25T030000Z");
        oracle.ask(&["export", site.path("data").join(&database).to_str().unwrap(), folder.to_str().unwrap()]);
    }
    let listed = site.run(&["list", "theirs"]);
    let verified = site.run(&["verify", "theirs"]);
    let restored = site.run(&["restore", "theirs", "--to", "restored"]);
    let all = [listed, verified, restored];
    golden("foreign.txt", &redact::narrow(&all.map(|told| redact::outcome(&site, &told)).concat()));
    for database in read_tree(&site.path("restored")).into_keys() {
        let (ours, source) = (site.path("restored").join(&database), site.path("data").join(&database));
        let differences = oracle.compare("database", &ours, &source);
        assert_eq!(differences, json!({}), "{}", database.display());
    }
    let site_rest = read_tree(&site.path("restored")).len();
    assert_eq!(site_rest, read_tree(&site.path("data")).len());
}

/// The statements of `unexportable.sql`, a block each, with what its refusal must speak of.
fn unexportable() -> Vec<(String, &'static str)> {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/unexportable.sql")).unwrap();
    let blocks: Vec<String> = text.split("\n\n").filter(|block| block.contains("CREATE")).map(str::to_owned).collect();
    let reasons = ["self-referencing foreign key", "negative intervals", "File name too long"];
    assert_eq!(blocks.len(), reasons.len());
    blocks.into_iter().zip(reasons).collect()
}

fn add(database: &Path, statements: &str) {
    let engine = duckdb::Connection::open(database).unwrap();
    engine.execute_batch(&format!("{statements} CHECKPOINT;")).unwrap();
}

#[test]
fn what_cannot_be_exported_costs_its_own_database_and_says_why() {
    let mut story = Vec::new();
    for (block, reason) in unexportable() {
        let site = Site::with(minimal());
        add(&site.path(&format!("data/tenants/{TENANT}/hitkeep.db")), &block);
        let outcome = site.run(&["run", "plan.toml", "--json"]);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        let record = site.state_records().into_values().next().unwrap();
        let cause = record["failures"][0]["cause"].as_str().unwrap().to_owned();
        assert!(cause.contains(reason), "{cause}");
        story.push(redact::text(&site, &cause).replace(&"n".repeat(50), "n…") + "\n");
        assert_eq!((record["status"].as_str(), &record["captured"]), (Some("partial"), &json!(["shared"])));
    }
    golden("unexportable.txt", &story.concat());
}

#[test]
fn a_shared_database_that_cannot_be_exported_leaves_a_partial_set_of_the_tenants() {
    for (block, reason) in unexportable() {
        let site = Site::with(minimal());
        add(&site.path("data/hitkeep.db"), &block);
        let outcome = site.run(&["run", "plan.toml"]);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        let record = site.state_records().into_values().next().unwrap();
        assert!(record["failures"][0]["cause"].as_str().unwrap().contains(reason), "{record}");
        assert_eq!((record["status"].as_str(), &record["captured"]), (Some("partial"), &json!([TENANT])));
    }
}

#[test]
fn nothing_at_all_that_can_be_exported_is_a_failed_run() {
    let (block, _) = unexportable().swap_remove(0);
    let site = Site::with(minimal());
    site.write_plan(&PLAN.replace("to = [", "databases = [\"shared\"]\nto = ["));
    add(&site.path("data/hitkeep.db"), &block);
    let outcome = site.run(&["run", "plan.toml"]);
    golden("nothing-exported.txt", &redact::outcome(&site, &outcome));
    assert_eq!(redact::tree(&site, "backups"), "hitkeep/  0700\nhitkeep/.lock  0600\n");
}

/// Returns what the manifest of a database's snapshot says is lost.
fn lost(site: &Site, database: &str) -> Vec<String> {
    let set = only_set(site);
    let manifest = fs::read(site.path(&format!("backups/hitkeep/{database}/{set}.manifest.json"))).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    manifest["lost"].as_array().into_iter().flatten().map(|lost| lost.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_trigger_is_lost_and_named() {
    let site = Site::with(minimal());
    let tenant = site.path(&format!("data/tenants/{TENANT}/hitkeep.db"));
    fs::remove_file(&tenant).unwrap();
    let engine = duckdb::Connection::open_in_memory().unwrap();
    let attach = format!("ATTACH '{}' AS made (STORAGE_VERSION 'v2.0.0'); USE made;", tenant.display());
    let trigger = "CREATE TRIGGER counts AFTER INSERT ON t FOR EACH STATEMENT INSERT INTO log VALUES (1);";
    let tables = "CREATE TABLE t (a INTEGER); CREATE TABLE log (a INTEGER);";
    engine.execute_batch(&format!("{attach} {tables} {trigger} USE memory; DETACH made;")).unwrap();
    site.succeed(&["run", "plan.toml"]);
    assert_eq!(lost(&site, &format!("tenants/{TENANT}")), ["trigger `counts` on `t`"]);
}

#[test]
fn each_kind_of_loss_is_named_in_the_manifest() {
    let losses = [
        ("COMMENT ON TABLE sites IS 'x';", "COMMENT ON has set: 1"),
        ("COMMENT ON COLUMN sites.id IS 'x';", "COMMENT ON has set: 1"),
        ("CREATE VIEW v AS SELECT 1 AS one; COMMENT ON VIEW v IS 'x';", "COMMENT ON has set: 1"),
        ("CREATE MACRO one() AS 1; COMMENT ON MACRO one IS 'x';", "COMMENT ON has set: 1"),
        ("CREATE TYPE mood AS ENUM ('sad'); COMMENT ON TYPE mood IS 'x';", "COMMENT ON has set: 1"),
        ("CREATE SEQUENCE s; COMMENT ON SEQUENCE s IS 'x';", "COMMENT ON has set: 1"),
        ("CREATE INDEX i ON sites (domain); COMMENT ON INDEX i IS 'x';", "COMMENT ON has set: 1"),
        ("CREATE TABLE t (a TIMETZ);", "`t.a` (TIME WITH TIME ZONE)"),
        ("CREATE TABLE t (a STRUCT(b TIMETZ[]));", "`t.a` (STRUCT(b TIME WITH TIME ZONE[]))"),
        ("CREATE TABLE t (a MAP(VARCHAR, INTERVAL));", "`t.a` (MAP(VARCHAR, INTERVAL))"),
        ("CREATE SCHEMA s; CREATE TABLE s.t (a INTERVAL);", "`s.t.a` (INTERVAL)"),
        ("CREATE SEQUENCE s; SELECT nextval('s');", "sequence `s`"),
        (
            "CREATE VIEW a_view AS SELECT 1 AS one; CREATE VIEW b AS SELECT 1 AS one; CREATE OR REPLACE VIEW a_view AS SELECT * FROM b;",
            "a plain IMPORT DATABASE needs",
        ),
    ];
    let mut missing = Vec::new();
    for (statements, named) in losses {
        let site = Site::with(minimal());
        add(&site.path("data/hitkeep.db"), statements);
        site.succeed(&["run", "plan.toml"]);
        let lost = lost(&site, "shared");
        if !(lost.len() == 1 && lost[0].contains(named)) {
            missing.push((statements, lost.join("; ")));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// HitKeep's own archive of the same site and cutoff, written and read by its own engine, has no other rows and no column
/// that ours has not.
#[test]
fn an_archive_holds_what_hitkeeps_own_would() {
    let Some(oracle) = Oracle::of(HITKEEP) else { return };
    for layout in [Layout::Joined, Layout::Split] {
        let site = Site::with(demo(layout));
        let job =
            "[archive.cold]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"cold\"\nolder_than = \"200d\"\n\n[local]";
        site.write_plan(&PLAN.replace("[local]", job));
        site.succeed(&["run", "plan.toml", "cold"]);
        let record = read_tree(&site.path("backups/cold/runs")).into_values().next().unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let archive = &record["archive"];
        let mut rows = 0;
        for file in archive["files"].as_array().unwrap() {
            let about =
                archive["sites"].as_array().unwrap().iter().find(|about| about["site"] == file["site"]).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let database = match text(&about["database"]).as_str() {
                "shared" => site.path("data/hitkeep.db"),
                tenant => site.path("data/tenants").join(tenant).join("hitkeep.db"),
            };
            let ours = site.path("backups/cold").join(text(&file["path"]));
            let words = ["archive", ours.to_str().unwrap(), database.to_str().unwrap()];
            let said = oracle.ask(&[&words[..], &[&text(&file["site"]), &text(&about["cutoff"])]].concat());
            let said: Value = serde_json::from_str(&said).unwrap();
            rows += said["rows"].as_u64().unwrap();
            assert_eq!(
                said,
                json!({ "columns": [], "theirs": 0, "ours": 0, "rows": said["rows"] }),
                "{layout:?}: {file}"
            );
        }
        assert!(rows > 100, "{layout:?}: an archive of {rows} rows proves little");
    }
}
