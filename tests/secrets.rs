//! Stories of what nobody else may read: files that are their owner's alone, and secrets that stay in the data.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use duckdb::Connection;
use hitkeep_plan::demo::Layout;
use serde_json::Value;

use crate::fixture::{Outcome, PLAN, Site, demo, minimal, read_tree, walk};
use crate::{s3, servers};

/// What no word of the program may ever hold. The first lies in the environment, the others in the databases.
const MARKERS: [&str; 5] =
    ["marker-environment", "MARKERTOTPSECRET", "marker-access-token", "marker-refresh-token", "marker-hash"];

/// Runs the program with `words` in a shell that would let everyone read what it makes.
fn run_without_umask(site: &Site, words: &[&str]) -> Outcome {
    let program = site.command(words);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "umask 000 && exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    shell.current_dir(site.path("")).env_clear();
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = Outcome::of(shell);
    assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
    outcome
}

/// Returns everything below a folder that is not its owner's alone, with its mode.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut open = Vec::new();
    walk(folder, &mut |path| {
        let mode = fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        if mode != if path.is_dir() { 0o700 } else { 0o600 } {
            open.push(format!("{mode:o} {}", path.display()));
        }
    });
    open
}

#[test]
fn whatever_is_made_is_its_owners_alone() {
    let site = Site::with(demo(Layout::Joined));
    fs::remove_file(site.path("plan.toml")).unwrap();
    fs::create_dir(site.path("plans")).unwrap();
    fs::write(site.path("plans/plan.toml"), PLAN.replace("\"data\"", "\"../data\"")).unwrap();
    fs::set_permissions(site.path("plans"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(site.path("plans/plan.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    for words in [
        &["run", "plans/plan.toml"][..],
        &["restore", "plans/plan.toml", "--to", "restored/deep"],
        &["restore", "plans/plan.toml", "--to", "restored/deep", "--yes"],
        &["init", "--demo", "installation", "--hits", "300"],
        &["demo", "everything", "--hits", "300", "--quiet"],
        &["demo", "running", "--hits", "300", "--live", "--quiet"],
    ] {
        run_without_umask(&site, words);
    }
    for made in ["plans/backups", "plans/state", "restored", "installation", "everything/backups"] {
        assert!(site.path(made).exists(), "{made} was not made");
    }
    assert_eq!(open_to_others(&site.path("")), Vec::<String>::new());
}

/// Plants the markers in the databases of a site.
fn plant(site: &Site) {
    let shared = Connection::open(site.path("data/hitkeep.db")).unwrap();
    let planted = shared.execute_batch(
        "UPDATE user_totp_factors SET secret = 'MARKERTOTPSECRET';
         UPDATE google_search_console_connections
             SET access_token = 'marker-access-token', refresh_token = 'marker-refresh-token';
         CREATE TABLE keys (hash VARCHAR PRIMARY KEY, used BIGINT);
         INSERT INTO keys VALUES ('marker-hash', 1);
         CHECKPOINT;",
    );
    planted.unwrap();
}

/// Says which markers a text holds.
fn markers_in(bytes: &[u8]) -> Vec<&'static str> {
    let holds = |marker: &&str| bytes.windows(marker.len()).any(|part| part == marker.as_bytes());
    MARKERS.into_iter().filter(holds).collect()
}

/// Runs the program, which must end with this code and say no secret.
fn run_discreetly(site: &Site, code: i32, words: &[&str]) {
    let mut command = site.command(words);
    command.env("SOME_TOKEN", "marker-environment").env("HITKEEP_JWT_SECRET", "marker-environment");
    let outcome = Outcome::of(command);
    assert_eq!(outcome.code, code, "{words:?}: {outcome:?}");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(markers_in(said.as_bytes()), Vec::<&str>::new(), "{words:?}: {said}");
}

#[test]
fn secrets_stay_in_the_data() {
    let site = Site::with(demo(Layout::Joined));
    plant(&site);
    run_discreetly(&site, 0, &["run", "plan.toml", "--verbose"]);
    run_discreetly(&site, 0, &["run", "plan.toml", "--json"]);
    run_discreetly(&site, 0, &["run", "plan.toml", "--dry-run"]);
    for words in [
        &["check", "plan.toml"][..],
        &["show", "plan.toml"],
        &["list", "plan.toml"],
        &["list", "plan.toml", "latest"],
        &["list", "plan.toml", "--json"],
        &["verify", "plan.toml", "--verbose"],
        &["verify", "plan.toml", "--json"],
        &["restore", "plan.toml", "--to", "restored", "--verbose"],
        &["restore", "plan.toml", "--to", "restored", "--yes", "--json"],
    ] {
        run_discreetly(&site, 0, words);
    }
    site.write_plan(&PLAN.replace("data_path", "capture = \"live\"\ndata_path"));
    for words in [
        &["run", "plan.toml", "--verbose"][..],
        &["run", "plan.toml", "--json"],
        &["run", "plan.toml", "--dry-run"],
        &["doctor", "plan.toml"],
    ] {
        run_discreetly(&site, 0, words);
    }
    site.write_plan(PLAN);
    fail_in_many_ways(&site);

    let records = [read_tree(&site.path("backups")), read_tree(&site.path("state"))].into_iter().flatten();
    let records: Vec<_> = records.filter(|(name, _)| !name.to_string_lossy().ends_with(".parquet")).collect();
    assert!(records.iter().filter(|(name, _)| name.ends_with("load.sql")).count() >= 6, "too few: {}", records.len());
    for (name, bytes) in records {
        assert_eq!(markers_in(&bytes), Vec::<&str>::new(), "{}", name.display());
    }
    let restored = Connection::open(site.path("restored/hitkeep.db")).unwrap();
    let kept: String =
        restored.query_row("SELECT any_value(secret) FROM user_totp_factors", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, "MARKERTOTPSECRET", "a backup holds them all the same");
}

/// Lets runs fail at the source, at the destination, in the plan, and while sets are read.
fn fail_in_many_ways(site: &Site) {
    let tenant = fs::read_dir(site.path("data/tenants")).unwrap().next().unwrap().unwrap().path();
    fs::rename(tenant.join("hitkeep.db"), site.path("aside")).unwrap();
    fs::write(tenant.join("hitkeep.db"), MARKERS.join(" ")).unwrap();
    run_discreetly(site, 3, &["run", "plan.toml"]);
    fs::rename(site.path("aside"), tenant.join("hitkeep.db")).unwrap();

    site.write_plan(&PLAN.replace("\"data\"", "\"nowhere\""));
    run_discreetly(site, 4, &["run", "plan.toml"]);
    fs::write(site.path("in-the-way"), "x").unwrap();
    site.write_plan(&PLAN.replace("\"backups\"", "\"in-the-way\""));
    run_discreetly(site, 5, &["run", "plan.toml"]);
    site.write_plan(&PLAN.replace("\"hitkeep\"", "\"{{ env.SOME_TOKEN.x }}\""));
    run_discreetly(site, 2, &["run", "plan.toml"]);
    site.write_plan(PLAN);

    let oldest = &site.sets()[0].0;
    let damaged = site.path(&format!("backups/hitkeep/shared/{oldest}/user_totp_factors.parquet"));
    fs::write(damaged, MARKERS.join(" ")).unwrap();
    run_discreetly(site, 6, &["verify", "plan.toml"]);
    run_discreetly(site, 6, &["restore", "plan.toml", "--to", "other", "--at", oldest]);
}

/// Hooks and notices that do what they can to tell a secret.
const TELLTALES: &str = r#"
[destination.bucket]
url = "s3://bucket/x"
region = "eu-central-1"
access_key_id = { env = "KEY_ID" }
secret_access_key = { file = "key" }

[hooks]
before = [["sh", "-c", "env; cat key address; cat key >&2"]]
after = [["sh", "-c", "cat key; exit 1"]]
failure = [["sh", "-c", "cat address; kill -9 $$"]]

[notify.closed]
webhook = { file = "address" }
on = ["start", "failure"]
template = '{ "log": {{ log | tojson }}, "failures": {{ failures | tojson }} }'

[notify.none]
healthchecks = { env = "KEY_ID" }

[notify.told]
command = ["sh", "-c", "env; cat key; exit 3"]
on = ["start", "failure"]

[metrics]
textfile = "metrics.prom"
"#;

#[test]
fn what_stands_around_a_job_tells_no_secret() {
    let site = Site::with(minimal());
    fs::write(site.path("key"), "marker-hash\n").unwrap();
    fs::write(site.path("address"), "http://127.0.0.1:1/marker-access-token\n").unwrap();
    let plan = format!("{PLAN}{TELLTALES}");
    for (plan, code) in [(&plan, 1), (&plan.replace("\"data\"", "\"nowhere\""), 1)] {
        site.write_plan(plan);
        for words in [
            &["run", "plan.toml", "--dry-run"][..],
            &["run", "plan.toml", "--verbose"],
            &["run", "plan.toml", "--json"],
            &["run", "plan.toml", "--log", "json"],
            &["show", "plan.toml"],
            &["check", "plan.toml"],
            &["list", "plan.toml"],
        ] {
            let mut command = site.command(words);
            command.env("KEY_ID", "marker-environment").env("PATH", "/usr/bin:/bin");
            let outcome = Outcome::of(command);
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert_eq!(markers_in(said.as_bytes()), Vec::<&str>::new(), "{words:?}: {said}");
            if words == ["run", "plan.toml", "--verbose"] {
                assert_eq!(outcome.code, code, "{outcome:?}");
                assert_eq!(said.matches("could not be told").count(), 6, "each of three, twice: {said}");
            }
        }
    }
    let left = [read_tree(&site.path("state")), read_tree(&site.path("backups"))].into_iter().flatten();
    let left: Vec<_> = left.chain([("metrics.prom".into(), fs::read(site.path("metrics.prom")).unwrap())]).collect();
    let hooks = left.iter().filter(|(_, bytes)| String::from_utf8_lossy(bytes).contains("\"hooks\"")).count();
    assert_eq!(hooks, 6, "the records of six runs tell of hooks");
    for (name, bytes) in left {
        assert_eq!(markers_in(&bytes), Vec::<&str>::new(), "{}: {}", name.display(), String::from_utf8_lossy(&bytes));
    }
}

/// A backup of HitKeep's own has no digests: what is wrong with its rows is found by the engine, which quotes them.
#[test]
fn the_engines_own_words_quote_no_rows() {
    let site = Site::with(minimal());
    let cases = [
        ("duplicate", "hash VARCHAR PRIMARY KEY", "SELECT unnest(['marker-hash', 'marker-hash']) AS hash"),
        ("conversion", "hash INTEGER", "SELECT 'it''s \"marker-hash\": marker-hash' AS hash"),
        ("check", "hash VARCHAR CHECK (hash <> 'marker-hash')", "SELECT 'marker-hash' AS hash"),
        ("enum", "hash ENUM('a')", "SELECT 'marker-hash' AS hash"),
    ];
    for (index, (case, columns, rows)) in cases.into_iter().enumerate() {
        let set = format!("2026-03-08T12000{index}Z");
        let folder = site.path(&format!("backups/hitkeep/shared/{set}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("schema.sql"), format!("CREATE TABLE keys({columns});\n")).unwrap();
        fs::write(folder.join("load.sql"), "COPY keys FROM 'keys.parquet' (FORMAT 'parquet');\n").unwrap();
        let written = format!("COPY ({rows}) TO '{}'", folder.join("keys.parquet").display());
        Connection::open_in_memory().unwrap().execute_batch(&written).unwrap();
        let words = ["restore", "plan.toml", "--to", case, "--at", &set];
        run_discreetly(&site, 1, &words);
        assert!(site.run(&words).stderr.contains("loading `keys`"), "{case}");
    }
}

#[test]
fn a_secret_that_a_command_prints_is_hidden_like_any_other() {
    let (site, server) = (Site::with(minimal()), servers::s3s::server());
    let plan = s3::plan(&server, &server.new_bucket(), &site.path(""));
    fs::write(site.path("address"), "http://127.0.0.1:1/marker-of-an-address\n").unwrap();
    let plan = plan.replace("{ file = \"id\" }", "{ command = [\"cat\", \"id\"] }");
    let plan = plan.replace("{ file = \"secret\" }", "{ command = [\"cat\", \"secret\"] }");
    let secrets = [server.access_key, server.secret_key, "marker-of-an-address"];

    let says = |code| format!(r#"[["sh", "-c", "cat id; echo; cat secret address; exit {code}"]]"#);
    let hooks = format!("[hooks]\nbefore = {}\nafter = {}\nfailure = {}\n", says(0), says(3), says(3));
    let told = r#"["sh", "-c", "cat id secret address; echo \"$HITKEEP_PLAN_SUMMARY\" >>told; exit 1"]"#;
    let notices = format!(
        "[notify.hook]\nwebhook = {{ command = [\"cat\", \"address\"] }}\non = [\"start\", \"failure\"]\ntimeout = \"1s\"\n\
         [notify.page]\ncommand = {told}\n"
    );
    site.write_plan(&format!("{plan}\n{hooks}\n{notices}"));
    for words in [&["run", "plan.toml", "--verbose"][..], &["run", "plan.toml", "--log", "json"]] {
        let outcome = site.run(words);
        assert_eq!(outcome.code, 1, "{words:?}: {outcome:?}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains("`after` exited with 3: ***"), "{words:?}: {said}");
        assert_eq!(secrets.map(|secret| said.contains(secret)), [false; 3], "{words:?}: {said}");
    }
    let outputs =
        |record: &Value| record["hooks"].as_array().unwrap().iter().map(|hook| hook["output"].clone()).collect();
    let kept: Vec<Vec<Value>> = site.state_records().values().map(outputs).collect();
    assert_eq!(kept, vec![vec![Value::from("***\n***\n***"); 3]; 2]);
    let records = read_tree(&site.path("state")).into_iter();
    for (name, bytes) in records.chain([("told".into(), fs::read(site.path("told")).unwrap())]) {
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(secrets.map(|secret| text.contains(secret)), [false; 3], "{}: {text}", name.display());
    }
}
