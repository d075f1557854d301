//! Stories of deleting: what is shown is what goes, what holds it back, and what a store that fails leaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use hitkeep_plan::duck::Limits;
use hitkeep_plan::duck::capture::Patience;
use hitkeep_plan::event::{Meter, Silence};
use hitkeep_plan::measure::{Bytes, Sha256};
use hitkeep_plan::name::{Key, Prefix, SnapshotId};
use hitkeep_plan::plan::{Keep, Rule, Verify};
use hitkeep_plan::record::{self, Pin, PlanRecord, State};
use hitkeep_plan::run::{self, About, Outside, exit};
use hitkeep_plan::stop::Stop;
use hitkeep_plan::store::faulty::{Fault, Faulty};
use hitkeep_plan::store::local::Local;
use hitkeep_plan::store::memory::Memory;
use hitkeep_plan::store::s3::S3;
use hitkeep_plan::store::{Body, Mode, Part, Purpose, Store};
use hitkeep_plan::survey::{self, Asked, Own};
use hitkeep_plan::work::{self, Retention};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::catalogue::World;
use crate::fixture::{Outcome, PLAN, Site, TENANT, minimal, names, write_tree};
use crate::servers::servers;
use crate::{redact, s3};

/// Everything in a store.
type Objects = BTreeMap<Key, Vec<u8>>;

async fn objects(store: &dyn Store) -> Objects {
    let mut objects = Objects::new();
    for key in store.list(&Prefix::default()).await.unwrap().into_keys() {
        let bytes = store.read(&key, Part::Whole).await.unwrap();
        objects.insert(key, bytes);
    }
    objects
}

/// Returns a place of eight sets that are a minute apart, in 2001, and what HitKeep and a killed run left there.
async fn place() -> (World, Objects) {
    let mut world = World::new();
    for _ in 0..4 {
        world.seal(&World::databases()).await;
    }
    let foreign = world.next();
    world.export(foreign).await;
    let killed = world.next();
    world.export(killed).await;
    world.put(&record::announcement_key(killed), "{}").await;
    for _ in 0..4 {
        world.seal(&World::databases()).await;
    }
    let found = objects(&world.store).await;
    (world, found)
}

/// Returns a site whose backups are such a place, and the names of the sets in it.
async fn site(keep: &str) -> (Site, Vec<String>) {
    let (world, objects) = place().await;
    let site = Site::with(minimal());
    let tree = objects.into_iter().map(|(key, bytes)| (PathBuf::from(key.as_str()), bytes)).collect();
    write_tree(&site.path("backups"), &tree);
    site.write_plan(&PLAN.replace("prefix =", &format!("verify = \"none\"\nkeep = {keep}\nprefix =")));
    (site, world.ids.iter().map(ToString::to_string).collect())
}

fn listed(site: &Site) -> BTreeSet<String> {
    site.sets().into_iter().map(|(set, _)| set).collect()
}

