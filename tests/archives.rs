//! Stories of archives: nothing is lost and nothing is archived twice, whatever fails and wherever rows come from.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod buckets;
mod covers;
mod rereads;
mod returns;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use duckdb::Connection;
use hitkeep_plan::duck::Limits;
use hitkeep_plan::duck::capture::Patience;
use hitkeep_plan::event::{Event, Listener, Meter, Silence};
use hitkeep_plan::measure::{Bytes, Sha256};
use hitkeep_plan::name::{Name, Prefix, RunId};
use hitkeep_plan::plan::Plan;
use hitkeep_plan::record::{PlanRecord, RunRecord, Status};
use hitkeep_plan::run::{self, About, Outside, exit};
use hitkeep_plan::stop::{Reason, Stop};
use hitkeep_plan::store::faulty::{Fault, Faulty};
use hitkeep_plan::store::memory::Memory;
use hitkeep_plan::store::{Body, Mode, Part, Store};
use hitkeep_plan::survey::{self, Means};
use hitkeep_plan::work::{self, ArchiveWork, Refusal};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;

use crate::fixture::{Site, Tree, make_database, read_tree};
use crate::other_process::OtherProcess;
use crate::redact::{self, golden};

const PLAN: &str = r#"version = 1

[source.main]
data_path = "data"
capture = "direct"

[destination.disk]
url = "backups"

[backup.nightly]
source = "main"
to = ["disk"]
prefix = "hitkeep"

[archive.cold]
source = "main"
to = ["disk"]
prefix = "cold"
layout = "LAYOUT"
delete = DELETE

[local]
state = "state"
staging = "staging"
"#;

const DEFAULT: &str = "00000000-0000-4000-8000-000000000001";
const ACME: &str = "00000000-0000-4000-8000-000000000002";

/// The sites: the first two of the default tenant, one of another; the second is kept for ever.
const SITES: [(u128, &str, &str); 3] = [(10, DEFAULT, "30"), (11, DEFAULT, "0"), (12, ACME, "45")];

/// The tables that hold rows by time, and the column of that time.
const TABLES: [(&str, &str); 5] = [
    ("hits", "timestamp"),
    ("imported_traffic_daily", "date"),
    ("hit_rollups_hourly", "bucket"),
    ("hit_rollups_monthly", "bucket"),
    ("of_a_newer_version", "timestamp"),
];

const ANALYTICS: &str = r#"
    CREATE TABLE hits (id UUID PRIMARY KEY, site_id UUID, "timestamp" TIMESTAMPTZ, path VARCHAR, properties JSON);
    CREATE INDEX hits_by_site ON hits (site_id, "timestamp");
    CREATE TABLE imported_traffic_daily (site_id UUID, date DATE, visitors BIGINT);
    CREATE TABLE hit_rollups_hourly (site_id UUID, bucket TIMESTAMPTZ, pageviews BIGINT);
    CREATE TABLE hit_rollups_monthly (site_id UUID, bucket DATE, pageviews BIGINT);
    CREATE TABLE of_a_newer_version (site_id UUID, "timestamp" TIMESTAMP, tag VARCHAR);
    CREATE TABLE goals (site_id UUID, name VARCHAR, created_at TIMESTAMPTZ);
    CREATE TABLE rollup_dirty_buckets (site_id UUID, bucket TIMESTAMPTZ);"#;

/// The moment that runs begin at.
fn noon() -> Timestamp {
    "2026-06-25T12:34:56.789Z".parse().unwrap()
}

fn site_id(site: usize) -> String {
    format!("00000000-0000-4000-8000-{:012}", SITES[site].0)
}

/// A row of an installation.
#[derive(Clone, Copy, Debug)]
struct Row {
    table: usize,
    site: usize,
    /// How long before noon, in minutes.
    age: i64,
    /// What else is in it.
    payload: u8,
    /// The offset from UTC that its time is written in, in hours.
    zone: i8,
}

impl Row {
    fn time(&self) -> Timestamp {
        noon() - SignedDuration::from_mins(self.age)
    }

    fn day(&self) -> Date {
        TimeZone::UTC.to_datetime(self.time()).date()
    }

