//! Archived rows come back: what is missing, and nothing twice.

use std::fs;

use duckdb::Connection;
use hitkeep_plan::duck::archive::Returned;
use hitkeep_plan::event::Silence;
use hitkeep_plan::run;
use hitkeep_plan::stop::Stop;
use hitkeep_plan::survey;
use hitkeep_plan::work::{self, Period, RowsWanted, SiteName};
use proptest::prelude::*;

use super::*;

impl World {
    /// Brings archived rows back the way `restore --archive` does.
    async fn bring_back(&self, store: &Arc<dyn Store>, sites: &[&str], period: Period) -> Returned {
        let data_path = self.site.path("data");
        let sites = sites.iter().map(|name| SiteName::of(name)).collect();
        let wanted = RowsWanted { sites, period, shared: data_path.join("hitkeep.db"), data_path };
        let archived = survey::archived(store.as_ref(), self.prefix()).await.unwrap();
        let place = survey::place(store.as_ref(), self.prefix());
        let facts = survey::rows(place, archived, &wanted, &self.limits()).await.unwrap();
        let work = work::rows(&wanted, &facts, RunId::fresh(noon())).unwrap();
        let outside = self.outside(store, Arc::new(Silence), Stop::default());
        let returned = run::rows(&work, &self.destination(), &outside).await.unwrap();
        assert!(!work.staging.exists(), "nothing stays behind");
        returned
    }

    /// Runs statements in the database that has the first site's rows.
    pub(super) fn change(&self, statements: &str) {
        let engine = Connection::open_in_memory().unwrap();
        let path = database(&self.site.path("data"), DEFAULT, self.is_split);
        let run = format!("ATTACH '{}' AS d; USE d; {statements}; USE memory; DETACH d", path.display());
        engine.execute_batch(&run).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn what_was_archived_and_deleted_comes_back_as_it_was(
        rows in prop::collection::vec(row(), 1..60),
        is_split in any::<bool>(),
        is_hive in any::<bool>(),
        days in 1..40_i64,
        middle in 0..120_000_i64,
    ) {
        block_on(async {
            let world = World::new(&rows, is_split, if is_hive { "hive" } else { "hitkeep" }, true);
            let store = memory();
            let first = world.succeed(&store, noon(), "first").await.rows();
            let second = world.succeed(&store, noon() + SignedDuration::from_hours(24 * days), "second").await.rows();
            if first + second == 0 {
                return;
            }
            // First some of it, then all of it, then nothing any more.
            let middle = noon() - SignedDuration::from_mins(middle);
            let before = Period { from: None, to: Some(middle) };
            let is_archived = |row: &Row| row.is_past(noon() + SignedDuration::from_hours(24 * days));
            let has_some = rows.iter().any(|row| is_archived(row) && row.begin() < middle);
            let some = if has_some { world.bring_back(&store, &[], before).await.inserted } else { 0 };
            let expected = rows.iter().filter(|row| is_archived(row) && row.begin() < middle).count() as u64;
            assert_eq!(some, expected);
            let all = world.bring_back(&store, &[], Period::default()).await;
            assert_eq!(all, Returned { archived: first + second, inserted: first + second - some });
            assert_eq!(world.live(), heap(&rows));
            assert_eq!(world.bring_back(&store, &[], Period::default()).await.inserted, 0);
            assert_eq!(world.live(), heap(&rows));
        });
    }
}

impl Row {
    /// Returns the time that is in it.
    fn begin(&self) -> Timestamp {
        let midnight = |day: Date| TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).unwrap();
        match TABLES[self.table].0 {
            "imported_traffic_daily" => midnight(self.day()),
            "hit_rollups_hourly" => Timestamp::from_second(self.time().as_second() / 3600 * 3600).unwrap(),
            "hit_rollups_monthly" => midnight(self.day().first_of_month()),
            _ => self.time(),
        }
    }
}

/// Rows of each table and site, of two months.
fn two_months() -> Vec<Row> {
    let day = 24 * 60;
    let ages = [70 * day, 100 * day, 101 * day];
    let of = |table, site| ages.map(|age| Row { table, site, age, payload: 1, zone: 0 });
    (0..TABLES.len()).flat_map(|table| [of(table, 0), of(table, 2)].concat()).collect()
}

