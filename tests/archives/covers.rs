//! Where the rows are that are archived; and what is nowhere any more is found, always.

use std::fs;

use hitkeep_plan::record::ArchivedFile;
use hitkeep_plan::store::local::Local;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::redact::narrow;

/// Rows of two tables and two sites, of two months.
fn rows() -> Vec<Row> {
    let day = 24 * 60;
    let row = |table, site, days: i64, payload| Row { table, site, age: days * day, payload, zone: 0 };
    let of = |site| {
        vec![row(0, site, 70, 1), row(0, site, 100, 1), row(0, site, 101, 2), row(1, site, 100, 1), row(1, site, 70, 2)]
    };
    [of(0), of(2)].concat()
}

fn told(world: &World, words: &[&str]) -> String {
    let outcome = redact::outcome(&world.site, &world.site.run(words));
    format!("$ hitkeep-plan {}\n{}\n", words.join(" "), without_seconds(&narrow(&outcome)))
}

/// Returns the files of a folder that are archived of a site, in order.
fn files(world: &World, site: usize) -> Vec<PathBuf> {
    let root = world.site.path("backups/cold");
    let names = read_tree(&root).into_keys().filter(|name| name.to_string_lossy().ends_with(".parquet"));
    names.filter(|name| name.to_string_lossy().contains(&site_id(site))).map(|name| root.join(name)).collect()
}

#[test]
fn a_story_of_rows_that_are_kept_and_rows_that_are_lost() {
    let world = World::new(&rows(), false, "hive", true);
    let cover = |title: &str| format!("# {title}\n{}", told(&world, &["coverage", "plan.toml"]));
    let run = |job: &str| {
        world.site.succeed(&["run", "plan.toml", job]);
        cover(&format!("{job} has run"))
    };
    let mut story = cover("nothing has run") + &run("nightly") + &run("cold");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let late = Row { table: 0, site: 0, age: 80 * 24 * 60, payload: 2, zone: 0 };
    world.insert(&[late], 9000);
    story += &(cover("a row comes in late") + &run("nightly"));
    world.change("DELETE FROM hits");
    story += &cover("HitKeep deletes it, and nothing has archived it");
    fs::remove_file(&files(&world, 2)[0]).unwrap();
    story += &cover("an archived file is lost");
    story += &told(&world, &["coverage", "plan.toml", "cold", "--json"]);
    let runs = world.site.path("backups/cold/runs");
    let record = fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
    world.site.succeed(&["run", "plan.toml", "cold"]);
    fs::remove_file(record).unwrap();
    story += &cover("the record of the run is lost, too");
    story += &told(&world, &["coverage", "plan.toml", "nightly"]);
    golden("coverage.txt", &story);
}

/// A second job at two destinations, beside `nightly`.
const HOURLY: &str = "[destination.nas]\nurl = \"nas\"\n\n[backup.hourly]\nsource = \"main\"\nto = [\"disk\", \"nas\"]\n\
                      prefix = \"hourly\"\n\n[local]";

/// Makes a world whose plan has both jobs.
fn with_hourly() -> World {
    let world = World::new(&rows(), false, "hive", true);
    let plan = fs::read_to_string(world.site.path("plan.toml")).unwrap();
    world.site.write_plan(&plan.replace("[local]", HOURLY));
    world
}

