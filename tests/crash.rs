//! Stories of stores that fail at every possible moment: what is called complete is whole, what was there stays, and
//! the next run heals.
//!
//! Each table runs the same small backup over and over, and fails the first call to the store, then the second, and
//! so on until a run no longer meets the fault.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use hitkeep_plan::duck::capture::Patience;
use hitkeep_plan::duck::{Limits, Session, compare};
use hitkeep_plan::event::{Event, Listener, Meter, Silence, TaskId};
use hitkeep_plan::hitkeep;
use hitkeep_plan::measure::{Bytes, Sha256};
use hitkeep_plan::name::{DatabaseId, Key, Name, Prefix, RunId};
use hitkeep_plan::plan::Plan;
use hitkeep_plan::record::{Catalogue, PlanRecord, RunRecord, State, Status};
use hitkeep_plan::run::{self, About, Outside, exit};
use hitkeep_plan::stop::{Reason, Stop};
use hitkeep_plan::store::faulty::{Fault, Faulty};
use hitkeep_plan::store::local::Local;
use hitkeep_plan::store::memory::Memory;
use hitkeep_plan::store::{Body, Mode, Part, Store};
use hitkeep_plan::survey::{self, Asked, Known, Means, Own};
use hitkeep_plan::work::{self, At, BackupWork, Place, Wanted};
use jiff::{SignedDuration, Timestamp};

use crate::fixture::{PLAN, Site, installation, minimal, read_tree};

/// Everything in a store.
type Objects = BTreeMap<Key, Vec<u8>>;

/// An installation, a plan of one job, and one good set of it.
struct World {
    site: Site,
    plan: Plan,
    good: Objects,
}

/// What a destination is that is a bucket.
const BUCKET: &str = "url = \"s3://bucket\"\nregion = \"eu-central-1\"";

impl World {
    async fn new() -> Self {
        Self::with(PLAN).await
    }

    async fn of_one_database() -> Self {
        Self::with(&PLAN.replace("prefix =", "databases = [\"shared\"]\nprefix =")).await
    }

    async fn with(text: &str) -> Self {
        Self::of(Site::with(minimal()), text).await
    }

    /// A bucket where a run over one database was cut off: after its tables, the largest of which is worth taking over.
    async fn after_a_cut_run() -> Self {
        let site = Site::with(minimal());
        let large = "CREATE TABLE large AS SELECT md5(i::VARCHAR) AS text FROM range(10000) r(i); CHECKPOINT;";
        duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap().execute_batch(large).unwrap();
        let text = PLAN.replace("url = \"backups\"", BUCKET).replace("prefix =", "databases = [\"shared\"]\nprefix =");
        let mut world = Self::of(site, &text).await;
        let store = world.store().await;
        let cut = Fault { call: 5 + 1 + 5 + 1, after_effect: false, for_good: true };
        let faulty: Arc<dyn Store> = Arc::new(Faulty::new(Arc::clone(&store), Some(cut)));
        // Not now: a run that reaches nothing cannot know that its second is taken already.
        let minute_ago = Timestamp::now() - SignedDuration::from_mins(1);
        let record = world.back_up_at(&faulty, minute_ago).await;
        assert_eq!(record.status, Status::Failed, "{record:?}");
        world.good = objects(&store).await;
        world
    }

    async fn of(site: Site, text: &str) -> Self {
        fs::create_dir(site.path("staging")).unwrap();
        let plan = site.read_plan(text);
        let mut world = Self { site, plan, good: Objects::new() };
        let store = world.store().await;
        let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
        let work = world.plan_work(&store, true, hour_ago).await;
        let record = world.carry_out(&work, &world.outside(&store, Arc::new(Silence), Stop::default())).await;
        assert_eq!((record.status, record.exit_code), (Status::Complete, exit::DONE), "{record:?}");
        world.good = objects(&store).await;
        world
    }

    /// Returns a store that holds the good set and nothing else.
    async fn store(&self) -> Arc<dyn Store> {
        let store = Memory::default();
        for (key, bytes) in &self.good {
            store.put(key, Body::Bytes(bytes.clone()), Mode::Create, &Meter::default()).await.unwrap();
        }
        Arc::new(store)
    }

