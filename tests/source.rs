//! The story of the source: whatever is done with a plan, not a byte of an installation is written.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use duckdb::Connection;
use hitkeep_plan::demo::Layout;
use hitkeep_plan::measure::Sha256;
use rustix::process::Signal;

use crate::fixture::{PLAN, Running, Site, demo, walk};

/// Everything in the data path, folders too: contents and the times of their last change.
pub(crate) fn state(site: &Site) -> BTreeMap<PathBuf, (Option<Sha256>, SystemTime)> {
    let mut state = BTreeMap::new();
    walk(&site.path("data"), &mut |path| {
        let content = path.is_file().then(|| Sha256::of(&fs::read(path).unwrap()));
        state.insert(path.to_owned(), (content, fs::metadata(path).unwrap().modified().unwrap()));
    });
    let folder = site.path("data");
    let changed = fs::metadata(&folder).unwrap().modified().unwrap();
    state.insert(folder, (None, changed));
    state
}

/// Adds a page view that only the write-ahead log of the shared database knows, as a HitKeep that crashed leaves it.
fn leave_a_log(site: &Site) {
    let shared = Connection::open(site.path("data/hitkeep.db")).unwrap();
    shared
        .execute_batch(
            "PRAGMA disable_checkpoint_on_shutdown; CREATE TABLE late (x INTEGER); INSERT INTO late VALUES (7);",
        )
        .unwrap();
    drop(shared);
    assert!(fs::metadata(site.path("data/hitkeep.db.wal")).unwrap().len() > 0, "there is no log to look at");
}

#[test]
fn a_source_is_only_ever_read() {
    for with_log in [false, true] {
        let site = Site::with(demo(Layout::Joined));
        if with_log {
            leave_a_log(&site);
        }
        let before = state(&site);
        for (code, words) in [
            (0, &["check", "plan.toml"][..]),
            (0, &["show", "plan.toml"]),
            (0, &["run", "plan.toml", "--dry-run"]),
            (0, &["run", "plan.toml"]),
            (0, &["list", "plan.toml"]),
            (0, &["list", "plan.toml", "latest"]),
            (0, &["verify", "plan.toml"]),
            (0, &["restore", "plan.toml", "--to", "restored"]),
            (0, &["restore", "plan.toml", "--to", "data", "--yes", "--dry-run"]),
            (9, &["restore", "plan.toml", "--to", "data"]),
        ] {
            let outcome = site.run(words);
            assert_eq!(outcome.code, code, "{words:?}: {outcome:?}");
            assert!(state(&site) == before, "{words:?} wrote to the source");
        }
        let late =
            Connection::open(site.path("restored/hitkeep.db")).unwrap().query_row("FROM late", [], |row| row.get(0));
        assert_eq!(late.ok(), with_log.then_some(7), "what the log knew is in the backup");
    }
}

#[test]
fn a_run_that_fails_or_is_killed_leaves_the_source_alone() {
    let site = Site::with(demo(Layout::Joined));
    leave_a_log(&site);
    let before = state(&site);
    for (signal, code) in [(Signal::INT, 130), (Signal::KILL, -9)] {
        let mut running = Running::start(site.command(&["run", "plan.toml", "--json"]));
        running.wait_for_task("export");
        running.signal(signal);
        let outcome = running.end();
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(state(&site) == before, "signal {signal:?} wrote to the source");
    }
    fs::write(site.path("in-the-way"), "x").unwrap();
    site.write_plan(&PLAN.replace("\"backups\"", "\"in-the-way\""));
    assert_eq!(site.run(&["run", "plan.toml"]).code, 5);
    assert!(state(&site) == before, "a failing run wrote to the source");
}
