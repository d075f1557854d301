//! Stories of work that is told to stop: it stops at once, says so, and leaves nothing behind.
//!
//! A signal is sent when the program says on standard output that a task begins, so that it always comes in the
//! middle of that task or of one that follows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::future::ready;
use std::time::Duration;

use hitkeep_plan::demo::Layout;
use hitkeep_plan::duck::export::{self, Form};
use hitkeep_plan::duck::{self, Database, DuckError, Limits, Session};
use hitkeep_plan::measure::Bytes;
use hitkeep_plan::plan::Codec;
use rustix::process::Signal;

use crate::fixture::{Outcome, PLAN, Running, Site, Tree, demo, names, read_tree};

/// Starts the program with `words`, and signals it when it says that a task begins whose title has this first word.
pub(crate) fn stopped_at(site: &Site, words: &[&str], task: &str, signal: Signal) -> Outcome {
    let mut running = Running::start(site.command(words));
    running.wait_for_task(task);
    running.signal(signal);
    running.end()
}

/// Reads what lies at the destination, apart from the lock, which names whoever had it last.
fn stored(site: &Site) -> Tree {
    let mut tree = read_tree(&site.path("backups"));
    tree.retain(|name, _| !name.ends_with(".lock"));
    tree
}

/// Returns the records of runs that failed, as words: status, exit code, first cause.
fn failed_records(site: &Site) -> Vec<(u64, String)> {
    let records = site.state_records().into_values();
    let failed = records.filter(|record| record["status"] == "failed");
    let words = failed.map(|record| {
        let cause = record["failures"][0]["cause"].as_str().unwrap_or("none").to_owned();
        (record["exit_code"].as_u64().unwrap(), cause)
    });
    words.collect()
}

#[test]
fn a_run_that_is_stopped_seals_nothing_and_leaves_nothing() {
    let cases = [
        ("announce", Signal::INT, 130, "interrupted"),
        ("export", Signal::INT, 130, "interrupted"),
        ("store", Signal::TERM, 143, "terminated"),
        ("check", Signal::INT, 130, "interrupted"),
        ("describe", Signal::TERM, 143, "terminated"),
    ];
    for (task, signal, code, word) in cases {
        let site = Site::with(demo(Layout::Joined));
        site.succeed(&["run", "plan.toml"]);
        let (sets, before) = (site.sets(), stored(&site));

        let outcome = stopped_at(&site, &["run", "plan.toml", "--json"], task, signal);

        assert_eq!(outcome.code, code, "{task}: {outcome:?}");
        assert!(outcome.stderr.contains(word), "{task}: {outcome:?}");
        assert_eq!(site.sets(), sets, "{task}: the sets are those of before");
        assert!(
            stored(&site) == before,
            "{task}: files of the unfinished set stay: {:?}",
            names(&site.path("backups"))
        );
        assert_eq!(names(&site.path("staging")), Vec::<String>::new(), "{task}: staging");
        let [(recorded, cause)] = &failed_records(&site)[..] else { panic!("{task}: {:?}", site.state_records()) };
        assert_eq!((i32::try_from(*recorded).unwrap(), cause.as_str()), (code, word), "{task}");

        site.succeed(&["run", "plan.toml"]);
        assert_eq!(site.sets().len(), sets.len() + 1, "{task}: the next run seals");
    }
}

#[test]
fn a_run_that_takes_too_long_is_stopped_the_same_way() {
    let site = Site::with(demo(Layout::Joined));
    site.write_plan(&PLAN.replace("prefix =", "timeout = \"5s\"\nprefix ="));
    let mut running = Running::start(site.command(&["run", "plan.toml", "--json"]));
    running.wait_for_task("announce");
    running.signal(Signal::STOP);
    // Not to wait for something, but to let the time go by that the job has.
    std::thread::sleep(Duration::from_millis(5100));
    running.signal(Signal::CONT);
    let outcome = running.end();

    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(site.sets(), []);
    assert_eq!(names(&site.path("staging")), Vec::<String>::new());
    assert_eq!(names(&site.path("backups/hitkeep")), [".lock"]);
    assert_eq!(failed_records(&site), [(1, "not done within the job's `timeout` of 5s".to_owned())]);
}

#[test]
fn a_signal_ends_all_jobs_and_not_only_the_one_at_hand() {
    let site = Site::with(demo(Layout::Joined));
    let second = "[backup.second]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"second\"\n\n[local]";
    site.write_plan(&PLAN.replace("[local]", second));
    let outcome = stopped_at(&site, &["run", "plan.toml", "--json"], "export", Signal::INT);
    let begun = outcome.stdout.matches(r#""event":"run-started""#).count();
    assert_eq!((outcome.code, begun, site.path("backups/second").exists()), (130, 1, false), "{outcome:?}");

    site.succeed(&["run", "plan.toml"]);
    let outcome = stopped_at(&site, &["verify", "plan.toml", "--json"], "verify", Signal::TERM);
    let begun = outcome.stdout.matches(r#""event":"run-started""#).count();
    assert_eq!((outcome.code, begun), (143, 1), "{outcome:?}");
}

#[test]
fn a_restore_that_is_stopped_leaves_its_target_as_it_was() {
    let site = Site::with(demo(Layout::Joined));
    site.succeed(&["run", "plan.toml"]);
    for (task, signal, code) in [("fetch", Signal::INT, 130), ("load", Signal::TERM, 143)] {
        let words = ["restore", "plan.toml", "--to", "new/place", "--json"];
        let outcome = stopped_at(&site, &words, task, signal);
        assert_eq!(outcome.code, code, "{task}: {outcome:?}");
        assert_eq!(names(&site.path("new")), Vec::<String>::new(), "{task}: a place that was not there");

        let before = read_tree(&site.path("data"));
        let words = ["restore", "plan.toml", "--to", "data", "--yes", "--json"];
        let outcome = stopped_at(&site, &words, task, signal);
        assert_eq!(outcome.code, code, "{task}: {outcome:?}");
        assert!(read_tree(&site.path("data")) == before, "{task}: {:?}", names(&site.path("data")));
    }
    site.succeed(&["restore", "plan.toml", "--to", "new/place"]);
}

/// The engine forgets an interruption that comes between two of its statements: it must be told again.
#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_was_given_early_still_stops_an_export() {
    let site = Site::with(demo(Layout::Joined));
    let limits = Limits { memory: Bytes(256 << 20), most: Bytes(256 << 20), spill: site.path("spill") };
    let (source, into) = (Database::Source(site.path("data/hitkeep.db")), site.path("export"));
    fs::create_dir(&into).unwrap();
    let form = Form { codec: Codec::Zstd, is_repeatable: false };
    let export = move |session: &Session| export::export(session, &source, &into, form);
    let ended = duck::enter(&limits, ready(()), export).await;
    assert!(matches!(ended, Err(DuckError::Interrupted { .. })), "{ended:?}");
}