    fn destination(&self) -> Name {
        self.plan.backups()[0].to()[0].name().clone()
    }

    fn prefix(&self) -> &Prefix {
        self.plan.backups()[0].prefix()
    }

    fn place(&self, store: &dyn Store) -> Place {
        survey::place(store, self.prefix())
    }

    fn limits(&self) -> Limits {
        Limits { memory: Bytes(64 << 20), most: Bytes(64 << 20), spill: self.site.path("spill") }
    }

    fn outside(&self, store: &Arc<dyn Store>, tell: Arc<dyn Listener>, stop: Stop) -> Outside {
        let plan = PlanRecord { name: "plan".to_owned(), sha256: Sha256::of(b"") };
        Outside {
            stores: BTreeMap::from([(self.destination(), Arc::clone(store))]),
            leases: BTreeMap::new(),
            limits: self.limits(),
            patience: Patience::default(),
            clock: Timestamp::now,
            tell,
            stop,
            about: About { plan, shard: None, host: "here".to_owned(), tool: "test".to_owned() },
        }
    }

    /// Looks and plans, over a destination that may not answer.
    async fn plan_work(&self, store: &Arc<dyn Store>, is_locked: bool, now: Timestamp) -> BackupWork {
        let silent = (!is_locked).then(|| (self.destination(), "no lock".to_owned())).into_iter().collect();
        self.plan_work_at(&[Arc::clone(store)], silent, now).await
    }

    async fn plan_work_at(
        &self,
        stores: &[Arc<dyn Store>],
        silent: BTreeMap<Name, String>,
        now: Timestamp,
    ) -> BackupWork {
        self.plan_work_with(stores, silent, now, None).await
    }

    /// Looks and plans, with so much room in the staging directory as is said.
    async fn plan_work_with(
        &self,
        stores: &[Arc<dyn Store>],
        silent: BTreeMap<Name, String>,
        now: Timestamp,
        room: Option<Bytes>,
    ) -> BackupWork {
        let (job, staging) = (&self.plan.backups()[0], self.site.path("staging"));
        let (limits, stop) = (&self.limits(), Stop::default());
        let (staging, patience) = (&staging, Patience::default());
        let means = Means { limits, staging, patience, clock: Timestamp::now, tell: &Silence, stop: &stop };
        let mut facts = survey::backup(job, installation(job), stores, &Known { silent, ..Known::default() }, &means)
            .await
            .unwrap();
        facts.staging_free.bytes = room.unwrap_or(facts.staging_free.bytes);
        work::backup(job, installation(job), &facts, staging, RunId::fresh(now), now).unwrap()
    }

    /// Backs up the way `run` does, and returns the record.
    async fn back_up(&self, store: &Arc<dyn Store>) -> RunRecord {
        self.back_up_at(store, Timestamp::now()).await
    }

    async fn back_up_at(&self, store: &Arc<dyn Store>, now: Timestamp) -> RunRecord {
        let lock = store.lock(self.prefix(), "the test").await;
        let work = self.plan_work(store, lock.is_ok(), now).await;
        self.carry_out(&work, &self.outside(store, Arc::new(Silence), Stop::default())).await
    }

    async fn carry_out(&self, work: &BackupWork, outside: &Outside) -> RunRecord {
        let [record] = run::backup(work, outside).await.try_into().unwrap();
        assert!(read_tree(&self.site.path("staging")).is_empty(), "an export outlived its run");
        record
    }

    /// Looks with healthy eyes: every set that counts must verify, and nothing may be broken or taken for HitKeep's.
    async fn inspect(&self, store: &Arc<dyn Store>, about: &str) -> Catalogue {
        let catalogue = survey::catalogue(store.as_ref(), self.prefix(), Asked::All, &Own::default()).await.unwrap();
        for set in &catalogue.sets {
            let is_ours = matches!(set.state, State::Complete | State::Partial | State::Orphan);
            assert!(is_ours, "{about}: set {} is {:?}", set.id, set.state);
        }
        let work = work::verify(&self.place(store.as_ref()), &catalogue, None, None).unwrap();
        let outside = self.outside(store, Arc::new(Silence), Stop::default());
        for finding in run::verify(&work, &self.destination(), &std::env::temp_dir(), &outside).await {
            assert!(finding.failures.is_empty(), "{about}: {finding:?}");
        }
        for (key, bytes) in &self.good {
            let found = store.read(key, Part::Whole).await;
            assert_eq!(found.ok().as_ref(), Some(bytes), "{about}: {key} of the set before");
        }
        catalogue
    }

