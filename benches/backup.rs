//! Backup and restore of a demo installation against DuckDB's own `EXPORT DATABASE` and `IMPORT DATABASE`, and a restore drill against
//! the restore alone.
//!
//! `cargo bench --profile release --bench backup -- [HITS] [DIR]` makes an installation of HITS page views (5 million) in DIR
//! (a temporary folder), or uses the one that is there, and prints wall time, CPU time and peak memory of each side, and
//! the ratios. Both sides are processes of their own, run in the same order each time, `ROUNDS` times; the best of
//! each counts, because everything else on the machine only ever adds.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod measure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use duckdb::Connection;

use measure::{Table, Words, path, peer, run};

const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["peer-export", data, into, order] => peer_export(Path::new(data), Path::new(into), order),
        ["peer-import", from, into] => peer_import(Path::new(from), Path::new(into)),
        _ => compare(&arguments),
    }
}

fn compare(arguments: &[String]) {
    let hits = arguments.first().map_or(5_000_000, |hits| hits.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let home = arguments.get(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let plan = home.join("plan.toml");
    if !plan.exists() {
        run(&program(&["init", "--demo", path(&home), "--hits", &hits.to_string()]), &BTreeMap::new());
    }
    let (data, work) = (home.join("data"), home.join("bench"));
    let mut table = Table::default();
    let mut add = |name: &str, words: &Words| table.add(name, words, &BTreeMap::new());
    for _ in 0..ROUNDS {
        fresh(&work, &home);
        let exported = work.join("exported");
        add("EXPORT DATABASE, as it is", &peer(&["peer-export", path(&data), path(&exported), "true"]));
        add("EXPORT DATABASE, any order", &peer(&["peer-export", path(&data), path(&work.join("any")), "false"]));
        add("hitkeep-plan run", &program(&["run", path(&plan), "--quiet"]));
        add("IMPORT DATABASE", &peer(&["peer-import", path(&exported), path(&work.join("imported"))]));
        add(
            "hitkeep-plan restore",
            &program(&["restore", path(&plan), "--to", path(&work.join("restored")), "--quiet"]),
        );
        add("hitkeep-plan verify --restore", &program(&["verify", path(&plan), "--restore", "--quiet"]));
    }
    fresh(&work, &home);
    table.print();
    table.ratio("backup", "hitkeep-plan run", "EXPORT DATABASE, as it is");
    table.ratio("backup", "hitkeep-plan run", "EXPORT DATABASE, any order");
    table.ratio("restore", "hitkeep-plan restore", "IMPORT DATABASE");
    table.ratio("drill", "hitkeep-plan verify --restore", "hitkeep-plan restore");
}

fn program(words: &[&str]) -> Words {
    [env!("CARGO_BIN_EXE_hitkeep-plan")].iter().chain(words).map(|word| (*word).to_owned()).collect()
}

/// Removes what the last round has made.
fn fresh(work: &Path, home: &Path) {
    for folder in [work, &home.join("backups")] {
        drop(std::fs::remove_dir_all(folder));
    }
    std::fs::create_dir_all(work).unwrap();
}

/// The databases that a backup of the demo holds: all but the archived tenant's, which has the least hits.
fn databases(data: &Path) -> Vec<PathBuf> {
    let mut tenants: Vec<PathBuf> = std::fs::read_dir(data.join("tenants"))
        .unwrap()
        .map(|tenant| tenant.unwrap().path().join("hitkeep.db"))
        .collect();
    tenants.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    tenants.truncate(2);
    tenants.into_iter().chain([data.join("hitkeep.db")]).collect()
}

fn peer_export(data: &Path, into: &Path, order: &str) {
    std::fs::create_dir_all(into).unwrap();
    for (number, database) in databases(data).iter().enumerate() {
        let engine = Connection::open_in_memory().unwrap();
        let into = into.join(number.to_string());
        let script = format!(
            "SET preserve_insertion_order = {order}; ATTACH '{}' AS source (READ_ONLY); \
             EXPORT DATABASE source TO '{}' (FORMAT parquet, COMPRESSION zstd);",
            path(database),
            path(&into)
        );
        engine.execute_batch(&script).unwrap();
    }
}

fn peer_import(from: &Path, into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let folder = entry.unwrap();
        let engine = Connection::open_in_memory().unwrap();
        let database = into.join(folder.file_name()).with_extension("db");
        let script = format!(
            "ATTACH '{}' AS target (STORAGE_VERSION 'v1.0.0'); USE target; IMPORT DATABASE '{}'; CHECKPOINT target;",
            path(&database),
            path(&folder.path())
        );
        engine.execute_batch(&script).unwrap();
    }
}
