//! What every store keeps: a suite that takes a fresh, empty store and panics at the first broken promise.
//!
//! A new kind of store is finished when it passes this, and nothing above this layer knows which kind it has.

#![expect(clippy::unwrap_used, reason = "a test suite: a broken promise is a panic")]

use std::path::Path;
use std::sync::Arc;

use super::{Body, Mode, Part, Purpose, Store, StoreError};
use crate::event::Meter;
use crate::measure::Sha256;
use crate::name::{Key, Prefix};

/// What becomes of an object that several create at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// One of them succeeds, and the others are told that it exists.
    Exclusive,
    /// Several may succeed, on a server that does not honour conditions; one of their objects stays, whole.
    Racing,
}

/// Puts `store` through every promise; `scratch` is an empty folder for files on this side.
///
/// # Panics
/// At the first promise that is not kept.
pub async fn check(store: Arc<dyn Store>, scratch: &Path, creation: Creation) {
    what_is_put_comes_back(&*store, scratch).await;
    what_is_spare_is_put_like_anything_else(&*store, scratch).await;
    a_taken_key_is_not_created_again(&*store).await;
    a_copy_is_an_object_of_its_own(&*store, scratch).await;
    one_of_many_creators_wins(&store, creation).await;
    what_is_missing_is_said(&*store, scratch).await;
    a_listing_is_whole_and_ends_at_segments(&*store).await;
    folders_are_named_without_what_is_in_them(&*store).await;
    deleting_twice_is_deleting_once(&*store).await;
    a_stopped_put_leaves_nothing(&*store, scratch).await;
    a_place_has_one_writer(&*store).await;
    who_deletes_is_alone(&*store).await;
}

/// Puts a store to one promise more, which not every server keeps at once: a folder goes with its last object.
///
/// # Panics
/// When a folder is named that holds nothing.
pub async fn check_that_folders_go(store: &dyn Store) {
    put(store, "going/stays/1", b"x", Mode::Create).await.unwrap();
    put(store, "going/goes/deep/down/1", b"x", Mode::Create).await.unwrap();
    store.delete(&key("going/goes/deep/down/1")).await.unwrap();
    let left = store.folders(&"going".parse().unwrap(), "").await.unwrap();
    assert_eq!(Vec::from_iter(left), ["stays"], "a folder without objects is none");
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

async fn put(store: &dyn Store, name: &str, bytes: &[u8], mode: Mode) -> Result<super::Moved, StoreError> {
    store.put(&key(name), Body::Bytes(bytes.to_vec()), mode, &Meter::default()).await
}

async fn what_is_put_comes_back(store: &dyn Store, scratch: &Path) {
    let bytes = |length: u32| (0..length).map(|n| (n % 251) as u8).collect::<Vec<u8>>();
    // A bucket takes the longer ones in parts of five mebibytes: exactly one, exactly two, and a bit of a third.
    let (part, two_parts, parts) = (bytes(5 << 20), bytes(10 << 20), bytes((10 << 20) + 7));
    let cases = [
        ("back/empty", &b""[..]),
        ("back/short", b"x"),
        ("back/part", &part),
        ("back/two-parts", &two_parts),
        ("back/parts", &parts),
        ("back/a b+c%20/ü/日本", b"odd name"),
    ];
    let mut all_counted = 0;
    for (index, (name, bytes)) in cases.into_iter().enumerate() {
        let (file, copy) = (scratch.join(format!("in-{index}")), scratch.join(format!("out-{index}")));
        std::fs::write(&file, bytes).unwrap();
        let meter = Meter::default();
        let moved = store.put(&key(name), Body::File(file), Mode::Create, &meter).await.unwrap();
        assert_eq!(
            (moved.bytes, moved.sha256),
            (bytes.len() as u64, Sha256::of(bytes)),
            "{name}: measured on the way in"
        );
        assert_eq!(moved, super::Moved::of(bytes), "{name}: with both digests");
        // Where the answer to a first try is lost, the second finds the object, and moves nothing.
        let counted = meter.moved().0;
        assert!([0, bytes.len() as u64].contains(&counted), "{name}: the meter counts each byte once, not {counted}");
        all_counted += counted;
        assert_eq!(
            store.get(&key(name), copy.clone(), &Meter::default()).await.unwrap(),
            moved,
            "{name}: on the way out"
        );
        assert_eq!(std::fs::read(&copy).unwrap(), bytes, "{name}: the content");
        assert_eq!(store.digest(&key(name), &Meter::default()).await.unwrap(), moved, "{name}: read through");
        assert_eq!(store.read(&key(name), Part::Whole).await.unwrap(), bytes, "{name}: read whole");
        let end = &bytes[bytes.len().saturating_sub(4)..];
        assert_eq!(store.read(&key(name), Part::Last(4)).await.unwrap(), end, "{name}: read at its end");
    }
    assert!(all_counted >= parts.len() as u64, "what moves is counted");
    let taken = store.get(&key("back/short"), scratch.join("out-0"), &Meter::default()).await;
    assert!(matches!(taken, Err(StoreError::Exists { .. })), "a file in the way is not overwritten: {taken:?}");
    assert_eq!(std::fs::read(scratch.join("out-0")).unwrap(), b"", "nor removed");
}

async fn what_is_spare_is_put_like_anything_else(store: &dyn Store, scratch: &Path) {
    let (file, bytes) = (scratch.join("spare"), b"spare".repeat(1000));
    std::fs::write(&file, &bytes).unwrap();
    let meter = Meter::default();
    let moved = store.put(&key("spare"), Body::Spare(file.clone()), Mode::Create, &meter).await.unwrap();
    assert_eq!(moved, super::Moved::of(&bytes), "measured on the way in");
    assert_eq!(meter.moved().0, bytes.len() as u64, "counted");
    assert_eq!(store.read(&key("spare"), Part::Whole).await.unwrap(), bytes, "the content");
    std::fs::write(&file, "another").unwrap();
    assert_eq!(
        store.read(&key("spare"), Part::Whole).await.unwrap(),
        bytes,
        "whoever makes the file anew changes nothing"
    );
    let again = store.put(&key("spare"), Body::Spare(file), Mode::Create, &Meter::default()).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })), "created twice: {again:?}");
    assert_eq!(store.read(&key("spare"), Part::Whole).await.unwrap(), bytes, "the first stays");
}