    /// Compares a run's own account with what lies there.
    async fn compare(&self, record: &RunRecord, store: &Arc<dyn Store>, fault: Option<Fault>, about: &str) {
        let catalogue = self.inspect(store, about).await;
        let found = catalogue.find(record.snapshot).map(|set| &set.state);
        match (record.status, found) {
            (Status::Complete, Some(State::Complete)) => assert_eq!(record.exit_code, exit::DONE, "{about}"),
            (Status::Partial, Some(State::Partial)) => assert_eq!(record.exit_code, exit::PARTIAL, "{about}"),
            (Status::Failed, None) => assert_ne!(record.exit_code, exit::DONE, "{about}"),
            // The store fell silent: what the run had begun stays and shows as unfinished, or the last answer was lost.
            (Status::Failed, Some(State::Orphan | State::Complete)) if fault.is_some_and(|fault| fault.for_good) => {
                assert_eq!(record.exit_code, exit::DESTINATION, "{about}");
            }
            other => panic!("{about}: the record and the catalogue say {other:?}"),
        }
        if found.is_none() {
            assert_eq!(objects(store).await, self.good, "{about}: something of the unfinished set stays");
        }
        if let Some(set) = catalogue.find(record.snapshot).filter(|set| set.state == State::Partial) {
            let held: Vec<DatabaseId> = set.databases.iter().map(|held| held.database).collect();
            assert_eq!(held, record.captured, "{about}: something of the lost database stays");
        }
    }

    /// Runs once more, over a store that is healthy again: the set must be sealed and be the latest.
    async fn heal(&self, store: &Arc<dyn Store>, about: &str) {
        let record = self.back_up(store).await;
        assert_eq!((record.status, record.exit_code), (Status::Complete, exit::DONE), "{about}: {record:?}");
        let catalogue = self.inspect(store, about).await;
        assert_eq!(catalogue.latest().map(|set| set.id), Some(record.snapshot), "{about}");
    }

    /// Restores the latest set and compares every row with the installation.
    async fn restore(&self, store: &Arc<dyn Store>, about: &str) {
        let target = tempfile::tempdir().unwrap();
        let data_path = target.path().join("data");
        let wanted = Wanted {
            set: At::Latest,
            databases: Vec::new(),
            shared: data_path.join(hitkeep::DATABASE_FILE),
            data_path: data_path.clone(),
            replace: false,
        };
        let catalogue =
            survey::catalogue(store.as_ref(), self.prefix(), Asked::At(wanted.set), &Own::default()).await.unwrap();
        let facts = survey::restore(self.place(store.as_ref()), catalogue, &wanted).unwrap();
        let now = Timestamp::now();
        let work = work::restore(&wanted, &facts, RunId::fresh(now), now).unwrap();
        let outside = self.outside(store, Arc::new(Silence), Stop::default());
        run::restore(&work, &self.destination(), &outside).await.unwrap();
        let session = Session::open(&self.limits()).unwrap();
        for database in work.chains.iter().map(|chain| chain.load.action.database) {
            let path = |data: &Path| hitkeep::database_path(&data.join(hitkeep::DATABASE_FILE), data, database);
            let before = compare::contents(&session, &path(&self.site.path("data"))).unwrap();
            assert_eq!(compare::contents(&session, &path(&data_path)).unwrap(), before, "{about}: {database}");
        }
    }

