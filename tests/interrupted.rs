//! Stories of a restore that is killed: whoever opens what it leaves sees everything as it was, or everything new, or an
//! error, and the same restore finishes it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::{LONG, Outcome, Running, Site, TENANT, Tree, fill, minimal, names, read_tree, write_tree};
use crate::kill::{Dice, make_old};
use crate::redact::{self, golden};
use crate::signals::stopped_at;

/// What the restore is asked for.
const RESTORE: [&str; 6] = ["restore", "plan.toml", "--to", "data", "--yes", "--json"];

/// What an engine makes of a whole installation.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    /// As it was, with what was in the logs only.
    Old,
    /// As in the set.
    New,
    /// A database is refused.
    Refused(String),
}

/// Returns an installation with a set that is older than it, and the installation's files: each database has rows that
/// the set lacks, one of them in its log only.
fn changed() -> (Site, Tree) {
    changed_from(Site::with(minimal()))
}

fn changed_from(site: Site) -> (Site, Tree) {
    site.succeed(&["run", "plan.toml"]);
    for database in databases() {
        let engine = duckdb::Connection::open(site.path("data").join(database)).unwrap();
        let insert = |id, domain| format!("INSERT INTO sites VALUES ({id}, '{domain}');");
        let in_log = "PRAGMA disable_checkpoint_on_shutdown;";
        let changes = [&insert(98, "in.the.file"), "CHECKPOINT;", in_log, &insert(99, "in.the.log")].concat();
        engine.execute_batch(&changes).unwrap();
    }
    let tree = read_tree(&site.path("data"));
    assert_eq!(tree.len(), 4, "each has a log: {:?}", tree.keys());
    (site, tree)
}

fn databases() -> [String; 2] {
    ["hitkeep.db".to_owned(), format!("tenants/{TENANT}/hitkeep.db")]
}

/// Tells which of the rows that the set lacks a database has.
fn extra_rows(database: &Path) -> Result<Vec<i32>, duckdb::Error> {
    let engine = duckdb::Connection::open(database)?;
    let mut rows = engine.prepare("SELECT id FROM sites WHERE id >= 98 ORDER BY id")?;
    rows.query_map([], |row| row.get(0))?.collect()
}

/// Opens copies of the databases of an installation.
fn look(data: &Path) -> Seen {
    let copy = tempfile::tempdir().unwrap();
    write_tree(copy.path(), &read_tree(data));
    let mut states = Vec::new();
    for database in databases() {
        match extra_rows(&copy.path().join(&database)) {
            Err(error) => return Seen::Refused(error.to_string()),
            Ok(rows) if rows == [98, 99] => states.push(Seen::Old),
            Ok(rows) => {
                assert_eq!(rows, Vec::<i32>::new(), "{database} is old, and has lost its log: {:?}", names(data));
                states.push(Seen::New);
            }
        }
    }
    assert_eq!(states[0], states[1], "one is old and the other is new: {:?}", names(data));
    states.remove(0)
}

/// Looks at what a killed restore has left, finishes it, and looks again: the old databases are still to be had.
fn look_and_finish(site: &Site, about: &str) -> Seen {
    let data = site.path("data");
    let left = look(&data);
    if let Seen::Refused(error) = &left {
        assert!(error.contains("not a valid DuckDB database file"), "{about}: {error}");
    }
    let finished = site.run(&RESTORE);
    assert_eq!(finished.code, 0, "{about}, then {left:?}: {finished:?}");
    assert_eq!(look(&data), Seen::New, "{about}, then {left:?}: {:?}", names(&data));

    let copy = tempfile::tempdir().unwrap();
    write_tree(copy.path(), &read_tree(&data));
    for database in databases() {
        let asides = names(copy.path())
            .into_iter()
            .filter(|name| name.starts_with(&format!("{database}.pre-restore.")) && name.ends_with('Z'));
        let is_old = |name: String| extra_rows(&copy.path().join(name)).is_ok_and(|rows| rows == [98, 99]);
        assert!(asides.into_iter().any(is_old), "{about}, then {left:?}: {database}: {:?}", names(&data));
    }
    left
}

/// Puts an installation's files back as they were.
fn reset(site: &Site, tree: &Tree) {
    fs::remove_dir_all(site.path("data")).unwrap();
    write_tree(&site.path("data"), tree);
}

/// Runs the restore until it makes a system call for the `nth` time, and does to it there what `inject` says.
fn injected(site: &Site, call: &str, inject: &str, nth: u32) -> Outcome {
    let program = site.command(&RESTORE);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:{inject}:when={nth}"), "--"]);
    command.arg(program.get_program()).args(program.get_args()).current_dir(site.path("")).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = Outcome::of(command);
    assert!(!outcome.stderr.contains("strace:"), "{outcome:?}");
    outcome
}

fn has_strace() -> bool {
    let is_there = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    if !is_there {
        redact::skipped("a restore that is killed at a certain system call needs strace");
    }
    is_there
}

