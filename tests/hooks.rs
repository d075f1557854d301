//! Stories of the commands around a job: in which order they are run, what they know, and what their failures do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hitkeep_plan::demo::Layout;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fixture::{Outcome, PLAN, Running, Site, demo, minimal, read_tree};
use crate::redact::{self, golden};

/// Returns [`PLAN`] with commands around its job. Each is a line for a shell, which notes first in `log` that it was run and
/// what it was told of the end.
fn plan_with(before: &[&str], after: &[&str], failure: &[&str]) -> String {
    let list = |when: &str, lines: &[&str]| {
        let command = |line: &&str| {
            let note = format!("echo {when} $HITKEEP_PLAN_JOB $HITKEEP_PLAN_STATUS $HITKEEP_PLAN_EXIT_CODE >>log");
            json!(["sh", "-c", format!("{note}; {line}")]).to_string()
        };
        format!("{when} = [{}]\n", lines.iter().map(command).collect::<Vec<_>>().join(", "))
    };
    let hooks = [list("before", before), list("after", after), list("failure", failure)].concat();
    PLAN.replace("[local]", &format!("[hooks]\ntimeout = \"1s\"\n{hooks}\n[local]"))
}

/// Returns what the commands of a run noted.
fn log(site: &Site) -> String {
    fs::read_to_string(site.path("log")).unwrap_or_default()
}

/// Returns the record of the only run, without what other stories are about.
fn record(site: &Site) -> Value {
    let records: Vec<Value> = site.state_records().into_values().collect();
    let [record] = &records[..] else { panic!("{records:?}") };
    let kept = ["status", "exit_code", "ended_with", "failures", "hooks"];
    let kept = kept.into_iter().filter_map(|key| Some((key.to_owned(), record.get(key)?.clone())));
    redact::json(site, &kept.collect())
}

/// Tells a run as one text: its outcome, what its commands noted, and its record.
fn story(site: &Site, outcome: &Outcome) -> String {
    format!("{}--- log\n{}--- record\n{:#}\n", redact::outcome(site, outcome), log(site), record(site))
}

#[test]
fn a_dry_run_shows_the_commands_and_runs_none() {
    let site = Site::with(minimal());
    site.write_plan(&plan_with(&["true"], &["true"], &["true", "exit 1"]));
    let before = read_tree(&site.path(""));
    golden("hooks-dry-run.txt", &redact::outcome(&site, &site.run(&["run", "plan.toml", "--dry-run"])));
    assert!(read_tree(&site.path("")) == before);
}

#[test]
fn commands_are_run_around_a_job_however_it_ends() {
    let lost = |plan: String| plan.replace("\"data\"", "\"nowhere\"");
    let missing = plan_with(&[], &["true"], &[]).replace("[hooks]\n", "[hooks]\nbefore = [[\"./missing\", \"x\"]]\n");
    let missing = missing.replace("before = []\n", "");
    let cases = [
        ("all is well", plan_with(&["echo stopped", "echo checked >&2"], &["echo started"], &["true"])),
        ("one before it skips it", plan_with(&["exit 75", "true"], &["true"], &["true"])),
        ("one before it fails", plan_with(&["echo no such unit >&2; exit 3", "true"], &["true"], &["true"])),
        ("one before it is not there", missing),
        ("one before it is killed", plan_with(&["kill -9 $$"], &["true"], &["true"])),
        ("the job fails", lost(plan_with(&["true"], &["true"], &["true"]))),
        ("those after it fail", plan_with(&["true"], &["exit 5", "exit 6"], &["true"])),
        ("those for a failure fail", lost(plan_with(&["true"], &["true"], &["exit 7", "exit 8"]))),
    ];
    let mut all = String::new();
    for (case, plan) in cases {
        let site = Site::with(minimal());
        site.write_plan(&plan);
        writeln!(all, "== {case}\n{}", story(&site, &site.run(&["run", "plan.toml"]))).unwrap();
        let is_sealed = site.path("backups/hitkeep/runs").exists();
        assert_eq!(is_sealed, ["all is well", "those after it fail"].contains(&case), "{case}");
    }
    golden("hooks.txt", &all);
}

/// Tells whether a process is at work; one that has ended and is not yet reaped is not.
fn is_alive(id: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id.trim()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[test]
fn a_command_that_takes_too_long_is_stopped_with_all_that_it_started() {
    let polite = "sleep 60 & echo $! >child; echo waiting; wait";
    let deaf =
        "trap '' TERM; (trap '' TERM; sleep 60; sleep 60) & echo $! >child; echo waiting; while true; do sleep 1; done";
    for (case, line) in [("polite", polite), ("deaf", deaf)] {
        let site = Site::with(minimal());
        site.write_plan(&plan_with(&[line], &["true"], &["true"]));
        let outcome = site.run(&["run", "plan.toml"]);
        let record = record(&site);
        let hook = &record["hooks"][0];
        let (ended, output) = (hook["ended"].as_str().unwrap(), hook["output"].as_str().unwrap());
        assert_eq!((outcome.code, ended, output), (1, "was stopped after 1s", "waiting"), "{case}: {outcome:?}");
        assert_eq!(log(&site), "before nightly\nafter nightly failure 1\nfailure nightly failure 1\n", "{case}");
        assert_eq!((&record["status"], &record["exit_code"]), (&json!("failed"), &json!(1)), "{case}");
        assert!(!is_alive(&fs::read_to_string(site.path("child")).unwrap()), "{case}");
    }
}

#[test]
fn what_goes_on_in_the_background_is_not_waited_for() {
    let site = Site::with(minimal());
    site.write_plan(&plan_with(&["sleep 30 & echo $! >child; echo started"], &[], &[]));
    let outcome = site.succeed(&["run", "plan.toml"]);
    let child = fs::read_to_string(site.path("child")).unwrap();
    assert!(is_alive(&child), "it was left alone: {outcome:?}");
    let hook = &record(&site)["hooks"][0];
    assert_eq!((&hook["ended"], &hook["output"]), (&json!("exited with 0"), &json!("started")));
    rustix::process::kill_process(rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap(), Signal::KILL)
        .unwrap();
}

#[test]
fn the_end_of_what_a_command_writes_is_kept() {
    let site = Site::with(minimal());
    let line = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf 'half a line'";
    site.write_plan(&plan_with(&[], &[line], &[]));
    site.succeed(&["run", "plan.toml"]);
    let record = record(&site);
    let output = record["hooks"][0]["output"].as_str().unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines[0], lines.last()), ("…", Some(&"half a line")), "{output}");
    let first: usize = lines[1].strip_prefix("line ").unwrap().parse().unwrap();
    let expected: Vec<String> = (first..3000).map(|i| format!("line {i}")).collect();
    assert_eq!(lines[1..lines.len() - 1], expected, "whole lines, none missing");
    assert!((3800..4200).contains(&output.len()), "{}", output.len());
}