    /// Fails each call in turn, the way `fault` says.
    async fn fail_each_call(&self, after_effect: bool, for_good: bool) -> u64 {
        for call in 1.. {
            let fault = Fault { call, after_effect, for_good };
            let about = format!("{fault:?}");
            let store = self.store().await;
            let faulty = Arc::new(Faulty::new(Arc::clone(&store), Some(fault)));
            let record = self.back_up(&(Arc::clone(&faulty) as Arc<dyn Store>)).await;
            self.compare(&record, &store, Some(fault), &about).await;
            if call % 3 == 0 {
                self.heal(&store, &about).await;
            }
            if call % 12 == 0 {
                self.restore(&store, &about).await;
            }
            if faulty.calls() < call {
                assert_eq!(record.status, Status::Complete, "{about}: nothing failed");
                return call;
            }
        }
        unreachable!("a run of endless calls")
    }

    /// Fails each call in turn, and the next one: the deletes that follow a failure fail as well, and what cannot be taken
    /// away must go on looking unfinished.
    async fn fail_two_calls(&self, calls: u64) {
        for call in 7..=calls {
            let store = self.store().await;
            let once =
                |inner, call| Arc::new(Faulty::new(inner, Some(Fault { call, after_effect: false, for_good: false })));
            // The inner store does not see the call that fails outside, so this is the next one.
            let faulty: Arc<dyn Store> = once(once(Arc::clone(&store), call), call);
            let about = format!("calls {call} and {}", call + 1);
            let record = self.back_up(&faulty).await;
            let catalogue = self.inspect(&store, &about).await;
            if record.status == Status::Complete {
                assert_eq!(catalogue.find(record.snapshot).map(|set| &set.state), Some(&State::Complete), "{about}");
            }
            self.heal(&store, &about).await;
        }
    }
}

async fn objects(store: &Arc<dyn Store>) -> Objects {
    let mut objects = Objects::new();
    for key in store.list(&Prefix::default()).await.unwrap().into_keys() {
        let bytes = store.read(&key, Part::Whole).await.unwrap();
        objects.insert(key, bytes);
    }
    objects
}