    /// Returns when all that it stands for is over.
    fn end(&self) -> Timestamp {
        let midnight = |day: Date| TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).unwrap();
        match TABLES[self.table].0 {
            "imported_traffic_daily" => midnight(self.day().tomorrow().unwrap()),
            "hit_rollups_hourly" => Timestamp::from_second((self.time().as_second() / 3600 + 1) * 3600).unwrap(),
            "hit_rollups_monthly" => midnight(self.day().first_of_month() + 1.month()),
            _ => self.time() + SignedDuration::from_micros(1),
        }
    }

    /// Tells whether it is past for a run that begins at this moment.
    fn is_past(&self, now: Timestamp) -> bool {
        let days: i64 = SITES[self.site].2.parse().unwrap();
        let cutoff = Timestamp::from_second(now.as_second()).unwrap() - SignedDuration::from_hours(24 * days);
        days > 0 && self.end() <= cutoff
    }

    fn insert(&self, number: usize) -> String {
        let (site, payload) = (site_id(self.site), self.payload);
        let at = self.time() + SignedDuration::from_hours(self.zone.into());
        let instant = format!("TIMESTAMPTZ '{}{:+03}'", TimeZone::UTC.to_datetime(at).strftime("%F %T%.6f"), self.zone);
        let values = match TABLES[self.table].0 {
            "hits" => {
                let id = format!("00000000-0000-4000-8000-1{number:011}");
                format!("'{id}', '{site}', {instant}, 'it''s /{payload}', '{{\"a\": {payload}}}'")
            }
            "imported_traffic_daily" => format!("'{site}', DATE '{}', {payload}", self.day()),
            "hit_rollups_hourly" => {
                let hour = Timestamp::from_second(self.time().as_second() / 3600 * 3600).unwrap();
                format!("'{site}', TIMESTAMPTZ '{}+00', {payload}", TimeZone::UTC.to_datetime(hour).strftime("%F %T"))
            }
            "hit_rollups_monthly" => format!("'{site}', DATE '{}', {payload}", self.day().first_of_month()),
            _ => {
                let clock = TimeZone::UTC.to_datetime(self.time()).strftime("%F %T%.6f").to_string();
                format!("'{site}', TIMESTAMP '{clock}', NULL")
            }
        };
        format!("INSERT INTO {} VALUES ({values});", TABLES[self.table].0)
    }
}

fn row() -> impl Strategy<Value = Row> {
    let tables = 0..TABLES.len();
    (tables, 0..SITES.len(), -1000_i64..120_000, 0..3_u8, -11..13_i8)
        .prop_map(|(table, site, age, payload, zone)| Row { table, site, age, payload, zone })
}

/// Where the databases of an installation lie: the default tenant's traffic in the shared one, or in its own.
fn database(data: &Path, tenant: &str, is_split: bool) -> PathBuf {
    if tenant == DEFAULT && !is_split {
        data.join("hitkeep.db")
    } else {
        data.join("tenants").join(tenant).join("hitkeep.db")
    }
}

/// Makes an installation that holds these rows.
fn installation(rows: &[Row], is_split: bool) -> Tree {
    let folder = tempfile::tempdir().unwrap();
    let inserts = |tenant: &str| {
        let of_tenant = rows.iter().enumerate().filter(|(_, row)| SITES[row.site].1 == tenant);
        let rows: String = of_tenant.map(|(number, row)| row.insert(number)).collect();
        format!("{rows} INSERT INTO goals VALUES ('{}', 'old', TIMESTAMPTZ '2020-01-01 00:00:00+00');", site_id(0))
    };
    let mut shared = format!(
        "CREATE TABLE tenants (id UUID PRIMARY KEY, name VARCHAR, is_default BOOLEAN, created_at TIMESTAMPTZ);
         INSERT INTO tenants VALUES ('{DEFAULT}', 'Default', true, TIMESTAMPTZ '2026-01-01 00:00:00Z'),
            ('{ACME}', 'Acme', false, TIMESTAMPTZ '2026-01-02 00:00:00Z');
         CREATE TABLE sites (id UUID PRIMARY KEY, domain VARCHAR, created_at TIMESTAMPTZ, data_retention_days INTEGER);
         CREATE TABLE site_tenants (site_id UUID PRIMARY KEY, tenant_id UUID); {ANALYTICS}"
    );
    for (number, (_, tenant, days)) in SITES.iter().enumerate() {
        let id = site_id(number);
        let _ = write!(shared, "INSERT INTO sites VALUES ('{id}', 'site-{number}.example', NULL, {days});");
        // One without a mapping is the default tenant's.
        if number > 0 {
            let _ = write!(shared, "INSERT INTO site_tenants VALUES ('{id}', '{tenant}');");
        }
    }
    if is_split {
        shared += "CREATE TABLE data_migrations (name VARCHAR); INSERT INTO data_migrations VALUES ('default_tenant_split_v1');";
    } else {
        shared += &inserts(DEFAULT);
    }
    make_database(&folder.path().join("hitkeep.db"), &shared);
    for tenant in [DEFAULT, ACME].into_iter().filter(|tenant| is_split || *tenant != DEFAULT) {
        let path = database(folder.path(), tenant, is_split);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        make_database(&path, &format!("{ANALYTICS} {}", inserts(tenant)));
    }
    read_tree(folder.path())
}

