//! Stories of the stores: one contract for all of them, and what a directory promises besides.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hitkeep_plan::event::Meter;
use hitkeep_plan::name::Prefix;
use hitkeep_plan::store::contract::{self, Creation};
use hitkeep_plan::store::faulty::{Fault, Faulty};
use hitkeep_plan::store::local::Local;
use hitkeep_plan::store::memory::Memory;
use hitkeep_plan::store::{Body, Mode, Store, StoreError};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use crate::fixture::{names, walk};

fn local(folder: &Path) -> Arc<dyn Store> {
    Arc::new(Local::new(folder.to_owned()))
}

async fn put(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
    store.put(&key.parse().unwrap(), Body::Bytes(bytes.to_vec()), Mode::Create, &Meter::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let memory = || -> Arc<dyn Store> { Arc::new(Memory::default()) };
    let stores = [
        ("local", local(&folder.path().join("local"))),
        ("odd", local(&folder.path().join("it's an \"odd\" ümläut/目录"))),
        ("memory", memory()),
        ("faulty-local", Arc::new(Faulty::new(local(&folder.path().join("behind faults")), None))),
        ("faulty-memory", Arc::new(Faulty::new(memory(), None))),
    ];
    for (name, store) in stores {
        let scratch = folder.path().join("scratch").join(name);
        fs::create_dir_all(&scratch).unwrap();
        contract::check(store.clone(), &scratch, Creation::Exclusive).await;
        contract::check_that_folders_go(&*store).await;
    }
}

#[tokio::test]
async fn a_directory_is_its_owners_alone_and_holds_nothing_but_objects() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/root");
    let store = local(&root);
    for key in ["plain", "a b/c+d%20", "ü/日本/x"] {
        put(&*store, key, b"secret").await.unwrap();
    }
    let (source, copy) = (root.join("plain"), folder.path().join("copy"));
    store.get(&"plain".parse().unwrap(), copy.clone(), &Meter::default()).await.unwrap();
    let lock = store.lock(&"a b".parse().unwrap(), "me").await.unwrap();

    let mut modes = Vec::new();
    walk(folder.path(), &mut |path| {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        modes.push((path.is_dir(), mode));
    });
    modes.sort_unstable();
    modes.dedup();
    assert_eq!(modes, [(false, 0o600), (true, 0o700)]);
    assert_eq!(fs::read(source).unwrap(), fs::read(copy).unwrap());
    assert_eq!(names(&root), ["a b/", "a b/.lock", "a b/c+d%20", "plain", "ü/", "ü/日本/", "ü/日本/x"]);
    drop(lock);
}

#[tokio::test]
async fn a_spare_file_is_moved_or_copied_from_another_file_system() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = folder.path().join("root");
    let store = local(&root);
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    for (name, at, is_moved) in [("moved", folder.path(), true), ("copied", memory.path(), false)] {
        let spare = at.join("spare");
        fs::write(&spare, "spare").unwrap();
        fs::set_permissions(&spare, fs::Permissions::from_mode(0o644)).unwrap();
        let (key, body) = (name.parse().unwrap(), Body::Spare(spare.clone()));
        let moved = store.put(&key, body, Mode::Create, &Meter::default()).await.unwrap();
        assert_eq!((moved.bytes, spare.exists()), (5, !is_moved), "{name}");
        assert_eq!(fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let missing = Body::Spare(folder.path().join("missing"));
    let missing = store.put(&"missing".parse().unwrap(), missing, Mode::Create, &Meter::default()).await;
    assert!(matches!(&missing, Err(StoreError::Missing { at }) if at.ends_with("/missing")), "{missing:?}");
    assert_eq!(names(&root), ["copied", "moved"]);
}

#[tokio::test]
async fn a_listing_shows_objects_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path());
    put(&*store, "backups/shared/x", b"1").await.unwrap();
    drop(store.lock(&"backups".parse().unwrap(), "me").await.unwrap());
    let strangers = ["backups/.0198c0ffee.partial", "backups/shared/.half.partial", "backups/shared/.lock"];
    for stranger in strangers {
        fs::write(folder.path().join(stranger), "half").unwrap();
    }
    fs::create_dir(folder.path().join("backups/empty")).unwrap();
    fs::create_dir(folder.path().join("backups/half")).unwrap();
    fs::write(folder.path().join("backups/half/.x.partial"), "half").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("backups/dangling")).unwrap();
    let listed = store.list(&Prefix::default()).await.unwrap();
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), [("backups/shared/x".parse().unwrap(), 1)]);
    let folders = store.folders(&"backups".parse().unwrap(), "").await.unwrap();
    assert_eq!(folders.into_iter().collect::<Vec<_>>(), ["shared"]);
}

