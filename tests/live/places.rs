//! Where a log lies depends on the name that a database was opened by, and on the engine: it is found, or the capture is
//! refused.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;

use hitkeep_plan::duck::capture::{CaptureError, capture, look};
use jiff::Timestamp;

use super::engine::{Engine, Kind};
use super::faults::{Mounted, call};
use super::{PATIENCE, Place, forget, number};
use crate::redact::{golden, skipped};

const ENGINES: &[Kind] = &[Kind::Wheel("1.4.4"), Kind::Wheel("1.5.4"), Kind::Wheel("2.0.0"), Kind::Linked];

const COUNT: &str = "SELECT count(*) FROM t";

/// What is arranged around the file `real/live.db`, how the server calls it, and how the plan does.
type Case = (&'static str, fn(&Place), &'static str, &'static str);

const CASES: &[Case] = &[
    ("opened and named by a link", link, "link/live.db", "link/live.db"),
    ("opened by a link, named as it is", link, "link/live.db", "real/live.db"),
    ("opened as it is, named by a link", link, "real/live.db", "link/live.db"),
    ("opened and named by way of a linked folder", link_folder, "folder/live.db", "folder/live.db"),
    ("opened by way of a linked folder, named as it is", link_folder, "folder/live.db", "real/live.db"),
    ("opened and named by one of two names", link_hard, "real/live.db", "real/live.db"),
    ("opened by one of two names, named by the other", link_hard, "hard/live.db", "real/live.db"),
];

fn link(place: &Place) {
    fs::create_dir(place.path("link")).unwrap();
    symlink("../real/live.db", place.path("link/live.db")).unwrap();
}

fn link_folder(place: &Place) {
    symlink("real", place.path("folder")).unwrap();
}

fn link_hard(place: &Place) {
    fs::create_dir(place.path("hard")).unwrap();
    fs::hard_link(place.path("real/live.db"), place.path("hard/live.db")).unwrap();
}

/// Makes `real/live.db` with five rows, and nothing in a log.
fn fill(place: &Place, kind: Kind) -> Option<()> {
    fs::create_dir(place.path("real")).unwrap();
    let (engine, [first]) = Engine::start::<1>(kind, &place.path("real/live.db"))?;
    first.must("CREATE TABLE t AS SELECT range AS a FROM range(5); CHECKPOINT;");
    engine.close();
    Some(())
}

/// Opens the database by a name, and commits five rows more, which are in its log only.
fn write(place: &Place, kind: Kind, by: &str) -> Option<Engine> {
    let (engine, [first]) = Engine::start::<1>(kind, &place.path(by))?;
    first.must("INSERT INTO t SELECT range FROM range(5);");
    Some(engine)
}

/// Captures the database that is called so, and says what came of it.
fn told(place: &Place, named: &str) -> String {
    forget(&place.copy());
    let path = place.path(named);
    let shown = |text: String| text.replace(&place.path("").display().to_string(), "");
    match capture(&path, &place.copy(), &PATIENCE, &Timestamp::now, &|| false) {
        Ok(_) => {
            look(&path).unwrap();
            format!("{} rows", number(&place.copy(), COUNT).unwrap())
        }
        Err(error) => {
            assert_eq!(look(&path).unwrap_err().to_string(), error.to_string(), "a look says the same");
            assert!(!place.copy().exists());
            match error {
                CaptureError::LogElsewhere { log, .. } => shown(format!("refused, its log is {}", log.display())),
                error => shown(format!("refused, {error}")),
            }
        }
    }
}

#[test]
fn a_log_is_found_wherever_it_lies_or_the_capture_is_refused() {
    let mut all = String::new();
    for (what, arrange, opened, named) in CASES {
        writeln!(all, "{what}").unwrap();
        for kind in ENGINES {
            let place = Place::new();
            let Some(()) = fill(&place, *kind) else { return };
            arrange(&place);
            let Some(engine) = write(&place, *kind, opened) else { return };
            writeln!(all, "  {:<8} {}", kind.name(), told(&place, named)).unwrap();
            engine.kill();
            writeln!(all, "  {:<8} {}", "killed", told(&place, named)).unwrap();
        }
    }
    golden("live-places.txt", &all);
}

#[test]
fn a_file_that_is_mounted_by_itself_is_refused_where_its_log_is_elsewhere() {
    let place = Place::new();
    let Some(()) = fill(&place, Kind::Linked) else { return };
    fs::create_dir(place.path("inside")).unwrap();
    let inside = place.path("inside/live.db");
    File::create(&inside).unwrap();
    let _mounted =
        match call("mount", &["--bind", place.path("real/live.db").to_str().unwrap(), inside.to_str().unwrap()]) {
            Ok(()) => Mounted(&inside),
            Err(cause) => return skipped(&format!("no file can be mounted by itself: {cause}")),
        };
    let Some(engine) = write(&place, Kind::Linked, "inside/live.db") else { return };
    assert_eq!(told(&place, "real/live.db"), "refused, its log is inside/live.db.wal");
    assert_eq!(told(&place, "inside/live.db"), "10 rows");
    drop(engine);
}
