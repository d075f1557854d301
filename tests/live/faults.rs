//! What is wrong with a database or with the place of its copy, and what comes between: each is told with what was seen,
//! where, and what to do, and leaves nothing that could be taken for a copy.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hitkeep_plan::duck::capture::{CaptureError, Patience, capture, look};
use jiff::Timestamp;

use super::engine::{Engine, Kind};
use super::{PATIENCE, Place, forget, log_of, number, opened};
use crate::fixture::{Outcome, as_nobody};
use crate::redact::golden;

const SOURCE: &str = "HITKEEP_PLAN_TEST_SOURCE";
const HEADERS: usize = 12_288;

/// Makes a database of a few megabytes, nothing of which is in its log only.
fn filled(path: &Path) {
    let sql = "CREATE TABLE t AS SELECT range AS k, hash(range) AS h FROM range(130000); CHECKPOINT;";
    opened(path).unwrap().execute_batch(sql).unwrap();
}

/// Changes bytes of a file.
fn write_at(path: &Path, bytes: &[u8], at: u64) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// Writes the checksums that belong to the headers.
fn seal_headers(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    for at in [0, 4096, 8192] {
        let mut page = [0; 4088];
        file.read_exact_at(&mut page, at + 8).unwrap();
        let words = page.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let sum = words.fold(5381, |sum, word| sum ^ word.wrapping_mul(0xbf58_476d_1ce4_e5b9));
        file.write_all_at(&sum.to_le_bytes(), at).unwrap();
    }
}

