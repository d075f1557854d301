//! What the README shows is what happens: its plans are read, its console blocks are typed, its table is generated.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use hitkeep_plan::plan::{self, Plan, Surroundings};
use snapbox::{Assert, IntoData};

const README: &str = include_str!("../README.md");

/// The plan that the README shows being refused.
const BROKEN: &str = "version = 1\n\n[source.main]\ndata_path = \"/var/lib/hitkeep/data\"\n\n[destination.disk]\nurl = \"/srv/hitkeep\"\n\n[backup.nightly]\nsource = \"mian\"\nto = [\"disk\"]\n";

/// Returns the texts of the fenced blocks in this language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A command of a console block: its words, the exit code behind `?` (0 without), and the output that is shown.
fn commands(block: &str) -> Vec<(Vec<String>, i32, String)> {
    let commands = block.split("$ ").skip(1).map(|command| {
        let (line, output) = command.split_once('\n').unwrap();
        let line = line.replace("cargo run --release --", "hitkeep-plan");
        let words = line.split_whitespace().skip(1).map(str::to_owned).collect();
        match output.strip_prefix("? ").and_then(|rest| rest.split_once('\n')) {
            Some((code, output)) => (words, code.parse().unwrap(), output.to_owned()),
            None => (words, 0, output.to_owned()),
        }
    });
    commands.collect()
}

fn run(folder: &Path, words: &[String]) -> (i32, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_hitkeep-plan")).args(words).current_dir(folder).output().unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    (ran.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn every_command_does_what_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.toml"), BROKEN).unwrap();
    let blocks = blocks("console");
    assert_eq!(blocks.len(), 6, "a block was added or lost");
    for (words, code, shown) in blocks.into_iter().flat_map(commands) {
        let (found_code, found) = run(folder.path(), &words);
        assert_eq!(found_code, code, "{words:?}: {found}");
        Assert::new().eq(found, shown.into_data());
    }
}

#[test]
fn every_plan_is_taken() {
    let around = Surroundings {
        host: "fra1".to_owned(),
        directory: "/etc/hitkeep-plan".into(),
        variables: [("HOME".to_owned(), "/root".to_owned())].into(),
        real_path: Path::to_owned,
    };
    for text in blocks("toml") {
        if let Err(rejected) = Plan::read(text, "plan.toml", &around) {
            panic!("{}", rejected.problems().json());
        }
    }
}

#[test]
fn the_reference_is_generated() {
    let between = |text: &str| {
        let (before, rest) = text.split_once("<!-- reference -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- /reference -->").unwrap();
        format!("{before}<!-- reference -->\n{}<!-- /reference -->{after}", plan::reference())
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    if std::env::var("SNAPSHOTS").is_ok_and(|mode| mode == "overwrite") {
        std::fs::write(path, between(README)).unwrap();
    } else {
        assert_eq!(README, between(README), "`SNAPSHOTS=overwrite cargo test --release` rewrites it");
    }
}