#[tokio::test]
async fn what_is_shown_goes_when_it_is_told_to() {
    let (site, ids) = site("{ last = 6 }").await;
    let before = names(&site.path("backups"));
    let shown = site.succeed(&["prune", "plan.toml"]);
    let expected = snapbox::str![[r"
prune nightly → disk: 3 of 10 sets ([..]) to be deleted in [..]/backups/hitkeep
  delete  2001-02-03T040500Z  complete      [..]  no rule keeps it
  delete  2001-02-03T040600Z  complete      [..]  no rule keeps it
  keep    2001-02-03T040700Z  complete      [..]  last 6 of 6
  keep    2001-02-03T040800Z  complete      [..]  last 5 of 6
  keep    2001-02-03T040900Z  foreign       [..]  HitKeep's own
  delete  2001-02-03T041000Z  orphan        [..]  left behind when something was interrupted
  keep    2001-02-03T041100Z  complete      [..]  last 4 of 6
  keep    2001-02-03T041200Z  complete      [..]  last 3 of 6
  keep    2001-02-03T041300Z  complete      [..]  last 2 of 6
  keep    2001-02-03T041400Z  complete      [..]  the newest, last 1 of 6, min 1 of 1

"]];
    snapbox::assert_data_eq!(shown.stdout, expected);
    assert_eq!(names(&site.path("backups")), before, "showing touches nothing");

    let done = site.succeed(&["prune", "plan.toml", "--yes"]);
    assert!(done.stdout.contains("nightly: 3 sets deleted ("), "{done:?}");
    let gone = [0, 1, 5].map(|index: usize| ids[index].clone());
    assert_eq!(listed(&site), ids.iter().filter(|id| !gone.contains(id)).cloned().collect());
    let left = names(&site.path("backups"));
    assert!(gone.iter().all(|id| !left.iter().any(|name| name.contains(id))), "{left:?}");
    let again = site.succeed(&["prune", "plan.toml", "--yes"]);
    assert!(again.stdout.contains("7 sets and all of them stay"), "{again:?}");
    let records = names(&site.path("state/prunes"));
    assert_eq!(records.len(), 1, "{records:?}");
    let kept: Value = serde_json::from_slice(&fs::read(site.path("state/prunes").join(&records[0])).unwrap()).unwrap();
    assert_eq!((&kept["kept"], kept["deleted"].as_array().unwrap().len()), (&Value::from(7), 3));
    assert_eq!(site.run(&["verify", "plan.toml", &ids[6]]).code, 6, "these manifests are made up");
    let listing = site.succeed(&["list", "plan.toml"]).stdout;
    assert!(listing.lines().all(|line| !line.contains("damaged")), "a set that went damages no other: {listing}");
    assert!(listing.lines().last().unwrap().ends_with("newest, last, min"), "{listing}");
}

#[tokio::test]
async fn more_than_a_quarter_goes_only_when_that_is_said() {
    let (site, ids) = site("{ last = 2 }").await;
    let refused = site.run(&["prune", "plan.toml", "--yes"]);
    assert_eq!(refused.code, i32::from(exit::REFUSED), "{refused:?}");
    let said = "6 of 8 sets that count would go at once, which is more than a quarter: `--allow-mass-delete` lets them";
    assert!(refused.stdout.contains(said), "{refused:?}");
    assert_eq!(listed(&site).len(), 10);
    site.succeed(&["prune", "plan.toml", "--yes", "--allow-mass-delete"]);
    assert_eq!(listed(&site), [4, 8, 9].map(|index: usize| ids[index].clone()).into());
}

#[test]
fn a_job_that_drills_counts_what_was_drilled_and_deletes_the_record_with_the_set() {
    let site = Site::with(minimal());
    let plan =
        |verify: &str| PLAN.replace("prefix =", &format!("verify = \"{verify}\"\nkeep = {{ last = 1 }}\nprefix ="));
    let shown = || site.succeed(&["prune", "plan.toml"]).stdout;
    site.write_plan(&plan("checksum"));
    site.succeed(&["run", "plan.toml"]);
    let set = site.sets()[0].0.clone();
    assert!(shown().contains("the newest, last 1 of 1, min 1 of 1"), "{}", shown());
    site.write_plan(&plan("restore"));
    assert!(shown().contains("not verified, and not yet a week older"), "{}", shown());
    site.succeed(&["verify", "plan.toml", "--restore"]);
    assert!(shown().contains("the newest, last 1 of 1, min 1 of 1"), "{}", shown());
    let record = format!("runs/{set}.drill.");
    assert!(names(&site.path("backups/hitkeep")).iter().any(|name| name.starts_with(&record)));

    let ran = site.succeed(&["run", "plan.toml"]);
    assert!(ran.stdout.contains("nightly: 1 set deleted ("), "{ran:?}");
    assert_eq!(site.sets().len(), 1);
    let left = names(&site.path("backups"));
    assert!(!left.iter().any(|name| name.contains(&set)), "{left:?}");
    assert!(left.iter().any(|name| name.contains(".drill.")), "{left:?}");
}

#[tokio::test]
async fn a_pinned_set_stays_until_it_is_unpinned_and_is_explained() {
    let (site, ids) = site("{ last = 6 }").await;
    site.succeed(&["pin", "plan.toml", &ids[0], "--reason", "before the move"]);
    let again = site.succeed(&["pin", "plan.toml", &ids[0], "--reason", "other words"]);
    assert!(again.stdout.contains("was pinned already"), "{again:?}");
    let explained = site.succeed(&["explain", "plan.toml", &ids[0]]).stdout;
    assert!(explained.contains("before the move") && explained.contains("pinned: until it is unpinned"), "{explained}");
    site.succeed(&["prune", "plan.toml", "--yes"]);
    assert!(listed(&site).contains(&ids[0]) && !listed(&site).contains(&ids[1]));
    let newest = site.succeed(&["explain", "plan.toml", "latest"]).stdout;
    assert!(newest.contains("the newest: the newest complete set is never deleted"), "{newest}");
    assert!(newest.contains("last 1 of 6: until 6 sets more"), "{newest}");
    let last = site.succeed(&["explain", "plan.toml", &ids[2]]).stdout;
    assert!(last.contains("last 6 of 6: until 1 set more"), "{last}");
    let foreign = site.run(&["pin", "plan.toml", &ids[4], "--reason", "x"]);
    assert_eq!(foreign.code, 2, "{foreign:?}");
    site.succeed(&["unpin", "plan.toml", &ids[0]]);
    let condemned = site.succeed(&["explain", "plan.toml", &ids[0]]).stdout;
    assert!(condemned.contains("to be deleted: no rule keeps it"), "{condemned}");
    site.succeed(&["prune", "plan.toml", "--yes"]);
    assert!(!listed(&site).contains(&ids[0]));
    assert!(!names(&site.path("backups")).iter().any(|name| name.contains(&ids[0])));
}

#[test]
fn every_pin_that_was_ever_written_stays_readable() {
    let text = include_str!("recorded/pin-1.json");
    let pin = Pin::read(text.as_bytes()).unwrap();
    assert_eq!((pin.format, pin.reason.as_str(), pin.host.as_str()), (1, "before the move", "fra1"));
    assert_eq!(String::from_utf8(pin.write()).unwrap(), text);
    let newer = Pin::read(text.replace("\"format\": 1", "\"format\": 2").as_bytes()).unwrap_err().to_string();
    assert_eq!(newer, "this pin has format 2, and this version of hitkeep-plan reads up to 1: use a newer one");
}

#[tokio::test]
async fn nothing_goes_while_somebody_reads() {
    let (site, _) = site("{ last = 6 }").await;
    let store = Local::new(site.path("backups"));
    let mark = store.mark(&"hitkeep".parse().unwrap(), Purpose::Reading, "a restore").await.unwrap();
    let held = site.run(&["prune", "plan.toml", "--yes"]);
    assert_eq!(held.code, i32::from(exit::LOCKED), "{held:?}");
    assert!(held.stderr.contains("are being read: a restore"), "{held:?}");
    let ran = site.succeed(&["run", "plan.toml"]);
    assert!(ran.stderr.contains("nothing is deleted: sets in"), "{ran:?}");
    assert_eq!(listed(&site).len(), 11);
    mark.release().await;
    let mark = store.mark(&"hitkeep".parse().unwrap(), Purpose::Deleting, "a deletion").await.unwrap();
    let restored = site.run(&["restore", "plan.toml", "--to", "new"]);
    assert_eq!(restored.code, i32::from(exit::LOCKED), "{restored:?}");
    assert!(!site.path("new").exists(), "{restored:?}");
    let drilled = site.run(&["verify", "plan.toml", "--restore"]);
    assert_eq!(drilled.code, i32::from(exit::LOCKED), "{drilled:?}");
    mark.release().await;
    site.succeed(&["restore", "plan.toml", "--to", "new"]);
}

#[tokio::test]
async fn a_run_deletes_last_and_only_after_everything_succeeded() {
    let (site, ids) = site("{ last = 7 }").await;
    let preview = site.succeed(&["run", "plan.toml", "--dry-run"]);
    assert!(preview.stdout.contains("3 of 10 sets ("), "{preview:?}");
    assert_eq!(listed(&site).len(), 10);
    let good = fs::read(site.path("data/tenants").join(TENANT).join("hitkeep.db")).unwrap();
    fs::write(site.path("data/tenants").join(TENANT).join("hitkeep.db"), "no database").unwrap();
    let partial = site.run(&["run", "plan.toml"]);
    assert_eq!(partial.code, i32::from(exit::PARTIAL), "{partial:?}");
    assert_eq!(listed(&site).len(), 11, "nothing goes after a run that was not complete");
    let held = site.run(&["prune", "plan.toml", "--yes"]);
    assert_eq!(held.code, i32::from(exit::REFUSED), "{held:?}");
    assert!(held.stdout.contains("is partial: nothing is deleted until one is complete"), "{held:?}");
    fs::write(site.path("data/tenants").join(TENANT).join("hitkeep.db"), good).unwrap();
    let ran = site.succeed(&["run", "plan.toml"]);
    assert!(ran.stdout.contains("3 sets deleted"), "{}", redact::outcome(&site, &ran));
    let left = listed(&site);
    assert!([0, 1, 5].iter().all(|index| !left.contains(&ids[*index])), "{left:?}");
    assert!(left.contains(&ids[4]), "HitKeep's own stays");
}

/// Deletes what a site of nine sets does not keep; the last of them is named so far ahead, and sealed so far ahead.
async fn prune_in_the_past(named: SignedDuration, sealed: SignedDuration) -> (Site, Outcome) {
    let ((site, _), now) = (site("{ last = 7 }").await, Timestamp::now());
    let (mut world, id) = (World::new(), SnapshotId::at(now + named));
    world.seal_as(id, &World::databases()).await;
    let tree = objects(&world.store).await.into_iter().map(|(key, bytes)| (key.as_str().into(), bytes)).collect();
    write_tree(&site.path("backups"), &tree);
    let path = site.path(&format!("backups/hitkeep/runs/{id}.json"));
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["finished_at"] = (now + sealed).to_string().into();
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    let pruned = site.run(&["prune", "plan.toml", "--yes"]);
    (site, pruned)
}

#[tokio::test]
async fn nothing_goes_by_a_clock_that_has_gone_backwards() {
    let (day, no_time) = (SignedDuration::from_hours(24), SignedDuration::ZERO);
    // A clock that was set right while that set was made has gone backwards as well: `last` would keep it before younger ones.
    for (named, sealed) in [(day, day), (day, no_time), (no_time, day)] {
        let (site, held) = prune_in_the_past(named, sealed).await;
        assert_eq!(held.code, i32::from(exit::REFUSED), "{held:?}");
        assert!(held.stdout.contains("the clock has gone backwards"), "{held:?}");
        assert_eq!(listed(&site).len(), 11);
    }
}

#[tokio::test]
async fn a_set_whose_second_was_taken_holds_nothing_back() {
    let (site, pruned) = prune_in_the_past(SignedDuration::from_secs(50), SignedDuration::ZERO).await;
    assert_eq!(pruned.code, 0, "{pruned:?}");
    assert!(pruned.stdout.contains("3 sets deleted"), "{pruned:?}");
    assert_eq!(listed(&site).len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_no_different() {
    let (_, objects_before) = place().await;
    for server in servers() {
        let (site, ids) = site("{ last = 6 }").await;
        site.succeed(&["prune", "plan.toml", "--yes"]);
        let local = objects(&Local::new(site.path("backups"))).await;
        let bucket = server.new_bucket();
        let text = s3::plan(&server, &bucket, &site.path(""));
        site.write_plan(&text.replace("prefix =", "verify = \"none\"\nkeep = { last = 6 }\nprefix ="));
        let store = S3::new(&s3::bucket_of(&server, &bucket, &site.path("")), s3::UPLOAD);
        for (key, bytes) in &objects_before {
            store.put(key, Body::Bytes(bytes.clone()), Mode::Replace, &Meter::default()).await.unwrap();
        }
        site.succeed(&["pin", "plan.toml", &ids[0], "--reason", "to see it stay"]);
        let mark = store.mark(&"hitkeep".parse().unwrap(), Purpose::Reading, "a restore").await.unwrap();
        let held = site.run(&["prune", "plan.toml", "--yes"]);
        assert_eq!(held.code, i32::from(exit::LOCKED), "{}: {held:?}", server.name);
        mark.release().await;
        site.succeed(&["prune", "plan.toml", "--yes"]);
        assert!(listed(&site).contains(&ids[0]), "{}", server.name);
        site.succeed(&["unpin", "plan.toml", &ids[0]]);
        site.succeed(&["prune", "plan.toml", "--yes"]);
        assert_eq!(objects(&store).await, local, "{}", server.name);
    }
}

#[tokio::test]
async fn a_store_that_fails_at_any_call_leaves_nothing_that_looks_whole_and_is_not() {
    let (world, good) = place().await;
    let (prefix, now) = (world.prefix.clone(), "2001-02-10T00:00:00Z".parse().unwrap());
    let wanted = Retention {
        job: "nightly".parse().unwrap(),
        destination: "disk".parse().unwrap(),
        keep: Keep { rules: vec![(Rule::Last, 6)], within: None, min: 1 },
        verify: Verify::None,
        zone: TimeZone::UTC,
    };
    for (after_effect, for_good) in [(false, false), (true, false), (false, true), (true, true)] {
        for call in 1.. {
            let fault = Fault { call, after_effect, for_good };
            let memory = Memory::default();
            for (key, bytes) in &good {
                memory.put(key, Body::Bytes(bytes.clone()), Mode::Create, &Meter::default()).await.unwrap();
            }
            let store: Arc<dyn Store> = Arc::new(memory);
            let facts = survey::prune(store.as_ref(), &prefix, &Own::default(), Vec::new()).await.unwrap();
            let work = work::prune(&wanted, &facts, false, now);
            assert_eq!(work.deletions.len(), 3);
            let faulty = Arc::new(Faulty::new(Arc::clone(&store), Some(fault)));
            let mark = store.mark(&prefix, Purpose::Deleting, "the test").await.unwrap();
            let (record, code) = run::prune(&work, &mark, &outside(&wanted, Arc::clone(&faulty) as _)).await;
            let is_struck = faulty.calls() >= call;
            // The one fault that is none: a note that is there already was not to be written anyhow.
            let is_harmless = (call, after_effect, for_good) == (NOTE_OF_THE_LEFTOVER, true, false);
            assert_eq!(code == exit::DONE, !is_struck || is_harmless, "{fault:?}: {record:?}");
            // With healthy eyes: each set is whole as it was, or an orphan on its way out.
            let catalogue = survey::catalogue(store.as_ref(), &prefix, Asked::All, &Own::default()).await.unwrap();
            let found = objects(store.as_ref()).await;
            for set in &catalogue.sets {
                let is_doomed = work.condemned().any(|judged| judged.id == set.id);
                let foreign = if set.id == world.ids[4] { State::Foreign } else { State::Complete };
                assert!(
                    set.state == foreign || (is_doomed && set.state == State::Orphan),
                    "{fault:?}: {} {:?}",
                    set.id,
                    set.state
                );
                let whole = |key: &&Key| key.as_str().contains(&set.id.to_string());
                if set.state != State::Orphan {
                    assert!(good.keys().filter(whole).all(|key| found.contains_key(key)), "{fault:?}: {}", set.id);
                }
            }
            // The next time finishes what was begun.
            let facts = survey::prune(store.as_ref(), &prefix, &Own::default(), Vec::new()).await.unwrap();
            let again = work::prune(&wanted, &facts, false, now);
            let (_, code) = run::prune(&again, &mark, &outside(&wanted, Arc::clone(&store))).await;
            assert_eq!(code, exit::DONE);
            let left = objects(store.as_ref()).await;
            for gone in [0, 1, 5].map(|index: usize| world.ids[index].to_string()) {
                assert!(!left.keys().any(|key| key.as_str().contains(&gone)), "{fault:?}: {gone} is still there");
            }
            if !is_struck {
                assert_eq!(faulty.calls(), CALLS, "{fault:?}");
                break;
            }
        }
    }
}

/// The calls of that deletion: for each of two sets a note, a record, two scripts of two snapshots, one data file and one
/// manifest of each, and the note's end; the leftover has neither a record nor manifests.
const CALLS: u64 = 2 * (1 + 1 + 4 + 4 + 1) + (1 + 4 + 2 + 1);

/// The call that leaves a note beside the leftover, which has one.
const NOTE_OF_THE_LEFTOVER: u64 = 2 * (1 + 1 + 4 + 4 + 1) + 1;

fn outside(wanted: &Retention, store: Arc<dyn Store>) -> Outside {
    let plan = PlanRecord { name: "plan".to_owned(), sha256: Sha256::of(b"") };
    Outside {
        stores: BTreeMap::from([(wanted.destination.clone(), store)]),
        leases: BTreeMap::new(),
        limits: Limits { memory: Bytes(64 << 20), most: Bytes(64 << 20), spill: std::env::temp_dir() },
        patience: Patience::default(),
        clock: Timestamp::now,
        tell: Arc::new(Silence),
        stop: Stop::default(),
        about: About { plan, shard: None, host: "here".to_owned(), tool: "test".to_owned() },
    }
}