/// Rows as text, and how many there are of each.
type Heap = BTreeMap<String, u64>;

/// An installation and a plan that archives it.
struct World {
    site: Site,
    plan: Plan,
    is_split: bool,
}

impl World {
    fn new(rows: &[Row], is_split: bool, layout: &str, deletes: bool) -> Self {
        let site = Site::with(&installation(rows, is_split));
        fs::create_dir(site.path("staging")).unwrap();
        let text = PLAN.replace("LAYOUT", layout).replace("DELETE", &deletes.to_string());
        site.write_plan(&text);
        let plan = site.read_plan(&text);
        Self { site, plan, is_split }
    }

    fn destination(&self) -> Name {
        self.plan.archives()[0].to()[0].name().clone()
    }

    fn prefix(&self) -> &Prefix {
        self.plan.archives()[0].prefix()
    }

    fn limits(&self) -> Limits {
        Limits { memory: Bytes(128 << 20), most: Bytes(128 << 20), spill: self.site.path("spill") }
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

    async fn plan_work(&self, store: &Arc<dyn Store>, now: Timestamp) -> ArchiveWork {
        let (job, staging) = (&self.plan.archives()[0], self.site.path("staging"));
        let outside = self.outside(store, Arc::new(Silence), Stop::default());
        let means: Means<'_> = outside.means(&staging);
        let facts = survey::archive(job, &[Arc::clone(store)], &BTreeMap::new(), &means).await.unwrap();
        work::archive(job, &facts, &staging, RunId::fresh(now), now).unwrap()
    }

    /// Archives the way `run` does, and returns the record.
    async fn archive(&self, store: &Arc<dyn Store>, now: Timestamp) -> RunRecord {
        let work = self.plan_work(store, now).await;
        self.carry_out(&work, &self.outside(store, Arc::new(Silence), Stop::default())).await
    }

    async fn carry_out(&self, work: &ArchiveWork, outside: &Outside) -> RunRecord {
        let [record] = run::archive(work, outside).await.try_into().unwrap();
        fs::remove_dir_all(self.site.path("staging")).unwrap();
        fs::create_dir(self.site.path("staging")).unwrap();
        record
    }

    /// Archives when nothing can fail.
    async fn succeed(&self, store: &Arc<dyn Store>, now: Timestamp, about: &str) -> RunRecord {
        let record = self.archive(store, now).await;
        assert_eq!((record.status, record.exit_code), (Status::Complete, exit::DONE), "{about}: {record:?}");
        record
    }

    /// Reads every row that is in the databases.
    fn live(&self) -> Heap {
        let mut heap = Heap::new();
        let engine = Connection::open_in_memory().unwrap();
        for (index, tenant) in [DEFAULT, ACME].into_iter().enumerate() {
            let path = database(&self.site.path("data"), tenant, self.is_split);
            engine.execute_batch(&format!("ATTACH '{}' AS d{index} (READ_ONLY)", path.display())).unwrap();
            for (table, _) in TABLES {
                read_rows(&engine, table, &format!("d{index}.{table}"), &mut heap);
            }
        }
        heap
    }

    /// Reads every row that is in a file of a sealed run.
    async fn archived(&self, store: &Arc<dyn Store>) -> Heap {
        let mut heap = Heap::new();
        let (engine, folder) = (Connection::open_in_memory().unwrap(), tempfile::tempdir().unwrap());
        engine.execute_batch(ANALYTICS).unwrap();
        for key in store.list(self.prefix()).await.unwrap().into_keys() {
            if !key.as_str().ends_with("Z.json") {
                continue;
            }
            let record = RunRecord::read(&store.read(&key, Part::Whole).await.unwrap()).unwrap();
            for file in record.archive.unwrap().files {
                let key = self.prefix().key(&file.file.path.parse().unwrap());
                // What is gone is archived no more.
                let Ok(bytes) = store.read(&key, Part::Whole).await else { continue };
                assert_eq!(Sha256::of(&bytes), file.file.sha256);
                let path = folder.path().join("file.parquet");
                fs::write(&path, bytes).unwrap();
                let all = format!("read_parquet('{}', hive_partitioning = false)", path.display());
                for (table, _) in
                    TABLES.into_iter().filter(|(table, _)| file.parts.iter().any(|part| part.table == *table))
                {
                    let of_table = if file.file.path.starts_with("table=") {
                        all.clone()
                    } else {
                        format!("(SELECT * FROM {all} WHERE _source = '{table}')")
                    };
                    read_rows(&engine, table, &of_table, &mut heap);
                }
            }
        }
        heap
    }

    /// Whatever happened: each row is where it was or in the archive, and in neither more often than it was.
    async fn inspect(&self, rows: &[Row], store: &Arc<dyn Store>, about: &str) {
        let (all, live, archived) = (heap(rows), self.live(), self.archived(store).await);
        let count = |heap: &Heap, row: &String| heap.get(row).copied().unwrap_or(0);
        for row in all.keys().chain(live.keys()).chain(archived.keys()) {
            let (wanted, live, archived) = (count(&all, row), count(&live, row), count(&archived, row));
            assert!(live <= wanted && archived <= wanted, "{about}: {row}: {wanted} became {live} and {archived}");
            assert_eq!(live.max(archived), wanted, "{about}: {row} is lost: {live} are live, {archived} archived");
        }
    }

    /// After a run in which nothing failed: what is past is archived, and gone where it was, if that was wanted.
    async fn inspect_whole(&self, rows: &[Row], store: &Arc<dyn Store>, now: Timestamp, about: &str) {
        self.inspect(rows, store, about).await;
        let (past, rest): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| row.is_past(now));
        assert_eq!(self.archived(store).await, heap_of(rows, &past), "{about}: archived");
        let live = if self.plan.archives()[0].deletes() { heap_of(rows, &rest) } else { heap(rows) };
        assert_eq!(self.live(), live, "{about}: live");
        let leftovers = survey::archived(store.as_ref(), self.prefix()).await.unwrap().leftovers;
        assert!(leftovers.is_empty(), "{about}: {leftovers:?}");
    }