/// What is done to a place with a good database, and what is called between the two looks.
type Fault = (&'static str, fn(&Place), fn(&Place));

const NOTHING: fn(&Place) = |_| {};

const FAULTS: &[Fault] = &[
    ("missing", |place| fs::remove_file(place.live()).unwrap(), NOTHING),
    ("another file", |place| fs::write(place.live(), "a".repeat(20_000)).unwrap(), NOTHING),
    ("a short file", |place| fs::write(place.live(), "DUCK").unwrap(), NOTHING),
    (
        "a directory",
        |place| {
            fs::remove_file(place.live()).unwrap();
            fs::create_dir(place.live()).unwrap();
        },
        NOTHING,
    ),
    (
        "an old storage version",
        |place| {
            write_at(&place.live(), &51u64.to_le_bytes(), 12);
            seal_headers(&place.live());
        },
        NOTHING,
    ),
    (
        "a new storage version",
        |place| {
            write_at(&place.live(), &70u64.to_le_bytes(), 12);
            seal_headers(&place.live());
        },
        NOTHING,
    ),
    ("an encrypted database", |place| write_at(&place.live(), &[1], 20), NOTHING),
    ("a new log version", |place| fs::write(log_of(&place.live()), b"d\0be\0\x04\xff\xff").unwrap(), NOTHING),
    ("an encrypted log", |place| fs::write(log_of(&place.live()), b"d\0be\0\x03\xff\xff").unwrap(), NOTHING),
    ("another file as log", |place| fs::write(log_of(&place.live()), "not a log").unwrap(), NOTHING),
    (
        "a damaged log",
        |place| {
            let mut log = b"d\0be\0\x02\xff\xff".to_vec();
            log.extend([5, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
            log.extend(b"d\0d\xff\xff");
            fs::write(log_of(&place.live()), log).unwrap();
        },
        NOTHING,
    ),
    (
        "a log at either end of a link",
        |place| {
            fs::rename(place.live(), place.path("real.db")).unwrap();
            std::os::unix::fs::symlink("real.db", place.live()).unwrap();
            for log in [log_of(&place.live()), log_of(&place.path("real.db"))] {
                fs::write(log, "").unwrap();
            }
        },
        NOTHING,
    ),
    (
        "a second name, and nobody who could be asked",
        |place| fs::hard_link(place.live(), place.path("second.db")).unwrap(),
        NOTHING,
    ),
    ("a damaged header", |place| write_at(&place.live(), &[1], 8192 + 2000), NOTHING),
    (
        "damaged blocks",
        |place| {
            let blocks = usize::try_from(place.live().metadata().unwrap().len()).unwrap() - HEADERS;
            write_at(&place.live(), &vec![0xaa; blocks], HEADERS as u64);
        },
        NOTHING,
    ),
    ("cut while it is copied", NOTHING, |place| {
        OpenOptions::new().write(true).open(place.live()).unwrap().set_len(HEADERS as u64 + 8192).unwrap();
    }),
    ("moved away while it is copied", NOTHING, |place| fs::rename(place.live(), place.path("moved.db")).unwrap()),
    ("removed while it is copied", NOTHING, |place| fs::remove_file(place.live()).unwrap()),
    ("no directory for the copy", |place| fs::remove_dir(place.path("into")).unwrap(), NOTHING),
    (
        "the copy over the database",
        |place| {
            fs::remove_dir(place.path("into")).unwrap();
            std::os::unix::fs::symlink(place.path(""), place.path("into")).unwrap();
            std::os::unix::fs::symlink("live.db", place.path("copy.db")).unwrap();
        },
        NOTHING,
    ),
    (
        "the copy over another name of the database",
        |place| {
            fs::hard_link(place.live(), place.path("into/copy.db")).unwrap();
        },
        NOTHING,
    ),
];

#[test]
fn each_fault_is_told_with_what_was_seen_where_and_what_to_do() {
    let mut told = String::new();
    for (name, spoil, between) in FAULTS {
        let place = Place::new();
        let into = place.path("into/copy.db");
        fs::create_dir(place.path("into")).unwrap();
        filled(&place.live());
        spoil(&place);
        let is_first = std::cell::Cell::new(true);
        let is_stopped = || {
            if is_first.replace(false) {
                between(&place);
            }
            false
        };
        let error = capture(&place.live(), &into, &PATIENCE, &Timestamp::now, &is_stopped);
        let error = error.err().unwrap_or_else(|| panic!("{name}: it was captured"));
        assert!(!log_of(&into).exists() || matches!(error, CaptureError::SameFile { .. }), "{name}");
        let is_own = matches!(error, CaptureError::SameFile { .. });
        assert_eq!(into.exists(), is_own, "{name}: nothing is left that could be taken for a copy");
        if is_own {
            assert_eq!(number(&place.live(), "SELECT count(*) FROM t"), Ok(130_000), "{name}: it is left as it was");
        }
        let text = error.to_string().replace(&place.path("").display().to_string(), "");
        writeln!(told, "{name}\n  {text}\n  help: {}", error.help().unwrap_or("none")).unwrap();
    }
    golden("live-faults.txt", &told);
}

#[test]
fn a_log_that_vanishes_is_not_in_the_copy() {
    let place = Place::new();
    let Some((engine, [first])) = Engine::start::<1>(Kind::Linked, &place.live()) else { return };
    first.must("CREATE TABLE t AS SELECT range AS k FROM range(10); CHECKPOINT; INSERT INTO t VALUES (10);");
    engine.kill();
    let captured = place.capture_with(|| fs::remove_file(log_of(&place.live())).unwrap()).unwrap();
    assert_eq!((captured.log_bytes, captured.rejected.into_values().sum::<u32>()), (0, 1));
    assert_eq!(number(&place.copy(), "SELECT count(*) FROM t"), Ok(10));
    assert!(!log_of(&place.copy()).exists());
}

#[test]
fn what_is_being_written_is_read_again() {
    // A header, and the last entry of the log.
    for is_log in [false, true] {
        let place = Place::in_memory();
        let Some((engine, [first])) = Engine::start::<1>(Kind::Linked, &place.live()) else { return };
        first.must("CREATE TABLE t AS SELECT range AS k FROM range(10); CHECKPOINT; INSERT INTO t VALUES (10);");
        engine.kill();
        let log = log_of(&place.live());
        let end = log.metadata().unwrap().len();
        let (path, at) = if is_log { (log, end - 1) } else { (place.live(), 8192 + 2000) };
        let mut byte = [0];
        File::open(&path).unwrap().read_exact_at(&mut byte, at).unwrap();
        write_at(&path, &[!byte[0]], at);
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(15));
            write_at(&path, &byte, at);
        });
        place.capture().unwrap();
        writer.join().unwrap();
        assert_eq!(number(&place.copy(), "SELECT count(*) FROM t"), Ok(11), "{is_log}");
    }
}