#[test]
fn a_story_of_rows_that_come_back() {
    let world = World::new(&two_months(), true, "hive", true);
    let say = |words: &[&str]| {
        let line = format!("$ hitkeep-plan {}\n", words.join(" "));
        line + &redact::outcome(&world.site, &world.site.run(words)) + "\n"
    };
    let back = |words: &[&str]| say(&[&["restore", "plan.toml", "--archive", "--to", "data"], words].concat());
    world.site.succeed(&["run", "plan.toml", "cold"]);
    assert!(world.live().is_empty());
    let mut story = vec![
        back(&["--dry-run"]),
        back(&["--site", "site-0.example", "--from-time", "2026-03-17", "--to-time", "2026-03-18"]),
        back(&["--site", &site_id(2), "--to-time", "2026-04-01T00:00:00Z", "-v"]),
        back(&["--site", "nobody.example"]),
        back(&["--from-time", "2027-01-01"]),
        back(&["--from-time", "yesterday"]),
        back(&["--at", "latest"]),
        say(&["restore", "plan.toml", "--to", "data", "--site", "site-0.example"]),
        say(&["restore", "plan.toml", "--archive", "--to", "elsewhere"]),
        say(&["restore", "plan.toml", "--archive", "--job", "nightly", "--to", "data"]),
    ];
    story.extend([
        say(&["restore", "backups/cold", "--archive", "--to", "data"]),
        say(&["restore", "backups/cold", "--archive", "--to", "data"]),
    ]);
    assert_eq!(world.live(), heap(&two_months()));
    golden("archive-returns.txt", &without_lines_of_time(&story.concat()));
}

/// Puts a word where the events of a story say how long a step took.
fn without_lines_of_time(text: &str) -> String {
    text.replace(" in 0.0 s", " in [AGE]")
}

#[test]
fn rows_do_not_come_back_into_a_database_that_someone_has_open() {
    for tenant in [DEFAULT, ACME] {
        let world = World::new(&two_months(), true, "hitkeep", true);
        world.site.succeed(&["run", "plan.toml", "cold"]);
        let other = OtherProcess::opening(&database(&world.site.path("data"), tenant, true));
        let refused = world.site.run(&["restore", "plan.toml", "--archive", "--to", "data"]);
        drop(other);
        assert_eq!(refused.code, i32::from(exit::REFUSED), "{refused:?}");
        let wanted = format!("bringing rows back needs the databases to itself, and {tenant} is open in");
        assert!(refused.stderr.contains(&wanted), "{refused:?}");
        assert!(world.live().is_empty());
    }
}

#[test]
fn a_damaged_file_brings_nothing_back_and_a_lost_one_the_rest() {
    let world = World::new(&two_months(), true, "hitkeep", true);
    world.site.succeed(&["run", "plan.toml", "cold"]);
    let files = read_tree(&world.site.path("backups/cold"));
    let (name, bytes) = files.iter().find(|(name, _)| name.to_string_lossy().contains(&site_id(2))).unwrap();
    let path = world.site.path("backups/cold").join(name);
    let mut flipped = bytes.clone();
    flipped[50] ^= 1;
    fs::write(&path, flipped).unwrap();
    let damaged = world.site.run(&["restore", "plan.toml", "--archive", "--to", "data"]);
    assert_eq!(damaged.code, i32::from(exit::VERIFICATION), "{damaged:?}");
    assert!(damaged.stderr.contains("is damaged"), "{damaged:?}");
    assert!(world.live().is_empty(), "nothing went in, not into the other database either");

    fs::remove_file(&path).unwrap();
    let lost = world.site.run(&["restore", "plan.toml", "--archive", "--to", "data"]);
    assert_eq!(lost.code, i32::from(exit::PARTIAL), "{lost:?}");
    assert!(lost.stderr.contains("is gone: up to 15 of its rows do not come back"), "{lost:?}");
    let rest: Vec<Row> = two_months().into_iter().filter(|row| row.site == 0).collect();
    assert_eq!(world.live(), heap_of(&two_months(), &rest));
    // Who asks for what is there misses nothing.
    let asked = ["restore", "plan.toml", "--archive", "--to", "data", "--site", "site-0.example"];
    assert!(world.site.succeed(&asked).stdout.starts_with("0 of 15 archived rows"));
}