    /// Lets HitKeep write more rows.
    fn insert(&self, rows: &[Row], first: usize) {
        let engine = Connection::open_in_memory().unwrap();
        for (index, row) in rows.iter().enumerate() {
            let path = database(&self.site.path("data"), SITES[row.site].1, self.is_split);
            let insert = row.insert(first + index);
            engine
                .execute_batch(&format!("ATTACH '{}' AS d; USE d; {insert} USE memory; DETACH d", path.display()))
                .unwrap();
        }
    }
}

/// Adds the rows of a relation, as text with the columns of the table.
fn read_rows(engine: &Connection, table: &str, relation: &str, heap: &mut Heap) {
    let columns = match table {
        "hits" => r#"id, site_id, "timestamp"::TIMESTAMP, path, properties::VARCHAR"#,
        "imported_traffic_daily" => "site_id, date, visitors",
        "hit_rollups_hourly" => "site_id, bucket::TIMESTAMP, pageviews",
        "hit_rollups_monthly" => "site_id, bucket::TIMESTAMP::DATE, pageviews",
        _ => r#"site_id, "timestamp"::TIMESTAMP, tag"#,
    };
    let sql = format!("SELECT '{table} ' || ROW({columns})::VARCHAR FROM {relation}");
    let mut statement = engine.prepare(&sql).unwrap();
    for row in statement.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        *heap.entry(row.unwrap()).or_default() += 1;
    }
}

/// Returns rows as text, asked of a database that holds nothing else.
fn heap(rows: &[Row]) -> Heap {
    heap_of(rows, rows)
}