#[test]
fn patience_has_an_end_that_says_what_was_seen() {
    let place = Place::new();
    let Some((_engine, [first])) = Engine::start::<1>(Kind::Linked, &place.live()) else { return };
    first.must("CREATE TABLE t (a INTEGER); CHECKPOINT;");
    let restless = || {
        first.must("INSERT INTO t VALUES (1); CHECKPOINT;");
        false
    };
    let patience = Patience { tries: 3, time: Duration::from_mins(1) };
    let error = capture(&place.live(), &place.copy(), &patience, &Timestamp::now, &restless).unwrap_err();
    let CaptureError::Exhausted { tries: 3, .. } = &error else { panic!("{error}") };
    let text = error.to_string().replace(&place.path("").display().to_string(), "");
    assert!(text.starts_with("`live.db` did not keep still: 3 tries in "), "{text}");
    assert!(text.ends_with(" s, checkpoint-ended 3 times"), "{text}");
    assert!(!place.copy().exists());
    let patience = Patience { tries: 1000, time: Duration::ZERO };
    let error = capture(&place.live(), &place.copy(), &patience, &Timestamp::now, &restless).unwrap_err();
    assert!(matches!(error, CaptureError::Exhausted { tries: 1, .. }), "{error}");
}

#[test]
fn a_capture_that_is_stopped_leaves_nothing() {
    let place = Place::new();
    filled(&place.live());
    let error = capture(&place.live(), &place.copy(), &PATIENCE, &Timestamp::now, &|| true).unwrap_err();
    assert!(matches!(error, CaptureError::Stopped { .. }), "{error}");
    assert!(!place.copy().exists() && !log_of(&place.copy()).exists());
}

#[test]
fn a_copy_is_no_database_before_it_is_accepted() {
    let place = Place::new();
    let Some((_engine, [first])) = Engine::start::<1>(Kind::Linked, &place.live()) else { return };
    first.must("CREATE TABLE t AS SELECT range AS k FROM range(10); CHECKPOINT; INSERT INTO t VALUES (10);");
    place.capture().unwrap();
    assert_eq!(number(&place.copy(), "SELECT count(*) FROM t"), Ok(11));
    let between = || {
        let mut headers = [1; HEADERS];
        File::open(place.copy()).unwrap().read_exact_at(&mut headers, 0).unwrap();
        assert_eq!(headers, [0; HEADERS], "not even an older one");
        let error = opened(&place.copy()).unwrap_err();
        assert!(error.contains("not a valid DuckDB database file"), "{error}");
    };
    place.capture_with(between).unwrap();
    assert_eq!(number(&place.copy(), "SELECT count(*) FROM t"), Ok(11));
}

#[test]
fn an_older_copy_is_brought_up_to_date_with_what_differs() {
    let place = Place::new();
    filled(&place.live());
    let whole = place.capture().unwrap();
    assert!(whole.written >= whole.bytes, "{whole:?}");
    opened(&place.live()).unwrap().execute_batch("CREATE TABLE u AS SELECT 1 AS a; CHECKPOINT;").unwrap();
    let renewed = place.capture().unwrap();
    assert!(renewed.written.0 < whole.written.0 / 2, "{renewed:?} after {whole:?}");
    assert_eq!(fs::read(place.copy()).unwrap(), fs::read(place.live()).unwrap());
}