#[tokio::test]
async fn a_put_that_fails_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (root, missing) = (folder.path().join("root"), folder.path().join("missing"));
    let store = local(&root);
    put(&*store, "there/taken", b"first").await.unwrap();
    put(&*store, "file", b"in the way").await.unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    let before = names(&root);

    let taken = put(&*store, "there/taken", b"second").await;
    let under_file = put(&*store, "file/below", b"x").await;
    let over_folder = put(&*store, "folder", b"x").await;
    let key = "there/new".parse().unwrap();
    let no_source = store.put(&key, Body::File(missing), Mode::Create, &Meter::default()).await;

    assert!(matches!(taken, Err(StoreError::Exists { .. })), "{taken:?}");
    assert!(matches!(&under_file, Err(StoreError::Io { at, .. }) if at.ends_with("/file")), "{under_file:?}");
    assert!(matches!(over_folder, Err(StoreError::Exists { .. })), "{over_folder:?}");
    assert!(matches!(&no_source, Err(StoreError::Missing { at }) if at.ends_with("/missing")), "{no_source:?}");
    assert_eq!(names(&root), before, "nothing was added, and no partial file stays");
    assert_eq!(fs::read(root.join("there/taken")).unwrap(), b"first");
}

#[tokio::test]
async fn a_fetch_that_fails_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(&folder.path().join("root"));
    put(&*store, "large", &vec![7; 3_000_000]).await.unwrap();
    let (target, meter) = (folder.path().join("target"), Meter::default());
    meter.stop();
    let stopped = store.get(&"large".parse().unwrap(), target.clone(), &meter).await;
    assert!(matches!(stopped, Err(StoreError::Stopped { .. })), "{stopped:?}");
    assert!(!target.exists());
}

#[tokio::test]
async fn a_fault_strikes_where_it_is_told_to() {
    let outcomes = async |fault| {
        let store = Faulty::new(Arc::new(Memory::default()), Some(fault));
        let mut outcomes = Vec::new();
        for key in ["a", "b", "c"] {
            outcomes.push(put(&store, key, b"x").await.is_ok());
        }
        let healthy = store.list(&Prefix::default()).await;
        (outcomes, healthy.map(|found| found.into_keys().map(|key| key.to_string()).collect::<String>()).ok())
    };
    let fault = |after_effect, for_good| Fault { call: 2, after_effect, for_good };
    let lists = |keys: &str| Some(keys.to_owned());
    assert_eq!(outcomes(fault(false, false)).await, (vec![true, false, true], lists("ac")));
    assert_eq!(outcomes(fault(true, false)).await, (vec![true, false, true], lists("abc")));
    assert_eq!(outcomes(fault(false, true)).await, (vec![true, false, false], None));
    assert_eq!(outcomes(fault(true, true)).await, (vec![true, false, false], None));
}

/// HitKeep takes every folder beside its snapshots for one of them, also an empty one.
#[tokio::test]
async fn deleting_what_was_never_stored_leaves_no_folder_either() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let store = local(&root);
    let delete = async |key: &str| store.delete(&key.parse().unwrap()).await;
    delete("nothing/at/all").await.unwrap();
    assert!(!root.exists(), "deleting makes nothing");

    let stopped = Meter::default();
    stopped.stop();
    let body = Body::Bytes(b"x".to_vec());
    store.put(&"shared/set/file".parse().unwrap(), body, Mode::Create, &stopped).await.unwrap_err();
    put(&*store, "shared/other/file", b"x").await.unwrap();
    delete("shared/set/file").await.unwrap();
    delete("shared/other/file/below").await.unwrap();
    assert_eq!(names(&root), ["shared/", "shared/other/", "shared/other/file"]);
    delete("shared/other/file").await.unwrap();
    assert_eq!(names(&root), Vec::<String>::new());
    put(&*store, "shared", b"a folder's name is free again").await.unwrap();
}

/// Returns where a lock of `prefix` lies.
fn lock_file(root: &Path, prefix: &str) -> PathBuf {
    root.join(prefix).join(".lock")
}

/// Returns one more descriptor of a file that this process has open.
fn duplicate(file: &Path) -> OwnedFd {
    let of_file = |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target == file);
    let mut open = fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap);
    let number = open.find_map(|entry| entry.file_name().to_str()?.parse().ok().filter(|_| of_file(entry))).unwrap();
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_getfd(own, number, PidfdGetfdFlags::empty()).unwrap()
}

#[tokio::test]
async fn a_lock_forgets_a_holder_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path());
    fs::create_dir(folder.path().join("p")).unwrap();
    fs::write(lock_file(folder.path(), "p"), "a holder with a very long name, who crashed").unwrap();
    let lock = store.lock(&"p".parse().unwrap(), "me").await.unwrap();
    let second = store.lock(&"p".parse().unwrap(), "you").await;
    assert!(matches!(&second, Err(StoreError::Busy { holder, .. }) if holder == "me"), "{second:?}");
    // As a command has the file that is just being started.
    let still_open = duplicate(&lock_file(folder.path(), "p"));
    drop(lock);
    store.lock(&"p".parse().unwrap(), "you").await.unwrap();
    drop(still_open);
}

#[tokio::test]
async fn what_a_killed_run_left_half_written_is_swept_after_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("backups/shared/2026-01-01T000000Z");
    std::fs::create_dir_all(&inside).unwrap();
    let a_day_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(25);
    for (name, is_old) in [(".1.partial", true), (".2.partial", false), ("hits.parquet", true)] {
        let file = std::fs::File::create(inside.join(name)).unwrap();
        if is_old {
            file.set_modified(a_day_ago).unwrap();
        }
    }
    let store = Local::new(folder.path().to_owned());
    store.lock(&"backups".parse().unwrap(), "a run").await.unwrap();
    assert_eq!(names(&inside), [".2.partial", "hits.parquet"]);
}