/// The calls of a run over one good set: lock, two listings, record, space; the note; 6 + 4 files put, asked for a
/// checksum and read back, 2 manifests; the run record and the end of the note.
const CALLS: u64 = 5 + 1 + 3 * (6 + 4) + 2 + 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_once() {
    assert_eq!(World::new().await.fail_each_call(false, false).await, CALLS + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_answer_is_lost() {
    assert_eq!(World::new().await.fail_each_call(true, false).await, CALLS + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_gone_from_one_call_on() {
    assert_eq!(World::of_one_database().await.fail_each_call(false, true).await, CALLS_OF_ONE + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_gone_after_one_more_deed() {
    assert_eq!(World::of_one_database().await.fail_each_call(true, true).await, CALLS_OF_ONE + 1);
}

/// The calls of a run that wants the shared database only.
const CALLS_OF_ONE: u64 = 5 + 1 + 3 * 6 + 1 + 2;

/// The calls of such a run after one that was cut off: it also lists what that has left, and has one more file, which is asked
/// for, read through and copied.
const CALLS_AFTER_A_CUT_RUN: u64 = CALLS_OF_ONE + 1 + 3 + 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_while_a_file_is_taken_over() {
    let world = World::after_a_cut_run().await;
    let record = world.back_up(&world.store().await).await;
    let taken = record.snapshots[0].taken_over.as_ref().unwrap();
    assert_eq!((record.status, taken.files, taken.sets.len()), (Status::Complete, 1, 1), "{record:?}");
    for (after_effect, for_good) in [(false, false), (true, false), (false, true), (true, true)] {
        let calls = world.fail_each_call(after_effect, for_good).await;
        assert_eq!(calls, CALLS_AFTER_A_CUT_RUN + 1, "after its effect: {after_effect}, for good: {for_good}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_and_then_the_cleaning() {
    World::of_one_database().await.fail_two_calls(CALLS_OF_ONE).await;
    World::after_a_cut_run().await.fail_two_calls(CALLS_AFTER_A_CUT_RUN).await;
}

/// Notes what begins and what is done, as `+` and `-` and the number of the task.
#[derive(Debug, Default)]
struct Steps(Mutex<String>);

impl Listener for Steps {
    fn hear(&self, event: &Event) {
        let (sign, task) = match event {
            Event::TaskStarted { task, .. } => ('+', task),
            Event::TaskDone { task, .. } => ('-', task),
            _ => return,
        };
        write!(self.0.lock().unwrap(), "{sign}{} ", task.0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_exported_while_the_one_before_it_is_stored_where_there_is_room_for_both() {
    let world = World::new().await;
    let chains = world.plan_work(&world.store().await, true, Timestamp::now()).await.chains;
    let sizes: Vec<u64> = chains.iter().map(|chain| chain.take.database_bytes().0).collect();
    let (largest, both) = (sizes[0].max(sizes[1]), sizes[0] + sizes[1]);
    for (room, is_ahead) in [(both, true), (both - 1, false), (largest, false)] {
        let stores: [Arc<dyn Store>; 1] = [world.store().await];
        let work = world.plan_work_with(&stores, BTreeMap::new(), Timestamp::now(), Some(Bytes(room))).await;
        assert_eq!((work.exports_ahead, work.room.exports), (is_ahead, Bytes(if is_ahead { both } else { largest })));
        // A directory answers on threads of its own, so that what is done meanwhile has begun by then.
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Local::new(folder.path().to_owned()));
        let steps = Arc::new(Steps::default());
        let record = world.carry_out(&work, &world.outside(&store, steps.clone(), Stop::default())).await;
        assert_eq!(record.status, Status::Complete, "{record:?}");
        let steps = steps.0.lock().unwrap().clone();
        let at = |step: &str| steps.find(step).unwrap();
        // Announced; exported, stored, checked, described; and once more.
        assert!(at("-2 ") < at("+3 ") && at("+6 ") < at("-6 ") && at("-5 ") < at("+7 "), "{steps}");
        assert_eq!(at("+6 ") < at("-3 "), is_ahead, "with {room} bytes of room: {steps}");
        assert_eq!(at("+6 ") < at("-5 "), is_ahead, "with {room} bytes of room: {steps}");
    }
}

/// Gives the word to stop when it hears its number of steps.
#[derive(Debug)]
struct Stopper {
    stop: Stop,
    left: AtomicU32,
}

impl Listener for Stopper {
    fn hear(&self, event: &Event) {
        let is_step = matches!(event, Event::RunStarted { .. } | Event::TaskStarted { .. } | Event::TaskDone { .. });
        if is_step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.stop.request(Reason::Terminate);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_at_any_step_seals_everything_or_nothing() {
    let world = World::new().await;
    // Announce, two databases of export, store, check and describe, seal; each begins and ends.
    let steps = 1 + 2 * (1 + 2 * 4 + 1);
    for step in 1..=steps + 1 {
        let about = format!("stopped at step {step}");
        let store: Arc<dyn Store> = Arc::new(Faulty::new(world.store().await, None));
        let stop = Stop::default();
        let stopper = Stopper { stop: stop.clone(), left: AtomicU32::new(step) };
        let work = world.plan_work(&store, true, Timestamp::now()).await;
        let record = world.carry_out(&work, &world.outside(&store, Arc::new(stopper), stop.clone())).await;
        world.compare(&record, &store, None, &about).await;
        match record.status {
            Status::Complete => assert!(step >= steps - 1, "{about}: sealed after the word to stop"),
            status => assert_eq!((status, record.exit_code), (Status::Failed, exit::TERMINATED), "{about}"),
        }
        assert_eq!(stop.reason().is_none(), step > steps, "{about}: the steps are those that were counted");
    }
}

/// Gives the word to stop when the first destination is sealed.
#[derive(Debug, Default)]
struct StopAtSeal {
    stop: Stop,
    seal: OnceLock<TaskId>,
}

impl Listener for StopAtSeal {
    fn hear(&self, event: &Event) {
        match event {
            Event::TaskStarted { task, title, .. } if title.starts_with("seal ") => drop(self.seal.set(*task)),
            Event::TaskDone { task, .. } if self.seal.get() == Some(task) => self.stop.request(Reason::Terminate),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_between_two_destinations_is_made_up_for() {
    let mut world = World::new().await;
    let nas = "[destination.nas]\nurl = \"nas\"\n\n[backup";
    world.plan = world.site.read_plan(&PLAN.replace("[backup", nas).replace("[\"disk\"]", "[\"disk\", \"nas\"]"));
    let (stores, state) = ([world.store().await, world.store().await], Memory::default());
    let job = world.plan.jobs().next().unwrap();
    let before = survey::last_run("plan", job, &stores, &state).await.unwrap();
    let named = job.to().iter().map(|to| to.name().clone()).zip(stores.iter().cloned());
    let stores_by_name: BTreeMap<Name, Arc<dyn Store>> = named.collect();
    let mut first = None;
    for round in 1..=3 {
        let stopper = Arc::new(StopAtSeal::default());
        let stop = stopper.stop.clone();
        let outside = Outside { stores: stores_by_name.clone(), ..world.outside(&stores[0], stopper, stop) };
        let now = Timestamp::now() + SignedDuration::from_secs(round);
        let work = world.plan_work_at(&stores, BTreeMap::new(), now).await;
        let records = run::backup(&work, &outside).await;
        let ended: Vec<_> = records.iter().map(|record| (record.status, record.exit_code)).collect();
        assert_eq!(ended, [(Status::Complete, exit::DONE), (Status::Failed, exit::TERMINATED)], "{records:?}");
        for record in &records {
            let RunRecord { snapshot, job, destination, run, .. } = record;
            let key = format!("runs/{snapshot}.{job}.{destination}.{run}.json").parse().unwrap();
            state.put(&key, Body::Bytes(record.write()), Mode::Create, &Meter::default()).await.unwrap();
        }
        let last = survey::last_run("plan", job, &stores, &state).await.unwrap();
        first = first.or(Some(records[0].started_at));
        // What was stopped three times in a row has had its time.
        let expected = if round < 3 { before } else { first };
        assert_eq!(last, expected, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_writer_put_under_a_key_of_the_run_is_never_removed() {
    let world = World::new().await;
    for file in ["load.sql", "schema.sql", "hits.parquet"] {
        let store = world.store().await;
        let work = world.plan_work(&store, true, Timestamp::now()).await;
        let folder = hitkeep::snapshot_folder(DatabaseId::Shared, work.snapshot);
        let key = world.prefix().join(&folder).key(&file.parse().unwrap());
        let body = Body::Bytes(b"another's".to_vec());
        store.put(&key, body, Mode::Create, &Meter::default()).await.unwrap();
        let record = world.carry_out(&work, &world.outside(&store, Arc::new(Silence), Stop::default())).await;
        assert_eq!((record.status, record.exit_code), (Status::Partial, exit::PARTIAL), "{file}: {record:?}");
        assert_eq!(store.read(&key, Part::Whole).await.ok(), Some(b"another's".to_vec()), "{file} was another's");
        world.inspect(&store, file).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_for_a_bucket_must_the_same_rows_make_the_same_files() {
    let directory = PLAN.replace("prefix =", "databases = [\"shared\"]\nprefix =");
    let bucket = directory.replace("url = \"backups\"", BUCKET);
    let far = format!("[destination.far]\n{BUCKET}\n\n[backup.nightly]");
    let both = directory.replace("[backup.nightly]", &far).replace("to = [\"disk\"]", "to = [\"disk\", \"far\"]");
    for (text, count, expected) in [(directory, 1, false), (bucket, 1, true), (both, 2, true)] {
        let site = Site::with(minimal());
        fs::create_dir(site.path("staging")).unwrap();
        let plan = site.read_plan(&text);
        let world = World { site, plan, good: Objects::new() };
        let stores: Vec<Arc<dyn Store>> = (0..count).map(|_| Arc::new(Memory::default()) as Arc<dyn Store>).collect();
        let work = world.plan_work_at(&stores, BTreeMap::new(), Timestamp::now()).await;
        let is_repeatable = |chain: &work::Chain| match &chain.take {
            work::Take::Export(export) => export.action.is_repeatable,
            work::Take::Adopt(_) => panic!("an installation is exported"),
        };
        assert_eq!(work.chains.iter().map(is_repeatable).collect::<Vec<_>>(), [expected], "{text}");
    }
}
