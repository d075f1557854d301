//! Stories of the log on standard error: as JSON, line by line, and as the journal reads it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::fixture::{Outcome, PLAN, Site, minimal};
use crate::redact::{self, golden};

/// Returns the lines of a log, each an object, without what differs from run to run.
fn lines(site: &Site, log: &str) -> (Vec<Value>, String) {
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = lines.iter().flat_map(|line| [redact::json(site, line).to_string(), "\n".to_owned()]).collect();
    (lines, shown)
}

/// A plan whose lines come in one order: two databases are under way at the same time.
fn of_one_database() -> String {
    PLAN.replace("prefix =", "databases = [\"shared\"]\nprefix =")
}

#[test]
fn a_run_is_logged_as_json_with_its_id_throughout() {
    let site = Site::with(minimal());
    site.write_plan(&format!("{}\n[hooks]\nbefore = [[\"true\"]]\nafter = [[\"false\"]]\n", of_one_database()));
    let outcome = site.run(&["run", "plan.toml", "--log", "json"]);
    let (lines, shown) = lines(&site, &outcome.stderr);
    golden("log.jsonl", &shown);
    assert_eq!(outcome.code, 1);
    let run = &site.state_records().into_values().next().unwrap()["run"];
    let others: Vec<&Value> = lines.iter().filter(|line| &line["run"] != run || line["job"] != "nightly").collect();
    assert_eq!(others, Vec::<&Value>::new());
    assert!(outcome.stdout.starts_with("nightly: set "), "what was asked for is where it always is: {outcome:?}");
}