#[test]
fn a_restore_that_is_killed_at_any_change_leaves_nothing_half() {
    if !has_strace() {
        return;
    }
    let (site, tree) = changed();
    let mut met = Vec::new();
    for call in ["linkat", "rename", "unlink"] {
        for nth in 1.. {
            reset(&site, &tree);
            let outcome = injected(&site, call, "signal=KILL", nth);
            let about = format!("{call} {nth}");
            if outcome.code == 0 {
                assert!(nth > 2, "{about}: it was not killed");
                break;
            }
            assert_eq!(outcome.code, -9, "{about}: {outcome:?}");
            met.push(look_and_finish(&site, &about));
        }
    }
    let refused = met.iter().filter(|seen| matches!(seen, Seen::Refused(_))).count();
    assert!(met.contains(&Seen::Old) && met.contains(&Seen::New) && refused > 4, "{met:?}");
}

#[test]
fn a_restore_that_is_killed_at_any_moment_leaves_nothing_half() {
    let (site, tree) = changed();
    let begun = Instant::now();
    site.succeed(&RESTORE);
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let mut dice = Dice(20_260_309);
    for kill in 1..=30 {
        reset(&site, &tree);
        let mut running = Running::start(site.command(&RESTORE));
        if dice.below(2) == 0 {
            std::thread::sleep(Duration::from_micros(dice.below(micros)));
        } else {
            running.wait_for_task("place");
            std::thread::sleep(Duration::from_micros(dice.below(3000)));
        }
        running.signal(Signal::KILL);
        let outcome = running.end();
        let about = format!("kill {kill}");
        assert!([0, -9].contains(&outcome.code), "{about}: {outcome:?}");
        look_and_finish(&site, &about);
    }
}

#[test]
fn what_cannot_be_placed_leaves_everything_as_it_was() {
    if !has_strace() {
        return;
    }
    let (site, tree) = changed();
    for (call, error, least) in
        [("linkat", "ENOSPC", 8), ("rename", "EIO", 4), ("unlink", "EACCES", 2), ("fsync", "EIO", 8)]
    {
        for nth in 1.. {
            reset(&site, &tree);
            let outcome = injected(&site, call, &format!("error={error}"), nth);
            if outcome.code == 0 {
                assert!(nth > least, "{call} {nth} did not fail: {outcome:?}");
                break;
            }
            assert!(outcome.stdout.contains("nothing was replaced"), "{call} {nth}: {outcome:?}");
            assert_eq!(outcome.code, 1, "{call} {nth}: {outcome:?}");
            let mut left = read_tree(&site.path("data"));
            // What could not be removed once is swept by the next restore.
            left.retain(|name, _| !name.to_string_lossy().contains(".restore-"));
            assert!(left == tree, "{call} {nth}: {outcome:?}, {:?}", names(&site.path("data")));
        }
    }
}

#[test]
fn what_an_interrupted_restore_leaves_says_what_to_do() {
    if !has_strace() {
        return;
    }
    let (site, _) = changed();
    let killed = injected(&site, "rename", "signal=KILL", 3);
    assert_eq!(killed.code, -9, "{killed:?}");
    let read = |name: &str| fs::read_to_string(site.path("data").join(name)).unwrap();
    let guard = read("hitkeep.db");
    let asides: Vec<PathBuf> = read_tree(&site.path("data")).into_keys().collect();
    let again = site.run(&["restore", "plan.toml", "--to", "data", "--dry-run"]);
    golden("restore-guard.txt", &redact::text(&site, &format!("{guard}\n# again\n{}", again.stdout)));
    site.succeed(&["restore", "plan.toml", "--to", "data"]);
    let lost: Vec<&PathBuf> = asides
        .iter()
        .filter(|aside| aside.to_string_lossy().contains("pre-restore") && !site.path("data").join(aside).exists())
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(look(&site.path("data")), Seen::New);
}

#[test]
fn what_a_killed_restore_leaves_is_swept_and_what_a_living_one_uses_is_not() {
    let site = Site::with(minimal());
    fill(&site.path("data/hitkeep.db"), LONG);
    let (site, _) = changed_from(site);
    let temporary =
        || -> Vec<String> { names(&site.path("data")).into_iter().filter(|name| name.contains(".restore-")).collect() };
    let killed = stopped_at(&site, &RESTORE, "load", Signal::KILL);
    assert_eq!(killed.code, -9, "{killed:?}");
    let dead = temporary();
    assert!(dead.iter().any(|name| name.ends_with(".parquet")), "{dead:?}");
    make_old(&site.path("data"));

    let mut living = Running::start(site.command(&RESTORE));
    living.wait_for_task("load");
    living.signal(Signal::STOP);
    let used = temporary();
    assert!(!used.is_empty() && !used.iter().any(|name| dead.contains(name)), "{dead:?} are left: {used:?}");
    make_old(&site.path("data"));
    let refused = site.run(&RESTORE);
    assert_eq!((refused.code, temporary()), (9, used), "{refused:?}");
    living.signal(Signal::KILL);
    living.signal(Signal::CONT);
    assert_eq!(living.end().code, -9);
    make_old(&site.path("data"));
    site.succeed(&["restore", "plan.toml", "--to", "data", "--yes", "--dry-run"]);
    assert!(!temporary().is_empty(), "a dry run touches nothing");
    site.succeed(&RESTORE);
    assert_eq!(temporary(), Vec::<String>::new());
}