async fn a_taken_key_is_not_created_again(store: &dyn Store) {
    put(store, "taken", b"first", Mode::Create).await.unwrap();
    let second = put(store, "taken", b"second", Mode::Create).await;
    assert!(matches!(second, Err(StoreError::Exists { .. })), "created twice: {second:?}");
    assert_eq!(store.read(&key("taken"), Part::Whole).await.unwrap(), b"first", "the first stays");
    put(store, "taken", b"third", Mode::Replace).await.unwrap();
    assert_eq!(store.read(&key("taken"), Part::Whole).await.unwrap(), b"third", "replaced when asked to");
}

async fn a_copy_is_an_object_of_its_own(store: &dyn Store, scratch: &Path) {
    let copy = async |from: &str, to: &str, content: &[u8], meter: &Meter| {
        store.copy(&key(from), &key(to), super::Moved::of(content), meter).await
    };
    let large = b"large".repeat(3_000_000);
    for (name, content) in [("empty", &b""[..]), ("a b+c%20/ü&?/日本", b"odd name"), ("large", &large)] {
        let (from, to) = (format!("copied/from/{name}"), format!("copied/to/{name}"));
        let file = scratch.join("copied");
        std::fs::write(&file, content).unwrap();
        store.put(&key(&from), Body::File(file), Mode::Create, &Meter::default()).await.unwrap();
        let meter = Meter::default();
        copy(&from, &to, content, &meter).await.unwrap();
        assert_eq!(meter.moved().0, content.len() as u64, "{name}: counted");
        let taken = copy(&from, &to, content, &Meter::default()).await;
        assert!(matches!(taken, Err(StoreError::Exists { .. })), "{name}: copied twice: {taken:?}");
        store.delete(&key(&from)).await.unwrap();
        let kept = store.digest(&key(&to), &Meter::default()).await.unwrap();
        assert_eq!(kept, super::Moved::of(content), "{name}: it outlives what it was made of");
        let missing = copy(&from, "copied/never", content, &Meter::default()).await;
        assert!(matches!(missing, Err(StoreError::Missing { .. })), "{name}: {missing:?}");
    }
    let meter = Meter::default();
    meter.stop();
    let stopped = copy("copied/to/large", "copied/never", &large, &meter).await;
    assert!(matches!(stopped, Err(StoreError::Stopped { .. })), "{stopped:?}");
    let there = store.list(&"copied".parse().unwrap()).await.unwrap();
    assert_eq!(there.len(), 3, "what was not copied is not there: {there:?}");
}

