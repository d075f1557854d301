//! Everything generated is compared with what is in the repository, and what was once written stays readable.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hitkeep_plan::record::{DrillRecord, Manifest, RunRecord, SampleRecord};
use serde_json::Value;
use snapbox::{Data, assert_data_eq};

use crate::fixture::{Outcome, PLAN, Site, minimal, names, read_tree};
use crate::redact::{self, golden};

const VERBS: &[&str] = &[
    "run",
    "check",
    "doctor",
    "show",
    "status",
    "list",
    "verify",
    "coverage",
    "restore",
    "prune",
    "pin",
    "unpin",
    "explain",
    "lifecycle",
    "daemon",
    "next",
    "units",
    "init",
    "demo",
    "schema",
    "completions",
    "man",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A site without an installation: the program needs none for what is generated.
fn bare() -> Site {
    Site::with(&std::collections::BTreeMap::new())
}

#[test]
fn the_schemas_are_the_ones_that_the_program_prints() {
    for of in ["plan", "manifest", "run", "drill", "sample", "pin", "prune"] {
        let printed = bare().succeed(&["schema", of]).stdout;
        let path = root().join(format!("schemas/{of}.schema.json"));
        assert_data_eq!(Data::text(printed), Data::read_from(&path, None).raw());
    }
}

#[test]
fn what_a_run_writes_is_what_the_schemas_describe() {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    let set = site.sets()[0].0.clone();
    for (schema, file) in [("manifest", format!("shared/{set}.manifest.json")), ("run", format!("runs/{set}.json"))] {
        let document = parse(&site.path("backups/hitkeep").join(file));
        let validator = validator(schema);
        let problems: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert_eq!(problems, Vec::<String>::new(), "{schema}");
        for key in document.as_object().unwrap().keys() {
            let described = parse(&root().join(format!("schemas/{schema}.schema.json")));
            assert!(described["properties"][key]["description"].is_string(), "`{key}` of {schema} is not described");
        }
        let mut broken = document.clone();
        broken.as_object_mut().unwrap().remove("snapshot");
        assert!(!validator.is_valid(&broken), "the schema of {schema} takes a document without `snapshot`");
    }
}

#[test]
fn what_is_written_besides_runs_is_what_the_schemas_describe() {
    let site = Site::with(minimal());
    site.write_plan(&PLAN.replace("prefix =", "keep = { last = 1 }\nprefix ="));
    site.succeed(&["run", "plan.toml"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    site.succeed(&["run", "plan.toml"]);
    site.succeed(&["pin", "plan.toml", "latest", "--reason", "before the move"]);
    site.succeed(&["verify", "plan.toml", "--sample", "50%"]);
    for (schema, folder, part) in [
        ("pin", "backups/hitkeep/runs", ".pin.json"),
        ("sample", "backups/hitkeep/runs", ".sample."),
        ("prune", "state/prunes", ".nightly."),
    ] {
        let name = names(&site.path(folder)).into_iter().find(|name| name.contains(part)).unwrap();
        let document = parse(&site.path(folder).join(name));
        let problems: Vec<String> = validator(schema).iter_errors(&document).map(|error| error.to_string()).collect();
        assert_eq!(problems, Vec::<String>::new(), "{schema}");
        let described = parse(&root().join(format!("schemas/{schema}.schema.json")));
        for key in document.as_object().unwrap().keys() {
            assert!(described["properties"][key]["description"].is_string(), "`{key}` of {schema} is not described");
        }
        let mut broken = document.clone();
        broken.as_object_mut().unwrap().remove("format");
        assert!(!validator(schema).is_valid(&broken), "the schema of {schema} takes a document without `format`");
    }
}

fn validator(schema: &str) -> jsonschema::Validator {
    jsonschema::validator_for(&parse(&root().join(format!("schemas/{schema}.schema.json")))).unwrap()
}

fn parse(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_format_that_was_ever_written_stays_readable() {
    let recorded = root().join("tests/recorded");
    for file in ["manifest-1.json", "manifest-1-live.json", "manifest-1-content.json"] {
        let manifest = fs::read(recorded.join(file)).unwrap();
        let read = Manifest::read(&manifest).unwrap();
        assert_eq!((read.format, read.rows(), read.files.len()), (1, 105, 6), "{file}");
        assert_eq!(read.live.is_some(), file.contains("live"), "{file}");
        assert_eq!(text(&read.write()), text(&manifest), "{file}");
        assert!(validator("manifest").is_valid(&parse(&recorded.join(file))), "{file}");
    }
    for file in ["run-1.json", "run-1-live.json"] {
        let record = fs::read(recorded.join(file)).unwrap();
        let read = RunRecord::read(&record).unwrap();
        assert_eq!((read.format, read.rows(), read.snapshots.len()), (1, 156, 2), "{file}");
        let live = read.snapshots.iter().filter(|snapshot| snapshot.live.is_some()).count();
        assert_eq!(live, if file.contains("live") { 2 } else { 0 }, "{file}");
        assert_eq!(text(&read.write()), text(&record), "{file}");
        assert!(validator("run").is_valid(&parse(&recorded.join(file))), "{file}");
    }
}

#[test]
fn records_of_other_runs_that_were_once_written_stay_readable() {
    let records = [
        ("run-1-archive.json", 666, Some(5)),
        ("run-1-archive-schemas.json", 666, Some(5)),
        ("run-1-archive-types.json", 666, Some(5)),
        ("run-1-skipped.json", 0, None),
        ("run-1-hooks.json", 156, None),
        ("run-1-shard.json", 1388, None),
    ];
    for (file, rows, files) in records {
        let path = root().join("tests/recorded").join(file);
        let record = fs::read(&path).unwrap();
        let read = RunRecord::read(&record).unwrap();
        let archived = read.archive.as_ref().map(|archive| archive.files.len());
        assert_eq!((read.format, read.rows(), archived), (1, rows, files), "{file}");
        assert_eq!(text(&read.write()), text(&record), "{file}");
        assert!(validator("run").is_valid(&parse(&path)), "{file}");
    }
}

#[test]
fn a_drill_record_that_was_once_written_stays_readable() {
    for (file, passed) in [("drill-1.json", true), ("drill-1-failed.json", false)] {
        let path = root().join("tests/recorded").join(file);
        let record = fs::read(&path).unwrap();
        let read = DrillRecord::read(&record).unwrap();
        assert_eq!((read.format, read.passed), (1, passed), "{file}");
        assert_eq!(text(&read.write()), text(&record), "{file}");
        assert!(validator("drill").is_valid(&parse(&path)), "{file}");
    }
}

#[test]
fn a_sample_record_that_was_once_written_stays_readable() {
    let path = root().join("tests/recorded/sample-1.json");
    let record = fs::read(&path).unwrap();
    let read = SampleRecord::read(&record).unwrap();
    assert_eq!((read.format, read.round, read.parts, read.files, read.passed), (1, 2, 4, 3, false));
    assert_eq!(text(&read.write()), text(&record));
    assert!(validator("sample").is_valid(&parse(&path)));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let newer = |file: &str| {
        let text = fs::read_to_string(root().join("tests/recorded").join(file)).unwrap();
        text.replacen("\"format\": 1", "\"format\": 2", 1).into_bytes()
    };
    let manifest = Manifest::read(&newer("manifest-1.json")).unwrap_err().to_string();
    let record = RunRecord::read(&newer("run-1.json")).unwrap_err().to_string();
    let refusal = |document: &str| {
        format!("this {document} has format 2, and this version of hitkeep-plan reads up to 1: use a newer one")
    };
    assert_eq!((manifest, record), (refusal("manifest"), refusal("run record")));
}

#[test]
fn bash_completes_the_words_of_every_verb() {
    let site = bare();
    let script = site.succeed(&["completions", "bash"]).stdout;
    for verb in VERBS {
        let asked = format!(
            "{script}\nCOMP_WORDS=(hitkeep-plan {verb} --hel); COMP_CWORD=2; _hitkeep__plan hitkeep-plan --hel {verb}; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").arg("-c").arg(asked).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "--help\n", "{verb}: {output:?}");
    }
}

#[test]
fn completions_of_every_shell_and_the_manual_know_every_verb() {
    let site = bare();
    let whole = ["bash", "elvish", "fish", "powershell", "zsh"].map(|shell| vec!["completions", shell]);
    for words in whole.iter().chain([&vec!["man"], &vec!["--help"]]) {
        let printed = site.succeed(words).stdout;
        let missing: Vec<&&str> = VERBS.iter().filter(|verb| !printed.contains(**verb)).collect();
        assert!(missing.is_empty(), "{words:?} does not mention {missing:?}");
    }
    for verb in VERBS {
        let page = site.succeed(&["man", verb]).stdout;
        assert!(
            page.contains(&format!(".TH hitkeep\\-plan\\-{verb}")) || page.contains(&format!("hitkeep\\-plan {verb}")),
            "{page}"
        );
    }
    assert_eq!(site.run(&["man", "backup"]).code, 2);
}

#[test]
fn the_whole_manual_is_written_into_a_directory() {
    let site = bare();
    fs::create_dir(site.path("man1")).unwrap();
    site.succeed(&["man", "--to", "man1"]);
    let pages: BTreeSet<String> =
        fs::read_dir(site.path("man1")).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    let verbs = VERBS.iter().map(|verb| format!("hitkeep-plan-{verb}.1"));
    assert_eq!(pages, verbs.chain(["hitkeep-plan.1".to_owned()]).collect());
    let page = fs::read_to_string(site.path("man1/hitkeep-plan-run.1")).unwrap();
    assert_eq!(page, site.succeed(&["man", "run"]).stdout);
    assert!(
        page.contains(concat!(".TH hitkeep-plan-run 1  \"hitkeep-plan ", env!("CARGO_PKG_VERSION"), "\"")),
        "{page}"
    );
    assert_eq!(site.run(&["man", "--to", "man1"]).code, 2, "what is there is not overwritten");
}

#[test]
fn help_fits_a_terminal() {
    let site = bare();
    for (name, words) in [
        ("help", vec!["--help"]),
        ("help-short", vec!["-h"]),
        ("help-run", vec!["run", "--help"]),
        ("help-restore", vec!["restore", "--help"]),
    ] {
        let mut command = site.command(&words);
        command.env("COLUMNS", "80");
        let outcome = Outcome::of(command);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
        golden(&format!("{name}.txt"), &outcome.stdout);
        let wide: Vec<&str> = outcome.stdout.lines().filter(|line| line.chars().count() > 80).collect();
        assert_eq!(wide, Vec::<&str>::new());
    }
}

#[test]
fn a_verb_that_there_is_not_is_answered_with_one_that_there_is() {
    let outcome = bare().run(&["restor", "plan.toml"]);
    golden("unknown-verb.txt", &redact::outcome(&bare(), &outcome));
}

#[test]
fn init_writes_a_plan_that_passes_and_never_over_another() {
    let site = bare();
    let written = site.run(&["init", "new.toml"]);
    let checked = site.run(&["check", "new.toml"]);
    let before = read_tree(&site.path(""));
    let again = site.run(&["init", "new.toml"]);
    assert_eq!(read_tree(&site.path("")), before);
    let story: String = [written, checked, again].iter().map(|outcome| redact::outcome(&site, outcome)).collect();
    golden("init.txt", &story);
}

#[test]
fn a_plan_that_is_no_text_is_told_with_its_line() {
    let site = bare();
    fs::write(site.path("plan.toml"), b"version = 1\n# Sicherung f\xfcr den Server\n").unwrap();
    let told = site.run(&["check", "plan.toml"]);
    let expected = "error: plan.toml:2: this is not UTF-8\n help: save the plan as UTF-8\n";
    assert_eq!((told.code, told.stdout.as_str(), told.stderr.as_str()), (2, "", expected));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let site = Site::with(minimal());
    for words in [
        &["completions", "bash"] as &[&str],
        &["schema", "run"],
        &["run", "plan.toml", "--dry-run"],
        &["run", "plan.toml", "--json"],
        &["list", "plan.toml"],
        &["--help"],
    ] {
        let mut command = site.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), String::new()), "{words:?}");
    }
}