/// Returns some of the rows as text; the others give them their numbers.
fn heap_of(rows: &[Row], some: &[Row]) -> Heap {
    let engine = Connection::open_in_memory().unwrap();
    engine.execute_batch(ANALYTICS).unwrap();
    for (number, row) in rows.iter().enumerate() {
        let is_one = some.iter().any(|one| format!("{one:?}") == format!("{row:?}"));
        if is_one {
            engine.execute_batch(&row.insert(number)).unwrap();
        }
    }
    let mut heap = Heap::new();
    for (table, _) in TABLES {
        read_rows(&engine, table, table, &mut heap);
    }
    heap
}

/// Returns how many rows are past at the second of two moments and not at the first.
fn newly(rows: &[Row], first: Timestamp, second: Timestamp) -> u64 {
    rows.iter().filter(|row| row.is_past(second) && !row.is_past(first)).count() as u64
}

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::default())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// Rows on both sides of every edge: the cutoff's very microsecond, its hour, its day and its month.
fn edges() -> Vec<Row> {
    let month = 30 * 24 * 60;
    let mut rows = Vec::new();
    for table in 0..TABLES.len() {
        for site in 0..SITES.len() {
            let ages = [0, month - 1, month, month + 1, month + 34, month + 60, month + 13 * 60, 2 * month, 2 * month];
            rows.extend(ages.map(|age| Row { table, site, age, payload: 1, zone: 2 }));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn what_is_live_and_what_is_archived_is_what_was_there(
        rows in prop::collection::vec(row(), 0..60),
        late in prop::collection::vec(row(), 0..12),
        is_split in any::<bool>(),
        is_hive in any::<bool>(),
        deletes in any::<bool>(),
        call in 1..40_u64,
        after_effect in any::<bool>(),
        for_good in any::<bool>(),
        days in 0..40_i64,
    ) {
        block_on(async {
            let world = World::new(&rows, is_split, if is_hive { "hive" } else { "hitkeep" }, deletes);
            let store = memory();
            let fault = Fault { call, after_effect, for_good };
            let faulty: Arc<dyn Store> = Arc::new(Faulty::new(Arc::clone(&store), Some(fault)));
            world.archive(&faulty, noon()).await;
            world.inspect(&rows, &store, "after a fault").await;
            world.succeed(&store, noon() + SignedDuration::from_secs(5), "healed").await;
            world.inspect_whole(&rows, &store, noon() + SignedDuration::from_secs(5), "healed").await;

            // Time goes by, and rows come in late: also ones that are past already, also ones like those archived.
            world.insert(&late, rows.len());
            let all = [rows.clone(), late.clone()].concat();
            let later = noon() + SignedDuration::from_hours(24 * days + 1);
            world.archive(&(Arc::new(Faulty::new(Arc::clone(&store), Some(fault))) as Arc<dyn Store>), later).await;
            let healed = later + SignedDuration::from_secs(5);
            let record = world.succeed(&store, healed, "later").await;
            if !deletes {
                world.inspect_whole(&all, &store, healed, "later").await;
            }
            let last = healed + SignedDuration::from_secs(5);
            let again = world.succeed(&store, last, "again").await;
            assert!(again.rows() <= newly(&all, healed, last), "archived twice: {again:?}, after {record:?}");
        });
    }
}

#[test]
fn rows_on_every_edge_are_archived_by_what_they_stand_for() {
    block_on(async {
        for (is_split, layout, deletes) in
            [(false, "hitkeep", true), (true, "hitkeep", false), (false, "hive", false), (true, "hive", true)]
        {
            let (rows, store, about) = (edges(), memory(), format!("{is_split} {layout} {deletes}"));
            let world = World::new(&rows, is_split, layout, deletes);
            world.succeed(&store, noon(), &about).await;
            world.inspect_whole(&rows, &store, noon(), &about).await;
            let second = noon() + SignedDuration::from_secs(1);
            assert_eq!(world.succeed(&store, second, &about).await.rows(), newly(&rows, noon(), second), "{about}");
            world.inspect_whole(&rows, &store, second, &about).await;
        }
    });
}

/// Fails each call in turn, the way `fault` says, with rows that are to be deleted.
async fn fail_each_call(layout: &str, after_effect: bool, for_good: bool) {
    let rows: Vec<Row> = edges().into_iter().filter(|row| row.table < 2 && row.age > 40_000).collect();
    for call in 1.. {
        let fault = Fault { call, after_effect, for_good };
        let (world, store, about) = (World::new(&rows, false, layout, true), memory(), format!("{fault:?}"));
        let faulty = Arc::new(Faulty::new(Arc::clone(&store), Some(fault)));
        let record = world.archive(&(Arc::clone(&faulty) as Arc<dyn Store>), noon()).await;
        world.inspect(&rows, &store, &about).await;
        world.succeed(&store, noon() + SignedDuration::from_secs(9), &about).await;
        world.inspect_whole(&rows, &store, noon() + SignedDuration::from_secs(9), &about).await;
        if faulty.calls() < call {
            assert_eq!(record.status, Status::Complete, "{about}: nothing failed");
            assert!(call > 8, "{about}: a run of so few calls");
            return;
        }
    }
}

#[test]
fn a_call_that_fails_once_loses_no_row() {
    block_on(fail_each_call("hitkeep", false, false));
}

#[test]
fn a_call_whose_answer_is_lost_loses_no_row() {
    block_on(fail_each_call("hive", true, false));
}

#[test]
fn a_store_that_is_gone_from_one_call_on_loses_no_row() {
    block_on(fail_each_call("hitkeep", false, true));
    block_on(fail_each_call("hitkeep", true, true));
}

/// Gives the word to stop when it hears its number of steps.
#[derive(Debug)]
struct Stopper {
    stop: Stop,
    left: AtomicU32,
}

impl Listener for Stopper {
    fn hear(&self, event: &Event) {
        let is_step = matches!(event, Event::TaskStarted { .. } | Event::TaskDone { .. });
        if is_step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.stop.request(Reason::Terminate);
        }
    }
}

#[test]
fn a_run_that_is_stopped_at_any_step_is_made_up_for() {
    block_on(async {
        let rows: Vec<Row> = edges().into_iter().filter(|row| row.table < 2 && row.age > 40_000).collect();
        for step in 1.. {
            let (world, store, about) = (World::new(&rows, true, "hitkeep", true), memory(), format!("step {step}"));
            let stop = Stop::default();
            let stopper = Stopper { stop: stop.clone(), left: AtomicU32::new(step) };
            let work = world.plan_work(&store, noon()).await;
            world.carry_out(&work, &world.outside(&store, Arc::new(stopper), stop.clone())).await;
            world.inspect(&rows, &store, &about).await;
            world.succeed(&store, noon() + SignedDuration::from_secs(9), &about).await;
            world.inspect_whole(&rows, &store, noon() + SignedDuration::from_secs(9), &about).await;
            if stop.reason().is_none() {
                assert!(step > 10, "{about}: a run of so few steps");
                return;
            }
        }
    });
}

/// Writes a row when the run begins to seal.
struct Writer {
    world: &'static World,
    row: Row,
    is_done: AtomicU32,
}

impl Listener for Writer {
    fn hear(&self, event: &Event) {
        let is_time = matches!(event, Event::TaskStarted { title, .. } if title.starts_with("seal"));
        if is_time && self.is_done.fetch_add(1, Ordering::SeqCst) == 0 {
            self.world.insert(&[self.row], 9000);
        }
    }
}

#[test]
fn nothing_is_deleted_after_an_archived_file_was_damaged_or_the_rows_have_changed() {
    block_on(async {
        let (rows, store) = (edges(), memory());
        let world = World::new(&rows, false, "hitkeep", true);
        // The run breaks off between sealing and deleting.
        let mut work = world.plan_work(&store, noon()).await;
        work.erasures.clear();
        let record = world.carry_out(&work, &world.outside(&store, Arc::new(Silence), Stop::default())).await;
        assert_eq!(record.status, Status::Complete);
        assert_eq!(world.live(), heap(&rows));

        // Someone writes an old row between the reading and the deleting.
        let row = Row { table: 0, site: 0, age: 100_000, payload: 9, zone: 0 };
        let world: &'static World = Box::leak(Box::new(world));
        let work = world.plan_work(&store, noon() + SignedDuration::from_secs(3)).await;
        let writer = Arc::new(Writer { world, row, is_done: AtomicU32::new(0) });
        let record = world.carry_out(&work, &world.outside(&store, writer, Stop::default())).await;
        let causes: Vec<&str> = record.failures.iter().map(|failed| failed.cause.as_str()).collect();
        let refused =
            "the rows that are past are not those that were archived: someone has written since; nothing is deleted";
        assert_eq!(causes, [refused], "{record:?}");
        assert_eq!(
            world.live().values().sum::<u64>(),
            rows.len() as u64 + 1 - acme_past(&rows),
            "only the other database's went"
        );

        // A file of an earlier run that holds what is to be deleted has been damaged since.
        let reached = survey::archived(store.as_ref(), world.prefix()).await.unwrap();
        let damaged = reached.ledger.files.iter().find(|file| file.site.to_string() == site_id(0)).unwrap();
        let key = world.prefix().key(&damaged.file.path.parse().unwrap());
        let mut bytes = store.read(&key, Part::Whole).await.unwrap();
        bytes[100] ^= 1;
        store.put(&key, Body::Bytes(bytes), Mode::Replace, &Meter::default()).await.unwrap();
        let before = world.live();
        let record = world.archive(&store, noon() + SignedDuration::from_secs(6)).await;
        assert_ne!(record.exit_code, exit::DONE, "{record:?}");
        assert!(record.failures.iter().any(|failed| failed.cause.contains("is damaged")), "{record:?}");
        assert_eq!(world.live(), before);
    });
}

/// Returns how many rows of the tenant with a database of its own are past at noon.
fn acme_past(rows: &[Row]) -> u64 {
    rows.iter().filter(|row| SITES[row.site].1 == ACME && row.is_past(noon())).count() as u64
}

#[test]
fn a_file_that_is_gone_is_archived_again_while_its_rows_are_there() {
    block_on(async {
        let (rows, store) = (edges(), memory());
        let world = World::new(&rows, false, "hive", false);
        let first = world.succeed(&store, noon(), "first").await;
        let gone = &first.archive.as_ref().unwrap().files[0];
        store.delete(&world.prefix().key(&gone.file.path.parse().unwrap())).await.unwrap();
        let later = noon() + SignedDuration::from_secs(2);
        let second = world.succeed(&store, later, "second").await;
        assert_eq!(second.rows(), gone.rows() + newly(&rows, noon(), later));
        assert!(second.warnings[0].contains("is gone"), "{second:?}");
    });
}

#[test]
fn a_database_that_someone_has_open_is_not_deleted_from() {
    let rows = edges();
    let world = World::new(&rows, false, "hitkeep", true);
    let plan = PLAN.replace("LAYOUT", "hitkeep").replace("DELETE", "true");
    let other = OtherProcess::opening(&database(&world.site.path("data"), ACME, false));
    world.site.write_plan(&plan.replace("direct", "auto"));
    let refused = world.site.run(&["run", "plan.toml", "cold"]);
    world.site.write_plan(&plan);
    let partial = world.site.run(&["run", "plan.toml", "cold"]);
    drop(other);
    assert_eq!(refused.code, i32::from(exit::REFUSED), "{refused:?}");
    assert!(refused.stderr.contains("needs the databases to itself"), "{refused:?}");
    // Who asks for no copies gets those databases done that can be.
    assert_eq!(partial.code, i32::from(exit::PARTIAL), "{partial:?}");
    let past = rows.iter().filter(|row| SITES[row.site].1 == DEFAULT && row.is_past(Timestamp::now())).count();
    assert_eq!(world.live().values().sum::<u64>(), (rows.len() - past) as u64);
}

#[test]
fn a_hitkeep_that_runs_is_archived_from_copies() {
    let (rows, store) = (edges(), "backups/cold");
    let world = World::new(&rows, false, "hitkeep", false);
    world.site.write_plan(&PLAN.replace("LAYOUT", "hitkeep").replace("DELETE", "false").replace("direct", "auto"));
    let other = OtherProcess::opening(&world.site.path("data/hitkeep.db"));
    let outcome = world.site.succeed(&["run", "plan.toml", "cold", "-v"]);
    drop(other);
    assert!(outcome.stderr.contains("capture  shared"), "{outcome:?}");
    let records = read_tree(&world.site.path(store).join("runs"));
    let record = RunRecord::read(records.values().next().unwrap()).unwrap();
    let past = rows.iter().filter(|row| row.is_past(Timestamp::now())).count();
    assert_eq!((record.status, record.rows()), (Status::Complete, past as u64), "{record:?}");
}

#[test]
fn archives_are_listed_and_verified_like_sets_and_not_restored_as_such() {
    let world = World::new(&edges(), false, "hitkeep", false);
    world.site.succeed(&["run", "plan.toml"]);
    let say = |words: &[&str]| redact::outcome(&world.site, &world.site.run(words));
    let mut said = vec![
        say(&["list", "plan.toml"]),
        say(&["list", "plan.toml", "latest", "--job", "cold"]),
        say(&["verify", "plan.toml"]),
        say(&["restore", "plan.toml", "--to", "new", "--job", "cold"]),
        say(&["restore", "backups/cold", "--to", "new"]),
        say(&["restore", "plan.toml", "--to", "new"]),
        say(&["pin", "plan.toml", "latest", "--reason", "before the move"]),
        say(&["pin", "plan.toml", "latest", "--reason", "before the move", "--job", "cold"]),
        say(&["verify", "plan.toml", "--restore"]),
        say(&["verify", "backups/cold", "--restore"]),
    ];
    let name =
        read_tree(&world.site.path("backups/cold")).into_keys().find(|name| name.starts_with("tenants")).unwrap();
    fs::remove_file(world.site.path("backups/cold").join(&name)).unwrap();
    said.push(say(&["verify", "plan.toml", "--job", "cold"]));
    let name = name.file_stem().unwrap().to_str().unwrap();
    let nameless = without_second(name);
    let told = said.join("\n").replace(name, nameless.trim_end_matches(".parquet\n"));
    golden("archive-verbs.txt", &redact::narrow(&told));
}

/// Takes the seconds that files are named by out of a text.
fn without_seconds(text: &str) -> String {
    let line = |line: &str| match line.split_once(".parquet") {
        Some((name, rest)) => format!("{}[UNIX].parquet{rest}", name.trim_end_matches(|c: char| c.is_ascii_digit())),
        None => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// Returns a line of a file's name without the second that it is named by.
fn without_second(name: &str) -> String {
    let begin = name.trim_end_matches(".parquet").trim_end_matches(|c: char| c.is_ascii_digit());
    format!("{begin}[UNIX].parquet\n")
}

#[test]
fn a_story_of_two_runs_from_the_command_line() {
    for layout in ["hitkeep", "hive"] {
        let world = World::new(&edges(), false, layout, true);
        let said = ["--dry-run", "-v", "-v"].map(|word| {
            let outcome = world.site.run(&["run", "plan.toml", "cold", word]);
            redact::outcome(&world.site, &outcome)
        });
        let files = read_tree(&world.site.path("backups/cold")).into_keys().map(|name| name.display().to_string());
        let files = files.filter(|name| name.ends_with(".parquet")).map(|name| without_second(&name));
        golden(&format!("archive-{layout}.txt"), &(said.join("\n") + &files.collect::<String>()));
    }
}

/// The README's query, over an archive of a test's own.
#[test]
fn an_archive_is_queried_the_way_the_readme_shows() {
    let world = World::new(&edges(), true, "hive", false);
    world.site.succeed(&["run", "plan.toml", "cold"]);
    let query = include_str!("../README.md").split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let query = query.replace("/srv/hitkeep/archive", &world.site.path("backups/cold").display().to_string());
    let engine = Connection::open_in_memory().unwrap();
    let mut statement = engine.prepare(&query).unwrap();
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?)));
    let views: Vec<(i64, String, i64)> = rows.unwrap().map(Result::unwrap).collect();
    let past = edges().into_iter().filter(|row| row.table == 0 && row.is_past(Timestamp::now())).count();
    assert!(views.iter().all(|(year, path, _)| *year == 2026 && path == "it's /1"), "{views:?}");
    assert_eq!(views.iter().map(|(_, _, views)| views).sum::<i64>(), i64::try_from(past).unwrap());
}

#[test]
fn a_refusal_names_the_database_and_its_holder() {
    let holder = "/usr/bin/hitkeep (PID 812)".to_owned();
    let refusal = Refusal::Held { who: "`delete = true`", database: "shared".parse().unwrap(), holder };
    assert_eq!(
        refusal.to_string(),
        "`delete = true` needs the databases to itself, and shared is open in /usr/bin/hitkeep (PID 812): stop HitKeep first"
    );
}