async fn one_of_many_creators_wins(store: &Arc<dyn Store>, creation: Creation) {
    let creators: Vec<_> = (0..16_u8)
        .map(|number| {
            let store = Arc::clone(store);
            tokio::spawn(async move { put(&*store, "race", &[number; 1000], Mode::Create).await.is_ok() })
        })
        .collect();
    let mut winners = Vec::new();
    for (number, creator) in creators.into_iter().enumerate() {
        if creator.await.unwrap() {
            winners.push(number);
        }
    }
    assert!(winners.len() == 1 || creation == Creation::Racing, "{} creators won", winners.len());
    let there = store.read(&key("race"), Part::Whole).await.unwrap();
    let is_there = |winner: &usize| there == vec![u8::try_from(*winner).unwrap(); 1000];
    assert!(winners.iter().any(is_there), "a winner's bytes are there, whole");
}

async fn what_is_missing_is_said(store: &dyn Store, scratch: &Path) {
    let missing = key("not/there");
    let target = scratch.join("missing");
    let answers = [
        store.get(&missing, target.clone(), &Meter::default()).await.map(drop),
        store.digest(&missing, &Meter::default()).await.map(drop),
        store.read(&missing, Part::Whole).await.map(drop),
        store.read(&missing, Part::Last(1)).await.map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(StoreError::Missing { .. })), "{answer:?}");
    }
    assert!(!target.exists(), "a fetch of nothing leaves no file");
}

async fn a_listing_is_whole_and_ends_at_segments(store: &dyn Store) {
    let names: Vec<String> = (0..40).map(|n| format!("list/deep/{n:02}/file")).collect();
    for name in names.iter().map(String::as_str).chain(["list/deep-beside/x", "list/deep.txt"]) {
        put(store, name, name.as_bytes(), Mode::Create).await.unwrap();
    }
    let listed = store.list(&"list/deep".parse().unwrap()).await.unwrap();
    let keys: Vec<&str> = listed.keys().map(Key::as_str).collect();
    assert_eq!(keys, names, "every key inside, in order, and none beside");
    assert!(listed.iter().all(|(key, bytes)| key.as_str().len() as u64 == *bytes), "sizes are sizes");
    assert!(store.list(&"nowhere".parse().unwrap()).await.unwrap().is_empty(), "nothing is an empty list");
    assert!(store.list(&Prefix::default()).await.unwrap().len() > names.len(), "the root is a prefix too");
}

async fn folders_are_named_without_what_is_in_them(store: &dyn Store) {
    for name in ["tree/a/1", "tree/a/2", "tree/a.b/1", "tree/b/deep/down/1", "tree/c", "tree-beside/d/1"] {
        put(store, name, b"x", Mode::Create).await.unwrap();
    }
    let from =
        async |from: &str, prefix: &str| Vec::from_iter(store.folders(&prefix.parse().unwrap(), from).await.unwrap());
    let folders = async |prefix: &str| from("", prefix).await;
    assert_eq!(folders("tree").await, ["a", "a.b", "b"], "every folder inside once, in order, and no object");
    assert_eq!(folders("tree/b").await, ["deep"]);
    assert_eq!(from("a", "tree").await, ["a", "a.b", "b"], "the first is one of them");
    assert_eq!(from("a!", "tree").await, ["a.b", "b"], "the first need not be there");
    assert_eq!((from("b", "tree").await, from("c", "tree").await), (vec!["b".to_owned()], vec![]));
    assert!(folders("tree/a").await.is_empty() && folders("tree/c").await.is_empty(), "an object is no folder");
    assert!(folders("nowhere").await.is_empty(), "nothing is an empty list");
    assert!(folders("").await.contains(&"tree".to_owned()), "the root is a prefix too");
}