#[test]
fn a_job_that_is_stopped_is_followed_by_its_commands() {
    let site = Site::with(demo(Layout::Joined));
    site.write_plan(&plan_with(&["true"], &["true"], &["true"]));
    let mut running = Running::start(site.command(&["run", "plan.toml", "--json"]));
    running.wait_for_task("export");
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, 143);
    assert_eq!(log(&site), "before nightly\nafter nightly failure 143\nfailure nightly failure 143\n");
    assert_eq!((record(&site)["status"].clone(), record(&site)["exit_code"].clone()), (json!("failed"), json!(143)));
}

#[test]
fn a_command_before_a_job_is_stopped_by_a_signal_and_followed_all_the_same() {
    let site = Site::with(minimal());
    let plan = plan_with(&["sleep 60 & wait"], &["true"], &["true"]).replace("\"1s\"", "\"1m\"");
    site.write_plan(&plan);
    let running = Running::start(site.command(&["run", "plan.toml", "--json"]));
    while log(&site).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    running.signal(Signal::INT);
    let outcome = running.end();
    assert_eq!((outcome.code, outcome.stdout.contains("run-started")), (130, false), "{outcome:?}");
    assert_eq!(log(&site), "before nightly\nafter nightly failure 130\nfailure nightly failure 130\n");
    assert_eq!(record(&site)["hooks"][0]["ended"], "was stopped: interrupted");
}

#[test]
fn commands_know_their_run_and_none_of_the_plans_secrets() {
    let site = Site::with(minimal());
    let plan = plan_with(&["env | sort >environment"], &[], &[]);
    let buckets = "url = \"backups\"

[destination.bucket]
url = \"s3://bucket/x\"
region = \"eu-central-1\"
access_key_id = { env = \"KEY_ID\" }
secret_access_key = { env = \"KEY_SECRET\" }

[destination.fallback]
url = \"s3://another/x\"
region = \"eu-central-1\"
";
    site.write_plan(&plan.replace("url = \"backups\"\n", buckets));
    let mut command = site.command(&["run", "plan.toml"]);
    command
        .env("KEY_ID", "marker-id")
        .env("KEY_SECRET", "marker-secret")
        .env("HITKEEP_S3_ACCESS_KEY_ID", "marker-id")
        .env("HITKEEP_S3_SECRET_ACCESS_KEY", "marker-secret")
        .env("PATH", "/usr/bin:/bin")
        .env("OTHER", "theirs");
    let outcome = Outcome::of(command);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let environment = fs::read_to_string(site.path("environment")).unwrap();
    let run = site.state_records().into_values().next().unwrap()["run"].as_str().unwrap().to_owned();
    let expected = format!(
        "HITKEEP_PLAN_JOB=nightly\nHITKEEP_PLAN_PLAN=plan\nHITKEEP_PLAN_RUN={run}\nHOME={home}\nLANG=C.UTF-8\nOTHER=theirs\n\
         PATH=/usr/bin:/bin\nPWD={folder}\nSTATE_DIRECTORY={state}\n",
        home = site.path("home").display(),
        folder = site.path("").display().to_string().trim_end_matches('/'),
        state = site.path("state").display(),
    );
    let told = environment.lines().filter(|line| !line.starts_with("SHLVL=") && !line.starts_with("_="));
    assert_eq!(told.flat_map(|line| [line, "\n"]).collect::<String>(), expected);
}

#[test]
fn the_service_of_a_plan_may_do_what_stands_around_its_jobs() {
    let site = Site::with(minimal());
    let service = |plan: &str| {
        site.write_plan(&plan.replace("to = [", "schedule = \"@daily\"\nto = ["));
        let printed = site.succeed(&["units", "plan.toml", "--systemd"]).stdout;
        printed.lines().map(|line| redact::text(&site, line)).collect::<Vec<_>>()
    };
    let plain = service(PLAN);
    let around = "[notify.watch]\nhealthchecks = { env = \"HC\" }\n\n[metrics]\ntextfile = \"textfiles/x.prom\"\n\n";
    let whole = service(&plan_with(&["true"], &["true"], &[]).replace("[hooks]", &format!("{around}[hooks]")));
    let added: Vec<&String> = whole.iter().filter(|line| !plain.contains(line)).collect();
    let expected = [
        "After=local-fs.target network-online.target",
        "Wants=network-online.target",
        "# A command before a job has skipped it.",
        "SuccessExitStatus=75",
        "ReadWritePaths=[SITE]/textfiles",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    ];
    assert_eq!(added, expected);
}