#[test]
fn a_line_of_a_shard_says_of_which() {
    let site = Site::with(minimal());
    let outcome = site.run(&["run", "plan.toml", "--shard", "1/3", "--log", "json"]);
    let (lines, _) = lines(&site, &outcome.stderr);
    assert!(
        lines.len() > 2 && lines.iter().all(|line| line["shard"] == "1/3" && line["job"] == "nightly"),
        "{lines:?}"
    );
    assert!(outcome.stdout.starts_with("nightly, shard 1/3: set "), "{outcome:?}");
    fs::rename(site.path("data"), site.path("away")).unwrap();
    let failed = site.run(&["run", "plan.toml", "--shard", "0/3", "--log", "json"]);
    let last: Value = serde_json::from_str(failed.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((failed.code, &last["shard"], &last["level"]), (4, &"0/3".into(), &"error".into()), "{failed:?}");
}

#[test]
fn what_goes_wrong_is_logged_as_json() {
    let site = Site::with(minimal());
    let mut all = String::new();
    let broken = PLAN.replace("\"main\"", "\"mian\"");
    let lost = PLAN.replace("\"data\"", "\"nowhere\"");
    let blocked = PLAN.replace("\"backups\"", "\"in-the-way\"");
    fs::write(site.path("in-the-way"), "x").unwrap();
    for (case, plan, words) in [
        ("a broken plan", &*broken, &["run", "plan.toml", "--log", "json"][..]),
        ("no source", &lost, &["--log=json", "run", "plan.toml"]),
        ("no destination", &blocked, &["run", "plan.toml", "--log", "json", "--quiet"]),
        ("no such job", PLAN, &["run", "plan.toml", "weekly", "--log", "json"]),
        ("no set", PLAN, &["verify", "plan.toml", "--log", "json"]),
    ] {
        site.write_plan(plan);
        let outcome = site.run(words);
        let (_, shown) = lines(&site, &outcome.stderr);
        writeln!(all, "== {case}: exit code {}\n{shown}", outcome.code).unwrap();
    }
    golden("log-errors.jsonl", &all);
}

/// Each verb that speaks JSON, with what it says nothing of: its standard error is what `--log json` would make of it, and its
/// standard output as empty as the story says.
#[test]
fn what_goes_wrong_beside_json_is_json() {
    let site = Site::with(minimal());
    let mut all = String::new();
    let mut tell = |case: &str, words: &[&str]| {
        let outcome = site.run(words);
        let (_, shown) = lines(&site, &outcome.stderr);
        writeln!(all, "== {case}: {}: exit code {}\n{shown}", words.join(" "), outcome.code).unwrap();
        outcome.stdout
    };
    for verb in ["run", "daemon", "doctor", "list", "verify", "coverage", "status", "prune", "lifecycle"] {
        let told = tell("no plan", &[verb, "nowhere.toml", "--json"]);
        assert_eq!(told, "", "{verb}");
    }
    tell("no plan", &["restore", "nowhere.toml", "--to", "new", "--json"]);
    tell("no plan", &["check", "nowhere.toml", "--format", "json"]);
    site.write_plan(&PLAN.replace("\"main\"", "\"mian\"").replace("\"backups\"", "\"/\""));
    for words in [&["check", "plan.toml", "--format", "json"][..], &["status", "plan.toml", "--json"]] {
        assert_eq!(tell("two mistakes", words), "");
    }
    site.write_plan(&PLAN.replace("\"data\"", "\"nowhere\""));
    tell("no source", &["run", "plan.toml", "--json"]);
    site.write_plan(&format!("{PLAN}\n[vars]\nspare = \"x\"\n"));
    let work = tell("a warning", &["run", "plan.toml", "--dry-run", "--json"]);
    assert!(work.starts_with(r#"{"format":1,"event":"planned","task":null,"what":"backup nightly: set "#), "{work}");
    for words in [
        &["run", "plan.toml", "weekly", "--json"][..],
        &["verify", "plan.toml", "--json"],
        &["restore", "plan.toml", "--to", "new", "--json"],
        &["list", "plan.toml", "latest", "--json"],
        &["coverage", "plan.toml", "--json"],
    ] {
        tell("nothing there", words);
    }
    let held = site.path("data/hitkeep.db");
    fs::write(site.path("in-the-way"), "x").unwrap();
    site.write_plan(&PLAN.replace("\"backups\"", "\"in-the-way\""));
    for words in [&["run", "plan.toml", "--json"][..], &["list", "plan.toml", "--json"]] {
        tell("no destination", words);
    }
    fs::write(held, "no database").unwrap();
    site.write_plan(PLAN);
    tell("no database", &["run", "plan.toml", "--json"]);
    golden("json-errors.jsonl", &all);
}

#[test]
fn a_command_line_that_cannot_be_read_is_answered_in_text() {
    let site = Site::with(minimal());
    let outcome = site.run(&["list", "plan.toml", "--json", "--nonsense"]);
    assert!(
        outcome.code == 2 && outcome.stderr.starts_with("error: unexpected argument '--nonsense' found"),
        "{outcome:?}"
    );
}

/// Runs the program with a file as its standard error, which `stream` says to be the journal's, and returns what it wrote.
fn logged(site: &Site, words: &[&str], stream: impl Fn(&fs::Metadata) -> String) -> String {
    let file = File::create(site.path("stderr")).unwrap();
    let about = file.metadata().unwrap();
    let mut command = site.command(words);
    command.env("JOURNAL_STREAM", stream(&about)).stderr(file);
    drop(Outcome::of(command));
    redact::text(site, &fs::read_to_string(site.path("stderr")).unwrap())
}

#[test]
fn the_journal_is_told_how_much_a_line_matters() {
    let site = Site::with(minimal());
    let hooks = "[hooks]\nbefore = [[\"true\"]]\nafter = [[\"false\"]]\n";
    let notice = "[notify.oncall]\nwebhook = { env = \"NOT_SET\" }\non = [\"failure\"]\n";
    site.write_plan(&format!("{}\n{hooks}\n{notice}", of_one_database()));
    let journal = |about: &fs::Metadata| format!("{}:{}", about.dev(), about.ino());
    let of_another = |about: &fs::Metadata| format!("{}:{}", about.dev(), about.ino() + 1);
    let marked = logged(&site, &["run", "plan.toml", "--verbose"], journal);
    golden("log-journal.txt", &marked);
    site.write_plan(&PLAN.replace("\"main\"", "\"mian\""));
    let marked = logged(&site, &["run", "plan.toml"], journal);
    let plain = logged(&site, &["run", "plan.toml"], of_another);
    let by_hand: String = plain.lines().flat_map(|line| ["<3>", line, "\n"]).collect();
    assert_eq!((marked, plain.contains("<3>")), (by_hand, false), "each line of an error, and only for the journal");
}