async fn deleting_twice_is_deleting_once(store: &dyn Store) {
    put(store, "gone/file", b"x", Mode::Create).await.unwrap();
    store.delete(&key("gone/file")).await.unwrap();
    store.delete(&key("gone/file")).await.unwrap();
    assert!(store.list(&"gone".parse().unwrap()).await.unwrap().is_empty());
}

async fn a_stopped_put_leaves_nothing(store: &dyn Store, scratch: &Path) {
    let file = scratch.join("large");
    std::fs::write(&file, vec![7; 5_000_000]).unwrap();
    let meter = Meter::default();
    meter.stop();
    let stopped = store.put(&key("stopped/file"), Body::File(file), Mode::Create, &meter).await;
    assert!(matches!(stopped, Err(StoreError::Stopped { .. })), "{stopped:?}");
    assert!(store.list(&"stopped".parse().unwrap()).await.unwrap().is_empty(), "a stopped put left an object");
}

async fn a_place_has_one_writer(store: &dyn Store) {
    let (place, beside) = ("locked/place".parse().unwrap(), "locked/beside".parse().unwrap());
    assert_eq!(store.holder(&place).await.unwrap(), None);
    store.try_lock(&place, "who asks").await.unwrap();
    let first = store.lock(&place, "the first").await.unwrap();
    let holder = store.holder(&place).await.unwrap();
    assert!(holder.as_ref().is_some_and(|holder| holder.starts_with("the first")), "{holder:?}");
    assert_eq!(store.holder(&beside).await.unwrap(), None);
    let second = store.lock(&place, "the second").await;
    let tried = store.try_lock(&place, "who asks").await;
    for refused in [second.map(drop), tried] {
        let Err(StoreError::Busy { holder, .. }) = &refused else { panic!("{refused:?}") };
        assert!(holder.starts_with("the first"), "{holder}");
    }
    store.lock(&beside, "another place").await.unwrap();
    first.release().await;
    assert_eq!(store.holder(&place).await.unwrap(), None);
    store.try_lock(&place, "who asks").await.unwrap();
    store.lock(&place, "the next").await.unwrap().release().await;
    assert!(store.list(&"locked".parse().unwrap()).await.unwrap().is_empty(), "a lock is no object");
}

async fn who_deletes_is_alone(store: &dyn Store) {
    let (place, beside): (Prefix, Prefix) = ("marked/place".parse().unwrap(), "marked/beside".parse().unwrap());
    put(store, "marked/place/x", b"x", Mode::Create).await.unwrap();
    put(store, "marked/beside/x", b"x", Mode::Create).await.unwrap();
    let mark = async |at: &Prefix, purpose, holder| store.mark(at, purpose, holder).await;
    let first = mark(&place, Purpose::Reading, "the first").await.unwrap();
    let second = mark(&place, Purpose::Reading, "the second").await.unwrap();
    let refused = mark(&place, Purpose::Deleting, "the third").await;
    assert!(matches!(&refused, Err(StoreError::InUse { purpose: Purpose::Reading, .. })), "{refused:?}");
    mark(&beside, Purpose::Deleting, "another place").await.unwrap().release().await;
    first.release().await;
    assert!(mark(&place, Purpose::Deleting, "the third").await.is_err(), "the second still reads");
    second.release().await;
    let deleting = mark(&place, Purpose::Deleting, "the third").await.unwrap();
    for purpose in [Purpose::Reading, Purpose::Deleting] {
        let refused = mark(&place, purpose, "the fourth").await;
        let Err(StoreError::InUse { holder, .. }) = &refused else { panic!("{refused:?}") };
        assert!(holder.starts_with("the third"), "{holder}");
    }
    store.lock(&place, "a writer").await.unwrap().release().await;
    deleting.release().await;
    mark(&place, Purpose::Reading, "the last").await.unwrap().release().await;
    let left = store.list(&"marked".parse().unwrap()).await.unwrap();
    assert_eq!(left.len(), 2, "a mark is no object");
}
