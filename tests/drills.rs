//! Stories of restore drills: a set is proven to come back, and nothing of the drill is left but its record.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hitkeep_plan::demo::Layout;
use hitkeep_plan::measure::Sha256;
use serde_json::Value;

use crate::fixture::{PLAN, Site, demo, make_database, minimal, read_tree};
use crate::redact::{self, golden};
use crate::s3;
use crate::servers::servers;

/// [`PLAN`] with more keys of the job.
fn plan_with(keys: &str) -> String {
    PLAN.replace("[local]", &format!("{keys}\n\n[local]"))
}

/// Returns a site that has run once, and the set's name.
fn backed_up() -> (Site, String) {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    let set = site.sets()[0].0.clone();
    (site, set)
}

/// Returns the drill records of a site, oldest first.
fn drills(site: &Site) -> Vec<Value> {
    let runs = read_tree(&site.path("backups/hitkeep/runs"));
    let is_drill = |(name, _): &(&std::path::PathBuf, &Vec<u8>)| name.to_string_lossy().contains(".drill.");
    let mut drills: Vec<_> = runs.iter().filter(is_drill).collect();
    drills.sort_by_key(|(name, _)| name.to_string_lossy().rsplit("drill.").next().map(str::to_owned));
    drills.into_iter().map(|(_, bytes)| serde_json::from_slice(bytes).unwrap()).collect()
}

#[test]
fn a_drill_proves_a_set_and_leaves_its_record_alone() {
    let site = Site::with(demo(Layout::Split));
    site.write_plan(&plan_with("assert = [\"select count(*) > 0 from sites\"]"));
    site.succeed(&["run", "plan.toml"]);
    let before = read_tree(&site.path(""));
    let by_plan = site.run(&["verify", "plan.toml", "--restore"]);
    let by_folder = site.run(&["verify", "backups/hitkeep", "latest", "--restore"]);
    golden("drill.txt", &(redact::outcome(&site, &by_plan) + &redact::outcome(&site, &by_folder)));
    let after = read_tree(&site.path(""));
    // Who reads has locked a file that stays, as who writes has.
    let is_new = |name: &&std::path::PathBuf| !before.contains_key(*name) && !name.ends_with(".readers");
    let more: Vec<String> = after.keys().filter(is_new).map(|name| name.display().to_string()).collect();
    assert_eq!(more.len(), 2, "{more:?}");
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)), "a drill changed a file");
    assert_eq!(redact::tree(&site, "staging"), "");
    let [with_plan, without] = drills(&site).try_into().unwrap();
    golden("drill-record.json", &(serde_json::to_string_pretty(&redact::json(&site, &with_plan)).unwrap() + "\n"));
    assert_eq!((&without["passed"], without.get("assertions")), (&true.into(), None));
    let schema = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/drill.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap();
    assert!(validator.is_valid(&with_plan) && validator.is_valid(&without));
    assert_eq!(site.sets().len(), 1, "a drill's record was taken for a set's");
    site.succeed(&["verify", "plan.toml"]);
}