#[test]
fn the_live_files_are_left_as_they_are() {
    let place = Place::new();
    let Some((_engine, [first])) = Engine::start::<1>(Kind::Linked, &place.live()) else { return };
    first.must("CREATE TABLE t AS SELECT range AS k FROM range(10); CHECKPOINT; INSERT INTO t VALUES (10);");
    let files = [place.live(), log_of(&place.live())];
    let seen = || {
        files.each_ref().map(|file| {
            let metadata = file.metadata().unwrap();
            let times = [metadata.atime(), metadata.atime_nsec(), metadata.mtime(), metadata.ctime()];
            (times, fs::read(file).map_or(0, |bytes| bytes.len()))
        })
    };
    seen();
    let before = seen();
    std::thread::sleep(Duration::from_millis(1100));
    look(&place.live()).unwrap();
    place.capture().unwrap();
    assert_eq!(seen().map(|(times, _)| times), before.map(|(times, _)| times), "not even the time of the last access");
    first.must("INSERT INTO t VALUES (11);");
    assert_eq!(fs::metadata(place.copy()).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Runs a program that must succeed.
pub(super) fn call(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
}

/// A file system that is mounted until this is dropped.
pub(super) struct Mounted<'p>(pub(super) &'p Path);

impl<'p> Mounted<'p> {
    /// Mounts a file system of one kind; `bytes` large, where that can be said.
    fn new(place: &'p Place, at: &'p Path, kind: &str, bytes: u64) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        let target = at.to_str().unwrap();
        match kind {
            "tmpfs" => call("mount", &["-t", kind, "-o", &format!("size={bytes}"), "none", target])?,
            "overlay" => {
                let layers = ["lower", "upper", "work"].map(|name| place.path(name));
                for layer in &layers {
                    fs::create_dir_all(layer).unwrap();
                }
                let [lower, upper, work] = layers.each_ref().map(|layer| layer.display());
                let option = format!("lowerdir={lower},upperdir={upper},workdir={work}");
                call("mount", &["-t", kind, "-o", &option, "none", target])?;
            }
            _ => {
                let image = place.path("image");
                File::create(&image).unwrap().set_len(bytes).unwrap();
                call(&format!("mkfs.{kind}"), &["-q", image.to_str().unwrap()])?;
                call("mount", &["-o", "loop", image.to_str().unwrap(), target])?;
            }
        }
        Ok(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(call("umount", &[self.0.to_str().unwrap()]));
    }
}

#[test]
fn every_file_system_gives_the_same_copy() {
    for kind in ["tmpfs", "overlay", "ext4", "xfs", "btrfs"] {
        let place = Place::new();
        let at = place.path("mounted");
        let mounted = match Mounted::new(&place, &at, kind, 400 << 20) {
            Ok(mounted) => mounted,
            Err(cause) => {
                crate::redact::skipped(&format!("{kind} cannot be mounted: {cause}"));
                continue;
            }
        };
        let (live, copy) = (at.join("live.db"), at.join("copy.db"));
        let Some((engine, [first])) = Engine::start::<1>(Kind::Linked, &live) else { return };
        first.must("CREATE TABLE t AS SELECT range AS k, hash(range) AS h FROM range(2000000); CHECKPOINT;");
        first.must("INSERT INTO t VALUES (1, 1);");
        let free = || rustix::fs::statvfs(&at).unwrap().f_bavail * rustix::fs::statvfs(&at).unwrap().f_frsize;
        let before = free();
        for into in [&copy, &copy, &place.path("elsewhere.db")] {
            capture(&live, into, &PATIENCE, &Timestamp::now, &|| false).unwrap();
            assert_eq!(number(into, "SELECT count(*) FROM t"), Ok(2_000_001), "{kind}");
        }
        let is_shared = ["xfs", "btrfs"].contains(&kind);
        let used = before.saturating_sub(free());
        let size = live.metadata().unwrap().len();
        assert_eq!(used < size / 2, is_shared, "{kind}: {used} of {size} bytes were used for a copy");
        first.must("CHECKPOINT;");
        engine.close();
        drop(mounted);
    }
}

#[test]
fn a_copy_that_does_not_fit_is_told_and_leaves_nothing() {
    let place = Place::new();
    let at = place.path("small");
    filled(&place.live());
    let mounted = match Mounted::new(&place, &at, "tmpfs", 600 << 10) {
        Ok(mounted) => mounted,
        Err(cause) => return crate::redact::skipped(&format!("no small file system can be had: {cause}")),
    };
    let into = at.join("copy.db");
    let error = capture(&place.live(), &into, &PATIENCE, &Timestamp::now, &|| false).unwrap_err();
    assert!(matches!(&error, CaptureError::NoRoom { path, .. } if *path == into), "{error}");
    assert!(error.help().unwrap().contains("staging"));
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
    drop(mounted);
}

#[test]
fn who_may_not_read_it_is_told() {
    let place = Place::new();
    filled(&place.live());
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.live(), fs::Permissions::from_mode(0o600)).unwrap();
    let Some(mut command) = as_nobody(&std::env::current_exe().unwrap(), &place.path("")) else { return };
    command.args(["--exact", "live::faults::captures_as_somebody_else", "--ignored", "--nocapture"]);
    command.env(SOURCE, place.live());
    let said = format!("{:?}", Outcome::of(command));
    let expected = format!("`{}` cannot be opened: permission denied", place.live().display());
    assert!(said.contains(&expected), "{said}");
    forget(&place.copy());
}

#[test]
#[ignore = "what somebody else runs, started by the test that needs one"]
fn captures_as_somebody_else() {
    let source = std::env::var_os(SOURCE).unwrap();
    let into = std::env::temp_dir().join("nobodys.db");
    let error = capture(Path::new(&source), &into, &PATIENCE, &Timestamp::now, &|| false).unwrap_err();
    std::io::Write::write_all(&mut std::io::stderr(), error.to_string().as_bytes()).unwrap();
}