#[test]
fn rows_that_are_live_are_left_alone_and_of_two_versions_the_newer_comes_back() {
    block_on(async {
        let rows: Vec<Row> = two_months().into_iter().filter(|row| (row.table, row.site) == (0, 0)).collect();
        for layout in ["hitkeep", "hive"] {
            let (world, store) = (World::new(&rows, false, layout, false), memory());
            world.succeed(&store, noon(), "first").await;
            world.change("UPDATE hits SET path = 'changed'");
            assert_eq!(world.succeed(&store, noon() + SignedDuration::from_secs(1), "again").await.rows(), 3);
            // One of them stays, as a person has made it.
            let stays = "00000000-0000-4000-8000-100000000001";
            world.change(&format!("DELETE FROM hits WHERE id <> '{stays}'; UPDATE hits SET path = 'mine'"));
            let returned = world.bring_back(&store, &[], Period::default()).await;
            assert_eq!(returned, Returned { archived: 6, inserted: 2 }, "{layout}");
            let paths: Vec<String> = world.live().into_keys().collect();
            let count = |word: &str| paths.iter().filter(|row| row.contains(word)).count();
            assert_eq!((count("changed"), count("mine"), paths.len()), (2, 1, 3), "{layout}: {paths:?}");
        }
    });
}

#[test]
fn equal_rows_without_a_key_come_back_as_often_as_they_were() {
    block_on(async {
        let row = Row { table: 1, site: 0, age: 150_000, payload: 1, zone: 0 };
        let rows = vec![row; 3];
        let (world, store) = (World::new(&rows, false, "hive", true), memory());
        world.succeed(&store, noon(), "archived").await;
        world.insert(&[row], 9000);
        assert_eq!(world.bring_back(&store, &[], Period::default()).await, Returned { archived: 3, inserted: 2 });
        assert_eq!(world.live(), heap(&rows));
    });
}

/// What has happened to a table since its rows were archived, and what a restore says to it: nothing where it succeeds.
const CHANGES: &[(&str, &str, Option<&str>)] = &[
    ("a column has come", "ALTER TABLE imported_traffic_daily ADD COLUMN bounces BIGINT DEFAULT 7", None),
    ("a column has gone that held nothing", "ALTER TABLE of_a_newer_version DROP COLUMN tag", None),
    (
        "a column has gone",
        "ALTER TABLE hit_rollups_hourly DROP COLUMN pageviews",
        Some(
            "rows of `hit_rollups_hourly` are archived with a `pageviews`, and the table has no such column: bring them back \
             into the version of HitKeep that has it",
        ),
    ),
    (
        "a table has gone",
        "DROP TABLE hit_rollups_monthly",
        Some(
            "rows of `hit_rollups_monthly` are archived, and the database has no such table: bring them back into the \
             version of HitKeep that has it",
        ),
    ),
    ("a type is another", "ALTER TABLE imported_traffic_daily ALTER visitors TYPE VARCHAR", None),
];

#[test]
fn a_table_that_has_changed_gets_its_defaults_or_nothing() {
    let rows: Vec<Row> = two_months().into_iter().filter(|row| row.site == 0).collect();
    for layout in ["hitkeep", "hive"] {
        for (about, change, refusal) in CHANGES {
            let world = World::new(&rows, false, layout, true);
            world.site.succeed(&["run", "plan.toml", "cold"]);
            world.change(change);
            let header = |world: &World| fs::read(world.site.path("data/hitkeep.db")).unwrap()[12..20].to_vec();
            let storage = header(&world);
            let outcome = world.site.run(&["restore", "plan.toml", "--archive", "--to", "data"]);
            let about = format!("{layout}: {about}: {outcome:?}");
            let attach = format!("ATTACH '{}' AS d (READ_ONLY)", world.site.path("data/hitkeep.db").display());
            let ask = |sql: &str| {
                let engine = Connection::open_in_memory().unwrap();
                engine.execute_batch(&attach).unwrap();
                engine.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
            };
            assert_eq!(header(&world), storage, "{about}: the storage format stays");
            if let Some(refusal) = refusal {
                assert_eq!(outcome.code, i32::from(exit::REFUSED), "{about}");
                let said = outcome.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(said.contains(refusal), "{about}");
                assert_eq!(ask("SELECT count(*) FROM d.hits"), 0, "{about}: nothing went in");
            } else {
                assert_eq!(outcome.code, 0, "{about}");
                let tables = TABLES.map(|(table, _)| ask(&format!("SELECT count(*) FROM d.{table}")));
                assert_eq!(tables, [3; 5], "{about}");
                if change.contains("bounces") {
                    assert_eq!(ask("SELECT sum(bounces)::BIGINT FROM d.imported_traffic_daily"), 21, "{about}");
                }
                world.site.succeed(&["restore", "plan.toml", "--archive", "--to", "data"]);
                assert_eq!(ask("SELECT count(*) FROM d.imported_traffic_daily"), 3, "{about}: nothing twice");
            }
        }
    }
}