#[test]
fn a_job_that_wants_it_is_drilled_with_every_run() {
    let site = Site::with(minimal());
    let keys =
        "verify = \"restore\"\nassert = [\"select count(*) = 2 from sites\"]\nobjective = { drill_every = \"7d\" }";
    site.write_plan(&plan_with(keys));
    let ran = site.run(&["run", "plan.toml"]);
    let status = site.run(&["status", "plan.toml"]);
    let told = site.succeed(&["run", "plan.toml", "--json"]).stdout;
    assert!(told.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{told}");
    let database = duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap();
    database.execute_batch("DELETE FROM sites WHERE id = 2; CHECKPOINT;").unwrap();
    drop(database);
    let broken = site.run(&["run", "plan.toml"]);
    let after = site.run(&["status", "plan.toml"]);
    let story: String = [ran, status, broken, after].iter().map(|outcome| redact::outcome(&site, outcome)).collect();
    golden("drill-with-run.txt", &story);
    let passed: Vec<bool> = drills(&site).iter().map(|drill| drill["passed"].as_bool().unwrap()).collect();
    assert_eq!(passed, [true, true, false]);
}

/// What a plan may assert, and what comes of it: true, false, or no answer.
const ASSERTIONS: &[&str] = &[
    "select count(*) = 2 from sites",
    "WITH few AS (FROM hits LIMIT 1) SELECT count(*) = 1 FROM few",
    "from (values (true))",
    "select count(*) > 2 from sites",
    "select null",
    "select null::BOOLEAN",
    "select true, true",
    "select count(*) from sites",
    "select true from sites",
    "select true from sites where false",
    "select true from nowhere",
    "select 'a secret'::INTEGER = 1",
    // Files, the network, settings: nothing outside is reached.
    "select count(*) > 0 from read_csv('/etc/passwd')",
    "select count(*) > 0 from read_text('/etc/passwd')",
    "select count(*) > 0 from '/etc/passwd'",
    "select count(*) > 0 from glob('/etc/*')",
    "select count(*) > 0 from read_blob('OUTSIDE')",
    "select count(*) > 0 from read_csv('https://127.0.0.1:1/x')",
    "select true; copy (select 1) to 'OUTSIDE.csv'",
    "select true; copy sites to 'OUTSIDE.parquet' (format parquet)",
    "select true; export database hitkeep_plan_restored to 'OUTSIDE.export'",
    "select true; attach 'OUTSIDE' as other",
    "select true; attach 'OUTSIDE.new' as other",
    "select true; install httpfs",
    "select true; load 'OUTSIDE.duckdb_extension'",
    "select true; set enable_external_access = true",
    "select true; reset enable_external_access",
    "select true; set allowed_directories = ['/']",
    "select true; set temp_directory = 'OUTSIDE.spill'",
    "select true; pragma enable_profiling",
    "select true; delete from sites",
    "select true; drop table sites",
    "select true; create table more (a integer)",
];

#[test]
fn what_a_plan_asserts_is_asked_where_it_can_do_no_harm() {
    let (site, _) = backed_up();
    let outside = site.path("outside").display().to_string();
    make_database(Path::new(&outside), "CREATE TABLE t (a INTEGER);");
    let before = read_tree(&site.path(""));
    let mut story = String::new();
    for assertion in ASSERTIONS {
        site.write_plan(&plan_with(&format!("assert = [{:?}]", assertion.replace("OUTSIDE", &outside))));
        let outcome = site.run(&["verify", "plan.toml", "--restore"]);
        assert!([0, 6].contains(&outcome.code), "{assertion}: {outcome:?}");
        let said = redact::text(&site, &outcome.stdout);
        let said = said.rsplit("assertion: ").next().unwrap();
        write!(story, "# {assertion}\n{} {said}", outcome.code).unwrap();
    }
    golden("assertions.txt", &story);
    let after = read_tree(&site.path(""));
    let is_harm = |name: &&std::path::PathBuf| {
        before.get(*name) != after.get(*name)
            && !name.ends_with("plan.toml")
            && !name.ends_with(".readers")
            && !name.starts_with("backups/hitkeep/runs")
    };
    assert_eq!(after.keys().filter(is_harm).collect::<Vec<_>>(), Vec::<&std::path::PathBuf>::new());
}

/// Changes the manifest of the shared database so that its set still verifies: the run record gets its new digest.
fn forge(site: &Site, set: &str, change: impl Fn(&mut Value)) {
    let root = site.path("backups/hitkeep");
    let (manifest, record) = (root.join(format!("shared/{set}.manifest.json")), root.join(format!("runs/{set}.json")));
    let sealed = fs::read(&manifest).unwrap();
    let mut document: Value = serde_json::from_slice(&sealed).unwrap();
    change(&mut document);
    let forged = serde_json::to_vec_pretty(&document).unwrap();
    fs::write(&manifest, &forged).unwrap();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace(&Sha256::of(&sealed).to_string(), &Sha256::of(&forged).to_string())).unwrap();
}