/// Runs a job, and waits until the second of its set is past.
fn run_alone(world: &World, job: &str) {
    world.site.succeed(&["run", "plan.toml", job]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
}

#[test]
fn a_row_that_only_one_of_several_jobs_has_is_in_a_snapshot() {
    let world = with_hourly();
    let cover = |title: &str| format!("# {title}\n{}", told(&world, &["coverage", "plan.toml"]));
    let run = |job| run_alone(&world, job);
    run("nightly");
    world.change("DELETE FROM hits");
    let late = Row { table: 0, site: 0, age: 80 * 24 * 60, payload: 2, zone: 0 };
    world.insert(&[late], 9000);
    run("hourly");
    let mut story = cover("one job has what is deleted since, and a later one has what came in");
    world.change("DELETE FROM hits");
    run("cold");
    story += &cover("all of it is deleted, and nothing has archived it");
    golden("coverage-of-several-jobs.txt", &story);
}

/// Changes the last byte of every file in a folder whose name begins and ends like this.
fn damage(folder: &Path, begins: &str, ends: &str) {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_meant = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(begins) && name.ends_with(ends)
    };
    for path in paths.filter(is_meant) {
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

/// Returns the folder of the only snapshot of the shared database below a place.
fn shared_snapshot(place: &Path) -> PathBuf {
    let snapshots = place.join("shared");
    let folders = fs::read_dir(snapshots).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    folders.max().unwrap()
}

#[test]
fn what_cannot_be_read_is_said_and_ends_nothing() {
    let world = with_hourly();
    let cover = |title: &str| format!("# {title}\n{}", told(&world, &["coverage", "plan.toml"]));
    let run = |job| run_alone(&world, job);
    run("hourly");
    world.change("DELETE FROM hits");
    run("nightly");
    let [disk, nas] = ["backups/hourly", "nas/hourly"].map(|place| world.site.path(place));
    damage(&shared_snapshot(&disk), "hits", ".parquet");
    let mut story = cover("a file of one of two copies is damaged: the other is read");
    fs::rename(world.site.path("nas"), world.site.path("away")).unwrap();
    fs::write(world.site.path("nas"), "").unwrap();
    story += &cover("the other cannot be reached: nobody knows what the set has of that database");
    fs::remove_file(world.site.path("nas")).unwrap();
    fs::rename(world.site.path("away"), world.site.path("nas")).unwrap();
    damage(&shared_snapshot(&nas), "hits", ".parquet");
    story += &cover("both are damaged");
    damage(&world.site.path("backups/hitkeep/runs"), "", "Z.json");
    story += &cover("the record of the only set of another job is damaged, too");
    golden("coverage-of-what-cannot-be-read.txt", &story);
}

#[test]
fn what_cannot_be_read_of_an_archive_is_said_and_ends_nothing() {
    let world = World::new(&rows(), false, "hive", true);
    let late = |first| world.insert(&[Row { table: 0, site: 0, age: 80 * 24 * 60, payload: 2, zone: 0 }], first);
    let cover = |title: &str| format!("# {title}\n{}", told(&world, &["coverage", "plan.toml"]));
    world.site.succeed(&["run", "plan.toml", "cold"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    late(9000);
    world.site.succeed(&["run", "plan.toml", "cold"]);
    let runs = world.site.path("backups/cold/runs");
    let first = fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().file_name()).min().unwrap();
    let damage_record = || damage(&runs, &first.to_string_lossy(), ".json");
    damage_record();
    let mut story = cover("the record of one of two runs is damaged");
    damage_record();
    late(9001);
    let is_april =
        |path: &&PathBuf| ["table=hits", "month=04"].iter().all(|part| path.to_string_lossy().contains(part));
    damage(files(&world, 0).iter().find(is_april).unwrap().parent().unwrap(), "", ".parquet");
    story += &cover("files of a month are damaged, and rows of it have come in late");
    golden("coverage-of-an-archive-that-cannot-be-read.txt", &story);
}

#[test]
fn what_is_lost_and_live_is_somewhere() {
    for layout in ["hive", "hitkeep"] {
        let world = World::new(&rows(), true, layout, false);
        world.site.succeed(&["run", "plan.toml", "cold"]);
        for file in files(&world, 0) {
            fs::remove_file(file).unwrap();
        }
        let covered = world.site.succeed(&["coverage", "plan.toml"]);
        assert!(covered.stdout.contains("every row that is known of is somewhere: 10 of 2 sites"), "{covered:?}");
        // What came since is not taken for what was lost.
        world.insert(&[Row { payload: 2, ..rows()[1] }], 9000);
        assert_eq!(world.site.run(&["coverage", "plan.toml"]).code, i32::from(exit::OBJECTIVE));
        std::thread::sleep(std::time::Duration::from_millis(1100));
        // It is archived again, and the rows of the month are compared one by one.
        world.site.succeed(&["run", "plan.toml", "cold"]);
        let covered = world.site.run(&["coverage", "plan.toml", "--json"]);
        let document: Value = serde_json::from_str(&covered.stdout).unwrap();
        let months = document["jobs"][0]["sites"][0]["months"].as_array().unwrap();
        let archived: u64 = months.iter().map(|month| month["archived"].as_u64().unwrap()).sum();
        assert_eq!(archived, 6, "{covered:?}");
    }
}

#[test]
fn a_hitkeep_that_runs_is_covered_from_copies() {
    let world = World::new(&rows(), true, "hive", false);
    world.site.write_plan(&PLAN.replace("LAYOUT", "hive").replace("DELETE", "false").replace("direct", "auto"));
    let other = OtherProcess::opening(&world.site.path("data/hitkeep.db"));
    world.site.succeed(&["run", "plan.toml"]);
    let covered = world.site.run(&["coverage", "plan.toml"]);
    drop(other);
    assert_eq!(covered.code, 0, "{covered:?}");
    assert!(covered.stdout.contains("every row that is known of is somewhere: 10 of 2 sites"), "{covered:?}");
    assert_eq!(read_tree(&world.site.path("staging")).len(), 0, "nothing stays behind");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 10, ..ProptestConfig::default() })]

    /// Whatever files are lost: rows that are nowhere are said to be, and none that is somewhere.
    #[test]
    fn what_is_nowhere_is_said_to_be(
        rows in prop::collection::vec(row(), 1..40),
        late in prop::collection::vec(row(), 0..6),
        is_hive in any::<bool>(),
        deletes in any::<bool>(),
        has_snapshot in any::<bool>(),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        block_on(async {
            let world = World::new(&rows, true, if is_hive { "hive" } else { "hitkeep" }, deletes);
            if has_snapshot {
                world.site.succeed(&["run", "plan.toml", "nightly"]);
            }
            world.site.succeed(&["run", "plan.toml", "cold"]);
            world.insert(&late, rows.len());
            std::thread::sleep(std::time::Duration::from_millis(1100));
            world.site.succeed(&["run", "plan.toml", "cold"]);
            let store: Arc<dyn Store> = Arc::new(Local::new(world.site.path("backups")));
            let files: Vec<ArchivedFile> =
                survey::archived(store.as_ref(), world.prefix()).await.unwrap().ledger.files.into_iter().collect();
            for index in lost.iter().filter(|_| !files.is_empty()) {
                drop(fs::remove_file(world.site.path("backups/cold").join(&index.get(&files).file.path)));
            }
            let (all, live, archived) = (heap(&[rows.clone(), late.clone()].concat()), world.live(), world.archived(&store).await);
            let was_there = heap(&rows);
            let count = |heap: &Heap, row: &String| heap.get(row).copied().unwrap_or(0);
            let somewhere = |row: &String| {
                let snapshot = if has_snapshot { count(&was_there, row) } else { 0 };
                count(&live, row).max(count(&archived, row)).max(snapshot)
            };
            // Equal rows without a key are the same row for an archive, and one of them may stay away.
            let is_gone = all.keys().any(|row| somewhere(row) == 0);
            let covered = world.site.run(&["coverage", "plan.toml", "--json"]);
            let document: Value = serde_json::from_str(&covered.stdout).unwrap();
            let months = document["jobs"][0]["sites"].as_array().unwrap().iter().flat_map(|site| site["months"].as_array().unwrap());
            let nowhere: u64 = months.map(|month| month["nowhere"].as_u64().unwrap()).sum();
            if is_gone {
                assert!(nowhere > 0, "{covered:?}");
            }
            // Without rows that came late, everything that is somewhere is found.
            if late.is_empty() && !is_gone {
                assert_eq!(nowhere, 0, "{covered:?}");
            }
            assert_eq!(covered.code, i32::from(if nowhere > 0 { exit::OBJECTIVE } else { exit::DONE }));
        });
    }
}
