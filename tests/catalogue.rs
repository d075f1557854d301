//! Stories of looking at a place: whatever is asked, the answer is what a look at everything gives, and of thousands of
//! sets only those that are asked for cost anything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use hitkeep_plan::duck::Limits;
use hitkeep_plan::duck::capture::Patience;
use hitkeep_plan::event::{Meter, Silence};
use hitkeep_plan::hitkeep;
use hitkeep_plan::measure::{Bytes, Free, Sha256};
use hitkeep_plan::name::{DatabaseId, Key, Prefix, RunId, SnapshotId};
use hitkeep_plan::record::{self, Catalogue, Kind, PlanRecord, RunRecord, SnapshotRecord, State, Status, Verification};
use hitkeep_plan::report::table;
use hitkeep_plan::stop::Stop;
use hitkeep_plan::store::memory::Memory;
use hitkeep_plan::store::{Body, Lock, Mode, Moved, Part, Purpose, Store, StoreError};
use hitkeep_plan::survey::{self, Asked, Known, Means, Own};
use hitkeep_plan::work::{At, Predecessor};
use jiff::Timestamp;
use serde_json::Value;

use crate::fixture::{PLAN, Site, TENANT, installation, minimal, write_tree};

/// A store that counts requests the way a bucket would: a thousand keys or folders to a page of a listing.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    inner: Memory,
    requests: AtomicUsize,
}

impl Counting {
    fn count(&self, entries: usize) {
        self.requests.fetch_add(entries.div_ceil(1000).max(1), Ordering::SeqCst);
    }
}

#[async_trait]
impl Store for Counting {
    fn locate(&self, key: &str) -> String {
        self.inner.locate(key)
    }

    async fn put(&self, key: &Key, body: Body, mode: Mode, meter: &Meter) -> Result<Moved, StoreError> {
        self.inner.put(key, body, mode, meter).await
    }

    async fn copy(&self, from: &Key, to: &Key, measure: Moved, meter: &Meter) -> Result<(), StoreError> {
        self.inner.copy(from, to, measure, meter).await
    }

    async fn get(&self, key: &Key, into: PathBuf, meter: &Meter) -> Result<Moved, StoreError> {
        self.inner.get(key, into, meter).await
    }

    async fn digest(&self, key: &Key, meter: &Meter) -> Result<Moved, StoreError> {
        self.inner.digest(key, meter).await
    }

    async fn read(&self, key: &Key, part: Part) -> Result<Vec<u8>, StoreError> {
        self.count(1);
        self.inner.read(key, part).await
    }

    async fn list(&self, prefix: &Prefix) -> Result<BTreeMap<Key, u64>, StoreError> {
        let listed = self.inner.list(prefix).await?;
        self.count(listed.len());
        Ok(listed)
    }