/// Something done to a manifest, and the exit codes of `verify` and of a drill then.
type Forgery = (&'static str, fn(&mut Value), [i32; 2]);

const FORGERIES: &[Forgery] = &[
    ("nothing", |_| {}, [0, 0]),
    ("other rows were captured", |it| it["tables"][3]["content"]["digest"] = "0".repeat(48).into(), [0, 6]),
    ("another engine made the digest", |it| it["tables"][3]["content"]["engine"] = "v1.4.0".into(), [0, 0]),
    ("another algorithm made the digest", |it| it["tables"][3]["content"]["algorithm"] = "other".into(), [0, 0]),
    ("there is no digest", |it| drop(it["tables"][3].as_object_mut().unwrap().remove("content")), [0, 0]),
];

#[test]
fn a_digest_tells_rows_from_others_and_never_raises_a_false_alarm() {
    let mut story = String::new();
    for (name, change, codes) in FORGERIES {
        let (site, set) = backed_up();
        forge(&site, &set, change);
        let (verified, drilled) = (site.run(&["verify", "plan.toml"]), site.run(&["verify", "plan.toml", "--restore"]));
        assert_eq!([verified.code, drilled.code], *codes, "{name}: {verified:?} {drilled:?}");
        write!(story, "# {name}\n{}", redact::text(&site, &(drilled.stdout + &drilled.stderr))).unwrap();
    }
    golden("drill-forgeries.txt", &story);
}

#[test]
fn a_tenant_that_nobody_knows_and_one_that_is_lost_are_found() {
    let site = Site::with(minimal());
    let known = "DELETE FROM tenants WHERE NOT is_default;";
    site.succeed(&["run", "plan.toml"]);
    let set = site.sets()[0].0.clone();
    // A set of the installation as it is without its tenant, with that tenant's snapshot put beside.
    let other = Site::with(minimal());
    let database = duckdb::Connection::open(other.path("data/hitkeep.db")).unwrap();
    database.execute_batch(&format!("{known} CHECKPOINT;")).unwrap();
    drop(database);
    other.succeed(&["run", "plan.toml"]);
    let bare = other.sets()[0].0.clone();
    let from = other.path(&format!("backups/hitkeep/shared/{bare}"));
    let shared = site.path(&format!("backups/hitkeep/shared/{set}"));
    let tenants = fs::read(from.join("tenants.parquet")).unwrap();
    let rows = |it: &mut Value| {
        let digest = Sha256::of(&tenants).to_string();
        for file in it["files"].as_array_mut().unwrap() {
            if file["path"] == "tenants.parquet" {
                file["sha256"] = digest.clone().into();
                file["bytes"] = tenants.len().into();
            }
        }
        for table in it["tables"].as_array_mut().unwrap() {
            if table["name"] == "tenants" {
                table["rows"] = 1.into();
                table.as_object_mut().unwrap().remove("content");
            }
        }
    };
    let before = fs::metadata(shared.join("tenants.parquet")).unwrap().len();
    fs::write(shared.join("tenants.parquet"), &tenants).unwrap();
    forge(&site, &set, rows);
    let record = site.path(&format!("backups/hitkeep/runs/{set}.json"));
    let mut document: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let bytes = document["snapshots"][0]["bytes"].as_u64().unwrap() + tenants.len() as u64 - before;
    document["snapshots"][0]["bytes"] = bytes.into();
    document["snapshots"][0]["rows"] = (document["snapshots"][0]["rows"].as_u64().unwrap() - 1).into();
    fs::write(&record, serde_json::to_vec_pretty(&document).unwrap()).unwrap();
    site.succeed(&["verify", "plan.toml"]);
    let outcome = site.run(&["verify", "plan.toml", "--restore"]);
    assert_eq!(outcome.code, 6, "{outcome:?}");
    golden("drill-tenants.txt", &redact::outcome(&site, &outcome));
}

#[test]
fn types_that_parquet_changes_raise_no_alarm() {
    let site = Site::with(minimal());
    let database = duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE odd (i INTERVAL, z TIMETZ, l INTERVAL[], f FLOAT, d DOUBLE, e ENUM ('a', 'b'), s STRUCT(a INTEGER), \
             m MAP(VARCHAR, INTEGER), u UUID, b BLOB, h HUGEINT, c DECIMAL(38, 9), t TIMESTAMP_NS, v VARCHAR);
             INSERT INTO odd VALUES (INTERVAL '25 hours 1 microsecond', '01:02:03+04', [INTERVAL '1 microsecond'], 'nan', '-0.0', \
             'b', {'a': NULL}, MAP {'k': 1}, uuid(), '\\x00\\xFF'::BLOB, -1, 1.000000001, '2026-01-01 00:00:00.000000001', ''), \
             (NULL, NULL, [], '-inf', 0.1, NULL, NULL, NULL, NULL, ''::BLOB, NULL, NULL, NULL, 'ü' || chr(0));
             CREATE TABLE only_odd (i INTERVAL);
             INSERT INTO only_odd VALUES (INTERVAL '1 microsecond'); CHECKPOINT;",
        )
        .unwrap();
    drop(database);
    site.succeed(&["run", "plan.toml"]);
    let outcome = site.run(&["verify", "plan.toml", "--restore"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    golden("drill-odd-types.txt", &redact::outcome(&site, &outcome));
}

#[test]
fn a_run_that_lost_most_of_its_rows_is_partial_and_guards_the_set_before() {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    let emptied = |share: &str| {
        site.write_plan(&plan_with(&format!("max_shrink = \"{share}\"")));
        let ran = site.run(&["run", "plan.toml"]);
        redact::outcome(&site, &ran)
    };
    let database = duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap();
    database.execute_batch("DELETE FROM hits; CHECKPOINT;").unwrap();
    drop(database);
    let shrunk = emptied("50%");
    let [(before, _), (after, _)] = site.sets().try_into().unwrap();
    let record = fs::read(site.path(&format!("backups/hitkeep/runs/{after}.json"))).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!((&record["status"], &record["guards"]), (&"partial".into(), &before.as_str().into()));
    let verified = site.run(&["verify", "plan.toml", &after]);
    let listed = site.succeed(&["list", "plan.toml"]).stdout;
    let allowed = emptied("100%");
    let status = redact::outcome(&site, &site.run(&["status", "plan.toml"]));
    site.write_plan(&plan_with("keep = { last = 1 }"));
    let kept = site.succeed(&["prune", "plan.toml"]).stdout;
    assert!(kept.contains(&format!("guarded by {after}, ")), "{kept}");
    let [listed, kept] = [listed, kept].map(|text| redact::text(&site, &redact::narrow(&text)));
    let story = [shrunk, redact::outcome(&site, &verified), listed, allowed, status, kept];
    golden("shrunk.txt", &story.join(""));
}

/// What is done to a set in a bucket, by the key that it is done to, and what becomes of that object.
type Damage = (&'static str, &'static str, fn(Vec<u8>) -> Option<Vec<u8>>);

const DAMAGES: &[Damage] = &[
    ("a byte is flipped", "shared/SET/hits.parquet", |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Some(bytes)
    }),
    ("a file is missing", "shared/SET/hits.parquet", |_| None),
    ("a Parquet file is truncated", "shared/SET/hits.parquet", |bytes| Some(bytes[..bytes.len() / 2].to_vec())),
    ("a manifest is missing", "shared/SET.manifest.json", |_| None),
    ("the run record is missing", "runs/SET.json", |_| None),
];

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_a_bucket_is_found_and_named() {
    for server in servers() {
        let (site, bucket, client) = (Site::with(minimal()), server.new_bucket(), server.client());
        site.write_plan(&s3::plan(&server, &bucket, &site.path("")));
        site.succeed(&["run", "plan.toml"]);
        std::thread::sleep(std::time::Duration::from_secs(1));
        site.succeed(&["run", "plan.toml"]);
        let [(older, _), (newer, _)] = site.sets().try_into().unwrap();
        let key = |path: &str, set: &str| format!("root/hitkeep/{}", path.replace("SET", set));
        let get = async |key: &str| {
            let got = client.get_object().bucket(&bucket).key(key).send().await.unwrap();
            got.body.collect().await.unwrap().to_vec()
        };
        let put = async |key: &str, bytes: Vec<u8>| {
            client.put_object().bucket(&bucket).key(key).body(bytes.into()).send().await.unwrap();
        };
        let mut story = String::new();
        let mut tell = |name: &str| {
            let verified = site.run(&["verify", "plan.toml", &newer]);
            let drilled = site.run(&["verify", "plan.toml", &newer, "--restore"]);
            assert_eq!([verified.code, drilled.code], [6, 6], "{}: {name}: {verified:?} {drilled:?}", server.name);
            let said = verified.stdout + &drilled.stdout + &drilled.stderr;
            let said = redact::text(&site, &said).replace(&bucket, "[BUCKET]");
            write!(story, "# {name}\n{said}").unwrap();
        };
        for (name, path, damage) in DAMAGES {
            let key = key(path, &newer);
            let sealed = get(&key).await;
            match damage(sealed.clone()) {
                Some(bytes) => put(&key, bytes).await,
                None => drop(client.delete_object().bucket(&bucket).key(&key).send().await.unwrap()),
            }
            tell(name);
            put(&key, sealed).await;
        }
        let (mine, other) = (key("shared/SET.manifest.json", &newer), key("shared/SET.manifest.json", &older));
        let sealed = get(&mine).await;
        put(&mine, get(&other).await).await;
        tell("the manifest of another set is in its place");
        put(&mine, sealed).await;
        site.write_plan(
            &s3::plan(&server, &bucket, &site.path("")).replace("nightly", "hourly").replace("hitkeep\"", "hourly\""),
        );
        std::thread::sleep(std::time::Duration::from_secs(1));
        site.succeed(&["run", "plan.toml"]);
        site.write_plan(&s3::plan(&server, &bucket, &site.path("")));
        let others = client.list_objects_v2().bucket(&bucket).prefix("root/hourly/").send().await.unwrap();
        for object in others.contents.unwrap_or_default() {
            let key = object.key.unwrap();
            if !key.contains("/.lock/") {
                put(&key.replace("root/hourly/", "root/hitkeep/"), get(&key).await).await;
            }
        }
        let stranger = site.sets().pop().unwrap().0;
        let found = site.run(&["verify", "plan.toml"]);
        assert!(found.code == 6 && stranger > newer, "{}: {found:?}", server.name);
        let told = redact::text(&site, &found.stdout).replace(&bucket, "[BUCKET]");
        write!(story, "# a whole set of another series was copied in\n{told}").unwrap();
        let latest = site.succeed(&["verify", "plan.toml", "latest"]).stdout;
        assert!(latest.starts_with(&newer), "{}: {latest}", server.name);
        for object in client.list_objects_v2().bucket(&bucket).send().await.unwrap().contents.unwrap_or_default() {
            let key = object.key.unwrap();
            if key.contains(&stranger) && key.starts_with("root/hitkeep/") {
                client.delete_object().bucket(&bucket).key(key).send().await.unwrap();
            }
        }
        site.succeed(&["verify", "plan.toml"]);
        golden("damage-in-a-bucket.txt", &story);
    }
}