    /// A bucket lists the objects beside the folders too.
    async fn folders(&self, prefix: &Prefix, from: &str) -> Result<BTreeSet<String>, StoreError> {
        let folders = self.inner.folders(prefix, from).await?;
        let is_beside = |key: &&Key| prefix.strip(key).is_some_and(|rest| !rest.contains('/') && rest >= from);
        self.count(folders.len() + self.inner.list(prefix).await?.keys().filter(is_beside).count());
        Ok(folders)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn lock(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError> {
        self.inner.lock(prefix, holder).await
    }

    async fn try_lock(&self, prefix: &Prefix, holder: &str) -> Result<(), StoreError> {
        self.inner.try_lock(prefix, holder).await
    }

    async fn holder(&self, prefix: &Prefix) -> Result<Option<String>, StoreError> {
        self.inner.holder(prefix).await
    }

    async fn mark(&self, prefix: &Prefix, purpose: Purpose, holder: &str) -> Result<Lock, StoreError> {
        self.inner.mark(prefix, purpose, holder).await
    }

    async fn free_space(&self) -> Result<Option<Free>, StoreError> {
        self.inner.free_space().await
    }
}

/// A place with sets in it that are a minute apart; of two databases each.
pub(crate) struct World {
    pub(crate) store: Counting,
    pub(crate) prefix: Prefix,
    pub(crate) ids: Vec<SnapshotId>,
    newest: Option<(SnapshotId, Sha256)>,
    series: RunId,
}

/// The files of every snapshot.
const FILES: [(&str, &str); 3] = [
    ("hits.parquet", "PAR1"),
    ("load.sql", "COPY hits FROM 'hits.parquet' (FORMAT 'parquet');"),
    ("schema.sql", "CREATE TABLE hits (a INTEGER);"),
];

impl World {
    pub(crate) fn new() -> Self {
        Self {
            store: Counting::default(),
            prefix: "hitkeep".parse().unwrap(),
            ids: Vec::new(),
            newest: None,
            series: RunId::fixed([7; 16]),
        }
    }

    pub(crate) fn databases() -> [DatabaseId; 2] {
        [DatabaseId::Shared, TENANT.parse().unwrap()]
    }

    pub(crate) async fn put(&self, key: &Key, bytes: impl Into<Vec<u8>>) {
        let key = self.prefix.key(key);
        self.store.put(&key, Body::Bytes(bytes.into()), Mode::Replace, &Meter::default()).await.unwrap();
    }

    pub(crate) async fn delete(&self, key: &Key) {
        self.store.delete(&self.prefix.key(key)).await.unwrap();
    }

    pub(crate) fn file(database: DatabaseId, id: SnapshotId, name: &str) -> Key {
        hitkeep::snapshot_folder(database, id).key(&name.parse().unwrap())
    }

    /// Returns the name of the next set.
    pub(crate) fn next(&mut self) -> SnapshotId {
        let first: jiff::Timestamp = "2001-02-03T04:05:00Z".parse().unwrap();
        let id = SnapshotId::at(first + jiff::SignedDuration::from_mins(i64::try_from(self.ids.len()).unwrap()));
        self.ids.push(id);
        id
    }

    /// Stores what HitKeep stores: snapshots, and nothing beside them.
    pub(crate) async fn export(&self, id: SnapshotId) {
        for database in Self::databases() {
            for (name, text) in FILES {
                self.put(&Self::file(database, id, name), text).await;
            }
        }
    }

    /// Stores and seals a set that lacks the databases it does not hold.
    pub(crate) async fn seal(&mut self, held: &[DatabaseId]) -> SnapshotId {
        let id = self.next();
        self.seal_as(id, held).await;
        id
    }

    pub(crate) async fn seal_as(&mut self, id: SnapshotId, held: &[DatabaseId]) {
        for database in held {
            for (name, text) in FILES {
                self.put(&Self::file(*database, id, name), text).await;
            }
            self.put(&record::manifest_key(*database, id), "a manifest").await;
        }
        let bytes = self.record(id, held).write();
        self.newest = Some((id, Sha256::of(&bytes)));
        self.put(&record::record_key(id), bytes).await;
    }

    fn record(&self, id: SnapshotId, held: &[DatabaseId]) -> RunRecord {
        let snapshot = |database: &DatabaseId| SnapshotRecord {
            database: *database,
            path: hitkeep::snapshot_folder(*database, id).to_string(),
            manifest_sha256: Sha256::of(b"a manifest"),
            bytes: FILES.iter().map(|(_, text)| text.len() as u64).sum(),
            files: FILES.len() as u64,
            rows: 1,
            database_bytes: 1,
            captured_at: None,
            capture: None,
            live: None,
            taken_over: None,
        };
        let is_whole = held.len() == Self::databases().len();
        RunRecord {
            format: record::FORMAT,
            run: RunId::fixed([7; 16]),
            plan: PlanRecord { name: "plan".to_owned(), sha256: Sha256::of(b"") },
            job: "nightly".parse().unwrap(),
            destination: "disk".parse().unwrap(),
            kind: Kind::Backup,
            snapshot: id,
            status: if is_whole { Status::Complete } else { Status::Partial },
            exit_code: 0,
            started_at: id.moment(),
            finished_at: id.moment(),
            host: "here".to_owned(),
            tool: "test".to_owned(),
            shard: None,
            expected: Self::databases().to_vec(),
            captured: held.to_vec(),
            snapshots: held.iter().map(snapshot).collect(),
            archive: None,
            verification: Verification::None,
            spread_seconds: 0,
            lease: None,
            guards: None,
            warnings: Vec::new(),
            failures: Vec::new(),
            series: Some(self.series),
            hooks: Vec::new(),
            ended_with: None,
            place: None,
            previous_set: self.newest.map(|(id, _)| id),
            previous: self.newest.map(|(_, digest)| digest),
        }
    }

    async fn ask(&self, asked: Asked) -> Catalogue {
        survey::catalogue(&self.store, &self.prefix, asked, &Own::default()).await.unwrap()
    }

    /// Asks, and returns how many requests that took.
    async fn cost(&self, asked: Asked) -> (Catalogue, usize) {
        let before = self.store.requests.load(Ordering::SeqCst);
        let catalogue = self.ask(asked).await;
        (catalogue, self.store.requests.load(Ordering::SeqCst) - before)
    }
}

/// What may become of a set, and what that makes of it.
const FATES: [&str; 16] = [
    "complete",
    "partial",
    "foreign",
    "a data file gone",
    "orphan: announced only",
    "complete",
    "the manifest gone",
    "orphan: announced",
    "the record truncated",
    "foreign",
    "orphan: no load.sql",
    "the record changed",
    "complete",
    "the record gone",
    "orphan: an empty data file",
    "a snapshot gone",
];

/// Makes a set that meets its fate; what happens to a sealed one happens after the next is sealed.
async fn befall(world: &mut World, fate: &str) {
    let [shared, tenant] = World::databases();
    match fate {
        "foreign" | "orphan: no load.sql" | "orphan: an empty data file" | "orphan: announced" => {
            let id = world.next();
            world.export(id).await;
            match fate {
                "orphan: no load.sql" => world.delete(&World::file(tenant, id, "load.sql")).await,
                "orphan: an empty data file" => world.put(&World::file(shared, id, "hits.parquet"), "").await,
                "orphan: announced" => world.put(&record::announcement_key(id), "{}").await,
                _ => {}
            }
        }
        "orphan: announced only" => {
            let id = world.next();
            world.put(&record::announcement_key(id), "{}").await;
        }
        "partial" => drop(world.seal(&[shared]).await),
        _ => drop(world.seal(&World::databases()).await),
    }
}

async fn damage(world: &World, id: SnapshotId, fate: &str) {
    let [shared, tenant] = World::databases();
    match fate {
        "a data file gone" => world.delete(&World::file(shared, id, "hits.parquet")).await,
        "the manifest gone" => world.delete(&record::manifest_key(tenant, id)).await,
        "the record truncated" => world.put(&record::record_key(id), "{ \"format\": 1").await,
        "the record gone" => world.delete(&record::record_key(id)).await,
        "the record changed" => {
            let bytes = world.store.read(&world.prefix.key(&record::record_key(id)), Part::Whole).await.unwrap();
            let text = String::from_utf8(bytes).unwrap().replace("nightly", "daily");
            world.put(&record::record_key(id), text).await;
        }
        "a snapshot gone" => {
            for (name, _) in FILES {
                world.delete(&World::file(tenant, id, name)).await;
            }
            world.delete(&record::manifest_key(tenant, id)).await;
        }
        _ => {}
    }
}

#[tokio::test]
async fn whatever_is_asked_the_answer_is_what_a_look_at_everything_gives() {
    let mut world = World::new();
    for fate in FATES {
        befall(&mut world, fate).await;
    }
    for (id, fate) in world.ids.iter().zip(FATES) {
        damage(&world, *id, fate).await;
    }
    let all = world.ask(Asked::All).await;
    assert_eq!((all.sets.len(), all.unseen), (FATES.len(), 0));
    for (set, fate) in all.sets.iter().zip(FATES) {
        let is_damaged = matches!(set.state, State::Damaged(_));
        assert!(is_damaged || fate.starts_with(&set.state.to_string()), "{fate}: {:?}", set.state);
        assert!(is_damaged == (fate.contains("gone") || fate.contains("record")), "{fate}: {:?}", set.state);
    }
    for count in 1..=FATES.len() + 1 {
        let found = world.ask(Asked::Newest(count)).await;
        let (others, newest) = all.sets.split_at(FATES.len().saturating_sub(count));
        assert_eq!((&found.sets[..], found.unseen), (newest, others.len()), "the newest {count}");
    }
    let one = |id: SnapshotId| [At::Snapshot(id), At::Moment(id.moment())];
    let asked =
        world.ids.iter().copied().chain(["2001-01-01T000000Z", "2199-01-01T000000Z"].map(|id| id.parse().unwrap()));
    for at in asked.flat_map(one).chain([At::Latest]) {
        let found = world.ask(Asked::At(at)).await;
        assert_eq!(at.find(&found), at.find(&all), "{at:?}");
        assert_eq!(found.unseen + found.sets.len(), FATES.len(), "{at:?}");
    }
}

#[tokio::test]
async fn what_only_tenants_have_left_is_seen_by_who_looks_at_everything() {
    let mut world = World::new();
    let id = world.next();
    world.put(&World::file(TENANT.parse().unwrap(), id, "hits.parquet"), "PAR1").await;
    let sets = world.ask(Asked::All).await.sets;
    assert_eq!(sets.iter().map(|set| (set.id, &set.state)).collect::<Vec<_>>(), [(id, &State::Orphan)]);
    assert_eq!(world.ask(Asked::At(At::Snapshot(id))).await, Catalogue::default());
}

/// The pages of both listings of 10 000 sets: all run records; and of the newest 400 the folders, with the manifests
/// beside them.
const PAGES: usize = 10 + 1;

/// The same for a set in the middle: folders are listed from there on.
const PAGES_FROM_THE_MIDDLE: usize = 10 + 11;

/// The requests for one set: its run record, and a listing and a look for the manifest for each of two databases.
const PER_SET: usize = 1 + 2 * 2;

/// The requests for the run records that say to which series a place belongs.
const VOTES: usize = 3;

/// The oldest record, by which it is seen that a place has sets of more than one series.
const WITNESS: usize = 1;

#[tokio::test]
async fn ten_thousand_sets_cost_no_more_than_those_that_are_shown() {
    let mut world = World::new();
    for _ in 0..10_000 {
        world.seal(&World::databases()).await;
    }
    let (newest, requests) = world.cost(Asked::Newest(20)).await;
    assert_eq!((newest.sets.len(), newest.unseen), (20, 9_980));
    assert!(newest.sets.iter().all(|set| set.state == State::Complete));
    assert_eq!(requests, PAGES + 20 * PER_SET);
    let told = table::sets(&newest, &BTreeMap::new(), "2026-03-08T12:00:00Z".parse().unwrap());
    assert_eq!(told.lines().last(), Some("… and 9 980 older sets: `--all` shows them"));

    let newest_id = *world.ids.last().unwrap();
    let middle = world.ids[5_000];
    let asked = [
        (At::Latest, newest_id, PAGES + VOTES + WITNESS + PER_SET),
        (At::Snapshot(middle), middle, PAGES_FROM_THE_MIDDLE + VOTES + WITNESS + 2 * PER_SET),
        (At::Moment(middle.moment()), middle, PAGES_FROM_THE_MIDDLE + VOTES + WITNESS + 2 * PER_SET),
    ];
    for (at, id, cost) in asked {
        let (found, requests) = world.cost(Asked::At(at)).await;
        assert_eq!((at.find(&found).map(|set| set.id), requests), (Some(id), cost), "{at:?}");
    }
}

#[tokio::test]
async fn a_new_run_reads_one_record_of_thousands_or_a_few_where_the_host_is_new() {
    let mut world = World::new();
    for _ in 0..1_990 {
        world.seal(&World::databases()).await;
    }
    for _ in 0..6 {
        befall(&mut world, "orphan: announced").await;
    }
    let foreign = world.next();
    world.export(foreign).await;
    let (site, store) = (Site::with(minimal()), Arc::new(world.store));
    let in_a_bucket = PLAN.replace("url = \"backups\"", "url = \"s3://bucket\"\nregion = \"eu-central-1\"");
    let limits = Limits { memory: Bytes(64 << 20), most: Bytes(64 << 20), spill: site.path("spill") };
    let stores = [Arc::clone(&store) as Arc<dyn Store>];
    let (staging, stop) = (site.path(""), Stop::default());
    let (limits, patience) = (&limits, Patience::default());
    let means = Means { limits, staging: &staging, patience, clock: Timestamp::now, tell: &Silence, stop: &stop };
    let (series, ids) = (RunId::fixed([7; 16]), world.ids.into_iter().collect::<BTreeSet<_>>());
    // Of the newest four that were never sealed, each database's folder is listed.
    for (text, left) in [(PLAN, 0), (&in_a_bucket, 4 * 2)] {
        let plan = site.read_plan(text);
        let job = &plan.backups()[0];
        let own = [(job.to()[0].name().clone(), Own::from_iter([series]))].into();
        for (known, records) in [(Known { own, ..Known::default() }, 1), (Known::default(), VOTES)] {
            let before = store.requests.load(Ordering::SeqCst);
            let facts = survey::backup(job, installation(job), &stores, &known, &means).await.unwrap();
            let reached = facts.destinations[0].reached.as_ref().unwrap();
            assert_eq!(reached.names.all(), ids);
            let newest = |(set, digest)| Predecessor { set, digest, series: Some(series) };
            assert_eq!(reached.newest_record, world.newest.map(newest));
            let (runs, folders_and_manifests) = (2, 1);
            let requests = store.requests.load(Ordering::SeqCst) - before;
            assert_eq!(requests, runs + folders_and_manifests + records + left);
            let found = reached.remains.iter().map(|remains| (remains.set, remains.database, remains.files.len()));
            let unsealed = ids.iter().rev().skip(1).flat_map(|set| World::databases().map(|database| (*set, database)));
            let expected = unsealed.take(left).map(|(set, database)| (set, database, FILES.len()));
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
}

/// However many sets of another series are newer, a host finds those that it remembers.
#[tokio::test]
async fn a_host_finds_its_own_sets_behind_hundreds_of_another_series() {
    let (mut world, state) = (World::new(), Memory::default());
    let ours = world.seal(&World::databases()).await;
    let record = world.record(ours, &World::databases());
    let RunRecord { job, destination, run, .. } = &record;
    let key = format!("runs/{ours}.{job}.{destination}.{run}.json").parse().unwrap();
    state.put(&key, Body::Bytes(record.write()), Mode::Create, &Meter::default()).await.unwrap();
    world.series = RunId::fixed([8; 16]);
    for _ in 0..450 {
        world.seal(&World::databases()).await;
    }
    let own = survey::own(&state, "plan", job, destination, None).await;
    for asked in [Asked::All, Asked::Newest(20), Asked::At(At::Latest)] {
        let catalogue = survey::catalogue(&world.store, &world.prefix, asked, &own).await.unwrap();
        assert_eq!((catalogue.home, catalogue.doubt), (Some(RunId::fixed([7; 16])), None), "{asked:?}");
        let latest = catalogue.latest().map(|set| set.id);
        assert_eq!(latest, Some(ours).filter(|_| asked != Asked::Newest(20)), "{asked:?}");
    }
    let (plan, stores) = (Site::with(minimal()).read_plan(PLAN), [Arc::new(world.store) as Arc<dyn Store>]);
    let last = survey::last_run("plan", plan.jobs().next().unwrap(), &stores, &state).await.unwrap();
    assert_eq!(last, Some(record.started_at), "and goes on from them");
}

#[test]
fn a_list_ends_with_how_many_older_sets_there_are() {
    let site = Site::with(minimal());
    for day in 1..=25 {
        let files = FILES.map(|(name, text)| (format!("shared/2026-03-{day:02}T120000Z/{name}").into(), text.into()));
        write_tree(&site.path("theirs"), &files.into());
    }
    let lines = |words: &[&str]| site.succeed(words).stdout.lines().map(str::to_owned).collect::<Vec<_>>();
    let (newest, all) = (lines(&["list", "theirs"]), lines(&["list", "theirs", "--all"]));
    assert_eq!((newest.len(), all.len()), (2 + 20 + 1, 2 + 25));
    assert_eq!(newest.last().unwrap(), "… and 5 older sets: `--all` shows them");
    assert_eq!((&newest[2..22], newest[2].starts_with("2026-03-06")), (&all[7..], true));

    let json = |words: &[&str]| -> (usize, Value) {
        let document: Value = serde_json::from_str(&site.succeed(words).stdout).unwrap();
        let place = &document["places"][0];
        (place["sets"].as_array().unwrap().len(), place["not_looked_at"].clone())
    };
    assert_eq!(json(&["list", "theirs", "--json"]), (20, 5.into()));
    assert_eq!(json(&["list", "theirs", "--json", "--all"]), (25, 0.into()));
    assert_eq!(json(&["list", "theirs", "--json", "latest"]), (1, 24.into()));
    assert_eq!(json(&["list", "theirs", "--json", "2026-03-01T120000Z"]), (1, 24.into()));
    assert_eq!(site.run(&["list", "theirs", "--all", "latest"]).code, 2, "one of all sets is no question");
}
